"""The shapes that an object can have in one frame, apart from those that are stored as pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short, size_words
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import DrawnShape
from videorefer_plugin.regions.drawing import covered, draw_lines, inside
from videorefer_plugin.regions.filling import polygon_runs
from videorefer_plugin.regions.reading import (
    check_in_pixels,
    is_number,
    plain_number,
    plain_points,
    read_labels,
    read_length,
    read_numbers,
    read_path,
    split_numbers,
    split_polygons,
)
from videorefer_plugin.regions.silhouettes import Bits, Part, Silhouette, run_silhouette

POINT_RADIUS = 0.02  # of the frame's shorter side
SCRIBBLE_WIDTH = 2 * POINT_RADIUS  # a scribble is the default point, dragged


class Box(DrawnShape):
    """The pixels whose centers lie in x0 <= x < x1, y0 <= y < y1 (pixels), clipped to the frame; at least one.

    Raises:
        RegionError: not four finite numbers with x0 < x1 and y0 < y1, or numbers relative to 1; when drawn,
            outside the frame.
    """

    __slots__ = ("x0", "x1", "y0", "y1")
    name = json_key = "box"
    accepted = "a box tuple (x0, y0, x1, y1)"
    text_help = "FRAME:x0,y0,x1,y1 in pixels of the video."

    def __init__(self, x0: float, y0: float, x1: float, y1: float) -> None:
        corners = read_numbers((x0, y0, x1, y1), "a box (x0, y0, x1, y1)")
        self.x0, self.y0, self.x1, self.y1 = corners.tolist()
        if not (self.x0 < self.x1 and self.y0 < self.y1):
            raise RegionError(
                f"{self!r} is reversed or has no area: expected x0 < x1 and y0 < y1 in pixels "
                "(a COCO box (x, y, width, height) becomes (x, y, x + width, y + height))"
            )
        check_in_pixels(corners.reshape(2, 2), repr(self))

    @classmethod
    def from_sequence(cls, box: Any) -> Box:
        """Make a box from any sequence of four numbers (x0, y0, x1, y1)."""
        corners = read_numbers(box, "a box (x0, y0, x1, y1)")
        if corners.shape != (4,):
            raise RegionError(f"a box takes four numbers (x0, y0, x1, y1), got {short(box)}")
        return cls(*corners.tolist())

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether it is a tuple of four numbers; a list of four is a polygon of two points, which is a mistake."""
        return isinstance(value, tuple) and _is_four_numbers(value)

    @classmethod
    def from_value(cls, value: Any) -> Box:
        """Make a box from (x0, y0, x1, y1)."""
        return cls.from_sequence(value)

    @classmethod
    def from_json(cls, value: Any, **details: Any) -> Box:
        """Make a box from [x0, y0, x1, y1]."""
        return cls.from_sequence(value)

    def to_json(self) -> dict[str, Any]:
        """Write {"box": [x0, y0, x1, y1]}."""
        return {"box": [plain_number(value) for value in self._values()]}

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Read "x0,y0,x1,y1"."""
        return tuple(split_numbers(text, "a box x0,y0,x1,y1"))

    def _draw(self, height: int, width: int) -> Silhouette:
        if self.x0 >= width or self.y0 >= height or self.x1 <= 0 or self.y1 <= 0:
            raise RegionError(
                f"{self!r} lies outside the frame of {size_words(height, width)}: give pixels of the source frame "
                "(not of a resized one, not relative to 1), or None where the object is absent"
            )
        rows, columns = covered(self.y0, self.y1, height), covered(self.x0, self.x1, width)
        pixels = np.broadcast_to(np.True_, (len(rows), len(columns)))  # one byte, whatever its size
        return Part((height, width), rows.start, columns.start, pixels)

    def __repr__(self) -> str:
        return f"Box({', '.join(f'{value:g}' for value in self._values())})"

    def _values(self) -> Any:
        return self.x0, self.y0, self.x1, self.y1


class Polygons(DrawnShape):
    """One object drawn as one or more polygons, filled as COCO fills them; overlaps count once.

    `parts` is one polygon ([(x, y), ...] or [x, y, x, y, ...], in pixels) or a list of such. The pixels are those of
    pycocotools, bit for bit: parts outside the frame are clipped, and a polygon thinner than a pixel can come out
    empty.

    Raises:
        RegionError: a polygon with fewer than three points, an odd number of values, values that are not finite, rows
            of a mask, or coordinates relative to 1; when drawn, edges that are too long.
    """

    __slots__ = ("parts",)
    name = json_key = "polygon"
    accepted = "polygons"
    text_help = "FRAME:x,y,x,y,x,y,... with three points or more."

    def __init__(self, parts: Any) -> None:
        self.parts: tuple[NDArray[np.float64], ...] = tuple(
            read_path(part, "a polygon", least=3) for part in split_polygons(parts)
        )
        points = np.concatenate(self.parts)
        high = points.max()
        if len(self.parts) > 1 and ((points == 0) | (points == high)).all():
            raise RegionError(
                f"{self._words()} holds nothing but 0 and {high:g}, like the rows of a mask: give it as an array, "
                "np.array(mask); polygons are x, y in turn, in pixels"
            )
        check_in_pixels(points, self._words())

    @classmethod
    def accepts(cls, value: Any) -> bool:
        """Whether it is a list or a tuple, and not a box."""
        return isinstance(value, (list, tuple)) and not Box.accepts(value)

    @classmethod
    def from_value(cls, value: Any) -> Polygons:
        """Make polygons from a list; one that may have been meant as a box is refused."""
        if isinstance(value, list) and _is_four_numbers(value):
            raise RegionError(f"{value} is a polygon of 2 points; write a box as a tuple {tuple(value)}")
        return cls(value)

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Read one polygon as "x,y,x,y,x,y"."""
        return _text_points(text, "a polygon x,y,x,y,x,y")

    def to_json(self) -> dict[str, Any]:
        """Write {"polygon": [[x, y], ...]}, or a list of such if there are several."""
        parts = [plain_points(part) for part in self.parts]
        return {"polygon": parts if len(parts) > 1 else parts[0]}

    def _draw(self, height: int, width: int) -> Silhouette:
        return run_silhouette(polygon_runs(self.parts, height, width), height, width)

    def area(self, height: int, width: int) -> int:
        """Return the number of pixels that `rasterize` fills, counted without drawing them."""
        return int(polygon_runs(self.parts, height, width)[1::2].sum())

    def __repr__(self) -> str:
        return f"Polygons({len(self.parts)} with {sum(map(len, self.parts))} points)"

    def _words(self) -> str:
        """The polygons in words, for messages, which continue in the singular."""
        points = f"{sum(map(len, self.parts))} points"
        return (
            f"a polygon of {points}" if len(self.parts) == 1 else f"an object of {len(self.parts)} polygons ({points})"
        )

    def _values(self) -> Any:
        return [part.tolist() for part in self.parts]


