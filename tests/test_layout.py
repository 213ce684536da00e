"""Rooms import upwards only, no two modules need each other, and files stay short.

The table of rooms is the one in CONTRIBUTING.md, so that what is written there is what holds. Imports inside functions
and `importlib.import_module` with a written name count like any other.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = "videorefer_plugin"
PLACES = {TOP: ROOT / "src" / TOP, f"{TOP}.patches": ROOT / "patches"}
OUTSIDE = {"", "_registration"}  # the top `__init__` and what it registers: they stand outside the table
DATA = {"recipes", "hub_cards"}  # rooms of files that are read, which nobody can depend on in a circle
# `push_to_hub`, `Region.propagate`, and `train` of a recipe with a `pretrain` section, opened when called.
DOORS = {("models", "hub"), ("regions", "segment"), ("training", "tiny")}
LONGEST = 400  # lines of a file


@dataclass(frozen=True)
class Import:
    """One module that another one imports; `late` if by name, when it runs."""

    source: str
    target: str
    line: int
    late: bool = False

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}: {self.target}"


# --- the checker -----------------------------------------------------------------------------------------------------


def read_table(text: str) -> dict[str, int]:
    """Room -> its place from the ground up, of the first table below the heading about the layout."""
    table = text.split("## How the code is laid out")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {
        name.removesuffix(".py").removesuffix("/"): place
        for place, row in enumerate(rows)
        for name in re.findall(r"`([^`]+)`", row)
    }


def imports_of(source: str, text: str, modules: Collection[str], is_package: bool = False) -> Iterator[Import]:
    """All imports of this package in a module's text, wherever they stand."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = _parent(source, node.level - is_package) if node.level else ""
            base = ".".join(part for part in (parent, node.module) if part)
            names = [_named(base, alias.name, modules) for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "import_module":
            names = [_written(node.args[0])] if node.args else []
        else:
            continue
        late = isinstance(node, ast.Call)
        for name in names:
            if name.startswith(f"{TOP}."):
                yield Import(source, name, node.lineno, late)


def _named(base: str, name: str, modules: Collection[str]) -> str:
    """The module that `from base import name` needs: `base.name` if that is one, or else `base`, which defines it."""
    whole = f"{base}.{name}"
    # The top exports names of all rooms, so nothing but the version is taken from there.
    taken_from_top = base == TOP and name != "__version__"
    return whole if whole in modules or taken_from_top else base


def _parent(module: str, levels: int) -> str:
    return module.rsplit(".", levels)[0] if levels else module


def _written(name: ast.expr) -> str:
    """What is written of a name; of an f-string, what stands before its first gap."""
    if isinstance(name, ast.JoinedStr):
        name = name.values[0]
    return str(name.value).rstrip(".") if isinstance(name, ast.Constant) else ""


def room_of(module: str) -> str:
    """The room that a module lies in; "" for the top."""
    return module.removeprefix(TOP).lstrip(".").split(".")[0]


def is_door(found: Import) -> bool:
    """Whether an import is one of those that may point down: it looks its target up when it runs."""
    return found.late and (room_of(found.source), room_of(found.target)) in DOORS


def pointing_down(imports: Collection[Import], rooms: dict[str, int]) -> list[str]:
    """Imports of rooms further down the table, or of none."""
    wrong = []
    for found in imports:
        source, target = room_of(found.source), room_of(found.target)
        if source in OUTSIDE or target in DATA or is_door(found):
            continue
        if target not in rooms or rooms[target] > rooms[source]:
            wrong.append(str(found))
    return wrong


def circle(imports: Collection[Import]) -> list[str]:
    """A circle of modules, if there is one."""
    graph: dict[str, set[str]] = {}
    for found in imports:
        if not is_door(found) and room_of(found.source) not in OUTSIDE:
            graph.setdefault(found.source, set()).add(found.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


# --- the package -----------------------------------------------------------------------------------------------------


def _files() -> dict[str, Path]:
    """Module -> its file. Those of a checkpoint are none of ours: they are written for whoever loads it."""
    files = {}
    for start, folder in PLACES.items():
        for path in folder.rglob("*.py"):
            inside = path.relative_to(folder)
            if "checkpoint" not in inside.parts:
                files[".".join([start, *inside.with_suffix("").parts]).removesuffix(".__init__")] = path
    return files


FILES = _files()
ROOMS = read_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
IMPORTS = [
    found
    for module, path in FILES.items()
    for found in imports_of(module, path.read_text(encoding="utf-8"), FILES, path.name == "__init__.py")
]


def test_every_file_belongs_to_a_room():
    assert len(ROOMS) > 10
    assert {room_of(module) for module in FILES} - OUTSIDE <= set(ROOMS)


def test_every_room_of_the_table_is_there():
    there = {room_of(module) for module in FILES} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert set(ROOMS) <= there


def test_rooms_import_upwards_only():
    assert pointing_down(IMPORTS, ROOMS) == []


def test_each_door_is_one_place():
    doors = [(room_of(found.source), room_of(found.target)) for found in IMPORTS if is_door(found)]
    assert len(doors) == len(set(doors))


def test_no_module_needs_one_that_needs_it():
    assert circle(IMPORTS) == []


def test_no_file_is_long():
    source = PLACES[TOP]
    lines = {path.relative_to(source).as_posix(): len(path.read_bytes().splitlines()) for path in source.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}


def test_the_ground_floor_needs_no_transformers():
    rooms = ("object_encoder", "regions", "video", "inputs")
    modules = [module for module in FILES if room_of(module) in rooms]
    assert f"{TOP}.inputs.matching" in modules
    code = f"import sys, {', '.join(modules)}; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- the checker, on modules that are made up ------------------------------------------------------------------------

TABLE = """
## How the code is laid out

| room | what lives there |
|---|---|
| `errors.py`, `_files.py` | errors |
| `models/` | models |
| `hub/` | publishing |
| `bench/` | benchmarks |

## Something else

| `tools/` | nothing |
"""


def found_in(text, source=f"{TOP}.models.made_up", **kwargs):
    return list(imports_of(source, text, {f"{TOP}.bench.prompts", f"{TOP}.models.made_up"}, **kwargs))


def test_the_table_is_read_from_the_ground_up():
    assert read_table(TABLE) == {"errors": 0, "_files": 0, "models": 1, "hub": 2, "bench": 3}


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (f"import {TOP}.bench.prompts", "bench.prompts"),
        (f"from {TOP}.bench import prompts", "bench.prompts"),
        (f"from {TOP}.bench import RegionModel", "bench"),
        (f"from {TOP} import ask", "ask"),
        ("from ..bench import prompts", "bench.prompts"),
        ("from .other import Other", "models.other"),
        (f"importlib.import_module('{TOP}.bench.prompts')", "bench.prompts"),
        (f"import_module(f'{TOP}.bench.{{name}}')", "bench"),
    ],
)
def test_imports_are_found_wherever_they_stand(line, target):
    inside = f"def late():\n    if True:\n        {line}\n"
    for text in (line, inside):
        assert [found.target for found in found_in(text)] == [f"{TOP}.{target}"]


