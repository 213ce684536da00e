"""What a data set has to know of every record of a file; it is kept beside the file, so that the next start is quick.

The scan of `records.json` is kept in `records.json.scan`. It holds what follows from the records alone. Whether their
media are there is looked up at every start, and bad records are read again, as are those with objects at times, for
which the video has to be opened: what is found, and in which words, is the same with a kept scan and without.
"""

import hashlib
import json
import logging
import os
import platform
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

import videorefer_plugin
from videorefer_plugin._files import write_whole
from videorefer_plugin.errors import RecordError
from videorefer_plugin.training.record_files import Entry, RecordFile
from videorefer_plugin.training.record_names import BadRecordError, record_name
from videorefer_plugin.training.records import (
    KINDS,
    Record,
    media_path,
    read_entry,
    read_records,
    require_media,
)
from videorefer_plugin.video import Video

__all__ = ["Row", "digest_of", "scan_path", "scan_records"]

logger = logging.getLogger(__name__)

_FORMAT = 1  # raise it when other things are kept, or records are checked in another way
_MAGIC = b"videorefer-plugin scan\n"
_MOST_BYTES = 1 << 30  # of a kept scan; about ten million records
_PIECE = 1 << 20  # bytes read together
_AT_ONCE = 1 << 14  # records that are unpacked together
_CHARACTERS_PER_TOKEN = 4  # of English text, roughly: lengths only serve to group records of like length
_TEMPLATE_TOKENS = 10  # around the two messages of a turn

_GOOD, _UNREADABLE, _AGAIN = range(3)  # whose reason is kept; which is read at every start
# What is kept of every record: name -> type. Of each object, "seen" has in how many frames it can be seen.
_COLUMNS = {
    "line": "q",
    "start": "q",
    "length": "q",
    "state": "b",
    "kind": "b",
    "media": "q",  # index of the name, -1 without
    "text": "q",
    "objects": "q",
    "key": "Q",
}
_SEEN, _TEXTS = "seen", "texts"


class Row(NamedTuple):
    """What a data set knows of a usable record.

    Attributes:
        position (`tuple[int, int]`): where [`RecordFile.read`] finds it again.
        kind (`int`): index into `KINDS`.
        text (`int`): estimate of its tokens without visual and objects.
        seen (`list[int]`): of each object, in how many frames it can be seen.
        key (`int`): digest of its id and of its place in the file.
    """

    position: tuple[int, int]
    kind: int
    text: int
    seen: list[int]
    key: int


def scan_path(path: str | os.PathLike) -> Path:
    """Where the scan of a file of records is kept."""
    return Path(f"{os.fspath(path)}.scan")


def scan_records(
    file: RecordFile, media_root: str | os.PathLike | None = None, keep: bool = True
) -> Iterator[tuple[int, Row | RecordError]]:
    """Yield line (or row) and what is to be known of every record of a file in order, or why it cannot be used.

    A kept scan counts if the file has the same size and the same SHA-256 digest of all of its bytes as when it was
    made, whatever its time, and if it was made by this version of the library and of Python. Any other is ignored and
    replaced, as is one that is damaged. One is kept when all has been yielded, unless the file was changed in the
    meantime; where it cannot be written, nothing is kept. The log says (at level INFO) what was done.

    Args:
        file ([`RecordFile`]): the file.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative paths start from; the file's by default.
        keep (`bool`, *optional*, defaults to `True`): whether a kept scan is used and made.

    Raises:
        RecordError: the file as a whole cannot be read.
    """
    before = _state(file.path)
    kept = _read(file) if keep else None
    if kept is not None:
        yield from kept.rows(file, media_root)
        return
    made = _Scan()
    for number, (entry, record) in enumerate(read_records(file, media_root)):
        row = record if isinstance(record, RecordError) else _row(number, entry.position, record)
        made.add(entry, record, row)
        yield entry.line, row
    if keep:
        _write(made, file, before)


