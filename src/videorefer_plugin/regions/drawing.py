"""Drawing lines, discs, rectangles and run lengths on masks."""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

_LONGEST_STROKE = 64.0  # pixels; keeps the window in which distances are computed small


def covered(low: float, high: float, side: int) -> slice:
    """The pixels of one axis whose centres lie in [low, high), or else the one in the middle of it."""
    low, high = max(low, 0.0), min(high, float(side))
    first, last = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if first == last:
        first = min(int((low + high) / 2), side - 1)
        last = first + 1
    return slice(first, last)


def stroke(mask: NDArray[np.bool_], start: NDArray[np.float64], end: NDArray[np.float64], reach: float) -> None:
    """Set the pixels whose centres are no further than `reach` from the line between two points."""
    pieces = max(1, math.ceil(float(np.hypot(*(end - start))) / max(_LONGEST_STROKE, 4 * reach)))
    stops = start + (end - start) * np.linspace(0.0, 1.0, pieces + 1)[:, None]
    height, width = mask.shape
    for a, b in itertools.pairwise(stops):
        left, top = np.maximum(np.floor(np.minimum(a, b) - reach), 0).astype(int)
        right, bottom = np.minimum(np.ceil(np.maximum(a, b) + reach), (width, height)).astype(int)
        if left >= right or top >= bottom:
            continue
        x = np.arange(left, right) + 0.5 - a[0]
        y = (np.arange(top, bottom) + 0.5 - a[1])[:, None]
        dx, dy = b - a
        length2 = dx * dx + dy * dy
        along = np.clip((x * dx + y * dy) / length2, 0.0, 1.0) if length2 > 0 else 0.0
        mask[top:bottom, left:right] |= (x - along * dx) ** 2 + (y - along * dy) ** 2 <= reach * reach


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
