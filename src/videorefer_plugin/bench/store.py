"""Answer files: one JSON line an item, keyed by the item's id and the hash of the configuration.

Lines are only ever appended, a batch in one write, so that a process which is killed loses no more than the items that
it was at. Every process of a sharded run has a file of its own; what is done is read from the files of all.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from videorefer_plugin.errors import BenchError

__all__ = ["Store", "configuration_hash", "text_hash", "write_json"]


def text_hash(text: str) -> str:
    """A short name for a text, such as a prompt."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def configuration_hash(settings: Mapping[str, Any]) -> str:
    """A short name for everything that answers depend on; the same settings in another order have the same."""
    return text_hash(json.dumps(settings, sort_keys=True, ensure_ascii=False))


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Store:
    """The lines of one kind in a folder.

    Args:
        folder: where the files are.
        kind (`str`): first part of their names, such as `"answers"`.
        configuration (`dict`): the settings that lines of this run depend on; kept beside the lines under their hash.
        rank (`int`): number of this process among those that share the items.

    Raises:
        BenchError: another process writes the same file, or the folder cannot be written.
    """

    def __init__(self, folder: str | os.PathLike, kind: str, configuration: Mapping[str, Any], rank: int = 0):
        self.folder = Path(folder)
        self.kind = kind
        self.configuration = dict(configuration)
        self.hash = configuration_hash(configuration)
        self.path = self.folder / f"{kind}-{rank}.jsonl"
        try:
            write_json(self.folder / "configurations" / f"{self.hash}.json", self.configuration)
            self._lock = FileLock(self.folder / f".{kind}-{rank}.lock")
            self._lock.acquire(timeout=0)
            self._end_torn_line()
        except Timeout:
            raise BenchError(
                f"{self.path} is being written by another process: wait for it, or choose another folder"
            ) from None
        except OSError as error:
            raise BenchError(f"{self.folder} cannot be written: {error}") from error

    def close(self) -> None:
        """Let others write the file."""
        self._lock.release()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _end_torn_line(self) -> None:
        """Cut off a line that a killed process left unfinished."""
        if not self.path.exists():
            return
        with open(self.path, "rb+") as stream:
            end = stream.seek(0, os.SEEK_END)
            tail = b""
            while end and b"\n" not in tail:
                start = max(end - (1 << 16), 0)
                stream.seek(start)
                tail = stream.read(end - start) + tail
                end = start
            stream.truncate(end + tail.rfind(b"\n") + 1)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add lines, all in one write; each is given the configuration's hash."""
        lines = [json.dumps({**row, "configuration": self.hash}, ensure_ascii=False) + "\n" for row in rows]
        with open(self.path, "ab", buffering=0) as stream:
            stream.write("".join(lines).encode())

    def done(self) -> dict[str, dict[str, Any]]:
        """Item id -> its line, of this configuration, by whichever process.

        Raises:
            BenchError: a whole line is not JSON, so that the file was changed by something else.
        """
        return read_rows(self.folder, self.kind, self.hash)


def read_rows(folder: Path, kind: str, configuration: str) -> dict[str, dict[str, Any]]:
    """Item id -> line, of all files of a kind in a folder."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob(f"{kind}-*.jsonl")):
        if not re.fullmatch(rf"{kind}-\d+", path.stem):
            continue
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):  # behind the last end is no whole line
            try:
                row = json.loads(line)
                found = row["configuration"] == configuration
            except (ValueError, KeyError, TypeError) as error:
                raise BenchError(f"{path}, line {number} is damaged ({error}): delete that line") from error
            if found:
                rows.setdefault(row["id"], row)
    return rows
