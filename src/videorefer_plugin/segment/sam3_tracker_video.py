"""Follows objects with the tracker of SAM 3."""

from __future__ import annotations

from typing import Any

from videorefer_plugin.segment.sam_video import SamVideo

__all__ = ["Sam3TrackerVideo"]


class Sam3TrackerVideo(SamVideo):
    """See [`SamVideo`]: the tracker of SAM 3, which takes clicks, boxes and masks."""

    name = "sam3_tracker_video"
    model_types = ("sam3_tracker_video", "sam3_video")

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        """See [`SamVideo.classes`]."""
        from transformers import Sam3TrackerVideoModel, Sam3TrackerVideoProcessor

        return Sam3TrackerVideoModel, Sam3TrackerVideoProcessor
