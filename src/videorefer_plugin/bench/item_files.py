"""Files of benchmark items: those in the format of training records, and HC-STVG's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from videorefer_plugin._json import JsonError, decode, parse_json, parse_line, read_json
from videorefer_plugin._places import named_path, read_file
from videorefer_plugin.errors import BenchError, RecordError, VideoReferError
from videorefer_plugin.training.record_files import Entry, RecordFile, open_record_file

__all__ = ["item_values", "record_values"]


def item_values(source: Path, keep_bad: bool = False) -> list[tuple[str, Any]]:
    """Return the items of a file with their locations. In HC-STVG's own format, each gets its video's name.

    Args:
        source (`Path`): the file.
        keep_bad (`bool`): for a line that cannot be read, return the error as the item.

    Raises:
        BenchError: the file cannot be read. The message names the line.
    """
    found = _item_values(source)
    bad = None if keep_bad else next((value for _, value in found if isinstance(value, BenchError)), None)
    if bad is not None:
        raise bad
    return found


def _item_values(source: Path) -> list[tuple[str, Any]]:
    try:
        file = open_record_file(source)
        if file.unit == "row":
            return list(record_values(file))
        text = _text_of(source)
        if text.lstrip().startswith("{"):
            try:
                whole = parse_json(text)
            except JsonError as error:
                if error.is_json:
                    raise BenchError(f"{source}, {error}") from error
                whole = None  # one record per line
            if isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
                return [(f"{source}, {name!r}", {"video": name, **value}) for name, value in whole.items()]
        return list(record_values(file))
    except RecordError as error:
        raise BenchError(str(error)) from error
    except OSError as error:
        raise BenchError(f"{named_path(source)} cannot be read: {error.strerror or error}") from error


def _text_of(source: Path) -> str:
    """Return the text of a file; empty if it is not UTF-8, since reading its lines finds the error."""
    try:
        return decode(read_file(source, BenchError))
    except JsonError:
        return ""


def record_values(file: RecordFile) -> Iterator[tuple[str, Any]]:
    """Yield the values of a file with their locations, strictly read; an error for each that cannot be read.

    Raises:
        BenchError: the file cannot be read from some point on. The message names the line or row.
        RecordError: the same.
    """
    with open(file.path, "rb") as stream:
        for entry in _entries(file):
            place = f"{file.path}, {file.unit} {entry.line}"
            value = BenchError(f"{place}: {entry.reason}") if entry.reason else entry.value
            if file.unit == "line":
                try:
                    value = _strict(entry, stream, file.path)  # finds the line within the item
                except BenchError as error:
                    value = error
            yield place, value


def _entries(file: RecordFile) -> Iterator[Entry]:
    """Yield the entries of a file, as long as it can be read."""
    line = 0
    try:
        for entry in file.scan():
            line = entry.line
            yield entry
    except VideoReferError:
        raise
    except (RecursionError, ValueError) as error:  # too deep, or too many digits: the strict reader finds the line
        read_json(file.path, BenchError)
        raise BenchError(f"{file.path}: what follows {file.unit} {line} cannot be read: {error}") from error


def _strict(entry: Entry, stream: BinaryIO, source: Path) -> Any:
    """Read a value again strictly, since the reader of records takes invalid numbers and characters."""
    start, length = entry.position
    stream.seek(start)
    try:
        return parse_line(stream.read(length))
    except JsonError as error:
        raise BenchError(f"{source}, line {entry.line + error.line - 1}: {error.reason}") from error
