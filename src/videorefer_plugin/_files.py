"""Files that appear whole or not at all, and files of work that goes on where it was stopped."""

import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from videorefer_plugin._text import listed, short

__all__ = ["Ledger", "LedgerError", "write_whole"]

_SYNC_SECONDS = 1.0  # of work that a power cut may cost; a process that is killed loses nothing that was appended


def write_whole(path: Path, write: Callable[[str], object]) -> None:
    """Write a file under another name and rename it, so that nobody ever sees a part of it.

    Of several processes that write the same file, also on several machines, the last one counts.

    Args:
        path (`Path`): of the file.
        write (`Callable`): writes a file of the name that it is given, in the same folder.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write(str(temporary))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class LedgerError(Exception):
    """A ledger cannot be used; says why in a sentence. Callers turn it into an error of theirs, with the remedy.

    Attributes:
        reason (`str`): `"busy"`: another process writes it; `"place"`: it cannot be read or written there;
            `"content"`: what it holds is damaged, or of other work.
    """

    def __init__(self, message: str, reason: str = "content") -> None:
        super().__init__(message)
        self.reason = reason


class Ledger:
    """What is done of a long piece of work, a line of JSON for each part, so that the same work can go on from there.

    The first line says which work it is. Lines are only ever appended, and written at once; the part of a line that a
    killed process left behind is cut off. The file comes into being with the first line that is appended, and is
    locked from the start until it is closed.

    Args:
        path (`Path`): of the file.
        header (`dict`): which work it is, fit for JSON; a file of other work is refused.
        restart (`bool`, *optional*, defaults to `False`): begin anew, whatever the file holds.

    Attributes:
        rows (`list`): the lines behind the first that were there.

    Raises:
        LedgerError: another process writes it, it cannot be read or written, it is of other work (says what differs),
            or it is damaged.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        self._header = json.loads(json.dumps(header))  # as it would be read back
        self._stream: Any = None
        self._synced = time.monotonic()
        self._lock_path = path.with_name(f".{path.name}.lock")
        self._lock = FileLock(self._lock_path)
        try:
            self._lock.acquire(timeout=0)
            if restart:
                path.unlink(missing_ok=True)
            self.rows = self._read()
        except Timeout:
            raise LedgerError(f"{path} is being written by another process.", "busy") from None
        except OSError as error:
            self.close()
            raise self._unwritable(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def append(self, row: Any) -> None:
        """Add one line; a killed process does not lose it.

        Raises:
            LedgerError: it cannot be written.
        """
        try:
            if self._stream is None:
                self._stream = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
                if not self._stream.tell():
                    self._write({"ledger": self._header})
            self._write(row)
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                os.fsync(self._stream.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Let others write the file."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None
        if self._lock.is_locked:
            # Removed while it is held: whoever comes now makes a new one.
            if os.name == "posix":
                self._lock_path.unlink(missing_ok=True)
            self._lock.release()

    def remove(self) -> None:
        """Remove the file, since the work is finished; nothing can be appended any more."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.path.unlink(missing_ok=True)
        self.close()

    def _unwritable(self, error: OSError) -> LedgerError:
        return LedgerError(f"{self.path} cannot be written ({error.strerror or error}).", "place")

    def _write(self, row: Any) -> None:
        left = memoryview((json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode())
        while left:
            left = left[self._stream.write(left) :]

    def _read(self) -> list[Any]:
        """The lines behind the first; afterwards the file ends with a whole line, if there is one."""
        if not self.path.exists():
            return []
        with open(self.path, "rb+") as stream:
            *lines, torn = stream.read().split(b"\n")
            if torn:
                stream.truncate(stream.tell() - len(torn))
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError):
                raise LedgerError(f"Line {number} of {self.path} is damaged.") from None
        if rows:
            self._check(rows[0])
        return rows[1:]

    def _check(self, first: Any) -> None:
        there = first.get("ledger") if isinstance(first, dict) else None
        if not isinstance(there, dict):
            raise LedgerError(f"{self.path} holds something else, {short(first)}, than work that could go on.")
        names = [name for name in {**there, **self._header} if there.get(name) != self._header.get(name)]
        if names:
            said = [f"{name} was {short(there.get(name))} and is {short(self._header.get(name))}" for name in names]
            raise LedgerError(f"{self.path} holds what is done of other work: {listed(said)}.")
