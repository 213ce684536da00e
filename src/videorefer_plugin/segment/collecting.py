"""Masklets out of what a segmenter tells frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from videorefer_plugin.errors import SegmentError
from videorefer_plugin.regions import ABSENT, Region, Rle, Shape, encode_rle
from videorefer_plugin.segment.events import Note, Tracked
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.video import Video

__all__ = ["Collected", "Progress", "cancel", "collect", "gather", "masklets_of"]

Progress = Callable[[int, int], Any]
"""Called with how many frames are done, and how many there are; `False` stops the work."""


@dataclass
class Collected:
    """What became of one object until now, kept small.

    Attributes:
        shapes: frame -> RLE, or `ABSENT`.
        scores: frame -> how sure the segmenter is.
        notes: about this object, or about all.
    """

    shapes: dict[int, Shape] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def add(self, event: Tracked | Note) -> None:
        """Take in one event; a frame that comes again is replaced."""
        if isinstance(event, Note):
            if event not in self.notes:
                self.notes.append(event)
            return
        there = event.mask is not None and event.mask.any()
        self.shapes[event.frame] = Rle.from_mapping(encode_rle(event.mask)) if there else ABSENT
        self.scores[event.frame] = float(event.score)

    def masklet(self, prompts: Mapping[int, Prompt], video: Video, **details: Any) -> Masklet:
        """The masklet, its frames in order of time."""
        frames = sorted(self.shapes)
        return Masklet(
            region=Region.from_shapes({frame: self.shapes[frame] for frame in frames}),
            scores={frame: self.scores[frame] for frame in frames},
            prompts=dict(prompts),
            size=(video.height, video.width),
            notes=tuple(self.notes),
            video=video.path,
            **details,
        )


def collect(
    events: Iterable[Tracked | Note], objects: Sequence[Collected], total: int, progress: Progress | None = None
) -> None:
    """Gather what is told of several objects.

    Args:
        events: what [`Segmenter.track`] yields.
        objects: what is gathered of each object; events are added to it.
        total: how many frames there are to do.
        progress: told of every frame that is done; it stops the work by returning `False`, which is noted.
    """
    count = 0
    for frame, count in gather(events, objects):
        if progress is not None and progress(count, total) is False:
            cancel(objects, frame)
            return
    if progress is not None and count < total:  # behind a loss there is nothing more to do
        progress(total, total)


def gather(events: Iterable[Tracked | Note], objects: Sequence[Collected]) -> Iterator[tuple[int, int]]:
    """As [`collect`], frame by frame: yields each frame that is done, and how many are."""
    done: set[int] = set()
    for frame, group in groupby(events, lambda event: event.frame):
        for event in group:
            for number, one in enumerate(objects):
                if event.number in (None, number):
                    one.add(replace(event, number=number) if isinstance(event, Note) else event)
            if isinstance(event, Tracked):
                done.add(event.frame)
        if frame in done:
            yield frame, len(done)


def cancel(objects: Sequence[Collected], frame: int) -> None:
    """Note that the work was stopped behind a frame."""
    for number, one in enumerate(objects):
        one.add(Note("cancelled", f"The work was stopped at frame {frame}.", frame, number))


def masklets_of(
    objects: Sequence[Collected], prompts: Sequence[Mapping[int, Prompt]], video: Video, **details: Any
) -> list[Masklet]:
    """The masklets of what was gathered.

    Raises:
        SegmentError: the work was stopped before anything was known of an object.
    """
    made = [one.masklet(own, video, **details) for one, own in zip(objects, prompts, strict=True) if one.shapes]
    for number, one in enumerate(objects, 1):
        if not one.shapes:
            raise SegmentError(
                f"Nothing is known yet of object {number}, which is pointed at in a frame that was not reached.",
                tuple(made),
            )
    return made
