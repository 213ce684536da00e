"""Objects in a video: a `Region` has a shape in each of the frames in which the object is pointed at.

A new kind of shape is a class like those of `shapes` and one entry in `kinds.SHAPES`. Imports point one way:
`reading`, `drawing` and `filling`, `mask_values`, `run_lengths`, `shapes`, `pixels`, `kinds`, `annotations` and
`places`, `region`, `text`.
"""

from videorefer_plugin.regions.annotations import read_annotation
from videorefer_plugin.regions.pixels import Mask, Rle, decode_rle, encode_rle
from videorefer_plugin.regions.region import Region
from videorefer_plugin.regions.shapes import (
    ABSENT,
    POINT_RADIUS,
    SCRIBBLE_WIDTH,
    Absent,
    Box,
    Points,
    Polygons,
    Scribble,
    Shape,
)

__all__ = [
    "ABSENT",
    "POINT_RADIUS",
    "SCRIBBLE_WIDTH",
    "Absent",
    "Box",
    "Mask",
    "Points",
    "Polygons",
    "Region",
    "Rle",
    "Scribble",
    "Shape",
    "decode_rle",
    "encode_rle",
    "read_annotation",
]
