"""The public names of a package, each listed once and loaded when it is first used.

A package lists them as imports that only type checkers run, in the form of a re-export (`ask as ask`, or `*`
of a light module), and then calls:

    if TYPE_CHECKING:
        from videorefer_plugin.asking import ask as ask
    else:
        __all__, __getattr__, __dir__ = public_names(__name__)
"""

import ast
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["public_names"]


def public_names(package: str) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__all__`, `__getattr__` and `__dir__` of a package, from its imports for type checkers.

    Args:
        package (`str`): its name; it is being imported.

    Raises:
        ImportError: the package was installed without its source.
    """
    module = sys.modules[package]
    places = dict(_places(package, module.__spec__.loader.get_source(package)))  # type: ignore[union-attr]

    def load(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(places[name]), name)
        setattr(module, name, value)
        return value

    return sorted(places), load, lambda: sorted({*vars(module), *places})


def _places(package: str, source: str | None) -> Iterator[tuple[str, str]]:
    """Yield each public name with the module that defines it."""
    if source is None:
        raise ImportError(f"{package} was installed without its source, which lists its names.", name=package)
    for block in ast.parse(source).body:
        if isinstance(block, ast.If) and getattr(block.test, "id", "") == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.module:
                    yield from ((name, node.module) for name in _names(node))


def _names(node: ast.ImportFrom) -> list[str]:
    if node.names[0].name == "*":  # for modules that import nothing heavy
        return list(importlib.import_module(str(node.module)).__all__)
    return [alias.name for alias in node.names if alias.asname == alias.name]
