"""The pages of the API reference: one for each public name, made from the tables of public names.

This needs the package, but not mkdocs, so a test can compare the pages with the names.
"""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

TOP = "videorefer_plugin"
ROOMS = (
    TOP,
    f"{TOP}.object_encoder",
    f"{TOP}.video",
    f"{TOP}.hosts",
    f"{TOP}.hub",
    f"{TOP}.session",
    f"{TOP}.segment",
    f"{TOP}.training",
    f"{TOP}.bench",
    f"{TOP}.bench.evaluate",
    f"{TOP}.chat",
    f"{TOP}.data_engine",
    f"{TOP}.world",
    f"{TOP}.patches",
)
"""Packages and modules whose `__all__` is public. A name that several export has its page at the first of them."""

_PAGE = """---
title: {each.name}
---

::: {each.source}
    options:
      heading: {each.path}
"""
_ERROR = """
::: {top}.errors.{name}
    options:
      heading: {name}
      heading_level: 2
      show_bases: false
      show_signature: false
      skip_local_inventory: true
"""


@dataclass(frozen=True)
class PublicName:
    """A public name and its object."""

    room: str
    name: str
    value: Any

    @property
    def path(self) -> str:
        """The path from which it is imported, such as `videorefer_plugin.bench.Judge`."""
        return f"{self.room}.{self.name}"

    @property
    def source(self) -> str:
        """The path of its source: `patches` is a separate folder in a checkout."""
        return self.path.replace(f"{TOP}.patches", "patches")

    @property
    def page(self) -> str:
        """The file of its page."""
        return f"{_folder(self.room)}/{self.name}.md"


@cache
def public_names() -> list[PublicName]:
    """Every public name once, in the order of the rooms and of the alphabet."""
    found: dict[Any, PublicName] = {}
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in sorted(module.__all__, key=str.lower):
            each = PublicName(room, name, inspect.unwrap(getattr(module, name)))
            found.setdefault(identity(each), each)
    return list(found.values())


def api_pages() -> dict[str, str]:
    """File -> Markdown of every generated page: one per public name, one per room, and one that lists the rooms."""
    names = public_names()
    pages = {"api/index.md": "\n".join(_index())}
    for room in ROOMS:
        pages[room_page(room)] = "\n".join(_room_page(room, names))
    pages |= {each.page: _PAGE.format(each=each) for each in names}
    return pages


def navigation() -> list[Any]:
    """The entries of the API reference in the table of contents: a section for each room."""
    sections: list[Any] = ["api/index.md"]
    names = public_names()
    for room in ROOMS:
        pages = [{each.name: each.page} for each in names if each.room == room]
        sections.append({_title(room): [room_page(room), *pages]})
    return sections


def error_list() -> str:
    """Markdown of every class of `errors.py`, the base class first: when it is raised, and how to fix it."""
    names = importlib.import_module(f"{TOP}.errors").__all__
    return "\n".join(_ERROR.format(top=TOP, name=name) for name in sorted(names, key=_base_first))


def find(reference: str, page: str) -> str | None:
    """The object that a name on a page refers to: of the page's own class, its room, or any other room."""
    names = public_names()
    here = next((each for each in names if each.page == page), None)
    first, *rest = reference.split(".")
    if here and inspect.isclass(here.value) and (hasattr(here.value, first) or first in _fields(here.value)):
        return ".".join([here.source, reference])
    named = [each for each in names if each.name == first]
    nearest = min(named, key=lambda each: not (here and here.room == each.room), default=None)
    return ".".join([nearest.source, *rest]) if nearest else None


def summary(each: PublicName) -> str:
    """The first paragraph of the docstring of a public name, on one line."""
    is_documented = inspect.isclass(each.value) or inspect.isroutine(each.value)
    return _first_paragraph(each.value) if is_documented else _value_summary(each)


def room_page(room: str) -> str:
    """The page that lists the names of a room."""
    return f"{_folder(room)}/index.md"


def identity(each: PublicName) -> Any:
    """Equal for all names of one class or function; values are distinguished by their names."""
    value = inspect.unwrap(each.value)
    if inspect.isclass(value) or inspect.isroutine(value):
        return value.__module__, value.__qualname__
    return each.path


def _first_paragraph(value: Any) -> str:
    text = value if isinstance(value, str) else inspect.getdoc(value) or ""
    return " ".join(text.strip().split("\n\n")[0].split())


def _value_summary(each: PublicName) -> str:
    """The summary of a value: Python does not keep the string below an assignment, so the source is read."""
    for module in _modules_with(each):
        body = ast.parse(inspect.getsource(module)).body
        for node, below in pairwise(body):
            targets = getattr(node, "targets", [getattr(node, "target", None)])
            is_string = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
            if is_string and [getattr(target, "id", None) for target in targets] == [each.name]:
                return _first_paragraph(str(below.value.value))
    return ""


def _modules_with(each: PublicName) -> Iterator[Any]:
    """The modules that have a value under its name, those of its room first; one of them assigns it."""
    loaded = [(name, module) for name, module in sys.modules.items() if name.startswith(f"{TOP}.")]
    for name, module in sorted(loaded, key=lambda one: not one[0].startswith(f"{each.room}.")):
        if name not in ROOMS and getattr(module, each.name, None) is each.value:
            yield module


def _fields(value: type) -> set[str]:
    return {name for each in value.__mro__ for name in getattr(each, "__annotations__", {})}


def _base_first(name: str) -> tuple[bool, str]:
    return name != "VideoReferError", name


def _folder(room: str) -> str:
    return f"api/{room.replace('.', '/')}"


def _title(room: str) -> str:
    return room.removeprefix(f"{TOP}.")


def _index() -> Iterator[str]:
    yield from ("# API reference", "", "| package | what it is for |", "|---|---|")
    for room in ROOMS:
        link = f"[`{room}`]({_folder(room).removeprefix('api/')}/index.md)"
        yield f"| {link} | {_cell(_first_paragraph(importlib.import_module(room)))} |"


def _room_page(room: str, names: list[PublicName]) -> Iterator[str]:
    yield from (f"# {room}", "", inspect.getdoc(importlib.import_module(room)) or "")
    yield from ("", "| name | what it is |", "|---|---|")
    for each in names:
        if each.room == room:
            yield f"| [`{each.name}`]({each.name}.md) | {_cell(summary(each))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
