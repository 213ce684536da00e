"""The metadata of videos whose frames were decoded elsewhere: the setting `video_metadata`, as in transformers."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.sampling import check_count, check_fps, check_number

__all__ = ["VideoFacts", "read_metadata"]

_SECONDS_APART, _SHARE_APART = 1.0, 0.05  # by which a length may differ from that of the frames, due to rounding


@dataclass(frozen=True)
class VideoFacts:
    """The metadata of one video.

    Attributes:
        indices (`list[int]`, *optional*): the indices of the frames that were passed; all frames by default.
        fps (`float`, *optional*): its frames per second.
        total (`int`, *optional*): its number of frames.
    """

    indices: list[int] | None
    fps: float | None
    total: int | None

    @classmethod
    def of(cls, entry: Any, handed: int, name: str) -> "VideoFacts":
        """Read an entry of `video_metadata`.

        Args:
            entry (`dict` or `VideoMetadata`): the entry.
            handed (`int`): number of frames that were passed.
            name (`str`): the name of the frames in messages.

        Raises:
            VideoError: the entry contradicts the frames, or itself.
        """
        said = entry if isinstance(entry, Mapping) else vars(entry)
        indices = said.get("frames_indices")
        if indices is not None:
            indices = [_source_frame(index) for index in _listed_frames(indices)]
            if len(indices) != handed or indices != sorted(indices) or min(indices, default=0) < 0:
                raise VideoError(
                    f"video_metadata must name the source frame of each of the {handed} frame(s) of {name} in "
                    f"ascending order, but its {len(indices)} frames_indices are {listed(indices, 8)}."
                )
        total, rate, seconds = (said.get(field) for field in ("total_num_frames", "fps", "duration"))
        total = None if total is None else check_count(total, "total_num_frames of video_metadata")
        if total is not None and indices is not None and total <= indices[-1]:
            raise VideoError(f"video_metadata says that there are {total} frames, but names frame {indices[-1]}.")
        if indices is None and total not in (None, handed):
            raise VideoError(
                f"video_metadata says that there are {total} frames, but {name} holds {handed}. If these were taken "
                'out of a longer video, say which ones they are: "frames_indices".'
            )
        count = handed if indices is None else total
        return cls(indices, _rate(rate, seconds, count), total)


def read_metadata(metadata: Any, videos: int) -> list[Any]:
    """Return the entries of `video_metadata`, one for each video; `None` for videos without one.

    Args:
        metadata: an entry, a list of them, or a list of lists, one for each sample.
        videos (`int`): number of videos.

    Raises:
        VideoError: an entry has the wrong type, or the number of entries is wrong.
    """
    if metadata is None:
        return [None] * videos
    entries = list(_flat(metadata))
    for entry in entries:
        if entry is not None and not isinstance(entry, Mapping) and not hasattr(entry, "frames_indices"):
            raise VideoError(f"video_metadata must be a dict for each video, but one is a {type(entry).__name__}.")
    if len(entries) != videos:
        raise VideoError(f"video_metadata has {len(entries)} item(s) for {videos} video(s).")
    return entries


def _flat(metadata: Any) -> Iterable[Any]:
    if not isinstance(metadata, (list, tuple)):
        return [metadata]
    return [one for entry in metadata for one in _flat(entry)]


def _rate(rate: Any, seconds: Any, count: int | None) -> float | None:
    """The frame rate, as it is given or follows from the length."""
    rate = None if rate is None else check_fps(rate)
    seconds = 0.0 if seconds is None else check_number(seconds, "duration of video_metadata (seconds)")
    if seconds < 0:
        raise VideoError(f"duration of video_metadata must not be negative, but is {seconds:g} s.")
    if count is None or seconds == 0:  # some decoders write 0 if they do not know it
        return rate
    if rate is None:
        return check_fps(count / seconds)
    if abs(seconds - count / rate) > max(_SECONDS_APART, _SHARE_APART * seconds):
        raise VideoError(
            f"video_metadata contradicts itself: {count} frames at fps={rate:g} last {count / rate:g} s, but its "
            f"duration is {seconds:g} s. Leave one of them out."
        )
    return rate


def _listed_frames(given: Any) -> list[Any]:
    """The entries of `frames_indices`, which may also be an array."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise VideoError(f"frames_indices of video_metadata must be a list of frame indices, but is {short(given)}.")
    return list(given)


def _source_frame(index: Any) -> int:
    try:
        if isinstance(index, (bool, np.bool_)):
            raise TypeError
        if isinstance(index, (float, np.floating)) and float(index).is_integer():  # such as those of linspace
            return int(index)
        return operator.index(index)
    except TypeError:
        raise VideoError(
            f"frames_indices of video_metadata must be whole numbers, but {short(index)} is among them."
        ) from None
