"""The registry of layouts of sources. A new layout is a function in its own file and one line here."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable, Iterator

from videorefer_plugin._plugins import load_plugins
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["layouts", "make_reader", "register_layout"]

Reader = Callable[[SourceSettings], Iterator[Candidate | LeftOut]]

_PATHS: dict[str, str] = {}


def register_layout(name: str, path: str) -> None:
    """Register a layout under a name.

    Args:
        name (`str`): name of the layout in recipes.
        path (`str`): path of its reader, `"package.module:function"`, which takes the [`SourceSettings`] and yields a
            [`Candidate`] or a [`LeftOut`] for each entry.

    Raises:
        ConfigurationError: the path has no function, or another layout has the name.
    """
    if path.count(":") != 1:
        raise ConfigurationError(f"The layout {name!r} is at {path!r}; expected 'package.module:function'.")
    if _PATHS.get(name, path) != path:
        raise ConfigurationError(f"There is a layout {name!r} already; register this one under another name.")
    _PATHS[name] = path


def layouts() -> tuple[str, ...]:
    """Return the names of all layouts, in alphabetical order."""
    load_plugins()
    return tuple(sorted(_PATHS))


def make_reader(name: str) -> Reader:
    """Return the function that reads a layout.

    Args:
        name (`str`): name of a registered layout, or `"package.module:function"`.

    Raises:
        EngineError: the layout is unknown, or cannot be imported.
    """
    if isinstance(name, str) and name.count(":") != 1 and name not in _PATHS:
        load_plugins()
    if name not in _PATHS and (not isinstance(name, str) or name.count(":") != 1):
        close = difflib.get_close_matches(str(name), layouts(), n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise EngineError(
            f"There is no layout {name!r} of sources; expected one of {', '.join(layouts())}, or "
            f"'package.module:function' of your own.{hint}"
        )
    module, function = _PATHS.get(name, name).split(":")
    try:
        found: Reader = getattr(importlib.import_module(module), function)
    except Exception as error:  # a module of a user may raise anything
        raise EngineError(
            f"The layout {name!r} cannot be imported from {module}:{function}: {type(error).__name__}: {error}"
        ) from error
    return found


_SOURCES = "videorefer_plugin.data_engine.sources"

register_layout("table", f"{_SOURCES}.table:read_table")
register_layout("folder", f"{_SOURCES}.folder:read_folder")
register_layout("panda-70m", f"{_SOURCES}.panda:read_panda")
register_layout("refcoco", f"{_SOURCES}.refcoco:read_refcoco")
register_layout("mevis", f"{_SOURCES}.mevis:read_mevis")
register_layout("ref-youtube-vos", f"{_SOURCES}.ref_youtube_vos:read_ref_youtube_vos")
register_layout("a2d-sentences", f"{_SOURCES}.a2d_sentences:read_a2d_sentences")
