"""Packages that bring hosts, segmenters, benchmarks, agents or layouts of their own, found by an entry point."""

import threading
import traceback
import warnings
from importlib.metadata import EntryPoint, entry_points

__all__ = ["GROUP", "load_plugins"]

GROUP = "videorefer_plugin.plugins"
"""Entry points of this group name functions without arguments, which call `register_host` and its like."""

_lock = threading.RLock()  # a plugin may look something up while it registers
_started = False


def load_plugins() -> None:
    """Let every installed package register what it brings; done once in a process.

    Registries call it when a name is unknown to them, and when they list all names. A package that fails hides nothing
    else: a `UserWarning` names it and the reason.
    """
    global _started
    with _lock:
        if _started:
            return
        _started = True
        for plugin in entry_points(group=GROUP):
            try:
                plugin.load()()
            except Exception as error:  # of a package that anybody may have written
                where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
                warnings.warn(
                    f"The plugin {_named(plugin)} cannot be loaded, so what it registers is missing: "
                    f"{type(error).__name__}: {error} ({where}). Mend the package or uninstall it.",
                    stacklevel=2,
                )


def _named(plugin: EntryPoint) -> str:
    package = f" of the package {plugin.dist.name}" if plugin.dist else ""
    return f"{plugin.name!r}{package}, {plugin.value},"
