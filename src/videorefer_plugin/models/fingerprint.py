"""Which weights a checkpoint has, and which items a file: what makes answers of other files other answers."""

import hashlib
import os
from pathlib import Path

__all__ = ["file_hash", "fingerprint", "tree_fingerprint"]

_WEIGHTS = (".safetensors", ".bin", ".json", ".jinja", ".txt", ".model")
_WHOLE = 1 << 20  # bytes; of larger files parts are read
_PARTS, _PART = 64, 1 << 14


def file_hash(path: str | os.PathLike) -> str:
    """Hash of a whole file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def fingerprint(name: str | os.PathLike, revision: str | None = None) -> str:
    """What tells a checkpoint from others: of a folder its files, of a Hub id the commit that is used.

    Of a Hub id, `revision` is the branch, tag or commit that was asked for.

    Of large files, parts spread over them are read, so that it takes no time even for many GB.
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
    """What tells a folder from others by all files in it and in its folders, read as `fingerprint` does."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
            digest.update(_content(path))
    return digest.hexdigest()[:16]


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    with open(path, "rb") as stream:
        if size <= _WHOLE:
            return stream.read()
        parts = []
        for number in range(_PARTS):
            stream.seek((size - _PART) * number // (_PARTS - 1))
            parts.append(stream.read(_PART))
        return b"".join(parts)
