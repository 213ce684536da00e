"""Shapes of records whose videos were scaled after they were drawn."""

from typing import Any

import numpy as np

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions import ABSENT, Absent, Mask, Polygons, Rle, Shape
from videorefer_plugin.regions.base import DrawnShape
from videorefer_plugin.regions.reading import frame_size
from videorefer_plugin.regions.silhouettes import Silhouette, pack

__all__ = ["Drawn"]

# How much the proportions of an annotation and of its video may differ, as they do when videos are scaled to even
# numbers of pixels. With a larger difference, the annotation belongs to another video.
_SIDES_TOLERANCE = 0.02


class Drawn(DrawnShape):
    """A shape drawn on a frame of another size than the video now has, for instance before the videos were scaled.

    Shapes of the same size are not scaled. A scaled pixel is set if any of its original pixels is, so that scaling
    loses no object.
    """

    __slots__ = ("shape", "size")

    def __init__(self, shape: Shape, height: int | None, width: int | None):
        self.shape = shape
        self.size = frame_size(height, width) if height and width else None
        if isinstance(shape, Rle):
            self.size = shape.size

    def unless_blank(self) -> Shape:
        """Return the shape itself, or absence if it has no pixel, as far as this is known without the video."""
        if self.shape.only_excludes or isinstance(self.shape, Absent):
            return ABSENT
        if isinstance(self.shape, Rle):
            return self if self.shape.area else ABSENT
        if isinstance(self.shape, Polygons) and self.size is not None:
            return self if self.shape.area(*self.size) else ABSENT
        return self

    def _draw(self, height: int, width: int) -> Silhouette:
        """Draw the shape on a frame of the video.

        Raises:
            RegionError: the frame has other proportions than the one that the shape was drawn on.
        """
        if self.size is None or self.size == (height, width):
            return self.shape.silhouette(height, width)
        drawn_height, drawn_width = self.size
        if abs(drawn_width * height / (drawn_height * width) - 1) > _SIDES_TOLERANCE:
            raise RegionError(
                f"the object was drawn on a frame of {drawn_height} x {drawn_width} (height x width), but the frames "
                f"of the video have {height} x {width}: expected the same proportions. Check that the annotation "
                "belongs to this video, and that height and width are not swapped"
            )
        mask = self.shape.rasterize(drawn_height, drawn_width)
        for axis, (drawn, side) in enumerate(((drawn_height, height), (drawn_width, width))):
            mask = np.logical_or.reduceat(mask, np.arange(side) * drawn // side, axis=axis)
        return pack(mask)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form of the shape, or of its pixels if the shape does not have the size of its frames."""
        return self.shape.to_json() if self.size is None else Mask(self.shape.rasterize(*self.size)).to_json()

    def __repr__(self) -> str:
        return repr(self.shape)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Drawn) and self.size == other.size and self.shape == other.shape
