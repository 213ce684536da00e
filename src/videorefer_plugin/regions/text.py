"""Regions in the form that is used on a command line, e.g. a box as "12:10,20,60,80"."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.base import Shape
from videorefer_plugin.regions.json_files import FileRegion, region_of, split_name
from videorefer_plugin.regions.kinds import SHAPES
from videorefer_plugin.regions.pixels import Rle
from videorefer_plugin.regions.places import FRAME_DIGITS, place_key
from videorefer_plugin.regions.region import Region

__all__ = ["REGION_KINDS", "read_region", "region_files"]


class WholeRegion:
    """A region in its JSON form, with all of its frames; on a command line it is one more kind of shape."""

    name = "region"
    text_is_path = True
    text_help = (
        "JSON file of a region, or FILE.json#NAME of several: frame -> box, points, ...; masks.json#2: object 2."
    )
    read_text = staticmethod(region_of)


Kind = type[Shape] | type[WholeRegion]


def kinds_with_text(shapes: Iterable[type[Shape]]) -> dict[str, Kind]:
    """The kinds that can be written on a command line, by name: numbers first, then the paths of files."""
    kinds = {kind.name: kind for kind in sorted(shapes, key=lambda kind: kind.text_is_path) if kind.text_help}
    return {**kinds, WholeRegion.name: WholeRegion}


REGION_KINDS = kinds_with_text(SHAPES)

_PLACE = re.compile(rf"(?:(?P<frame>{FRAME_DIGITS})|(?P<time>[0-9]+(?:\.[0-9]+)?)s):(?P<shape>.*)", re.DOTALL)


def read_region(kind: str, text: str, *, option: str | None = None) -> Region:
    """Read one object.

    Args:
        kind (`str`): of [`REGION_KINDS`], the shapes with a `read_text`: `"box"` ("x0,y0,x1,y1"), `"point"` ("x,y",
            several of them as "x,y,x,y"), `"polygon"` and `"scribble"` ("x,y,x,y,..."), `"mask"` (path of a picture in
            which the object is not black) or `"rle"` (path of a JSON file with one COCO RLE, or COCO annotation
            `{"segmentation": ...}`, or with frames, `{"12": {"segmentation": ...}, ...}`, or with frame -> object ->
            RLE, of which "FILE.json#2" is object 2). Or `"region"`: path of a JSON file with one region as
            `Region.from_json` reads it, or "FILE.json#NAME" of a file with several, name -> region; of a file that
            `videorefer segment` wrote, or with a record of VideoRefer-700K, "FILE.json#2" is object 2, from 1.
        text (`str`): the shape, in pixels of the video, after a frame number or seconds: "12:..." or "1.5s:...";
            without, it is in the first frame. Further frames of the same object follow a semicolon. Files that name
            their frames have none in front.
        option (`str`, *optional*): the name of the option in messages; its kind by default.

    Raises:
        RegionError: the text cannot be read, or a file is missing.

    Examples:
        >>> read_region("box", "12:10,20,60,80;14:12,20,62,80").frames
        (12, 14)
    """
    if kind not in REGION_KINDS:
        raise RegionError(f"Unknown kind of region {kind!r}; known are {', '.join(REGION_KINDS)}.")
    region: Region | None = None
    for place, shape in _parts(text):
        try:
            one = _read_one(REGION_KINDS[kind], shape, place)
            region = one if region is None else region | one
        except RegionError as error:
            raise RegionError(f"--{option or kind} {text!r}: {error}") from error
    assert region is not None
    return region


def region_files(kind: str, text: str) -> list[str]:
    """Return the files that [`read_region`] would read, whether or not they exist; none for an unknown kind.

    Examples:
        >>> region_files("mask", "0:a.png;1.5s:b.png"), region_files("box", "0:1,2,3,4")
        (['a.png', 'b.png'], [])
    """
    if kind not in REGION_KINDS or not REGION_KINDS[kind].text_is_path:
        return []
    return [split_name(shape)[0] for _, shape in _parts(text)]


def _parts(text: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Of each frame of an object, the `frame` or `time` in front, and the text after it."""
    for part in text.split(";"):
        match = _PLACE.fullmatch(part.strip())
        place: dict[str, Any] = {}
        if match:
            place = {"frame": int(match["frame"])} if match["frame"] else {"time": float(match["time"])}
        yield place, (match["shape"] if match else part).strip()


def _read_one(kind: Kind, text: str, place: dict[str, Any]) -> Region:
    value = kind.read_text(text)
    if issubclass(kind, Shape) and (kind is not Rle or (isinstance(value, dict) and "counts" in value)):
        return Region._single(lambda: kind.from_value(value), place.get("frame"), place.get("time"))
    if kind is Rle and isinstance(value, Mapping) and "segmentation" in value:
        return Region.from_annotation({place_key(place.get("time", place.get("frame", 0))): value})
    if place:
        raise RegionError(f"{text} names its frames itself; leave out the one in front")
    if isinstance(value, FileRegion):
        return Region.from_annotation(value.value) if value.is_annotation else Region.from_json(value.value)
    return Region.from_annotation(value)