def test_what_is_no_room_is_no_import():
    assert found_in(f"import os\nimport {TOP}\nfrom {TOP} import __version__\nimport_module(name)") == []
    package = found_in("from . import made_up", source=f"{TOP}.models", is_package=True)
    assert [found.target for found in package] == [f"{TOP}.models.made_up"]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        (f"from {TOP}.errors import VideoReferError", False),
        (f"from {TOP}.models.other import Other", False),
        (f"from {TOP}.hub import push_model", True),
        (f"importlib.import_module('{TOP}.hub')", False),  # a door
        (f"importlib.import_module('{TOP}.bench')", True),
        (f"importlib.import_module('{TOP}.hub_cards')", False),
        (f"from {TOP}.nowhere import thing", True),
    ],
)
def test_an_import_that_points_down_is_found(line, wrong):
    assert bool(pointing_down(found_in(line), read_table(TABLE))) == wrong


def test_a_circle_is_found():
    there = found_in(f"def late():\n    from {TOP}.models.other import Other")
    back = found_in(f"from {TOP}.models.made_up import Thing", source=f"{TOP}.models.other")
    assert circle([*there, *back])
    exports = found_in(f"from {TOP}.models.made_up import Thing", source=f"{TOP}.models", is_package=True)
    assert circle([*exports, *there]) == []
    assert circle([*exports, *found_in(f"from {TOP}.models import Thing")])
