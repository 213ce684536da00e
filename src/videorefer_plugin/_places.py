"""Paths that a user gives: reading them, and checking that they can be written, with one form of message.

The caller passes the class of error to raise.
"""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin._text import cut
from videorefer_plugin.errors import VideoReferError

__all__ = ["check_file_place", "check_folder_place", "named_path", "read_file", "same_file", "writing"]

_LONGEST = 200  # characters of a path in a message

Path_ = str | os.PathLike


def named_path(path: Path_) -> str:
    """Return a path for messages, shortened and without characters that cannot be printed."""
    text = os.fspath(path)
    return cut(text if text.isprintable() and text else repr(text), _LONGEST)


def read_file(path: Path_, error: type[VideoReferError], most: int | None = None) -> bytes:
    """Return the bytes of a file.

    Args:
        path: of the file.
        error: the class of error to raise.
        most (`int`, *optional*): the most bytes that it may have.

    Raises:
        VideoReferError: of the given class: the file does not exist, cannot be read or is too long, or the path is a
            folder, a pipe or a device, whose content may never end.
    """
    check_kind(error, PATH, path=path)
    try:
        # Without blocking, so that a pipe without a writer is refused, too.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(handle, "rb") as stream:
            what = _what(os.fstat(handle).st_mode)
            if what != "a file":
                raise error(f"{named_path(path)} cannot be read: it is {what}; expected a file.")
            data = stream.read(-1 if most is None else most + 1)
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL; our own errors are one, too
        if isinstance(problem, VideoReferError):
            raise
        raise error(f"{named_path(path)} cannot be read: {_reason(problem)}.") from problem
    if most is not None and len(data) > most:
        raise error(f"{named_path(path)} has more than {most} bytes, which is too many for what it should hold.")
    return data


def check_file_place(
    path: Path_, error: type[VideoReferError], *, made: bool = False, avoid: dict[str, Any] | None = None
) -> Path:
    """Make sure that a file can be written, before its content is computed.

    A file is created beside it and removed again, which is the only test that works on every file system.

    Args:
        path: of the file.
        error: the class of error to raise.
        made (`bool`): whether the folder is created if it does not exist; otherwise it must exist.
        avoid (`dict`, *optional*): description -> path that must not be overwritten, such as the input.

    Raises:
        VideoReferError: of the given class: the name is empty, too long or impossible, the path is a folder or a
            device, or its folder does not exist or cannot be written.
    """
    place = _checked(path, error, "a file")
    for what, other in (avoid or {}).items():
        if same_file(place, other):
            raise error(f"{named_path(path)} is {what} itself, which would be overwritten. Choose another name.")
    real = Path(os.path.realpath(place)) if place.is_symlink() else place
    _probe(place, real.parent, error, made)
    return place


def check_folder_place(path: Path_, error: type[VideoReferError]) -> Path:
    """Make sure that files can be written into a folder, which need not exist yet; nothing is created.

    Args:
        path: of the folder.
        error: the class of error to raise.

    Raises:
        VideoReferError: of the given class: the name is empty, too long or impossible, the path or one of its parents
            is a file, or the folder cannot be written.
    """
    place = _checked(path, error, "a folder")
    _probe(place, place, error, made=True)
    return place


@contextlib.contextmanager
def writing(path: Path_, error: type[VideoReferError], also: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn errors that occur during writing into an error of the given class.

    Args:
        path: the path that is written.
        error: the class of error to raise.
        also: errors that a library raises for this besides `OSError`.

    Raises:
        VideoReferError: of the given class.
    """
    failures: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except failures as problem:
        if isinstance(problem, VideoReferError):
            raise
        raise error(
            f"{named_path(path)} cannot be written: {_reason(problem)}. Make room or rights there, or choose another "
            "path."
        ) from problem


def same_file(one: Path_, other: Any) -> bool:
    """Whether two paths lead to the same file; a value that is not the path of a file never does."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError, TypeError):
        return False


def _checked(path: Path_, error: type[VideoReferError], wanted: str) -> Path:
    check_kind(error, PATH, path=path)
    if not os.fspath(path):
        raise error(f"The name of {wanted} to write is empty. Give a name.")
    try:
        what = _what(os.stat(path).st_mode)
    except FileNotFoundError:
        what = wanted
    except (OSError, ValueError) as problem:  # ValueError: a NUL
        raise error(f"{named_path(path)} cannot be written: {_reason(problem)}. Choose another path.") from problem
    if what != wanted:
        raise error(f"{named_path(path)} cannot be written: it is {what}; expected {wanted}. Choose another name.")
    return Path(path)


def _probe(place: Path, folder: Path, error: type[VideoReferError], made: bool) -> None:
    """Make sure that something can be created in a folder, or in its first parent that exists."""
    there = folder
    while not there.exists():
        if not made:
            raise error(f"There is no folder {named_path(there)!r} to write {place.name!r} into; make it first.")
        there = there.parent
    if not there.is_dir():
        raise error(
            f"{named_path(place)} cannot be written: {named_path(there)} is not a folder. Choose another path."
        )
    with writing(place, error):
        handle, name = tempfile.mkstemp(prefix=".videorefer-", dir=there)
        os.close(handle)
        os.unlink(name)


def _what(mode: int) -> str:
    kinds = {stat.S_ISREG: "a file", stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}
    return next((what for is_kind, what in kinds.items() if is_kind(mode)), "a device")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).rstrip(".")
