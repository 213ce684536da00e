"""Paths of this machine, which are private, and useless to the users of a saved model."""

import os

__all__ = ["without_local_path"]


def without_local_path(name: str | os.PathLike | None) -> str | None:
    """Shorten the origin of a part for saving: a Hub id is kept, of a path only the last part.

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
