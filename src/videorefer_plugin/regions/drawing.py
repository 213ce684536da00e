"""Drawing lines, discs, rectangles and run lengths on masks."""

import math

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import size_words
from videorefer_plugin.errors import RegionError

MAX_ROWS = 50_000_000
"""Rows of the frame that a pen may cover, added up over all lines. That is some seconds of work."""

_AT_ONCE = 1 << 17  # rows; what is computed on the way takes about 200 bytes each

_Points = NDArray[np.float64]


def covered(low: float, high: float, side: int) -> slice:
    """The pixels of one axis whose centres lie in [low, high), or else the one in the middle of it."""
    low, high = max(low, 0.0), min(high, float(side))
    first, last = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if first == last:
        first = min(int((low + high) / 2), side - 1)
        last = first + 1
    return slice(first, last)


def strokes(mask: NDArray[np.bool_], starts: _Points, ends: _Points, reach: float) -> None:
    """Set the pixels whose centres are no further than `reach` from any of some lines between two points (N, 2).

    Raises:
        RegionError: the lines cover more than `MAX_ROWS` rows of the frame.
    """
    height, width = mask.shape
    low, high = np.minimum(starts, ends) - reach, np.maximum(starts, ends) + reach
    near = (high[:, 0] > 0) & (low[:, 0] < width)
    first = np.ceil(np.clip(low[:, 1], 0, height) - 0.5).astype(np.int64)
    counts = np.where(near, np.floor(np.clip(high[:, 1], 0, height) - 0.5).astype(np.int64) - first + 1, 0)
    first, counts = np.maximum(first, 0), np.minimum(counts, height - first)
    total = int(counts.sum())
    if total > MAX_ROWS:
        raise RegionError(
            f"{len(starts)} points with a reach of {reach:g} pixels cover {total} rows of the frame of "
            f"{size_words(height, width)}, more than {MAX_ROWS}: give fewer of them, or a mask"
        )
    lines = np.flatnonzero(counts)
    if not len(lines):
        return
    # Each line covers one stretch of a row. Stretches are counted up where they start and down behind their end.
    top, left = int(first[lines].min()), max(math.floor(low[lines, 0].min()), 0)
    bottom, right = int((first + counts)[lines].max()), min(math.ceil(high[lines, 0].max()), width)
    depth = np.zeros((bottom - top) * (right - left + 1), dtype=np.int32)
    for block in np.split(lines, np.flatnonzero(np.diff(np.cumsum(counts[lines]) // _AT_ONCE)) + 1):
        each = np.repeat(np.arange(len(block)), counts[block])
        row = np.arange(len(each)) + (first[block] - np.cumsum(counts[block]) + counts[block])[each]
        begin, end = _stretches(row + 0.5, each, starts[block], ends[block], reach)
        opened = np.clip(np.ceil(begin - 0.5), left, right).astype(np.int64)
        closed = np.maximum(np.clip(np.floor(end + 0.5), left, right).astype(np.int64), opened)
        place = (row - top) * (right - left + 1) - left
        np.add.at(depth, place + opened, np.int32(1))  # another dtype is fifty times slower
        np.add.at(depth, place + closed, np.int32(-1))
    depth = depth.reshape(bottom - top, -1)
    np.cumsum(depth, axis=1, out=depth)
    mask[top:bottom, left:right] |= depth[:, :-1] > 0


def _stretches(
    y: NDArray[np.float64], each: NDArray[np.int64], start: _Points, end: _Points, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where rows at `y` are no further than `reach` from lines; `each` says from which."""
    down = ((start[:, 1] < end[:, 1]) | ((start[:, 1] == end[:, 1]) & (start[:, 0] <= end[:, 0])))[:, None]
    (x0, y0), (x1, y1) = np.where(down, start, end).T, np.where(down, end, start).T
    dx, dy = x1 - x0, y1 - y0
    length = np.hypot(dx, dy)
    whole = np.where(length > 0, length, 1.0)
    over, aside = reach * dx / whole, reach * dy / whole  # the straight edges leave the round ends that far away
    slope = dx / np.where(dy > 0, dy, 1.0)
    bounds = []
    for side in (-1, 1):
        upper, lower = (y0 - side * over)[each], (y1 - side * over)[each]
        above, below = (y < upper, y >= lower) if side > 0 else (y <= upper, y > lower)
        off = y - np.where(above, y0[each], y1[each])
        bow = np.where(above, x0[each], x1[each]) + side * np.sqrt(np.maximum(reach * reach - off * off, 0))
        edge = (x0 + side * aside)[each] + slope[each] * (y - upper)
        bounds.append(np.where(above | below, bow, edge))
    return bounds[0], bounds[1]


def dot(mask: NDArray[np.bool_], points: NDArray[np.float64]) -> None:
    """Set the pixel of each point, which a thin pen may miss when the point is far from the pixel's centre."""
    columns, rows = points.astype(int).T
    mask[rows, columns] = True


def inside(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Whether each point lies on the frame."""
    x, y = points.T
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def fill(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """Lay out run lengths, zeros first, column by column. (pycocotools' decode warns under NumPy 2.)"""
    pixels = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return np.ascontiguousarray(pixels.reshape(width, height).T)
