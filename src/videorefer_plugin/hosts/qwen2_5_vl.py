"""Qwen2.5-VL: packed patches in merge blocks, the blocks sorted by attention window, two frames fused."""

from typing import Any

from torch import Tensor
from transformers.vision_utils import get_vision_window_index

from videorefer_plugin.hosts.packed import MergeBlockHost
from videorefer_plugin.hosts.registry import register_host

__all__ = ["Qwen2_5VLHost"]


class Qwen2_5VLHost(MergeBlockHost):  # noqa: N801 - the family's name
    """See [`Host`]. A mask belongs to the pair of frames that its frame was fused into."""

    model_type = "qwen2_5_vl"
    processor_names = ("Qwen2_5_VLProcessor",)
    tower_name = "visual"

    def order(self, model: Any, kind: str, cells: Tensor, inputs: dict[str, Any]) -> Tensor | None:
        """See [`PackedHost.order`]."""
        blocks = super().order(model, kind, cells, inputs)
        vision = model.config.vision_config
        window, _ = get_vision_window_index(
            inputs[f"{kind}_grid_thw"].to(cells.device),
            spatial_merge_size=vision.spatial_merge_size,
            window_size=vision.window_size,
            patch_size=vision.patch_size,
        )
        # The tower moves whole blocks: block b lies at index argsort(window)[b].
        unit = vision.spatial_merge_size**2
        return window.to(cells.device).argsort()[blocks // unit] * unit + blocks % unit


register_host(Qwen2_5VLHost())
