"""Reading numbers, frames, times, points and pixels from callers, with one check for each."""

import math
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._places import named_path
from videorefer_plugin._text import short, size_words
from videorefer_plugin.errors import RegionError

_PACKAGE = __name__.partition(".")[0]

MAX_PIXELS = 2 * 89_478_485
"""Of an image, frame or mask: the limit of Pillow for an image, and five times a frame of 8K video. A photograph of
150 megapixels fits; larger sizes usually come from damaged or invented numbers."""

_MAX_COORDINATE = 100_000  # larger values of x and y are mistakes and not pixels of a frame
_MAX_POINTS = 1_000_000  # of one shape; they take 16 MB, and an outline of an 8K frame has fewer
_MAX_POLYGONS = 10_000  # of one shape; a mask that falls into as many pieces is not an object
_MAX_FRAME = 10**18  # frames are kept in 64 bits
_EXACT = 2**53  # smaller whole numbers are exact in float64
_FRAME_REMEDY = "frames are whole numbers from 0 up; give seconds as times={seconds: shape} or time=seconds"


def to_numpy(mask: Any) -> NDArray[Any]:
    """Return the values of an array, tensor, image or nested list as an array."""
    if is_image(mask):
        if mask.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
            raise RegionError(
                f"mask image of mode {mask.mode!r} has an alpha channel, so it is unclear what marks the object: "
                "convert it, e.g. image.getchannel('A') for the alpha or image.convert('L') for the color"
            )
        if mask.mode not in ("1", "L", "P", "F", "RGB") and not mask.mode.startswith("I"):
            raise RegionError(
                f"mask image of mode {mask.mode!r} is not understood: convert it with image.convert('L')"
            )
    try:
        if is_tensor(mask):
            mask = mask.detach().cpu()
            mask = mask.float() if "bfloat16" in str(mask.dtype) or "float8" in str(mask.dtype) else mask
            return np.asarray(mask.numpy())
        return np.asarray(mask)
    except MemoryError:
        raise
    except Exception as error:  # image readers raise almost anything on damaged files
        raise RegionError(f"mask {short(mask)} cannot be read as a (height, width) array: {error}") from error


def split_polygons(parts: Any) -> list[Any]:
    """Return a list of polygons from one polygon (flat numbers, or pairs) or from a list of polygons."""
    _check_amount(parts, "a polygon")
    parts = to_numpy(parts) if is_tensor(parts) else parts
    items = list(parts) if isinstance(parts, (list, tuple, np.ndarray)) else []
    if not items:
        raise RegionError(f"expected a polygon [(x, y), ...] or a list of polygons, got {short(parts)}")
    if all(map(is_number, items)) or all(map(_is_pair, items)):
        return [items]
    if len(items) > _MAX_POLYGONS:
        raise RegionError(
            f"{len(items)} polygons are more than the {_MAX_POLYGONS} that one object may have: {short(parts)}; "
            "give the rows of a mask as an array, np.array(mask)"
        )
    _check_amount(items, "polygons", sum(math.prod(shape_of(item)) for item in items))
    return items


def read_path(value: Any, what: str, least: int) -> NDArray[np.float64]:
    """Return points as a read-only (N, 2) array, from pairs or flat numbers."""
    points = read_numbers(value, what, limit=_MAX_COORDINATE)
    if (points.ndim != 1 and points.shape[-1] != 2) or points.size % 2:
        raise RegionError(f"{what} takes x, y in turn: expected (N, 2) or 2 N numbers, got {short(value)}")
    points = points.reshape(-1, 2)
    if len(points) < least:
        needed = f"at least {least} point{'s' * (least > 1)}"
        raise RegionError(f"{what} has {needed}, but here are {len(points)}: {short(value)}")
    points.flags.writeable = False
    return points


