"""Regions of one shape in one frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import Shape
from videorefer_plugin.regions.kinds import at_place
from videorefer_plugin.regions.pixels import Mask, Rle
from videorefer_plugin.regions.reading import frame_index, read_seconds
from videorefer_plugin.regions.shapes import Box, Points, Polygons, Scribble

Made = TypeVar("Made", bound="OneShape")


class OneShape:
    """The constructors of `Region` for one shape in one frame, or at one time.

    `frame=None` means 0, so that frame=0 given together with time= is noticed. `visual` is always as in `Region`.
    """

    __slots__ = ()

    @classmethod
    def from_mask(
        cls: type[Made],
        mask: Any,
        frame: int | None = None,
        *,
        time: float | None = None,
        threshold: float | None = None,
        label: Any = None,
        visual: int | None = None,
    ) -> Made:
        """Make a region from one mask.

        Args:
            mask: array, tensor or PIL image of shape (height, width), the size of the source frame, with one value
                besides 0, or logits with values below 0; every pixel > 0 counts, in color images in any channel.
            frame: frame index in the source video; 0 if neither `frame` nor `time` is given.
            time: seconds from the start of the video, instead of `frame`.
            threshold: pixels above it count, e.g. 0.5 for probabilities, or 127 for a JPEG file.
            label: pixels of this value count, e.g. 3 in a label map; for color, (r, g, b).

        Raises:
            RegionError: the mask is invalid or ambiguous (see `Mask`), or both frame and time are given.
        """
        return cls._single(lambda: Mask(mask, threshold, label), frame, time, visual)

    @classmethod
    def from_box(
        cls: type[Made], box: Any, frame: int | None = None, *, time: float | None = None, visual: int | None = None
    ) -> Made:
        """Make a region from one box.

        Args:
            box: (x0, y0, x1, y1) in pixels of the upright frame as stored, before players stretch it to a pixel
                aspect ratio. It covers the pixels whose centers lie inside, at least one, and is clipped to the frame.
            frame: frame index in the source video; 0 if neither `frame` nor `time` is given.
            time: seconds from the start of the video, instead of `frame`.

        Raises:
            RegionError: the box is not four finite pixel coordinates with x0 < x1 and y0 < y1, or both frame and time
                are given.
        """
        return cls._single(lambda: Box.from_sequence(box), frame, time, visual)

    @classmethod
    def from_polygon(
        cls: type[Made], points: Any, frame: int | None = None, *, time: float | None = None, visual: int | None = None
    ) -> Made:
        """Make a region from one polygon, or from several that together are the object.

        Args:
            points: [(x, y), ...], [x, y, x, y, ...] or a list of such polygons, in pixels; each at least 3 points.
            frame: frame index in the source video; 0 if neither `frame` nor `time` is given.
            time: seconds from the start of the video, instead of `frame`.

        Raises:
            RegionError: fewer than 3 points, an odd number of values, values not finite; both frame and time given.
        """
        return cls._single(lambda: Polygons(points), frame, time, visual)

    @classmethod
    def from_points(
        cls: type[Made],
        points: Any,
        frame: int | None = None,
        radius: float | None = None,
        *,
        labels: Any = None,
        time: float | None = None,
        visual: int | None = None,
    ) -> Made:
        """Make a region from discs around one or more points.

        Args:
            points: [(x, y), ...], (N, 2) or one (x, y), in pixels; all inside the frame.
            frame: frame index in the source video; 0 if neither `frame` nor `time` is given.
            radius: of the discs, in pixels. Default: 2% (`POINT_RADIUS`) of the frame's shorter side.
            labels: 1 for each point on the object, 0 for each that is not on it, which segmenters use and for which
                nothing is drawn. Default: all points are on the object.
            time: seconds from the start of the video, instead of `frame`.

        Raises:
            RegionError: no points, values not finite, a negative radius, labels other than 0 and 1 or not as many as
                the points, no label 1; both frame and time given.
        """
        return cls._single(lambda: Points(points, radius, labels), frame, time, visual)

    @classmethod
    def from_scribble(
        cls: type[Made],
        points: Any,
        frame: int | None = None,
        width: float | None = None,
        *,
        time: float | None = None,
        visual: int | None = None,
    ) -> Made:
        """Make a region from a line with round ends, drawn through the points in order.

        Args:
            points: [(x, y), ...] or (N, 2), in pixels; parts outside the frame are clipped.
            frame: frame index in the source video; 0 if neither `frame` nor `time` is given.
            width: of the line, in pixels; drawn at least one pixel wide. Default: 4% (`SCRIBBLE_WIDTH`) of the
                frame's shorter side.
            time: seconds from the start of the video, instead of `frame`.

        Raises:
            RegionError: no points, values not finite, a width <= 0; both frame and time given.
        """
        return cls._single(lambda: Scribble(points, width), frame, time, visual)

    @classmethod
    def from_rle(
        cls: type[Made],
        rle: Mapping[str, Any],
        frame: int | None = None,
        *,
        time: float | None = None,
        visual: int | None = None,
    ) -> Made:
        """Make a region from one COCO RLE.

        Args:
            rle: {"size": [height, width], "counts": ...} with compressed counts (str or bytes) or run lengths.
            frame: frame index in the source video; 0 if neither `frame` nor `time` is given.
            time: seconds from the start of the video, instead of `frame`.

        Raises:
            RegionError: malformed, or counts that do not add up to height * width; both frame and time given.
        """
        return cls._single(lambda: Rle.from_mapping(rle), frame, time, visual)

    @classmethod
    def _single(
        cls: type[Made], shape: Callable[[], Shape], frame: int | None, time: float | None, visual: int | None = None
    ) -> Made:
        if frame is not None and time is not None:
            raise RegionError(f"got both frame={frame!r} and time={time!r}: give one of them, they mean the same")
        if time is not None:
            return cls._made({}, {read_seconds(time): at_place(shape, f"time {time} s")}, visual)
        index = 0 if frame is None else frame_index(frame)
        return cls._made({index: at_place(shape, f"frame {index}")}, {}, visual)

    @classmethod
    def _made(cls: type[Made], frames: dict[int, Shape], times: dict[float, Shape], visual: int | None) -> Made:
        """Make a region from shapes that are already checked one by one."""
        raise NotImplementedError
