"""VideoRefer for vLLM: this library's tower, connector and object encoder, and vLLM's Qwen2."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel
from vllm.config import VllmConfig
from vllm.model_executor.models.interfaces import SupportsLoRA, SupportsMultiModal, SupportsPP
from vllm.model_executor.models.module_mapping import MultiModelKeys
from vllm.model_executor.models.utils import (
    AutoWeightsLoader,
    WeightsMapper,
    init_vllm_registered_model,
    maybe_prefix,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from videorefer_plugin.models.videollama2.connector import STCConnector
from videorefer_plugin.models.videollama2.tower import frame_features
from videorefer_plugin.object_encoder import ObjectEncoder
from videorefer_plugin.serve.vllm.items import REGIONS_OF
from videorefer_plugin.serve.vllm.processing import DummyInputs, Info, Processor

__all__ = ["GridCache", "VideoReferForVLLM"]

_GRID_BYTES = 256 << 20  # in addition to the memory that vLLM's profiling measures
_FRAMES_AT_ONCE = 64  # frames of one run of the tower: vLLM limits tokens, but regions have few tokens for many frames

_Key = tuple[int, int]


class GridCache:
    """A cache of the features of recent frames, with a limit of bytes. It saves time, but no result depends on it.

    Args:
        max_bytes (`int`): largest number of bytes to hold.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self._held: OrderedDict[_Key, Tensor] = OrderedDict()

    def get(self, key: _Key) -> Tensor | None:
        """Return the features of a frame, if they are held."""
        if key in self._held:
            self._held.move_to_end(key)
        return self._held.get(key)

    def put(self, key: _Key, grid: Tensor) -> None:
        """Hold features, and drop those that were not used for the longest time."""
        self._held[key] = grid
        self._held.move_to_end(key)
        while self._held and sum(one.nbytes for one in self._held.values()) > self.max_bytes:
            self._held.popitem(last=False)


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=DummyInputs)
class VideoReferForVLLM(nn.Module, SupportsMultiModal, SupportsLoRA, SupportsPP):
    """A [`VideoReferForConditionalGeneration`] in vLLM's interface."""

    packed_modules_mapping = {  # noqa: RUF012
        "qkv_proj": ["q_proj", "k_proj", "v_proj"],
        "gate_up_proj": ["gate_proj", "up_proj"],
    }
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={
            "model.language_model.": "language_model.model.",
            "model.vision_tower.": "vision_tower.",
            "model.connector.": "connector.",
            "lm_head.": "language_model.lm_head.",
        }
    )

    @classmethod
    def get_placeholder_str(cls, modality: str, i: int) -> str | None:
        """Return the placeholder of an item in a prompt."""
        return {"video": "<video>", "image": "<image>", **dict.fromkeys(REGIONS_OF.values(), "<region>")}[modality]

    _mark_tower_model: Any
    _mark_language_model: Any
    configure_mm_token_handling: Any
    vision_tower: Any
    connector: Any
    object_encoder: Any
    language_model: Any

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = ""):
        super().__init__()
        config: Any = vllm_config.model_config.hf_config
        self.config = config
        with self._mark_tower_model(vllm_config, {"video", "image", *REGIONS_OF.values()}):
            self.vision_tower = AutoModel.from_config(config.vision_config)
            self.connector = STCConnector(config)
            self.object_encoder = ObjectEncoder(config.object_encoder_config)
        with self._mark_language_model(vllm_config):
            self.language_model = init_vllm_registered_model(
                vllm_config=vllm_config,
                prefix=maybe_prefix(prefix, "language_model"),
                hf_config=config.text_config,
                architectures=["Qwen2ForCausalLM"],
            )
        self._placeholders = [config.image_token_id, config.video_token_id, config.region_token_id]
        self.configure_mm_token_handling(config.text_config.vocab_size, self._placeholders)
        self.make_empty_intermediate_tensors = self.language_model.make_empty_intermediate_tensors
        self.grids = GridCache(_GRID_BYTES)

    # ------------------------------------------------------------------ visuals and regions

    def embed_multimodal(self, **kwargs: Any) -> Sequence[Tensor]:
        """Return the tokens of the items of one modality, in their order."""
        for kind, pixels in (("video", "pixel_values_videos"), ("image", "pixel_values")):
            if kwargs.get(pixels) is not None:
                return self._visuals(kind, list(kwargs[pixels]), list(kwargs[f"{kind}_frame_keys"]))
        for name in REGIONS_OF.values():
            if kwargs.get(f"{name}_lengths") is not None:
                given = (kwargs[f"{name}_{part}"] for part in ("pixel_values", "masks", "frame_keys", "lengths"))
                return self._regions(*map(_joined, given))
        return []

    def _visuals(self, kind: str, pixels: list[Tensor], keys: list[Tensor]) -> list[Tensor]:
        grids = [self._grids(own, _keys(of)) for own, of in zip(pixels, keys, strict=True)]
        if kind == "image":
            grids = [grid.expand(self.config.num_frames, -1, -1, -1) for grid in grids]
        return self.connector(grids)

    def _regions(self, pixels: Tensor, masks: Tensor, keys: Tensor, lengths: Tensor) -> Sequence[Tensor]:
        grids = self._grids(pixels, _keys(keys))
        rows = torch.arange(len(grids), device=grids.device)
        lengths = lengths.flatten().to(grids.device)
        return self.object_encoder(grids, masks.to(grids.device).bool(), rows, lengths, values=False).split()

    def _grids(self, pixels: Tensor, keys: list[_Key]) -> Tensor:
        """Return features of frames, `(frames, rows, columns, width)`; the tower runs once on each distinct frame."""
        found = {key: grid for key in keys if (grid := self.grids.get(key)) is not None}
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        weight = next(self.vision_tower.parameters())
        for first in range(0, len(missing), _FRAMES_AT_ONCE):
            piece = missing[first : first + _FRAMES_AT_ONCE]
            frames = torch.stack([pixels[keys.index(key)] for key in piece]).to(weight.device, weight.dtype)
            for key, grid in zip(piece, frame_features(self.vision_tower, self.config, frames), strict=True):
                found[key] = grid.clone()
                self.grids.put(key, found[key])
        return torch.stack([found[key] for key in keys])

    # ------------------------------------------------------------------ the decoder

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Run the decoder over embeddings that contain the tokens of items."""
        if intermediate_tensors is not None:
            inputs_embeds = None
        return self.language_model.model(input_ids, positions, intermediate_tensors, inputs_embeds=inputs_embeds)

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Return logits, in which placeholders are masked, so that they are never generated."""
        logits = self.language_model.compute_logits(hidden_states)
        if logits is not None:
            for token in self._placeholders:
                if token < logits.shape[-1]:
                    logits[..., token] = -torch.inf
        return logits

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load a checkpoint in the form that `save_pretrained` writes."""
        mapper = self.hf_to_vllm_mapper
        if self.config.text_config.tie_word_embeddings:
            mapper = WeightsMapper(orig_to_new_prefix={**mapper.orig_to_new_prefix, "lm_head.": None})
        return AutoWeightsLoader(self).load_weights(weights, mapper=mapper)

    def get_mm_mapping(self) -> MultiModelKeys:
        """Return the names of the parts, for adapters."""
        return MultiModelKeys.from_string_field(
            language_model="language_model", connector=["connector", "object_encoder"], tower_model="vision_tower"
        )


def _joined(value: Any) -> Tensor:
    return torch.cat(list(value)) if isinstance(value, (list, tuple)) else value


def _keys(keys: Tensor) -> list[_Key]:
    return [(int(first), int(second)) for first, second in keys.reshape(-1, 2).tolist()]
