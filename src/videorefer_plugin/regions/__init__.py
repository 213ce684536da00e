"""Objects in a video: a `Region` has a shape in each of the frames in which the object is pointed at.

A new kind of shape is a class like those of `shapes` and one entry in `kinds.SHAPES`. Imports point one way:
`reading`, `drawing` and `silhouettes`, `base`, `mask_values`, `places` and `run_lengths`, `filling`, `json_files` and
`shapes`, `pixels`, `kinds`, `json_form`, `annotations`, `making` and `propagating`, `region`, `given` and `text`.
"""

from videorefer_plugin.regions.annotations import read_annotation
from videorefer_plugin.regions.base import ABSENT, Absent, Shape
from videorefer_plugin.regions.given import as_region, is_one_region
from videorefer_plugin.regions.pixels import Mask, Rle, decode_rle, encode_rle
from videorefer_plugin.regions.places import frame_of, is_place
from videorefer_plugin.regions.region import Region
from videorefer_plugin.regions.shapes import (
    POINT_RADIUS,
    SCRIBBLE_WIDTH,
    Box,
    Points,
    Polygons,
    Scribble,
)
from videorefer_plugin.regions.silhouettes import Silhouette

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
    "Silhouette",
    "as_region",
    "decode_rle",
    "encode_rle",
    "frame_of",
    "is_one_region",
    "is_place",
    "read_annotation",
]
