"""The link from a region to the segmenters, which follow its object through the video."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


class Propagates:
    """The part of `Region` that uses a segmenter: it turns a region into a masklet."""

    __slots__ = ()

    def propagate(
        self,
        video: Any,
        segmenter: Any = "classical",
        start: int | None = None,
        end: int | None = None,
        progress: Callable[[int, int], Any] | None = None,
        on_lost: str = "warn",
    ) -> Any:
        """Follow the object through a video, from the frames of this region, forward and backward.

        Args:
            video: as `open_video` takes it.
            segmenter: name of a segmenter (see `segmenters`), or one that was loaded with `load_segmenter`.
            start, end: first and last frame to follow it through; those of the video by default.
            progress: a function that is called after each frame with the number of finished frames and the total. It
                stops the work by returning `False`; the masklet then holds the finished frames.
            on_lost: what happens if the object is lost: "warn" (`UserWarning`), "raise" (`SegmentError`, with the
                finished part as its `masklets`), or "ignore".

        Returns:
            `Masklet`: its `region` has a mask in every frame that was followed, or None where the object is absent;
                its `scores` give the segmenter's confidence for each frame.

        Raises:
            RegionError: a shape does not fit the video.
            VideoError: the video cannot be read, or has no such frame.
            SegmentError: the segmenter cannot follow objects, finds nothing to follow, or has lost the object.
            ConfigurationError: the segmenter is unknown, or a package that it needs is not installed.
            CheckpointError: its checkpoint cannot be loaded.
        """
        segment = importlib.import_module("videorefer_plugin.segment")
        settings = {"start": start, "end": end, "progress": progress, "on_lost": on_lost}
        return segment.propagate_many(video, [self], segmenter, **settings)[0]
