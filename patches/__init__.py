"""Runtime patches for code bases that this library does not own, applied without editing them.

```python
from videorefer_plugin import patches

patches.apply("videollama2")  # before the first `import videollama2`
```

A folder here belongs to one package, and a file in it to one patch, with its target, the versions that it is for, the
reason, and when it can be removed. Modules that are not imported yet are patched on import, so applying is fast.

Modules here import each other relatively: type checkers that work on the checkout see this folder as `patches`.
"""

import importlib
import threading
from collections.abc import Collection

from videorefer_plugin._text import short
from videorefer_plugin.errors import PatchError

from .engine import Changes, Installation, Patch, PatchStatus

__all__ = ["Changes", "Patch", "PatchStatus", "apply", "status", "undo"]

PACKAGES = ("videollama2",)

_installations: dict[str, list[Installation]] = {}
_lock = threading.RLock()


def apply(package: str, *, skip: tuple[str, ...] = ()) -> list[PatchStatus]:
    """Apply the patches of a package. Calling it again changes nothing.

    Patches of modules that are not imported yet wait for the import. If one patch is refused, none is applied.

    Args:
        package (`str`): import name of the package: `"videollama2"`.
        skip (`tuple[str, ...]`, *optional*): names of patches to leave out.

    Returns:
        `list[PatchStatus]`: the status of each patch.

    Raises:
        PatchError: the package or a name is unknown, the package is already imported, or the code is not the version
            that a patch is for. If a patch has to wait, the import of its module raises the error.
    """
    with _lock:
        installations = _find(package)
        if (
            isinstance(skip, str)
            or not isinstance(skip, Collection)
            or not all(isinstance(each, str) for each in skip)
        ):
            raise PatchError(f"skip must hold names of patches, as in skip=('regions',), but is {short(skip)}.")
        unknown = sorted(set(skip) - {each.patch.name for each in installations})
        if unknown:
            raise PatchError(
                f"skip names {', '.join(map(repr, unknown))}, but the patches of {package!r} are "
                f"{', '.join(each.patch.name for each in installations)}."
            )
        started = []
        try:
            for each in installations:
                if not each.active and each.patch.name not in skip:
                    started.append(each)
                    each.start()
        except BaseException:
            for each in reversed(started):
                each.stop()
            raise
        return [each.status() for each in installations]


def undo(package: str) -> list[PatchStatus]:
    """Remove the patches of a package, last first, and restore the original code. Without patches, nothing is done.

    Models built in the meantime keep their parts, such as an object encoder.

    Args:
        package (`str`): import name of the package.

    Returns:
        `list[PatchStatus]`: the status of each patch.

    Raises:
        PatchError: the package is unknown, or other code changed an attribute of a patch; then nothing is undone.
    """
    with _lock:
        installations = _find(package)
        for each in installations:
            each.check_undo()
        for each in reversed(installations):
            each.stop()
        return [each.status() for each in installations]


def status(package: str | None = None) -> list[PatchStatus]:
    """Return the status of each patch.

    Args:
        package (`str`, *optional*): import name of a package; all of them by default.

    Raises:
        PatchError: the package is unknown.
    """
    with _lock:
        return [each.status() for name in (PACKAGES if package is None else (package,)) for each in _find(name)]


def _find(package: str) -> list[Installation]:
    if not isinstance(package, str) or package not in PACKAGES:
        raise PatchError(f"There are no patches for {short(package)}; there are for {', '.join(map(repr, PACKAGES))}.")
    if package not in _installations:
        patches = importlib.import_module(f"{__name__}.{package}").PATCHES
        _installations[package] = [Installation(patch, package) for patch in patches]
    return _installations[package]
