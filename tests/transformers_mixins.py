"""The common tests of transformers itself, run against the classes of this library.

They come with transformers' source distribution and are not part of this repository: the folder that holds `tests/` is
named by the environment variable `VIDEOREFER_TRANSFORMERS_TESTS`. `tests/test_common_behaviors.py` runs this file.
"""

import os
import sys
import types
import unittest
from pathlib import Path
from typing import Any

import torch

import videorefer_plugin  # noqa: F401 - registers the classes
from videorefer_plugin.embedded import tiny_checkpoint
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration, VideoLLaMA2Model
from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor

FOLDER = Path(os.environ["VIDEOREFER_TRANSFORMERS_TESTS"]) / "tests"
PACKAGE = "transformers_own_tests"


def _package(name: str, path: Path | None = None, **values: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__path__ = [] if path is None else [str(path)]
    vars(module).update(values)
    sys.modules[name] = module
    return module


_package(PACKAGE, FOLDER)
# The source distribution leaves subfolders out: what is missing there runs no tests.
for part, names in {
    "exporters.test_export": ("ExportTesterMixin",),
    "generation.test_utils": ("GenerationTesterMixin",),
}.items():
    if not (FOLDER / part.replace(".", "/")).with_suffix(".py").exists():
        _package(f"{PACKAGE}.{part.split('.')[0]}")
        _package(f"{PACKAGE}.{part}", **{name: type(name, (), {}) for name in names})
if "fetch_hub_objects_for_ci" not in sys.modules:
    _package("fetch_hub_objects_for_ci", url_to_local_path=lambda url: url)

from transformers_own_tests.test_modeling_common import ModelTesterMixin, floats_tensor, ids_tensor  # noqa: E402
from transformers_own_tests.test_processing_common import ProcessorTesterMixin  # noqa: E402

VOCABULARY = 99
IMAGE, VIDEO, REGION = 3, 4, 5  # small, since tests of smaller vocabularies cut ids off
REGION_INPUTS = ("region_pixel_values", "region_masks", "region_frames", "region_lengths")


class Tester:
    """Sizes and inputs: prompts that each have a visual and, where regions are taken, a region on it."""

    batch_size, hidden_size, num_hidden_layers, num_attention_heads = 7, 32, 2, 4
    is_training = True
    image_size, patch_size, frames = 8, 2, 4

    def __init__(self, config_class: Any, kind: str):
        self.config_class, self.kind = config_class, kind
        self.regions = config_class is VideoReferConfig
        self.num_tokens = 2 * 2 * (self.frames // 2)
        self.seq_length = self.num_tokens + 7

    def get_config(self) -> Any:
        text = {
            "model_type": "qwen2",
            "vocab_size": VOCABULARY,
            "hidden_size": self.hidden_size,
            "intermediate_size": 37,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        vision = {
            "model_type": "siglip_vision_model",
            "hidden_size": 16,
            "intermediate_size": 37,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "vision_use_head": False,
        }
        return self.config_class(
            text_config=text,
            vision_config=vision,
            num_frames=self.frames,
            image_token_id=IMAGE,
            video_token_id=VIDEO,
            vision_feature_layer=-1,
            **({"region_token_id": REGION} if self.regions else {}),
        )

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        ids = ids_tensor([self.batch_size, self.seq_length], VOCABULARY - 20).clamp(min=REGION + 1)
        ids[:, 1 : 1 + self.num_tokens] = IMAGE if self.kind == "image" else VIDEO
        frame = [3, self.image_size, self.image_size]
        name, leading = ("pixel_values", []) if self.kind == "image" else ("pixel_values_videos", [self.frames])
        pixels = floats_tensor([self.batch_size, *leading, *frame])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), name: pixels}
        if self.regions:
            ids[:, -3] = REGION
            side = self.image_size // self.patch_size
            inputs["region_masks"] = torch.zeros(self.batch_size, 1, side, side, dtype=torch.bool)
            inputs["region_masks"][..., 1:3, 1:3] = True
            inputs["region_frames"] = inputs["region_lengths"] = torch.ones(self.batch_size, 1, dtype=torch.long)
            inputs["region_pixel_values"] = torch.zeros(self.batch_size, 0, *frame)
        return self.get_config(), inputs


class ModelCases(ModelTesterMixin):
    _is_composite = True
    test_all_params_have_gradient = False  # features are taken before the tower's last normalization
    # The tower sees frames, and there are as many features of them.
    skip_test_video_features_output_shape = True
    config_class: Any
    kind: str

    def setUp(self) -> None:
        self.model_tester = Tester(self.config_class, self.kind)
        # They take every tensor with "pixel" in its name for images; get_..._features take one.
        self.model_tester.vision_model_tester = Features(self.config_class, "image", "pixel_values")
        self.model_tester.video_model_tester = Features(self.config_class, "video", "pixel_values_videos")

    def _prepare_for_class(self, inputs_dict: Any, model_class: Any, return_labels: bool = False) -> Any:
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and model_class is not VideoLLaMA2Model:
            inputs["labels"] = torch.zeros_like(inputs["input_ids"])
        return inputs


class Features(Tester):
    def __init__(self, config_class: Any, kind: str, name: str):
        super().__init__(config_class, kind)
        self.name = name

    def prepare_config_and_inputs_for_common(self) -> tuple[Any, dict[str, Any]]:
        config, inputs = super().prepare_config_and_inputs_for_common()
        return config, {self.name: inputs[self.name]}


class TestVideoLLaMA2Image(ModelCases, unittest.TestCase):
    all_model_classes = (VideoLLaMA2ForConditionalGeneration,)
    config_class, kind = VideoLLaMA2Config, "image"
    additional_model_inputs = ("pixel_values",)


class TestVideoLLaMA2Video(ModelCases, unittest.TestCase):
    all_model_classes = (VideoLLaMA2ForConditionalGeneration,)
    config_class, kind = VideoLLaMA2Config, "video"
    additional_model_inputs = ("pixel_values_videos",)


class TestVideoReferImage(ModelCases, unittest.TestCase):
    all_model_classes = (VideoReferForConditionalGeneration,)
    config_class, kind = VideoReferConfig, "image"
    additional_model_inputs = ("pixel_values", *REGION_INPUTS)


class TestVideoReferVideo(ModelCases, unittest.TestCase):
    all_model_classes = (VideoReferForConditionalGeneration,)
    config_class, kind = VideoReferConfig, "video"
    additional_model_inputs = ("pixel_values_videos", *REGION_INPUTS)


class ProcessorCases(ProcessorTesterMixin):
    images_unstructured_max_length = 150  # an image alone becomes 64 tokens

    @classmethod
    def _setup_from_components(cls) -> Any:
        return cls.processor_class.from_pretrained(tiny_checkpoint())

    @staticmethod
    def prepare_processor_dict() -> Any:
        return {"num_frames": 8, "patch_size": 8}


class TestVideoReferProcessor(ProcessorCases, unittest.TestCase):
    processor_class = VideoReferProcessor

    @staticmethod
    def prepare_processor_dict() -> Any:
        return {"num_frames": 8, "patch_size": 8, "max_frames_per_region": 5}


class TestVideoLLaMA2Processor(ProcessorCases, unittest.TestCase):
    processor_class = VideoLLaMA2Processor


del ModelTesterMixin, ProcessorTesterMixin, ModelCases, ProcessorCases
