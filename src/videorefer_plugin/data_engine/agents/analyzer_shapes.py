"""The Analyzer of the shapes world: a grammar of that world's captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.nouns import NounRules
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Noun, VideoItem
from videorefer_plugin.world.nouns import Mention, mentions

__all__ = ["ShapesAnalyzer"]

_VERSION = 1  # of the grammar


class ShapesAnalyzer(Agent):
    """Finds the objects that a caption of the shapes world names, each once.

    Words that are not nouns of that world are ignored. A caption without nouns becomes one dropped object of kind
    `"no_noun"`, and an empty one `"no_caption"`.

    Args:
        mode (`str`): `"all"`, or `"short"` for single subjects only.
        max_objects (`int`): most objects of a caption.
    """

    stage = "analyzer"

    def __init__(self, mode: str = "all", max_objects: int = 10):
        self._rules = NounRules(mode, max_objects, ())

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        return {"version": _VERSION, **self._rules.identity()}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """See [`Agent.run`]."""
        return [Made(self._objects(item.source.caption)) for item in items]

    def _objects(self, caption: str) -> tuple[Noun | Drop, ...]:
        if not caption.strip():
            return (Drop("no_caption", "There is no caption to find objects in."),)
        nouns = [_noun(mention) for mention in _merged(mentions(caption))]
        if not nouns:
            return (Drop("no_noun", f"The caption names no object of the shapes world: {short(caption)}"),)
        return self._rules.sift(caption, nouns)


def _merged(found: Sequence[Mention]) -> list[Mention]:
    """Return each object once, as its most detailed mention. In this world, color and shape identify objects.

    "A large blue star" is "the blue star" of the sentence before. A mention that fits two objects becomes a new one.
    """
    merged: list[Mention] = []
    for mention in dict.fromkeys(found):
        same = [place for place, one in enumerate(merged) if _may_be_same(one, mention)]
        if len(same) != 1:
            merged.append(mention)
            continue
        one = merged[same[0]]
        fuller = max(one, mention, key=lambda each: len(each.looks))
        merged[same[0]] = replace(fuller, first=one.first or mention.first)
    return merged


def _may_be_same(one: Mention, other: Mention) -> bool:
    named_alike = "color" in one.looks and all(one.looks[key] == other.looks.get(key) for key in ("color", "shape"))
    return named_alike and other.agrees_with(one.looks) and one.singular == other.singular


def _noun(mention: Mention) -> Noun:
    name = " ".join(mention.looks[key] for key in ("color", "shape") if key in mention.looks)
    plural = mention.text.lower().rpartition(mention.looks["shape"])[2]
    return Noun(name + plural, mention.text.lower(), "subject" if mention.first else "other", mention.singular)
