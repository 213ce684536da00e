"""Which frames of a video a host is shown, and where a region lies on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videorefer_plugin.errors import RegionError, VideoError
from videorefer_plugin.object_encoder import resize_masks
from videorefer_plugin.regions import Region
from videorefer_plugin.video import Video, load_image, open_video, sample_frame_indices

__all__ = ["Clip", "grid_masks", "open_clip", "region_frames", "show_frames"]

_DEFAULT_NUM_FRAMES = 16


@dataclass
class Clip:
    """A visual of a batch, opened.

    Attributes:
        kind (`str`): `"video"` or `"image"`.
        sample (`int`): prompt that it belongs to.
        video (`Video`): gives frames by index; an image is a video of one frame.
        sampled (`list[int]`): frames chosen, in the numbering of regions.
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

    def frame_at(self, seconds: float) -> int:
        """Frame shown at a time; see [`Video.frame_at`]."""
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

    def read(self) -> np.ndarray:
        """Frames shown, of shape `(frames, height, width, 3)`."""
        return self.video.read(self.sampled if self.rows is None else [self.rows[frame] for frame in self.sampled])


def open_clip(kind: str, sample: int, source: Any, settings: dict[str, Any], defaults: Any, metadata: Any) -> Clip:
    """Open a visual and choose its frames.

    Args:
        kind (`str`): `"video"` or `"image"`.
        sample (`int`): prompt that it belongs to.
        source: as in [`open_video`] or [`load_image`].
        settings (`dict`): `num_frames`, `fps`, `video_start`, `video_end` and `do_sample_frames`.
        defaults: the host's video processor, for what is not set.
        metadata (`dict` or `VideoMetadata`, *optional*): which frames of a longer video the source holds.

    Raises:
        VideoError: the source cannot be read, or the metadata do not fit it.
    """
    if kind == "image":
        return Clip(kind, sample, open_video(load_image(source)[None]), [0])
    video = open_video(source)
    if metadata is not None:
        metadata = metadata if isinstance(metadata, dict) else vars(metadata)
        indices = [int(index) for index in metadata.get("frames_indices", ())]
        if len(indices) != video.num_frames or indices != sorted(indices) or min(indices, default=0) < 0:
            raise VideoError(
                f"video_metadata must name the source frame of each of the {video.num_frames} frame(s) of "
                f"{video.name} in ascending order, but its {len(indices)} frames_indices are {_shortened(indices)}."
            )
        rows = {frame: row for row, frame in reversed(list(enumerate(indices)))}
        return Clip(kind, sample, video, indices, rows, metadata)
    if settings["do_sample_frames"] is False:
        return Clip(kind, sample, video, list(range(video.num_frames)))
    number = _number_of_frames(video, settings, defaults)
    start, end = settings["video_start"], settings["video_end"]
    return Clip(kind, sample, video, video.sample(number, start=start, end=end))


def _number_of_frames(video: Video, settings: dict[str, Any], defaults: Any) -> int:
    number, rate = settings["num_frames"], settings["fps"]
    if number is not None and rate is not None:
        raise VideoError(f"num_frames={number} and fps={rate} exclude each other; give one of them.")
    if number is None and rate is None:
        number, rate = getattr(defaults, "num_frames", None), getattr(defaults, "fps", None)
    if number is not None:
        return int(number)
    if rate is None:
        return _DEFAULT_NUM_FRAMES
    start, end = settings["video_start"] or 0.0, settings["video_end"]
    seconds = (video.duration if end is None else min(end, video.duration)) - start
    low, high = getattr(defaults, "min_frames", None) or 1, getattr(defaults, "max_frames", None) or video.num_frames
    return int(max(min(max(round(seconds * rate), low), high, video.num_frames), 1))


def region_frames(region: Region, clip: Clip, policy: str, limit: int | None) -> tuple[Region, list[int]]:
    """Choose the frames in which a region is used, in order of time.

    Args:
        region ([`Region`]): the region.
        clip ([`Clip`]): what it lies on.
        policy (`str`): with `"keep"`, frames in which the object has no pixel are left out.
        limit (`int`, *optional*): the most frames to use, taken evenly.

    Returns:
        `tuple[Region, list[int]]`: the region with its times turned into frames, and the frames.

    Raises:
        RegionError: it lies beyond the end, does not fit the frames, or has no pixel anywhere.
    """
    region = region.at_frames(clip.frame_at)
    beyond = [frame for frame in region.frames if frame >= clip.num_frames]
    if beyond:
        raise RegionError(
            f"it lies on frame {beyond[0]}, but {clip.video.name} has {clip.num_frames} frame(s), numbered from 0. "
            "Frames are those of the source video, not of the sampled clip."
        )
    frames = list(region.frames)
    if policy == "keep":
        size = clip.video.height, clip.video.width
        frames = [frame for frame in frames if not region.is_absent(frame) and region.mask(frame, *size).any()]
    if not frames:
        raise RegionError(f"it has no pixel in any of its {len(region.frames)} frame(s). Mark the object somewhere.")
    if limit is not None and len(frames) > limit:
        frames = [frames[index] for index in sample_frame_indices(len(frames), num_frames=limit)]
    return region, frames


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
            f"model ({_shortened(clip.sampled)}). Let the RegionProcessor choose frames (do_sample_frames and "
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


def grid_masks(
    region: Region, frames: Sequence[int], clip: Clip, size: tuple[int, int], policy: str, pad: bool
) -> Tensor:
    """Draw a region in some frames and bring it to the feature grid.

    Returns:
        `torch.Tensor` of shape `(num_frames, *size)` and dtype `bool`.
    """
    height, width = clip.video.height, clip.video.width
    masks = [
        # One at a time: masks of the source's size are large.
        resize_masks(torch.from_numpy(region.mask(frame, height, width))[None], size, policy, pad_to_square=pad)
        for frame in frames
    ]
    return torch.cat(masks)


def _shortened(frames: Sequence[int]) -> str:
    return ", ".join(map(str, frames[:8])) + (", ..." if len(frames) > 8 else "")
