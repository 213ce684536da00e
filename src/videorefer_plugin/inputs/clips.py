"""Open visuals, choose their frames, and make sure that those are shown that have to be."""

import math
import operator
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError, VideoError
from videorefer_plugin.inputs.matching import Sample, Source, named
from videorefer_plugin.video import Video, load_image, open_video
from videorefer_plugin.video.sampling import check_count, check_fps, check_range, check_sampled

__all__ = ["CLIP_SETTINGS", "Clip", "Sampling", "clips_by_sample", "open_clip", "open_clips", "show_frames"]

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
"""Settings of a processor's call that are about which frames are shown."""

_FRAMES_BY_SECOND = 32  # as in the original code


@dataclass(frozen=True)
class Sampling:
    """Which frames of the videos of a batch to choose.

    No more than `MAX_SAMPLED_FRAMES` (4096) of a video are shown, whatever the settings say.

    Attributes:
        num_frames (`int`, *optional*): how many, evenly spread.
        fps (`float`, *optional*): how many a second instead, evenly spread.
        start, end (`float` or `list[float]`, *optional*): part of the videos to look at, in seconds.
        max_frames (`int`, *optional*): the most frames.
        min_frames (`int`, *optional*, defaults to 1): with `fps`, the fewest.
        by_second (`bool`, *optional*, defaults to `False`):
            Whether to take one frame a second as the original code does: in steps of whole frames, and the first
            `max_frames` (by default 32) of them.
        all_frames (`bool`, *optional*, defaults to `False`): whether to take all frames.
    """

    num_frames: int | None = None
    fps: float | None = None
    start: Any = None
    end: Any = None
    max_frames: int | None = None
    min_frames: int = 1
    by_second: bool = False
    all_frames: bool = False

    @classmethod
    def of(cls, settings: dict[str, Any], **defaults: Any) -> "Sampling":
        """Make it from `CLIP_SETTINGS` and what holds where they are not set.

        Raises:
            VideoError: both a number of frames and a rate are given, or a number is not usable.
        """
        number, rate = settings["num_frames"], settings["fps"]
        if number is not None and rate is not None:
            raise VideoError(f"num_frames={number} and fps={rate} exclude each other; give one of them.")
        if number is not None or rate is not None:
            defaults |= {"num_frames": number, "fps": rate}
        if settings["max_frames"] is not None:
            defaults["max_frames"] = check_count(settings["max_frames"], "max_frames")
        if defaults.get("num_frames") is not None:
            check_sampled(defaults["num_frames"], "num_frames")
        all_frames = settings["do_sample_frames"] is False
        return cls(start=settings["video_start"], end=settings["video_end"], all_frames=all_frames, **defaults)

    def choose(self, video: Video, number: int = 0) -> list[int]:
        """Choose frames of a video, which is the `number`-th of the batch.

        Raises:
            VideoError: a setting makes no sense, or does not fit the video.
        """
        chosen = self._choose(video, number)
        check_sampled(len(chosen), f"The number of frames to show of {video.name} (num_frames, fps, max_frames)")
        return chosen

    def _choose(self, video: Video, number: int) -> list[int]:
        if self.all_frames:
            return list(range(video.num_frames))
        start, end = _one(self.start, number), _one(self.end, number)
        if self.by_second:
            limit = self.max_frames if self.max_frames is not None else _FRAMES_BY_SECOND
            return video.sample(None, start=start, end=end, max_frames=limit)
        wanted = self.num_frames if self.fps is None else self._at_rate(self.fps, video, start, end)
        if self.max_frames is not None:
            video.sample(1, max_frames=self.max_frames)  # checks the limit
            wanted = self.max_frames if wanted is None else min(wanted, self.max_frames)
        return video.sample(wanted, start=start, end=end)

    def _at_rate(self, rate: Any, video: Video, start: float | None, end: float | None) -> int:
        if isinstance(rate, (bool, str)) or not isinstance(rate, (int, float, np.number)) or not 0 < rate < math.inf:
            raise VideoError(f"fps must be a number of frames a second above 0, but is {rate!r}.")
        video.sample(1, start=start, end=end)  # checks that the range lies in the video
        start, end = check_range(start, end)
        seconds = (video.duration if end is None else min(end, video.duration)) - max(start or 0.0, 0.0)
        return int(max(min(max(round(seconds * rate), self.min_frames), video.num_frames), 1))


def _one(value: Any, number: int) -> float | None:
    """Setting of one video, from one value for all or a list."""
    return value[number] if isinstance(value, (list, tuple)) else value


