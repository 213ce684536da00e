"""The first step of the Segmentor, from a noun to one mask in one frame: choice of frames and of boxes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.items import Drop, ObjectItem, seed_of
from videorefer_plugin.errors import SegmentError
from videorefer_plugin.segment import Candidate, Segmenter
from videorefer_plugin.segment.cleaning import box_overlaps, keep_surest, mask_overlaps
from videorefer_plugin.video import Video

__all__ = ["ON_SEVERAL", "Located", "Locator", "random_frames"]

ON_SEVERAL = ("expression", "drop", "best")
_SAME_PLACE = 0.5  # overlap of two boxes from which on they show the same thing


@dataclass(frozen=True, eq=False)
class Located:
    """The location of an object in one frame.

    Attributes:
        frame (`int`): frame of the video.
        candidate ([`Candidate`]): mask, box and score of the object.
        phrase (`str`): the words that decided.
        count (`int`): number of things in the frame that the noun may mean.
    """

    frame: int
    candidate: Candidate
    phrase: str
    count: int


def random_frames(video: Video, tries: int, seed: int) -> list[int]:
    """Return different frames of a video, in random order."""
    return random.Random(seed).sample(range(video.num_frames), min(tries, video.num_frames))


@dataclass(frozen=True)
class Locator:
    """Looks for objects in random frames.

    Attributes:
        finder ([`Segmenter`]): segmenter that finds words in a frame.
        tries (`int`): most frames to look in until the object is found.
        on_several (`str`): one of [`ON_SEVERAL`].
        margin (`float`): required margin between the best score and the next one.
        min_score (`float`): required score.
    """

    finder: Segmenter
    tries: int
    on_several: str
    margin: float
    min_score: float

    def locate(self, video: Video, item: ObjectItem, seed: int) -> Located | Drop:
        """Find an object, or return the reason to drop it."""
        frames = random_frames(video, self.tries, seed_of(seed, item.number))
        why = ""
        for frame in frames:
            pixels = video.read([frame])[0]
            found, why = self.candidates(pixels, item.noun.text)
            if found:
                return self._choose(pixels, frame, item, found)
        where = f"frame {frames[0]}" if len(frames) == 1 else f"frames {listed(sorted(frames), 8)}"
        return Drop("not_found", f"{short(item.noun.text)} is not found in {where}: {why}")

    def candidates(self, pixels: NDArray[np.uint8], phrase: str) -> tuple[list[Candidate], str]:
        """Return the candidates for words in a frame, the surest first, or the reason why there is none."""
        try:
            found = self.finder.find(pixels, phrase)
        except SegmentError as error:  # nothing is found, or the words cannot be looked for
            return [], str(error)
        candidates = [one for one in found if isinstance(one, Candidate) and one.mask.any()]
        sure = [one for one in candidates if one.score >= self.min_score]
        best = max((one.score for one in candidates), default=None)
        why = (
            "no candidate has a mask." if best is None else f"the best score is {best:.3g}, below {self.min_score:g}."
        )
        return sorted(sure, key=lambda one: -one.score), why

    def _choose(
        self, pixels: NDArray[np.uint8], frame: int, item: ObjectItem, found: Sequence[Candidate]
    ) -> Located | Drop:
        noun, expression = item.noun.text, item.noun.expression or item.noun.text
        if len(found) == 1 or self.on_several == "best":
            return Located(frame, found[0], noun, len(found))
        said = f"{short(noun)} may mean {len(found)} things in frame {frame}"
        if self.on_several == "drop":
            return Drop("ambiguous", f"{said}.")
        meant = list(found)
        if expression != noun:
            named, why = self.candidates(pixels, expression)
            if not named:
                return Drop("ambiguous", f"{said}, and {short(expression)} does not say which: {why}")
            meant = _among(named, found)
            if not meant:
                return Drop("ambiguous", f"{said}, and {short(expression)} is found elsewhere.")
        if len(meant) > 1 and meant[0].score - meant[1].score <= self.margin:
            scores = f"{meant[0].score:.3g} and {meant[1].score:.3g}"
            return Drop("ambiguous", f"{said}, and {short(expression)} does not say which (scores {scores}).")
        return Located(frame, meant[0], expression, len(found))


def _among(named: Sequence[Candidate], found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates of the noun that the expression finds, too, with the surest one for each."""
    near = box_overlaps(_boxes(named), _boxes(found)).max(1) >= _SAME_PLACE
    near |= mask_overlaps(_masks(named), _masks(found)).max(1) >= _SAME_PLACE
    both = [one for one, is_near in zip(named, near, strict=True) if is_near]
    if not both:
        return []
    overlaps = box_overlaps(_boxes(both), _boxes(both))
    return [both[place] for place in keep_surest(overlaps, [one.score for one in both], _SAME_PLACE)]


def _boxes(candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    return np.array([one.box for one in candidates], dtype=np.float64).reshape(-1, 4)


def _masks(candidates: Sequence[Candidate]) -> NDArray[np.bool_]:
    return np.stack([one.mask for one in candidates])
