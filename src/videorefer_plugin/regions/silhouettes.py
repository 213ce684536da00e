"""The pixels of a frame that an object covers, stored compactly, and read only in the requested parts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_Mask = NDArray[np.bool_]
_Places = NDArray[np.int64]
_Box = tuple[int, int, _Mask]  # offset, top and left, and its pixels


class Silhouette:
    """The pixels of an object on a frame of `size`, height and width; immutable."""

    __slots__ = ("size",)
    size: tuple[int, int]

    def any(self) -> bool:
        """Whether it has a pixel."""
        raise NotImplementedError

    def at(self, rows: _Places, columns: _Places) -> _Mask:
        """Return the pixels where some rows cross some columns; bool (rows, columns)."""
        raise NotImplementedError

    def holder(self) -> _Box:
        """Return a box that holds all of its pixels: top, left, and bool (height, width)."""
        raise NotImplementedError

    def box(self) -> _Box:
        """Return the smallest box with all of its pixels: top, left, and bool (height, width), which may be 0."""
        return _trimmed(*self.holder())

    def mask(self) -> _Mask:
        """Return its pixels on the whole frame; a new bool array of shape `size`."""
        mask = np.zeros(self.size, dtype=bool)
        top, left, pixels = self.holder()
        mask[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
        return mask


class Part(Silhouette):
    """A part of the frame, which is not copied; all pixels outside it are False."""

    __slots__ = ("left", "pixels", "top")

    def __init__(self, size: tuple[int, int], top: int, left: int, pixels: _Mask) -> None:
        self.size, self.top, self.left, self.pixels = size, top, left, pixels

    def any(self) -> bool:
        """Whether it has a pixel."""
        return bool(self.pixels.any())

    def at(self, rows: _Places, columns: _Places) -> _Mask:
        """The pixels where some rows cross some columns."""
        return _inside(rows - self.top, columns - self.left, self.pixels.shape, lambda y, x: self.pixels[y, x])

    def holder(self) -> _Box:
        """The part."""
        return self.top, self.left, self.pixels


class Bits(Silhouette):
    """The smallest box that holds its pixels, packed with eight pixels per byte."""

    __slots__ = ("bits", "left", "shape", "top")

    def __init__(self, size: tuple[int, int], top: int, left: int, pixels: _Mask) -> None:
        self.size, (self.top, self.left, box) = size, _trimmed(top, left, pixels)
        self.shape = (box.shape[0], box.shape[1])
        self.bits = np.packbits(box)

    def any(self) -> bool:
        """Whether it has a pixel."""
        return self.bits.size > 0

    def at(self, rows: _Places, columns: _Places) -> _Mask:
        """The pixels where some rows cross some columns."""

        def read(y: _Places, x: _Places) -> _Mask:
            place = y * self.shape[1] + x
            return (self.bits[place >> 3] << (place & 7).astype(np.uint8) & 128) > 0

        return _inside(rows - self.top, columns - self.left, self.shape, read)

    def holder(self) -> _Box:
        """The smallest box."""
        height, width = self.shape
        pixels = np.unpackbits(self.bits, count=height * width).reshape(height, width)
        return self.top, self.left, pixels.view(bool)


class Runs(Silhouette):
    """Run lengths, zeros first, column by column, in the order of COCO."""

    __slots__ = ("ends",)

    def __init__(self, size: tuple[int, int], runs: NDArray[np.int64]) -> None:
        self.size = size
        self.ends = np.cumsum(runs, dtype=np.int32)  # a frame has fewer pixels than that holds

    def any(self) -> bool:
        """Whether it has a pixel."""
        return self._bounds()[0].size > 0

    def at(self, rows: _Places, columns: _Places) -> _Mask:
        """The pixels where some rows cross some columns."""
        found = np.zeros((len(rows), len(columns)), dtype=bool)
        starts, stops = self._bounds()
        if not starts.size:
            return found
        height = self.size[0]
        near = np.flatnonzero((columns >= starts[0] // height) & (columns <= (stops[-1] - 1) // height))
        place = (columns[near] * height + rows[:, None]).astype(np.int32)
        found[:, near] = np.searchsorted(self.ends, place, side="right") & 1  # the index of its run
        return found

    def holder(self) -> _Box:
        """The columns that it covers, and of these only its rows, unless one run continues in the next column."""
        height = self.size[0]
        starts, stops = self._bounds()
        if not starts.size:
            return 0, 0, np.zeros((0, 0), dtype=bool)
        (first, above), (last, below) = np.divmod(starts, height), np.divmod(stops - 1, height)
        left, right, top, bottom = int(first[0]), int(last[-1]) + 1, 0, height
        if (first == last).all():
            top, bottom = int(above.min()), int(below.max()) + 1
        tall = bottom - top
        begin, end = (first - left) * tall + above - top, (last - left) * tall + below - top + 1
        edges = np.stack((begin, end), axis=1).ravel()
        lengths = np.diff(edges, prepend=0, append=(right - left) * tall)
        pixels = np.repeat(np.arange(lengths.size) % 2 == 1, lengths)
        return top, left, pixels.reshape(right - left, tall).T

    def _bounds(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """The start and end of each run of the object, without empty ones."""
        stops = self.ends[1::2]
        starts = self.ends[::2][: len(stops)]
        filled = stops > starts
        return starts[filled], stops[filled]


def pack(mask: _Mask) -> Silhouette:
    """Return the silhouette of a mask of a whole frame; the mask is not kept."""
    return Bits((mask.shape[0], mask.shape[1]), 0, 0, mask)


def run_silhouette(runs: NDArray[np.int64], height: int, width: int) -> Silhouette:
    """Return the silhouette of run lengths, zeros first, column by column, in the smaller of its forms."""
    kept = Runs((height, width), runs)
    return kept if 8 * kept.ends.nbytes <= height * width else Bits(kept.size, *kept.holder())


def _inside(
    rows: _Places, columns: _Places, shape: tuple[int, ...], read: Callable[[_Places, _Places], _Mask]
) -> _Mask:
    """The result of `read` where rows cross columns of a box of this shape; False outside of it."""
    found = np.zeros((len(rows), len(columns)), dtype=bool)
    y = np.flatnonzero((rows >= 0) & (rows < shape[0]))
    x = np.flatnonzero((columns >= 0) & (columns < shape[1]))
    if y.size and x.size:
        found[y[:, None], x] = read(rows[y][:, None], columns[x])
    return found


def _trimmed(top: int, left: int, pixels: _Mask) -> _Box:
    """The smallest part of a box that holds all of its pixels."""
    rows = np.flatnonzero(pixels.any(axis=1))
    if not rows.size:
        return 0, 0, pixels[:0, :0]
    pixels = pixels[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(pixels.any(axis=0))
    return top + int(rows[0]), left + int(columns[0]), pixels[:, columns[0] : columns[-1] + 1]
