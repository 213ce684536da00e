"""The files that items of benchmarks stand in: those of training records, and HC-STVG's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from videorefer_plugin.bench.json_files import JsonError, decode, parse_json, read_json, read_text
from videorefer_plugin.errors import BenchError, RecordError, VideoReferError
from videorefer_plugin.training.record_files import Entry, RecordFile, open_record_file

__all__ = ["item_values", "record_values"]


def item_values(source: Path) -> list[tuple[str, Any]]:
    """Items of a file with their places; of HC-STVG's own format, each with its video's name.

    Raises:
        BenchError: the file cannot be read, with its line.
    """
    try:
        file = open_record_file(source)
        if file.unit == "row":
            return list(record_values(file))
        text = read_text(source)
        if text.lstrip().startswith("{"):
            try:
                whole = parse_json(text)
            except JsonError as error:
                if error.is_json:
                    raise BenchError(f"{source}, {error}") from error
                whole = None  # a record a line
            if isinstance(whole, dict) and whole and all(isinstance(value, dict) for value in whole.values()):
                return [(f"{source}, {name!r}", {"video": name, **value}) for name, value in whole.items()]
        return list(record_values(file))
    except RecordError as error:
        raise BenchError(str(error)) from error
    except OSError as error:
        raise BenchError(f"{source} cannot be read: {error.strerror or error}") from error


def record_values(file: RecordFile) -> Iterator[tuple[str, Any]]:
    """Every value of a file with its place, one after another, strictly read.

    Raises:
        BenchError: something cannot be read, with its line or row.
        RecordError: the file as a whole cannot be read from some point on.
    """
    if file.unit == "row":
        yield from ((f"{file.path}, row {entry.line}", entry.value) for entry in _entries(file))
        return
    with open(file.path, "rb") as stream:
        for entry in _entries(file):
            yield f"{file.path}, line {entry.line}", _strict(entry, stream, file.path)


def _entries(file: RecordFile) -> Iterator[Entry]:
    """What is in a file, as long as it can be read."""
    line = 0
    try:
        for entry in file.scan():
            line = entry.line
            if entry.reason:
                if file.unit == "line":
                    with open(file.path, "rb") as stream:
                        _strict(entry, stream, file.path)  # knows the line within the item
                raise BenchError(f"{file.path}, {file.unit} {line}: {entry.reason}")
            yield entry
    except VideoReferError:
        raise
    except (RecursionError, ValueError) as error:  # too deep, or too many digits: the strict reader knows the line
        read_json(file.path)
        raise BenchError(f"{file.path}: what follows {file.unit} {line} cannot be read: {error}") from error


def _strict(entry: Entry, stream: BinaryIO, source: Path) -> Any:
    """A value once more, since the reader of records lets numbers and characters pass that are none."""
    start, length = entry.position
    stream.seek(start)
    try:
        return parse_json(decode(stream.read(length)))
    except JsonError as error:
        raise BenchError(f"{source}, line {entry.line + error.line - 1}: {error.reason}") from error
