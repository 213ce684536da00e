"""Reading the frames of a video one after the other, forward or backward, with little memory."""

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
    """A frame on the way through a video.

    Attributes:
        frame: its index in the source video.
        pixels: uint8 (height, width, 3).
        is_cut: whether the shot changes between it and the frame before it on the way.
    """

    frame: int
    pixels: NDArray[np.uint8]
    is_cut: bool


def walk(video: Video, first: int, last: int) -> Iterator[Seen]:
    """The frames from first to last, both included; backward if the last one comes earlier.

    They are decoded in pieces that fit into 64 MiB, each frame once.
    """
    order = range(first, last + 1) if first <= last else range(first, last - 1, -1)
    cuts = CutFinder()
    for piece in pieces(video, order):
        for index, pixels in zip(piece, video.read(piece), strict=True):
            yield Seen(index, pixels, cuts.is_cut(pixels))
