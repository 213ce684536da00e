"""A report of results: tables in Markdown and one picture, with the paper's figures beside one's own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin.bench import paper
from videorefer_plugin.bench.captions import METRICS
from videorefer_plugin.bench.items import QUESTION_TYPES, shown
from videorefer_plugin.bench.judge_replies import DIMENSIONS
from videorefer_plugin.bench.result_files import read_result
from videorefer_plugin.errors import BenchError

__all__ = ["find_results", "summary", "write_report"]

Result = Mapping[str, Any]
_TITLES = {
    "q": "VideoRefer-Bench-Q",
    "d": "VideoRefer-Bench-D",
    "captions": "Captions",
    "general": "General video understanding",
}
_LISTED = 20


def find_results(sources: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    """Read results.

    Args:
        sources: result files, or folders that `videorefer bench` wrote to.

    Raises:
        BenchError: there are none, or a file is something else, or was edited into something else.
    """
    paths: list[Path] = []
    for source in map(Path, sources):
        found = [source] if source.is_file() else sorted(source.glob("results/*.json"))
        if not found:
            raise BenchError(f"{source} has no results: run `videorefer bench q`, `d`, `captions` or `general` first")
        paths += found
    return [read_result(path) for path in paths]


def write_report(results: Sequence[Result], out: str | os.PathLike) -> list[Path]:
    """Write a report.

    Args:
        results: of [`find_results`].
        out: the Markdown file. The picture lies beside it, with the same name.

    Returns:
        The files written. There is no picture where nothing of Bench-Q or Bench-D is reported.

    Raises:
        BenchError: matplotlib is not installed.
    """
    target = Path(out)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture = target.with_suffix(".png")
    drawn = _draw(results, picture)
    lines = ["# Results", "", f"Rows marked *paper* are quoted from {paper.SOURCE}; all others were measured.", ""]
    if drawn:
        lines += [f"![results]({picture.name})", ""]
    sections = {"q": _questions, "d": _descriptions, "captions": _captions, "general": _general}
    for benchmark, section in sections.items():
        own = [result for result in results if result["benchmark"] == benchmark]
        if own:
            lines += [f"## {_TITLES[benchmark]}", "", *section(own), ""]
    target.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    return [target, picture] if drawn else [target]


def summary(result: Result) -> str:
    """A result in a few lines, without the paper's figures."""
    scores = result["scores"]
    head = (
        f"{_TITLES[result['benchmark']]}: {_label(result)}: {result['answered']} of {result['items']} items answered"
    )
    lines = [head]
    if result["benchmark"] == "q":
        for reader, table in scores["tables"].items():
            lines.append(f"  {reader}: {_percent(table['overall'])} % over items, of types:")
            lines += [f"    {kind}: {_percent(cell)}" for kind, cell in table["types"].items()]
    elif result["benchmark"] == "captions":
        lines += [f"  {metric}: {_cell(value)}" for metric, value in scores["scores"].items()]
        lines += [f"  no {metric}: {reason}" for metric, reason in scores["missing"].items()]
    elif scores is not None:
        cells = [f"{code} {_cell(cell['mean'], cell['interval'], 2)}" for code, cell in scores["dimensions"].items()]
        lines.append(f"  {', '.join(cells)}, average {_cell(scores['average'], None, 2)}")
        lines.append(
            f"  judge: {result['judge']['name']}; replies not understood: {len(scores['not_understood'])}, items not "
            f"judged: {len(scores['not_judged'])}"
        )
    if "path" in result:
        lines.append(f"  {result['path']}")
    return "\n".join(lines)


# --- tables ----------------------------------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    line = [f"| {' | '.join(cells)} |" for cells in (columns, ["---"] + ["---:"] * (len(columns) - 1), *rows)]
    return line


def _cell(value: float | None, interval: Sequence[float] | None = None, digits: int = 1) -> str:
    if value is None:
        return "-"
    low_high = f" ({interval[0]:.{digits}f}-{interval[1]:.{digits}f})" if interval else ""
    return f"{value:.{digits}f}{low_high}"


def _percent(cell: Mapping[str, Any]) -> str:
    if cell["accuracy"] is None:
        return "-"
    return _cell(100 * cell["accuracy"], [100 * end for end in cell["interval"]] if cell["interval"] else None)


def _mode(result: Result) -> str:
    return str(result["settings"].get("mode", ""))


def _sees(result: Result) -> str:
    return str(result["settings"].get("sees", ""))


def _label(result: Result) -> str:
    return f"{result['name']}, {_sees(result)}, {_mode(result)}-frame"


