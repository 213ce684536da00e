"""Measures how pixels move from one frame to the next."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.classical_pixels import Floats, Mask

__all__ = ["Motion", "Mover", "carried", "moved"]

_LEAST_SIDE = 128  # smaller frames are enlarged, since the flow is found in patches of eight pixels
_WRONG = 1.0  # pixels by which the way there and back may miss its start
_WRONG_SHARE = 0.2


class Motion:
    """The position of each pixel of a frame in the frame before.

    Attributes:
        back: float32 (height, width, 2), x and y to add.
        sure: bool (height, width): whether the way there and back ends where it began.
    """

    def __init__(self, back: Floats, forth: Floats):
        self.back = back
        returned = carried(forth, back) + back
        length = np.sqrt((back**2).sum(2))
        self.sure: Mask = np.sqrt((returned**2).sum(2)) <= _WRONG + _WRONG_SHARE * length


class Mover:
    """Computes the optical flow between consecutive frames, in both directions."""

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None
        self._flow: Any = None

    def to(self, rgb: NDArray[np.uint8]) -> Motion | None:
        """Return the motion from the previous frame to this one; None for the first one."""
        import cv2

        height, width = rgb.shape[:2]
        gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        # Very thin frames are too small for patches of the flow at any size.
        enlarge = max(1.0, _LEAST_SIDE / min(height, width))
        size = (min(round(width * enlarge), 1024), min(round(height * enlarge), 1024))
        if size != (width, height):
            gray = cv2.resize(gray, size, interpolation=cv2.INTER_LINEAR)
        before, self._before = self._before, gray
        if before is None:
            return None
        if self._flow is None:
            self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        ways = []
        for here, there in ((gray, before), (before, gray)):
            flow = self._flow.calc(here, there, np.empty(0, np.float32))
            if size != (width, height):
                flow = cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA)
                flow *= np.array([width / size[0], height / size[1]], np.float32)
            ways.append(flow)
        return Motion(*ways)


def carried(values: Floats, back: Floats) -> Floats:
    """Move values of the previous frame to this frame; 0 where they come from outside."""
    import cv2

    rows, columns = np.indices(back.shape[:2], dtype=np.float32)
    return cv2.remap(
        values, columns + back[..., 0], rows + back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )


def moved(mask: Mask, shift: NDArray[np.float64]) -> Mask:
    """Return the mask moved by (x, y) pixels; parts outside the frame are dropped."""
    import cv2

    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    height, width = mask.shape
    return cv2.warpAffine(mask.astype(np.float32), matrix, (width, height), flags=cv2.INTER_LINEAR) > 0.5
