"""Masklets out of what a segmenter tells frame by frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from videorefer_plugin.regions import ABSENT, Region, Rle, Shape, encode_rle
from videorefer_plugin.segment.events import Note, Tracked
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.video import Video

__all__ = ["Collected", "collect"]


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
            video=video.name,
            **details,
        )


def collect(events: Iterable[Tracked | Note], objects: Sequence[Collected]) -> Iterable[Tracked | Note]:
    """Pass events on, and note each with its object, or with all of them."""
    for event in events:
        for number, one in enumerate(objects):
            if event.number in (None, number):
                one.add(replace(event, number=number) if isinstance(event, Note) else event)
        yield event
