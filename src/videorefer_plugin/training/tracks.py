"""The motion of a record's objects, from the boxes around their shapes, and suspicions about it."""

from bisect import bisect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed
from videorefer_plugin.regions import Absent, Box, Polygons, Rle, Shape
from videorefer_plugin.training.drawn import Drawn

__all__ = ["Suspicion", "Track", "bounds_of", "inner_shape"]

_STEPS = 4  # steps between frames with a box that are needed to judge the motion of an object
_SIZES_JUMPED = 2.0  # smallest width of a jump, in sizes of the object; larger if frames are further apart
_TIMES_OTHERS = 3.0  # ratio of a jump to the widest other step
_STAYED = 0.5  # overlap of the boxes around a single frame from which the object counts as unmoved
_WHOLE = 0.7  # share of its usual area from which the object is not half hidden
_AWAY = 3  # largest number of frames in a row in which an object elsewhere counts as another one
_SAME_PLACE = 0.2  # overlap of the boxes around a few frames from which the object may have moved little
_STILL_THERE = 0.3  # share of a box at the old position from which it may still be the object
_ABOUT = 1.5  # factor of the usual gap that still counts as usual, such as 4 frames where most are 3
_NEAR = 10  # frames within which no object vanishes and comes back


class Suspicion(NamedTuple):
    """A suspicion about a record.

    Attributes:
        kind (`str`): one of `SUSPICIONS`.
        reason (`str`): the finding, with objects numbered from 0 as in the record.
        frames (`tuple[int, ...]`): the frames to look at.
    """

    kind: str
    reason: str
    frames: tuple[int, ...] = ()


class Track:
    """The motion of an object, from the boxes around its shapes."""

    def __init__(self, number: int, shapes: Mapping[int, Shape]):
        self.number, self.shapes = number, shapes
        bounds = _all_bounds({frame: inner_shape(shapes[frame]) for frame in sorted(shapes)})
        self.frames = list(bounds)  # with a box, in order of time
        self.boxes = np.array([*bounds.values()], dtype=np.float64).reshape(-1, 4)
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1)
        self.areas = sides.prod(1)
        centers = self.boxes[:, :2] + sides / 2
        sizes = np.sqrt(np.maximum(self.areas, _middle(self.areas)))  # half hidden objects count with their usual size
        moved = np.hypot(*np.diff(centers, axis=0).T)
        self.steps = moved / np.maximum(sizes[1:], sizes[:-1])  # in sizes of the object
        self.gaps = np.diff(np.asarray(self.frames, dtype=np.int64))
        self.usual_gap = int(_ABOUT * _middle(self.gaps))

    def is_fast(self, overlap: float) -> bool:
        """Tell whether most boxes of neighboring frames hardly overlap."""
        if len(self.steps) < _STEPS:
            return False
        return _middle(_overlaps(self.boxes[:-1], self.boxes[1:])) < overlap and _middle(self.steps) > 1

    def trips(self) -> Iterator[Suspicion]:
        """Yield a suspicion about a few frames with the object elsewhere, though it is unmoved before and after.

        The distance does not matter, unlike in [`jumps`]: the mask may be that of a neighbor nearby.
        """
        count = len(self.frames)
        if count <= _STEPS:
            return
        stays = _overlaps(self.boxes[:-1], self.boxes[1:]) >= _SAME_PLACE
        usual = self.gaps <= min(self.usual_gap, _NEAR)
        leaves = usual & ~stays & np.append(True, stays[:-1])
        found: dict[int, int] = {}  # first index away -> first index back
        for first in (np.flatnonzero(leaves[:-1]) + 1).tolist():
            for back in range(first + 1, min(first + _AWAY, count - 1) + 1):
                if usual[first:back].all() and (back == count - 1 or stays[back]) and self._is_away(first, back):
                    found[first] = back
                    break
        away = sum(back - first for first, back in found.items())
        if not found or away > count // 4:  # objects that move to and fro all the time are not suspicious
            return
        first, back = next(iter(found.items()))
        frames = tuple(self.frames[first - 1 : back + 1])
        yield Suspicion(
            "jump",
            f"object {self.number} jumps elsewhere in frame{'s' if back - first > 1 else ''} "
            f"{listed(frames[1:-1])} alone; in frames {frames[0]} and {frames[-1]} it is at about the "
            "same position",
            frames,
        )

    def _is_away(self, first: int, back: int) -> bool:
        """Tell whether the object is elsewhere from index `first` on, and back at index `back`."""
        ends = self.boxes[[first - 1, back]]
        if _overlaps(ends[:1], ends[1:])[0] < _SAME_PLACE:
            return False
        place = np.concatenate([ends[:, :2].min(0), ends[:, 2:].max(0)])[None]
        away = self.boxes[first:back]
        if (_shared(away, place) / np.maximum(_areas(away), 1e-9) > _STILL_THERE).any():
            return False
        return not _is_left_between(self.shapes, self.frames[first - 1], self.frames[back])

    def jumps(self) -> Iterator[Suspicion]:
        """Yield a suspicion about a step that is much wider than others, though its frames are not further apart."""
        if len(self.steps) <= _STEPS:
            return
        order = np.argsort(self.steps)[::-1]
        first, second = int(order[0]), int(order[1])
        wide, gap = float(self.steps[first]), int(self.gaps[first])
        if wide < _SIZES_JUMPED * (1 + gap / _NEAR):
            return
        # A jump there and back has two wide steps.
        is_back = abs(first - second) == 1 and self.steps[second] * _TIMES_OTHERS >= wide
        usual = float(self.steps[order[1 + is_back]])
        if wide < _TIMES_OTHERS * usual or gap > self.usual_gap:
            return
        if _is_left_between(self.shapes, self.frames[first], self.frames[first + 1]):
            return
        yield Suspicion(
            "jump",
            f"object {self.number} jumps between frames {self.frames[first]} and {self.frames[first + 1]} by "
            f"{wide:.1f} times its size, but moves by {usual:.1f} at most between others",
            tuple(self.frames[max(first - 1, 0) : first + 3]),
        )

    def vanishings(self) -> Iterator[Suspicion]:
        """Yield a suspicion about a single frame without the object, between two with the whole object unmoved."""
        if len(self.frames) < 3:
            return
        step = int(self.gaps.min())
        near = self.gaps <= 2 * min(self.usual_gap, _NEAR)
        overlaps = _overlaps(self.boxes[:-1], self.boxes[1:])
        whole = self.areas >= _WHOLE * _middle(self.areas)
        absent = sorted(frame for frame, shape in self.shapes.items() if isinstance(shape, Absent))
        for place in np.flatnonzero(near & (overlaps >= _STAYED) & whole[:-1] & whole[1:]):
            before, after = self.frames[place], self.frames[place + 1]
            inside = absent[bisect(absent, before) : bisect(absent, after)]
            is_absent = len(inside) == 1
            # An unmentioned frame may not have been annotated, unless all others are.
            is_dropped = (
                not inside and after - before == 2 * step and len(self.frames) > 8 and (self.gaps > step).sum() == 1
            )
            if is_absent or is_dropped:
                between = inside[0] if is_absent else before + step
                what = "is absent from" if is_absent else "is not given in"
                yield Suspicion(
                    "vanish",
                    f"object {self.number} {what} frame {between} alone; in frames {before} and {after} it is at the "
                    "same position",
                    (before, between, after),
                )
                return


