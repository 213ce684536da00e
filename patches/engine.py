"""Describing a patch, installing it when its modules are imported, and undoing it."""

import importlib.metadata
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple

import wrapt
from packaging.specifiers import SpecifierSet

from videorefer_plugin.errors import PatchError

__all__ = ["Changes", "Installation", "Patch", "PatchStatus", "expect_attribute", "expect_parameters"]

_ABSENT = object()


class Changes:
    """The changes of a patch, in order, so that they can be undone exactly."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []

    def __len__(self) -> int:
        return len(self._done)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute of a module or class, whether it exists, is inherited, or is new."""
        self._done.append((owner, name, _own(owner, name), value))
        _put(owner, name, value)

    def add_module(self, name: str, module: ModuleType) -> None:
        """Make a module importable under a name."""
        self.set(sys.modules, name, module)

    def check_undo(self, patch: str) -> None:
        """Check that the changes are still in effect.

        Raises:
            PatchError: other code has changed an attribute since.
        """
        for owner, name, _, value in self._done:
            if _own(owner, name) is not value:
                where = "sys.modules" if owner is sys.modules else getattr(owner, "__name__", repr(owner))
                raise PatchError(
                    f"The patch {patch!r} cannot be undone: other code has changed {name!r} of {where} after "
                    "it. Undo that change first."
                )

    def undo(self, kept: int = 0) -> None:
        """Restore the original values, last change first, until `kept` changes are left."""
        while len(self._done) > kept:
            owner, name, before, _ = self._done.pop()
            _put(owner, name, before)


def _own(owner: Any, name: str) -> Any:
    """The value that `owner` itself holds: inherited attributes do not count, descriptors are returned unbound."""
    if isinstance(owner, dict):
        return owner.get(name, _ABSENT)
    if name == "__bases__":
        return owner.__bases__
    return vars(owner).get(name, _ABSENT)


