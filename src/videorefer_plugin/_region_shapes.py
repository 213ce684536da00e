"""The shapes an object can have in one frame, and the run-length codec behind them. Public through `regions`."""

from __future__ import annotations

import itertools
import math
import reprlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import RegionError

POINT_RADIUS = 0.02  # of the frame's shorter side
SCRIBBLE_WIDTH = 2 * POINT_RADIUS  # a scribble is the default point, dragged

# pycocotools walks along polygon edges in steps of a fifth of a pixel, in memory: a stray 1e9 would exhaust it.
_MAX_COORDINATE = 100_000
_REMEMBERED_BYTES = 1024  # longer counts are not kept
_MAX_PIXELS = 2**31 - 1  # pycocotools counts pixels in 32 bits
_LONGEST_STROKE = 64.0  # pixels; keeps the window in which distances are computed small


class Shape:
    """The shape of one object in one frame. Instances are not changed after they are made."""

    __slots__ = ()

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the shape on a frame of `height` x `width` pixels; a new bool array of shape (height, width).

        Raises:
            RegionError: the shape does not fit on a frame of this size.
        """
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and bool(self._values() == other._values())

    def _values(self) -> Any:
        """What two equal shapes of one kind share."""
        raise NotImplementedError


class Absent(Shape):
    """The object is known not to be visible in the frame. Rasterises to zeros."""

    __slots__ = ()

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return zeros of shape (height, width)."""
        return np.zeros((height, width), dtype=bool)

    def __repr__(self) -> str:
        return "ABSENT"

    def _values(self) -> Any:
        return ()


ABSENT = Absent()


class Box(Shape):
    """The pixels whose centres lie in x0 <= x < x1, y0 <= y < y1 (pixels), clipped to the frame; never fewer than one.

    Raises:
        RegionError: not four finite numbers with x0 < x1 and y0 < y1; when rasterised, wholly outside the frame.
    """

    __slots__ = ("x0", "x1", "y0", "y1")

    def __init__(self, x0: float, y0: float, x1: float, y1: float) -> None:
        corners = _numbers((x0, y0, x1, y1), "a box (x0, y0, x1, y1)", limit=None)
        self.x0, self.y0, self.x1, self.y1 = corners.tolist()
        if not (self.x0 < self.x1 and self.y0 < self.y1):
            raise RegionError(
                f"{self!r} is reversed or has no area: expected x0 < x1 and y0 < y1 in pixels "
                "(a COCO box (x, y, width, height) becomes (x, y, x + width, y + height))"
            )

    @classmethod
    def from_sequence(cls, box: Any) -> Box:
        """Make a box of any sequence of four numbers (x0, y0, x1, y1)."""
        corners = _numbers(box, "a box (x0, y0, x1, y1)", limit=None)
        if corners.shape != (4,):
            raise RegionError(f"a box takes four numbers (x0, y0, x1, y1), got {short(box)}")
        return cls(*corners.tolist())

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the box; bool (height, width). A box outside the frame is an error."""
        if self.x0 >= width or self.y0 >= height or self.x1 <= 0 or self.y1 <= 0:
            raise RegionError(
                f"{self!r} lies outside the frame of {_size(height, width)}: give pixels of the source frame "
                "(not of a resized one, not relative to 1), or None where the object is absent"
            )
        mask = np.zeros((height, width), dtype=bool)
        mask[_covered(self.y0, self.y1, height), _covered(self.x0, self.x1, width)] = True
        return mask

    def __repr__(self) -> str:
        return f"Box({', '.join(f'{value:g}' for value in self._values())})"

    def _values(self) -> Any:
        return self.x0, self.y0, self.x1, self.y1


class Polygons(Shape):
    """One object drawn as one or more polygons, filled as COCO fills them; overlaps count once.

    `parts` is one polygon ([(x, y), ...] or [x, y, x, y, ...], in pixels) or a list of such. Rasterisation is
    pycocotools', bit for bit: parts outside the frame are clipped, and a polygon thinner than a pixel can come out
    empty.

    Raises:
        RegionError: a polygon with fewer than three points, an odd number of values, or values that are not finite.
    """

    __slots__ = ("parts",)

    def __init__(self, parts: Any) -> None:
        self.parts: tuple[NDArray[np.float64], ...] = tuple(
            _path(part, "a polygon", least=3) for part in _split_polygons(parts)
        )

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Fill the polygons; bool (height, width)."""
        from pycocotools import mask as coco

        flat = [part.ravel().tolist() for part in self.parts]
        rle = coco.merge(coco.frPyObjects(flat, height, width))
        return _fill(_compressed_runs(rle["counts"]), height, width)

    def __repr__(self) -> str:
        return f"Polygons({len(self.parts)} with {sum(map(len, self.parts))} points)"

    def _values(self) -> Any:
        return [part.tolist() for part in self.parts]