class Points(DrawnShape):
    """A filled disc around each point (x, y); a point's own pixel always counts.

    `points` is [(x, y), ...], (N, 2) or one (x, y), in pixels. `radius` is in pixels; None means 2% of the frame's
    shorter side, 0 the points' own pixels only. `labels` has a 1 for each point on the object and a 0 for each that is
    not, which segmenters use and for which nothing is drawn; None means that all are on it. A frame in which all are 0
    has an empty mask: `mask_policy="keep"` leaves it out, and `"original"` treats it like any other annotated frame.

    Raises:
        RegionError: no points, values that are not finite or relative to 1, a negative radius, labels other than 0
            or 1 or not as many as the points; when drawn, a point outside.
    """

    __slots__ = ("labels", "points", "radius")
    name = "point"
    text_help = "FRAME:x,y or FRAME:x,y,x,y,..."
    json_key = "points"
    json_details = ("labels", "radius")

    def __init__(self, points: Any, radius: float | None = None, labels: Any = None) -> None:
        self.points = read_path(points, "a set of points", least=1)
        self.radius = None if radius is None else read_length(radius, "radius", zero_ok=True)
        self.labels = read_labels(labels, len(self.points))
        check_in_pixels(self.points, f"{self!r} from {_pair(self.points[0])}")

    @property
    def only_excludes(self) -> bool:  # type: ignore[override]
        """Whether none of the points lies on the object."""
        return 1 not in self.labels

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Read "x,y", or several points as "x,y,x,y"."""
        return _text_points(text, "a point x,y")

    def to_json(self) -> dict[str, Any]:
        """Write {"points": [[x, y], ...]}, with "labels" if some are 0 and "radius" if there is one."""
        written: dict[str, Any] = {"points": plain_points(self.points)}
        if 0 in self.labels:
            written["labels"] = list(self.labels)
        if self.radius is not None:
            written["radius"] = plain_number(self.radius)
        return written

    def _draw(self, height: int, width: int) -> Silhouette:
        outside = self.points[~inside(self.points, height, width)]
        if len(outside):
            x, y = outside[0]
            raise RegionError(
                f"point ({x:g}, {y:g}) lies outside the frame of {size_words(height, width)}: expected "
                f"0 <= x < {width} and 0 <= y < {height}, in pixels of the source frame"
            )
        reach = POINT_RADIUS * min(height, width) if self.radius is None else self.radius
        drawn = self.points[np.array(self.labels, dtype=bool)]
        return Bits((height, width), *draw_lines(drawn, drawn, reach, drawn, height, width))

    def __repr__(self) -> str:
        labels = f", {self.labels.count(0)} not on the object" if 0 in self.labels else ""
        return f"Points({len(self.points)}{labels}{'' if self.radius is None else f', radius={self.radius:g}'})"

    def _values(self) -> Any:
        return self.points.tolist(), self.labels, self.radius


class Scribble(DrawnShape):
    """A line drawn through points (x, y) with round ends, clipped to the frame, at least one pixel wide.

    `points` is [(x, y), ...] or (N, 2), in pixels. `width` is in pixels; None means 4% of the frame's shorter side.

    Raises:
        RegionError: no points, values that are not finite or relative to 1, a width <= 0; when drawn, outside the
            frame.
    """

    __slots__ = ("points", "width")
    name = json_key = "scribble"
    text_help = "FRAME:x,y,x,y,... along a line."
    json_details = ("width",)

    def __init__(self, points: Any, width: float | None = None) -> None:
        self.points = read_path(points, "a scribble", least=1)
        self.width = None if width is None else read_length(width, "width", zero_ok=False)
        check_in_pixels(self.points, f"{self!r} from {_pair(self.points[0])}")

    @classmethod
    def read_text(cls, text: str) -> Any:
        """Read "x,y,x,y"."""
        return _text_points(text, "a scribble x,y,x,y")

    def to_json(self) -> dict[str, Any]:
        """Write {"scribble": [[x, y], ...]}, with "width" if there is one."""
        width = {} if self.width is None else {"width": plain_number(self.width)}
        return {"scribble": plain_points(self.points), **width}

    def _draw(self, height: int, width: int) -> Silhouette:
        thickness = SCRIBBLE_WIDTH * min(height, width) if self.width is None else self.width
        reach = max(thickness, 1.0) / 2
        ends = self.points[1:] if len(self.points) > 1 else self.points
        starts, dots = self.points[: len(ends)], self.points[inside(self.points, height, width)]
        drawn = Bits((height, width), *draw_lines(starts, ends, reach, dots, height, width))
        if not drawn.any():
            raise RegionError(
                f"{self!r} lies outside the frame of {size_words(height, width)}: its points go from "
                f"{_pair(self.points.min(axis=0))} to {_pair(self.points.max(axis=0))}; "
                "give pixels of the source frame"
            )
        return drawn

    def __repr__(self) -> str:
        return f"Scribble({len(self.points)}{'' if self.width is None else f', width={self.width:g}'})"

    def _values(self) -> Any:
        return self.points.tolist(), self.width


def _text_points(text: str, what: str) -> list[tuple[float, float]]:
    numbers = split_numbers(text, what)
    if len(numbers) % 2:
        raise RegionError(f"{text!r} has {len(numbers)} numbers, but points have two each: x,y")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _is_four_numbers(value: Any) -> bool:
    return len(value) == 4 and all(map(is_number, value))


def _pair(point: NDArray[np.float64]) -> str:
    return f"({point[0]:g}, {point[1]:g})"
