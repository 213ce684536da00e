"""SmolVLM2: the frames of a video are images to it, frame by frame on a square grid."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.registry import Host, Visual, register_host

__all__ = ["FramesAsImagesHost", "SmolVLMHost"]


class FramesAsImagesHost(Host):
    """See [`Host`]. Videos and images share one tensor; into how many tiles an image was cut is not told."""

    encoders = {"image": ("pixel_values", "get_image_features")}  # noqa: RUF012 - read only

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        if any(visual.kind == "image" for visual in visuals):
            return [None] * len(visuals)
        height, width = outputs["pixel_values"].shape[-2:]
        grids: list[VisualGrid | None] = []
        row = 0
        for visual in visuals:
            grids.append(VisualGrid(row, (height // patch_size, width // patch_size)))
            row += visual.num_frames
        return grids


class SmolVLMHost(FramesAsImagesHost):
    """See [`Host`]. Frames that only fill up a batch are dropped by the host, so rows count real frames."""

    model_type = "smolvlm"
    processor_names = ("SmolVLMProcessor",)
    tower_name = "vision_model"
    equal_frames = False

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor counts visuals prompt by prompt."""
        nested: dict[str, list[Any]] = {}
        for kind, token in (("video", processor.video_token), ("image", processor.image_token)):
            left = iter(visuals[kind])
            by_prompt = [[next(left) for _ in range(prompt.count(token))] for prompt in text]
            nested[kind] = by_prompt if visuals[kind] else []
        return super().call_processor(processor, text, nested, metadata, settings)


register_host(SmolVLMHost())
