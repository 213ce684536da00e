"""Files of training records: a JSON list, JSON lines or Parquet, read once in order and then one record at a time.

A file is scanned once, which yields every record with its position; only the positions have to be kept. From then on,
a record is read from the file when it is needed, so that a data set of any size takes little memory in every worker.
"""

import abc
import codecs
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from videorefer_plugin._json import JsonError, TwiceError, decode, each_once, json_fault
from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin._places import named_path
from videorefer_plugin._text import cut
from videorefer_plugin.errors import ConfigurationError, RecordError

__all__ = ["Entry", "RecordFile", "open_record_file"]

_FOREIGN = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"\x1f\x8b")  # not UTF-8; see `decode`
_CHUNK = 1 << 20  # characters that are read together; more for longer records
_LONGEST = 300  # characters of a message of pyarrow
_ROWS = 256  # rows of a Parquet file that are decoded together
_SPACE = re.compile(r"[ \t\r\n]*")
_JSON_COLUMNS = ("annotation", "conversations")  # may be stored as JSON text in Parquet


class Entry(NamedTuple):
    """One record of a file.

    Attributes:
        line (`int`): line on which the record begins, or row of a Parquet file, from 1.
        position (`tuple[int, int]`): position for [`RecordFile.read`].
        value: the record, of any JSON type; `None` if it cannot be read.
        reason (`str`): the reason why it cannot be read, else empty.
        done (`int`): amount of [`RecordFile.total`] that has been read.
    """

    line: int
    position: tuple[int, int]
    value: Any
    reason: str
    done: int


class RecordFile(abc.ABC):
    """A file of records. Made by [`open_record_file`]; can be pickled.

    Attributes:
        path (`Path`): the file.
        total (`int`): size of the file, in bytes or rows, for progress.
        unit (`str`): unit of the numbers of its records, `"line"` or `"row"`.
    """

    unit = "line"

    def __init__(self, path: Path):
        self.path = path
        self.total = path.stat().st_size

    @abc.abstractmethod
    def scan(self) -> Iterator[Entry]:
        """Yield every record in order.

        Raises:
            RecordError: the rest of the file cannot be read. The message names the file and the line.
        """

    @abc.abstractmethod
    def read(self, position: tuple[int, int]) -> Any:
        """Return the record at a position from [`RecordFile.scan`].

        Raises:
            RecordError: there is no record at that position any more, since the file was changed.
        """

    def _changed(self, error: Exception) -> RecordError:
        return RecordError(
            f"{self.path} was changed while it was in use ({error}). Start again, and leave the file alone meanwhile."
        )


def open_record_file(path: str | os.PathLike) -> RecordFile:
    """Open a file of training records, and detect its format from its contents.

    Args:
        path (`str` or `os.PathLike`): a JSON list of records, one JSON record per line, or Parquet.

    Raises:
        RecordError: there is no such file, or the file is empty.
        ConfigurationError: the file is Parquet, and pyarrow is not installed.
    """
    check_kind(RecordError, PATH, path=path)
    path = Path(path)
    if not os.path.isfile(path):  # unlike the method of a path, this also takes invalid names
        what = "a folder" if os.path.isdir(path) else "not there"
        raise RecordError(
            f"{named_path(path)} is {what}; expected a file of training records (.json, .jsonl or .parquet)."
        )
    try:
        with open(path, "rb") as stream:
            start = stream.read(_CHUNK)
    except OSError as error:
        raise RecordError(f"{named_path(path)} cannot be read: {error.strerror or error}.") from error
    if start.startswith(b"PAR1"):
        return _ParquetFile(path)
    if start.startswith(_FOREIGN):
        try:
            decode(start)
        except JsonError as problem:
            raise RecordError(f"{path}, {problem}") from problem
    first = start.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
    if not first:
        raise RecordError(f"{path} is empty; expected a JSON list of records, or one record a line.")
    return _ListFile(path) if first == b"[" else _LinesFile(path)


# --- JSON ------------------------------------------------------------------------------------------------------------


