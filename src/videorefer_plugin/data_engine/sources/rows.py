"""Rows of a table, strictly read: JSON, JSON lines, Parquet, and values separated by commas, tabs or semicolons."""

from __future__ import annotations

import csv
import difflib
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from videorefer_plugin._json import JsonError, decode
from videorefer_plugin._places import named_path
from videorefer_plugin._text import listed, short
from videorefer_plugin.bench.item_files import record_values
from videorefer_plugin.errors import BenchError, ConfigurationError, EngineError, RecordError
from videorefer_plugin.training.record_files import open_record_file

__all__ = ["TABLE_SUFFIXES", "Table", "check_column", "is_separated", "nearest"]

TABLE_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")
_SEPARATED = (".csv", ".tsv", ".txt")
_LONGEST = 1 << 24  # characters of one value; in Panda-70M, one value has all captions of a long video
_HEAD = 1 << 16  # bytes within which the header of a table must end


class Table:
    """A table that is read row by row.

    Args:
        path (`Path`): path of the file.

    Attributes:
        columns (`set[str]`): columns so far; all columns after the last row.

    Raises:
        EngineError: the file is missing or empty, or is not a table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: set[str] = set()
        try:
            if not path.is_file():
                what = "a folder" if path.is_dir() else "not there"
                raise EngineError(f"{named_path(path)} is {what}; expected a table ({', '.join(TABLE_SUFFIXES)}).")
            with open(path, "rb") as stream:
                head = stream.read(_HEAD)
        except (OSError, ValueError) as error:
            raise EngineError(f"{short(str(path))} cannot be read ({error}).") from error
        if not head.strip():
            raise EngineError(f"{path} is empty; expected a table with a row for each video.")
        self._is_parquet = head.startswith(b"PAR1")
        self._is_separated = is_separated(path, head)
        self._is_list = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")
        if self._is_separated and head.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise EngineError(f"{path} is in UTF-16; save it as UTF-8.")
        self._separator = "\t" if path.suffix.lower() == ".tsv" else _separator(head)

    def rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield every row with its location, without null values.

        Raises:
            EngineError: the file cannot be read. The message names the line or row.
        """
        for place, row in self._separated() if self._is_separated else self._values():
            if not isinstance(row, dict):
                raise EngineError(f"{place} is {short(row)}; expected an object with a value for each column.")
            self.columns.update(row)
            yield place, {key: value for key, value in row.items() if value is not None}

    def _values(self) -> Iterator[tuple[str, Any]]:
        try:
            file = open_record_file(self.path)
            if self._is_parquet:
                self._check_header(_parquet_columns(self.path), f"{self.path}")
            for number, (place, row) in enumerate(record_values(file), 1):
                if isinstance(row, BenchError):
                    raise row
                # A list may be written in one line, so that line numbers do not identify rows.
                yield (f"{place}, row {number}" if self._is_list else place), row
        except (BenchError, RecordError) as error:
            raise EngineError(_as_table(str(error))) from error
        except OSError as error:
            raise EngineError(f"{self.path} cannot be read: {error.strerror or error}.") from error

    def _separated(self) -> Iterator[tuple[str, dict[str, Any]]]:
        csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))
        header: list[str] | None = None
        line = 0
        with open(self.path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(_without_nul(stream, self.path), delimiter=self._separator, strict=True)
            try:
                for values in reader:
                    start, line = line + 1, reader.line_num
                    if not any(value.strip() for value in values):
                        continue
                    place = f"{self.path}, line {start}"
                    if header is None:
                        header = self._check_header([value.strip() for value in values], place)
                        continue
                    if len(values) != len(header):
                        raise EngineError(
                            f"{place} has {len(values)} values, but the header names {len(header)} columns "
                            f"({listed(header, 8)}). Put values that hold the separator {self._separator!r} in quotes."
                        )
                    yield place, dict(zip(header, values, strict=True))
            except csv.Error as error:
                raise EngineError(f"{self.path}, line {line + 1}: the table cannot be read ({error}).") from error
            except UnicodeDecodeError as error:
                raise EngineError(_not_utf8(self.path)) from error

    def _check_header(self, names: list[str], place: str) -> list[str]:
        twice = [name for name, count in Counter(names).items() if count > 1]
        if twice:
            raise EngineError(f"{place}: the table has the column {twice[0]!r} twice; keep one.")
        if "" in names:
            raise EngineError(f"{place}: column {names.index('') + 1} has no name; the first line names the columns.")
        self.columns.update(names)
        return names


def is_separated(path: Path, head: bytes | None = None) -> bool:
    """Return whether a file that begins with `head` holds separated values, and not JSON or Parquet."""
    if head is None:
        if not path.is_file():
            return False
        with open(path, "rb") as stream:
            head = stream.read(_HEAD)
    if head.startswith(b"PAR1"):
        return False
    suffix, start = path.suffix.lower(), head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return suffix in _SEPARATED or (suffix not in TABLE_SUFFIXES and start not in (b"[", b"{"))


def _without_nul(stream: Any, path: Path) -> Iterator[str]:
    for number, line in enumerate(stream, 1):
        if "\0" in line:
            raise EngineError(f"{path}, line {number} holds a NUL byte; save the file as UTF-8 text.")
        yield line


def _separator(head: bytes) -> str:
    """Return the separator of the header: a comma, unless it has none."""
    header = head.decode("utf-8", "replace").lstrip("\ufeff").lstrip().split("\n", 1)[0]
    return next((mark for mark in ",\t;" if mark in header), ",")


def _not_utf8(path: Path) -> str:
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                decode(line)
            except JsonError as problem:
                return f"{path}, line {number}: {problem.reason}."
    return f"{path} is not UTF-8: save the file as UTF-8."


def _parquet_columns(path: Path) -> list[str]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            f"{path} is a Parquet file, which needs pyarrow: pip install 'videorefer-plugin[engine]'."
        ) from error
    try:
        return list(pyarrow.parquet.read_schema(path).names)
    except pyarrow.ArrowException as error:
        raise EngineError(f"{path} cannot be read as Parquet ({error}); it may be cut off.") from error


def _as_table(message: str) -> str:
    """Return a message of the readers of records, worded for rows of a table."""
    if "no JSON" in message and "has to be" not in message:
        message += ". Expected a list of rows, or one row a line."
    return message.replace("a file of training records (.json, .jsonl or .parquet)", "a table").replace(
        "list of records", "list of rows"
    )


def nearest(name: str, known: Collection[str]) -> str:
    """Return a hint at the column that may have been meant."""
    close = difflib.get_close_matches(name.lower(), [column.lower() for column in known], n=1)
    found = next((column for column in sorted(known) if close and column.lower() == close[0]), None)
    return f" Did you mean {found!r}?" if found else ""


def check_column(table: Table, wanted: str, name: str) -> None:
    """Make sure that a column exists.

    Args:
        table ([`Table`]): table that was read to its end.
        wanted (`str`): value in the settings.
        name (`str`): name of the column.

    Raises:
        EngineError: the column is missing. The message lists the existing ones.
    """
    if name not in table.columns:
        raise EngineError(
            f"{table.path} has no column {name!r}; its columns are {listed(sorted(table.columns), 20)}."
            f"{nearest(name, table.columns)} Name the column under source.columns.{wanted}."
        )
