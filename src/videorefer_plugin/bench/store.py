"""Answer files: one JSON line per item, keyed by the item's id and the hash of the configuration.

Lines are only appended, each batch in one write, so that a process that is killed loses only the items in progress.
Every process of a sharded run has its own file, and reads the finished items from the files of all.
"""

import codecs
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from videorefer_plugin._files import LedgerError, LineFile, read_lines
from videorefer_plugin._json import JsonError, parse_line
from videorefer_plugin._json import write_json as write_json_file
from videorefer_plugin._places import writing
from videorefer_plugin._text import short, text_fault
from videorefer_plugin.errors import BenchError

__all__ = ["Store", "configuration_hash", "text_hash", "write_json"]

_TEXTS = {"answers": ("prediction",), "judgements": ("reply", "date")}  # the keys that lines of a kind must have


def text_hash(text: str) -> str:
    """Return a hash of a text, such as a prompt.

    Raises:
        BenchError: the text has a lone surrogate.
    """
    if text_fault(text):
        raise BenchError(f"{short(text)} has half a character (a lone surrogate): give names that are UTF-8")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def configuration_hash(settings: Mapping[str, Any]) -> str:
    """Return a hash of the settings that answers depend on. Their order does not matter."""
    return text_hash(json.dumps(settings, sort_keys=True, ensure_ascii=False))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, which appears whole or not at all, and its folder.

    Raises:
        BenchError: the file cannot be written.
    """
    with writing(path, BenchError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_file(path, value, ensure_ascii=False)


class Store:
    """The lines of one kind in a folder.

    Args:
        folder: folder of the files.
        kind (`str`): first part of their names, such as `"answers"`.
        configuration (`dict`): settings that lines of this run depend on. They are saved beside the lines under their
            hash.
        rank (`int`): number of this process among those that share the items.
        ids (*optional*): ids of all items. Lines about others are an error.

    Raises:
        BenchError: another process writes the same file, or the folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        kind: str,
        configuration: Mapping[str, Any],
        rank: int = 0,
        ids: Collection[str] | None = None,
    ):
        self.ids = ids
        self.folder = Path(folder)
        self.kind = kind
        self.configuration = dict(configuration)
        self.hash = configuration_hash(configuration)
        self.path = self.folder / f"{kind}-{rank}.jsonl"
        try:
            write_json(self.folder / "configurations" / f"{self.hash}.json", self.configuration)
            self._file = LineFile(self.path, _is_torn)
        except LedgerError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Release the file, so that other processes can write it."""
        self._file.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def problem(self, row: Mapping[str, Any]) -> str:
        """Return why a line with these values could not be read back; empty if it can."""
        reason = _row_problem({**row, "configuration": self.hash}, self.kind)
        bare = next((key for key, value in row.items() if isinstance(value, str) and text_fault(value)), None)
        return reason or ("" if bare is None else f"{bare!r} has half a character (a lone surrogate)")

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines in one write; each gets the configuration's hash.

        Raises:
            BenchError: the lines cannot be written.
        """
        try:
            self._file.append_lines(
                json.dumps({**row, "configuration": self.hash}, ensure_ascii=False) for row in rows
            )
        except LedgerError as error:
            raise self._unwritable(error) from error

    def done(self) -> dict[str, dict[str, Any]]:
        """Return item id -> line, of this configuration, by any process.

        Raises:
            BenchError: a line was changed after it was written. The message names it.
        """
        rows: dict[str, dict[str, Any]] = {}
        places: dict[str, _Place] = {}
        for place, row in _read_rows(self.folder, self.kind):
            if row["configuration"] != self.hash:
                continue
            name = row["id"] if isinstance(row.get("id"), str) else None
            reason = _row_problem(row, self.kind)
            if not reason and self.ids is not None and name not in self.ids:
                reason = f"the benchmark has no item {short(name)}"
            if not reason and name in rows and (place.path == places[name].path or not self._same(row, rows[name])):
                reason = f"the item {short(name)} has a line already: {places[name]}"
            if reason:
                raise place.damaged(reason)
            rows.setdefault(row["id"], row)
            places.setdefault(row["id"], place)
        return rows

    def _unwritable(self, error: LedgerError) -> BenchError:
        if error.reason == "busy":
            return BenchError(
                f"{self.path} is being written by another process: wait for it, or choose another folder"
            )
        return BenchError(f"{error} Make room there, or choose another folder.")

    def _same(self, row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """Return whether two processes that worked on the same item have the same outcome."""
        key = _TEXTS.get(self.kind, ("id",))[0]
        return row[key] == other[key]


class _Place(NamedTuple):
    """A line of a file."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"

    def damaged(self, reason: str) -> BenchError:
        return BenchError(f"{self} is damaged: {reason}. Correct that line, or delete it to have its item done again.")


def _read_rows(folder: Path, kind: str) -> Iterator[tuple[_Place, dict[str, Any]]]:
    """Yield the lines of all files of a kind in a folder, of all configurations."""
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        if not re.fullmatch(rf"{kind}-\d+", path.stem):
            continue
        for number, line in enumerate(_lines(path), 1):
            if not line.strip():
                continue
            place = _Place(path, number)
            try:
                row = parse_line(line)
            except JsonError as problem:
                raise place.damaged(problem.reason) from problem
            if not isinstance(row, dict):
                raise place.damaged(f"expected an object, got {short(row)}")
            if not isinstance(row.get("configuration"), str):
                raise place.damaged(f"expected a text under 'configuration', got {short(row.get('configuration'))}")
            yield place, row


def _lines(path: Path) -> Iterator[bytes]:
    try:
        for _, line in read_lines(path, _is_torn):
            yield line
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}") from error


def _is_torn(tail: bytes) -> bool:
    """Return whether the text after the last line end is a part of a line, left by a kill or (with zeros) a crash.

    A whole line whose end an editor removed does not count.
    """
    start = tail.removeprefix(codecs.BOM_UTF8).lstrip(b"\0")
    if not start.startswith(b"{"):
        return bool(tail) and not start
    try:
        json.loads(start)
    except ValueError:
        return True
    except RecursionError:
        return False
    return False


def _row_problem(row: Mapping[str, Any], kind: str) -> str:
    """Return why a line of a kind cannot be used; empty if it can."""
    for key in ("id", *_TEXTS.get(kind, ())):
        if key not in row:
            return f"the key {key!r} is missing"
        if not isinstance(row[key], str):
            return f"expected a text under {key!r}, got {short(row[key])}"
    if "date" in _TEXTS.get(kind, ()):
        try:
            datetime.fromisoformat(row["date"])
        except ValueError:
            return f"expected a time such as 2026-01-31T12:00:00+00:00 under 'date', got {short(row['date'])}"
    return ""
