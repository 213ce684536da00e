"""The events that a segmenter yields for a video, and its results for one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Candidate", "FrameMask", "Note", "Tracked"]


class FrameMask(NamedTuple):
    """One object in one frame.

    Attributes:
        mask: bool (height, width) of the frame; empty if nothing was found.
        score: how sure the segmenter is of the mask, from 0 to 1.
    """

    mask: NDArray[np.bool_]
    score: float


class Candidate(NamedTuple):
    """An object in one frame that words may mean.

    Attributes:
        mask: bool (height, width) of the frame.
        box: x0, y0, x1, y1 in pixels.
        score: how sure the segmenter is that the words mean this object, from 0 to 1.
        phrase: the words.
    """

    mask: NDArray[np.bool_]
    box: tuple[float, float, float, float]
    score: float
    phrase: str


class Tracked(NamedTuple):
    """The result for one object in one frame of a video.

    Attributes:
        number: index of the object, from 0.
        frame: index of the frame in the source video.
        mask: bool (height, width); None where the object is absent.
        score: how sure the segmenter is of the mask, from 0 to 1; where the object is absent, how likely the segmenter
            still finds that it is visible.
    """

    number: int
    frame: int
    mask: NDArray[np.bool_] | None
    score: float


@dataclass(frozen=True)
class Note:
    """A note about the result of following objects.

    Attributes:
        kind (`str`):
            `"lost"`: the object was lost in this frame, and was not found again in that direction. `"cut"`: the shot
            changes between this frame and the one before. `"resumed"`: an interrupted run was continued from this
            frame. `"cancelled"`: the work was stopped at this frame. `"skipped"`: a step was left out, such as one
            whose package is missing.
        text (`str`): what happened, in a sentence.
        frame (`int`, *optional*): index of the frame.
        number (`int`, *optional*): index of the object, from 0; `None` for all objects.
        reverse (`bool`, *optional*): for `"lost"`, whether it was followed backward.
    """

    kind: str
    text: str
    frame: int | None = None
    number: int | None = None
    reverse: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the note for JSON, without the index of the object, which has its own list of notes."""
        values = {"kind": self.kind, "text": self.text, "frame": self.frame, "reverse": self.reverse}
        return {name: value for name, value in values.items() if value is not None}
