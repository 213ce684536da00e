"""The Analyzer of the shapes world: a grammar, which knows the captions of that world and no other words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Noun, VideoItem
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world.nouns import Mention, mentions

__all__ = ["ShapesAnalyzer"]

_VERSION = 1  # of the grammar


class ShapesAnalyzer(Agent):
    """Finds the objects that a caption of the shapes world names, each once.

    Args:
        subjects_only (`bool`, *optional*, defaults to `False`): drop what is only mentioned, such as the square in "a
            red circle moves to the blue square".
    """

    stage = "analyzer"

    def __init__(self, subjects_only: bool = False):
        if not isinstance(subjects_only, bool):
            raise ConfigurationError(f"subjects_only is {short(subjects_only)}; expected true or false.")
        self.subjects_only = subjects_only

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        return {"agent": "shapes", "version": _VERSION, "subjects_only": self.subjects_only}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """See [`Agent.run`]."""
        return [Made(tuple(self._objects(item.source.caption))) for item in items]

    def _objects(self, caption: str) -> list[Noun | Drop]:
        found: list[list[Mention]] = []
        for mention in mentions(caption):
            same = _same_as(mention, found)
            if same is None:
                found.append([mention])
            else:
                same.append(mention)
        if not found:
            return [Drop("no_noun", f"The caption names no object of the shapes world: {short(caption)}.")]
        return [self._outcome(one) for one in found]

    def _outcome(self, found: list[Mention]) -> Noun | Drop:
        longest = max(found, key=lambda mention: len(mention.looks))
        role = "subject" if any(mention.first for mention in found) else "other"
        if not longest.singular:
            return Drop("plural", f"{longest.text!r} are several objects.")
        if self.subjects_only and role == "other":
            return Drop("not_subject", f"{longest.text!r} is mentioned, but no sentence is about it.")
        name = " ".join(longest.looks[key] for key in ("color", "shape") if key in longest.looks)
        look = " ".join(longest.looks[key] for key in ("size", "pattern", "color", "shape") if key in longest.looks)
        return Noun(name, f"a {look}", role)


def _same_as(mention: Mention, found: list[list[Mention]]) -> list[Mention] | None:
    """The object that a mention means again; none if it may be several, or another one of the same look."""
    if "color" not in mention.looks:
        return None
    same = [one for one in found if all(_may_be_same(mention, other) for other in one)]
    return same[0] if len(same) == 1 else None


def _may_be_same(mention: Mention, other: Mention) -> bool:
    named_alike = all(mention.looks[key] == other.looks.get(key) for key in ("color", "shape"))
    return named_alike and mention.agrees_with(other.looks) and mention.singular == other.singular
