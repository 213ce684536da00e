"""Frames of a source for models, with or without an object drawn on them; sampled and decoded once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import Drop, Failure, Found, Made, ObjectItem
from videorefer_plugin.errors import EngineError, RegionError, VideoError
from videorefer_plugin.pictures import draw_marks
from videorefer_plugin.regions import Region
from videorefer_plugin.segment.cleaning import box_around
from videorefer_plugin.video import Video, sample_frame_indices

__all__ = ["ShownFrames", "cropped", "fitting", "found_of", "frame_of", "region_at", "scaled", "with_dropped"]

_AROUND = 0.25  # margin of a crop, as a share of the object's size


@dataclass(frozen=True, eq=False)
class ShownFrames:
    """Some frames of a video.

    Attributes:
        video ([`Video`]): the video.
        indices (`tuple[int, ...]`): indices of the frames, in order.
        pictures: uint8 (frames, height, width, 3).
    """

    video: Video
    indices: tuple[int, ...]
    pictures: NDArray[np.uint8]

    @classmethod
    def of(cls, video: Video, num_frames: int) -> ShownFrames:
        """Return frames spread evenly over a video, or all of them if there are fewer."""
        count = min(num_frames, video.num_frames)
        indices = [int(index) for index in sample_frame_indices(video.num_frames, num_frames=count)]
        return cls(video, tuple(indices), video.read(indices))

    @property
    def fps(self) -> float:
        """The rate of these frames in the video, in frames per second."""
        times = self.video.timestamps[list(self.indices)]
        steps, seconds = len(times) - 1, float(times[-1] - times[0])
        return steps / seconds if steps and seconds > 0 else float(self.video.fps)

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The indices and times of these frames, in the form of video processors."""
        return {
            "total_num_frames": self.video.num_frames,
            "fps": self.video.fps,
            "height": self.video.height,
            "width": self.video.width,
            "duration": self.video.duration,
            "frames_indices": list(self.indices),
        }

    def marked(self, found: Found, style: str) -> ShownFrames:
        """Return the frames with an object drawn on those in which it is visible.

        If it is visible in none of them, a frame in which it is visible replaces the nearest one.

        Raises:
            RegionError: the object does not fit the video, or is never visible.
        """
        region = found.region.at_frames(self.video.frame_at)
        shown = self if set(region.present) & set(self.indices) else self._with(frame_of(found))
        pictures = shown.pictures.copy()
        for place, index in enumerate(shown.indices):
            if index in region.present:
                mask = region.mask(index, self.video.height, self.video.width)
                pictures[place] = draw_marks(pictures[place], {1: mask}, style, letters=0)
        return replace(shown, pictures=pictures)

    def _with(self, frame: int) -> ShownFrames:
        place = int(np.argmin([abs(index - frame) for index in self.indices]))
        indices, pictures = list(self.indices), self.pictures.copy()
        indices[place], pictures[place] = frame, self.video.read([frame])[0]
        return replace(self, indices=tuple(indices), pictures=pictures)


def found_of(item: ObjectItem) -> Found:
    """Return the masks of an object.

    Raises:
        EngineError: there was no Segmentor, and the object came without masks.
    """
    if item.found is None:
        raise EngineError(
            f"Object {item.number} ({item.noun.text!r}) has no masks, but it is to be shown: let a segmentor come "
            "before, or give objects with masks."
        )
    return item.found


def fitting(video: Video, objects: Sequence[ObjectItem]) -> tuple[list[ObjectItem], dict[int, Drop]]:
    """Return the objects that can be shown in a video, and number -> reason for the others.

    Raises:
        EngineError: an object has no masks.
    """
    fit, dropped = [], {}
    for item in objects:
        found = found_of(item)
        try:
            frame = video._check_indices([frame_of(found)])[0]
            if not found.region.mask(frame, video.height, video.width).any():
                raise RegionError(f"its mask in frame {frame} has no pixel.")
            fit.append(item)
        except (RegionError, VideoError) as error:
            dropped[item.number] = Drop("unfit_mask", f"{short(item.noun.text)} cannot be shown: {error}")
    return fit, dropped


def with_dropped(objects: Sequence[ObjectItem], dropped: Mapping[int, Drop], made: Made | Failure) -> Made | Failure:
    """Return the results of the other objects, with the objects that could not be shown inserted."""
    if isinstance(made, Failure):
        return made
    others = iter(made.objects)
    return replace(made, objects=tuple(dropped.get(item.number) or next(others) for item in objects))


def frame_of(found: Found) -> int:
    """Return the frame in which an object was first found, or the nearest one in which it is visible.

    Raises:
        RegionError: the object is never visible.
    """
    present = found.region.present
    if not present:
        raise RegionError("it is visible in no frame; leave it out, or give it a mask in one.")
    return min(present, key=lambda frame: (abs(frame - found.frame), frame))


def region_at(found: Found, frames: Sequence[int]) -> Region:
    """Return the object in those of these frames in which it is visible, or else in the frame in which it was found.

    Raises:
        RegionError: the object is never visible.
    """
    region = found.region
    present = set(region.present)
    return region.select([frame for frame in frames if frame in present] or [frame_of(found)])


def cropped(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return an object and its surroundings in a frame."""
    left, top, right, bottom = box_around(mask)
    wide, high = _AROUND * (right - left), _AROUND * (bottom - top)
    rows = slice(max(0, int(top - high)), int(bottom + high) + 1)
    return picture[rows, max(0, int(left - wide)) : int(right + wide) + 1]


def scaled(picture: NDArray[np.uint8], most: int) -> NDArray[np.uint8]:
    """Return a picture, scaled down to `most` pixels on its longer side."""
    from PIL import Image

    longer = max(picture.shape[:2])
    if longer <= most:
        return picture
    size = (max(1, round(picture.shape[1] * most / longer)), max(1, round(picture.shape[0] * most / longer)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
