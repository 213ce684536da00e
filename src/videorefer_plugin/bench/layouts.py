"""The layouts of the benchmarks' files, and a check of folders. Nothing is downloaded."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videorefer_plugin.bench.benchmarks.base import Layout
from videorefer_plugin.bench.benchmarks.registry import benchmark_of, benchmarks
from videorefer_plugin.errors import BenchError

__all__ = ["Found", "check_layout", "layouts"]


@dataclass(frozen=True)
class Found:
    """The result of a check of a benchmark's folder.

    Attributes:
        layout: the expected files.
        missing (`list[str]`): missing paths.
        problem (`str`): why the items cannot be used; empty if they can.
        items (`int`): number of usable items, if nothing is wrong.
    """

    layout: Layout
    missing: list[str]
    problem: str
    items: int

    @property
    def complete(self) -> bool:
        """Whether nothing is missing or wrong."""
        return not self.missing and not self.problem

    def describe(self) -> str:
        """Return a description of the result."""
        head = f"{self.layout.title}: " + (f"complete, {self.items} items" if self.complete else "not complete")
        lines = [head, *(f"  missing: {path}" for path in self.missing)]
        if self.problem:
            lines.append(f"  {self.problem}")
        return "\n".join(lines)


def check_layout(folder: str | os.PathLike, names: Sequence[str] | None = None) -> list[Found]:
    """Check whether all files of benchmarks are there, and whether every item can be used.

    Args:
        folder: folder of the files of one benchmark.
        names (*optional*): the benchmarks to check. Default: all published ones.

    Raises:
        BenchError: a benchmark is unknown.
    """
    found = []
    for name, layout in layouts(names).items():
        root = Path(folder)
        missing = [path for path in (layout.file, *layout.media) if not (root / path).exists()]
        items, problem = 0, ""
        if layout.file not in missing:
            try:
                items = len(benchmark_of(name).read(root / layout.file, root / layout.media_root, "single").items)
            except BenchError as error:
                problem = str(error)
        found.append(Found(layout, missing, problem, items))
    return found


def layouts(names: Sequence[str] | None = None) -> dict[str, Layout]:
    """Return name -> layout of all published benchmarks, or of some of them.

    Raises:
        BenchError: no published benchmark has one of the names.
    """
    known = {name: one.layout for name, one in benchmarks().items() if one.layout is not None}
    for name in names or ():
        if name in benchmarks() and name not in known:
            raise BenchError(
                f"the benchmark {name!r} has no published files: it takes files of your own. Published are "
                f"{', '.join(known)}"
            )
        if name not in known:
            raise BenchError(f"unknown benchmark {name!r}: expected {', '.join(known)}")
    return known if names is None else {name: known[name] for name in names}
