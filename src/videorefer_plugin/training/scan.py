"""Scans of files: data about every record, which is kept beside the file so that the next start is quick.

The scan of `records.json` is kept in `records.json.scan`. It has only data that follows from the records. The
existence of media is checked at every start. Bad records, and records with objects at times, for which the video has
to be opened, are read again: results and messages are the same with a kept scan and without.
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

_FORMAT = 1  # increase it when the kept data or the checks of records change
_MAGIC = b"videorefer-plugin scan\n"
_MOST_BYTES = 1 << 30  # of a kept scan; about ten million records
_PIECE = 1 << 20  # bytes read together
_AT_ONCE = 1 << 14  # records that are unpacked together
_CHARACTERS_PER_TOKEN = 4  # roughly, of English text; lengths are only for grouping records
_TEMPLATE_TOKENS = 10  # around the two messages of a turn

_GOOD, _UNREADABLE, _AGAIN = range(3)  # the reason of the second is kept; the third is read at every start
# Kept data of every record: name -> type. For each object, "seen" has the number of frames in which it is visible.
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
    """The data that a data set keeps about a usable record.

    Attributes:
        position (`tuple[int, int]`): position for [`RecordFile.read`].
        kind (`int`): index into `KINDS`.
        text (`int`): estimated number of tokens without visual and objects.
        seen (`list[int]`): for each object, the number of frames in which it is visible.
        key (`int`): digest of the record's id and its number in the file.
    """

    position: tuple[int, int]
    kind: int
    text: int
    seen: list[int]
    key: int


def scan_path(path: str | os.PathLike) -> Path:
    """Return the path of the kept scan of a file of records."""
    return Path(f"{os.fspath(path)}.scan")


def scan_records(
    file: RecordFile, media_root: str | os.PathLike | None = None, keep: bool = True
) -> Iterator[tuple[int, Row | RecordError]]:
    """Yield the line (or row) and the data of every record of a file in order, or the error of an unusable record.

    A kept scan is used if the file has the same size and SHA-256 digest as when the scan was made, and if this version
    of the library and of Python made it. Any other scan is ignored and replaced, as is a damaged one. The scan is
    written after all records were yielded, unless the file was changed in the meantime; if it cannot be written,
    nothing is kept. The log reports this at level INFO.

    Args:
        file ([`RecordFile`]): the file.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative paths start from; the file's by default.
        keep (`bool`, *optional*, defaults to `True`): whether a kept scan is used and written.

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
    """Return a number for a text, which is the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")


def _row(number: int, position: tuple[int, int], record: Record) -> Row:
    turns = record.conversations
    text = sum(len(turn["content"]) for turn in turns) // _CHARACTERS_PER_TOKEN + _TEMPLATE_TOKENS * len(turns) // 2
    seen = [len(frames) for frames in record.seen]
    return Row(position, KINDS.index(record.kind), text, seen, digest_of(f"{record.id}#{number}"))


class _DamagedError(ValueError):
    """A kept scan cannot be used; the message gives the reason."""


class _Scan:
    """The data of a file's records in columns, with one value for each record, bad ones included."""

    def __init__(self) -> None:
        self._columns = {name: array(code) for name, code in _COLUMNS.items()}
        self._seen = array("q")
        self._names: dict[str, int] = {}  # names of media in records -> index
        self._reasons: list[str] = []  # reasons of unreadable records, in order

    def add(self, entry: Entry, record: Record | RecordError, row: Row | RecordError) -> None:
        """Add the next record."""
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
        """Yield the same as [`scan_records`]."""
        names, reasons, seen = list(self._names), iter(self._reasons), iter(self._seen)
        missing: dict[tuple[int, int], RecordError | None] = {}  # kind and index of a name -> error of a missing file
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
        """Return the contents of the scan's file."""
        texts = {"about": about, "names": list(self._names), "reasons": self._reasons}
        arrays = {name: np.frombuffer(column, column.typecode) for name, column in self._columns.items()}
        arrays[_SEEN] = np.frombuffer(self._seen, "q")
        arrays[_TEXTS] = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        data = save(arrays)
        return _MAGIC + hashlib.sha256(data).digest() + data

    @classmethod
    def from_bytes(cls, data: bytes, about: dict[str, Any]) -> "_Scan":
        """Read the contents that `to_bytes` wrote for the same file.

        Raises:
            _DamagedError: the data is something else.
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
        """Refuse invalid values, so that all lookups succeed."""
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
    """Return the kept scan of a file; `None` if there is no usable one."""
    path = scan_path(file.path)
    if not os.path.lexists(path):
        return None
    try:
        if not path.is_file():
            raise _DamagedError("it is not a file")
        if path.stat().st_size > _MOST_BYTES:
            raise _DamagedError("it is too large")
        with open(path, "rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise _DamagedError("it is something else")
        kept = _Scan.from_bytes(path.read_bytes(), _about(file.path))
    except (OSError, _DamagedError) as error:
        logger.info("%s is scanned again, since %s cannot be used: %s.", file.path, path, error)
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
    """Return everything that a kept scan depends on."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return {
        "format": _FORMAT,
        "library": videorefer_plugin.__version__,
        "python": platform.python_version(),  # some reasons contain its messages
        "size": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }
