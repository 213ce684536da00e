"""Answer files: one JSON line an item, keyed by the item's id and the hash of the configuration.

Lines are only ever appended, a batch in one write, so that a process which is killed loses no more than the items that
it was at. Every process of a sharded run has a file of its own; what is done is read from the files of all.
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

_TEXTS = {"answers": ("prediction",), "judgements": ("reply", "date")}  # what lines of a kind have to hold


def text_hash(text: str) -> str:
    """A short name for a text, such as a prompt.

    Raises:
        BenchError: the text has half a character.
    """
    if text_fault(text):
        raise BenchError(f"{short(text)} has half a character (a lone surrogate): give names that are UTF-8")
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def configuration_hash(settings: Mapping[str, Any]) -> str:
    """A short name for everything that answers depend on; the same settings in another order have the same."""
    return text_hash(json.dumps(settings, sort_keys=True, ensure_ascii=False))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that appears whole or not at all, with its folder.

    Raises:
        BenchError: it cannot be written.
    """
    with writing(path, BenchError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_file(path, value, ensure_ascii=False)


class Store:
    """The lines of one kind in a folder.

    Args:
        folder: where the files are.
        kind (`str`): first part of their names, such as `"answers"`.
        configuration (`dict`): the settings that lines of this run depend on; kept beside the lines under their hash.
        rank (`int`): number of this process among those that share the items.
        ids (*optional*): of all items that there are. Lines about others are an error.

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
        """Let others write the file."""
        self._file.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def problem(self, row: Mapping[str, Any]) -> str:
        """Why a line with these values could not be read back, otherwise empty."""
        reason = _row_problem({**row, "configuration": self.hash}, self.kind)
        bare = next((key for key, value in row.items() if isinstance(value, str) and text_fault(value)), None)
        return reason or ("" if bare is None else f"{bare!r} has half a character (a lone surrogate)")

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines, all in one write; each is given the configuration's hash.

        Raises:
            BenchError: they cannot be written.
        """
        try:
            self._file.append_lines(
                json.dumps({**row, "configuration": self.hash}, ensure_ascii=False) for row in rows
            )
        except LedgerError as error:
            raise self._unwritable(error) from error

    def done(self) -> dict[str, dict[str, Any]]:
        """Item id -> its line, of this configuration, by whichever process.

        Raises:
            BenchError: a line is not as it was written, so that the file was changed by something else; names it.
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
        """Whether two processes that met at an item came to the same."""
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
    """Lines of all files of a kind in a folder, of whichever configuration."""
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
    """Whether what follows the last line end is a part of a line, as a kill or (with zeros) a crash leaves it.

    A whole line whose end an editor took away is none.
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
    """Why a line of a kind cannot be used, otherwise empty."""
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
