"""Finds the frames at which a new shot begins."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CutFinder"]

_SIDE = 32  # pixels, of the thumbnails that are compared
_BINS = 8  # of each color channel
_STEPS = 8  # changes between earlier frames, with which the next one is compared
_LEAST_STEPS = 3
# Thresholds of a cut, for the mean difference of thumbnails (of the whole range) and the share of pixels of another
# color: if the usual change between frames is known, and at the beginning, when it is not.
_MOVED, _COLORS, _TIMES_OTHERS = 0.12, 0.2, 2.5
_MOVED_AT_FIRST, _COLORS_AT_FIRST = 0.18, 0.45


class CutFinder:
    """Finds frames that begin a new shot. Frames are given in order, in either direction.

    A new shot changes both thumbnail and colors, and much more than the frames before.
    """

    def __init__(self) -> None:
        self._before: tuple[NDArray[Any], NDArray[Any]] | None = None
        self._steps: deque[float] = deque(maxlen=_STEPS)

    def is_cut(self, frame: NDArray[np.uint8]) -> bool:
        """Tell whether the shot changes between the previous frame and this one; `False` for the first one."""
        now = _looks(frame)
        before, self._before = self._before, now
        if before is None:
            return False
        moved = float(np.abs(now[0] - before[0]).mean())
        colors = float(np.abs(now[1] - before[1]).sum()) / 2
        if len(self._steps) < _LEAST_STEPS:
            found = moved > _MOVED_AT_FIRST and colors > _COLORS_AT_FIRST
        else:
            found = moved > max(_MOVED, _TIMES_OTHERS * median(self._steps)) and colors > _COLORS
        if found:
            self._steps.clear()  # each shot has its own usual change
        else:
            self._steps.append(moved)
        return found


def _looks(frame: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a thumbnail in [0, 1], and the shares of its colors."""
    from PIL import Image

    small = np.asarray(Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    bins = (small.astype(np.int64) * _BINS) >> 8
    places = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
    shares = np.bincount(places.ravel(), minlength=_BINS**3) / places.size
    return np.float32(small) / np.float32(255), np.float32(shares)
