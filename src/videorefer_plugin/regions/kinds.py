"""Every kind of shape, and what stands for one."""

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

# A new kind of shape is added here. Messages name them in this order.
SHAPES: tuple[type[Shape], ...] = (Mask, Rle, Polygons, Box, Points, Scribble, Absent)

Made = TypeVar("Made")


def as_shape(value: Any) -> Shape:
    """Turn whatever may stand for a shape into a `Shape`.

    None is absence, a dict an RLE, an array, tensor or image a mask, a tuple of four numbers a box, any other list
    or tuple polygons.

    Raises:
        RegionError: the value stands for no shape, or for a malformed one.
    """
    if isinstance(value, Shape):
        return value
    for kind in SHAPES:
        if kind.accepts(value):
            return kind.from_value(value)
    *first, last = (kind.accepted for kind in SHAPES if kind.accepted)
    raise RegionError(f"{short(value)} is no shape: expected {', '.join(first)}, or {last}")


def shape_at(value: Any, place: str, threshold: float | None = None, label: Any = None) -> Shape:
    """The shape that a value stands for; an error says at which frame or time it is. The rest is for masks."""
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
    """Draw a shape on a frame; an error says on which."""
    return at_place(lambda: shape.rasterise(height, width), f"frame {frame}")


def silhouette_at(shape: Shape, frame: int, height: int, width: int) -> Silhouette:
    """The silhouette of a shape on a frame; an error says on which."""
    return at_place(lambda: shape.silhouette(height, width), f"frame {frame}")


def at_place(make: Callable[[], Made], place: str) -> Made:
    """Run `make`, and say at which frame or time it failed."""
    try:
        return make()
    except RegionError as error:
        raise RegionError(f"{place}: {error}") from error.__cause__
