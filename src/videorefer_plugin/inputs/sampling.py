"""Choosing the frames of the videos of a batch, by the settings of a processor's call."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video import Video
from videorefer_plugin.video.sampling import check_count, check_range, check_sampled, spread

__all__ = ["CLIP_SETTINGS", "Sampling"]

CLIP_SETTINGS = (
    "num_frames",
    "fps",
    "video_start",
    "video_end",
    "max_frames",
    "do_sample_frames",
    "video_metadata",
    "return_metadata",
)
"""Settings of a processor's call about the frames that are shown."""

_FRAMES_BY_SECOND = 32  # as in the original code
_SETTINGS = {
    "num_frames": "num_frames",
    "fps": "fps",
    "start": "video_start",
    "end": "video_end",
    "max_frames": "max_frames",
}  # fields that may differ between videos, and their names in a call
_MORE_THAN_HANDED = 1.1  # factor by which a rate may exceed that of frames taken beforehand, which is often rounded


@dataclass(frozen=True)
class Sampling:
    """The choice of frames of the videos of a batch.

    The first five fields hold for all videos, or are lists with a value for each video, or for each sample if there
    are not as many samples as videos. `None`, also in a list, means that a setting is not used.

    At most `MAX_SAMPLED_FRAMES` (4096) frames of a video are shown, with any settings.

    Attributes:
        num_frames (`int` or `list[int]`, *optional*): number of frames, evenly spread.
        fps (`float` or `list[float]`, *optional*): number of frames per second instead, evenly spread.
        start, end (`float` or `list[float]`, *optional*): part of the videos to look at, in seconds.
        max_frames (`int` or `list[int]`, *optional*): the most frames.
        min_frames (`int`, *optional*, defaults to 1): with `fps`, the fewest.
        by_second (`bool`, *optional*, defaults to `False`):
            Whether to take one frame per second as the original code does: in steps of whole frames, and the first
            `max_frames` (by default 32) of them.
        all_frames (`bool`, *optional*, defaults to `False`): whether to take all frames.
        usual ([`Sampling`], *optional*):
            Number, rate and limit for videos for which neither number nor rate is given; its limit is also used if a
            rate is.
    """

    num_frames: Any = None
    fps: Any = None
    start: Any = None
    end: Any = None
    max_frames: Any = None
    min_frames: int = 1
    by_second: bool = False
    all_frames: bool = False
    usual: "Sampling | None" = None

    @classmethod
    def of(cls, settings: dict[str, Any], **defaults: Any) -> "Sampling":
        """Make it from `CLIP_SETTINGS` and the defaults.

        Raises:
            VideoError: both a number of frames and a rate are given, or a number is invalid.
        """
        usual = cls(**{name: defaults.pop(name, None) for name in ("num_frames", "fps", "max_frames")})
        given = {field: _plain(settings[name]) for field, name in _SETTINGS.items()}
        for value in _values(given["max_frames"]):
            check_count(value, "max_frames")
        for value in [*_values(given["num_frames"]), *_values(usual.num_frames)]:
            check_sampled(value, "num_frames")
        if not isinstance(given["num_frames"], list) and not isinstance(given["fps"], list):
            _check_one_of(given["num_frames"], given["fps"])
        all_frames = settings["do_sample_frames"] is False
        return cls(all_frames=all_frames, usual=usual, **given, **defaults)

    def by_video(self, owners: Sequence[int], samples: int) -> "Sampling":
        """Return the same settings with lists that have a value for each video.

        Args:
            owners (`Sequence[int]`): the sample that each video belongs to.
            samples (`int`): number of samples.

        Raises:
            VideoError: a list is of another length, or gives a video both a number of frames and a rate.
        """
        changes: dict[str, Any] = {}
        for field, name in _SETTINGS.items():
            values = _plain(getattr(self, field))
            if not isinstance(values, list):
                continue
            if len(values) not in (len(owners), samples):
                batch = f"{len(owners)} video(s)" + (f" in {samples} samples" if samples != len(owners) else "")
                raise VideoError(
                    f"{name} has {len(values)} value(s), but the batch has {batch}; pass one for each, or a single "
                    "number for all."
                )
            changes[field] = values if len(values) == len(owners) else [values[sample] for sample in owners]
        sampling = replace(self, **changes)
        for number in range(len(owners)):
            _check_one_of(_one(sampling.num_frames, number), _one(sampling.fps, number), f" for video {number}")
        return sampling

    def choose(self, video: Video, number: int = 0) -> list[int]:
        """Choose frames of a video, which is the `number`-th of the batch.

        Raises:
            VideoError: a setting is invalid, or does not fit the video.
        """
        chosen = self._of(number)._choose(video)
        check_sampled(len(chosen), f"The number of frames to show of {video.name} (num_frames, fps, max_frames)")
        return chosen

    def choose_among(self, frames: list[int], rate: float | None, name: str, number: int = 0) -> list[int]:
        """Choose among frames that were taken out of a video beforehand. Without settings, all are shown.

        Args:
            frames (`list[int]`): their indices in that video, ascending.
            rate (`float`, *optional*): frames per second of that video.
            name (`str`): the name of the frames in messages.
            number (`int`, *optional*): index of the video in the batch.

        Raises:
            VideoError: they are fewer than the settings require, or settings in seconds are given without a rate.
        """
        return frames if self.all_frames else self._of(number)._among(frames, rate, name)

    def _of(self, number: int) -> "Sampling":
        """The settings for one video."""
        return replace(self, **{field: _one(getattr(self, field), number) for field in _SETTINGS})

    def _choose(self, video: Video) -> list[int]:
        if self.all_frames:
            return list(range(video.num_frames))
        if self.by_second:
            limit = self.max_frames if self.max_frames is not None else _FRAMES_BY_SECOND
            return video.sample(None, start=self.start, end=self.end, max_frames=limit)
        number, rate, limit = self.num_frames, self.fps, self.max_frames
        if rate is not None and not video.has_clock:
            _check_rate(rate)
            raise _no_rate(f"fps={short(rate)} is", video.name)
        if self.usual is not None:
            if number is None and rate is None:
                number, rate = self.usual.num_frames, self.usual.fps
            if limit is None and rate is not None:
                limit = self.usual.max_frames
        if rate is not None:
            number = self._at_rate(rate, video)
        if limit is not None:
            video.sample(1, max_frames=limit)  # checks the limit
            number = limit if number is None else min(number, limit)
        return video.sample(number, start=self.start, end=self.end)

    def _at_rate(self, rate: Any, video: Video) -> int:
        _check_rate(rate)
        video.sample(1, start=self.start, end=self.end)  # checks that the range lies in the video
        start, end = check_range(self.start, self.end)
        seconds = (video.duration if end is None else min(end, video.duration)) - max(start or 0.0, 0.0)
        return int(max(min(max(round(seconds * rate), self.min_frames), video.num_frames), 1))

    def _among(self, frames: list[int], rate: float | None, name: str) -> list[int]:
        inside = self._in_range(frames, rate, name)
        number = self.num_frames
        if self.fps is not None:
            number = self._among_at_rate(inside, rate, name)
        elif number is not None and number > len(inside):
            raise VideoError(
                f"num_frames={number} was asked for, but {name} holds {len(inside)} frame(s) taken beforehand to "
                "choose among. Leave num_frames out to show them all, or hand over more."
            )
        if self.max_frames is not None:
            number = min(self.max_frames, len(inside) if number is None else number)
        return inside if number is None else [inside[place] for place in spread(len(inside), number, 1, None)]

    def _in_range(self, frames: list[int], rate: float | None, name: str) -> list[int]:
        start, end = check_range(self.start, self.end)
        if start is None and end is None:
            return frames
        if rate is None:
            raise _no_rate("A range of seconds (video_start, video_end) is", name)
        low, high = (start or 0.0) * rate - 1e-6, math.inf if end is None else end * rate + 1e-6
        inside = [frame for frame in frames if low <= frame <= high]
        if not inside:
            raise VideoError(
                f"None of the {len(frames)} frames of {name}, taken from {frames[0] / rate:g} s to "
                f"{frames[-1] / rate:g} s, lies in the range of video_start and video_end."
            )
        return inside

    def _among_at_rate(self, frames: list[int], rate: float | None, name: str) -> int:
        _check_rate(self.fps)
        if rate is None:
            raise _no_rate(f"fps={short(self.fps)} is", name)
        if len(frames) < 2 or frames[0] == frames[-1]:
            return len(frames)
        own = (len(frames) - 1) * rate / (frames[-1] - frames[0])
        if self.fps > own * _MORE_THAN_HANDED:
            raise VideoError(
                f"fps={short(self.fps)} was asked for, but {name} holds frames taken beforehand, {own:.3g} a second. "
                "Leave fps out to show them all, or hand over more."
            )
        return int(max(min(max(round(len(frames) / own * self.fps), self.min_frames), len(frames)), 1))


