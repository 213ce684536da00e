"""Prompts: the position of an object in one frame, as segmenters take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._kinds import INTEGER, check_kind, instances
from videorefer_plugin._text import short, size_words
from videorefer_plugin.errors import RegionError, VideoError
from videorefer_plugin.regions import (
    Absent,
    Box,
    Mask,
    Points,
    Region,
    Scribble,
    Shape,
    as_region,
    decode_rle,
    encode_rle,
)
from videorefer_plugin.video import Video

__all__ = ["Prompt", "read_prompts"]

_SCRIBBLE_POINTS = 5  # dense points along a stroke make SAM-like models invert the mask


@dataclass(frozen=True, eq=False)
class Prompt:
    """The position of one object in one frame, for a segmenter: points, a box, both, or a rough mask.

    Attributes:
        points: float64 (N, 2), x and y in pixels of the frame.
        labels: one for each point: 1 on the object (the default), 0 not on it.
        box: x0, y0, x1, y1 in pixels.
        mask: bool (height, width), a rough mask, in any form that a `Region` takes. An empty mask declares the object
            absent.
        absent: whether the object is declared absent from the frame.

    Raises:
        RegionError: nothing is given, points and labels do not match, or a box or mask is malformed.
    """

    points: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 2)))
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    mask: NDArray[np.bool_] | None = None
    absent: bool = False

    def __post_init__(self) -> None:
        # Shapes of regions check the values, and normalize their form.
        points, labels = self.points, self.labels
        none = points is None or (isinstance(points, (np.ndarray, list, tuple)) and not len(points))
        if not none:
            shape = Points(points, labels=labels if len(labels) else None)
            points, labels = shape.points, tuple(shape.labels)
        elif len(labels):
            raise RegionError(f"a prompt has {len(labels)} label(s) but no points: give one label for each point")
        object.__setattr__(self, "points", np.empty((0, 2)) if none else points)
        object.__setattr__(self, "labels", labels)
        if self.box is not None:
            box = Box.from_sequence(self.box)
            object.__setattr__(self, "box", (box.x0, box.y0, box.x1, box.y1))
        if self.mask is not None:
            mask = np.array(Mask(self.mask).pixels)
            is_empty = not (mask.any() or len(self.points)) and self.box is None
            object.__setattr__(self, "mask", mask if mask.any() else None)
            object.__setattr__(self, "absent", self.absent or is_empty)
        if not (len(self.points) or self.absent) and self.box is None and self.mask is None:
            raise RegionError("a prompt is empty: give points, a box or a mask, or absent=True")

    @property
    def tells_where(self) -> bool:
        """Whether the prompt shows where the object is, not only where it is not."""
        return 1 in self.labels or self.box is not None or self.mask is not None

    @classmethod
    def of(cls, shape: Shape, height: int, width: int) -> Prompt:
        """Return the prompt of a region's shape, for a frame of this size.

        Points keep their labels, a scribble becomes a few points along it, and polygons and RLE become a mask. An
        empty mask declares the object absent, as `Absent` does.

        Raises:
            RegionError: the shape does not fit the frame.
        """
        drawn = shape.silhouette(height, width)  # raises for shapes outside of the frame, or of another size
        if isinstance(shape, Absent):
            return cls(absent=True)
        if isinstance(shape, Box):
            return cls(box=_clipped(shape, height, width))
        if isinstance(shape, Points):
            return cls(points=shape.points, labels=tuple(shape.labels))
        if isinstance(shape, Scribble):
            return cls(points=_along(shape.points, height, width))
        mask = drawn.mask()
        return cls(mask=mask) if mask.any() else cls(absent=True)

    def fitted(self, height: int, width: int) -> Prompt:
        """Return the prompt for a frame of this size, with its box clipped to the frame.

        Raises:
            RegionError: the prompt does not fit the frame. The message names the size of the frame.
        """
        if len(self.points):
            Points(self.points, labels=self.labels).silhouette(height, width)
        box = None
        if self.box is not None:
            Box(*self.box).silhouette(height, width)
            box = _clipped(Box(*self.box), height, width)
        if self.mask is not None and self.mask.shape != (height, width):
            raise RegionError(
                f"a prompt's mask is {size_words(*self.mask.shape)}, but the frame is {size_words(height, width)}: "
                "give masks in pixels of the source frame"
            )
        return self if box == self.box else replace(self, box=box)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Prompt:
        """Return the prompt of a JSON form from [`Prompt.to_json`]."""
        segmentation = value.get("segmentation")
        return cls(
            points=value.get("points", np.empty((0, 2))),
            labels=tuple(value.get("labels", ())),
            box=value.get("box"),
            mask=None if segmentation is None else decode_rle(segmentation),
            absent="segmentation" in value and segmentation is None,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form, with the keys of regions; `{"segmentation": None}` if the object is absent."""
        written: dict[str, Any] = {}
        if self.absent:
            written["segmentation"] = None
        if self.mask is not None:
            written["segmentation"] = encode_rle(self.mask)
        if self.box is not None:
            written["box"] = list(self.box)
        if len(self.points):
            written |= {"points": self.points.tolist(), "labels": list(self.labels)}
        return written