def _put(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        if value is _ABSENT:
            owner.pop(name, None)
        else:
            owner[name] = value
    elif value is _ABSENT:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


@dataclass(frozen=True)
class Patch:
    """One change to code that this library does not own.

    Args:
        name (`str`): name, which is also that of the file.
        target (`str`): a description of the changed code.
        modules (`tuple[str, ...]`):
            Modules it waits for: it is installed once for each, after the module was imported. Without any, it is
            installed at once.
        transformers (`str`): versions of transformers it is for.
        package (`str`): versions of the patched package it is for.
        why (`str`): the failure without it.
        until (`str`): when it can be removed.
        install (`Callable`):
            Makes the changes, given one of `modules` (or `None`). Raises [`PatchError`] if the code is not the
            expected version; returns a reason if the patch is not needed.
    """

    name: str
    target: str
    modules: tuple[str, ...]
    transformers: str
    package: str
    why: str
    until: str
    install: Callable[[ModuleType | None, Changes], str | None]


class PatchStatus(NamedTuple):
    """The status of a patch.

    Attributes:
        name (`str`): the patch.
        package (`str`): the package it belongs to.
        state (`str`):
            `"off"`, `"waiting"` for a module to be imported, `"applied"`, `"not needed"`, or `"refused"` when that
            module was imported.
        target (`str`): a description of the changed code.
        why (`str`): the failure without it.
        until (`str`): when it can be removed.
        detail (`str`): the modules that it waits for, or the reason why it is not needed or was refused.
    """

    name: str
    package: str
    state: str
    target: str
    why: str
    until: str
    detail: str = ""


class Installation:
    """A patch and its state: off, waiting for modules, or applied."""

    def __init__(self, patch: Patch, package: str):
        self.patch = patch
        self.package = package
        self.active = False
        self._changes = Changes()
        self._waiting: set[str] = set()
        self._seen: dict[str, ModuleType] = {}
        self._not_needed = ""
        self._refusal = ""

    def start(self) -> None:
        """Install the patch, or schedule it for the import of its modules.

        Raises:
            PatchError: the versions or the code are not those that the patch is for.
        """
        patch = self.patch
        _check_version("transformers", patch.transformers, patch.name)
        _check_version(self.package, patch.package, patch.name)
        self.active = True
        self._not_needed = self._refusal = ""
        if not patch.modules:
            self._install(None)
        for name in patch.modules:
            module = sys.modules.get(name)
            if module is None:
                self._wait(name)
            elif name.split(".")[0] == self.package and self._seen.get(name) is not module:
                raise PatchError(
                    f"{name} is imported already, without the patch {patch.name!r}. Call "
                    f"videorefer_plugin.patches.apply({self.package!r}) before the first `import {self.package}`; in "
                    "a notebook, restart the kernel."
                )
            else:
                self._install(module)

    def stop(self) -> None:
        """Undo the patch, or stop waiting for its modules."""
        self.active = False
        self._waiting.clear()
        self._changes.undo()

    def check_undo(self) -> None:
        """Check that the patch can be undone; raises [`PatchError`] otherwise."""
        self._changes.check_undo(self.patch.name)

    def status(self) -> PatchStatus:
        """Return the status of the patch."""
        state, detail = "off", ""
        if self._refusal:
            state, detail = "refused", self._refusal
        elif self._changes:
            state = "applied"
        elif self._not_needed:
            state, detail = "not needed", self._not_needed
        elif self.active:
            state, detail = "waiting", f"for {', '.join(sorted(self._waiting))}"
        if not self.active:
            state, detail = "off", ""
        patch = self.patch
        return PatchStatus(patch.name, self.package, state, patch.target, patch.why, patch.until, detail)

    def _wait(self, name: str) -> None:
        self._waiting.add(name)
        hooked = name in _queues
        queue = _queues.setdefault(name, [])
        if self not in queue:
            queue.append(self)
        if not hooked:  # hooks cannot be removed; one without a patch does nothing
            wrapt.register_post_import_hook(_imported, name)

    def _install(self, module: ModuleType | None) -> None:
        reason = self.patch.install(module, self._changes)
        self._not_needed = reason or ""
        if module is not None:
            self._seen[module.__name__] = module


# By module, the patches that wait for it, in the order in which they are applied. They share one hook, so that if
# one of them refuses the module, all of them are reset as if it had never been imported.
_queues: dict[str, list[Installation]] = {}


def _imported(module: ModuleType) -> None:
    name = module.__name__
    module = sys.modules.get(name, module)  # transformers replaces itself while it is imported
    queue = [each for each in _queues.pop(name) if name in each._waiting]
    started: list[tuple[Installation, int]] = []
    for each in queue:
        started.append((each, len(each._changes)))
        try:
            each._install(module)
        except BaseException as error:
            each._refusal = str(error)
            for other, kept in reversed(started):
                other._changes.undo(kept)
                other._not_needed = ""
            # The import fails, and must fail again when it is repeated, rather than succeed without the patch.
            sys.modules.pop(name, None)
            for other in queue:
                other._wait(name)
            raise
    for each in queue:
        each._refusal = ""
        each._waiting.discard(name)


def _check_version(distribution: str, wanted: str, patch: str) -> None:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return  # for instance in a checkout: the checks of the targets must be enough
    if not SpecifierSet(wanted).contains(version, prereleases=True):
        raise PatchError(
            f"The patch {patch!r} is for {distribution} {wanted}, but {version} is installed. Install a version it is "
            f"for, or leave it out with skip=({patch!r},)."
        )


def expect_attribute(owner: Any, name: str, patch: str) -> Any:
    """Return an attribute that a patch needs.

    Raises:
        PatchError: the attribute does not exist.
    """
    try:
        return getattr(owner, name)
    except AttributeError:
        raise PatchError(
            f"The patch {patch!r} expects {owner.__name__} to have {name!r}, but it does not. This version is not one "
            f"that the patch is for; leave it out with skip=({patch!r},)."
        ) from None


def expect_parameters(owner: Any, name: str, parameters: Sequence[str], patch: str) -> Any:
    """Return a function or method that a patch wraps, having checked the names of its parameters.

    Args:
        owner (`module` or `type`): where it is.
        name (`str`): its name.
        parameters (`Sequence[str]`): the parameters that it must have first, in order, `self` left out.
        patch (`str`): name of the patch.

    Raises:
        PatchError: the function does not exist, or its parameters differ.
    """
    function = expect_attribute(owner, name, patch)
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise PatchError(f"The patch {patch!r} expects {owner.__name__}.{name} to be a function.") from None
    found = [each for each in signature.parameters if each != "self"]
    if found[: len(parameters)] != list(parameters):
        raise PatchError(
            f"The patch {patch!r} expects {owner.__name__}.{name} to take ({', '.join(parameters)}), but it takes "
            f"({', '.join(found)}). This version is not one that the patch is for; leave it out with "
            f"skip=({patch!r},)."
        )
    return function
