"""How objects of a record move, as told by the boxes around their shapes, and where they move strangely."""

from bisect import bisect
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed
from videorefer_plugin.regions import Absent, Box, Polygons, Rle, Shape
from videorefer_plugin.training.drawn import Drawn

__all__ = ["Suspicion", "Track", "bounds_of", "inner_shape"]

_STEPS = 4  # between frames with a box, from which on it can be said how an object moves
_SIZES_JUMPED = 2.0  # sizes of the object, that a jump is wide at least; more where frames are further apart
_TIMES_OTHERS = 3.0  # a jump is so many times as wide as any other step
_STAYED = 0.5  # overlap of the boxes around a single frame, from which on the object stayed where it was
_WHOLE = 0.7  # of its usual area, from which on the object is not half hidden
_AWAY = 3  # frames in a row, in which an object that stays elsewhere is taken for another one, at most
_SAME_PLACE = 0.2  # overlap of the boxes around a few frames, from which on the object may have moved but little
_STILL_THERE = 0.3  # of a box, which lies where the object was, from which on it may still be the object
_ABOUT = 1.5  # times the usual gap is still as usual, such as one of 4 frames where most are of 3
_NEAR = 10  # frames between which nothing vanishes and comes back


class Suspicion(NamedTuple):
    """What is strange about a record.

    Attributes:
        kind (`str`): one of `SUSPICIONS`.
        reason (`str`): what was found, with objects numbered from 0 as in the record.
        frames (`tuple[int, ...]`): where to look.
    """

    kind: str
    reason: str
    frames: tuple[int, ...] = ()


class Track:
    """How an object moves, as told by the boxes around its shapes."""

    def __init__(self, number: int, shapes: Mapping[int, Shape]):
        self.number, self.shapes = number, shapes
        bounds = _all_bounds({frame: inner_shape(shapes[frame]) for frame in sorted(shapes)})
        self.frames = list(bounds)  # with a box, in order of time
        self.boxes = np.array([*bounds.values()], dtype=np.float64).reshape(-1, 4)
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1)
        self.areas = sides.prod(1)
        centers = self.boxes[:, :2] + sides / 2
        sizes = np.sqrt(np.maximum(self.areas, _middle(self.areas)))  # of what is half hidden, as if it were not
        moved = np.hypot(*np.diff(centers, axis=0).T)
        self.steps = moved / np.maximum(sizes[1:], sizes[:-1])  # in sizes of the object
        self.gaps = np.diff(np.asarray(self.frames, dtype=np.int64))
        self.usual_gap = int(_ABOUT * _middle(self.gaps))

    def is_fast(self, overlap: float) -> bool:
        """Whether the boxes of neighbors hardly overlap, for the most part."""
        if len(self.steps) < _STEPS:
            return False
        return _middle(_overlaps(self.boxes[:-1], self.boxes[1:])) < overlap and _middle(self.steps) > 1

    def trips(self) -> Iterator[Suspicion]:
        """A few frames in which the object is elsewhere, though it is in about the same place before and after.

        How far it is away does not matter, as it would for [`jumps`]: the mask of a neighbor is near.
        """
        count = len(self.frames)
        if count <= _STEPS:
            return
        stays = _overlaps(self.boxes[:-1], self.boxes[1:]) >= _SAME_PLACE
        usual = self.gaps <= min(self.usual_gap, _NEAR)
        leaves = usual & ~stays & np.append(True, stays[:-1])
        found: dict[int, int] = {}  # first place away -> first place back
        for first in (np.flatnonzero(leaves[:-1]) + 1).tolist():
            for back in range(first + 1, min(first + _AWAY, count - 1) + 1):
                if usual[first:back].all() and (back == count - 1 or stays[back]) and self._is_away(first, back):
                    found[first] = back
                    break
        away = sum(back - first for first, back in found.items())
        if not found or away > count // 4:  # what goes there and back all the time, does so by itself
            return
        first, back = next(iter(found.items()))
        frames = tuple(self.frames[first - 1 : back + 1])
        yield Suspicion(
            "jump",
            f"object {self.number} jumps to another place in frame{'s' if back - first > 1 else ''} "
            f"{listed(frames[1:-1])} alone; in frames {frames[0]} and {frames[-1]} it is in about the "
            "same place",
            frames,
        )

    def _is_away(self, first: int, back: int) -> bool:
        """Whether the object is elsewhere from the place `first` on, and at the place `back` where it was."""
        ends = self.boxes[[first - 1, back]]
        if _overlaps(ends[:1], ends[1:])[0] < _SAME_PLACE:
            return False
        place = np.concatenate([ends[:, :2].min(0), ends[:, 2:].max(0)])[None]
        away = self.boxes[first:back]
        if (_shared(away, place) / np.maximum(_areas(away), 1e-9) > _STILL_THERE).any():
            return False
        return not _is_left_between(self.shapes, self.frames[first - 1], self.frames[back])

    def jumps(self) -> Iterator[Suspicion]:
        """A step that is far out of line, though its frames are no further apart than others."""
        if len(self.steps) <= _STEPS:
            return
        order = np.argsort(self.steps)[::-1]
        first, second = int(order[0]), int(order[1])
        wide, gap = float(self.steps[first]), int(self.gaps[first])
        if wide < _SIZES_JUMPED * (1 + gap / _NEAR):
            return
        # There and back are two wide steps.
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
        """A single frame without the object, between two in which it is whole and in the same place."""
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
            # Without a word on that frame, it may be one that nobody looked at; not so where all others are there.
            is_dropped = (
                not inside and after - before == 2 * step and len(self.frames) > 8 and (self.gaps > step).sum() == 1
            )
            if is_absent or is_dropped:
                between = inside[0] if is_absent else before + step
                what = "is absent from" if is_absent else "is not given in"
                yield Suspicion(
                    "vanish",
                    f"object {self.number} {what} frame {between} alone; in frames {before} and {after} it is in the "
                    "same place",
                    (before, between, after),
                )
                return