def read_prompts(
    given: Region | Mapping[Any, Any], video: Video, start: int = 0, end: int | None = None
) -> dict[int, Prompt]:
    """Return the prompts of one object by frame, sorted and checked against the video.

    Args:
        given: a `Region` or its JSON form, or a `dict` of frame -> `Prompt`, for points with a box.
        video: the video with the object.
        start, end: first and last frame to follow the object through.

    Raises:
        RegionError: a shape does not fit the video, or no prompt shows where the object is.
        VideoError: there is no such frame, or it is not between start and end.
    """
    check_kind(VideoError, instances(Video, hint="Open it with open_video()."), video=video)
    check_kind(VideoError, INTEGER, start=start)
    check_kind(VideoError, INTEGER, optional=True, end=end)
    height, width = video.height, video.width
    if isinstance(given, Mapping) and given and all(isinstance(value, Prompt) for value in given.values()):
        frames = sorted(video._check_indices(list(given)))
        prompts = {frame: _named(frame, given[frame].fitted, height, width) for frame in frames}
    else:
        region = as_region(given).at_frames(video.frame_at)
        frames = sorted(video._check_indices(list(region.frames)))
        prompts = {frame: _named(frame, Prompt.of, region.shape(frame), height, width) for frame in frames}
    last = video.num_frames - 1 if end is None else end
    outside = [frame for frame in frames if not start <= frame <= last]
    if outside:
        raise VideoError(
            f"The object is pointed at in frame {outside[0]}, which is not among those that it is followed through, "
            f"{start} to {last}; give another start or end, or point at it in one of those frames."
        )
    if not any(prompt.tells_where for prompt in prompts.values()):
        raise RegionError(
            f"nothing says where the object is: {short(given)} has only points that are not on it, or frames in which "
            "it is absent; give a point on the object, a box or a mask in one frame"
        )
    return prompts


def _named(frame: int, make: Any, *args: Any) -> Any:
    try:
        return make(*args)
    except RegionError as error:
        raise RegionError(f"frame {frame}: {error}") from error


def _clipped(box: Box, height: int, width: int) -> tuple[float, float, float, float]:
    return max(box.x0, 0.0), max(box.y0, 0.0), min(box.x1, float(width)), min(box.y1, float(height))


def _along(path: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Return a few evenly spaced points along a scribble, as far as they are inside the frame."""
    steps = np.hypot(*np.diff(path, axis=0).T) if len(path) > 1 else np.zeros(0)
    reached = np.concatenate([[0.0], np.cumsum(steps)])
    inside = lambda at: (at >= 0).all(1) & (at[:, 0] < width) & (at[:, 1] < height)  # noqa: E731
    dense = np.linspace(0, reached[-1], 256)
    drawn = np.stack([np.interp(dense, reached, path[:, axis]) for axis in (0, 1)], axis=1)
    drawn = drawn[inside(drawn)] if inside(drawn).any() else np.clip(path[:1], 0, [width - 1e-3, height - 1e-3])
    count = min(_SCRIBBLE_POINTS, len(path), len(drawn)) if reached[-1] == 0 else min(_SCRIBBLE_POINTS, len(drawn))
    # Without the ends, where a stroke most easily leaves the object.
    places = np.round((np.arange(count) + 0.5) / count * (len(drawn) - 1)).astype(int)
    return drawn[places]
