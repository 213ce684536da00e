"""Ranges of the numbers in a recipe, which are in the metadata of their fields."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from numbers import Integral, Real
from typing import Any, get_args, get_origin, get_type_hints

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError

__all__ = [
    "ARGUMENT",
    "COUNT",
    "ENTRY",
    "FROM_ZERO",
    "LARGEST",
    "LAYER",
    "RANGE",
    "Range",
    "check_number",
    "check_numbers",
    "number",
    "setting",
]

RANGE = "range"
"""Key of a field's [`Range`] in its metadata."""

ARGUMENT = "argument"
"""Key of the name that a field's value has in `transformers.TrainingArguments`."""

ENTRY = "entry"
"""Key of the dataclass of a list's entries that are not texts."""

LARGEST = 2**31 - 1
"""The largest number of any setting, which fits the integers of other libraries."""


@dataclass(frozen=True)
class Range:
    """The range of a number, which is always finite.

    Attributes:
        low, high (`float`, *optional*): the smallest and the largest value; `None` means no bound.
        above, below (`bool`): whether `low` or `high` itself is excluded.
        also (`tuple[int, ...]`): further values with a meaning of their own.
        whole_from (`float`, *optional*): smallest value from which only whole numbers are allowed.
    """

    low: float | None = None
    high: float | None = None
    above: bool = False
    below: bool = False
    also: tuple[int, ...] = ()
    whole_from: float | None = None

    def holds(self, value: float) -> bool:
        """Tell whether a number is in the range."""
        if value in self.also:
            return True
        try:
            if not math.isfinite(value):
                return False
        except OverflowError:  # a whole number beyond all floats
            return False
        if self.low is not None and (value < self.low or (self.above and value == self.low)):
            return False
        if self.high is not None and (value > self.high or (self.below and value == self.high)):
            return False
        return self.whole_from is None or value < self.whole_from or value == int(value)

    def words(self, kind: type) -> str:
        """Return the range in words, such as "a whole number (int) of at least 1"."""
        named = "a whole number (int)" if kind is int else "a finite number (float)"
        bounds = []
        if self.low is not None:
            bounds.append(f"{'above' if self.above else 'of at least'} {self.low:g}")
        if self.high is not None:
            bounds.append(f"{'below' if self.below else 'at most'} {self.high:.10g}")
        words = f"{named} {' and '.join(bounds)}".strip()
        if self.whole_from is not None:
            words += f", whole from {self.whole_from:g} on"
        return words + "".join(f", or {value}" for value in self.also)


COUNT = Range(1, LARGEST)
LAYER = Range(-LARGEST, LARGEST)  # counted from either end; the number of layers is only known with the tower
FROM_ZERO = Range(0)


def number(default: Any, allowed: Range, argument: str | None = None) -> Any:
    """Return a dataclass field for a number with a range; `argument` names it in `TrainingArguments`."""
    return field(default=default, metadata={RANGE: allowed} | ({ARGUMENT: argument} if argument else {}))


def setting(default: Any, argument: str) -> Any:
    """Return a dataclass field for another value, which `argument` names in `TrainingArguments`."""
    return field(default=default, metadata={ARGUMENT: argument})


def check_numbers(section: Any, where: str = "") -> None:
    """Check every number of a section, and of the sections in it, against its range.

    Args:
        section: a dataclass, such as a recipe.
        where (`str`, *optional*): prefix of its settings' names, such as `"train."`.

    Raises:
        ConfigurationError: a value is not a number, or is out of its range. The message names the setting.
    """
    hints = get_type_hints(type(section))
    for item in fields(section):
        value = getattr(section, item.name)
        if is_dataclass(value):
            check_numbers(value, f"{where}{item.name}.")
        elif RANGE in item.metadata:
            kinds = get_args(hints[item.name]) or (hints[item.name],)
            optional = type(None) in kinds
            by_name = isinstance(value, Mapping) and get_origin(hints[item.name]) is dict
            named = {f".{name}": one for name, one in value.items()} if by_name else {"": value}
            for name, one in named.items():
                if not (one is None and optional):
                    kind = int if int in kinds else float
                    check_number(f"{where}{item.name}{name}", one, kind, item.metadata[RANGE], optional)
        elif ENTRY in item.metadata:
            for index, one in enumerate(value):
                if isinstance(one, item.metadata[ENTRY]):
                    check_numbers(one, f"{where}{item.name}[{index}].")


def check_number(where: str, value: Any, kind: type, allowed: Range, optional: bool = False) -> None:
    """Check a number against its range.

    Raises:
        ConfigurationError: the value is not a number, or is out of the range. The message names it with `where`.
    """
    right = isinstance(value, Integral if kind is int else Real) and not isinstance(value, bool)
    if not right or not allowed.holds(value):
        words = allowed.words(kind) + (", or null" if optional else "")
        raise ConfigurationError(f"{where} must be {words}, but is {short(value)}.")
