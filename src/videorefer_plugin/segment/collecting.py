"""Makes masklets from the events that a segmenter yields frame by frame."""

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
"""Called with the numbers of frames done and of all frames; `False` stops the work."""


@dataclass
class Collected:
    """The results for one object so far, in compact form.

    Attributes:
        shapes: frame -> RLE, or `ABSENT`.
        scores: frame -> score of the segmenter.
        notes: notes about this object, or about all objects.
    """

    shapes: dict[int, Shape] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def add(self, event: Tracked | Note) -> None:
        """Add one event; a frame that comes again is replaced."""
        if isinstance(event, Note):
            if event not in self.notes:
                self.notes.append(event)
            return
        there = event.mask is not None and event.mask.any()
        self.shapes[event.frame] = Rle.from_mapping(encode_rle(event.mask)) if there else ABSENT
        self.scores[event.frame] = float(event.score)

    def masklet(self, prompts: Mapping[int, Prompt], video: Video, **details: Any) -> Masklet:
        """Return the masklet, with its frames in order of time."""
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
    """Collect the events of several objects.

    Args:
        events: the iterator of [`Segmenter.track`].
        objects: the results of each object, to which events are added.
        total: number of frames.
        progress: called after every frame; it stops the work by returning `False`, which adds a note.
    """
    count = 0
    for frame, count in gather(events, objects):
        if progress is not None and progress(count, total) is False:
            cancel(objects, frame)
            return
    if progress is not None and count < total:  # after a loss, the remaining frames are done
        progress(total, total)


def gather(events: Iterable[Tracked | Note], objects: Sequence[Collected]) -> Iterator[tuple[int, int]]:
    """Like [`collect`], but yields each frame that is done, and the number of frames done."""
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
    """Add a note that the work was stopped after a frame."""
    for number, one in enumerate(objects):
        one.add(Note("cancelled", f"The work was stopped at frame {frame}.", frame, number))


def masklets_of(
    objects: Sequence[Collected], prompts: Sequence[Mapping[int, Prompt]], video: Video, **details: Any
) -> list[Masklet]:
    """Return the masklets of the collected results.

    Raises:
        SegmentError: the work was stopped before an object had any result.
    """
    made = [one.masklet(own, video, **details) for one, own in zip(objects, prompts, strict=True) if one.shapes]
    for number, one in enumerate(objects, 1):
        if not one.shapes:
            raise SegmentError(
                f"Nothing is known yet of object {number}, which is pointed at in a frame that was not reached.",
                tuple(made),
            )
    return made
