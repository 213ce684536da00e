"""Paths of this machine, which are nobody else's business and of no use to whoever loads what is saved."""

import os

__all__ = ["without_local_path"]


def without_local_path(name: str | os.PathLike | None) -> str | None:
    """What to write of where a part came from: a Hub id as it is, and of a path no more than its last part.

    Args:
        name (`str` or `os.PathLike`, *optional*): Hub id, name or path.
    """
    if not name:
        return None
    name = os.fspath(name)
    path = os.path.expanduser(name)
    local = os.path.isabs(path) or name.startswith((".", "~")) or "\\" in name or name.count("/") > 1
    if not (local or os.path.exists(path)):
        return name
    return os.path.basename(os.path.normpath(name.replace("\\", "/"))).lstrip(".~") or None
