"""What came of following objects, in a few numbers for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from videorefer_plugin.segment.events import Note
from videorefer_plugin.segment.masklet import Masklet

__all__ = ["ObjectSummary", "cuts_of", "doubts_of", "losses_of", "remarks_of", "summarize"]

_DOUBTFUL = 0.5  # mean score below which an object is more likely something else


@dataclass(frozen=True)
class ObjectSummary:
    """One object.

    Attributes:
        object: its number, from 1, as in overlays and behind the "#" of a file.
        phrase: the words by which it was found.
        first, last: between which frames something is known of it.
        frames: of how many frames something is known.
        visible: in how many it can be seen.
        mean_score, lowest_score: of the frames in which it can be seen; `None` if there are none.
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
        """The same as JSON has it."""
        return asdict(self)


def summarize(masklets: Sequence[Masklet]) -> list[ObjectSummary]:
    """A few numbers for each masklet."""
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
    """A sentence for each object and direction in which it was lost."""
    return [f"object {number}: {note.text}" for number, masklet in enumerate(masklets, 1) for note in masklet.lost]


def doubts_of(masklets: Sequence[Masklet]) -> list[str]:
    """A sentence for each object that may be another thing than was meant, for its masks have low scores."""
    return [
        f"object {row.object}: its masks have a mean score of {row.mean_score:.2f}, so they may be of something else. "
        "Look at them (--save), or point at it more closely or in more frames."
        for row in summarize(masklets)
        if row.mean_score is not None and row.mean_score < _DOUBTFUL
    ]


def cuts_of(masklets: Sequence[Masklet]) -> list[int]:
    """The frames with which a new shot begins."""
    return sorted({frame for masklet in masklets for frame in masklet.cuts})


def remarks_of(masklets: Sequence[Masklet]) -> list[str]:
    """What else there is to know, each once, such as a step that was left out."""
    notes: list[Note] = [note for masklet in masklets for note in masklet.notes]
    return list(dict.fromkeys(note.text for note in notes if note.kind not in ("lost", "cut")))
