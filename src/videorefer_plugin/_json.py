"""JSON in which every key of an object stands once: of doubled keys, a parser keeps the last without a word.

Also how JSON files are written that people may look at.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._text import short

__all__ = ["TwiceError", "each_once", "json_fault", "write_json"]


class TwiceError(ValueError):
    """A key stands twice in an object."""


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values, as the `object_pairs_hook` of a JSON decoder.

    Raises:
        TwiceError: a key stands twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        double, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise TwiceError(f"one object has the key {short(double)} twice: keep one")
    return found


def json_fault(error: Exception) -> str:
    """Why something cannot be parsed; of what is nested too deep, Python only speaks of itself."""
    return "lists and objects are nested too deep" if isinstance(error, RecursionError) else str(error)


def write_json(path: Path, value: Any, *, ensure_ascii: bool = True) -> None:
    """Write a file that appears whole or not at all, with a line for each value.

    Args:
        path (`Path`): of the file.
        value (`Any`): fit for JSON.
        ensure_ascii (`bool`, *optional*, defaults to `True`): escape other characters. Without it, half a character
            cannot be written.
    """
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=ensure_ascii) + "\n")
