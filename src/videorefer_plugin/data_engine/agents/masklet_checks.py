"""Checks of masklets: quality figures, coverage of all objects of a noun, and duplicates."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videorefer_plugin.data_engine.items import Drop, Found
from videorefer_plugin.regions.run_lengths import read_runs
from videorefer_plugin.segment import Candidate
from videorefer_plugin.segment.cleaning import mask_overlaps

__all__ = ["Limits", "covered_share", "quality_figures", "same_share"]

_COMPARED = 32  # frames in which two masklets are compared
_COVERED = 0.5  # overlap from which on a masklet covers a candidate


@dataclass(frozen=True)
class Limits:
    """The limits of figures beyond which an object is dropped; `None` for no limit.

    Attributes:
        min_mean_score, min_lowest_score (`float`): scores of the follower over the frames in which the object is
            visible.
        max_jump (`float`): ratio of the object's sizes in two adjacent frames.
        min_share, max_share (`float`): average share of the frame.
        min_exhaustive (`float`): covered share of the things that the words mean in another frame.
    """

    min_mean_score: float | None = None
    min_lowest_score: float | None = None
    max_jump: float | None = None
    min_share: float | None = None
    max_share: float | None = None
    min_exhaustive: float | None = None

    def drop(self, figures: Mapping[str, float]) -> Drop | None:
        """Return the reason to drop an object with these figures, if there is one."""
        for figure, low, high, kind, said in (
            ("mean_score", self.min_mean_score, None, "low_score", "The mean score of the masklet"),
            ("lowest_score", self.min_lowest_score, None, "low_score", "The lowest score of the masklet"),
            ("jump", None, self.max_jump, "jump", "The largest change of its size from one frame to the next"),
            ("share", self.min_share, None, "small", "Its share of the frame"),
            ("share", None, self.max_share, "large", "Its share of the frame"),
            ("exhaustive", self.min_exhaustive, None, "not_exhaustive", "The covered share of the candidates"),
        ):
            value = figures.get(figure)
            if value is not None and low is not None and value < low:
                return Drop(kind, f"{said} is {value:.3g}, below {low:g}.")
            if value is not None and high is not None and value > high:
                return Drop(kind, f"{said} is {value:.3g}, above {high:g}.")
        return None


def quality_figures(annotation: Mapping[str, Any], scores: Mapping[str, float], pixels: int) -> dict[str, float]:
    """Return the quality figures of a masklet.

    Args:
        annotation: frame -> {"segmentation": COCO RLE or None}.
        scores: frame -> score of the follower.
        pixels: number of pixels of a frame.

    Returns:
        `visible`, the share of the known frames in which it is visible; `mean_score` and `lowest_score` over these;
        `share`, the average share of the frame; and `jump`, the largest ratio of its sizes in two adjacent frames.
    """
    areas = {int(frame): _area(one["segmentation"]) for frame, one in annotation.items()}
    seen = {frame: area for frame, area in sorted(areas.items()) if area}
    if not seen:
        return {"visible": 0.0}
    figures = {"visible": len(seen) / len(areas), "share": statistics.fmean(seen.values()) / pixels}
    known = [scores[str(frame)] for frame in seen if str(frame) in scores]
    if known:
        figures |= {"mean_score": statistics.fmean(known), "lowest_score": min(known)}
    steps = [(area, seen[frame + 1]) for frame, area in seen.items() if frame + 1 in seen]
    figures["jump"] = max((max(pair) / min(pair) for pair in steps), default=1.0)
    return {name: round(value, 4) for name, value in figures.items()}


def covered_share(candidates: Sequence[Candidate], frame: int, masklets: Sequence[Found]) -> float:
    """Return the share of the candidates in a frame that one of these masklets covers; 1 without candidates."""
    if not candidates:
        return 1.0
    own = [region.mask(frame, one.height, one.width) for one in masklets if frame in (region := one.region).present]
    if not own:
        return 0.0
    overlaps = mask_overlaps(np.stack([one.mask for one in candidates]), np.stack(own))
    return round(float((overlaps.max(1) >= _COVERED).mean()), 4)


def same_share(one: Found, other: Found) -> float:
    """Return the intersection over union of two masklets, in some of the frames in which both are known."""
    first, second = one.region, other.region
    known = sorted(set(first.frames) & set(second.frames))
    step = max(1, -(-len(known) // _COMPARED))
    both = either = 0
    for frame in known[::step]:
        masks = [region.mask(frame, one.height, one.width) for region in (first, second)]
        both += int((masks[0] & masks[1]).sum())
        either += int((masks[0] | masks[1]).sum())
    return both / either if either else 0.0


def _area(segmentation: Any) -> int:
    return 0 if segmentation is None else int(read_runs(segmentation["counts"])[1::2].sum())
