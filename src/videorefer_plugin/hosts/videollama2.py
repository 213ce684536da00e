"""VideoLLaMA2.1, this library's port: frame by frame on a square grid."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.registry import Host, Visual, register_host

__all__ = ["VideoLLaMA2Host"]


class VideoLLaMA2Host(Host):
    """See [`Host`]. Whoever trains from scratch on this host may as well use `VideoReferForConditionalGeneration`."""

    model_type = "videollama2"
    processor_names = ("VideoLLaMA2Processor",)

    def settings(self, processor: Any) -> set[str]:
        """See [`Host.settings`]. Its own are about frames, which are chosen and padded as the processor says."""
        return set()

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor takes whatever frames it gets, without metadata."""
        return processor(
            text=text,
            videos=visuals["video"] or None,
            images=visuals["image"] or None,
            do_sample_frames=False,
            return_tensors="pt",
            **settings,
        )

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        pad = processor.image_aspect_ratio == "pad"
        rows = {"video": 0, "image": sum(visual.num_frames for visual in visuals if visual.kind == "video")}
        grids: list[VisualGrid | None] = []
        for visual in visuals:
            grids.append(VisualGrid(rows[visual.kind], processor.grid_size, pad_to_square=pad))
            rows[visual.kind] += visual.num_frames
        return grids


register_host(VideoLLaMA2Host())
