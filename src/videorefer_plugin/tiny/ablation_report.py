"""The table of an ablation, and the paper's table beside it."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.bench.paper import ABLATIONS, SOURCE
from videorefer_plugin.tiny.ablation_rows import Variant
from videorefer_plugin.world.values import QUESTION_TYPES

__all__ = ["ablation_table", "paper_table"]

_SCORES = ("SC", "AD", "TD", "HD")  # of descriptions, from 0 to 5
_HEADS = {"overall": "all questions", "average": "mean score"}


def ablation_table(
    table: str,
    rows: Sequence[Variant],
    results: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    overrides: Sequence[str],
    share: float,
    stages: Sequence[str] | None,
) -> str:
    """Return a table with accuracies of questions by type and scores of descriptions by dimension, and their means."""
    columns = [*QUESTION_TYPES, "overall", *results[0][1]["dimensions"], "average"]
    lines = _head(table, columns)
    for row, (asked, described) in zip(rows, results, strict=True):
        types = [asked["types"].get(name, {}).get("accuracy") for name in QUESTION_TYPES]
        scores = [cell["mean"] for cell in described["dimensions"].values()]
        cells = [_cell(100, one, 1) for one in (*types, asked["overall"]["accuracy"])]
        cells += [_cell(1, one, 2) for one in (*scores, described["average"])]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    changes = f" Settings changed: {', '.join(overrides)}." if overrides else ""
    if stages is not None:
        changes += f" Only these stages were run, where a row has them: {', '.join(stages)}."
    if share < 1:
        changes += f" Each stage had {share:g} of its recipe's steps."
    note = (
        f"Accuracy in percent on {results[0][0]['overall']['total']} held-out questions of the shapes world, read "
        f"strictly; scores from 0 to 5 of descriptions of held-out objects, by its rules.{changes}"
    )
    return "\n".join([*lines, "", note, "", *paper_table(table)])


def paper_table(table: str) -> list[str]:
    """Return the lines of the paper's own table."""
    paper = ABLATIONS[table]
    columns = list(dict.fromkeys(column for row in paper.rows for column in row.values))
    lines = _head(table, columns)
    for row in paper.rows:
        cells = [_cell(1, row.values.get(column), 2 if column in (*_SCORES, "average") else 1) for column in columns]
        lines.append(f"| *paper*: {row.name} | {' | '.join(cells)} |")
    also = ", and MVBench" if "MVBench" in columns else ""
    note = (
        f"Rows marked *paper* are quoted from table {paper.number} of {SOURCE}. They are of {paper.model}, on "
        "VideoRefer-Bench-Q (accuracy in percent) and VideoRefer-Bench-D (scores from 0 to 5, which GPT-4o "
        f"gave){also}: a 7B model on other benchmarks than above, so that only what changes from row to row can be "
        "compared."
    )
    return [*lines, "", note, ""]


def _head(table: str, columns: Sequence[str]) -> list[str]:
    heads = [_HEADS.get(column, column.removesuffix(" Questions")) for column in columns]
    return [f"| {table} | {' | '.join(heads)} |", "|---|" + "---:|" * len(heads)]


def _cell(scale: float, value: float | None, digits: int) -> str:
    return "-" if value is None else f"{scale * value:.{digits}f}"
