"""Filling polygons as COCO's own tools fill them, at a cost that the frame bounds.

pycocotools walks along each edge in steps of a fifth of a pixel, also far outside the frame, and keeps every step.
Only the steps from one column of pixels to the next decide what is filled, and only those on the frame. So these alone
are computed here, with the arithmetic of its `rleFrPoly`.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import size_words
from videorefer_plugin.errors import RegionError

MAX_CROSSINGS = 10_000_000
"""Of edges and columns of the frame: 80 MB. Outlines of a million points that were traced on a frame have fewer."""

_STEPS = 5  # of a walk along an edge, in each pixel
_AT_ONCE = 1 << 18  # crossings; what is computed on the way takes about 150 bytes each

_Grid = NDArray[np.int64]


def polygon_runs(parts: Sequence[NDArray[np.float64]], height: int, width: int) -> _Grid:
    """Run lengths of what polygons cover together on a frame, zeros first, column by column.

    Args:
        parts: points (N, 2) of each polygon, x and y in pixels.
        height, width: of the frame, in pixels.

    Raises:
        RegionError: their edges cross the columns of the frame more than `MAX_CROSSINGS` times.
    """
    pixels = height * width
    lengths = [len(part) for part in parts]
    points = (_STEPS * np.concatenate(parts) + 0.5).astype(np.int64)  # which truncates, as in C
    last = np.cumsum(lengths) - 1
    following = np.arange(1, len(points) + 1)
    following[last] = last - np.array(lengths) + 1
    low, high = np.minimum(points[:, 0], points[following, 0]), np.maximum(points[:, 0], points[following, 0])
    # The walk enters column n between the steps 5 n + 2 and 5 n + 3, which is its centre.
    first = np.maximum(-((2 - low) // _STEPS), 0)
    counts = np.maximum(np.minimum((high - 3) // _STEPS, width - 1) - first + 1, 0)
    total = int(counts.sum())
    if total > MAX_CROSSINGS:
        raise RegionError(
            f"polygons of {len(points)} points cross the columns of the frame of {size_words(height, width)} {total} "
            f"times, more than {MAX_CROSSINGS}, so they are no outline of an object: simplify them, or give a mask"
        )
    edges = np.flatnonzero(counts)
    owners = np.repeat(np.arange(len(parts)), lengths)
    blocks = np.split(edges, np.flatnonzero(np.diff(np.cumsum(counts[edges]) // _AT_ONCE)) + 1)
    keys = np.concatenate(
        [
            np.repeat(owners[block], counts[block]) * (pixels + 1)
            + _crossings(points[block], points[following[block]], first[block], counts[block], height)
            for block in blocks
        ]
    )
    keys.sort()  # by polygon, and along the columns; between every second crossing and the next one, it is filled
    keys %= pixels + 1
    bounds = keys if len(parts) == 1 else _union(keys[::2], keys[1::2])
    return np.diff(bounds, prepend=0, append=pixels)


def _crossings(start: _Grid, end: _Grid, first: _Grid, counts: _Grid, height: int) -> _Grid:
    """Where edges cross the centres of columns, as places among the pixels of the frame, column by column."""
    edge = np.repeat(np.arange(len(start)), counts)
    column = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    across, down = np.abs(end - start).T
    flat = across >= down
    turned = np.where(flat, start[:, 0] > end[:, 0], start[:, 1] > end[:, 1])[:, None]
    start, end = np.where(turned, end, start), np.where(turned, start, end)
    x, y = start.T
    slope = np.where(flat, end[:, 1] - y, end[:, 0] - x) / np.maximum(across, down)
    x, y, slope, flat = x[edge], y[edge], slope[edge], flat[edge]
    step = _STEPS * column + 2

    along = step - x  # flat edges: one step of x is one step of the walk
    lower = (y + slope * along + 0.5).astype(np.int64)
    upper = (y + slope * (along + 1) + 0.5).astype(np.int64)
    # Steep edges: the first step down at which x, rounded, is beyond the centre. The guess is at most three steps off.
    guess = np.floor((step + 0.5 - x) / np.where(flat, 1.0, slope)) - 1
    for _ in range(3):
        guess += (x + slope * guess + 0.5 >= step + 1) != (slope > 0)
    row = np.where(flat, np.minimum(lower, upper), guess - 1 + y)
    return column * height + np.ceil(np.clip((row + 0.5) / _STEPS - 0.5, 0, height)).astype(np.int64)


def _union(starts: _Grid, ends: _Grid) -> _Grid:
    """The bounds of what some intervals cover together, in order: start, end, start, end, ..."""
    order = np.argsort(starts, kind="stable")
    starts, ends = starts[order], np.maximum.accumulate(ends[order])
    gap = starts[1:] > ends[:-1]
    keep = np.ones(len(starts), dtype=bool)
    keep[1:] = gap
    bounds = np.empty(2 * int(keep.sum()), dtype=np.int64)
    bounds[::2] = starts[keep]
    keep[:-1], keep[-1:] = gap, True
    bounds[1::2] = ends[keep]
    return bounds
