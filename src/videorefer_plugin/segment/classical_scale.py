"""Scales frames down for the classical segmenter, and masks up again."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.classical_pixels import Mask
from videorefer_plugin.segment.prompts import Prompt

__all__ = ["Placed", "Scale"]


class Placed(NamedTuple):
    """A prompt in pixels of a scaled frame, with the attributes of `Prompt`.

    It is not a `Prompt`, whose check would take the smaller numbers for shares of the frame.
    """

    points: NDArray[np.float64]
    labels: tuple[int, ...] = ()
    box: tuple[float, ...] | None = None
    mask: Mask | None = None

    @classmethod
    def at(cls, y: int, x: int) -> Placed:
        """Return a click on a pixel."""
        return cls(np.array([[x + 0.5, y + 0.5]]), (1,))


class Scale:
    """Converts frames, masks and prompts to a smaller size, and masks back.

    Args:
        height, width: size of the frames.
        side: longest side of the scaled frames.
    """

    def __init__(self, height: int, width: int, side: int):
        self.height, self.width = height, width
        share = min(1.0, side / max(height, width))
        self.size = max(round(height * share), 1), max(round(width * share), 1)

    @property
    def is_same(self) -> bool:
        """Whether frames are small enough and are not scaled."""
        return self.size == (self.height, self.width)

    def smaller(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a scaled frame."""
        import cv2

        return frame if self.is_same else cv2.resize(frame, self.size[::-1], interpolation=cv2.INTER_AREA)

    def smaller_mask(self, mask: Mask) -> Mask:
        """Return a scaled mask, which keeps at least one pixel."""
        import cv2

        if self.is_same:
            return mask
        shares = cv2.resize(mask.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_AREA)
        return shares >= min(0.5, float(shares.max())) if mask.any() else shares > 0

    def enlarged(self, mask: Mask) -> Mask:
        """Return a mask of the frame's size from a scaled mask."""
        import cv2

        if self.is_same:
            return mask
        size = self.width, self.height
        large = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5
        if mask.any() and not large.any():
            large = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        return large

    def prompt(self, prompt: Prompt | Placed) -> Placed:
        """Return a prompt in pixels of the scaled frame."""
        share = np.array([self.size[1] / self.width, self.size[0] / self.height])
        box = None if prompt.box is None else tuple((np.array(prompt.box) * np.tile(share, 2)).tolist())
        mask = None if prompt.mask is None else self.smaller_mask(prompt.mask)
        return Placed(prompt.points * share, prompt.labels, box, mask)
