"""Choosing frames of a video, and checking the numbers that select them."""

import math
import operator
from typing import Any

import numpy as np

from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoError

__all__ = [
    "MAX_SAMPLED_FRAMES",
    "MAX_VIDEO_FRAMES",
    "beyond_end",
    "check_count",
    "check_fps",
    "check_number",
    "check_range",
    "check_sampled",
    "check_total",
    "sample_frame_indices",
    "spread",
]

MAX_SAMPLED_FRAMES = 4096
"""The most frames to show a model: one a second of more than an hour, and more than any supported model attends to."""

MAX_VIDEO_FRAMES = 4_000_000
"""The most frames of a video, about a day and a half at 30 a second: longer lists would not fit in memory, and larger
numbers in a file usually come from damage."""

_FPS_LIMITS = (1e-6, 1e6)  # from a frame in eleven days to the fastest cameras


def sample_frame_indices(
    total_frames: int,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
) -> list[int]:
    """Choose frames of a video, as the original code does.

    With `num_frames`, the range is cut into that many equal parts and the middle frame of each is taken; a range with
    fewer frames repeats some. Without it, one frame a second is taken, which needs `fps`; below one frame a second
    every frame is taken (the original fails there).

    Args:
        total_frames (`int`): Number of frames of the video, from 1 to `MAX_VIDEO_FRAMES` (4 million).
        num_frames (`int`, *optional*): Number of frames to take: at most `MAX_SAMPLED_FRAMES` (4096), or the number of
            frames of the video if that is larger. `None` takes one per second.
        fps (`float`, *optional*): Frames per second of the video. Needed for sampling by the second and for a range.
        start (`float`, *optional*): Start of the range in seconds.
        end (`float`, *optional*): End of the range in seconds. If both ends are given, negative values count as 0,
            swapped ends are put in order, and equal ends mean one second. As in the original, a time `t` means
            frame `int(t * fps) - 1`. A range too short to contain a frame gives the frame nearest to its start.
        max_frames (`int`, *optional*): Keep only the first `max_frames` of the chosen frames (the original keeps 32).

    Returns:
        `list[int]`: Frame indices in ascending order, each in `[0, total_frames)`.

    Raises:
        VideoError: If a number is invalid, `fps` is needed and missing, or the range lies outside the video.
    """
    total = check_total(check_count(total_frames, "total_frames"), "The video")
    wanted = None if num_frames is None else check_sampled(num_frames, "num_frames", total)
    limit = None if max_frames is None else check_count(max_frames, "max_frames")
    rate = None if fps is None else check_fps(fps)
    start, end = check_range(start, end)

    first, last = 0, total - 1
    if start is not None or end is not None:
        if rate is None:
            raise VideoError("A range in seconds (start, end) was given without fps; pass the video's frame rate too.")
        if start is not None:
            first = max(int(min(start * rate, total + 1)) - 1, 0)
            if first >= total:
                raise beyond_end("start", start, total, total / rate)
        if end is not None:
            # A range that holds no frame (the original fails on it) gives the frame nearest to its start.
            last = max(int(min(end * rate, total)) - 1, first)
    if wanted is None and rate is None:
        raise VideoError("Neither num_frames nor fps was given; pass num_frames, or fps to take one frame a second.")
    step = 1 if rate is None else math.floor(rate)
    return [first + index for index in spread(last - first + 1, wanted, step, limit)]


def spread(length: int, wanted: int | None, step: int, limit: int | None) -> list[int]:
    """Indices within a range of `length` frames: `wanted` evenly spread ones, or every `step`-th."""
    if wanted is None:
        step = max(min(step, length), 1)
        return list(range(step // 2, length, step)[:limit])
    # In the same order of floating-point operations as the original, so that exact halves round alike.
    segment = float(length - 1) / wanted
    count = wanted if limit is None else min(wanted, limit)
    return [round((segment * i + segment * (i + 1)) / 2 + 1e-6) for i in range(count)]


def check_count(value: Any, what: str) -> int:
    """`value` as an int of at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise VideoError(f"{what} must be a whole number, but is {short(value)} ({type(value).__name__}).") from None
    if isinstance(value, bool) or number < 1:
        raise VideoError(f"{what} must be a whole number of at least 1, but is {short(value)}.")
    return number


def check_sampled(value: Any, what: str, total: int = 0) -> int:
    """`value` as a number of frames to take, at most `MAX_SAMPLED_FRAMES`, or all the `total` frames of a video."""
    number = check_count(value, what)
    most = max(total, MAX_SAMPLED_FRAMES)
    if number > most:
        raise VideoError(f"{what} must be at most {most}, since every frame takes memory, but is {short(number)}.")
    return number


def check_total(total: int, name: str) -> int:
    """`total` as the number of frames of a video, at most `MAX_VIDEO_FRAMES`."""
    if total > MAX_VIDEO_FRAMES:
        raise VideoError(
            f"{name} claims to have {short(total)} frames, but at most {MAX_VIDEO_FRAMES} can be handled; cut it "
            "into parts, or get it again if it is shorter."
        )
    return total


def check_number(value: Any, what: str) -> float:
    """`value` as a finite float."""
    number = math.nan
    if not isinstance(value, (bool, np.bool_, str, bytes)):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        raise VideoError(f"{what} must be a finite number, but is {short(value)}.")
    return number


def check_fps(fps: Any) -> float:
    """`fps` as a positive float."""
    rate = check_number(fps, "fps (frames per second)")
    if rate <= 0:
        raise VideoError(f"fps (frames per second) must be above 0, but is {fps!r}.")
    low, high = _FPS_LIMITS
    if not low <= rate <= high:
        raise VideoError(f"fps (frames per second) must lie between {low:g} and {high:g}, but is {fps!r}.")
    return rate


def check_range(start: Any, end: Any) -> tuple[float | None, float | None]:
    """The two ends of a range in seconds, put in order where both are given."""
    start = None if start is None else check_number(start, "start (seconds)")
    end = None if end is None else check_number(end, "end (seconds)")
    if start is not None and end is not None:
        start, end = sorted((max(start, 0.0), max(end, 0.0)))
        if start == end:
            end = start + 1
    elif end is not None and end <= 0:
        raise VideoError(f"The range ends at {end:g} s, before the video starts; end must be above 0 seconds.")
    return start, end


def beyond_end(what: str, seconds: float, count: int, duration: float) -> VideoError:
    """The error for a time after the last frame."""
    return VideoError(
        f"{what} is {seconds:g} s, but the video ends at {duration:.3f} s ({count} frames); use a time within it."
    )
