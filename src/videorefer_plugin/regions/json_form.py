"""The JSON form of a region: frame or time -> one shape, such as {"12": {"box": [10, 20, 60, 80]}}.

Each kind of shape defines its key there, and the further keys that it accepts.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions import kinds
from videorefer_plugin.regions.base import Shape
from videorefer_plugin.regions.places import VISUAL_KEY, by_place, json_frame, place_key
from videorefer_plugin.regions.reading import read_visual

_EXAMPLE = '{"12": {"box": [10, 20, 60, 80]}}'


def read_json(given: Any) -> tuple[dict[int, Shape], dict[float, Shape]]:
    """Return the shapes of a region's JSON form, by frame and by time, in the order given.

    Raises:
        RegionError: the value is malformed; the message names the frame or time, and its keys.
    """
    if not isinstance(given, Mapping):
        raise RegionError(f"the JSON form of a region is an object such as {_EXAMPLE}, got {short(given)}")
    if not given:
        raise RegionError(f"the JSON form of a region is empty, {{}}: expected at least one frame, such as {_EXAMPLE}")
    bare = [key for key in given if isinstance(key, str) and (key in json_kinds() or key in ("counts", "size"))]
    if bare:
        raise RegionError(f"the shape {bare[0]!r} stands outside a frame: expected frame -> shape, such as {_EXAMPLE}")
    frames, times = by_place(given, json_frame)
    return (
        {frame: read_shape(record, f"frame {frame}") for frame, record in frames.items()},
        {time: read_shape(record, f"time {time:g} s") for time, record in times.items()},
    )


def write_json(frames: Mapping[int, Shape], times: Mapping[float, Shape]) -> dict[str, dict[str, Any]]:
    """Write shapes in the form of `Region.to_json`: frames, then times, each in the order of its mapping."""
    return {
        place_key(place): kinds.at_place(shape.to_json, f"frame {place}" if isinstance(place, int) else f"{place:g} s")
        for shapes in (frames, times)
        for place, shape in shapes.items()
    }


def split_visual(given: Any, visual: int | None = None) -> tuple[Any, int | None]:
    """Take the visual out of a region's JSON form, where it is a key beside the frames.

    Args:
        given: the JSON form.
        visual: the visual that is given separately.

    Raises:
        RegionError: the visual is given twice, or is not a whole number from 0 up.
    """
    if not isinstance(given, Mapping) or VISUAL_KEY not in given:
        return given, visual
    stated = read_visual(given[VISUAL_KEY])
    if visual is not None and stated is not None and stated != read_visual(visual):
        raise RegionError(
            f"the region has visual={short(visual)} beside it and {short(stated)} under {VISUAL_KEY!r}: keep one"
        )
    frames = {key: value for key, value in given.items() if key != VISUAL_KEY}
    return frames, visual if stated is None else stated


def write_visual(visual: int | None) -> dict[str, int]:
    """The entry of the JSON form for the visual, if it is set."""
    return {} if visual is None else {VISUAL_KEY: visual}


def json_kinds() -> dict[str, type[Shape]]:
    """Return the kinds of shapes by their key in the JSON form."""
    return {kind.json_key: kind for kind in kinds.SHAPES if kind.json_key}


def read_shape(record: Any, place: str) -> Shape:
    """Return the one shape at a frame or time of the JSON form; None where the object is absent.

    Raises:
        RegionError: the value is not an object with exactly one shape, or the shape is malformed; names `place`.
    """
    if record is None:
        return kinds.as_shape(None)
    if not isinstance(record, Mapping):
        raise RegionError(
            f'{place} has {short(record)}: expected an object with one shape, such as {{"box": [10, 20, 60, 80]}}'
        )
    known = json_kinds()
    found = [key for key in record if key in known]
    if len(found) != 1:
        raise RegionError(f"{place} has {_keys_words(record)}: expected one shape, {_expected()}{_hint(record)}")
    kind = known[found[0]]
    strange = [key for key in record if key != kind.json_key and key not in kind.json_details]
    if strange:
        allowed = f"only {' or '.join(kind.json_details)}" if kind.json_details else "nothing else"
        raise RegionError(f"{place} has {_keys_words(strange)} beside {kind.json_key!r}: {allowed} may stand there")
    details = {key: value for key, value in record.items() if key != kind.json_key}
    missing = [key for key, value in details.items() if value is None]
    if missing:
        raise RegionError(f"{place} has null under {missing[0]!r}: give a value, or leave the key out")
    return kinds.at_place(lambda: kind.from_json(record[kind.json_key], **details), place)


def _keys_words(keys: Any) -> str:
    names = [repr(key) for key in keys]
    return f"the key{'s' * (len(names) > 1)} {listed(names)}" if names else "no keys, {}"


def _expected() -> str:
    words = [
        key + (f" (with {' or '.join(kind.json_details)})" if kind.json_details else "")
        for key, kind in json_kinds().items()
    ]
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _hint(record: Mapping[Any, Any]) -> str:
    if "counts" in record:
        return '; write an RLE as {"segmentation": {"size": [height, width], "counts": ...}}'
    close = [difflib.get_close_matches(str(key), json_kinds(), n=1, cutoff=0.75) for key in record]
    guesses = [names[0] for names in close if names]
    return f"; did you mean {guesses[0]!r}?" if guesses and guesses[0] not in record else ""