def _check_one_of(number: Any, rate: Any, where: str = "") -> None:
    if number is not None and rate is not None:
        raise VideoError(f"num_frames={number} and fps={rate} exclude each other{where}; give one of them.")


def _check_rate(rate: Any) -> None:
    if isinstance(rate, (bool, str)) or not isinstance(rate, (int, float, np.number)) or not 0 < rate < math.inf:
        raise VideoError(f"fps must be a number of frames a second above 0, but is {short(rate)}.")


def _no_rate(what: str, name: str) -> VideoError:
    return VideoError(
        f"{what} asked for, but {name} does not say at what rate its frames are shown. Give the "
        'rate as "fps" in video_metadata, or with open_video(frames, fps=...).'
    )


def _plain(value: Any) -> Any:
    """A setting, as a list if it has several values."""
    if isinstance(value, tuple) or getattr(value, "ndim", 0) == 1:  # ndim: of arrays and tensors
        return list(value) if isinstance(value, tuple) else value.tolist()
    return value


def _values(setting: Any) -> list[Any]:
    """The values of a setting that are given."""
    return [value for value in (setting if isinstance(setting, list) else [setting]) if value is not None]


def _one(value: Any, number: int) -> Any:
    """Setting of one video, from one value for all or a list."""
    return value[number] if isinstance(value, (list, tuple)) else value