def read_numbers(value: Any, what: str, limit: float | None = None) -> NDArray[np.float64]:
    """Return finite numbers as a new float64 array; text and bool are refused."""
    _check_amount(value, what)
    try:
        array = np.asarray(to_numpy(value) if is_tensor(value) else value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, or values that are not numbers
        raise RegionError(f"{what} takes numbers in pixels, x, y in turn, got {short(value)}: {error}") from error
    if array.size and array.dtype.kind not in "uif":
        raise RegionError(f"{what} takes numbers in pixels, got {short(value)}")
    if array.ndim and _holds_bool(value):
        raise RegionError(f"{what} takes numbers in pixels, true and false are none, got {short(value)}")
    array = np.array(array, dtype=np.float64)
    if array.ndim == 0 or not np.isfinite(array).all():
        raise RegionError(f"{what} takes finite numbers in pixels, x, y in turn, got {short(value)}")
    if limit is not None and array.size and np.abs(array).max() > limit:
        raise RegionError(
            f"{what} has the coordinate {np.abs(array).max():g}, beyond {limit:g} pixels: {short(value)}"
        )
    return array


def check_in_pixels(points: NDArray[np.float64], what: str) -> None:
    """Refuse points (N, 2) that are relative to a frame of 1 x 1; warn if they may be relative or pixels."""
    if points.min() < 0 or points.max() > 1:
        return
    if (points != np.floor(points)).any():
        raise RegionError(
            f"{what} has coordinates from 0 to 1 only, as if relative to the frame, but pixels are expected: "
            "multiply x by the width and y by the height of the frame"
        )
    if not points.min(axis=0).any() and points.max(axis=0).all():
        warn(
            f"{what} lies on the first pixel of the frame: coordinates are pixels, so multiply x by the width and y "
            "by the height of the frame if they were meant to be relative to it"
        )


def warn(message: str) -> None:
    """Warn with the line of the caller outside this package."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").startswith(f"{_PACKAGE}."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def check_pixels(height: int, width: int, what: str) -> None:
    """Refuse a size that is too large for a frame before memory is allocated for it."""
    if height * width > MAX_PIXELS:
        raise RegionError(
            f"{what} of {size_words(height, width)} has more than {MAX_PIXELS} pixels, so it cannot be a frame: "
            "expected the size of the frames of the video"
        )


def read_labels(labels: Any, count: int) -> tuple[int, ...]:
    """Return 1 for each of `count` points on the object and 0 for each that is not; all are on it without labels."""
    if labels is None:
        return (1,) * count
    try:
        given = read_numbers(labels, "labels")
    except RegionError:
        given = np.empty(0)
    if given.shape != (count,) or not np.isin(given, (0, 1)).all():
        raise RegionError(
            f"labels are 1, on the object, or 0, not on it, one for each of the {count} point(s), got {short(labels)}"
        )
    return tuple(map(int, given))


def read_length(value: Any, name: str, zero_ok: bool) -> float:
    """Return a radius or a width in pixels."""
    if not is_number(value) or not (0 <= value <= _MAX_COORDINATE) or (value == 0 and not zero_ok):
        least = "from 0" if zero_ok else "above 0"
        raise RegionError(f"{name} is a number of pixels {least} to {_MAX_COORDINATE}, or None, got {short(value)}")
    return float(value)


def frame_index(frame: Any, origin: str = "") -> int:
    """Return an index of a frame of the source video, counted from 0; messages begin with `origin`."""
    if not is_integer(frame):
        raise RegionError(f"{origin}{short(frame)} is not a frame index: {_FRAME_REMEDY}")
    if frame < 0:
        raise RegionError(f"{origin}frame {short(int(frame))} is negative: {_FRAME_REMEDY}")
    if frame >= _MAX_FRAME:
        raise RegionError(f"{origin}frame {short(int(frame))} is beyond the end of any video: {_FRAME_REMEDY}")
    return int(frame)


def read_seconds(time: Any) -> float:
    """Return a time from the start of the video."""
    if not is_number(time) or not (0 <= time <= sys.float_info.max):  # false for NaN; whole numbers may be larger
        raise RegionError(f"time {short(time)} is not a finite number of seconds from 0 up")
    return float(time)


def read_visual(visual: Any) -> int | None:
    """Return the index of the visual of a prompt that a region lies on, from 0; None if it is not given."""
    if visual is None:
        return None
    if not is_integer(visual) or visual < 0:
        raise RegionError(
            f"visual={short(visual)} is not the index of a visual: expected a whole number from 0 up, counting the "
            "videos and images of the prompt together, in their order"
        )
    return int(visual)


def frame_size(height: Any, width: Any) -> tuple[int, int]:
    """Return height and width of a frame in pixels."""
    for side in (height, width):
        if not is_integer(side) or side <= 0:
            raise RegionError(
                f"height={short(height)}, width={short(width)} is not a frame size: "
                "expected two whole numbers of pixels above 0, height first"
            )
    check_pixels(int(height), int(width), "a frame")
    return int(height), int(width)


def require_several(frames: Any, method: str) -> None:
    """Refuse a single value, or none, for a method that takes several frames."""
    if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
        raise RegionError(f"{method} takes several frames, e.g. [12, 40], got {short(frames)}")


def no_shape(frames: Any, times: Any) -> RegionError:
    """The error for a region without a shape."""
    return RegionError(
        f"Region got no shape (frames={short(frames)}, times={short(times)}): expected at least one frame; "
        "say that the object is absent with {frame: None}"
    )


def plain_number(value: float) -> int | float:
    """A number for JSON; equal ones are always written alike, whole ones without a fraction."""
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def plain_points(points: NDArray[np.float64]) -> list[list[int | float]]:
    """Points (N, 2) as lists for JSON."""
    return [[plain_number(x), plain_number(y)] for x, y in points.tolist()]


def split_numbers(text: str, what: str) -> list[float]:
    """The numbers of "1,2,3" on a command line."""
    if not text.isascii() or "_" in text:  # float() accepts Arabic digits and 1_000
        raise RegionError(f"{text!r} is not {what}")
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise RegionError(f"{text!r} is not {what}") from None


def existing_file(path: str) -> Path:
    """Return the path of a file that must exist."""
    if not os.path.isfile(path):  # unlike the method of a path, it also accepts impossible names
        raise RegionError(f"there is no file {named_path(path)!r}")
    return Path(path)


def is_number(value: Any) -> bool:
    """Whether a value is one number, of Python or NumPy; a bool does not count."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Whether a value is one whole number, of Python or NumPy; a bool does not count."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def shape_of(value: Any, depth: int = 0) -> tuple[int, ...]:
    """The shape that a value has as an array, without making one."""
    if is_image(value):
        return (value.height, value.width)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple):
        return shape
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray)) or depth > 3:
        return ()
    return (len(value), *shape_of(value[0], depth + 1)) if len(value) else (0,)


def _check_amount(value: Any, what: str, numbers: int | None = None) -> None:
    """Refuse too many points before an array is made from them."""
    numbers = math.prod(shape_of(value)) if numbers is None else numbers
    if numbers > 2 * _MAX_POINTS:
        raise RegionError(f"{what} with {numbers // 2} points, more than {_MAX_POINTS}: {short(value)}; give a mask")


def _holds_bool(value: Any) -> bool:
    """Whether a list holds a bool, which NumPy turns into a number beside numbers."""
    if isinstance(value, (list, tuple)):
        return any(map(_holds_bool, value))
    return isinstance(value, (bool, np.bool_))


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2 and all(map(is_number, value))


def is_tensor(value: Any) -> bool:
    """Whether a value is a torch tensor, without importing torch."""
    return hasattr(value, "detach") and hasattr(value, "cpu") and hasattr(value, "numpy")


def is_image(value: Any) -> bool:
    """Whether a value is a PIL image, without importing PIL."""
    return isinstance(getattr(value, "mode", None), str) and hasattr(value, "getbands")
