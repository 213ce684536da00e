"""Filling polygons with COCO's own tools, with a cost that is bounded by the frame."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import size_words
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.run_lengths import compressed_runs

MAX_STEPS = 10_000_000
"""The limit for pycocotools, which follows each edge in steps of a fifth of a pixel and stores each in about 30 bytes.
An outline of a million points traced on a frame needs fewer."""

_CHEAP = 1_000_000  # steps; polygons with fewer are passed to pycocotools unchanged
_STEPS = 5  # in each pixel
_MARGIN = 2.0  # pixels around the frame, so that rounding at a clipped edge is not visible

_Points = NDArray[np.float64]


def polygon_runs(parts: Sequence[_Points], height: int, width: int) -> NDArray[np.int64]:
    """Return the run lengths of the union of polygons on a frame, zeros first, column by column.

    Expensive polygons are first clipped to the frame, which changes pixels only by rounding.

    Args:
        parts: points (N, 2) of each polygon, x and y in pixels.
        height, width: of the frame, in pixels.

    Raises:
        RegionError: their edges take more than `MAX_STEPS` steps on the frame.
    """
    from pycocotools import mask as coco

    if sum(map(_steps, parts)) > _CHEAP:
        parts = [part for part in (_clipped(part, height, width) for part in parts) if len(part)]
        steps = sum(map(_steps, parts))
        if steps > MAX_STEPS:
            raise RegionError(
                f"polygons of {sum(map(len, parts))} points have edges of {steps // _STEPS} pixels on the frame of "
                f"{size_words(height, width)}, more than {MAX_STEPS // _STEPS}, so they are not an outline: "
                "simplify them, or give a mask"
            )
    if not parts:
        return np.array([height * width])
    outlines = [part.ravel().tolist() for part in parts]
    return compressed_runs(coco.merge(coco.frPyObjects(outlines, height, width))["counts"])


def _steps(points: _Points) -> int:
    """The number of steps around a polygon."""
    edges = np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1)
    return int((_STEPS * edges + 1).sum())


def _clipped(points: _Points, height: int, width: int) -> _Points:
    """The part of a polygon on the frame and its margin, clipped side by side (Sutherland and Hodgman)."""
    for axis, side in ((0, width), (1, height)):
        for sign, bound in ((-1, _MARGIN), (1, side + _MARGIN)):
            points = _on_side(points, sign * points[:, axis] - bound)
    return points


def _on_side(points: _Points, beyond: NDArray[np.float64]) -> _Points:
    """The part of a polygon where `beyond`, the signed distance of each point from a line, is not positive."""
    inside = beyond <= 0
    crosses = inside != np.roll(inside, -1)
    along = np.divide(beyond, beyond - np.roll(beyond, -1), out=np.zeros_like(beyond), where=crosses)
    crossings = points + along[:, None] * (np.roll(points, -1, axis=0) - points)
    return np.stack((points, crossings), axis=1)[np.stack((inside, crosses), axis=1)]