class _TextFile(RecordFile):
    """JSON text; a position is (first byte, number of bytes)."""

    def read(self, position: tuple[int, int]) -> Any:
        start, length = position
        with open(self.path, "rb") as stream:
            stream.seek(start)
            data = stream.read(length)
        try:
            return json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise self._changed(error) from error


class _LinesFile(_TextFile):
    """One record per line; blank lines are skipped."""

    def scan(self) -> Iterator[Entry]:
        with open(self.path, "rb") as stream:
            start = 0
            for number, line in enumerate(stream, 1):
                skip = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
                position = (start + skip, len(line) - skip)
                start += len(line)
                if not line.strip():
                    continue
                try:
                    value = json.loads(line[skip:].decode("utf-8"), object_pairs_hook=each_once)
                    yield Entry(number, position, value, "", start)
                except TwiceError as error:
                    yield Entry(number, position, None, str(error), start)
                except (ValueError, RecursionError) as error:  # also for bytes that are not UTF-8
                    yield Entry(number, position, None, f"there is no JSON in the line ({json_fault(error)})", start)


class _ListFile(_TextFile):
    """One list of records."""

    def scan(self) -> Iterator[Entry]:
        with open(self.path, "rb") as stream:
            window = _Window(stream, self.path)
            window.skip_space()
            window.move(window.at + 1)  # the opening bracket, which marks the format
            separator = ""
            window.record = 1
            while (mark := window.skip_space()) != "]":
                if separator:
                    if mark != ",":
                        raise window.error(f"expected a comma or the end of the list, got {mark or 'the end'!r}")
                    window.move(window.at + 1)
                    window.skip_space()
                separator = ","
                start, line = window.byte, window.line
                value, reason = window.value()
                yield Entry(line, (start, window.byte - start), value, reason, window.byte)
                window.record += 1
            window.move(window.at + 1)
            if rest := window.skip_space():
                raise window.error(f"the list has ended, but {rest!r} follows")


class _Window:
    """The part of a JSON text that is in memory, with its byte and line in the file."""

    def __init__(self, stream: BinaryIO, path: Path):
        self.text = ""
        self.at = 0  # index in `text`
        self.byte = len(codecs.BOM_UTF8) if stream.read(3) == codecs.BOM_UTF8 else 0
        self.line = 1
        self.record = 0  # number of the current record, from 1; 0 before the list begins
        self._ended = False
        self._stream = stream
        self._path = path
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._json = json.JSONDecoder(object_pairs_hook=each_once)
        stream.seek(self.byte)

    def error(self, reason: str, place: int | None = None) -> RecordError:
        line = self.line + (0 if place is None else self.text.count("\n", self.at, place))
        which = f": record {self.record}" if self.record else ""
        return RecordError(f"{self._path}, line {line}{which}: {reason}. The file has to be one JSON list of records.")

    def move(self, place: int) -> None:
        passed = self.text[self.at : place]
        self.byte += len(passed) if passed.isascii() else len(passed.encode())
        self.line += passed.count("\n")
        self.at = place

    def skip_space(self) -> str:
        """Move to the next character that is not a space, and return it; empty at the end."""
        while True:
            space = _SPACE.match(self.text, self.at)
            self.move(space.end() if space else self.at)
            if self.at < len(self.text) or self._ended:
                return self.text[self.at : self.at + 1]
            self._grow()

    def value(self) -> tuple[Any, str]:
        """Read the JSON value that begins here, and move past it; returns `None` and the reason for bad values."""
        while True:
            try:
                value, end, reason = self._decode()
            except json.JSONDecodeError as error:
                if self._ended:
                    raise self.error(f"no JSON ({error.msg})", error.pos) from error
            except (ValueError, RecursionError) as error:  # numbers of thousands of digits, brackets a thousand deep
                raise self.error(f"no JSON that can be read ({json_fault(error)})") from error
            else:
                if end < len(self.text) or self._ended:  # else a number may continue
                    self.move(end)
                    return value, reason
            self._grow()

    def _decode(self) -> tuple[Any, int, str]:
        try:
            return *self._json.raw_decode(self.text, self.at), ""
        except TwiceError as error:  # one bad record, after which the list continues
            return None, json.JSONDecoder().raw_decode(self.text, self.at)[1], str(error)

    def _grow(self) -> None:
        data = self._stream.read(max(_CHUNK, len(self.text) - self.at))
        try:
            more = self._utf8.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise self.error(f"from here on, bytes are not UTF-8 ({error.reason})") from error
        self.text, self.at, self._ended = self.text[self.at :] + more, 0, not data


