"""Follows objects with SAM 2."""

from __future__ import annotations

from typing import Any

from videorefer_plugin.segment.sam_video import SamVideo

__all__ = ["Sam2Video"]


class Sam2Video(SamVideo):
    """See [`SamVideo`]: SAM 2."""

    name = "sam2_video"
    model_types = ("sam2_video",)

    @classmethod
    def classes(cls) -> tuple[Any, Any]:
        """See [`SamVideo.classes`]."""
        from transformers import Sam2VideoModel, Sam2VideoProcessor

        return Sam2VideoModel, Sam2VideoProcessor
