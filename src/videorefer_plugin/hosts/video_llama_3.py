"""VideoLLaMA3: packed frames in order, averaged over blocks before they leave the tower."""

from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.hosts.packed import PackedHost
from videorefer_plugin.hosts.registry import register_host
from videorefer_plugin.models.videorefer_videollama3.crop_features import crop_features

__all__ = ["VideoLlama3Host"]


class VideoLlama3Host(PackedHost):
    """See [`Host`]. Frames that token compression removes from the prompt still have all their features."""

    model_type = "video_llama_3"
    processor_names = ("VideoLlama3Processor",)
    tower_name = "vision_model"
    takes_crops = True

    def encode_crops(self, model: Any, pixel_values: Tensor, grids: Tensor) -> Tensor:
        """Features of crops, each seen alone; see [`CropRegions.get_crop_features`]."""
        return crop_features(self.tower(model), pixel_values, grids)

    def grid_sizes(self, kind: str, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`PackedHost.grid_sizes`]."""
        rows, sizes = super().grid_sizes(kind, inputs)
        return rows, sizes // inputs[f"{kind}_merge_sizes"][:, None]

    def visual_rows(self, model: Any, kind: str, output: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """See [`Host.visual_rows`]. Tokens that compression removes fill no positions."""
        rows, tokens = super().visual_rows(model, kind, output, inputs)
        kept = inputs.get(f"{kind}_compression_mask")
        if kept is not None:
            tokens = torch.stack([part.sum() for part in kept.split(tokens.tolist())])
        return rows, tokens


register_host(VideoLlama3Host())
