"""Opening visuals and choosing their frames, including those that must be shown."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from videorefer_plugin._text import listed
from videorefer_plugin.errors import RegionError, VideoError
from videorefer_plugin.inputs.matching import Sample, Source, named
from videorefer_plugin.inputs.metadata import VideoFacts, read_metadata
from videorefer_plugin.inputs.sampling import CLIP_SETTINGS, Sampling
from videorefer_plugin.video import Video, load_image, open_video
from videorefer_plugin.video.sources import Stored, is_stored, stored

__all__ = [
    "CLIP_SETTINGS",
    "Clip",
    "Sampling",
    "clips_by_sample",
    "open_clip",
    "open_clips",
    "open_image",
    "show_frames",
]

_RATES_APART = 0.02  # share by which a rate may differ from that of the file, since rates are often rounded


@dataclass
class Clip:
    """An opened visual of a batch. An image is a video of one frame.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        sample (`int`): index of its prompt.
        video (`Video`): returns frames by index.
        sampled (`list[int]`): frames shown to the model, in order, in the numbering of regions.
        rows (`dict[int, int]`, *optional*):
            The index of each frame in `video`, if that holds only frames taken out of a longer one.
        metadata (`dict`, *optional*): the given metadata of the longer one.
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
        """For each frame that is shown, its first index among them."""
        return {frame: position for position, frame in reversed(list(enumerate(self.sampled)))}

    def frame_at(self, seconds: float) -> int:
        """Return the frame shown at a time; see [`Video.frame_at`].

        Raises:
            RegionError: the frame rate is unknown.
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
        """Return the description of a video for processors: its size, rate and length, and the frames shown."""
        return {
            "total_num_frames": self.num_frames,
            "fps": self.fps,
            "height": self.video.height,
            "width": self.video.width,
            "duration": self.video.duration if self.rows is None else self.num_frames / self.fps,
            "frames_indices": list(self.sampled),
        }

    def read(self, frames: Sequence[int] | None = None) -> np.ndarray:
        """Read frames, by default those that are shown; `uint8` of shape `(frames, height, width, 3)`.

        Raises:
            RegionError: the video was sampled beforehand, and a frame was not passed.
            VideoError: a frame cannot be decoded.
        """
        return self.video.read(self.rows_of(self.sampled if frames is None else frames))

    def rows_of(self, frames: Sequence[int]) -> list[int]:
        """Return the indices in `video` of frames in the numbering of regions.

        Raises:
            RegionError: the video was sampled beforehand, and a frame was not passed.
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

    A source that occurs several times, as the same object or the same path, is opened once: its clips share one
    [`Video`].

    Args:
        samples (`Sequence[Sample]`): the prompts with their visuals.
        sampling ([`Sampling`]): the choice of frames.
        metadata (*optional*): the setting `video_metadata`, with an entry for each video.

    Raises:
        VideoError: a visual cannot be read (the message names the sample), or a list of settings has another length
            than the batch has videos or samples.
    """
    owners = [sample.index for sample in samples for source in sample.visuals if source.kind == "video"]
    sampling = sampling.by_video(owners, len(samples))
    known = read_metadata(metadata, len(owners))
    visuals = _Visuals()
    for sample in samples:
        for source in sample.visuals:
            said = known[source.number] if source.kind == "video" else None
            with named(f"Sample {sample.index}"):
                clip = _open_clip(source, sample.index, sampling, said, visuals)
            yield clip


def clips_by_sample(clips: Sequence[Clip], samples: int) -> list[list[Clip]]:
    """The clips of each sample, in order of the prompt."""
    found: list[list[Clip]] = [[] for _ in range(samples)]
    for clip in clips:
        found[clip.sample].append(clip)
    return found


def open_clip(source: Source, sample: int, sampling: Sampling, metadata: Any = None) -> Clip:
    """Open a visual and choose its frames.

    Args:
        source ([`Source`]): the visual, as [`open_video`] or [`load_image`] takes it, or a [`Video`].
        sample (`int`): index of its prompt.
        sampling ([`Sampling`]): the choice of frames.
        metadata (`dict` or `VideoMetadata`, *optional*): the metadata of a video whose frames are passed.

    Raises:
        VideoError: the source cannot be read, or the metadata do not fit it.
    """
    return _open_clip(source, sample, sampling, metadata, _Visuals())


def _open_clip(source: Source, sample: int, sampling: Sampling, metadata: Any, visuals: "_Visuals") -> Clip:
    if source.kind == "image":
        return Clip("image", sample, visuals.image(source.value), [0])
    video = visuals.video(source.value)
    if metadata is None:
        return Clip("video", sample, video, sampling.choose(video, source.number))
    facts = VideoFacts.of(metadata, video.num_frames, video.name)
    if facts.indices is None:
        video = video if facts.fps is None else visuals.at_rate(source.value, facts.fps)
        return Clip("video", sample, video, sampling.choose(video, source.number))
    shown = sampling.choose_among(facts.indices, facts.fps, video.name, source.number)
    rows = {frame: row for row, frame in reversed(list(enumerate(facts.indices)))}
    return Clip("video", sample, video, shown, rows, {"fps": facts.fps, "total_num_frames": facts.total})


class _Visuals:
    """The visuals of a batch, each opened once."""

    def __init__(self) -> None:
        self._opened: dict[Any, Video] = {}

    def video(self, source: Any) -> Video:
        """The video of a source."""
        return self._once(("video", _identity(source)), lambda: open_video(source))

    def image(self, source: Any) -> Video:
        """An image, as a video of one frame."""
        return self._once(("image", _identity(source)), lambda: open_image(source))

    def at_rate(self, source: Any, fps: float) -> Video:
        """Return the video of a source whose metadata give this rate."""
        video = self.video(source)
        if video.is_rate_assumed:
            return self._once(("video", _identity(source), fps), lambda: video.at_rate(fps))
        if abs(video.fps - fps) > _RATES_APART * fps:
            raise VideoError(
                f"video_metadata says fps={fps:g}, but {video.name} has {video.fps:g} frames a second. Leave it out, "
                "or overrule the video with open_video(..., fps=...)."
            )
        return video

    def _once(self, key: Any, opens: Callable[[], Video]) -> Video:
        if key not in self._opened:
            self._opened[key] = opens()
        return self._opened[key]


def _identity(source: Any) -> Any:
    """The same value for sources that are the same visual: the same path or address, or the same object."""
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        is_path = isinstance(text, str) and "://" not in text and not text.startswith("data:")
        return os.path.abspath(text) if is_path else text
    if isinstance(source, (list, tuple)):
        return tuple(_identity(item) for item in source)
    return id(source)


def open_image(source: Any) -> Video:
    """Open an image as a video of one frame.

    Raises:
        VideoError: it cannot be read, or is a video.
    """
    if isinstance(source, Video):
        if source.num_frames != 1:
            raise VideoError(f"An image was expected, but {source.name} has {source.num_frames} frames.")
        return source
    if is_stored(source):
        source = stored(source)
    image = open_video(load_image(source)[None])
    if isinstance(source, Stored):
        image.name = source.name
    return image


def show_frames(clip: Clip, wanted: Sequence[int], may_change: bool) -> None:
    """Make sure that the model sees the frames that carry masks.

    Each replaces the sampled frame nearest to it, so that the number of frames, and with it the cost, stays as
    requested; it grows only if there are more mask-carrying frames than sampled ones.

    Args:
        clip ([`Clip`]): the clip, which is changed in place.
        wanted (`Sequence[int]`): frames that carry masks.
        may_change (`bool`): whether the sampled frames may be changed.

    Raises:
        RegionError: a frame is not shown, and the sampled frames may not be changed.
    """
    missing = sorted(set(wanted) - set(clip.sampled))
    if not missing:
        return
    clip.rows_of(wanted)  # raises for a frame that was not passed
    if not may_change:
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
