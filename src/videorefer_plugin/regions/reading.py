"""Reading what a caller gave: numbers, frames, times, points and pixels, each checked once."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError

# pycocotools walks along polygon edges in steps of a fifth of a pixel, in memory: a stray 1e9 would exhaust it.
_MAX_COORDINATE = 100_000
_FRAME_REMEDY = "frames are whole numbers from 0 up; give seconds as times={seconds: shape} or time=seconds"


def to_numpy(mask: Any) -> NDArray[Any]:
    """The values of an array, tensor, image or nested list, as an array."""
    if is_image(mask):
        if mask.mode in ("LA", "La", "PA", "RGBA", "RGBa"):
            raise RegionError(
                f"mask image of mode {mask.mode!r} has an alpha channel, so it is unclear what marks the object: "
                "convert it, e.g. image.getchannel('A') for the alpha or image.convert('L') for the colour"
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
    except (TypeError, ValueError, RuntimeError, NotImplementedError, OSError) as error:
        raise RegionError(f"mask {short(mask)} cannot be read as a (height, width) array: {error}") from error


def positive(array: NDArray[Any]) -> NDArray[np.bool_]:
    """The pixels > 0 of a grey or color array, as a new bool array (height, width)."""
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
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise RegionError(
            f"mask of shape {array.shape} holds {int(np.isnan(array).sum())} NaN: replace them, "
            "e.g. with np.nan_to_num(mask)"
        )
    positive = array > 0
    return np.array(positive.any(axis=2) if array.ndim == 3 else positive, dtype=bool, order="C")


def split_polygons(parts: Any) -> list[Any]:
    """Tell one polygon (flat numbers, or pairs) from a list of polygons."""
    parts = to_numpy(parts) if is_tensor(parts) else parts
    items = list(parts) if isinstance(parts, (list, tuple, np.ndarray)) else []
    if not items:
        raise RegionError(f"expected a polygon [(x, y), ...] or a list of polygons, got {short(parts)}")
    return [items] if all(map(is_number, items)) or all(map(_is_pair, items)) else items


def read_path(value: Any, what: str, least: int) -> NDArray[np.float64]:
    """Points as a read-only (N, 2) array, from pairs or flat numbers."""
    points = read_numbers(value, what, limit=_MAX_COORDINATE)
    if (points.ndim != 1 and points.shape[-1] != 2) or points.size % 2:
        raise RegionError(f"{what} takes x, y in turn: expected (N, 2) or 2 N numbers, got {short(value)}")
    points = points.reshape(-1, 2)
    if len(points) < least:
        raise RegionError(f"{what} of {len(points)} points: expected at least {least}, got {short(value)}")
    points.flags.writeable = False
    return points


def read_numbers(value: Any, what: str, limit: float | None = None) -> NDArray[np.float64]:
    """Finite numbers as a new float64 array; never from text or bool."""
    try:
        array = np.asarray(to_numpy(value) if is_tensor(value) else value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged, or things which are no numbers
        raise RegionError(f"{what} takes numbers in pixels, x, y in turn, got {short(value)}: {error}") from error
    if array.size and array.dtype.kind not in "uif":
        raise RegionError(f"{what} takes numbers in pixels, got {short(value)}")
    array = np.array(array, dtype=np.float64)
    if array.ndim == 0 or not np.isfinite(array).all():
        raise RegionError(f"{what} takes finite numbers in pixels, x, y in turn, got {short(value)}")
    if limit is not None and array.size and np.abs(array).max() > limit:
        raise RegionError(
            f"{what} has the coordinate {np.abs(array).max():g}, beyond {limit:g} pixels: {short(value)}"
        )
    return array


def read_length(value: Any, name: str, zero_ok: bool) -> float:
    """A radius or a width in pixels."""
    if not is_number(value) or not (0 <= value <= _MAX_COORDINATE) or (value == 0 and not zero_ok):
        least = "from 0" if zero_ok else "above 0"
        raise RegionError(f"{name} is a number of pixels {least} to {_MAX_COORDINATE}, or None, got {short(value)}")
    return float(value)


def frame_index(frame: Any, origin: str = "") -> int:
    """A frame of the source video, counted from 0; `origin` stands in front of the message."""
    if not is_integer(frame):
        raise RegionError(f"{origin}{short(frame)} is no frame index: {_FRAME_REMEDY}")
    if frame < 0:
        raise RegionError(f"{origin}frame {int(frame)} is negative: {_FRAME_REMEDY}")
    return int(frame)


def read_seconds(time: Any) -> float:
    """A time from the start of the video."""
    if not is_number(time) or not math.isfinite(time) or time < 0:
        raise RegionError(f"time {short(time)} is not a finite number of seconds from 0 up")
    return float(time)


def frame_size(height: Any, width: Any) -> tuple[int, int]:
    """Height and width of a frame in pixels."""
    for side in (height, width):
        if not is_integer(side) or side <= 0:
            raise RegionError(
                f"height={short(height)}, width={short(width)} is no frame size: "
                "expected two whole numbers of pixels above 0, height first"
            )
    return int(height), int(width)


def require_several(frames: Any, method: str) -> None:
    """Refuse what holds no frames, for a method that takes several."""
    if not isinstance(frames, Iterable) or isinstance(frames, (str, bytes)):
        raise RegionError(f"{method} takes several frames, e.g. [12, 40], got {short(frames)}")


def no_shape(frames: Any, times: Any) -> RegionError:
    """The error for a region which is given nothing."""
    return RegionError(
        f"Region got no shape (frames={short(frames)}, times={short(times)}): expected at least one frame; "
        "say that the object is absent with {frame: None}"
    )


def split_numbers(text: str, what: str) -> list[float]:
    """The numbers of a command line's "1,2,3"."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise RegionError(f"{text!r} is not {what}") from None


def existing_file(path: str) -> Path:
    """The path of a file, which has to be there."""
    if not Path(path).is_file():
        raise RegionError(f"there is no file {path!r}")
    return Path(path)


def is_number(value: Any) -> bool:
    """Whether it is one number, of Python or NumPy; a bool is none."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    """Whether it is one whole number, of Python or NumPy; a bool is none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2 and all(map(is_number, value))


def is_tensor(value: Any) -> bool:
    """Whether it is a torch tensor, told without torch."""
    return hasattr(value, "detach") and hasattr(value, "cpu") and hasattr(value, "numpy")


def is_image(value: Any) -> bool:
    """Whether it is a PIL image, told without PIL."""
    return isinstance(getattr(value, "mode", None), str) and hasattr(value, "getbands")