def _middle(values: NDArray[Any]) -> float:
    """Return the median; of an even number of values, the higher one of the two in the middle."""
    return float(np.sort(values)[len(values) // 2]) if len(values) else 0.0


def _is_left_between(shapes: Mapping[int, Shape], first: int, last: int) -> bool:
    """Tell whether the object is absent in between, so that it may come back anywhere."""
    return any(isinstance(shapes.get(frame), Absent) for frame in range(first + 1, last))


def _overlaps(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of boxes (n, 4), pair by pair."""
    shared = _shared(some, others)
    return shared / np.maximum(_areas(some) + _areas(others) - shared, 1e-9)


def _shared(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the common area of boxes (n, 4), pair by pair."""
    inner = np.minimum(some[:, 2:], others[:, 2:]) - np.maximum(some[:, :2], others[:, :2])
    return np.maximum(inner, 0).prod(1)


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def inner_shape(shape: Shape) -> Shape:
    """Return the shape itself, without the size of its frame."""
    return shape.shape if isinstance(shape, Drawn) else shape


def _all_bounds(shapes: Mapping[int, Shape]) -> dict[int, tuple[float, ...]]:
    """Return boxes x0, y0, x1, y1 by frame; those of masks are computed together."""
    from pycocotools import mask as coco

    packed = {frame: shape.to_dict() for frame, shape in shapes.items() if isinstance(shape, Rle)}
    found = coco.toBbox(list(packed.values())) if packed else ()
    boxes = {frame: (x, y, x + wide, y + high) for frame, (x, y, wide, high) in zip(packed, found, strict=True)}
    rest = {frame: bounds for frame, shape in shapes.items() if (bounds := bounds_of(shape)) is not None}
    return {frame: (boxes | rest)[frame] for frame in shapes if frame in boxes or frame in rest}


def bounds_of(shape: Shape) -> tuple[float, ...] | None:
    """Return the box around an outline; `None` for other shapes."""
    if isinstance(shape, Box):
        return shape.x0, shape.y0, shape.x1, shape.y1
    if isinstance(shape, Polygons):
        points = np.concatenate(shape.parts)
        return (*map(float, points.min(0)), *map(float, points.max(0)))
    return None
