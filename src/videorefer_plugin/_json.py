"""JSON in which every key of an object stands once: of doubled keys, a parser keeps the last without a word."""

from collections import Counter
from typing import Any

from videorefer_plugin._text import short

__all__ = ["TwiceError", "each_once", "json_fault"]


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
