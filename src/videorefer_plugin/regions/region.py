"""One object in a video: its shape in the frames in which it is pointed at.

Coordinates are pixels of the source frame, x to the right and y down, continuous: pixel (row i, column j) covers
j <= x < j + 1, i <= y < i + 1. Frames count from 0 in the source video, not among the sampled frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.annotations import read_object, write_annotation
from videorefer_plugin.regions.base import Absent, Shape
from videorefer_plugin.regions.json_form import read_json, split_visual, write_json, write_visual
from videorefer_plugin.regions.kinds import draw_at, shape_at, silhouette_at
from videorefer_plugin.regions.making import OneShape
from videorefer_plugin.regions.places import place_times
from videorefer_plugin.regions.propagating import Propagates
from videorefer_plugin.regions.reading import (
    frame_index,
    frame_size,
    no_shape,
    read_seconds,
    read_visual,
    require_several,
)
from videorefer_plugin.regions.silhouettes import Silhouette


class Region(OneShape, Propagates):
    """One object in a video: frame of the source video -> shape of the object in that frame.

    A shape is one of

    - a mask of shape (height, width): NumPy array, torch tensor or PIL image, every pixel > 0 counting (see `Mask`);
    - a COCO RLE dict {"size": [height, width], "counts": ...}, compressed or a list of run lengths;
    - polygons: one ([(x, y), ...] or [x, y, x, y, ...]) or a list of several, in pixels;
    - a box, a tuple (x0, y0, x1, y1) in pixels;
    - an instance of `Box`, `Points`, `Scribble`, `Polygons`, `Mask`, `Rle` or another `Shape`;
    - None (or `ABSENT`): the object is known to be absent from that frame.

    Nothing is drawn before `mask` or `masks` is called with the size of the frame. A region is immutable; two regions
    are equal when they have equal shapes at the same frames and times, in any order (a mask equals an RLE of the same
    pixels), and the same `visual`.

    Args:
        frames: frame index in the source video -> shape.
        times: seconds from the start of the video -> shape; `at_frames` turns them into frames.
        threshold, label: select the pixels of the object in masks with several values; see `Mask`.
        visual: index of the visual of its prompt or conversation that the object is in, counting videos and images
            together in their order, from 0. By default the last one before the region, or the first if there is none.

    Raises:
        RegionError: no shape at all, a key that is not a frame or time, or a malformed shape; names the frame or time.
            Also if all shapes are points labeled as not on the object, or if `visual` is not a whole number from 0 up.

    Examples:
        >>> ball = Region({12: (40, 30, 80, 75), 40: (52, 30, 92, 75)})
        >>> ball.frames
        (12, 40)
        >>> int(ball.mask(12, 120, 160).sum())
        1800
    """

    __slots__ = ("_frames", "_times", "_visual")

    def __init__(
        self,
        frames: Mapping[int, Any] | None = None,
        *,
        times: Mapping[float, Any] | None = None,
        threshold: float | None = None,
        label: Any = None,
        visual: int | None = None,
    ) -> None:
        for name, given in (("frames", frames), ("times", times)):
            if given is not None and not isinstance(given, Mapping):
                raise RegionError(
                    f"Region takes a dict from frame to shape for {name}, got {short(given)}: for a single frame use "
                    "Region.from_mask, from_box, from_polygon, from_points, from_scribble or from_rle"
                )
        read = partial(shape_at, threshold=threshold, label=label)
        self._frames: dict[int, Shape] = {
            frame_index(frame): read(shape, f"frame {frame}") for frame, shape in (frames or {}).items()
        }
        self._times: dict[float, Shape] = {
            read_seconds(time): read(shape, f"time {time} s") for time, shape in (times or {}).items()
        }
        if not self._frames and not self._times:
            raise no_shape(frames, times)
        self._visual = read_visual(visual)
        self._require_object()

    @classmethod
    def from_annotation(cls, annotation: Mapping[Any, Any], *, visual: int | None = None) -> Region:
        """Read one object of a VideoRefer-700K record: {"12": {"segmentation": ...}, ...}.

        Keys are frame indices, as str or int; their order is kept. The segmentation is an RLE, a list of polygons, or
        None; None, [], {} and a record without "segmentation" say that the object is absent. It may also be given
        without the record around it, and with any other keys beside it, but not under a key such as "bbox" or "mask".
        A key that says that the object is visible, such as a "bbox" with an extent, is refused beside None, as is an
        "area" alone.

        Other shapes, times and "visual" are accepted as in the JSON form; see `from_json`.

        Raises:
            RegionError: empty, a key that is not a frame, a frame given twice, a malformed or misnamed segmentation.
        """
        annotation, visual = split_visual(annotation, visual)
        frames, times = read_object(annotation)
        if not frames and not times:
            raise no_shape(frames, None)
        return cls._made(frames, times, visual)

    @classmethod
    def from_json(cls, value: Mapping[Any, Any], *, visual: int | None = None) -> Region:
        """Read the JSON form: frame, or time in seconds, -> one shape.

        Args:
            value: such as {"12": {"box": [40, 30, 80, 75]}, "time:1.5": {"points": [[60, 50]], "labels": [1]}}. A
                frame may also be an int. Each has one of "box" ([x0, y0, x1, y1]), "points" (with "labels" or
                "radius"), "polygon" (one, or a list of several), "scribble" (with "width"), and "segmentation" (a COCO
                RLE, polygons, or None where the object is absent; None may also replace the whole record). Other keys
                are refused. Beside the frames there may be "visual", as in {"12": ..., "visual": 1}.
            visual: as in `Region`, if it is not a key of `value`.

        Raises:
            RegionError: empty, a key that is not a frame or time, a frame or time given twice, no shape or several, an
                unknown key, or a malformed shape; names the frame or time, and the keys.
        """
        value, visual = split_visual(value, visual)
        return cls._made(*read_json(value), visual)

    @classmethod
    def from_shapes(cls, shapes: Mapping[int, Shape], *, visual: int | None = None) -> Region:
        """Make a region from shapes that are already checked, such as those of `read_annotation`.

        Args:
            shapes: frame -> shape. The dict is copied, but it is not checked that its keys are frames, int from 0 up,
                and its values instances of `Shape`: use `Region(frames)` for anything else.
            visual: as in `Region`.

        Raises:
            RegionError: no shape at all, or only points that are all labeled as not on the object.
        """
        if not shapes:
            raise no_shape(shapes, None)
        return cls._made(dict(shapes), visual=visual)

    @classmethod
    def _made(
        cls, frames: dict[int, Shape], times: dict[float, Shape] | None = None, visual: int | None = None
    ) -> Region:
        """Make a region from checked shapes, at least one; the dicts themselves are kept."""
        region = cls.__new__(cls)
        region._frames = frames
        region._times = times or {}
        region._visual = read_visual(visual)
        region._require_object()
        return region

    # --- contents -------------------------------------------------------------------------------------------------

    @property
    def frames(self) -> tuple[int, ...]:
        """The frame indices, sorted; shapes given by time are not included before `at_frames`."""
        return tuple(sorted(self._frames))

    @property
    def order(self) -> tuple[int, ...]:
        """The frame indices in the order in which they were given; `frames` has them in order of time."""
        return tuple(self._frames)

    @property
    def times(self) -> tuple[float, ...]:
        """The times in seconds, sorted, of the shapes given by time."""
        return tuple(sorted(self._times))

    @property
    def visual(self) -> int | None:
        """Index of the visual of its prompt, from 0; None if its position in the prompt decides."""
        return self._visual

    @property
    def present(self) -> tuple[int, ...]:
        """The frames, sorted, in which the object is not declared absent; see `is_absent`."""
        return tuple([frame for frame in self.frames if not isinstance(self._frames[frame], Absent)])

    def is_absent(self, frame: int) -> bool:
        """Whether the object is declared absent from this frame; nothing is drawn, so an all-zero mask is not
        detected.

        Raises:
            RegionError: the region has no such frame.
        """
        return isinstance(self.shape(frame), Absent)

    def __len__(self) -> int:
        return len(self._frames) + len(self._times)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Region):
            return NotImplemented
        return (self._visual, self._frames, self._times) == (other._visual, other._frames, other._times)

    def __repr__(self) -> str:
        places = [f"{frame}: {self._frames[frame]!r}" for frame in self.frames]
        places += [f"{time:g}s: {self._times[time]!r}" for time in self.times]
        rest = [f"... {len(places) - 3} more"] if len(places) > 3 else []
        rest += [] if self._visual is None else [f"visual={short(self._visual)}"]
        return f"Region({', '.join(places[:3] + rest)})"

    # --- derived regions ------------------------------------------------------------------------------------------

    def __or__(self, other: Region) -> Region:
        """Join two regions of the same object that have no frame in common; the other's frames come second.

        If only one of them names its visual, the result has it too.

        Raises:
            RegionError: both have a shape in the same frame, or at the same time; or they name different visuals.
        """
        if not isinstance(other, Region):
            return NotImplemented
        shared = [f"frame {frame}" for frame in self.frames if frame in other._frames]
        shared += [f"time {time:g} s" for time in self.times if time in other._times]
        if shared:
            raise RegionError(
                f"both regions have a shape in {listed(shared)}: join regions of one object at different frames, "
                "e.g. after select"
            )
        named = {region._visual for region in (self, other)} - {None}
        if len(named) > 1:
            raise RegionError(
                f"the regions lie on different visuals, {short(self._visual)} and {short(other._visual)}: join "
                "regions of one object in one visual"
            )
        return Region._made({**self._frames, **other._frames}, {**self._times, **other._times}, *named)

    def at_frames(self, frame_at: Callable[[float], int]) -> Region:
        """Return the region with every time turned into a frame, after the others; itself if it has no times.

        Args:
            frame_at: a function from seconds to the index of the frame of the source video.

        Raises:
            RegionError: two shapes fall on the same frame, or `frame_at` does not return a frame index.
        """
        if not self._times:
            return self
        return Region._made(place_times(self._frames, self._times, frame_at), visual=self._visual)

    def on_visual(self, visual: int | None) -> Region:
        """Return the region on another visual of its prompt; itself if it is already on it.

        Args:
            visual: as in `Region`.

        Raises:
            RegionError: `visual` is not a whole number from 0 up.
        """
        wanted = read_visual(visual)
        return self if wanted == self._visual else Region._made(self._frames, self._times, wanted)

    def select(self, frames: Iterable[int]) -> Region:
        """Return the region with only these frames, for instance `region.select(region.frames[:4])`.

        The order is that of the region; with all of its frames, the region itself is returned.

        Raises:
            RegionError: no frames, a frame that the region does not have, times not yet turned into frames, or only
                points left that are all labeled as not on the object.
        """
        require_several(frames, "select")
        self._require_frames("select")
        wanted = {self._known(frame) for frame in frames}
        if not wanted:
            raise RegionError(f"select got no frames: expected some of {short(self.frames)}")
        if len(wanted) == len(self._frames):
            return self
        kept = {frame: shape for frame, shape in self._frames.items() if frame in wanted}
        return Region._made(kept, visual=self._visual)

    # --- pixels ---------------------------------------------------------------------------------------------------

    def mask(self, frame: int, height: int, width: int) -> NDArray[np.bool_]:
        """Draw the object in one frame.

        Args:
            frame: frame index in the source video.
            height, width: of the source frame, in pixels.

        Returns:
            A new bool array of shape (height, width); all False where the object is absent.

        Raises:
            RegionError: the region has no such frame, a mask or RLE has another size, or the shape lies outside.
        """
        index = self._known(frame)
        return draw_at(self._frames[index], index, *frame_size(height, width))

    def masks(
        self, height: int, width: int, frames: Iterable[int] | None = None
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Draw the object in several frames, one at a time: pairs of frame index and `mask`.

        Args:
            height, width: of the source frame, in pixels.
            frames: the frames to draw, in this order. Default: all of them, in order of time.

        Raises:
            RegionError: times are not yet turned into frames, a frame that the region does not have, or a shape that
                does not fit (raised when it is reached).
        """
        return ((frame, silhouette.mask()) for frame, silhouette in self.silhouettes(height, width, frames))

    def silhouettes(
        self, height: int, width: int, frames: Iterable[int] | None = None
    ) -> Iterator[tuple[int, Silhouette]]:
        """Yield pairs of frame index and `Silhouette`: the result of `masks`, stored compactly and read in parts."""
        self._require_frames("masks")
        size = frame_size(height, width)
        if frames is None:
            wanted = self.frames
        else:
            require_several(frames, "masks")
            wanted = tuple(map(self._known, frames))
        return ((frame, silhouette_at(self._frames[frame], frame, *size)) for frame in wanted)

    def to_annotation(self, height: int, width: int) -> dict[str, Any]:
        """Write the object in the form of VideoRefer-700K, ready for JSON, the opposite of `from_annotation`.

        Args:
            height, width: of the source frame, in pixels.

        Returns:
            {"12": {"segmentation": {"size": [height, width], "counts": str}}, ...} in the order of `order`, with the
            segmentation None where the object is absent. Drawn shapes become their pixels. A `visual` is the last key,
            as in the JSON form.

        Raises:
            RegionError: times are not yet turned into frames, or a shape does not fit the frame.
        """
        self._require_frames("to_annotation")
        return {**write_annotation(self._frames, *frame_size(height, width)), **write_visual(self._visual)}

    def to_json(self) -> dict[str, Any]:
        """Write the object in the JSON form, the opposite of `from_json`.

        All kinds of shapes are kept, except that masks are written as compressed RLE. The form is canonical: equal
            shapes
        are written alike, however they were given (3 or 3.0, an array or a list, any form of RLE), and defaults are
        left out. Frames come in the order of `order`, which matters for `mask_policy="original"`, and times after
        them; `visual` is last, if it is set. To hash a region, use `json.dumps(region.to_json(), separators=(",",
        ":"))` where that order matters, and add `sort_keys=True` where it does not, as for `==`.

        Returns:
            {"12": {"box": [40, 30, 80, 75]}, "time:1.5": {"segmentation": None}, ...}.

        Raises:
            RegionError: a shape of another library has no JSON form.
        """
        return {**write_json(self._frames, self._times), **write_visual(self._visual)}

    def shape(self, frame: int) -> Shape:
        """Return the shape in one frame as it was given, or raise `RegionError` if the region has no such frame."""
        return self._frames[self._known(frame)]

    def _known(self, frame: Any) -> int:
        """Return the index of a frame that the region must have."""
        if type(frame) is int and frame in self._frames:  # checked when the region was made
            return frame
        index = frame_index(frame)
        if index not in self._frames:
            waiting = f" (and times {short(self.times)} s, see at_frames)" if self._times else ""
            raise RegionError(f"the region has no frame {index}: it has {short(self.frames)}{waiting}")
        return index

    def _require_object(self) -> None:
        """Refuse a region whose shapes are only points off the object: it needs a shape, or only absence."""
        shapes = [*self._frames.values(), *self._times.values()]
        beside = any(shape.only_excludes for shape in shapes)
        if beside and all(shape.only_excludes or isinstance(shape, Absent) for shape in shapes):
            raise RegionError(
                "all points of the region are labeled 0, not on the object, so it has no pixel: label those on it 1, "
                "or keep a frame with a shape of it"
            )

    def _require_frames(self, method: str) -> None:
        if self._times:
            raise RegionError(
                f"{method} needs frames, but the region has shapes at times {short(self.times)} s: "
                "turn them into frames with region.at_frames(frame_at), frame_at(seconds) -> frame index"
            )
