"""Files that are written as a whole or not at all, and files of work that can be resumed."""

import contextlib
import json
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videorefer_plugin._locks import FileLock, LedgerError
from videorefer_plugin._text import listed, short, text_fault

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "UNFINISHED",
    "FileLock",
    "Ledger",
    "LedgerError",
    "LineFile",
    "read_ledger",
    "read_lines",
    "read_row",
    "write_whole",
]

UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}")
"""Names of files that [`write_whole`] had not finished when the process was killed."""

_SYNC_SECONDS = 1.0  # of work that a power failure may cost; a process that is killed loses no appended line
_HEADER = b'{"ledger":'  # the first bytes of every ledger
_BLOCK = 1 << 16
_MOST_OF_A_NAME = 200


def write_whole(path: Path, content: str | bytes | Callable[[str], object]) -> None:
    """Write a file under another name and rename it, so that a reader never sees a part of it.

    If several processes write the same file, also on several machines, the last one wins. A link is kept, and a file
    that is overwritten keeps its permissions.

    Args:
        path (`Path`): of the file.
        content (`str`, `bytes` or `Callable`): the text, which is written as UTF-8, the bytes, or a function that
            writes a file with the given name, which is in the same folder.
    """
    path = Path(os.path.realpath(path))
    name = os.fsdecode(os.fsencode(path.name)[:_MOST_OF_A_NAME])  # a name may have 255 bytes, and gets 34 more
    temporary = path.with_name(f".{name}.{uuid.uuid4().hex}")
    if isinstance(content, str):
        content = content.encode()
    try:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            content(str(temporary))
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_lines(path: Path, is_torn: Callable[[bytes], object] = bool, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a file, each with the byte at which it begins, without reading the whole file into memory.

    The file is not locked or changed, so another process may still append to it. An unfinished last line is left out.

    Args:
        path (`Path`): of the file.
        is_torn (`Callable`, *optional*): whether the bytes after the last line end are only a part of a line; `True`
            for all bytes by default.
        start (`int`, *optional*): the byte to begin at, which must be the first of a line.

    Raises:
        OSError: the file cannot be read.
    """
    offset = start
    with open(path, "rb") as stream:
        stream.seek(start)
        for line in stream:
            if not line.endswith(b"\n") and is_torn(line):
                return
            yield offset, line.removesuffix(b"\n")
            offset += len(line)


class LineFile:
    """A file of lines that is only appended to, by one process at a time.

    Lines are written at once: a process that is killed loses none of them. If it left a part of a line, the next
        process
    cuts it off. The file is created with the first line that is appended, and is locked until it is closed.

    Args:
        path (`Path`): of the file.
        is_torn (`Callable`, *optional*): as in [`read_lines`]; a last line that only lacks its line end is completed.

    Raises:
        LedgerError: another process writes the file, or it cannot be written.
        ConfigurationError: `filelock` is not installed.
    """

    def __init__(self, path: Path, is_torn: Callable[[bytes], object] = bool) -> None:
        self.path = path
        self._is_torn = is_torn
        self._stream: Any = None
        self._synced = time.monotonic()
        self._appending = threading.RLock()
        try:
            self._lock = FileLock(path.with_name(f".{path.name}.lock"))
        except LedgerError as error:
            if error.reason != "busy":
                raise self._unwritable(error.__cause__) from error  # type: ignore[arg-type]
            raise LedgerError(f"{path} is being written by another process.", "busy") from None
        try:
            self._take_up()
        except OSError as error:
            self.close()
            raise self._unwritable(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def append_lines(self, lines: Iterable[str]) -> None:
        """Append lines in one write; a process that is killed does not lose them.

        Raises:
            LedgerError: the lines cannot be written; then none of them is in the file.
        """
        data = "".join(f"{line}\n" for line in lines).encode()
        if not data:
            return
        try:
            with self._appending:
                if self._stream is None:
                    self._stream = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by `close`
                self._write(data)
                if time.monotonic() - self._synced >= _SYNC_SECONDS:
                    os.fsync(self._stream.fileno())
                    self._synced = time.monotonic()
        except OSError as error:
            raise self._unwritable(error) from error

    def close(self) -> None:
        """Release the file, so that other processes can write it.

        Raises:
            LedgerError: the appended lines did not reach the disk.
        """
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                with stream:
                    os.fsync(stream.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            self._lock.release()

    def remove(self) -> None:
        """Remove the file when the work is finished; nothing can be appended any more."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        self.path.unlink(missing_ok=True)
        self.close()

    def _take_up(self) -> None:
        """Read the content of the file, after it was locked."""
        self._end_torn_line()

    def _end_torn_line(self) -> None:
        """Cut off a line that a killed process left unfinished; complete one that only lacks its line end."""
        if not self.path.exists():
            return
        with open(self.path, "rb+") as stream:
            end = stream.seek(0, os.SEEK_END)
            tail = b""
            while end and b"\n" not in tail:
                start = max(end - _BLOCK, 0)
                stream.seek(start)
                tail = stream.read(end - start) + tail
                end = start
            whole = tail.rfind(b"\n") + 1
            if not tail[whole:]:
                return
            if self._is_torn(tail[whole:]):
                stream.truncate(end + whole)
            else:
                stream.seek(0, os.SEEK_END)
                stream.write(b"\n")

    def _write(self, data: bytes) -> None:
        """Write all of the data or nothing, so that later lines do not continue a partial one."""
        end = os.fstat(self._stream.fileno()).st_size
        left = memoryview(data)
        try:
            while left:
                left = left[self._stream.write(left) :]
        except BaseException:
            self._stream.truncate(end)
            raise

    def _unwritable(self, error: OSError) -> LedgerError:
        return LedgerError(f"{self.path} cannot be written ({error.strerror or error}).", "place")


class Ledger(LineFile):
    """A record of finished work: one line of JSON for each part, so that the work can be resumed.

    The first line identifies the work.

    Args:
        path (`Path`): of the file.
        header (`dict`): a description of the work that JSON can represent; a file with another header is refused.
        restart (`bool`, *optional*, defaults to `False`): start again, even if the file contains results.

    Attributes:
        rows (`list`): the lines after the header that were in the file when it was opened.

    Raises:
        LedgerError: another process writes the file, it cannot be read or written, it is damaged, or it belongs to
            other work (the message lists the differences).
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, restart: bool = False) -> None:
        self.rows: list[Any] = []
        self._header = _as_read(header)
        self._restart, self._begun = restart, False
        super().__init__(path)

    def append(self, row: Any) -> None:
        """Append one line; a process that is killed does not lose it.

        Raises:
            LedgerError: the line cannot be written.
        """
        with self._appending:
            first = [] if self._begun else [_line({"ledger": self._header})]
            self.append_lines([*first, _line(row)])
            self._begun = True

    def _take_up(self) -> None:
        if self._restart:
            self.path.unlink(missing_ok=True)
        if self.path.exists():
            self.rows = [row for _, row in _read_rows(self.path, self._header)]
            self._end_torn_line()
        self._begun = self.path.exists() and self.path.stat().st_size > 0


def read_ledger(path: Path, header: Mapping[str, Any] | None = None) -> Iterator[tuple[int, Any]]:
    """Yield the rows of a ledger after its header, each with the byte at which it begins; see [`read_lines`].

    Args:
        path (`Path`): of the file.
        header (`dict`, *optional*): the header that the ledger must have.

    Raises:
        LedgerError: the file cannot be read, is damaged, is not a ledger, or belongs to other work.
    """
    try:
        yield from _read_rows(path, None if header is None else _as_read(header))
    except OSError as error:
        raise _unreadable(path, error) from error


def read_row(path: Path, offset: int) -> Any:
    """Return the row of a ledger that begins at this byte, as counted by [`read_ledger`].

    Raises:
        LedgerError: the file cannot be read, or no row begins at this byte.
    """
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            return json.loads(stream.readline())
    except OSError as error:
        raise _unreadable(path, error) from error
    except (ValueError, RecursionError):
        raise LedgerError(f"{path} has no row at byte {offset}, so that it was changed meanwhile.") from None


def _read_rows(path: Path, header: Mapping[str, Any] | None) -> Iterator[tuple[int, Any]]:
    number = 0
    for number, (offset, line) in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            raise LedgerError(f"Line {number} of {path} is damaged.") from None
        if number == 1:
            _check_header(path, row, header)
        else:
            yield offset, row
    if not number:
        _check_torn_header(path)


def _unreadable(path: Path, error: OSError) -> LedgerError:
    return LedgerError(f"{path} cannot be read ({error.strerror or error}).", "place")


def _check_header(path: Path, first: Any, header: Mapping[str, Any] | None) -> None:
    there = first.get("ledger") if isinstance(first, dict) else None
    if not isinstance(there, dict):
        raise LedgerError(f"{path} holds something else, {short(first)}, than work that could go on.")
    if header is None:
        return
    names = [name for name in {**there, **header} if there.get(name) != header.get(name)]
    if names:
        said = [f"{name} was {short(there.get(name))} and is {short(header.get(name))}" for name in names]
        raise LedgerError(f"{path} holds the results of other work: {listed(said)}.")


def _check_torn_header(path: Path) -> None:
    """Make sure that a file without a whole line is a ledger whose header was cut off, and not a user's file."""
    with open(path, "rb") as stream:
        begin = stream.read(len(_HEADER))
    if begin.strip(b"\0") and not _HEADER.startswith(begin.rstrip(b"\0")):
        raise LedgerError(f"{path} holds something else, {short(begin)}, than work that could go on.")


def _as_read(header: Mapping[str, Any]) -> dict[str, Any]:
    """Return a header as it is read back from JSON."""
    return json.loads(json.dumps(header))


def _line(row: Any) -> str:
    line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    # Half a character cannot be encoded as UTF-8 and is kept as its escape.
    return json.dumps(row, separators=(",", ":")) if text_fault(line) else line
