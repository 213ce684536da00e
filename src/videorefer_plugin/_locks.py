"""Locks that let one process at a time use a folder or a file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videorefer_plugin.errors import ConfigurationError

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FileLock", "LedgerError"]


class LedgerError(Exception):
    """A ledger cannot be used. The message gives the reason; callers turn it into one of their errors, with advice.

    Attributes:
        reason (`str`): `"busy"`: another process writes it; `"place"`: it cannot be read or written;
            `"content"`: it is damaged, or belongs to other work.
    """

    def __init__(self, message: str, reason: str = "content") -> None:
        super().__init__(message)
        self.reason = reason


class FileLock:
    """Keeps other processes away until it is released, or the process ends.

    Args:
        path (`Path`): of the lock file, which is removed when the lock is released.
        seconds (`float`, *optional*, defaults to 0): how long to wait for another process to release it.

    Raises:
        LedgerError: another process holds it (`"busy"`), or the file cannot be written (`"place"`).
        ConfigurationError: `filelock` is not installed.
    """

    def __init__(self, path: Path, seconds: float = 0) -> None:
        locks = _filelock()
        self._path = path
        self._lock = locks.FileLock(path)
        try:
            self._lock.acquire(timeout=seconds)
        except locks.Timeout:
            raise LedgerError(f"{path} is held by another process.", "busy") from None
        except OSError as error:
            raise LedgerError(f"{path} cannot be written ({error.strerror or error}).", "place") from error

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *error: Any) -> None:
        self.release()

    def release(self) -> None:
        """Release the lock."""
        if self._lock.is_locked:
            if os.name == "posix":  # removed while it is held: the next process creates a new file
                self._path.unlink(missing_ok=True)
            self._lock.release()


def _filelock() -> Any:
    try:
        import filelock
    except ImportError as error:
        raise ConfigurationError(
            "Work that goes on where it was stopped needs the package filelock: pip install "
            "'videorefer-plugin[engine]', 'videorefer-plugin[bench]', 'videorefer-plugin[segment]' or "
            "'videorefer-plugin[train]'."
        ) from error
    return filelock
