"""Follows and finds objects with a segmenter that is given by its name."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from videorefer_plugin._text import listed
from videorefer_plugin.errors import ConfigurationError, SegmentError
from videorefer_plugin.regions import Region
from videorefer_plugin.segment.base import (
    Segmenter,
    check_frame,
    check_several,
    check_words,
    frame_range,
    is_frame,
    read_several,
)
from videorefer_plugin.segment.collecting import Progress
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.registry import entry_of, load_segmenter, refuse
from videorefer_plugin.segment.summaries import losses_of
from videorefer_plugin.video import open_video

__all__ = ["find_regions", "propagate_many"]

_ON_LOST = ("warn", "raise", "ignore")


def propagate_many(
    video: Any,
    regions: Sequence[Region | Mapping[Any, Any]],
    segmenter: str | Segmenter = "classical",
    start: int | None = None,
    end: int | None = None,
    progress: Callable[[int, int], Any] | None = None,
    on_lost: str = "warn",
) -> list[Masklet]:
    """Follow several objects through a video at once, decoding each frame once for all of them.

    Args:
        video: the video, in any form that `open_video` takes.
        regions: one for each object: a [`Region`], its JSON form, or a `dict` of frame -> [`Prompt`]. If a region has
            several frames, the later ones correct the result.
        segmenter: name of a segmenter (see [`segmenters`]), or one that was loaded with [`load_segmenter`].
        start, end: first and last frame of the result; by default those of the video.
        progress: called after each frame with the numbers of frames done and of all frames. It stops the work by
            returning `False`; the masklets then have the frames that were done.
        on_lost: what to do if an object is lost: `"warn"` (`UserWarning`), `"raise"` ([`SegmentError`], whose
            attribute `masklets` has the result), or `"ignore"`.

    Returns:
        `list[Masklet]`: one for each region, in their order.

    Raises:
        RegionError: a shape does not fit the video.
        VideoError: the video cannot be read, or has no such frame.
        SegmentError: the segmenter cannot follow objects, finds nothing to follow, has lost an object, or was stopped
            before it reached an object. The attribute `masklets` of the error has the objects with results.
        ConfigurationError: the segmenter is unknown, or a package that it needs is not installed.
        CheckpointError: the checkpoint of the segmenter cannot be loaded.
    """
    _check_on_lost(on_lost)
    regions = check_several(regions, "propagate_many", Region, Mapping)
    _check_able(segmenter, "propagate")
    video = open_video(video)
    read_several(regions, video, *frame_range(video, start, end))  # before weights are loaded
    masklets = _loaded(segmenter).propagate(video, regions, start, end, progress)
    _tell_of_losses(masklets, on_lost)
    return masklets


def find_regions(
    video: Any,
    phrase: str,
    segmenter: str | Segmenter = "sam3_video",
    frame: int | None = None,
    max_objects: int | None = None,
    progress: Progress | None = None,
    on_lost: str = "warn",
) -> list[Masklet]:
    """Find the objects that words mean, and follow them through the video.

    Args:
        video: the video, in any form that `open_video` takes; a single picture in memory counts as a video of one
            frame.
        phrase: the words, such as "the man in red".
        segmenter: name of a segmenter that can find words (see [`segmenters`]), or one that was loaded.
        frame: the frame to search; the segmenter chooses it by default.
        max_objects: largest number of objects to return; all by default.
        progress: see [`propagate_many`].
        on_lost: see [`propagate_many`].

    Returns:
        `list[Masklet]`: one for each object, the surest first.

    Raises:
        SegmentError: nothing is found, the phrase is not usable, or the segmenter cannot find words.
        VideoError: the video cannot be read, or has no such frame.
        ConfigurationError, CheckpointError: see [`propagate_many`].
    """
    _check_on_lost(on_lost)
    words = check_words(phrase, max_objects)
    _check_able(segmenter, "find")
    opened = open_video([video] if is_frame(video) else video)
    frame = check_frame(opened, frame)
    found = _loaded(segmenter).find(opened, words, frame=frame, max_objects=max_objects, progress=progress)
    masklets = cast(list[Masklet], found)
    _tell_of_losses(masklets, on_lost)
    return masklets


def _check_on_lost(on_lost: str) -> None:
    if on_lost not in _ON_LOST:
        raise ConfigurationError(f"on_lost is {on_lost!r}; expected one of {', '.join(_ON_LOST)}.")


def _check_able(segmenter: str | Segmenter, ability: str) -> None:
    """Check that a segmenter has an ability, before it is loaded."""
    if not isinstance(segmenter, Segmenter) and ability not in entry_of(segmenter).abilities:
        raise refuse(segmenter, ability)


def _loaded(segmenter: str | Segmenter) -> Segmenter:
    return segmenter if isinstance(segmenter, Segmenter) else load_segmenter(segmenter)


def _tell_of_losses(masklets: Sequence[Masklet], on_lost: str) -> None:
    lost = losses_of(masklets)
    if not lost or on_lost == "ignore":
        return
    message = f"{listed(lost)} Point at it again where it can be seen, as a further frame of its region."
    if on_lost == "raise":
        raise SegmentError(message, tuple(masklets))
    warnings.warn(message, stacklevel=3)
