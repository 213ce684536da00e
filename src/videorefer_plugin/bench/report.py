"""Reports of results: tables in Markdown and one picture, with the paper's figures beside the measured ones."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._kinds import MAPPING, PATH, check_kind, lists
from videorefer_plugin._places import check_file_place, writing
from videorefer_plugin._text import listed
from videorefer_plugin.bench import paper
from videorefer_plugin.bench.benchmarks.base import Benchmark
from videorefer_plugin.bench.benchmarks.registry import benchmark_names, benchmark_of, benchmarks
from videorefer_plugin.bench.result_files import GENERAL, read_result
from videorefer_plugin.bench.tables import Result, cell, label, table
from videorefer_plugin.errors import BenchError

__all__ = ["Found", "find_results", "search_results", "summary", "write_report"]

_RESULTS = "results"  # the folder of results in a folder of `--out`


@dataclass(frozen=True)
class Found:
    """The results that a search found.

    Attributes:
        results (`list[dict]`): all results.
        deeper (`list[str]`): sentences about folders whose results are in their subfolders.
        lacking (`list[str]`): sentences about paths without results, with their contents.
    """

    results: list[dict[str, Any]]
    deeper: list[str]
    lacking: list[str]


def find_results(sources: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    """Read results.

    Args:
        sources: result files, folders that `videorefer bench` wrote to, or folders of these.

    Raises:
        BenchError: a source has no results, or a file is not a result, for instance after an edit.
    """
    found = search_results(sources)
    if found.lacking:
        raise BenchError("\n".join(found.lacking))
    return found.results


def search_results(sources: Sequence[str | os.PathLike]) -> Found:
    """Read results as [`find_results`] does, also if some of the sources have none.

    Raises:
        BenchError: no source has results, or a file is not a result, for instance after an edit.
    """
    check_kind(BenchError, lists(PATH, "paths"), sources=sources)
    paths: list[Path] = []
    deeper, lacking = [], []
    for source in map(Path, sources):
        found = [source] if source.is_file() else _result_files(source)
        if not found:
            found = sorted(source.glob(f"*/{_RESULTS}/*.json"))
            names = list(dict.fromkeys(path.parent.parent.name for path in found))
            if found:
                deeper.append(f"{source} has no results of its own: those in its {listed(names)} are reported.")
            else:
                lacking.append(_lacking(source))
        paths += found
    if not paths:
        raise BenchError("\n".join(lacking) or "There is nothing to report: name a folder given as --out.")
    return Found([read_result(path) for path in dict.fromkeys(paths)], deeper, lacking)


def _result_files(folder: Path) -> list[Path]:
    """Return the results of a run's folder, or of a folder of results."""
    of_run = sorted((folder / _RESULTS).glob("*.json"))
    if of_run or folder.name != _RESULTS or any(folder.glob("answers-*.jsonl")):  # a run's folder may have that name
        return of_run
    return sorted(folder.glob("*.json"))


def _lacking(source: Path) -> str:
    """Return why a path has no results, judged by its contents."""
    if not source.is_dir():
        return f"{source} has no results: it is not there"
    if any(source.glob("answers-*.jsonl")):
        return (
            f"{source} has no results, but answers: the run is not finished. Start the same command again to "
            "continue it"
        )
    known = ", ".join(f"`{name}`" for name in (*benchmark_names(), GENERAL))
    names = sorted(path.name + "/" * path.is_dir() for path in source.iterdir())
    return (
        f"{source} has no results ({f'it holds {listed(names)}' if names else 'it is empty'}): run `videorefer bench` "
        f"with one of {known} and this folder as its --out first"
    )


def write_report(results: Sequence[Result], out: str | os.PathLike) -> list[Path]:
    """Write a report.

    Args:
        results: results of [`find_results`].
        out: the Markdown file. The picture is written beside it, with the same name.

    Returns:
        The written files. There is no picture if no result can be drawn.

    Raises:
        BenchError: matplotlib is not installed, or the files cannot be written.
    """
    check_kind(BenchError, lists(MAPPING, "results, as find_results returns them"), results=results)
    target = check_file_place(out, BenchError, made=True)
    picture = check_file_place(target.with_suffix(".png"), BenchError, made=True)
    with writing(target, BenchError):
        target.parent.mkdir(parents=True, exist_ok=True)
        return _write(results, target, picture)


def _write(results: Sequence[Result], target: Path, picture: Path) -> list[Path]:
    drawn = _draw(results, picture)
    lines = ["# Results", "", f"Rows marked *paper* are quoted from {paper.SOURCE}; all others were measured.", ""]
    if drawn:
        lines += [f"![results]({picture.name})", ""]
    for benchmark, own in _by_benchmark(results):
        lines += [f"## {benchmark.title}", "", *benchmark.section(own), ""]
    general = [result for result in results if result["benchmark"] == GENERAL]
    if general:
        lines += ["## General video understanding", "", *_general(general), ""]
    write_whole(target, "\n".join(lines).rstrip() + "\n")
    return [target, picture] if drawn else [target]


def summary(result: Result) -> str:
    """Return a result in a few lines, without the paper's figures."""
    benchmark = benchmark_of(result["benchmark"])
    items = f"{result['answered']} of {result['items']} items answered"
    lines = [f"{benchmark.title}: {label(result)}: {items}"]
    if result.get("skipped"):
        lines.append(f"  items that cannot be used, and do not count: {len(result['skipped'])}")
    if result["scores"] is not None:
        lines += [f"  {line}" for line in benchmark.of(result).summary(result)]
    if "path" in result:
        lines.append(f"  {result['path']}")
    return "\n".join(lines)


def _by_benchmark(results: Sequence[Result]) -> list[tuple[Benchmark[Any], list[Result]]]:
    found = []
    for name, benchmark in benchmarks().items():
        own = [result for result in results if result["benchmark"] == name]
        if own:
            found.append((benchmark, own))
    return found


def _general(results: Sequence[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        rows = [
            [task, metric, "-" if value is None else f"{value:.4g}"]
            for task, values in result["scores"].items()
            for metric, value in values.items()
        ]
        lines += [f"{result['name']}, by lmms-eval:", "", *table(["task", "metric", "value"], rows), ""]
    columns = list(paper.GENERAL[0].values)
    rows = [[f"*paper*: {row.name}", *(cell(row.values[column]) for column in columns)] for row in paper.GENERAL]
    return [*lines, *table(["model", *columns], rows)]


def _draw(results: Sequence[Result], path: Path) -> bool:
    """Draw one part of a picture for each benchmark with results; return whether there was anything to draw."""
    parts = [(benchmark, benchmark.drawable(own)) for benchmark, own in _by_benchmark(results)]
    parts = [(benchmark, own) for benchmark, own in parts if own]
    if not parts:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchError("The picture needs matplotlib: pip install 'videorefer-plugin[bench]'") from error
    figure = Figure(figsize=(8 * len(parts), 6), layout="constrained")
    FigureCanvasAgg(figure)  # needs no display, and does not change matplotlib's global settings
    for place, (benchmark, own) in enumerate(parts, 1):
        benchmark.draw(figure.add_subplot(1, len(parts), place, projection=benchmark.projection()), own)
    write_whole(path, partial(figure.savefig, dpi=120, format="png"))
    return True