def digest_of(name: str) -> int:
    """A number for a text, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _row(number: int, position: tuple[int, int], record: Record) -> Row:
    turns = record.conversations
    text = sum(len(turn["content"]) for turn in turns) // _CHARACTERS_PER_TOKEN + _TEMPLATE_TOKENS * len(turns) // 2
    seen = [len(frames) for frames in record.seen]
    return Row(position, KINDS.index(record.kind), text, seen, digest_of(f"{record.id}#{number}"))


class _DamagedError(ValueError):
    """A kept scan that cannot be used; the message says why."""


class _Scan:
    """What was found in a file, in columns: one value a record, bad ones included."""

    def __init__(self) -> None:
        self._columns = {name: array(code) for name, code in _COLUMNS.items()}
        self._seen = array("q")
        self._names: dict[str, int] = {}  # of media, as records have them -> index
        self._reasons: list[str] = []  # of records that are unreadable, in order

    def add(self, entry: Entry, record: Record | RecordError, row: Row | RecordError) -> None:
        """Take note of the next record."""
        state, media = _GOOD, -1
        if isinstance(record, RecordError) or isinstance(row, RecordError):
            state, row = _AGAIN, Row(entry.position, 0, 0, [], 0)
            if entry.reason:
                state = _UNREADABLE
                self._reasons.append(entry.reason)
        elif isinstance(record.opened, Video):
            state = _AGAIN  # times of its objects became frames of the video
        elif record.visual:
            media = self._names.setdefault(entry.value[record.kind], len(self._names))
        self._seen.extend(row.seen)
        values = (entry.line, *entry.position, state, row.kind, media, row.text, len(row.seen), row.key)
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def rows(self, file: RecordFile, media_root: str | os.PathLike | None) -> Iterator[tuple[int, Row | RecordError]]:
        """Yield what [`scan_records`] does."""
        names, reasons, seen = list(self._names), iter(self._reasons), iter(self._seen)
        missing: dict[tuple[int, int], RecordError | None] = {}  # kind and index of a name -> that it is not there
        source = str(file.path)
        for number, values in enumerate(zip(*self._columns.values(), strict=True)):
            line, start, length, state, kind, media, text, objects, key = values
            own = [next(seen) for _ in range(objects)]
            if state == _GOOD:
                if media >= 0 and (kind, media) not in missing:
                    missing[kind, media] = _missing(names[media], KINDS[kind], source, media_root)
                lacks = missing.get((kind, media))
                if lacks is not None:
                    lacks = BadRecordError(str(lacks), record_name(file.read((start, length))))
                yield line, lacks or Row((start, length), kind, text, own, key)
                continue
            position = (start, length)
            value, reason = (None, next(reasons)) if state == _UNREADABLE else (file.read(position), "")
            record = read_entry(Entry(line, position, value, reason, 0), source, media_root)
            yield line, record if isinstance(record, RecordError) else _row(number, position, record)

    def to_bytes(self, about: dict[str, Any]) -> bytes:
        """Everything, as it is written to a file."""
        texts = {"about": about, "names": list(self._names), "reasons": self._reasons}
        arrays = {name: np.frombuffer(column, column.typecode) for name, column in self._columns.items()}
        arrays[_SEEN] = np.frombuffer(self._seen, "q")
        arrays[_TEXTS] = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        data = save(arrays)
        return _MAGIC + hashlib.sha256(data).digest() + data

    @classmethod
    def from_bytes(cls, data: bytes, about: dict[str, Any]) -> "_Scan":
        """Read what `to_bytes` wrote about the same.

        Raises:
            _DamagedError: it is something else.
        """
        head = len(_MAGIC)
        digest, data = data[head : head + 32], data[head + 32 :]
        if hashlib.sha256(data).digest() != digest:
            raise _DamagedError("it is damaged")
        try:
            arrays = load(data)
            texts = json.loads(arrays[_TEXTS].tobytes())
            made = cls()
            if texts["about"] != about:
                raise _DamagedError("it is of another file, of this one before it was changed, or of another version")
            for name, column in (*made._columns.items(), (_SEEN, made._seen)):
                column.frombytes(arrays[name].astype(column.typecode, casting="no").tobytes())
            made._names = {str(name): index for index, name in enumerate(texts["names"])}
            made._reasons = [str(reason) for reason in texts["reasons"]]
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise error if isinstance(error, _DamagedError) else _DamagedError(f"it is damaged: {error}") from error
        made._check()
        return made

    def _check(self) -> None:
        """Refuse what no scan makes, so that nothing is looked up where it is not."""
        columns = {name: np.frombuffer(column, column.typecode) for name, column in self._columns.items()}
        state, seen = columns["state"], np.frombuffer(self._seen, "q")
        fits = (
            len({len(column) for column in columns.values()}) == 1
            and _all_in(columns["kind"], 0, len(KINDS))
            and _all_in(columns["media"], -1, len(self._names))
            and all(_all_in(columns[name], 0, None) for name in ("line", "start", "length", "text", "objects"))
            and _all_in(state, 0, _AGAIN + 1)
            and int(columns["objects"].sum()) == len(seen)
            and int((state == _UNREADABLE).sum()) == len(self._reasons)
        )
        if not fits:
            raise _DamagedError("its parts do not belong together")


def _all_in(values: np.ndarray, low: int, high: int | None) -> bool:
    return bool((values >= low).all()) and (high is None or bool((values < high).all()))


def _missing(name: str, kind: str, source: str, media_root: str | os.PathLike | None) -> RecordError | None:
    try:
        require_media(kind, media_path(name, kind, source, media_root))
    except RecordError as error:
        return error
    return None


# --- files -----------------------------------------------------------------------------------------------------------


def _read(file: RecordFile) -> _Scan | None:
    """The kept scan of a file; `None` if there is none that can be used."""
    path = scan_path(file.path)
    if not os.path.lexists(path):
        return None
    try:
        if not path.is_file():
            raise _DamagedError("it is no file")
        if path.stat().st_size > _MOST_BYTES:
            raise _DamagedError("it is too large")
        with open(path, "rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise _DamagedError("it is something else")
        kept = _Scan.from_bytes(path.read_bytes(), _about(file.path))
    except (OSError, _DamagedError) as error:
        logger.info("%s is scanned anew, since %s cannot be used: %s.", file.path, path, error)
        return None
    logger.info("The scan of %s is taken from %s.", file.path, path)
    return kept


def _write(made: _Scan, file: RecordFile, before: tuple[int, ...]) -> None:
    path = scan_path(file.path)
    try:
        data = made.to_bytes(_about(file.path))
        if _state(file.path) != before:
            logger.info("The scan of %s is not kept: the file was changed in the meantime.", file.path)
            return
        if len(data) > _MOST_BYTES:
            logger.info("The scan of %s is not kept: it would take %d bytes.", file.path, len(data))
            return
        write_whole(path, data)
    except OSError as error:
        logger.info("The scan of %s is not kept: %s.", file.path, error)
    else:
        logger.info("The scan of %s is kept in %s.", file.path, path)


def _state(path: Path) -> tuple[int, ...]:
    found = os.stat(path)
    return found.st_size, found.st_mtime_ns, found.st_ino


def _about(path: Path) -> dict[str, Any]:
    """What a kept scan depends on."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return {
        "format": _FORMAT,
        "library": videorefer_plugin.__version__,
        "python": platform.python_version(),  # whose words stand in some reasons
        "size": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }
