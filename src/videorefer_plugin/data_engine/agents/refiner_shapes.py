"""The Refiner of the shapes world, which merges two texts about an object in the words of that world."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.refiner_prompts import checked_kinds
from videorefer_plugin.data_engine.items import (
    Drop,
    Failure,
    Made,
    ObjectItem,
    Question,
    Refined,
    VideoItem,
    seed_of,
)
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES
from videorefer_plugin.world.facts import Facts
from videorefer_plugin.world.judge import Claims, read_description
from videorefer_plugin.world.nouns import LOOKS
from videorefer_plugin.world.values import ACTIONS, Label

__all__ = ["ShapesRefiner"]

_VERSION = 1  # of the rules
_PRODUCTS, _ROUNDS = ("detailed", "qa"), ("one", "many")
_ASKED = {
    "basic": ("look", "color", "shape", "pattern", "size", "start", "end", "doing", "order"),
    "reasoning": ("goal", "cause"),
    "future": ("next",),
}
_NOBODY = Facts(0, 0, 0, "", (), (), (), (), ())  # objects have their names here


class ShapesRefiner(Agent):
    """Writes descriptions, or questions and answers, from the Annotator's texts alone.

    The look is taken from the appearance; motion and positions are taken from the dynamic description. Duplicates are
    merged. The reason of a motion, and its continuation, follow from the motion.

    Args:
        product (`str`): `"detailed"` for descriptions, `"qa"` for questions.
        kinds (`Mapping[str, int]`, *optional*): most questions of each kind about an object: `"basic"`, `"reasoning"`
            and `"future"`. Default: two, one and one.
        rounds (`str`): `"one"` for independent questions, `"many"` for the rounds of a conversation.
    """

    stage = "refiner"

    def __init__(self, product: str = "detailed", kinds: Mapping[str, int] | None = None, rounds: str = "many"):
        for name, value, known in (("product", product, _PRODUCTS), ("rounds", rounds, _ROUNDS)):
            if value not in known:
                raise ConfigurationError(
                    f"{name} of the refiner 'shapes' is {short(value)}; expected one of {', '.join(known)}."
                )
        self._product, self._rounds = product, rounds
        self._kinds = checked_kinds(kinds, "shapes")

    def identity(self) -> dict[str, Any]:
        """See [`Agent.identity`]."""
        asked = {"kinds": self._kinds, "rounds": self._rounds} if self._product == "qa" else {}
        return {"version": _VERSION, "product": self._product, **asked}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """See [`Agent.run`]."""
        return [Made(tuple(self._refined(item, one) for one in item.objects)) for item in items]

    def _refined(self, item: VideoItem, one: ObjectItem) -> Refined | Drop:
        said = _read(one)
        if isinstance(said, Drop):
            return said
        if self._product == "detailed":
            return Refined(_describe(said))
        chance = random.Random(seed_of(item.seed, one.number, "questions"))
        asked = [question for kind in self._kinds for question in self._asked(kind, said, one.number, chance)]
        return Refined(questions=tuple(asked), conversation=self._rounds == "many")

    def _asked(self, kind: str, said: _Said, number: int, chance: random.Random) -> list[Question]:
        known = [(name, answer) for name in _ASKED[kind] if (answer := said.answer(name)) is not None]
        picked = chance.sample(known, min(self._kinds[kind], len(known)))
        return [
            Question(kind, chance.choice(CATEGORIES[name].phrasings), answer, (number,)) for name, answer in picked
        ]


# --- contents of the texts -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """The facts about an object.

    Attributes:
        looks: "color" and "shape", and "pattern" and "size" if they are known.
        motion: its motion, with names of other objects instead of their indices.
        passive: action of another object on it: "chased by", "approached by" or "passed by", and the other's name.
        start, end: its positions.
    """

    looks: dict[str, str]
    motion: Label | None
    passive: tuple[str, str] | None
    start: str | None
    end: str | None

    @property
    def look(self) -> str:
        return " ".join(
            ["a", *(self.looks[key] for key in ("size", "pattern", "color", "shape") if key in self.looks)]
        )

    def answer(self, category: str) -> str | None:
        """Return the answer to a question about it, in the words of the world; None if it is not known."""
        kind = CATEGORIES[category]
        if category == "look":
            return language.sentence(kind.answer.format(self.look))
        if category in ("start", "end"):
            place = getattr(self, category)
            return None if place is None else language.sentence(kind.answer.format(f"at the {place}"))
        if category in LOOKS:
            look = self.looks.get(category)
            return None if look is None else language.sentence(kind.answer.format(look))
        labels = {
            "doing": lambda: self.motion,
            "order": self._order,
            "goal": self._goal,
            "cause": self._cause,
            "next": self._next,
        }
        found = labels[category]()
        return None if found is None else language.sentence(kind.answer.format(kind.text(_NOBODY, found)))

    def _order(self) -> Label | None:
        return self.motion if self.motion and self.motion[0] == "two" else None

    def _goal(self) -> Label | None:
        if self.passive and self.passive[0] == "chased by":
            return ("escape", self.passive[1])
        if self.motion is None or (self.passive and self.passive[0] == "passed by"):
            return None
        kind, *rest = self.motion
        wants: dict[Any, Label] = {"leave": ("leave",), "still": ("stay",)}
        if kind in ("chase", "approach"):
            return ("catch" if kind == "chase" else "reach", *rest)
        return wants.get(kind)

    def _cause(self) -> Label | None:
        kind, *rest = self.motion or ("",)
        if kind == "leave":
            return ("leave",)
        if kind in ("approach", "chase", "behind", "collide"):
            return (kind, *rest)
        of_passive = {"chased by": "chased", "approached by": "approached", "passed by": "front"}
        return (of_passive[self.passive[0]], self.passive[1]) if self.passive else None

    def _next(self) -> Label | None:
        """Return the motion after the clip, if it continues; after a turn, a stop or a meeting it is unknown."""
        kind, *rest = self.motion or ("",)
        if kind == "leave":
            return ("gone",)
        if kind in ("approach", "still"):
            return ("still",)
        if kind in ("move", "circle", "grow", "shrink", "chase", "bounce"):
            return (kind, *rest)
        if kind == "two":
            return ("still",) if rest[-1] == "still" else ("move", rest[-1])
        return None


def _read(one: ObjectItem) -> _Said | Drop:
    """Return the facts from the Annotator's texts; without an Annotator, from the expression."""
    appearance, dynamic = one.noun.expression or one.noun.text, ""
    if one.description is not None:
        # The position of an object, and that it stays there, are not actions, but they are facts.
        dynamic = " ".join([one.description.dynamic, *one.description.filtered]).strip()
        appearance = one.description.appearance or dynamic
    looks = read_description(appearance).looks
    if not {"color", "shape"} <= set(looks):
        return Drop("no_subject", f"The words do not say which object they are about: {short(appearance)}.")
    about_it = _IT.match(
        dynamic
    )  # "it" refers to the appearance; otherwise the dynamic description has its own subject
    claims = read_description(f"{appearance} {dynamic}" if about_it else dynamic)
    by, _, other = claims.passive[0].partition(" by ") if claims.passive else ("", "", "")
    return _Said(
        looks,
        _motion(claims),
        (f"{by} by", other) if by else None,
        claims.start[0] if claims.start else None,
        claims.end[0] if claims.end else None,
    )


_IT = re.compile(r"\s*it\b", re.IGNORECASE)


def _motion(claims: Claims) -> Label | None:
    """Return the motion as one label; its beginning, if there are more claims than a motion has parts."""
    labels = []
    for action in claims.actions:
        kind, _, rest = action.partition(" ")
        if kind == "leave" and not rest:
            continue
        label: Label = (kind, rest) if rest else (kind,)
        if label not in labels:
            labels.append(label)
    if not labels:
        return None
    parts = [str(label[-1]) for label in labels[:2]]
    if len(parts) == 2 and all(part in ACTIONS for part in parts):
        return ("two", *parts)
    return labels[0]


def _describe(said: _Said) -> str:
    """Return all facts, once each, in the order of the world's detailed descriptions."""
    parts = [f"{said.look} starts at the {said.start}" if said.start else f"this is {said.look}"]
    if said.motion:
        parts.append(f"it {language.doing(_NOBODY, said.motion)}")
    if said.passive:
        does = {"approached by": "moves to it and stops", "chased by": "chases it", "passed by": "passes behind it"}
        parts.append(f"the {said.passive[1]} {does[said.passive[0]]}")
    if said.end:
        parts.append(f"it ends at the {said.end}")
    return " ".join(map(language.sentence, parts))
