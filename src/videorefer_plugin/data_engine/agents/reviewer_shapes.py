"""The Reviewer of the shapes world: a rule that compares the looks in two texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.items import Drop, Failure, Made, ObjectItem, Verdict, VideoItem
from videorefer_plugin.errors import EngineError
from videorefer_plugin.world.judge import read_description

__all__ = ["ShapesReviewer"]

_VERSION = 1  # of the rule
_NEEDED = ("color", "shape")  # these identify an object of a clip
_COMPARED = ("size", "pattern", "color", "shape")


class ShapesReviewer(Agent):
    """Keeps an object if color and shape of both texts agree, and pattern and size if both texts name them."""

    stage = "reviewer"

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        return {"version": _VERSION}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """See [`Agent.run`]."""
        return [Made(tuple(_judged(one) for one in item.objects)) for item in items]


def _judged(item: ObjectItem) -> Verdict | Drop:
    if item.description is None or item.caption is None:
        raise EngineError("The reviewer 'shapes' needs a description and a region caption; run their agents first.")
    return compare(item.description.text, item.caption.text)


def compare(description: str, caption: str) -> Verdict:
    """Return the verdict on two texts. The score is the share of equal properties among those that both name."""
    said, seen = read_description(description).looks, read_description(caption).looks
    for text, looks in ((description, said), (caption, seen)):
        lacking = [key for key in _NEEDED if key not in looks]
        if lacking:
            return Verdict(False, f"{short(text)} does not say the object's {' and '.join(lacking)}.", 0.0)
    both = [key for key in _COMPARED if key in said and key in seen]
    other = [key for key in both if said[key] != seen[key]]
    score = round(1 - len(other) / len(both), 3)
    if other:
        told = ", ".join(f"{key} is {said[key]} in one and {seen[key]} in the other" for key in other)
        return Verdict(False, f"The texts differ: {told}.", score)
    return Verdict(True, f"Both texts say {' '.join(said[key] for key in both)}.", score)
