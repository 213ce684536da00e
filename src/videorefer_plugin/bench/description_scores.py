"""Scores of Bench-D: the judge's scores of a model's descriptions, by dimension."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videorefer_plugin._kinds import check_kind
from videorefer_plugin.bench.judge_replies import DIMENSIONS, compatible_scores, reply_scores
from videorefer_plugin.bench.said import ITEMS, check_said
from videorefer_plugin.bench.statistics import mean_interval
from videorefer_plugin.errors import BenchError

__all__ = ["DescriptionScores", "compatible_table", "score_descriptions"]


@dataclass(frozen=True)
class DescriptionScores:
    """The scores of descriptions.

    Attributes:
        items (`list[dict]`): for each item `id`, `description`, `reply` and `scores` (by dimension, if understood).
        dimensions (`dict`): dimension -> `mean` over the replies that give it, their `count`, `interval`, and
            `missing`, the number of items without it.
        average (`float`, *optional*): mean of the four means; `None` while a dimension has none.
        average_missing_as_zero (`float`): the average with 0 for each missing score, which is its lower bound.
        not_described, not_judged, not_understood (`list[str]`): ids of items without a description, of items with a
            description but no reply, and of items with a reply in which not all four scores were understood.
        compatible (`dict`, *optional*): the scores that the released script reads from the replies, if it can read
            any.
    """

    items: list[dict[str, Any]]
    dimensions: dict[str, dict[str, Any]]
    average: float | None
    average_missing_as_zero: float
    not_described: list[str]
    not_judged: list[str]
    not_understood: list[str]
    compatible: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return vars(self)


def score_descriptions(
    items: Sequence[Any], descriptions: Mapping[str, str], replies: Mapping[str, str | None]
) -> DescriptionScores:
    """Read replies and average their scores.

    Args:
        items (`Sequence[DescriptionItem]`): the objects.
        descriptions: id -> description.
        replies: id -> reply of the judge.

    Raises:
        BenchError: a description or a reply is not a text, none belongs to these objects, or an object is there twice.
    """
    check_kind(BenchError, ITEMS, items=items)
    check_said("descriptions", descriptions, (item.id for item in items))
    check_said("replies", replies, (item.id for item in items))
    rows: list[dict[str, Any]] = [
        {
            "id": item.id,
            "description": descriptions.get(item.id),
            "reply": replies.get(item.id),
            "scores": reply_scores(replies.get(item.id)),
        }
        for item in items
    ]
    dimensions: dict[str, dict[str, Any]] = {}
    for code in DIMENSIONS:
        values = [row["scores"][code] for row in rows if code in row["scores"]]
        dimensions[code] = {
            "mean": sum(values) / len(values) if values else None,
            "count": len(values),
            "missing": len(rows) - len(values),
            "interval": mean_interval(values),
        }
    means = [cell["mean"] for cell in dimensions.values()]
    judged = [row for row in rows if row["reply"] is not None]
    return DescriptionScores(
        rows,
        dimensions,
        None if None in means else sum(means) / len(means),
        sum(sum(row["scores"].values()) for row in rows) / (len(rows) * len(DIMENSIONS)) if rows else 0.0,
        [row["id"] for row in rows if row["description"] is None],
        [row["id"] for row in rows if row["description"] is not None and row["reply"] is None],
        [row["id"] for row in judged if len(row["scores"]) < len(DIMENSIONS)],
        compatible_table([row["reply"] for row in judged]),
    )


def compatible_table(replies: Sequence[str | None]) -> dict[str, Any] | None:
    """Return the report of the released script for replies in its own format.

    Returns:
        `dimensions` (full name -> `mean` and `count`, over the replies that have it), `average` (the mean of the four
        means; `None` if a dimension has no score, on which the script stops) and `dropped`, the number of replies that
        it drops whole. `None` if it understands no reply at all.
    """
    read = [compatible_scores(reply) for reply in replies]
    dimensions = {}
    for name in DIMENSIONS.values():
        values = [scores[name] for scores in read if scores is not None and name in scores]
        dimensions[name] = {"mean": sum(values) / len(values) if values else None, "count": len(values)}
    means = [cell["mean"] for cell in dimensions.values()]
    if all(mean is None for mean in means):
        return None
    return {
        "dimensions": dimensions,
        "average": None if None in means else sum(mean for mean in means if mean is not None) / len(means),
        "dropped": sum(scores is None for scores in read),
    }
