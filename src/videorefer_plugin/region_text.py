"""Regions as they are written on a command line, e.g. a box as "12:10,20,60,80"."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions import Region

__all__ = ["REGION_KINDS", "read_region"]

_PLACE = re.compile(r"(?:(?P<frame>\d+)|(?P<time>\d+(?:\.\d+)?)s):(?P<shape>.*)", re.DOTALL)


def read_region(kind: str, text: str) -> Region:
    """Read one object.

    Args:
        kind (`str`): of [`REGION_KINDS`]: `"box"` ("x0,y0,x1,y1"), `"point"` ("x,y", several of them as "x,y,x,y"),
            `"mask"` (path of a picture in which the object is not black) or `"rle"` (path of a JSON file with one COCO
            RLE, or with an annotation `{"12": {"segmentation": ...}, ...}`).
        text (`str`): where it is, in pixels of the video. A frame number, or seconds, stands in front: "12:..." or
            "1.5s:..."; without, it is the first frame. Further frames of the same object follow a semicolon.

    Raises:
        RegionError: the text cannot be read, or a file is missing.

    Examples:
        >>> read_region("box", "12:10,20,60,80;14:12,20,62,80").frames
        (12, 14)
    """
    if kind not in REGION_KINDS:
        raise RegionError(f"Unknown kind of region {kind!r}; known are {', '.join(REGION_KINDS)}.")
    region: Region | None = None
    for part in text.split(";"):
        match = _PLACE.fullmatch(part.strip())
        place: dict[str, Any] = {}
        if match:
            place = {"frame": int(match["frame"])} if match["frame"] else {"time": float(match["time"])}
        try:
            one = REGION_KINDS[kind]((match["shape"] if match else part).strip(), place)
        except RegionError as error:
            raise RegionError(f"--{kind} {text!r}: {error}") from error
        region = one if region is None else region | one
    assert region is not None
    return region


def _numbers(text: str, what: str) -> list[float]:
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise RegionError(f"{text!r} is not {what}") from None


def _box(text: str, place: dict[str, Any]) -> Region:
    return Region.from_box(tuple(_numbers(text, "a box x0,y0,x1,y1")), **place)


def _points(text: str, place: dict[str, Any]) -> Region:
    numbers = _numbers(text, "a point x,y")
    if len(numbers) % 2:
        raise RegionError(f"{text!r} has {len(numbers)} numbers, but points have two each: x,y")
    return Region.from_points(list(zip(numbers[::2], numbers[1::2], strict=True)), **place)


def _file(path: str) -> Path:
    if not Path(path).is_file():
        raise RegionError(f"there is no file {path!r}")
    return Path(path)


def _mask(path: str, place: dict[str, Any]) -> Region:
    from PIL import Image

    try:
        with Image.open(_file(path)) as image:
            return Region.from_mask(image, **place)
    except OSError as error:
        raise RegionError(f"{path} is no picture that can be read: {error}") from error


def _rle(path: str, place: dict[str, Any]) -> Region:
    try:
        value = json.loads(_file(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise RegionError(f"{path} is not JSON: {error}") from error
    if isinstance(value, dict) and "counts" in value:
        return Region.from_rle(value, **place)
    if place:
        raise RegionError(f"{path} says its frames itself; leave out the one in front")
    return Region.from_annotation(value)


REGION_KINDS: dict[str, Callable[[str, dict[str, Any]], Region]] = {
    "box": _box,
    "point": _points,
    "mask": _mask,
    "rle": _rle,
}
