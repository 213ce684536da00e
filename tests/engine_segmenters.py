"""Segmenters for tests of the data engine that work on flat colors, so that a test knows what is to be found."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from videorefer_plugin.segment import Candidate, FrameMask, Masklet, Note, Prompt, Segmenter, Tracked
from videorefer_plugin.segment.cleaning import box_around
from videorefer_plugin.segment.words import nothing_found
from videorefer_plugin.video import Video

__all__ = ["ColorFinder", "ColorFollower", "FindsAndFollows"]

_COLORS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30)}
_LEAST = 20  # pixels of a thing


def things(frame: NDArray[np.uint8], phrase: str) -> list[Candidate]:
    """The parts of the frame in the color that the phrase names; "left" and "right" say which, "any" means all.

    The larger a part, the surer; the one that is on the side that is said is surer still.
    """
    words = phrase.split()
    colors = [color for name, color in _COLORS.items() if name in words or "any" in words]
    found = []
    for color in colors:
        parts, count = label(np.abs(frame.astype(int) - color).max(-1) < 60)
        found += [parts == number for number in range(1, count + 1) if (parts == number).sum() >= _LEAST]
    sized = []
    for mask in found:
        middle = np.flatnonzero(mask.any(0)).mean() / mask.shape[1]
        told = {"left": 1 - middle, "right": middle}
        sides = [share for side, share in told.items() if side in words]
        sized.append(Candidate(mask, box_around(mask), round(sides[0] if sides else 0.6, 3), phrase))
    return sorted(sized, key=lambda one: -one.score)


class ColorFinder(Segmenter):
    """Finds colors in a frame."""

    name = "colors"
    loaded = 0

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> "ColorFinder":
        cls.loaded += 1
        return cls()

    def _find(self, frame: NDArray[np.uint8], phrase: str, max_objects: int | None) -> list[Candidate]:
        found = things(frame, phrase)
        if not found:
            raise nothing_found(self.name, phrase, [0], 0.5, None)
        return found[:max_objects]


class ColorFollower(Segmenter):
    """Follows a thing by its color, until it is gone for good."""

    name = "colors_video"
    frames_read = 0

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> "ColorFollower":
        return cls()

    def _track(
        self, video: Video, prompts: list[Mapping[int, Prompt]], start: int, end: int, known: list[Any]
    ) -> Iterator[Tracked | Note]:
        pictures = video.read(range(start, end + 1))
        type(self).frames_read += len(pictures)
        firsts = [min(each) for each in prompts]
        for direction in (1, -1):
            last = [each[first].mask for each, first in zip(prompts, firsts, strict=True)]
            gone = [False] * len(prompts)
            begin = min(firsts) if direction == 1 else max(firsts)
            for frame in range(begin, end + 1) if direction == 1 else range(begin, start - 1, -1):
                for number, first in enumerate(firsts):
                    if gone[number] or (frame - first) * direction < (0 if direction == 1 else 1):
                        continue
                    name = self._color(pictures[first - start], prompts[number][first].mask)
                    mask = self._next(pictures[frame - start], name, last[number])
                    if mask is None:
                        gone[number] = True
                        yield Note("lost", f"It was lost at frame {frame}.", frame, number, direction < 0)
                    else:
                        last[number] = mask
                        yield Tracked(number, frame, mask, 0.9)

    @staticmethod
    def _color(picture: NDArray[np.uint8], mask: Any) -> str:
        mean = picture[mask].mean(0)
        return min(_COLORS, key=lambda name: float(np.abs(mean - _COLORS[name]).sum()))

    @staticmethod
    def _next(picture: NDArray[np.uint8], name: str, last: Any) -> NDArray[np.bool_] | None:
        near = [one.mask for one in things(picture, name) if (one.mask & last).any()]
        return near[0] if near else None

    def _segment(self, frame: NDArray[np.uint8], prompts: list[Prompt]) -> list[FrameMask]:
        return [FrameMask(prompt.mask, 1.0) for prompt in prompts if prompt.mask is not None]


class FindsAndFollows(ColorFinder):
    """Finds words and follows what they mean at once, and cannot be pointed at things."""

    name = "colors_at_once"

    def _find_in_video(
        self, video: Video, phrase: str, frame: int | None, max_objects: int | None, progress: Any
    ) -> list[Masklet]:
        frame = frame or 0
        found = things(video.read([frame])[0], phrase)
        return ColorFollower().propagate(video, [{frame: Prompt(mask=one.mask)} for one in found])
