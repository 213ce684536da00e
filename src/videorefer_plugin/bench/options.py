"""Options of a benchmark, which are the fields of its class: their types and values."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import BenchError, ConfigurationError

__all__ = ["Option", "options_of", "read"]

_SIMPLE = {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Option:
    """An option of a benchmark.

    Attributes:
        name (`str`): name of the field.
        kind (`type`): type of its value, or of each of its values: `str`, `bool`, `int` or `float`.
        several (`bool`): whether it takes any number of values.
        optional (`bool`): whether it can be `None`.
        default: default value.
        choices (`tuple[str, ...]`): allowed texts; any, if empty.
        help (`str`): help text.
    """

    name: str
    kind: type
    several: bool
    optional: bool
    default: Any
    choices: tuple[str, ...]
    help: str

    @property
    def flag(self) -> str:
        """Its name on a command line."""
        return f"--{self.name.replace('_', '-')}"

    def read(self, given: Any) -> Any:
        """Return the value for an input.

        Raises:
            BenchError: the input is invalid.
        """
        if given is None and self.optional:
            return None
        if not self.several:
            return self._one(given)
        if not isinstance(given, (list, tuple)):
            raise BenchError(f"{self.flag} is {short(given)}: expected a list")
        return tuple(self._one(one) for one in given)

    def _one(self, given: Any) -> Any:
        fits = isinstance(given, (int, float) if self.kind is float else self.kind)
        if not fits or (isinstance(given, bool) and self.kind is not bool):
            raise BenchError(f"{self.flag} is {short(given)}: expected {_SIMPLE[self.kind]}")
        if self.kind is float and not math.isfinite(given):
            raise BenchError(f"{self.flag} is {given}: expected a finite number")
        if self.choices and given not in self.choices:
            raise BenchError(f"{self.flag} is {short(given)}: expected one of {', '.join(self.choices)}")
        return given


def options_of(benchmark: Any) -> list[Option]:
    """Return the options of a benchmark, in the order of its fields.

    Raises:
        ConfigurationError: a field cannot be an option.
    """
    hints = get_type_hints(type(benchmark))
    found = []
    for one in fields(benchmark):
        kinds, optional = _kinds(hints[one.name])
        several = len(kinds) == 1 and get_origin(kinds[0]) is tuple and get_args(kinds[0])[1:] == (...,)
        kind = get_args(kinds[0])[0] if several else kinds[0]
        if len(kinds) != 1 or kind not in _SIMPLE or one.default is MISSING:
            raise ConfigurationError(
                f"The field {one.name!r} of {type(benchmark).__name__} is {one.type}: an option of a benchmark has a "
                "default, and is a text, a number, a bool, a tuple of these of any length, or None."
            )
        choices, said = tuple(one.metadata.get("choices", ())), str(one.metadata.get("help", ""))
        found.append(Option(one.name, kind, several, optional, one.default, choices, said))
    return found


def read(benchmark: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of options from the inputs of a command line or JSON.

    Raises:
        BenchError: an option is unknown, or a value is invalid.
    """
    known = {option.name: option for option in options_of(benchmark)}
    for name in given:
        if name not in known:
            has = f"it has {listed(list(known))}" if known else "it has none"
            raise BenchError(f"{benchmark.title} has no option {short(name)}: {has}")
    return {name: known[name].read(value) for name, value in given.items()}


def _kinds(hint: Any) -> tuple[list[Any], bool]:
    """Return the types that a value may have, and whether it may be `None`."""
    kinds = list(get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else [hint]
    return [kind for kind in kinds if kind is not type(None)], type(None) in kinds
