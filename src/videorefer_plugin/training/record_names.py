"""Names of records in messages: their line in a file, and their id."""

from collections.abc import Mapping
from typing import Any

from videorefer_plugin._text import cut, short, text_fault
from videorefer_plugin.errors import RecordError

__all__ = ["BadRecordError", "record_name", "record_place"]

_LONGEST_NAME = 80  # characters of an id in a message


def record_place(source: str, unit: str, line: int, number: int = 0, name: str | None = None) -> str:
    """Return the line of a record for messages, with its number and id if one line has many records."""
    place = f"{source}, {unit} {line}"
    if number in (0, line):
        return place
    return f"{place}: record {number}" + (f" (id {name!a})" if name is not None else "")


def record_name(value: Any) -> str | None:
    """Return the id of an unusable record, if it has one that can be shown."""
    name = value.get("id") if isinstance(value, Mapping) else None
    if isinstance(name, str) and not text_fault(name):
        return cut(name, _LONGEST_NAME)
    return None if name is None else short(name)


class BadRecordError(RecordError):
    """A record of a file is not usable. The error has the record's id."""

    def __init__(self, reason: str, name: str | None = None):
        super().__init__(reason)
        self.name = name
