"""Objects as the records of VideoRefer-700K have them: {"12": {"segmentation": ...}, ...}."""

from collections.abc import Mapping
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.kinds import at_place, draw_at, shape_at
from videorefer_plugin.regions.pixels import Rle, encode_pixels
from videorefer_plugin.regions.reading import frame_index
from videorefer_plugin.regions.shapes import Absent, Shape

# What COCO writes beside a segmentation. Alone, it leaves the object absent; other keys would be a shape that is lost.
_BESIDE = frozenset({"area", "category_id", "id", "image_id", "iscrowd", "score"})


def read_annotation(annotation: Mapping[Any, Any]) -> dict[int, Shape]:
    """Read one object of a record, {"12": {"segmentation": ...}, ...}, as `Region.from_annotation` takes it.

    Returns:
        The shape of each frame, checked, in the order in which the frames are given; empty if there are none.

    Raises:
        RegionError: a key which is no frame, a frame given twice, or a malformed segmentation.
    """
    if not isinstance(annotation, Mapping):
        raise RegionError(
            f"an annotation is a dict from frame to segmentation, got {short(annotation)}: "
            "a record's list holds one for each object, make one Region of each"
        )
    records: dict[int, Any] = {}
    for key, record in annotation.items():
        digits = isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 19
        frame = int(key) if digits else frame_index(key)
        if frame in records:
            raise RegionError(f"annotation has frame {frame} twice, the second time as key {key!r}: keep one")
        records[frame] = record
    return {frame: _shape(record, f"frame {frame}") for frame, record in records.items()}


def write_annotation(shapes: Mapping[int, Shape], height: int, width: int) -> dict[str, dict[str, Any]]:
    """Write shapes on frames of one size as `Region.to_annotation` does, in the order of the mapping."""
    written: dict[str, dict[str, Any]] = {}
    for frame, shape in shapes.items():
        if isinstance(shape, Absent):
            segmentation = None
        elif isinstance(shape, Rle) and shape.size == (height, width):
            segmentation = shape.to_dict()
        else:
            segmentation = encode_pixels(draw_at(shape, frame, height, width))
        written[str(frame)] = {"segmentation": segmentation}
    return written


def _shape(record: Any, place: str) -> Shape:
    return shape_at(at_place(lambda: _segmentation(record), place), place)


def _segmentation(record: Any) -> Any:
    """The segmentation of a record, which may also stand for itself; None where the object is absent."""
    if isinstance(record, Mapping) and not {"counts", "size"} & record.keys():
        strange = [key for key in record if key not in _BESIDE]
        if strange and "segmentation" not in record:
            raise RegionError(
                f"its keys are {short(list(record))}, none of which holds a shape: expected 'segmentation' with a "
                "COCO RLE, polygons, or None where the object is absent"
            )
        record = record.get("segmentation")
    return None if isinstance(record, (list, tuple)) and len(record) == 0 else record
