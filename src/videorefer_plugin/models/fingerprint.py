"""Fingerprints of checkpoints and files, so that results can be matched to the weights and items that made them."""

import functools
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["file_hash", "fingerprint", "tree_fingerprint"]

_WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".txt", ".model")
_WHOLE = 1 << 20  # bytes; of larger files and tensors parts are read
_STEP, _PART = 1 << 20, 1 << 14  # a part in every step: of 15 GB, 240 MB are read


def file_hash(path: str | os.PathLike) -> str:
    """Hash of a whole file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def fingerprint(name: str | os.PathLike, revision: str | None = None) -> str:
    """Return the fingerprint of a checkpoint: of a folder its files, of a Hub id the commit that is used.

    Of a Hub id, `revision` is the branch, tag or commit that was asked for.

    Of large files, parts spread over every tensor are read, so that it takes little time even for many GB.
    """
    folder = Path(name)
    if not folder.is_dir():
        from transformers.utils.hub import resolve_revision

        # Where there is no such repository, loading says so.
        return str(getattr(resolve_revision(name, revision), "resolved", None))
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix in _WEIGHTS:
            digest.update(f"{path.name} {path.stat().st_size}\n".encode())
            digest.update(_content(path))
    return digest.hexdigest()[:16]


def tree_fingerprint(folder: str | os.PathLike) -> str:
    """Return the fingerprint of all files in a folder and its subfolders, read as `fingerprint` does."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(_content(path))
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    status = path.stat()
    if status.st_size <= _WHOLE:
        return path.read_bytes()
    return _digest(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _digest(path: Path, size: int, mtime_ns: int) -> bytes:
    """Hash of parts of a large file, which is read again once it has changed."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for begin, end in _tensors(stream, size) if path.suffix == ".safetensors" else [(0, size)]:
            for part in _parts(begin, end):
                stream.seek(part.start)
                digest.update(stream.read(len(part)))
    return digest.digest()


def _tensors(stream: BinaryIO, size: int) -> list[tuple[int, int]]:
    """The spans of the header and of the tensors in a file of safetensors; the whole file if it is not one."""
    length = int.from_bytes(stream.read(8), "little")
    if length > size:
        return [(0, size)]
    try:
        header = json.loads(stream.read(length))
        places = [one["data_offsets"] for name, one in header.items() if name != "__metadata__"]
        spans = sorted((8 + length + int(begin), 8 + length + int(end)) for begin, end in places)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return [(0, size)]  # loading will report the fault
    if any(not 0 <= begin <= end <= size for begin, end in spans):
        return [(0, size)]
    return [(0, 8 + length), *spans]


def _parts(begin: int, end: int) -> Iterator[range]:
    """The parts of a span that are read: all of a small one, else a part per step, with its first and last bytes."""
    if end - begin <= _WHOLE:
        yield range(begin, end)
        return
    count = -(-(end - begin) // _STEP) + 1
    for number in range(count):
        start = begin + (end - begin - _PART) * number // (count - 1)
        yield range(start, start + _PART)
