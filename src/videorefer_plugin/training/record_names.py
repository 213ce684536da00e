"""What records are called in messages: where they stand in a file, and by which name."""

from collections.abc import Mapping
from typing import Any

from videorefer_plugin._text import cut, short, text_fault
from videorefer_plugin.errors import RecordError

__all__ = ["BadRecordError", "record_name", "record_place"]

_LONGEST_NAME = 80  # characters of an id in a message


def record_place(source: str, unit: str, line: int, number: int = 0, name: str | None = None) -> str:
    """Where a record stands, for messages: its line, and what says more where many stand on one line."""
    place = f"{source}, {unit} {line}"
    if number in (0, line):
        return place
    return f"{place}: record {number}" + (f" (id {name!a})" if name is not None else "")


def record_name(value: Any) -> str | None:
    """The name of a record that cannot be used, if it has one that can be shown."""
    name = value.get("id") if isinstance(value, Mapping) else None
    if isinstance(name, str) and not text_fault(name):
        return cut(name, _LONGEST_NAME)
    return None if name is None else short(name)


class BadRecordError(RecordError):
    """A record of a file that cannot be used, with its name."""

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason)
        self.name = name
