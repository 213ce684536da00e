"""Qwen3-VL: packed patches in merge blocks, two frames fused."""

from videorefer_plugin.hosts.packed import MergeBlockHost
from videorefer_plugin.hosts.registry import register_host

__all__ = ["Qwen3VLHost"]


class Qwen3VLHost(MergeBlockHost):
    """See [`Host`]. A mask belongs to the pair of frames that its frame was fused into."""

    model_type = "qwen3_vl"
    processor_names = ("Qwen3VLProcessor",)
    tower_name = "visual"


register_host(Qwen3VLHost())
