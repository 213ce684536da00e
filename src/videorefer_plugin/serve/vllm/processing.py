"""Converts a request to the tensors of each item, and to the ids of the prompt."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from vllm.exceptions import VLLMValidationError
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataItems
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdate,
)

from videorefer_plugin.errors import VideoReferError
from videorefer_plugin.models.feature_keys import preprocessing_digest
from videorefer_plugin.models.videollama2.configuration import count_visual_tokens
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
from videorefer_plugin.regions import Region, as_region
from videorefer_plugin.serve.vllm.items import REGIONS_OF, BoundRegion, Clip, DataParser, RegionItems, refused
from videorefer_plugin.video import open_video

__all__ = ["DummyInputs", "Info", "Processor"]

_REGION_SETTINGS = ("mask_policy", "max_frames_per_region")
_VISUAL_SETTINGS = ("num_frames", "fps", "max_frames", "video_start", "video_end")
_PIXELS = {"video": "pixel_values_videos", "image": "pixel_values"}


class Info(BaseProcessingInfo):
    """The information about the model that vLLM needs before any request."""

    def get_hf_processor(self, **kwargs: object) -> VideoReferProcessor:
        """Return this library's processor; settings of requests are arguments of its calls."""
        return self.ctx.get_hf_processor(VideoReferProcessor)

    def get_supported_mm_processor_kwargs(self) -> dict[str, set[str]]:
        """Return no settings, since they are not sorted by the kinds of transformers' processors."""
        return {"text_kwargs": set(), "images_kwargs": set(), "videos_kwargs": set()}

    def get_data_parser(self) -> DataParser:
        """Return the parser, which opens visuals and knows regions."""
        return DataParser()

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Return the limits: one visual in a prompt, and any number of regions."""
        return {"video": 1, "image": 1, **dict.fromkeys(REGIONS_OF.values())}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Return the largest number of positions of a visual and of a region."""
        processor = self.get_hf_processor()
        visual = count_visual_tokens(processor.num_frames, processor.grid_size, processor.projector_type)
        region = dict.fromkeys(REGIONS_OF.values(), processor.max_tokens_per_region)
        return {"video": visual, "image": visual, **region}


