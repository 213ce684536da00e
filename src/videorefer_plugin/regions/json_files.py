"""Regions in JSON files: run lengths, and regions by name. Values are returned as the file has them."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from videorefer_plugin._json import read_json
from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.places import VISUAL_KEY, is_place
from videorefer_plugin.regions.reading import existing_file


def run_lengths_of(text: str) -> Any:
    """Return one object in "FILE.json" or "FILE.json#OBJECT": an RLE, or an annotation.

    A file with several objects, as SAM 2 writes it, has frame -> object -> RLE.

    Raises:
        RegionError: the file or object does not exist, the file is not JSON, or it has several objects and none is
            named.
    """
    path, name = split_name(text)
    value = _read(path)
    if _records(value):
        raise RegionError(f"{path} holds a record with an annotation: give it as --region")
    objects = _objects(value)
    if not objects:
        if name is not None:
            raise RegionError(f"{path} holds no objects by name, so there is no {name!r}: leave out '#{name}'")
        return value
    if name is None and len(objects) == 1 and objects[0].isdigit():
        name = objects[0]
    chosen = _one_of(objects, name, path, "object")
    return {frame: record[chosen] for frame, record in value.items() if chosen in (record or {})}


class FileRegion(NamedTuple):
    """One region as a file has it.

    Attributes:
        value: the parsed JSON value.
        is_annotation (`bool`): whether it is an object of a record, as `Region.from_annotation` reads it; otherwise it
            has the JSON form.
    """

    value: Any
    is_annotation: bool = False


def region_of(text: str) -> FileRegion:
    """Return the region in "FILE.json", or the one with this name in "FILE.json#NAME".

    In a file of masklets, or with a record of VideoRefer-700K, "FILE.json#2" is object 2, counted from 1.

    Raises:
        RegionError: the file or region does not exist, the file is not JSON, or it has several regions and none is
            named.
    """
    path, name = split_name(text)
    value = _read(path)
    if records := _records(value):
        return FileRegion(_object_of(records, name, path), is_annotation=True)
    if not isinstance(value, Mapping):
        raise RegionError(
            f"{path} holds no JSON object, but a {type(value).__name__}: expected a region, or name -> region"
        )
    if _objects(value):
        raise RegionError(f"{path} holds frame -> object -> RLE: give it as --rle")
    names = [key for key, region in value.items() if _is_region(region)]
    if not names and (name is None or is_place(name) or _has_places(value)):
        if name is not None:
            raise RegionError(f"{path} holds no regions by name, so there is no {name!r}: leave out '#{name}'")
        return FileRegion(value)
    if name is None and len(names) == len(value) == 1:
        name = names[0]
    return FileRegion(value[_one_of(list(value), name, path, "region")])


def _records(value: Any) -> list[Mapping[str, Any]]:
    """The records in a file, one or a list of several; empty if it holds something else."""
    records = [value] if isinstance(value, Mapping) else value
    told = isinstance(records, list) and all(
        isinstance(record, Mapping) and isinstance(record.get("annotation"), list) for record in records
    )
    return records if told else []


def _object_of(records: list[Mapping[str, Any]], name: str | None, path: str) -> Any:
    if len(records) > 1:
        raise RegionError(f"{path} holds {len(records)} records: put the one that is meant into a file of its own")
    objects = records[0]["annotation"]
    if not objects:
        raise RegionError(f"{path} holds a record without objects, so there is no region in it")
    numbers = [str(number) for number in range(1, len(objects) + 1)]
    number = numbers[0] if name is None and len(objects) == 1 else name
    found = objects[int(_one_of(numbers, number, path, "object")) - 1]
    if not isinstance(found, Mapping):
        raise RegionError(f"object {number} of {path} is {short(found)}: expected frame -> segmentation")
    return found


def split_name(text: str) -> tuple[str, str | None]:
    """Split "FILE.json#NAME" into the path of the file and the name after "#"."""
    for place, letter in enumerate(text):
        if letter == "#" and not os.path.isfile(text) and os.path.isfile(text[:place]):
            return text[:place], text[place + 1 :]
    return text, None


def _read(path: str) -> Any:
    # Other programs write regions too, so all JSON that Python's reader accepts is accepted: UTF-16, and NaN, which is
    # refused where it is used as a coordinate.
    return read_json(existing_file(path), RegionError, constants=True, utf16=True)


def _objects(value: Any) -> list[str]:
    """The names of the objects in frame -> object -> RLE, in file order; empty if the value is something else."""
    records = value.values() if isinstance(value, Mapping) else [None]
    if not all(isinstance(record, (Mapping, type(None))) for record in records):
        return []
    named = [(name, mask) for record in records for name, mask in (record or {}).items()]
    masks = [mask for _, mask in named if mask is not None]
    told = masks and all(isinstance(mask, Mapping) and "counts" in mask for mask in masks)
    names = list(dict.fromkeys(name for name, _ in named))
    return names if told and "segmentation" not in names else []


def _is_region(value: Any) -> bool:
    """Whether the keys of a value are those of the JSON form of a region."""
    return isinstance(value, Mapping) and _has_places(value)


def _has_places(value: Mapping[Any, Any]) -> bool:
    keys = [key for key in value if key != VISUAL_KEY]
    return bool(keys) and all(map(is_place, keys))


def _one_of(names: list[str], name: str | None, path: str, what: str) -> str:
    if name is not None and name in names:
        return name
    said = "" if name is None else f"no {what} {name!r}, but "
    raise RegionError(
        f"{path} holds {said}the {what}{'s' * (len(names) > 1)} {listed(names, 20)}: "
        f"name one, such as {path}#{names[0]}"
    )
