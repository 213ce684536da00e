"""Scores of Bench-Q for answers, types and all questions, by both readers of `letters`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videorefer_plugin._kinds import check_kind
from videorefer_plugin.bench.letters import compatible_correct, compatible_letter, gold_letter, strict_letter
from videorefer_plugin.bench.said import ITEMS, check_said
from videorefer_plugin.bench.statistics import mean_of_shares_interval, share_of
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.wording import QUESTION_TYPES

__all__ = ["READERS", "QuestionScores", "misread", "score_questions"]

READERS = ("compatible", "strict")


@dataclass(frozen=True)
class QuestionScores:
    """The scores of answers.

    Attributes:
        items (`list[dict]`): for each item `id`, `type`, `answer`, `prediction` (`None` if there is none yet) and, by
            reader, `letter` and `correct`.
        tables (`dict`): reader -> `types` (type -> `right`, `total`, `accuracy`, `interval`), `overall` (the same over
            all items), `mean_over_types` and its `mean_interval`, and `no_letter`, the number of answers without an
            option.
        differences (`list[str]`): ids of the items that the two readers score differently.
        missing (`list[str]`): ids of the items without an answer, which are counted as wrong.
    """

    items: list[dict[str, Any]]
    tables: dict[str, dict[str, Any]]
    differences: list[str]
    missing: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return vars(self)


def score_questions(items: Sequence[Any], predictions: Mapping[str, str], types: Sequence[str] = ()) -> QuestionScores:
    """Score answers to Bench-Q with both readers.

    Args:
        items (`Sequence[QuestionItem]`): the questions.
        predictions: id -> answer. A question without one counts as wrong, and is listed.
        types (*optional*): further types in the order of tables, after the released ones.

    Raises:
        BenchError: a prediction is not a text, none belongs to these questions, or a question is there twice.
    """
    check_kind(BenchError, ITEMS, items=items)
    check_said("predictions", predictions, (item.id for item in items))
    rows = []
    for item in items:
        said = predictions.get(item.id)
        row: dict[str, Any] = {"id": item.id, "type": item.type, "answer": item.answer, "prediction": said}
        letters = {
            "compatible": None if said is None else compatible_letter(said),
            "strict": None if said is None else strict_letter(said, item.options or None),
        }
        row["letter"] = letters
        row["correct"] = {
            "compatible": said is not None and compatible_correct(said, item.answer),
            "strict": letters["strict"] is not None and letters["strict"] == gold_letter(item.answer),
        }
        rows.append(row)
    return QuestionScores(
        rows,
        {reader: _table(rows, reader, (*QUESTION_TYPES, *types)) for reader in READERS},
        [row["id"] for row in rows if row["correct"]["compatible"] != row["correct"]["strict"]],
        [row["id"] for row in rows if row["prediction"] is None],
    )


def misread(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return the number of answers from which the compatible reader takes a wrong letter, and the number of answers.

    The released script takes the first letter of an answer in words: from "The cube turned red", it takes T.
    """
    said = [row["letter"] for row in rows if row["prediction"] is not None]
    return sum((one["compatible"] or "").upper() != (one["strict"] or "") for one in said), len(said)


def _table(rows: Sequence[Mapping[str, Any]], reader: str, types: Sequence[str]) -> dict[str, Any]:
    found = {row["type"] for row in rows}
    order = [kind for kind in types if kind in found] + sorted(found - set(types))
    groups = {kind: [bool(row["correct"][reader]) for row in rows if row["type"] == kind] for kind in order}
    cells = {kind: share_of(group) for kind, group in groups.items()}
    return {
        "types": cells,
        "overall": share_of([right for group in groups.values() for right in group]),
        "mean_over_types": sum(cell["accuracy"] for cell in cells.values()) / len(cells) if cells else None,
        "mean_interval": mean_of_shares_interval([(sum(group), len(group)) for group in groups.values()]),
        "no_letter": sum(row["letter"][reader] is None for row in rows),
    }
