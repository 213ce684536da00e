"""What makes a usable record suspicious: masks and frames that do not seem to belong together.

A suspicion is no error: the record can be trained on, and may be right. It is told from the record alone, or, where
`Media` are given, from what the video or image is besides. What is asked for is meant to be rare in data that are
right: things that move fast, are hidden for a while or leave the frame are nothing strange.

| kind | what was found | needs media |
|---|---|---|
| `size` | masks of several sizes in one record, or of another size than `height` and `width` say | no |
| `size` | masks of another size than the frames, to which they are scaled | yes |
| `size` | polygons or boxes that reach far beyond the frame | if there is no `height` and `width` |
| `aspect` | height and width that look swapped, or proportions that are not quite those of the frames | the latter |
| `rate` | frames 0, 1, 2, ... between which an object moves by more than its size, as if frames were left out | no |
| `rate` | frames 0, 1, 2, ... of the start, as many as the video has seconds, or between which much happens | yes |
| `rate` | frames that are all multiples of 24, 25, 30, ... of a video with few frames a second | yes |
| `jump` | an object that is suddenly far away, though it hardly moves otherwise | no |
| `vanish` | an object that is absent from a single frame, and where it was before in the next one | no |
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed
from videorefer_plugin.regions import Absent, Box, Polygons, Rle, Shape
from videorefer_plugin.training.drawn import Drawn
from videorefer_plugin.training.records import Record

__all__ = ["SUSPICIONS", "Media", "Suspicion", "numbering_hint", "suspicions"]

SUSPICIONS = ("size", "aspect", "rate", "jump", "vanish")

_BEYOND = 1.05  # of a side of the frame, which outlines may reach without meaning another frame
_STEPS = 4  # between frames with a box, from which on it can be said how an object moves
_CONTIGUOUS = 8  # frames 0, 1, 2, ..., from which on they may be those of a sampled video
_SIZES_JUMPED = 2.0  # sizes of the object, that a jump is wide at least; more where frames are further apart
_TIMES_OTHERS = 3.0  # a jump is so many times as wide as any other step
_STAYED = 0.5  # overlap of the boxes around a single frame, from which on the object stayed where it was
_WHOLE = 0.7  # of its usual area, from which on the object is not half hidden
_NEAR = 10  # frames between which nothing vanishes and comes back
_RATES = (24, 25, 30, 50, 60)  # of videos from which frames are sampled
_FEW_A_SECOND = 5.0


class Media(NamedTuple):
    """What the video or image of a record is.

    Attributes:
        frames (`int`): how many it has.
        height, width (`int`): of a frame, in pixels.
        fps (`float`, *optional*): frames a second; `None` where nobody says.
    """

    frames: int
    height: int
    width: int
    fps: float | None = None


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


def suspicions(record: Record, media: Media | None = None) -> list[Suspicion]:
    """Say what is strange about a usable record, at most one suspicion of each kind.

    Args:
        record ([`Record`]): a record that passed [`check_record`].
        media ([`Media`], *optional*): what its video or image is, if that is known.
    """
    found: dict[str, Suspicion] = {}
    for suspicion in _all(record, media):
        found.setdefault(suspicion.kind, suspicion)
    return list(found.values())


def numbering_hint(frames: Sequence[int], media: Media) -> str:
    """How frames may have been numbered, some of which the video does not have; it goes on with a message.

    Args:
        frames (`Sequence[int]`): in which objects are given, sorted.
        media ([`Media`]): what the video is.
    """
    step = _common_step(frames)
    if frames[-1] == media.frames and frames[0] > 0:
        return "; they look as if they were numbered from 1"
    if step > 1 and len(frames) > 2 and frames[-1] // step < media.frames:
        return (
            f"; all of them are multiples of {step}, as if they were numbered in another video, of which one "
            f"frame in {step} was kept here (then frame {step} is frame 1 of this one)"
        )
    if len(frames) > media.frames:
        return f"; objects are given in {len(frames)} frames, more than it has, so they may be of another video"
    return "; they may be numbered at another frame rate, or in a longer video"


def _common_step(frames: Sequence[int]) -> int:
    """The largest number that all frames are multiples of."""
    return int(np.gcd.reduce(np.asarray(frames, dtype=np.int64)))


def _all(record: Record, media: Media | None) -> Iterator[Suspicion]:
    if not record.annotation:
        return
    yield from _sizes(record, media)
    if record.kind != "video":
        return
    tracks = [_Track(number, shapes) for number, shapes in enumerate(record.shapes)]
    yield from _rates(tracks, media)
    for track in tracks:
        yield from track.jumps()
        yield from track.vanishings()


# --- sizes -----------------------------------------------------------------------------------------------------------


def _sizes(record: Record, media: Media | None) -> Iterator[Suspicion]:
    told = (record.height, record.width) if record.height and record.width else None
    sizes: dict[tuple[int, int], tuple[int, int]] = {}  # of masks -> object and frame that have it first
    for number, shapes in enumerate(record.shapes):
        for frame, shape in shapes.items():
            inner = _inner(shape)
            if isinstance(inner, Rle):
                sizes.setdefault(inner.size, (number, frame))
            elif suspicion := _reaching_out(inner, number, frame, told, media):
                yield suspicion
    if len(sizes) > 1:
        places = [f"{_words(size)} (object {at[0]}, frame {at[1]})" for size, at in sizes.items()]
        yield Suspicion("size", f"its masks are of several sizes: {listed(places, 3)}", _firsts(sizes))
    for size in sizes:
        if told and size != told:
            swapped = size == told[::-1]
            hint = "; they look swapped" if swapped else ""
            yield Suspicion(
                "aspect" if swapped else "size",
                f"it has masks of {_words(size)}, but its height and width are {told[0]} and {told[1]}{hint}",
                _firsts(sizes),
            )
    if media is not None:
        yield from _sizes_beside(sizes, told, media)


def _sizes_beside(
    sizes: Mapping[tuple[int, int], tuple[int, int]], told: tuple[int, int] | None, media: Media
) -> Iterator[Suspicion]:
    """Sizes beside those of the frames; those of other proportions are errors, unless they hardly differ."""
    real = media.height, media.width
    for size in [*sizes, *([told] if told and not sizes else [])]:
        if size == real:
            continue
        # The side that follows from the other one, when a frame is scaled.
        apart = abs(size[1] * real[0] / size[0] - real[1]) / max(1.0, real[1] / size[1])
        if apart > 1:
            yield Suspicion(
                "aspect",
                f"its objects were drawn on frames of {_words(size)}, whose proportions are not quite those of its "
                f"frames of {_words(real)}; masks may be off by some pixels",
                _firsts(sizes),
            )
        else:
            yield Suspicion(
                "size",
                f"its objects were drawn on frames of {_words(size)}, but its frames have {_words(real)}; the masks "
                "are scaled",
                _firsts(sizes),
            )


def _reaching_out(
    shape: Shape, number: int, frame: int, told: tuple[int, int] | None, media: Media | None
) -> Suspicion | None:
    """An outline that reaches far beyond the frame was drawn on a larger one."""
    size = told or ((media.height, media.width) if media else None)
    bounds = _bounds(shape)
    if size is None or bounds is None:
        return None
    x, y = bounds[2:]
    if x <= _BEYOND * size[1] + 1 and y <= _BEYOND * size[0] + 1:
        return None
    return Suspicion(
        "size",
        f"object {number} reaches to x = {x:.0f}, y = {y:.0f} in frame {frame}, but the frame has {_words(size)}; it "
        "may be drawn on larger frames",
        (frame,),
    )


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} (height x width)"


def _firsts(sizes: Mapping[tuple[int, int], tuple[int, int]]) -> tuple[int, ...]:
    return tuple(sorted({frame for _, frame in sizes.values()}))


# --- frames ----------------------------------------------------------------------------------------------------------


def _rates(tracks: "Sequence[_Track]", media: Media | None) -> Iterator[Suspicion]:
    """Frames that seem to be numbered as those of another video, or at another rate."""
    frames = sorted({frame for track in tracks for frame in track.shapes})
    if len(frames) < 3:
        return
    last = frames[-1]
    counted = frames[0] == 0 and len(frames) == last + 1
    if counted and last + 1 >= _CONTIGUOUS:
        fast = next((track for track in tracks if track.is_fast(0.05)), None)
        if fast is not None:
            yield Suspicion(
                "rate",
                f"its frames are 0 to {last}, but object {fast.number} moves by more than its size from one to the "
                "next; if frames of the video were left out, number them as the video does",
                tuple(fast.frames[:4]),
            )
    if media is None or media.fps is None:
        return
    step, seconds = _common_step(frames), media.frames / media.fps
    if media.fps <= _FEW_A_SECOND and step and any(step % rate == 0 for rate in _RATES):
        yield Suspicion(
            "rate",
            f"its frames are all multiples of {step} ({listed(frames, 3)}), but its video has {media.fps:g} frame(s) "
            "a second; they may be numbered as in the video from which its frames were sampled",
            tuple(frames[:4]),
        )
    if counted and last >= _STEPS and media.frames >= 4 * (last + 1):
        matches = next((rate for rate in (1, 2) if abs(last + 1 - rate * seconds) <= 1), None)
        if matches is not None:
            yield Suspicion(
                "rate",
                f"its frames are 0 to {last}, as many as its video of {media.frames} frames has at {matches} frame(s) "
                "a second; the i-th mask may belong to a later frame",
                tuple(frames[:4]),
            )
        elif fast := next((track for track in tracks if track.is_fast(0.3)), None):
            yield Suspicion(
                "rate",
                f"its frames are 0 to {last} of {media.frames}, but object {fast.number} moves far from one to the "
                "next; the i-th mask may belong to a later frame",
                tuple(fast.frames[:4]),
            )


# --- motion ----------------------------------------------------------------------------------------------------------


class _Track:
    """How an object moves, as told by the boxes around its shapes."""

    def __init__(self, number: int, shapes: Mapping[int, Shape]):
        self.number, self.shapes = number, shapes
        bounds = _all_bounds({frame: _inner(shapes[frame]) for frame in sorted(shapes)})
        self.frames = list(bounds)  # with a box, in order of time
        self.boxes = np.array([*bounds.values()], dtype=np.float64).reshape(-1, 4)
        sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 1)
        self.areas = sides.prod(1)
        centers = self.boxes[:, :2] + sides / 2
        sizes = np.sqrt(np.maximum(self.areas, _middle(self.areas)))  # of what is half hidden, as if it were not
        moved = np.hypot(*np.diff(centers, axis=0).T)
        self.steps = moved / np.maximum(sizes[1:], sizes[:-1])  # in sizes of the object
        self.gaps = np.diff(np.asarray(self.frames, dtype=np.int64))

    def is_fast(self, overlap: float) -> bool:
        """Whether the boxes of neighbors hardly overlap, for the most part."""
        if len(self.steps) < _STEPS:
            return False
        return _middle(_overlaps(self.boxes[:-1], self.boxes[1:])) < overlap and _middle(self.steps) > 1

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
        if wide < _TIMES_OTHERS * usual or gap > _middle(self.gaps):
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
        single = self.gaps == 2 * step
        if step > _NEAR or not single.any():
            return
        overlaps = _overlaps(self.boxes[:-1], self.boxes[1:])
        whole = self.areas >= _WHOLE * _middle(self.areas)
        for place in np.flatnonzero(single & (overlaps >= _STAYED) & whole[:-1] & whole[1:]):
            before, after = self.frames[place], self.frames[place + 1]
            between = before + step
            is_absent = isinstance(self.shapes.get(between), Absent)
            # Without a word on that frame, it may be one that nobody looked at; not so where all others are there.
            is_dropped = between not in self.shapes and len(self.frames) > 8 and (self.gaps > step).sum() == 1
            if is_absent or is_dropped:
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
    inner = np.minimum(some[:, 2:], others[:, 2:]) - np.maximum(some[:, :2], others[:, :2])
    shared = np.maximum(inner, 0).prod(1)
    areas = (some[:, 2:] - some[:, :2]).prod(1) + (others[:, 2:] - others[:, :2]).prod(1)
    return shared / np.maximum(areas - shared, 1e-9)


def _inner(shape: Shape) -> Shape:
    return shape.shape if isinstance(shape, Drawn) else shape


def _all_bounds(shapes: Mapping[int, Shape]) -> dict[int, tuple[float, ...]]:
    """Boxes x0, y0, x1, y1 by frame; those of masks are found together."""
    from pycocotools import mask as coco

    packed = {frame: shape.to_dict() for frame, shape in shapes.items() if isinstance(shape, Rle)}
    found = coco.toBbox(list(packed.values())) if packed else ()
    boxes = {frame: (x, y, x + wide, y + high) for frame, (x, y, wide, high) in zip(packed, found, strict=True)}
    rest = {frame: bounds for frame, shape in shapes.items() if (bounds := _bounds(shape)) is not None}
    return {frame: (boxes | rest)[frame] for frame in shapes if frame in boxes or frame in rest}


def _bounds(shape: Shape) -> tuple[float, ...] | None:
    """The box around an outline; `None` of anything else."""
    if isinstance(shape, Box):
        return shape.x0, shape.y0, shape.x1, shape.y1
    if isinstance(shape, Polygons):
        points = np.concatenate(shape.parts)
        return (*map(float, points.min(0)), *map(float, points.max(0)))
    return None
