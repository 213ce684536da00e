"""Noticing where one shot ends and the next begins."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CutFinder"]

_SIDE = 32  # of the thumbnails that are compared
_BINS = 8  # of each color channel
_MOVED = 0.18  # mean difference of thumbnails, of the whole range, above which the picture is another one
_COLORS = 0.45  # share of the pixels whose color is another one


class CutFinder:
    """Tells frames of a new shot from those that go on, one frame after the other, in either direction."""

    def __init__(self) -> None:
        self._before: tuple[NDArray[Any], NDArray[Any]] | None = None

    def is_cut(self, frame: NDArray[np.uint8]) -> bool:
        """Whether the shot changes between the frame given last and this one; never for the first one."""
        now = _looks(frame)
        before, self._before = self._before, now
        if before is None:
            return False
        moved = float(np.abs(now[0] - before[0]).mean())
        colors = float(np.abs(now[1] - before[1]).sum()) / 2
        return moved > _MOVED and colors > _COLORS


def _looks(frame: NDArray[np.uint8]) -> tuple[NDArray[Any], NDArray[Any]]:
    """A thumbnail in [0, 1], and the shares of its colors."""
    from PIL import Image

    small = np.asarray(Image.fromarray(frame).resize((_SIDE, _SIDE), Image.Resampling.BOX))
    bins = (small.astype(np.int64) * _BINS) >> 8
    places = (bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2]
    shares = np.bincount(places.ravel(), minlength=_BINS**3) / places.size
    return np.float32(small) / np.float32(255), np.float32(shares)