class Points(Shape):
    """A filled disc around each point (x, y); a point's own pixel always counts.

    `points` is [(x, y), ...], (N, 2) or one (x, y), in pixels. `radius` is in pixels; None means 2% of the frame's
    shorter side, 0 the points' own pixels only.

    Raises:
        RegionError: no points, values that are not finite, a negative radius; when rasterised, a point outside.
    """

    __slots__ = ("points", "radius")

    def __init__(self, points: Any, radius: float | None = None) -> None:
        self.points = _path(points, "points", least=1)
        self.radius = None if radius is None else _length(radius, "radius", zero_ok=True)

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the discs; bool (height, width). A point outside the frame is an error."""
        outside = self.points[~_inside(self.points, height, width)]
        if len(outside):
            x, y = outside[0]
            raise RegionError(
                f"point ({x:g}, {y:g}) lies outside the frame of {_size(height, width)}: expected 0 <= x < {width} "
                f"and 0 <= y < {height}, in pixels of the source frame"
            )
        reach = POINT_RADIUS * min(height, width) if self.radius is None else self.radius
        mask = np.zeros((height, width), dtype=bool)
        for point in self.points:
            _stroke(mask, point, point, reach)
        _dot(mask, self.points)
        return mask

    def __repr__(self) -> str:
        return f"Points({len(self.points)}{'' if self.radius is None else f', radius={self.radius:g}'})"

    def _values(self) -> Any:
        return self.points.tolist(), self.radius


class Scribble(Shape):
    """A line drawn through points (x, y) with round ends, clipped to the frame, at least one pixel wide.

    `points` is [(x, y), ...] or (N, 2), in pixels. `width` is in pixels; None means 4% of the frame's shorter side.

    Raises:
        RegionError: no points, values that are not finite, a width <= 0; when rasterised, wholly outside the frame.
    """

    __slots__ = ("points", "width")

    def __init__(self, points: Any, width: float | None = None) -> None:
        self.points = _path(points, "a scribble", least=1)
        self.width = None if width is None else _length(width, "width", zero_ok=False)

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the line; bool (height, width). A scribble wholly outside the frame is an error."""
        thickness = SCRIBBLE_WIDTH * min(height, width) if self.width is None else self.width
        reach = max(thickness, 1.0) / 2
        mask = np.zeros((height, width), dtype=bool)
        ends = self.points[1:] if len(self.points) > 1 else self.points
        for start, end in zip(self.points, ends, strict=False):
            _stroke(mask, start, end, reach)
        _dot(mask, self.points[_inside(self.points, height, width)])
        if not mask.any():
            raise RegionError(
                f"{self!r} lies outside the frame of {_size(height, width)}: its points go from "
                f"{_pair(self.points.min(axis=0))} to {_pair(self.points.max(axis=0))}; "
                "give pixels of the source frame"
            )
        return mask

    def __repr__(self) -> str:
        return f"Scribble({len(self.points)}{'' if self.width is None else f', width={self.width:g}'})"

    def _values(self) -> Any:
        return self.points.tolist(), self.width


