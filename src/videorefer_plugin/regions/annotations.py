"""Objects in the form of VideoRefer-700K's records: {"12": {"segmentation": ...}, ...}."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from videorefer_plugin._text import short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import Absent, Shape
from videorefer_plugin.regions.json_form import json_kinds, read_shape
from videorefer_plugin.regions.kinds import at_place, draw_at, shape_at
from videorefer_plugin.regions.pixels import Rle, encode_pixels
from videorefer_plugin.regions.places import by_place, frame_of, place_times
from videorefer_plugin.regions.reading import is_number

# Keys that COCO writes beside a segmentation. Alone, they mean an absent object; other keys would be a lost shape.
_BESIDE = frozenset({"area", "category_id", "id", "image_id", "iscrowd", "score"})
# Keys that hold a shape, and similar spellings, so that a segmentation of None contradicts them.
_SHAPE_KEYS = ("segmentation", "mask", "rle", "polygon", "bbox", "box", "boxes", "points", "scribble")


def read_annotation(annotation: Mapping[Any, Any], frame_at: Callable[[float], int] | None = None) -> dict[int, Shape]:
    """Read one object of a record, {"12": {"segmentation": ...}, ...}, in the form that `Region.from_annotation`
    takes.

    Args:
        annotation: frame -> segmentation, or another shape of the JSON form.
        frame_at: a function from seconds to the index of the frame of the source video, for shapes given by time.

    Returns:
        The checked shape of each frame, in the order in which the frames are given, with those given by time last;
        empty if there are none.

    Raises:
        RegionError: a key is not a frame, a frame is given twice, times come without `frame_at`, or a shape is
            malformed.
    """
    return place_times(*read_object(annotation), frame_at)


def read_object(annotation: Mapping[Any, Any]) -> tuple[dict[int, Shape], dict[float, Shape]]:
    """Return the shapes of one object of a record, by frame and by time."""
    if not isinstance(annotation, Mapping):
        raise RegionError(
            f"an annotation is a dict from frame to segmentation, got {short(annotation)}: "
            "a record's list holds one for each object, make one Region of each"
        )
    frames, times = by_place(annotation, frame_of)
    return (
        {frame: _shape(record, f"frame {frame}") for frame, record in frames.items()},
        {time: _shape(record, f"time {time:g} s") for time, record in times.items()},
    )


def write_annotation(shapes: Mapping[int, Shape], height: int, width: int) -> dict[str, dict[str, Any]]:
    """Write shapes on frames of one size in the form of `Region.to_annotation`, in the order of the mapping."""
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
    """The shape of a record: a segmentation, with any other keys beside it, or another shape of the JSON form."""
    if isinstance(record, Mapping) and _is_nothing(record.get("segmentation")):
        given = {key: value for key, value in record.items() if key != "segmentation" and value is not None}
        if "counts" not in given and json_kinds().keys() & given.keys():
            return read_shape(given, place)
    return shape_at(at_place(lambda: _segmentation(record), place), place)


def _segmentation(record: Any) -> Any:
    """The segmentation of a record, which may also be given bare; None where the object is absent."""
    if isinstance(record, Mapping) and not {"counts", "size"} & record.keys():
        strange = [key for key in record if key not in _BESIDE]
        if strange and "segmentation" not in record:
            raise RegionError(
                f"its keys are {short(list(record))}, none of which holds a shape: expected 'segmentation' with a "
                "COCO RLE, polygons, or None where the object is absent"
            )
        if _is_nothing(record.get("segmentation")):
            _check_absence(record)
        record = record.get("segmentation")
    return None if _is_nothing(record) else record


def _check_absence(record: Mapping[Any, Any]) -> None:
    """Refuse a record whose other keys say that the object is visible although it has no segmentation."""
    area: Any = record.get("area")
    if "segmentation" not in record and is_number(area) and area > 0:
        raise RegionError(
            f"it has an area of {short(area)}, but no 'segmentation': add the segmentation, or write it as None where "
            "the object is absent"
        )
    for key, value in record.items():
        if key != "segmentation" and _is_shape_key(key) and not _is_empty(value):
            raise RegionError(
                f"its segmentation is {short(record['segmentation'])}, but {key!r} holds {short(value)}, which would "
                "be lost: write it as 'segmentation', a COCO RLE or polygons, or as 'box', [x0, y0, x1, y1]; leave it "
                "out where the object is absent"
            )


def _is_shape_key(key: Any) -> bool:
    return bool(difflib.get_close_matches(str(key).lower(), _SHAPE_KEYS, n=1, cutoff=0.8))


def _is_empty(value: Any) -> bool:
    """Whether a value holds no shape: nothing at all, one number, or a box (x, y, width, height) without extent."""
    if isinstance(value, (list, tuple, np.ndarray)):
        numbers = list(value)
        return all(is_number(number) and number == 0 for number in (numbers[2:] if len(numbers) == 4 else numbers))
    return value is None or not isinstance(value, (str, Mapping)) or not value


def _is_nothing(segmentation: Any) -> bool:
    return segmentation is None or (isinstance(segmentation, (list, tuple)) and len(segmentation) == 0)
