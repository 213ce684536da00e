"""Deciding from the values of a mask which of its pixels belong to the object."""

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.reading import MAX_PIXELS, is_number, is_tensor, shape_of, to_numpy

_SHOWN = 1 << 20  # pixels that are searched for values to show in a message
_OVERSHOOT = 1e-3  # how far resizing may move probabilities beyond 0 and 1; logits exceed it


def object_pixels(mask: Any, threshold: float | None, label: Any) -> NDArray[np.bool_]:
    """Return the pixels of the object as a new bool array (height, width); see `Mask` for the rule and its reasons."""
    shape = shape_of(mask)
    if math.prod(shape) > MAX_PIXELS * (3 if len(shape) > 2 else 1):
        raise RegionError(
            f"mask of shape {shape} has more than {MAX_PIXELS} pixels, so it cannot be a frame: expected "
            "(height, width) of the source frame"
        )
    label = check_options(threshold, label)
    array = to_numpy(mask)
    _check_array(array)
    if label is not None:
        chosen = _with_label(array, label)
    elif threshold is not None:
        chosen = _above(array, float(threshold))
    else:
        chosen = _without_doubt(array)
    return np.ascontiguousarray(chosen)


def check_options(threshold: Any, label: Any) -> Any:
    """Check the options that select the pixels of the object; returns the label as one number, three, or None."""
    if threshold is not None and label is not None:
        raise RegionError(f"got both threshold={short(threshold)} and label={short(label)}: give one of them")
    if threshold is not None and not _is_finite(threshold):
        raise RegionError(f"threshold is a finite number, above which a pixel counts, got {short(threshold)}")
    if isinstance(label, np.ndarray) or is_tensor(label):
        label = to_numpy(label).tolist()
    parts = label if isinstance(label, (tuple, list)) and len(label) == 3 else [label]
    if label is not None and not all(map(_is_finite, parts)):
        raise RegionError(f"label is the value of the object in a label map, or its (r, g, b), got {short(label)}")
    return label


def _is_finite(value: Any) -> bool:
    return is_number(value) and bool(abs(value) <= sys.float_info.max)  # false for NaN; whole numbers may be larger


def _check_array(array: NDArray[Any]) -> None:
    """Refuse arrays that cannot be a mask, independently of their values."""
    if array.dtype.kind not in "buif":
        raise RegionError(f"mask of dtype {array.dtype} and shape {array.shape}: expected bool, int or float pixels")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        if array.ndim == 3 and array.shape[2] == 4:
            hint = "the last axis looks like RGBA; drop its alpha channel or take it alone"
        elif array.ndim == 3 and 1 in array.shape:
            hint = "drop the axis of length 1, e.g. with .squeeze()"
        else:
            hint = "a Region is one object, give each frame its own 2-D mask"
        raise RegionError(f"mask of shape {array.shape}: expected (height, width) or (height, width, 3); {hint}")
    if array.size == 0:
        raise RegionError(f"mask of shape {array.shape} has no pixels: expected (height, width) of the source frame")
    if array.dtype.kind == "f" and np.isnan(array.min()):  # the minimum is NaN if any value is, at half the cost
        raise RegionError(
            f"mask of shape {array.shape} holds {int(np.isnan(array).sum())} NaN: replace them, "
            "e.g. with np.nan_to_num(mask)"
        )


def _any_channel(found: Callable[[NDArray[Any]], NDArray[np.bool_]], array: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels for which `found` holds, in color in any channel; channel by channel, which is faster."""
    if array.ndim == 2:
        return np.asarray(found(array))
    chosen = found(array[..., 0])
    for channel in (1, 2):
        chosen |= found(array[..., channel])
    return chosen


def _above(array: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """The pixels whose value, or that of any channel, is above the threshold."""
    return _any_channel(lambda values: values > threshold, array)


def _with_label(array: NDArray[Any], label: Any) -> NDArray[np.bool_]:
    """The pixels whose value, or color, is the label."""
    if isinstance(label, (tuple, list)) and array.ndim == 2:
        raise RegionError(f"label {tuple(label)} is a color, but the mask of shape {array.shape} is not: give a value")
    same = array == np.asarray(label)
    return np.asarray(same.all(axis=2) if array.ndim == 3 else same)


def _without_doubt(array: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels > 0, if the values leave no doubt that these are the object."""
    if array.dtype.kind == "b":
        return _any_channel(np.copy, array)
    counted = _above(array, 0)
    low, high = array.min(), array.max()
    whole = array.dtype.kind in "ui"
    soft = not whole and low > -_OVERSHOOT and high <= 1 + _OVERSHOOT
    if low < 0 and not whole and not soft:  # logits, which may be infinite
        return counted
    what = f"mask of shape {array.shape} and dtype {array.dtype}"
    if np.isposinf(high):
        raise RegionError(f"{what} holds infinity, which only logits may, with values below 0: give a mask of 0 and 1")
    if low < 0 and whole and high <= 0:
        raise RegionError(
            f"{what} holds values below 0, but none above it ({_some_values(array, array < 0)}), so it has no pixel: "
            "give mask != 0 if all others are the object, or threshold=value"
        )
    values, alike = _object_value(array, counted, high)
    if soft and (((values > 0) & (values < 1)).any() or (not alike and ((array > 0) & (array < 1)).any())):
        raise RegionError(
            f"{what} holds values between 0 and 1 ({_some_values(array, counted)}), so it is unclear from where on a "
            "pixel belongs to the object: give threshold=0.5, or a mask of 0 and 1"
        )
    if not alike:
        raise RegionError(
            f"{what} holds several values above 0 ({_some_values(array, counted)}), so it is unclear which of them "
            "are the object: give label=value for one object of a label map, threshold=value for a soft mask, such as "
            "a JPEG file, or for logits, or a mask of 0 and 255"
        )
    return counted


def _object_value(array: NDArray[Any], counted: NDArray[np.bool_], high: Any) -> tuple[NDArray[Any], bool]:
    """The value, or color, of a pixel that counts, and whether all pixels that count have the same."""
    if array.ndim == 2:
        return np.asarray(high), bool(high <= 0) or np.count_nonzero(counted) == np.count_nonzero(array == high)
    one = array[np.unravel_index(np.argmax(counted), counted.shape)]
    return one, not any((counted & (array[..., channel] != one[channel])).any() for channel in range(3))


def _some_values(array: NDArray[Any], chosen: NDArray[np.bool_]) -> str:
    found = array[chosen][:_SHOWN]
    if array.ndim == 3 and chosen.ndim == 2:
        return listed(map(tuple, np.unique(found, axis=0)[:6].tolist()))
    return listed(f"{value:g}" if isinstance(value, float) else value for value in np.unique(found)[:6].tolist())
