"""Arguments for fetching files from the Hub, and the repositories to which each of them applies."""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

__all__ = [
    "HUB_ARGUMENTS",
    "elsewhere",
    "fetched_with",
    "fetching",
    "hub_arguments",
    "in_subfolder",
    "pinned",
    "refetched_with",
]

HUB_ARGUMENTS = ("cache_dir", "force_download", "local_files_only", "proxies", "revision", "subfolder", "token")
_OF_ONE_REPOSITORY = ("revision", "subfolder")

_current: ContextVar[dict[str, Any]] = ContextVar("hub arguments of the configuration that is being read")


def hub_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Select the keyword arguments for fetching files."""
    return {name: kwargs[name] for name in HUB_ARGUMENTS if kwargs.get(name) is not None}


def pinned(name: str | os.PathLike, hub: dict[str, Any]) -> dict[str, Any]:
    """Pin the arguments to a repository's commit, so that all files of one load come from the same one.

    Args:
        name (`str` or `os.PathLike`): folder, which has no commits, or Hub id.
        hub (`dict`): the result of [`hub_arguments`].
    """
    from transformers.utils.hub import resolve_revision  # imported here, since it is slow

    known = {key: hub[key] for key in ("token", "local_files_only", "cache_dir") if key in hub}
    revision = resolve_revision(name, hub.get("revision"), **known)
    return hub if revision is None else {**hub, "revision": revision}


def elsewhere(hub: dict[str, Any]) -> dict[str, Any]:
    """Select the arguments that apply to another repository as well, such as the vision tower's."""
    return {name: value for name, value in hub.items() if name not in _OF_ONE_REPOSITORY}


def refetched_with(hub: dict[str, Any]) -> dict[str, Any]:
    """Select the arguments that find more files of the same commit later; without the token, which is not stored."""
    kept = {name: hub[name] for name in ("cache_dir", "local_files_only", *_OF_ONE_REPOSITORY) if name in hub}
    if "revision" in kept:
        kept["revision"] = getattr(kept["revision"], "resolved", kept["revision"])
    return kept


def in_subfolder(name: str | os.PathLike, hub: dict[str, Any]) -> str:
    """Return the folder of a checkpoint's files if the checkpoint is local."""
    return os.path.join(name, hub.get("subfolder", "")) if hub.get("subfolder") else os.fspath(name)


@contextlib.contextmanager
def fetching(hub: dict[str, Any]) -> Iterator[None]:
    """Tell [`fetched_with`] how the files of a configuration are fetched.

    transformers reads `config.json` and hands no more than its content to `from_dict`, but a configuration in the
    original layout needs other files too: the tokenizer's beside it, and the vision tower's.
    """
    token = _current.set(hub)
    try:
        yield
    finally:
        _current.reset(token)


def fetched_with() -> dict[str, Any]:
    """How the files of the configuration that is being read are fetched; empty outside of that."""
    return _current.get({})
