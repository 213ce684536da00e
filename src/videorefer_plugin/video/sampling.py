"""Choosing frames of a video, and the checks of the numbers that say which."""

import math
import operator
from typing import Any

import numpy as np

from videorefer_plugin.errors import VideoError

__all__ = ["beyond_end", "check_count", "check_fps", "check_number", "check_range", "sample_frame_indices", "spread"]


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
        total_frames (`int`): Number of frames of the video, at least 1.
        num_frames (`int`, *optional*): How many frames to take. `None` takes one a second.
        fps (`float`, *optional*): Frames per second of the video. Needed for sampling by the second and for a range.
        start (`float`, *optional*): Start of the range in seconds.
        end (`float`, *optional*): End of the range in seconds. Where both ends are given, negative values count as 0,
            swapped ends are put in order, and equal ends mean one second. As in the original, a time `t` stands for
            frame `int(t * fps) - 1`. A range too short to hold a frame gives the frame nearest to its start.
        max_frames (`int`, *optional*): Keep only the first `max_frames` of the frames chosen (the original keeps 32).

    Returns:
        `list[int]`: Frame indices in ascending order, each in `[0, total_frames)`.

    Raises:
        VideoError: If a number is not usable, `fps` is needed and missing, or the range lies outside the video.
    """
    total = check_count(total_frames, "total_frames")
    wanted = None if num_frames is None else check_count(num_frames, "num_frames")
    limit = None if max_frames is None else check_count(max_frames, "max_frames")
    rate = None if fps is None else check_fps(fps)
    start, end = check_range(start, end)

    first, last = 0, total - 1
    if start is not None or end is not None:
        if rate is None:
            raise VideoError("A range in seconds (start, end) was given without fps; pass the video's frame rate too.")
        if start is not None:
            first = max(int(start * rate) - 1, 0)
            if first >= total:
                raise beyond_end("start", start, total, total / rate)
        if end is not None:
            # A range that holds no frame (the original fails on it) gives the frame nearest to its start.
            last = max(min(int(end * rate) - 1, total - 1), first)
    if wanted is None and rate is None:
        raise VideoError("Neither num_frames nor fps was given; pass num_frames, or fps to take one frame a second.")
    step = 1 if rate is None else math.floor(rate)
    return [first + index for index in spread(last - first + 1, wanted, step, limit)]


def spread(length: int, wanted: int | None, step: int, limit: int | None) -> list[int]:
    """Indices within a range of `length` frames: `wanted` evenly spread ones, or every `step`-th."""
    if wanted is None:
        step = max(min(step, length), 1)
        return list(range(step // 2, length, step))[:limit]
    # In the same order of floating-point operations as the original, so that exact halves round alike.
    segment = float(length - 1) / wanted
    count = wanted if limit is None else min(wanted, limit)
    return [round((segment * i + segment * (i + 1)) / 2 + 1e-6) for i in range(count)]


def check_count(value: Any, what: str) -> int:
    """`value` as an int of at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise VideoError(f"{what} must be a whole number, but is {value!r} ({type(value).__name__}).") from None
    if isinstance(value, bool) or number < 1:
        raise VideoError(f"{what} must be a whole number of at least 1, but is {value!r}.")
    return number


def check_number(value: Any, what: str) -> float:
    """`value` as a finite float."""
    number = math.nan
    if not isinstance(value, (bool, np.bool_, str, bytes)):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        raise VideoError(f"{what} must be a finite number, but is {value!r}.")
    return number


def check_fps(fps: Any) -> float:
    """`fps` as a positive float."""
    rate = check_number(fps, "fps (frames per second)")
    if rate <= 0:
        raise VideoError(f"fps (frames per second) must be above 0, but is {fps!r}.")
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
    """The error for a time behind the last frame."""
    return VideoError(
        f"{what} is {seconds:g} s, but the video ends at {duration:.3f} s ({count} frames); use a time within it."
    )