# --- Parquet ---------------------------------------------------------------------------------------------------------


class _ParquetFile(RecordFile):
    """Rows with the keys of a record as columns; a position is (row group, row in it).

    `conversations` and `annotation` are nested columns or JSON text. Frames of an object may be a map or a struct. In
    a struct, every object also has the frames of all others as nulls, which are left out.
    """

    unit = "row"

    def __init__(self, path: Path):
        self.path = path
        self._group: tuple[int, Any] | None = None
        self.total = self._open().metadata.num_rows

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_group": None}

    def _open(self) -> Any:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ConfigurationError(
                f"{self.path} is a Parquet file, which needs pyarrow: pip install 'videorefer-plugin[train]'."
            ) from error
        try:
            return pyarrow.parquet.ParquetFile(self.path)
        except (pyarrow.ArrowException, OSError, ValueError) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception, where: str = "") -> RecordError:
        said = cut(" ".join(str(error).split()), _LONGEST)
        return RecordError(f"{self.path}{where} cannot be read as Parquet ({said}); it may be cut off or damaged.")

    def scan(self) -> Iterator[Entry]:
        import pyarrow

        file = self._open()
        row = 0
        for group in range(file.num_row_groups):
            place = 0
            batches = file.iter_batches(batch_size=_ROWS, row_groups=[group], use_threads=False)
            while True:
                try:
                    batch = next(batches, None)
                except (pyarrow.ArrowException, OSError, ValueError) as error:
                    raise self._damaged(error, f", from row {row + 1} on,") from error
                if batch is None:
                    break
                for value in self._values(batch, row + 1):
                    row += 1
                    try:
                        yield Entry(row, (group, place), _plain(value), "", row)
                    except TwiceError as error:
                        yield Entry(row, (group, place), None, str(error), row)
                    except (ValueError, RecursionError) as error:
                        yield Entry(
                            row,
                            (group, place),
                            None,
                            f"there is no JSON in the text of a column ({json_fault(error)})",
                            row,
                        )
                    place += 1

    def _values(self, batch: Any, first: int) -> list[Any]:
        try:
            return batch.to_pylist(maps_as_pydicts="strict")
        except (KeyError, ValueError, ArithmeticError) as error:  # a doubled frame, no UTF-8, a wrong date
            last = first + batch.num_rows - 1
            raise RecordError(f"{self.path}, row {first} to {last}: a column cannot be read ({error}).") from error

    def read(self, position: tuple[int, int]) -> Any:
        group, place = position
        try:
            if self._group is None or self._group[0] != group:
                # Without threads, since a thread pool does not survive the fork of a worker.
                self._group = group, self._open().read_row_group(group, use_threads=False)
            (value,) = self._group[1].slice(place, 1).to_pylist(maps_as_pydicts="strict")
            return _plain(value)
        except (IndexError, KeyError, ValueError, ArithmeticError, OSError, RecursionError) as error:
            raise self._changed(error) from error


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a row of a table."""
    row = {key: value for key, value in row.items() if value is not None}
    for key in _JSON_COLUMNS:
        if isinstance(row.get(key), str):
            row[key] = json.loads(row[key], object_pairs_hook=each_once)
        elif isinstance(row.get(key), list):
            row[key] = [
                {name: value for name, value in item.items() if value is not None} if isinstance(item, dict) else item
                for item in row[key]
            ]
    return row