class DummyInputs(BaseDummyInputsBuilder[Info]):
    """Makes items for vLLM's profiling."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """Return the placeholders of the items."""
        processor = self.info.get_hf_processor()
        regions = sum(mm_counts.get(name, 0) for name in REGIONS_OF.values())
        visuals = processor.video_token * mm_counts.get("video", 0) + processor.image_token * mm_counts.get("image", 0)
        return visuals + processor.region_token * regions

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Any) -> dict[str, Any]:
        """Return black frames, and boxes on them."""
        processor = self.info.get_hf_processor()
        size = processor.image_size
        black = np.zeros((processor.num_frames, size, size, 3), np.uint8)
        clips = {"video": Clip("video", open_video(black)), "image": Clip("image", open_video(black[:1]))}
        data: dict[str, Any] = {kind: [clip] * mm_counts[kind] for kind, clip in clips.items() if mm_counts.get(kind)}
        for kind, name in REGIONS_OF.items():
            count = mm_counts.get(name, 0)
            frames = range(processor.max_tokens_per_region if kind == "video" else 1)
            box = Region(dict.fromkeys(range(min(len(frames), clips[kind].video.num_frames)), (0, 0, size, size)))
            if count:
                data[name] = [BoundRegion(box, clips[kind])] * count
        return data


class Processor(BaseMultiModalProcessor[Info]):
    """Runs this library's processor on one item at a time, so that vLLM can cache each item."""

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Make items of the regions of a request; see `BaseMultiModalProcessor.apply`.

        Raises:
            VLLMValidationError: regions, placeholders and visuals do not match, or one is not readable.
        """
        items = inputs.mm_data_items
        if not any(name in items for name in REGIONS_OF.values()):
            try:
                inputs = self._with_regions(inputs)
            except VideoReferError as error:
                raise refused(error) from error
        return super().apply(inputs, timing_ctx)

    def _with_regions(self, inputs: Any) -> Any:
        kwargs = dict(inputs.hf_processor_mm_kwargs)
        given = kwargs.pop("regions", None) or []
        settings = {name: kwargs.pop(name) for name in _REGION_SETTINGS if name in kwargs}
        strange = [name for name in kwargs if name not in _VISUAL_SETTINGS]
        if strange:
            raise VLLMValidationError(f"mm_processor_kwargs has {strange[0]!r}, which requests may not set.")
        token = self.info.get_hf_processor().region_token_id
        places = sum(one == token for one in inputs.prompt)
        if places != len(given):
            raise VLLMValidationError(f"The prompt has {places} <region>, but {len(given)} region(s) were given.")
        data = dict(inputs.mm_data_items)
        if given:
            shown = [(kind, clip) for kind in REGIONS_OF for clip in (data[kind].get_all() if kind in data else ())]
            if len(shown) != 1:
                raise VLLMValidationError(f"Regions need one video or image; the prompt has {len(shown)}.")
            kind, clip = shown[0]
            self.info.validate_num_items(REGIONS_OF[kind], len(given))
            bound = [BoundRegion(as_region(one), clip, settings) for one in given]
            data[REGIONS_OF[kind]] = RegionItems(bound, REGIONS_OF[kind])
        return replace(inputs, mm_data_items=MultiModalDataItems(data), hf_processor_mm_kwargs=kwargs)

    def _apply_hf_processor_main(self, mm_items: MultiModalDataItems, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        data: dict[str, torch.Tensor] = {}
        try:
            for modality, items in mm_items.items():
                if not len(items):
                    continue
                own = [
                    self._region(modality, item, hf_kwargs)
                    if isinstance(item, BoundRegion)
                    else self._visual(item, hf_kwargs)
                    for item in items.get_all()
                ]
                join = torch.cat if modality in REGIONS_OF.values() else torch.stack
                data |= {name: join([one[name] for one in own]) for name in own[0]}
        except VideoReferError as error:
            raise refused(error) from error
        return BatchFeature(data)

    def _plan(self, clip: Clip, hf_kwargs: Mapping[str, object], region: BoundRegion | None = None) -> tuple[Any, str]:
        """Return the processor's plan for a visual and a region in it, and its way to preprocess frames."""
        processor = self.info.get_hf_processor()
        token = processor.video_token if clip.kind == "video" else processor.image_token
        shown = {f"{clip.kind}s": [[clip.video]]}
        if region is None:
            plan = processor.plan(text=[token], **shown, **hf_kwargs)
        else:
            text = [f"{token}\n{processor.region_token}"]
            plan = processor.plan(text=text, **shown, regions=[[region.region]], **region.settings, **hf_kwargs)
        settings = plan.settings
        ways = {"image_aspect_ratio": settings["image_aspect_ratio"], **settings["frame_settings"][clip.kind]}
        return plan, preprocessing_digest(processor, **ways)

    def _visual(self, clip: Clip, hf_kwargs: Mapping[str, object]) -> dict[str, torch.Tensor]:
        plan, way = self._plan(clip, hf_kwargs)
        frames = plan.clips[0].sampled
        pixels = clip.pixels(frames, way, plan.preprocess, self.info.ctx.model_config.dtype)
        return {_PIXELS[clip.kind]: pixels, f"{clip.kind}_frame_keys": clip.keys(frames, way)}

    def _region(self, modality: str, item: BoundRegion, hf_kwargs: Mapping[str, object]) -> dict[str, torch.Tensor]:
        plan, way = self._plan(item.clip, hf_kwargs, item)
        ((drawn,),) = plan.regions
        dtype = self.info.ctx.model_config.dtype
        return {
            f"{modality}_pixel_values": item.clip.pixels(drawn.frames, way, plan.preprocess, dtype),
            f"{modality}_masks": drawn.masks,
            f"{modality}_frame_keys": item.clip.keys(drawn.frames, way),
            f"{modality}_lengths": torch.tensor([len(drawn.frames)]),
        }

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        fields = {}
        for kind, name in REGIONS_OF.items():
            if _PIXELS[kind] in hf_inputs:
                fields[_PIXELS[kind]] = MultiModalFieldConfig.batched(kind)
                fields[f"{kind}_frame_keys"] = MultiModalFieldConfig.batched(kind, keep_on_cpu=True)
            if f"{name}_lengths" in hf_inputs:
                sizes = hf_inputs[f"{name}_lengths"]
                for part in ("pixel_values", "masks"):
                    fields[f"{name}_{part}"] = MultiModalFieldConfig.flat_from_sizes(name, sizes)
                keys = MultiModalFieldConfig.flat_from_sizes(name, sizes, keep_on_cpu=True)
                fields[f"{name}_frame_keys"] = keys
                fields[f"{name}_lengths"] = MultiModalFieldConfig.batched(name, keep_on_cpu=True)
        return fields

    def _get_prompt_updates(
        self, mm_items: MultiModalDataItems, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptUpdate]:
        processor = self.info.get_hf_processor()
        tokens = {"video": processor.video_token_id, "image": processor.image_token_id}
        unions = processor.max_tokens_per_region

        def visual(kind: str) -> PromptUpdate:
            def replacement(index: int) -> list[int]:
                shown = out_mm_kwargs[kind][index][_PIXELS[kind]].data.shape[0]
                frames = shown if kind == "video" else processor.num_frames
                return [tokens[kind]] * count_visual_tokens(frames, processor.grid_size, processor.projector_type)

            return PromptReplacement(modality=kind, target=[tokens[kind]], replacement=replacement)

        def region(name: str) -> PromptUpdate:
            def replacement(index: int) -> list[int]:
                length = int(out_mm_kwargs[name][index][f"{name}_lengths"].data)
                return [processor.region_token_id] * min(length, unions)

            return PromptReplacement(modality=name, target=[processor.region_token_id], replacement=replacement)

        return [visual(name) if name in tokens else region(name) for name in mm_items]
