"""The frames that VideoLLaMA3 looks at: the last one of every interval of a fixed rate, with the time of its start."""

import math

import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.base import Video
from videorefer_plugin.video.sampling import beyond_end, check_count, check_fps, check_range, check_total

__all__ = ["ASSUMED_RATE", "sample_intervals"]

ASSUMED_RATE = 3.0
"""Frames a second of frames of which nobody says at what rate they are shown, such as a folder of them."""


def sample_intervals(
    video: Video,
    fps: float | None,
    *,
    max_frames: int | None = None,
    start: float | None = None,
    end: float | None = None,
) -> tuple[list[int], list[float]]:
    """Choose frames as FFmpeg's filter `fps` does with rounding down, which the original code uses.

    Frame k is the last one shown before the end of the k-th interval of `1 / fps` seconds, and is labeled with the
    start of that interval: the label is up to `1 / fps` seconds too early, as the models were trained. An incomplete
    last interval is left out, but there is always one frame. Frames without times count as 3 a second, of which every
    so many are taken, and are labeled with their own times; so are ranges shorter than a second.

    Args:
        video ([`Video`]): the video.
        fps (`float`, *optional*): frames to take a second; all frames by default.
        max_frames (`int`, *optional*): the most frames; they are taken evenly from those that there would be.
        start, end (`float`, *optional*): part of the video to look at, in seconds.

    Returns:
        `tuple[list[int], list[float]]`: frames in ascending order, and the label of each in seconds.

    Raises:
        VideoError: a number is not usable, or the range lies outside the video.
    """
    rate = None if fps is None else check_fps(fps)
    limit = None if max_frames is None else check_count(max_frames, "max_frames")
    assumed = video.is_rate_assumed
    times = np.arange(video.num_frames) / ASSUMED_RATE if assumed else video.timestamps
    duration = video.num_frames / ASSUMED_RATE if assumed else video.duration
    low, high = check_range(start, end)
    low, high = max(low or 0.0, 0.0), duration if high is None else min(high, duration)
    if low >= duration:
        raise beyond_end("start", low, video.num_frames, duration)
    if high <= low:
        raise VideoError(f"The range from {low:g} s to {high:g} s of {video.name} is empty; use one within it.")
    tolerance = 1e-6
    if assumed or high - low < 1:
        first = int(np.searchsorted(times, low + tolerance, side="right")) - 1
        last = max(int(np.searchsorted(times, high - tolerance, side="left")) - 1, first)
        return _in_steps(
            np.arange(max(first, 0), last + 1), times, rate, limit, ASSUMED_RATE if assumed else video.fps
        )
    if rate is None:
        first, last = (int(np.searchsorted(times, edge - tolerance, side="left")) for edge in (low, high))
        frames = np.arange(first, max(last, first + 1))
        labels = np.linspace(low, high, len(frames))
    else:
        count = check_total(
            max(math.floor((high - low) * rate + tolerance), 1), f"At {rate:g} frames a second, {video.name}"
        )
        ends = np.minimum(low + np.arange(1, count + 1) / rate, high)
        frames = np.maximum(np.searchsorted(times, ends - tolerance, side="left") - 1, 0)
        labels = low + np.arange(count) / rate
    kept = _evenly(len(frames), limit)
    return frames[kept].tolist(), labels[kept].tolist()


def _in_steps(
    frames: np.ndarray, times: np.ndarray, rate: float | None, limit: int | None, own: float
) -> tuple[list[int], list[float]]:
    """Every so many of some frames, with their own times."""
    if rate is not None and (limit is None or len(frames) / own < limit):
        step = max(min(math.floor(own / rate), len(frames)), 1)
        frames = frames[step // 2 :: step]
        limit = None
    frames = frames[_evenly(len(frames), limit)]
    return frames.tolist(), times[frames].tolist()


def _evenly(count: int, limit: int | None) -> np.ndarray:
    if limit is None or count <= limit:
        return np.arange(count)
    return np.linspace(0, count - 1, limit).astype(int)
