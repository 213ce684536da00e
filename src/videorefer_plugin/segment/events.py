"""What a segmenter tells while it works, and what it finds in one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "FrameMask", "Note", "Tracked"]


class FrameMask(NamedTuple):
    """One object in one frame.

    Attributes:
        mask: bool (height, width) of the frame; without a pixel if nothing was found.
        score: how sure the segmenter is of it, from 0 to 1.
    """

    mask: NDArray[np.bool_]
    score: float


class Candidate(NamedTuple):
    """What may be meant by words, in one frame.

    Attributes:
        mask: bool (height, width) of the frame.
        box: x0, y0, x1, y1 in pixels.
        score: how sure the segmenter is that it is meant, from 0 to 1.
        phrase: the words.
    """

    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]
    score: float
    phrase: str


class Tracked(NamedTuple):
    """One object in one frame of a video, as it was followed.

    Attributes:
        number: which of the objects that were given, from 0.
        frame: of the source video.
        mask: bool (height, width); None where the object is absent.
        score: how sure the segmenter is, from 0 to 1, that the object is where the mask has it; where it is absent,
            how sure it still is that it can be seen.
    """

    number: int
    frame: int
    mask: NDArray[np.bool_] | None
    score: float


@dataclass(frozen=True)
class Note:
    """Something to know about what was followed.

    Attributes:
        kind (`str`):
            `"lost"`: the object was lost there, and was not found again in that direction. `"cut"`: the shot
            changes between this frame and the one before. `"resumed"`: an interrupted run went on from there.
            `"cancelled"`: the work was stopped there. `"skipped"`: something that the backend does elsewhere was left
            out, such as a step whose package is missing.
        text (`str`): what happened, in a sentence.
        frame (`int`, *optional*): where.
        number (`int`, *optional*): which object, from 0; `None` for all of them.
        reverse (`bool`, *optional*): for `"lost"`, whether it was followed backward.
    """

    kind: str
    text: str
    frame: int | None = None
    number: int | None = None
    reverse: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Fit for JSON; the object's number is left out, since it stands beside the object."""
        values = {"kind": self.kind, "text": self.text, "frame": self.frame, "reverse": self.reverse}
        return {name: value for name, value in values.items() if value is not None}
