"""PerceptionLM: a timm tower, frame by frame on a square grid, with or without a class token."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.hosts.registry import register_host
from videorefer_plugin.hosts.repeats import spread_output
from videorefer_plugin.hosts.stacked import StackedHost
from videorefer_plugin.models.distinct import distinct_frames

__all__ = ["PerceptionLMHost"]


class PerceptionLMHost(StackedHost):
    """See [`Host`]. Images are cut into tiles, so regions are placed on videos only."""

    model_type = "perception_lm"
    processor_names = ("PerceptionLMProcessor",)
    stacked = ("video", "image")
    encoders = {  # noqa: RUF012 - read only
        "video": ("pixel_values_videos", "get_image_features"),
        "image": ("pixel_values", "get_image_features"),
    }

    def vision_width(self, config: Any) -> int:
        """See [`Host.vision_width`]."""
        return config.vision_config.model_args["embed_dim"]

    def feature_layer(self, config: Any) -> int | list[int] | None:
        """See [`Host.feature_layer`]."""
        return None

    def patch_size(self, model: Any) -> int:
        """See [`Host.patch_size`]. The configuration only names the tower's architecture."""
        tower: Any = self.tower(model)
        return tower.timm_model.patch_embed.patch_size[0]

    def encode(self, model: Any, inputs: dict[str, Any], encoded: dict[str, Any] | None) -> dict[str, Any]:
        """See [`Host.encode`]. For prompts in chunks, transformers' outputs have tokens alone, unlike timm's."""
        outputs = super().encode(model, inputs, encoded)
        return {
            kind: output if output is None else BaseModelOutputWithPooling(**output)
            for kind, output in outputs.items()
        }

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        features = output.last_hidden_state
        return features[:, 1:] if config.vision_use_cls_token else features

    def count_tokens(self, model: Any, kind: str, rows: int, size: tuple[int, int]) -> int:
        """See [`StackedHost.count_tokens`]."""
        cells = [side // self.patch_size(model) // model.config.projector_pooling_ratio for side in size]
        return rows * cells[0] * cells[1]

    def unpadded(self, clips: list[Tensor]) -> Tensor:
        """See [`StackedHost.unpadded`]. The host takes rows one by one, independently of their visuals."""
        return torch.cat(clips).unsqueeze(1)

    def encode_distinct(self, encode: Callable[..., Any], kind: str, pixels: Tensor, arguments: dict[str, Any]) -> Any:
        """See [`Host.encode_distinct`]. Frames and tiles are encoded one by one."""
        frames = pixels.flatten(0, 1)
        first, place = distinct_frames(frames)
        if len(first) == len(frames):
            return super().encode_distinct(encode, kind, pixels, arguments)
        output = super().encode_distinct(encode, kind, frames[first].unsqueeze(0), arguments)
        return spread_output(output, place, len(first))


register_host(PerceptionLMHost())
