"""The list of all kinds of shapes, and the plain values that they accept."""

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import Absent, Shape
from videorefer_plugin.regions.mask_values import check_options
from videorefer_plugin.regions.pixels import Mask, Rle
from videorefer_plugin.regions.shapes import Box, Points, Polygons, Scribble
from videorefer_plugin.regions.silhouettes import Silhouette

# Add new kinds of shapes here. Messages name them in this order.
SHAPES: tuple[type[Shape], ...] = (Mask, Rle, Polygons, Box, Points, Scribble, Absent)

Made = TypeVar("Made")


def as_shape(value: Any) -> Shape:
    """Turn a plain value into a `Shape`.

    None means absence, a dict is an RLE, an array, tensor or image is a mask, a tuple of four numbers is a box, and
    any other list or tuple is polygons.

    Raises:
        RegionError: no kind accepts the value, or it is malformed.
    """
    if isinstance(value, Shape):
        return value
    for kind in SHAPES:
        if kind.accepts(value):
            return kind.from_value(value)
    *first, last = (kind.accepted for kind in SHAPES if kind.accepted)
    raise RegionError(f"{short(value)} is not a shape: expected {', '.join(first)}, or {last}")


def shape_at(value: Any, place: str, threshold: float | None = None, label: Any = None) -> Shape:
    """Return the shape of a value; errors name its frame or time. `threshold` and `label` are for masks."""
    try:
        if threshold is not None or label is not None:
            label = check_options(threshold, label)
            if Mask.accepts(value):
                return Mask(value, threshold, label)
            if not isinstance(value, Absent) and value is not None:
                raise RegionError(f"threshold and label tell what counts of a mask, which {short(value)} is not")
        return as_shape(value)
    except RegionError as error:
        raise RegionError(f"{place}: {error}") from error.__cause__


def draw_at(shape: Shape, frame: int, height: int, width: int) -> NDArray[np.bool_]:
    """Draw a shape on a frame; errors name the frame."""
    return at_place(lambda: shape.rasterize(height, width), f"frame {frame}")


def silhouette_at(shape: Shape, frame: int, height: int, width: int) -> Silhouette:
    """Return the silhouette of a shape on a frame; errors name the frame."""
    return at_place(lambda: shape.silhouette(height, width), f"frame {frame}")


def at_place(make: Callable[[], Made], place: str) -> Made:
    """Run `make`, and add the frame or time to the message of its errors."""
    try:
        return make()
    except RegionError as error:
        raise RegionError(f"{place}: {error}") from error.__cause__