def _remarks(result: Result) -> list[str]:
    lines = []
    if result["answered"] < result["items"]:
        lines.append(f"- {_label(result)}: **incomplete**, {result['answered']} of {result['items']} items answered.")
    for identity, reason in list(result["failed"].items())[:_LISTED]:
        lines.append(f"- {_label(result)}: item {identity} failed: {reason}")
    return lines


def _questions(results: Sequence[Result]) -> list[str]:
    columns = ["model", "answers read", *QUESTION_TYPES, "over items", "mean over types"]
    rows, notes = [], []
    for result in results:
        scores = result["scores"]
        for reader, table in scores["tables"].items():
            kinds = [_percent(table["types"][kind]) if kind in table["types"] else "-" for kind in QUESTION_TYPES]
            mean, interval = table["mean_over_types"], table["mean_interval"]
            over_types = _cell(100 * mean, [100 * end for end in interval] if interval else None)
            rows.append([_label(result), reader, *kinds, _percent(table["overall"]), over_types])
        notes += _remarks(result)
        readers = ", ".join(f"{table['no_letter']} ({name})" for name, table in scores["tables"].items())
        notes.append(f"- {_label(result)}: {result['items']} questions; answers that name no option: {readers}.")
        different = scores["differences"]
        if different:
            notes.append(
                f"- {_label(result)}: the two readers differ on {len(different)}: {shown(different, _LISTED)}."
            )
    for row in paper.BENCH_Q:
        cells = [_cell(row.values.get(column)) for column in (*QUESTION_TYPES, "overall")]
        rows.append([f"*paper*: {row.name}, {row.mode}-frame", "compatible", *cells, "-"])
    lines = _table(columns, rows)
    said = "Accuracy in per cent with 95 % intervals: Wilson's, and of the mean over types what follows from these."
    return [*lines, "", said, "The paper's figures are over items.", "", *notes]


def _descriptions(results: Sequence[Result]) -> list[str]:
    columns = ["model", "judge", *DIMENSIONS, "average", "not understood", "not judged"]
    rows, notes = [], []
    for result in results:
        scores, judge = result["scores"], result["judge"]
        notes += _remarks(result)
        if scores is None:
            notes.append(f"- {_label(result)}: {result['answered']} descriptions, not judged yet.")
            continue
        cells = [
            _cell(scores["dimensions"][code]["mean"], scores["dimensions"][code]["interval"], 2) for code in DIMENSIONS
        ]
        left = len(scores["not_judged"]) + len(scores["not_described"])
        average = _cell(scores["average"], None, 2)
        rows.append([_label(result), judge["name"], *cells, average, str(len(scores["not_understood"])), str(left)])
        dates = " to ".join(dict.fromkeys(result["dates"]))
        temperature = f", temperature {judge['temperature']}" if "temperature" in judge else ""
        notes.append(
            f"- {_label(result)}: judged by {judge['name']}{temperature}, {dates or 'never'}, prompt "
            f"{judge['prompt_hash']}. With 0 for every score that is missing, the average is "
            f"{scores['average_missing_as_zero']:.2f}."
        )
        if scores["compatible"] is not None:
            compatible = scores["compatible"]
            notes.append(
                f"- {_label(result)}: the released script would report {_cell(compatible['average'], None, 2)}, from "
                + ", ".join(f"{cell['count']} scores of {name}" for name, cell in compatible["dimensions"].items())
                + f", and drop {compatible['dropped']} replies."
            )
    modes = {_mode(result) for result in results}
    for row in paper.BENCH_D:
        if row.mode in modes:
            cells = [_cell(row.values[code], None, 2) for code in (*DIMENSIONS, "average")]
            rows.append([f"*paper*: {row.name}, {row.mode}-frame", "GPT-4o", *cells, "-", "-"])
    said = "Scores from 0 to 5 with 95 % bootstrap intervals, over the replies that give them."
    return [*_table(columns, rows), "", said, "Scores of different judges cannot be compared.", "", *notes]


def _captions(results: Sequence[Result]) -> list[str]:
    rows, notes = [], []
    for result in results:
        scores = result["scores"]
        rows.append([_label(result), *(_cell(scores["scores"].get(metric)) for metric in METRICS)])
        notes += _remarks(result)
        notes += [f"- {_label(result)}: no {metric}: {reason}." for metric, reason in scores["missing"].items()]
        if scores["tokenizer"] != "PTB":
            notes.append(
                f"- {_label(result)}: cut into words without the PTB tokenizer, which needs Java; not comparable with "
                "published figures."
            )
        if scores["empty"]:
            notes.append(f"- {_label(result)}: {len(scores['empty'])} empty captions, scored as such.")
    for row in paper.CAPTIONS:
        rows.append([f"*paper*: {row.name}", *(_cell(row.values[metric]) for metric in METRICS)])
    return [*_table(["model", *METRICS], rows), "", "The paper's figures are on the test set of HC-STVG.", "", *notes]