def _middle(values: NDArray[Any]) -> float:
    """The median, or of an even number of values the higher one of the two in the middle."""
    return float(np.sort(values)[len(values) // 2]) if len(values) else 0.0


def _is_left_between(shapes: Mapping[int, Shape], first: int, last: int) -> bool:
    """Whether the object is absent in between, so that it may come back anywhere."""
    return any(isinstance(shapes.get(frame), Absent) for frame in range(first + 1, last))


def _overlaps(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes (n, 4), pair by pair."""
    shared = _shared(some, others)
    return shared / np.maximum(_areas(some) + _areas(others) - shared, 1e-9)


def _shared(some: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """The area that boxes (n, 4) have in common, pair by pair."""
    inner = np.minimum(some[:, 2:], others[:, 2:]) - np.maximum(some[:, :2], others[:, :2])
    return np.maximum(inner, 0).prod(1)


def _areas(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)


def inner_shape(shape: Shape) -> Shape:
    """The shape itself, without the size that it was drawn on."""
    return shape.shape if isinstance(shape, Drawn) else shape


def _all_bounds(shapes: Mapping[int, Shape]) -> dict[int, tuple[float, ...]]:
    """Boxes x0, y0, x1, y1 by frame; those of masks are found together."""
    from pycocotools import mask as coco

    packed = {frame: shape.to_dict() for frame, shape in shapes.items() if isinstance(shape, Rle)}
    found = coco.toBbox(list(packed.values())) if packed else ()
    boxes = {frame: (x, y, x + wide, y + high) for frame, (x, y, wide, high) in zip(packed, found, strict=True)}
    rest = {frame: bounds for frame, shape in shapes.items() if (bounds := bounds_of(shape)) is not None}
    return {frame: (boxes | rest)[frame] for frame in shapes if frame in boxes or frame in rest}


def bounds_of(shape: Shape) -> tuple[float, ...] | None:
    """The box around an outline; `None` of anything else."""
    if isinstance(shape, Box):
        return shape.x0, shape.y0, shape.x1, shape.y1
    if isinstance(shape, Polygons):
        points = np.concatenate(shape.parts)
        return (*map(float, points.min(0)), *map(float, points.max(0)))
    return None