@dataclass
class Clip:
    """A visual of a batch, opened. An image is a video of one frame.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        sample (`int`): prompt that it belongs to.
        video (`Video`): gives frames by index.
        sampled (`list[int]`): frames shown to the model, in order, in the numbering of regions.
        rows (`dict[int, int]`, *optional*):
            Where each frame lies in `video`, if that holds only frames taken out of a longer one.
        metadata (`dict`, *optional*): what was said of the longer one.
    """

    kind: str
    sample: int
    video: Video
    sampled: list[int]
    rows: dict[int, int] | None = None
    metadata: dict[str, Any] | None = None

    @property
    def fps(self) -> float:
        """Frames per second, in the numbering of regions."""
        return float((self.metadata or {}).get("fps") or self.video.fps)

    @property
    def num_frames(self) -> int:
        """Number of frames, in the numbering of regions."""
        if self.rows is None:
            return self.video.num_frames
        return int((self.metadata or {}).get("total_num_frames") or max(self.rows) + 1)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames, in pixels."""
        return self.video.height, self.video.width

    @property
    def place(self) -> dict[int, int]:
        """For each frame that is shown, its first place among them."""
        return {frame: position for position, frame in reversed(list(enumerate(self.sampled)))}

    def frame_at(self, seconds: float) -> int:
        """Frame shown at a time; see [`Video.frame_at`].

        Raises:
            RegionError: nobody said at what rate the frames are shown.
            VideoError: the time is beyond the end.
        """
        if self.kind == "image":
            raise RegionError(f"it is given at {seconds:g} s, but an image has no times: give frame 0.")
        if not (self.video.has_clock if self.rows is None else (self.metadata or {}).get("fps")):
            remedy = "open_video(frames, fps=...)" if self.rows is None else '"fps" in video_metadata'
            raise RegionError(
                f"it is given at {seconds:g} s, but {self.video.name} does not say when its frames are shown. Give "
                f"frames instead of seconds, or the rate of the video: {remedy}."
            )
        return self.video.frame_at(seconds) if self.rows is None else int(seconds * self.fps + 1e-6)

    def describe(self) -> dict[str, Any]:
        """What processors are told of a video: its size, rate and length, and the frames shown."""
        return {
            "total_num_frames": self.num_frames,
            "fps": self.fps,
            "height": self.video.height,
            "width": self.video.width,
            "duration": self.video.duration if self.rows is None else self.num_frames / self.fps,
            "frames_indices": list(self.sampled),
        }

    def read(self, frames: Sequence[int] | None = None) -> np.ndarray:
        """Read frames, those that are shown by default; `uint8` of shape `(frames, height, width, 3)`.

        Raises:
            RegionError: of a video sampled beforehand, a frame was not handed over.
            VideoError: a frame cannot be decoded.
        """
        return self.video.read(self.rows_of(self.sampled if frames is None else frames))

    def rows_of(self, frames: Sequence[int]) -> list[int]:
        """Where frames, in the numbering of regions, lie in `video`.

        Raises:
            RegionError: of a video sampled beforehand, a frame was not handed over.
        """
        if self.rows is None:
            return list(frames)
        missing = [frame for frame in frames if frame not in self.rows]
        if missing:
            raise RegionError(
                f"frame {missing[0]} carries a mask but is not among the {len(self.rows)} frame(s) that were handed "
                f"over ({listed(list(self.rows), 8)}). Hand it over too, or mark the object in one of these."
            )
        return [self.rows[frame] for frame in frames]


def open_clips(samples: Sequence[Sample], sampling: Sampling, metadata: Any = None) -> Iterator[Clip]:
    """Open the visuals of a batch and choose their frames, one after the other, in order of the prompts.

    Args:
        samples (`Sequence[Sample]`): the prompts with their visuals.
        sampling ([`Sampling`]): which frames to choose.
        metadata (*optional*): the setting `video_metadata`, with an entry for each video.

    Raises:
        VideoError: a visual cannot be read (the sample is named), or a list of settings has another length than the
            batch has videos.
    """
    videos = sum(source.kind == "video" for sample in samples for source in sample.visuals)
    for name, value in (("video_start", sampling.start), ("video_end", sampling.end)):
        if isinstance(value, (list, tuple)) and len(value) != videos:
            raise VideoError(
                f"{name} has {len(value)} value(s), but the batch has {videos} video(s); pass one for each, or a "
                "single number for all."
            )
    known = _metadata(metadata, videos)
    for sample in samples:
        for source in sample.visuals:
            said = known[source.number] if known is not None and source.kind == "video" else None
            with named(f"Sample {sample.index}"):
                clip = open_clip(source, sample.index, sampling, said)
            yield clip


def clips_by_sample(clips: Sequence[Clip], samples: int) -> list[list[Clip]]:
    """The clips of each sample, in order of the prompt."""
    found: list[list[Clip]] = [[] for _ in range(samples)]
    for clip in clips:
        found[clip.sample].append(clip)
    return found


def _metadata(metadata: Any, videos: int) -> list[Any] | None:
    if metadata is None:
        return None
    metadata = list(metadata) if isinstance(metadata, (list, tuple)) else [metadata]
    for entry in metadata:
        if entry is not None and not isinstance(entry, dict) and not hasattr(entry, "frames_indices"):
            raise VideoError(f"video_metadata must be a dict for each video, but one is a {type(entry).__name__}.")
    if len(metadata) != videos:
        raise VideoError(f"video_metadata has {len(metadata)} item(s) for {videos} video(s).")
    return metadata


def open_clip(source: Source, sample: int, sampling: Sampling, metadata: Any = None) -> Clip:
    """Open a visual and choose its frames.

    Args:
        source ([`Source`]): the visual, as [`open_video`] or [`load_image`] takes it, or a [`Video`].
        sample (`int`): prompt that it belongs to.
        sampling ([`Sampling`]): which frames to choose.
        metadata (`dict` or `VideoMetadata`, *optional*): which frames of a longer video the source holds.

    Raises:
        VideoError: the source cannot be read, or the metadata do not fit it.
    """
    if source.kind == "image":
        return Clip("image", sample, _open_image(source.value), [0])
    video = open_video(source.value)
    if metadata is not None:
        return _presampled(video, sample, metadata if isinstance(metadata, dict) else vars(metadata))
    return Clip("video", sample, video, sampling.choose(video, source.number))


def _open_image(source: Any) -> Video:
    if isinstance(source, Video):
        if source.num_frames != 1:
            raise VideoError(f"An image was expected, but {source.name} has {source.num_frames} frames.")
        return source
    image = open_video(load_image(source)[None])
    if isinstance(source, (str, os.PathLike)):
        image.name = repr(os.fspath(source))
    return image


def _presampled(video: Video, sample: int, metadata: dict[str, Any]) -> Clip:
    given = metadata.get("frames_indices")
    indices = [_source_frame(index) for index in _listed_frames(given)]
    if len(indices) != video.num_frames or indices != sorted(indices) or min(indices, default=0) < 0:
        raise VideoError(
            f"video_metadata must name the source frame of each of the {video.num_frames} frame(s) of "
            f"{video.name} in ascending order, but its {len(indices)} frames_indices are {listed(indices, 8)}."
        )
    rate, total = metadata.get("fps"), metadata.get("total_num_frames")
    said = {
        "fps": None if rate is None else check_fps(rate),
        "total_num_frames": None if total is None else check_count(total, "total_num_frames of video_metadata"),
    }
    if total is not None and total <= indices[-1]:
        raise VideoError(f"video_metadata says that there are {total} frames, but names frame {indices[-1]}.")
    rows = {frame: row for row, frame in reversed(list(enumerate(indices)))}
    return Clip("video", sample, video, indices, rows, said)


def _listed_frames(given: Any) -> list[Any]:
    """The entries of `frames_indices`, which may also be an array."""
    if given is None:
        return []
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise VideoError(f"frames_indices of video_metadata must be a list of frame indices, but is {short(given)}.")
    return list(given)


def _source_frame(index: Any) -> int:
    try:
        if isinstance(index, (bool, np.bool_)):
            raise TypeError
        return operator.index(index)
    except TypeError:
        raise VideoError(
            f"frames_indices of video_metadata must be whole numbers, but {short(index)} is among them."
        ) from None


def show_frames(clip: Clip, wanted: Sequence[int], may_change: bool) -> None:
    """Make sure that the model sees the frames that carry masks.

    Each takes the place of the sampled frame nearest to it, so that the number of frames, and with it the cost, stays
    as asked for; it grows only where there are more mask-carrying frames than sampled ones.

    Args:
        clip ([`Clip`]): changed in place.
        wanted (`Sequence[int]`): frames that carry masks.
        may_change (`bool`): whether other frames may be shown than those chosen before.

    Raises:
        RegionError: a frame is not shown and none may be changed.
    """
    missing = sorted(set(wanted) - set(clip.sampled))
    if not missing:
        return
    if not may_change or clip.rows is not None:
        raise RegionError(
            f"frame {missing[0]} carries a mask but is not among the {len(clip.sampled)} frame(s) shown to the "
            f"model ({listed(clip.sampled, 8)}). Let the processor choose frames (do_sample_frames and "
            "include_region_frames not False), or mark the object in frames that are shown."
        )
    kept = set(wanted)
    shown = list(clip.sampled)
    free = [place for place, frame in enumerate(shown) if frame not in kept or frame in shown[:place]]
    for frame in missing:
        if free:
            nearest = min(free, key=lambda place: abs(shown[place] - frame))
            free.remove(nearest)
            shown[nearest] = frame
        else:
            shown.append(frame)
    clip.sampled = sorted(shown)
