"""The keys of shapes: frames of the source video, and seconds, which become frames once the video is known."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import Shape
from videorefer_plugin.regions.reading import frame_index, plain_number, read_seconds

TIME_KEY = "time:"
VISUAL_KEY = "visual"  # beside the frames and times
FRAME_DIGITS = "[0-9]{1,18}"  # digits of other scripts are not accepted
_FRAME = re.compile(r"0|[1-9][0-9]{0,17}")
_SECONDS = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def is_place(key: Any) -> bool:
    """Whether a key of a JSON object is one of the JSON form, such as "12" or "time:1.5"."""
    if not isinstance(key, str):
        return False
    return bool(_SECONDS.fullmatch(key[len(TIME_KEY) :]) if key.startswith(TIME_KEY) else _FRAME.fullmatch(key))


def json_frame(key: Any) -> int:
    """Return the frame of a key of the JSON form, which may also be a whole number already."""
    if not isinstance(key, str):
        return frame_index(key)
    if not _FRAME.fullmatch(key):
        raise RegionError(
            f'{short(key)} is not a frame of the JSON form: expected a whole number from 0 up, such as "12", without '
            'leading zeros, or a time in seconds, such as "time:1.5"'
        )
    return int(key)


def frame_of(key: Any) -> int:
    """Return the frame of a key of an annotation, or of a benchmark's item: a number, or its digits, as in "012"."""
    return int(key) if isinstance(key, str) and re.fullmatch(FRAME_DIGITS, key) else frame_index(key)


def place_key(place: int | float) -> str:
    """Return the key of a frame, an int, or of a time, a float, in the JSON form."""
    return str(place) if isinstance(place, int) else f"{TIME_KEY}{plain_number(place)}"


def by_place(given: Mapping[Any, Any], read_frame: Callable[[Any], int]) -> tuple[dict[int, Any], dict[float, Any]]:
    """Separate frames from times; both keep their order.

    Args:
        given: key -> any value.
        read_frame: a function that reads a key that is not a time.

    Raises:
        RegionError: a key is neither frame nor time, or a frame or time is given twice.
    """
    frames: dict[int, Any] = {}
    times: dict[float, Any] = {}
    for key, value in given.items():
        if isinstance(key, str) and key.startswith(TIME_KEY):
            seconds = _seconds(key)
            _put(times, seconds, value, f"time {seconds:g} s", key)
        else:
            frame = read_frame(key)
            _put(frames, frame, value, f"frame {frame}", key)
    return frames, times


def _seconds(key: str) -> float:
    text = key[len(TIME_KEY) :]
    if not _SECONDS.fullmatch(text):
        raise RegionError(f'{short(key)} is not a time: expected seconds from 0 up as a number, such as "time:1.5"')
    seconds = read_seconds(float(text))
    if seconds == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
        raise RegionError(f'time {short(text)} s is too small to be told from 0: write "{TIME_KEY}0" for the start')
    return seconds


def _put(places: dict[Any, Any], place: int | float, value: Any, words: str, key: Any) -> None:
    if place in places:
        raise RegionError(f"the region has {words} twice, the second time as key {key!r}: keep one")
    places[place] = value


def place_times(
    frames: Mapping[int, Shape], times: Mapping[float, Shape], frame_at: Callable[[float], int] | None
) -> dict[int, Shape]:
    """Return the shapes of all frames, with those given by time after the others, each in the order given.

    Args:
        frames, times: frame or seconds -> shape.
        frame_at: a function from seconds to the index of the frame of the source video.

    Raises:
        RegionError: two shapes fall on the same frame, or there are times but no `frame_at`.
    """
    if not times:
        return dict(frames)
    if frame_at is None:
        raise RegionError(
            f"there are shapes at times {short(tuple(sorted(times)))} s, but no video which says what frames these "
            "are: give frames"
        )
    origin = {frame: f"frame {frame}" for frame in frames}
    found: dict[float, int] = {}
    for time in sorted(times):
        frame = frame_index(frame_at(time), f"frame_at({time:g}) returned ")
        if frame in origin:
            raise RegionError(
                f"time {time:g} s and {origin[frame]} both fall on frame {frame}: "
                "keep one shape of the object for each frame"
            )
        found[time] = frame
        origin[frame] = f"time {time:g} s"
    return {**frames, **{found[time]: shape for time, shape in times.items()}}
