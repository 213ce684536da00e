"""Where the benchmarks expect their files, and whether these are there. Nothing is downloaded."""

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
    """What there is of a benchmark.

    Attributes:
        layout: what was expected.
        missing (`list[str]`): paths that are not there.
        problem (`str`): why the items cannot be used, otherwise empty.
        items (`int`): how many can, if nothing is wrong.
    """

    layout: Layout
    missing: list[str]
    problem: str
    items: int

    @property
    def complete(self) -> bool:
        """Whether nothing is wrong."""
        return not self.missing and not self.problem

    def describe(self) -> str:
        """What there is, in words."""
        head = f"{self.layout.title}: " + (f"complete, {self.items} items" if self.complete else "not complete")
        lines = [head, *(f"  missing: {path}" for path in self.missing)]
        if self.problem:
            lines.append(f"  {self.problem}")
        return "\n".join(lines)


def check_layout(folder: str | os.PathLike, names: Sequence[str] | None = None) -> list[Found]:
    """Check folders of benchmarks: that everything is there, and that every item can be used.

    Args:
        folder: where the files of one benchmark are.
        names (*optional*): the benchmarks to look for; all that are published by default.

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
    """Name -> layout, of the benchmarks that are published; or of some of them.

    Raises:
        BenchError: a name is not that of a published benchmark.
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