class _Sized(Shape):
    """Pixels of a fixed size. Two are equal when their pixels are, however they are stored."""

    __slots__ = ()
    size: tuple[int, int]

    def decode(self) -> NDArray[np.bool_]:
        raise NotImplementedError

    def rasterise(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the pixels as a new bool array (height, width), which has to be their size."""
        if self.size != (height, width):
            swapped = " (height and width look swapped)" if self.size == (width, height) else ""
            kind = "RLE" if isinstance(self, Rle) else "mask"
            raise RegionError(
                f"{kind} of {_size(*self.size)} does not fit the frame of {_size(height, width)}{swapped}: expected "
                "the size of the source frame; resize the mask to it (nearest neighbour), or check that it belongs "
                "to this video"
            )
        return self.decode()

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Sized)
            and self.size == other.size
            and bool(np.array_equal(self.decode(), other.decode()))
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({_size(*self.size)})"


class Mask(_Sized):
    """A (height, width) mask: NumPy array, torch tensor or PIL image; every pixel > 0 belongs to the object.

    Colour, (height, width, 3) or an RGB image, counts where any channel is > 0. The pixels are copied.

    Raises:
        RegionError: another number of dimensions, no pixels, NaN, an alpha channel, or values that are not numbers.
    """

    __slots__ = ("pixels", "size")

    def __init__(self, mask: Any) -> None:
        self.pixels = _positive(_to_numpy(mask))
        self.pixels.flags.writeable = False
        self.size = (self.pixels.shape[0], self.pixels.shape[1])

    def decode(self) -> NDArray[np.bool_]:
        """Return a copy of the pixels, bool (height, width)."""
        return self.pixels.copy()


class Rle(_Sized):
    """COCO run lengths: `size` [height, width], and `counts`, compressed (str or bytes) or a list of run lengths.

    Checked when made, kept as given, decoded on demand.

    Raises:
        RegionError: malformed counts, or counts which do not add up to height * width.
    """

    __slots__ = ("counts", "size")

    def __init__(self, size: Sequence[int], counts: str | bytes | Sequence[int]) -> None:
        self.size = _rle_size(size)
        runs = _rle_runs(counts)
        height, width = self.size
        if int(runs.sum()) != height * width:
            raise RegionError(
                f"RLE counts add up to {int(runs.sum())} pixels, but size [{height}, {width}] (height, width) has "
                f"{height * width}: the counts are truncated or belong to another size"
            )
        self.counts: str | bytes | tuple[int, ...] = (
            bytes(counts)
            if isinstance(counts, (bytes, bytearray))
            else counts
            if isinstance(counts, str)
            else tuple(runs.tolist())
        )

    @classmethod
    def from_mapping(cls, rle: Mapping[str, Any]) -> Rle:
        """Read a COCO RLE dict {"size": [height, width], "counts": ...}; other keys are ignored."""
        if not isinstance(rle, Mapping):
            raise RegionError(f"an RLE is a dict {{'size': [height, width], 'counts': ...}}, got {short(rle)}")
        missing = [key for key in ("size", "counts") if key not in rle]
        if missing:
            hint = "; read annotations with Region.from_annotation" if "segmentation" in rle else ""
            raise RegionError(
                f"an RLE is a dict {{'size': [height, width], 'counts': ...}}, "
                f"{' and '.join(map(repr, missing))} missing from the keys {short(list(rle))}{hint}"
            )
        return cls(rle["size"], rle["counts"])

    def decode(self) -> NDArray[np.bool_]:
        """Return the pixels, bool (height, width)."""
        return _fill(_rle_runs(self.counts), *self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the COCO dict with `counts` as a compressed str, fit for JSON."""
        if isinstance(self.counts, tuple):
            return encode_rle(self.decode())
        counts = self.counts.decode("ascii") if isinstance(self.counts, bytes) else self.counts
        return {"size": list(self.size), "counts": counts}


def decode_rle(rle: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Decode a COCO RLE dict to a bool array of shape (height, width).

    Args:
        rle: {"size": [height, width], "counts": ...} with compressed counts (str or bytes) or a list of run lengths.

    Raises:
        RegionError: the RLE is malformed, or its counts do not add up to height * width.
    """
    return Rle.from_mapping(rle).decode()


def encode_rle(mask: Any) -> dict[str, Any]:
    """Encode a (height, width) mask as {"size": [height, width], "counts": str}, compressed, fit for JSON.

    Args:
        mask: array, tensor or PIL image; every pixel > 0 counts.

    Raises:
        RegionError: the mask is not one (see `Mask`).
    """
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(Mask(mask).pixels, dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def as_shape(value: Any) -> Shape:
    """Turn whatever may stand for a shape into a `Shape`.

    None is absence, a dict an RLE, an array, tensor or image a mask, a tuple of four numbers a box, any other list
    or tuple polygons.

    Raises:
        RegionError: the value stands for no shape, or for a malformed one.
    """
    if value is None:
        return ABSENT
    if isinstance(value, Shape):
        return value
    if isinstance(value, Mapping):
        return Rle.from_mapping(value)
    if isinstance(value, np.ndarray) or _is_tensor(value) or _is_image(value):
        return Mask(value)
    if isinstance(value, tuple) and len(value) == 4 and all(map(is_number, value)):
        return Box(*value)
    if isinstance(value, (list, tuple)):
        if isinstance(value, list) and len(value) == 4 and all(map(is_number, value)):
            raise RegionError(f"{value} is a polygon of 2 points; write a box as a tuple {tuple(value)}")
        return Polygons(value)
    raise RegionError(
        f"{short(value)} is no shape: expected a (height, width) mask (array, tensor, PIL image), a COCO RLE dict, "
        "polygons, a box tuple (x0, y0, x1, y1), or None where the object is absent"
    )


# --- drawing ----------------------------------------------------------------------------------------------------


def _covered(low: float, high: float, side: int) -> slice:
    """The pixels of one axis whose centres lie in [low, high), or else the one in the middle of it."""
    low, high = max(low, 0.0), min(high, float(side))
    first, last = math.ceil(low - 0.5), math.ceil(high - 0.5)
    if first == last:
        first = min(int((low + high) / 2), side - 1)
        last = first + 1
    return slice(first, last)


def _stroke(mask: NDArray[np.bool_], start: NDArray[np.float64], end: NDArray[np.float64], reach: float) -> None:
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


def _dot(mask: NDArray[np.bool_], points: NDArray[np.float64]) -> None:
    """Set the pixel of each point, which a thin pen may miss when the point is far from the pixel's centre."""
    columns, rows = points.astype(int).T
    mask[rows, columns] = True


def _inside(points: NDArray[np.float64], height: int, width: int) -> NDArray[np.bool_]:
    x, y = points.T
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _fill(runs: NDArray[np.int64], height: int, width: int) -> NDArray[np.bool_]:
    """Lay out run lengths, zeros first, column by column. (pycocotools' decode warns under NumPy 2.)"""
    pixels = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return np.ascontiguousarray(pixels.reshape(width, height).T)


# --- reading input ----------------------------------------------------------------------------------------------


def _rle_size(size: Any) -> tuple[int, int]:
    sides = list(size) if isinstance(size, (list, tuple, np.ndarray)) else []
    if len(sides) != 2 or not all(is_integer(side) and side > 0 for side in sides):
        raise RegionError(f"RLE size is [height, width], two whole numbers of pixels above 0, got {short(size)}")
    height, width = int(sides[0]), int(sides[1])
    if height * width > _MAX_PIXELS:
        raise RegionError(f"RLE size [{height}, {width}] has more than {_MAX_PIXELS} pixels; it cannot be a frame")
    return height, width


def _rle_runs(counts: Any) -> NDArray[np.int64]:
    """Read and check the run lengths. pycocotools trusts its input and would read or write past its buffers."""
    if isinstance(counts, (str, bytes, bytearray)):
        runs = _compressed_runs(counts)
    elif isinstance(counts, (list, tuple, np.ndarray)):
        bad = [count for count in counts if not (is_integer(count) and 0 <= count <= _MAX_PIXELS)]
        if bad:
            raise RegionError(f"RLE counts are run lengths, whole numbers from 0 up, got {short(bad[0])} among them")
        runs = np.array(counts, dtype=np.int64)
    else:
        raise RegionError(f"RLE counts are a str, bytes or a list of run lengths, got {short(counts)}")
    if runs.size == 0:
        raise RegionError("RLE counts are empty: even a mask without a pixel has one run, height * width")
    if runs.min() < 0:
        raise RegionError(f"RLE counts {short(counts)} hold a negative run of {runs.min()}: they are damaged")
    return runs


def _compressed_runs(counts: str | bytes | bytearray) -> NDArray[np.int64]:
    """Run lengths of compressed counts: digits of 5 bits, low first, each run less the one two before it."""
    text = counts.encode("utf-8") if isinstance(counts, str) else bytes(counts)
    return _remembered_runs(text) if len(text) <= _REMEMBERED_BYTES else _read_runs(text)


def _read_runs(text: bytes) -> NDArray[np.int64]:
    counts = text.decode("utf-8", "replace")
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if digits.size == 0:
        return digits
    wrong = np.flatnonzero((digits < 0) | (digits > 63))
    if wrong.size:
        at = int(wrong[0])
        raise RegionError(
            f"RLE counts hold the byte {text[at : at + 1]!r} at position {at}, which is not in the alphabet of "
            f"compressed RLE ('0' to 'o'): {short(counts)} is damaged, or escaped twice"
        )
    ends = np.flatnonzero(digits & 32 == 0)
    if ends.size == 0 or ends[-1] != digits.size - 1:
        raise RegionError(f"RLE counts {short(counts)} end in the middle of a number: they are truncated")
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits: no run of a frame needs more, and int64 cannot overflow below
        raise RegionError(f"RLE counts {short(counts)} hold a number of {lengths.max()} digits: they are damaged")
    position = np.arange(digits.size) - np.repeat(starts, lengths)
    runs = np.add.reduceat((digits & 31) << (5 * position), starts)
    runs -= np.where(digits[ends] & 16, 1 << (5 * lengths), 0)
    for parity in (1, 2):  # the first three are plain
        runs[parity::2] = np.cumsum(runs[parity::2])
    runs.setflags(write=False)
    return runs


# Records repeat the masks of their objects, and read them to check and again to draw.
_remembered_runs = lru_cache(maxsize=4096)(_read_runs)


def _to_numpy(mask: Any) -> NDArray[Any]:
    if _is_image(mask):
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
        if _is_tensor(mask):
            mask = mask.detach().cpu()
            mask = mask.float() if "bfloat16" in str(mask.dtype) or "float8" in str(mask.dtype) else mask
            return np.asarray(mask.numpy())
        return np.asarray(mask)
    except (TypeError, ValueError, RuntimeError, NotImplementedError, OSError) as error:
        raise RegionError(f"mask {short(mask)} cannot be read as a (height, width) array: {error}") from error


def _positive(array: NDArray[Any]) -> NDArray[np.bool_]:
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


def _split_polygons(parts: Any) -> list[Any]:
    """Tell one polygon (flat numbers, or pairs) from a list of polygons."""
    parts = _to_numpy(parts) if _is_tensor(parts) else parts
    items = list(parts) if isinstance(parts, (list, tuple, np.ndarray)) else []
    if not items:
        raise RegionError(f"expected a polygon [(x, y), ...] or a list of polygons, got {short(parts)}")
    return [items] if all(map(is_number, items)) or all(map(_is_pair, items)) else items


def _path(value: Any, what: str, least: int) -> NDArray[np.float64]:
    """Points as a read-only (N, 2) array, from pairs or flat numbers."""
    points = _numbers(value, what, limit=_MAX_COORDINATE)
    if (points.ndim != 1 and points.shape[-1] != 2) or points.size % 2:
        raise RegionError(f"{what} takes x, y in turn: expected (N, 2) or 2 N numbers, got {short(value)}")
    points = points.reshape(-1, 2)
    if len(points) < least:
        raise RegionError(f"{what} of {len(points)} points: expected at least {least}, got {short(value)}")
    points.flags.writeable = False
    return points


def _numbers(value: Any, what: str, limit: float | None) -> NDArray[np.float64]:
    """Finite numbers as a new float64 array; never from text or bool."""
    try:
        array = np.asarray(_to_numpy(value) if _is_tensor(value) else value)
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


def _length(value: Any, name: str, zero_ok: bool) -> float:
    if not is_number(value) or not (0 <= value <= _MAX_COORDINATE) or (value == 0 and not zero_ok):
        least = "from 0" if zero_ok else "above 0"
        raise RegionError(f"{name} is a number of pixels {least} to {_MAX_COORDINATE}, or None, got {short(value)}")
    return float(value)


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def is_integer(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and len(value) == 2 and all(map(is_number, value))


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "detach") and hasattr(value, "cpu") and hasattr(value, "numpy")


def _is_image(value: Any) -> bool:
    return isinstance(getattr(value, "mode", None), str) and hasattr(value, "getbands")


# --- words ------------------------------------------------------------------------------------------------------


def short(value: Any) -> str:
    """The value, short enough for a message."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and len(value.shape):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    return reprlib.repr(value)


def _size(height: int, width: int) -> str:
    return f"{height}x{width} (height x width)"


def _pair(point: NDArray[np.float64]) -> str:
    return f"({point[0]:g}, {point[1]:g})"
