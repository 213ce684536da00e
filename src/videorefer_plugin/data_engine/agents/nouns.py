"""The choice of the nouns of a caption that are objects to work on, for all Analyzers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import Drop, Noun
from videorefer_plugin.errors import ConfigurationError

__all__ = ["MODES", "SCENERY", "NounRules", "is_scenery", "words_of"]

MODES = ("all", "short")

SCENERY = (
    *("video", "clip", "footage", "film", "movie", "animation", "scene", "shot", "frame", "image", "picture", "photo"),
    *("camera", "view", "viewer", "perspective", "close-up", "background", "foreground", "backdrop", "setting"),
    *("caption", "subtitle", "watermark", "slow motion", "time lapse", "timelapse"),
    *("weather", "time", "moment", "day", "night", "morning", "afternoon", "evening"),
    *("side", "left", "right", "front", "back", "bottom", "middle", "center", "distance", "area", "way"),
)
"""Nouns of captions about the picture or about locations, which are not objects that can be pointed at."""

# A word is a run of letters and digits, or one character in scripts without spaces.
_ALONE = "\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
_ARTICLES = frozenset(("a", "an", "the", "this", "that", "his", "her", "its", "their", "one"))
_NEW = (("a",), ("an",))
_ANOTHER = frozenset(("another", "other", "second", "third", "different", "more"))


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text without case and punctuation, for comparison."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def is_scenery(text: str, scenery: Iterable[str] = SCENERY) -> bool:
    """Return whether a noun, which may have words before it, is one of these."""
    said = words_of(text)
    return any(said[-len(words) :] == words for words in map(words_of, scenery) if words)


@dataclass(frozen=True)
class NounRules:
    """The rules for the nouns of a caption.

    Attributes:
        mode (`str`): `"all"`, or `"short"` for single objects that are the subject of the caption, which can then be
            used as their short description (paper, section 3.1.2).
        max_objects (`int`): most objects of a caption; further ones are dropped.
        scenery (`Sequence[str]`): nouns that are not objects.
    """

    mode: str = "all"
    max_objects: int = 10
    scenery: Sequence[str] = SCENERY

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigurationError(f"The mode of the analyzer is {short(self.mode)}; expected 'all' or 'short'.")
        most: Any = self.max_objects
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise ConfigurationError(
                f"max_objects of the analyzer is {short(most)}; expected a whole number from 1 up, of objects of a "
                "caption."
            )
        words: Any = self.scenery
        if isinstance(words, str) or not isinstance(words, Sequence) or not all(isinstance(one, str) for one in words):
            raise ConfigurationError(
                f"scenery of the analyzer is {short(words)}; expected a list of nouns that are not objects, such as "
                "['scene', 'camera']; an empty one if every noun is an object."
            )

    def identity(self) -> dict[str, Any]:
        """Return everything that the outcome depends on."""
        return {"mode": self.mode, "max_objects": self.max_objects, "scenery": list(self.scenery)}

    def sift(self, caption: str, found: Iterable[Noun]) -> tuple[Noun | Drop, ...]:
        """Return the nouns of a caption that are objects to work on, and a [`Drop`] for each other noun.

        A thing that is named twice becomes one object. A caption without nouns gives a single [`Drop`].
        """
        sifted: list[Noun | Drop] = []
        said = words_of(caption)
        words, kept = frozenset(said), 0
        for noun in _merged(found, said):
            reason = self._against(noun, words)
            if reason is None and kept >= self.max_objects:
                reason = Drop("surplus", f"{noun.text!r} is beyond the {self.max_objects} object(s) of a caption.")
            kept += reason is None
            sifted.append(reason or noun)
        return tuple(sifted) or (Drop("no_noun", "The caption names no object."),)

    def _against(self, noun: Noun, caption: frozenset[str]) -> Drop | None:
        text = words_of(noun.text)
        if not text or not caption.issuperset(text) or not caption.issuperset(words_of(noun.expression)):
            return Drop("invented", f"{short(noun.expression or noun.text)} does not stand in the caption.")
        if is_scenery(noun.text, self.scenery):
            return Drop("scenery", f"{noun.text!r} is a part of the scene, and no object that could be pointed at.")
        if self.mode == "all":
            return None
        if noun.role != "subject":
            return Drop("not_subject", f"{noun.text!r} is not what the caption is about.")
        return None if noun.singular else Drop("plural", f"{noun.text!r} is more than one object.")


@dataclass(frozen=True)
class _Said:
    """A noun with its words, which are computed once, since each noun is compared with many."""

    noun: Noun
    words: frozenset[str]
    new: bool  # whether it introduces something new, such as "a dog"

    @classmethod
    def of(cls, noun: Noun) -> _Said:
        words = words_of(noun.expression)
        return cls(noun, frozenset((*words_of(noun.text), *words)) - _ARTICLES, words[:1] in _NEW)

    def means(self, before: _Said) -> bool:
        """Return whether it repeats an earlier noun: "the dog" may be "a brown dog", but "another dog" is not."""
        if self.noun.singular != before.noun.singular:
            return False
        if self.words == before.words:
            return True
        # A second "a dog" with more or fewer words is a new one.
        inside = self.words <= before.words or before.words <= self.words
        return inside and not self.new and not (self.words ^ before.words) & _ANOTHER


def _merged(found: Iterable[Noun], caption: tuple[str, ...]) -> list[Noun]:
    """Return the nouns, with duplicates merged: the one with more words stays, as a subject if either is one."""
    text = f" {' '.join(caption)} "
    merged: list[_Said] = []
    places: dict[tuple[str, ...], list[int]] = {}  # of those with the same last word; only these may be equal
    for said in map(_Said.of, found):
        alike = places.setdefault(words_of(said.noun.text)[-1:], [])
        meant = [place for place in alike if said.means(merged[place])]
        equal = [place for place in meant if said.new and merged[place].new and merged[place].words == said.words]
        same = meant[0] if meant else None
        if equal and len(equal) < _times(text, said.noun.expression):  # "A man talks to a man."
            same = None
        if same is None:
            alike.append(len(merged))
            merged.append(said)
        else:
            fuller = max(merged[same], said, key=lambda one: len(one.words))
            subject = "subject" in (merged[same].noun.role, said.noun.role)
            merged[same] = replace(fuller, noun=replace(fuller.noun, role="subject" if subject else "other"))
    return [said.noun for said in merged]


def _times(text: str, expression: str) -> int:
    """Return the number of times that a caption has an expression; neighbors share the space between them."""
    return len(re.findall(rf"(?= {re.escape(' '.join(words_of(expression)))} )", text))
