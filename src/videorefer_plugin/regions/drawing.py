"""Drawing lines, discs and rectangles on frames."""

import math

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import size_words
from videorefer_plugin.errors import RegionError

MAX_ROWS = 50_000_000
"""Rows of the frame that a pen may cover, added up over all lines: some seconds of work."""

_AT_ONCE = 1 << 17  # rows; intermediate arrays take about 200 bytes for each

_Points = NDArray[np.float64]


def covered(low: float, high: float, side: int) -> range:
    """The pixels of one axis whose centers lie in [low, high), or else the one in the middle of the interval."""
    low, high = max(low, 0.0), min(high, float(side))
    first, last = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if first == last:
        first = min(int((low + high) / 2), side - 1)
        last = first + 1
    return range(first, last)


def draw_lines(
    starts: _Points, ends: _Points, reach: float, dots: _Points, height: int, width: int
) -> tuple[int, int, NDArray[np.bool_]]:
    """Draw lines between pairs of points, and dots, on a part of a frame that is large enough for them.

    Args:
        starts, ends: (N, 2), in pixels. Lines cover the pixels whose centers are at most `reach` away from them.
        reach: half of a line's width, in pixels.
        dots: (N, 2), on the frame. Their pixels are covered too; a thin pen could miss them when the point is far from
            the pixel's center.
        height, width: of the frame, in pixels.

    Returns:
        The offset of the part, top and left, and its pixels.

    Raises:
        RegionError: the lines cover more than `MAX_ROWS` rows of the frame.
    """
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
    columns, rows = dots.astype(int).T
    if not len(lines) and not len(dots):
        return 0, 0, np.zeros((0, 0), dtype=bool)
    top = int(np.concatenate((first[lines], rows)).min())
    bottom = int(np.concatenate(((first + counts)[lines], rows + 1)).max())
    left = max(math.floor(np.concatenate((low[lines, 0], columns)).min()), 0)
    right = min(math.ceil(np.concatenate((high[lines, 0], columns + 1)).max()), width)
    # Each line covers one stretch of a row. The depth is increased at its start and decreased after its end.
    depth = np.zeros((bottom - top) * (right - left + 1), dtype=np.int32)
    blocks = np.split(lines, np.flatnonzero(np.diff(np.cumsum(counts[lines]) // _AT_ONCE)) + 1)
    for block in blocks if len(lines) else ():
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
    pixels = depth[:, :-1] > 0
    pixels[rows - top, columns - left] = True
    return top, left, pixels


def _stretches(
    y: NDArray[np.float64], each: NDArray[np.int64], start: _Points, end: _Points, reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The stretches of rows at `y` that are at most `reach` away from lines; `each` is the index of the line."""
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


def inside(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    """Whether each point is inside the frame."""
    x, y = points.T
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)
