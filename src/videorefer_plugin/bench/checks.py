"""Checks of values in result files, which can be combined: `object_of(name=text, items=count)`."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from videorefer_plugin._text import short

__all__ = [
    "Check",
    "WrongValueError",
    "count",
    "interval",
    "list_of",
    "map_of",
    "number",
    "object_of",
    "or_none",
    "share",
    "text",
]

Check = Callable[[Any, str], None]


class WrongValueError(ValueError):
    """A value is invalid. The message names it and the expected form."""


def _wrong(value: Any, where: str, expected: str) -> WrongValueError:
    return WrongValueError(f"{where} is {short(value)}: expected {expected}")


def text(value: Any, where: str) -> None:
    """Check a text."""
    if not isinstance(value, str):
        raise _wrong(value, where, "a text")


def count(value: Any, where: str) -> None:
    """Check a whole number from 0 up."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise _wrong(value, where, "a whole number from 0 up")


def number(low: float = 0.0, high: float = math.inf) -> Check:
    """Return a check of a finite number in a range."""

    def check(value: Any, where: str) -> None:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not low <= value <= min(high, 1e300):
            raise _wrong(value, where, f"a number from {low:g}" + (f" to {high:g}" if high < math.inf else " up"))

    return check


def or_none(inner: Check) -> Check:
    """Return a check that takes `None`, or values that pass another check."""
    return lambda value, where: None if value is None else inner(value, where)


def list_of(inner: Check, length: int | None = None) -> Check:
    """Return a check of a list whose values pass another check."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise _wrong(value, where, "a list" if length is None else f"a list of {length}")
        for place, one in enumerate(value):
            inner(one, f"{where}[{place}]")

    return check


def map_of(inner: Check) -> Check:
    """Return a check of an object with any keys whose values pass another check."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise _wrong(value, where, "an object")
        for key, one in value.items():
            inner(one, f"{where}.{key}")

    return check


def object_of(**keys: Check) -> Check:
    """Return a check of an object with these keys; others are ignored."""

    def check(value: Any, where: str) -> None:
        map_of(lambda *_: None)(value, where)
        for key, inner in keys.items():
            if key not in value:
                raise WrongValueError(f"{where} lacks {key!r}")
            inner(value[key], f"{where}.{key}")

    return check


def share(value: Any, where: str) -> None:
    """Check a share of right answers."""
    keys = {"right": count, "total": count, "accuracy": or_none(number(0, 1)), "interval": interval(1)}
    object_of(**keys)(value, where)
    right, total = value["right"], value["total"]
    found = right / total if total else None
    if (
        right > total
        or (value["accuracy"] is None) != (found is None)
        or abs((value["accuracy"] or 0) - (found or 0)) > 1e-9
    ):
        raise _wrong(value["accuracy"], f"{where}.accuracy", f"what {right} right of {total} are")


def interval(high: float) -> Check:
    """Return a check of the ends of an interval from 0 on, or `None`."""
    return or_none(list_of(number(0, high), 2))
