"""Summarizes the results of following objects in a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from videorefer_plugin.segment.events import Note
from videorefer_plugin.segment.masklet import Masklet

__all__ = ["ObjectSummary", "cuts_of", "doubts_of", "losses_of", "remarks_of", "summarize"]

_DOUBTFUL = 0.5  # a lower mean score means that the object is probably another one


@dataclass(frozen=True)
class ObjectSummary:
    """The summary of one object.

    Attributes:
        object: number of the object, from 1, as in overlays and after the "#" of a file.
        phrase: the words by which it was found.
        first, last: first and last frame with a result.
        frames: number of frames with a result.
        visible: number of frames in which it is visible.
        mean_score, lowest_score: scores in the frames in which it is visible; `None` if there are none.
        lost: the frames in which it was lost.
    """

    object: int
    phrase: str | None
    first: int
    last: int
    frames: int
    visible: int
    mean_score: float | None
    lowest_score: float | None
    lost: list[int]

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as a `dict` for JSON."""
        return asdict(self)


def summarize(masklets: Sequence[Masklet]) -> list[ObjectSummary]:
    """Return a summary of each masklet."""
    return [_summary(number, masklet) for number, masklet in enumerate(masklets, 1)]


def _summary(number: int, masklet: Masklet) -> ObjectSummary:
    frames, present = masklet.region.frames, masklet.region.present
    scores = [masklet.scores[frame] for frame in present if frame in masklet.scores]
    return ObjectSummary(
        object=number,
        phrase=masklet.phrase,
        first=frames[0],
        last=frames[-1],
        frames=len(frames),
        visible=len(present),
        mean_score=round(sum(scores) / len(scores), 4) if scores else None,
        lowest_score=round(min(scores), 4) if scores else None,
        lost=[note.frame for note in masklet.lost if note.frame is not None],
    )


def losses_of(masklets: Sequence[Masklet]) -> list[str]:
    """Return a sentence for each object and direction in which it was lost."""
    return [f"object {number}: {note.text}" for number, masklet in enumerate(masklets, 1) for note in masklet.lost]


def doubts_of(masklets: Sequence[Masklet]) -> list[str]:
    """Return a sentence for each object whose masks have low scores, so that it may not be the intended object."""
    return [
        f"object {row.object}: its masks have a mean score of {row.mean_score:.2f}, so they may be of something else. "
        "Look at them (--save), or point at it more closely or in more frames."
        for row in summarize(masklets)
        if row.mean_score is not None and row.mean_score < _DOUBTFUL
    ]


def cuts_of(masklets: Sequence[Masklet]) -> list[int]:
    """Return the frames with which a new shot begins."""
    return sorted({frame for masklet in masklets for frame in masklet.cuts})


def remarks_of(masklets: Sequence[Masklet]) -> list[str]:
    """Return the other notes, each once, such as those on steps that were left out."""
    notes: list[Note] = [note for masklet in masklets for note in masklet.notes]
    return list(dict.fromkeys(note.text for note in notes if note.kind not in ("lost", "cut")))
