"""Files that appear whole or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_whole"]


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
