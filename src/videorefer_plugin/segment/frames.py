"""Reads the frames of a video one after the other, forward or backward, with little memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.inputs.frames import pieces
from videorefer_plugin.segment.cuts import CutFinder
from videorefer_plugin.video import Video

__all__ = ["Seen", "walk"]


class Seen(NamedTuple):
    """A frame of a video that is read in order.

    Attributes:
        frame: its index in the source video.
        pixels: uint8 (height, width, 3).
        is_cut: whether the shot changes between the previously read frame and this one.
    """

    frame: int
    pixels: NDArray[np.uint8]
    is_cut: bool


def walk(video: Video, first: int, last: int) -> Iterator[Seen]:
    """Yield the frames from first to last, both included; backward if the last one comes earlier.

    Frames are decoded in blocks of at most 64 MiB, each frame once.
    """
    order = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    cuts = CutFinder()
    for piece in pieces(video, order):
        for index, pixels in zip(piece, video.read(piece), strict=True):
            yield Seen(index, pixels, cuts.is_cut(pixels))