def _general(results: Sequence[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        rows = [
            [task, metric, "-" if value is None else f"{value:.4g}"]
            for task, values in result["scores"].items()
            for metric, value in values.items()
        ]
        lines += [f"{result['name']}, by lmms-eval:", "", *_table(["task", "metric", "value"], rows), ""]
    columns = list(paper.GENERAL[0].values)
    rows = [[f"*paper*: {row.name}", *(_cell(row.values[column]) for column in columns)] for row in paper.GENERAL]
    return [*lines, *_table(["model", *columns], rows)]


# --- picture ---------------------------------------------------------------------------------------------------------


def _draw(results: Sequence[Result], path: Path) -> bool:
    """Bars by type of question, and a radar of the four dimensions; whether there was anything to draw."""
    questions = [result for result in results if result["benchmark"] == "q"]
    described = [result for result in results if result["benchmark"] == "d" and result["scores"] is not None]
    parts = [part for part, own in (("q", questions), ("d", described)) if own]
    if not parts:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BenchError("The picture needs matplotlib: pip install 'videorefer-plugin[bench]'") from error
    figure = Figure(figsize=(8 * len(parts), 6), layout="constrained")
    FigureCanvasAgg(figure)  # needs no display, and leaves the program's own settings alone
    for place, part in enumerate(parts, 1):
        if part == "q":
            _bars(figure.add_subplot(1, len(parts), place), questions)
        else:
            _radar(figure.add_subplot(1, len(parts), place, projection="polar"), described)
    figure.savefig(path, dpi=120)
    return True


def _quoted(rows: Sequence[paper.PaperRow], modes: set[str]) -> list[paper.PaperRow]:
    """The paper's own model in the modes of the results, and GPT-4o."""
    return [row for row in rows if row.mode in modes and row.name in ("VideoRefer-7B", "GPT-4o")]


def _bars(axes: Any, results: Sequence[Result]) -> None:
    columns = (*QUESTION_TYPES, "over items")
    series: list[tuple[str, list[float | None], bool]] = []
    for result in results:
        table = result["scores"]["tables"]["compatible"]
        cells = [table["types"].get(kind) for kind in QUESTION_TYPES] + [table["overall"]]
        series.append((_label(result), [None if cell is None else 100 * cell["accuracy"] for cell in cells], False))
    for row in _quoted(paper.BENCH_Q, {_mode(result) for result in results}):
        values = [row.values.get(kind) for kind in (*QUESTION_TYPES, "overall")]
        series.append((f"paper: {row.name}, {row.mode}-frame", values, True))
    width = 0.8 / len(series)
    for number, (label, values, quoted) in enumerate(series):
        places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(columns))]
        heights = [0.0 if value is None else value for value in values]
        axes.bar(places, heights, width, label=label, alpha=0.5 if quoted else 1.0, hatch="//" if quoted else None)
    axes.set_xticks(range(len(columns)), [column.replace(" ", "\n") for column in columns])
    axes.set_ylim(0, 100)
    axes.set_ylabel("accuracy (%)")
    axes.set_title(_TITLES["q"])
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _radar(axes: Any, results: Sequence[Result]) -> None:
    import math

    codes = list(DIMENSIONS)
    angles = [2 * math.pi * place / len(codes) for place in range(len(codes))]
    series: list[tuple[str, list[float], bool]] = []
    for result in results:
        means = [result["scores"]["dimensions"][code]["mean"] for code in codes]
        judge = result["judge"]["name"]
        series.append((f"{_label(result)} ({judge})", [0.0 if mean is None else mean for mean in means], False))
    for row in _quoted(paper.BENCH_D, {_mode(result) for result in results}):
        label = f"paper: {row.name}, {row.mode}-frame (GPT-4o)"
        series.append((label, [row.values[code] for code in codes], True))
    for label, values, quoted in series:
        axes.plot([*angles, angles[0]], [*values, values[0]], "--" if quoted else "-", label=label)
        if not quoted:
            axes.fill(angles, values, alpha=0.15)
    axes.set_xticks(angles, codes)
    axes.set_ylim(0, 5)
    axes.set_title(_TITLES["d"])
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.08))
