"""Follows objects of a visitor through the video, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from videorefer_plugin.app.jobs import Job
from videorefer_plugin.app.things import Thing
from videorefer_plugin.segment import read_prompts
from videorefer_plugin.segment.base import frame_range
from videorefer_plugin.segment.collecting import Collected, cancel, gather
from videorefer_plugin.video import Video

__all__ = ["follow"]


def follow(segmenter: Any, video: Video, things: Sequence[Thing], job: Job) -> Iterator[Thing]:
    """Follow objects, those of the same range together, and yield each with its masklet, also if it was stopped.

    Raises:
        SegmentError, RegionError, VideoError: see `Segmenter.propagate`.
    """
    ranges: dict[tuple[int, int], list[Thing]] = {}
    for thing in things:
        ranges.setdefault(frame_range(video, thing.start, thing.end), []).append(thing)
    total = sum(last - first + 1 for first, last in ranges)
    before = 0
    job.tell(0, total)
    for (first, last), group in ranges.items():
        prompts = [read_prompts(one.prompts(video.height, video.width), video, first, last) for one in group]
        found = [Collected() for _ in group]
        events = segmenter.track(video, prompts, first, last)
        try:
            for frame, count in gather(events, found):
                if not job.tell(before + count, total):
                    cancel(found, frame)
                    break
        finally:
            events.close()
        for thing, one, own in zip(group, found, prompts, strict=True):
            if one.shapes:
                masklet = one.masklet(own, video, backend=segmenter.name, settings=segmenter.settings)
                yield replace(thing, masklet=masklet, followed=None if job.is_stopped else thing.marks)
        before += last - first + 1
        if not job.tell(before, total):
            return
