"""Finds usable but suspicious records, whose masks and frames do not seem to belong together.

A suspicion is not an error: the record can be trained on, and may be right. Suspicions follow from the record only, or
also from its video or image if `Media` are given. They are meant to be rare in correct data: objects that move fast,
are hidden for a while or leave the frame are not suspicious.

| kind | finding | needs media |
|---|---|---|
| `size` | masks of several sizes in one record, or of another size than `height` and `width` say | no |
| `size` | masks of another size than the frames, to which they are scaled | yes |
| `size` | polygons or boxes that reach far beyond the frame | if there is no `height` and `width` |
| `aspect` | height and width that look swapped, or proportions that are not quite those of the frames | the latter |
| `rate` | frames 0, 1, 2, ... between which an object moves by more than its size, as if frames were left out | no |
| `rate` | frames 0, 1, 2, ... of the start, as many as the video has seconds, or between which much happens | yes |
| `rate` | frames that are all multiples of 24, 25, 30, ... of a video with few frames a second | yes |
| `jump` | an object that is suddenly far away, though it hardly moves otherwise | no |
| `jump` | an object that is elsewhere for one to three frames, and about where it was before and after | no |
| `vanish` | an object that is absent from a single frame, and where it was before in the next one | no |
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from videorefer_plugin._text import listed
from videorefer_plugin.regions import Rle, Shape
from videorefer_plugin.training.records import Record
from videorefer_plugin.training.tracks import Suspicion, Track, bounds_of, inner_shape

__all__ = ["SUSPICIONS", "Media", "Suspicion", "numbering_hint", "suspicions"]

SUSPICIONS = ("size", "aspect", "rate", "jump", "vanish")

_BEYOND = 1.05  # share of a side of the frame that outlines may reach
_STEPS = 4  # steps between frames with a box that are needed to judge the motion of an object
_CONTIGUOUS = 8  # number of frames 0, 1, 2, ... that may be those of a sampled video
_RATES = (24, 25, 30, 50, 60)  # frame rates of videos from which frames are sampled
_FEW_A_SECOND = 5.0


class Media(NamedTuple):
    """The properties of a record's video or image.

    Attributes:
        frames (`int`): number of frames.
        height, width (`int`): size of a frame, in pixels.
        fps (`float`, *optional*): frames per second; `None` if unknown.
    """

    frames: int
    height: int
    width: int
    fps: float | None = None


def suspicions(record: Record, media: Media | None = None) -> list[Suspicion]:
    """Return the suspicions about a usable record, at most one of each kind.

    Args:
        record ([`Record`]): a record that passed [`check_record`].
        media ([`Media`], *optional*): the properties of its video or image, if known.
    """
    found: dict[str, Suspicion] = {}
    for suspicion in _all(record, media):
        found.setdefault(suspicion.kind, suspicion)
    return list(found.values())


def numbering_hint(frames: Sequence[int], media: Media) -> str:
    """Return the end of a message about missing frames, with a guess how they were numbered.

    Args:
        frames (`Sequence[int]`): the frames with objects, sorted.
        media ([`Media`]): the properties of the video.
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
    """Return the greatest common divisor of all frames."""
    return int(np.gcd.reduce(np.asarray(frames, dtype=np.int64)))


def _all(record: Record, media: Media | None) -> Iterator[Suspicion]:
    if not record.annotation:
        return
    yield from _sizes(record, media)
    if record.kind != "video":
        return
    tracks = [Track(number, shapes) for number, shapes in enumerate(record.shapes)]
    yield from _rates(tracks, media)
    for track in tracks:
        yield from track.trips()
        yield from track.jumps()
        yield from track.vanishings()


# --- sizes -----------------------------------------------------------------------------------------------------------


def _sizes(record: Record, media: Media | None) -> Iterator[Suspicion]:
    told = (record.height, record.width) if record.height and record.width else None
    sizes: dict[tuple[int, int], tuple[int, int]] = {}  # sizes of masks -> first object and frame with this size
    for number, shapes in enumerate(record.shapes):
        for frame, shape in shapes.items():
            inner = inner_shape(shape)
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
    """Yield suspicions about sizes that differ from those of the frames; other proportions are errors elsewhere."""
    real = media.height, media.width
    for size in [*sizes, *([told] if told and not sizes else [])]:
        if size == real:
            continue
        # The side that follows from the other one when a frame is scaled.
        apart = abs(size[1] * real[0] / size[0] - real[1]) / max(1.0, real[1] / size[1])
        if apart > 1:
            yield Suspicion(
                "aspect",
                f"its objects were drawn on frames of {_words(size)}, whose proportions differ a little from "
                f"those of its frames of {_words(real)}; masks may be off by some pixels",
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
    """Yield a suspicion about outlines that reach far beyond the frame, and may be drawn on a larger one."""
    size = told or ((media.height, media.width) if media else None)
    bounds = bounds_of(shape)
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


def _rates(tracks: Sequence[Track], media: Media | None) -> Iterator[Suspicion]:
    """Yield suspicions about frames that seem to be numbered for another video, or at another rate."""
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
