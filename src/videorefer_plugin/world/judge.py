"""Scores for descriptions by rule, on the four dimensions of VideoRefer-Bench-D (paper, section 3.3.1).

The benchmark has a language model compare a description with the truth. In the shapes world the truth is known and the
language is small, so that rules can do it. A description is taken apart into claims:

- its subject is the first object that it names; "it", and the same color and shape again, are the subject;
- claims of look: color, shape, pattern and size of the subject;
- claims of time: what the subject does, in order; what others do to it; its position at the start and at the end;
- claims of presence: every other object that is named by color and shape;
- every word that the shapes world does not know is a claim, too, and a false one.

The scores are, each from 0 to 5:

- SC (subject correspondence): 5 if color and shape of the subject are right, 2.5 if one of them is, else 0.
- AD (appearance): 5 x right claims of look / known facts of the look.
- TD (temporal): 5 x right claims of time / (known facts of time + false claims of time). Actions count in order.
- HD (hallucination): 5 x right claims / all claims; 0 if there are none, since an empty answer describes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.world import language
from videorefer_plugin.world.categories import in_a_way, partners
from videorefer_plugin.world.facts import Facts
from videorefer_plugin.world.nouns import ADJECTIVES, LOOKS
from videorefer_plugin.world.values import DIRECTIONS, SHAPES, Label

__all__ = ["DIMENSIONS", "Claims", "description_facts", "read_description", "score_description"]

DIMENSIONS = ("SC", "AD", "TD", "HD")
"""The four scores of a description, as VideoRefer-Bench-D names them."""

_PASSIVE = {"chase": "chased by", "approach": "approached by", "behind": "passed by"}


def description_facts(facts: Facts, index: int) -> dict[str, Any]:
    """Return the facts that a description of an object is scored against, in the form of JSON.

    Returns:
        `color`, `shape`, `pattern`, `size`, `start`, `end` (each None where it is not clear, or changes), `actions`
        (its actions, in order), `also` (further actions that are partly true, and so neither required nor false),
        `passive` (what others do to it) and `others` (color and shape of all other objects).
    """
    item = facts.objects[index]
    kind, other, acts = partners(facts).get(index, ("", 0, True))
    also = {action for label in in_a_way(facts, (index,)) for action in _actions(facts, label)}
    return {
        **{key: getattr(item, key) for key in (*LOOKS, "start", "end")},
        "actions": _actions(facts, item.motion),
        "also": sorted(also),
        "passive": [] if acts else [f"{_PASSIVE[kind]} {language.name(facts, other)[4:]}"],
        "others": [language.name(facts, i)[4:] for i in range(len(facts.objects)) if i != index],
    }


def _actions(facts: Facts, label: Label) -> list[str]:
    kind, *rest = label
    if kind == "two":
        return ["still" if action == "still" else f"move {action}" for action in rest]
    return [" ".join([str(kind), *(language.name(facts, r)[4:] if isinstance(r, int) else r for r in rest)])]


def score_description(text: str, facts: Mapping[str, Any]) -> dict[str, float]:
    """Score a description of an object by the rules at the head of this module.

    Args:
        text: the description.
        facts: the result of `description_facts`.

    Returns:
        "SC", "AD", "TD" and "HD", each from 0 to 5.

    Raises:
        ConfigurationError: the facts lack a key.

    Examples:
        >>> facts = {"color": "red", "shape": "star", "pattern": "plain", "size": "small", "start": "top left",
        ...          "end": None, "actions": ["grow"], "also": [], "passive": [], "others": ["blue cross"]}
        >>> score_description("A small plain blue star starts at the top left. It grows.", facts)
        {'SC': 2.5, 'AD': 3.75, 'TD': 5.0, 'HD': 4.0}
    """
    missing = {*LOOKS, "start", "end", "actions", "also", "passive", "others"} - set(facts)
    if missing:
        raise ConfigurationError(f"facts lack {', '.join(sorted(missing))}: expected what description_facts gives")
    said = read_description(text)
    known = {key: facts[key] for key in LOOKS if facts[key]}
    right_looks = [key for key, value in said.looks.items() if known.get(key) == value]
    wrong_looks = [key for key, value in said.looks.items() if key in known and known[key] != value]

    followed = _followed(said.actions, facts["actions"])
    right, extra = len(followed), list(said.actions)
    for action in followed:
        extra.remove(action)
    wrong = [action for action in extra if action not in facts["also"]]
    expected = len(facts["actions"])
    for key, claims in (("passive", said.passive), ("start", said.start), ("end", said.end)):
        truth = facts[key] if key == "passive" else [facts[key]] if facts[key] else []
        expected += len(truth)
        right += len(set(truth) & set(claims))
        # No claim about an unclear position can be false.
        wrong += sorted(set(claims) - set(truth)) if truth or key == "passive" else []

    present = [other for other in said.others if other in facts["others"]]
    true = len(right_looks) + right + len(present)
    false = len(wrong_looks) + len(wrong) + len(said.others) - len(present) + len(said.unknown)
    named = [key for key in ("color", "shape") if key in known]  # a color that changes is none
    return {
        "SC": 5 * sum(key in right_looks for key in named) / len(named),
        "AD": 5 * len(right_looks) / len(known),
        "TD": 5 * right / (expected + len(wrong)),
        "HD": 5 * true / (true + false) if true + false else 0.0,
    }


def _same(said: str, true: str) -> bool:
    return said == true or (said == "leave" and true.startswith("leave"))


def _followed(said: Sequence[str], true: Sequence[str]) -> list[str]:
    """Return the longest sequence of claimed actions that is true in this order (at most two actions are true)."""
    for first, a in enumerate(said):
        if len(true) == 2 and _same(a, true[0]):
            for b in said[first + 1 :]:
                if _same(b, true[1]):
                    return [a, b]
    return next(([a] for a in said if any(_same(a, t) for t in true)), [])


# --- reading a description ------------------------------------------------------------------------------------------


@dataclass
class Claims:
    """What a description claims, in the words of [`description_facts`].

    Attributes:
        looks: look of its subject: those of "color", "shape", "pattern" and "size" that it names.
        actions: what the subject does, in order.
        passive: what others do to it.
        start, end: positions of the subject; one each, unless the description contradicts itself.
        others: color and shape of all other objects that are named.
        unknown: words that the shapes world does not have.
    """

    looks: dict[str, str] = field(default_factory=dict)
    actions: list[str] = field(default_factory=list)
    passive: list[str] = field(default_factory=list)
    start: list[str] = field(default_factory=list)
    end: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


_NOUN = re.compile(
    rf"\b(?:an?|the|this|another) ((?:(?:{ADJECTIVES}),? )*)({'|'.join(SHAPES)}|object)\b(?! left| right)"
)
_DIRECTION = "|".join(sorted(DIRECTIONS, key=len, reverse=True))
_QUARTER = r"(?:at|in|to|from) the (top|bottom) (left|right)"
_PLACES = (
    re.compile(rf"\b(start|begin|end)(?:s|ing)?\b[^.]*?{_QUARTER}"),
    re.compile(rf"{_QUARTER} at the (start|end)\b"),
)
# One alternative for each action; @3 stands for the third object named.
_ACTION = re.compile(
    r"\b(?:moves?|goes) to @(?P<approach>\d+)(?: and stops)?"
    r"|\bhits? @(?P<collide>\d+)(?: and turns back)?"
    r"|\b(?:passes|moves|goes) behind @(?P<behind>\d+)"
    r"|\bchases? @(?P<chase>\d+)"
    r"|\bis chased by @(?P<chased>\d+)"
    r"|(?P<leave>\bleaves? the frame)(?: (?:on|at|to) the (?P<edge>left|right|top|bottom))?"
    r"|(?P<circle>\bmoves? in circles\b)"
    r"|(?P<bounce>\bbounces? (?:up and down|left and right))"
    r"|(?P<grow>\bgrows?\b)|(?P<shrink>\bshrinks?\b)"
    r"|(?P<still>\b(?:stays? still|does not move|waits?|stops?)\b)"
    rf"|\b(?:moves?|goes|then)(?: to the)? (?P<move>{_DIRECTION})\b"
)
_OTHER_ACTION = re.compile(r"^@(\d+) (chases|moves to|passes behind) (?:it|@0)\b")
_OTHER_KIND = {"chases": "chase", "moves to": "approach", "passes behind": "behind"}
# Words that claim nothing false, although the shapes world does not use them.
_HARMLESS = {
    *("also", "an", "another", "be", "begin", "begins", "by", "chased", "clip", "ending", "goes", "he", "image", "no"),
    *("not", "one", "starting", "when", "while"),
}
_FORMS = {
    "chasing": "chases",
    "follows": "chases",
    "following": "chases",
    "moving": "moves",
    "passing": "passes",
    "leaving": "leaves",
    "hitting": "hits",
    "bouncing": "bounces",
    "growing": "grows",
    "shrinking": "shrinks",
    "staying": "stays",
}


def read_description(text: str) -> Claims:
    """Take a description apart into the claims that the head of this module lists."""
    claims = Claims()
    plain = re.sub(r"\s+", " ", text.lower())
    claims.unknown = sorted(set(language.words(plain)) - language.VOCABULARY - _HARMLESS - set(_FORMS))
    plain = re.sub(r"[a-z]+", lambda word: _FORMS.get(word[0], word[0]), plain)
    plain = plain.replace("in a circle", "in circles")  # which does not name an object
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        adjectives = re.findall(ADJECTIVES, match[1])
        looks = {key: word for key, values in LOOKS.items() for word in adjectives if word in values}
        if match[2] != "object":
            looks["shape"] = match[2]
        name = f"{looks.get('color', '')} {looks.get('shape', '')}".strip()
        if not names:
            claims.looks = looks
        elif name not in names and name:
            claims.others.append(name)
        names.append(name)
        return f"@{names.index(name)}"

    plain = _NOUN.sub(number, plain)
    for part in re.split(r"[.;!?]", plain):
        _read_sentence(part.strip(), names, claims)
    return claims


def _read_sentence(part: str, names: list[str], claims: Claims) -> None:
    other = _OTHER_ACTION.match(part)
    if other and other[1] != "0":
        claims.passive.append(f"{_PASSIVE[_OTHER_KIND[other[2]]]} {names[int(other[1])]}")
        return
    if re.match(r"@[1-9]", part):
        return  # about another object only: there are no facts here to compare it with
    for pattern in _PLACES:
        for found in pattern.findall(part):
            *_, when = sorted(found, key=lambda word: word in ("start", "begin", "end"))
            quarter = " ".join(word for word in found if word != when)
            (claims.end if when == "end" else claims.start).append(quarter)
        part = pattern.sub(" ", part)
    for match in _ACTION.finditer(part):
        kind = match.lastgroup or ""
        value = match[kind]
        if kind == "chased":
            claims.passive.append(f"chased by {names[int(value)]}")
        elif value.isdigit():
            claims.actions.append(f"{kind} {names[int(value)]}")
        elif kind == "edge":
            claims.actions.append(f"leave {value}")
        elif kind == "bounce":
            claims.actions.append(f"bounce {'upright' if 'up' in value else 'sideways'}")
        else:
            claims.actions.append(f"move {value}" if kind == "move" else kind)
