"""The language of the shapes world: few words, short sentences, and one wording for each fact.

Questions have several phrasings (`categories.py`). Answers have one, so that a small model can learn them and a rule
can check them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from videorefer_plugin.world.facts import Facts, ObjectFacts
from videorefer_plugin.world.values import Label, pick

__all__ = [
    "VOCABULARY",
    "cause",
    "change",
    "deed",
    "detailed",
    "doing",
    "goal",
    "image_caption",
    "look",
    "name",
    "next_action",
    "part",
    "phase",
    "reworded",
    "scene_caption",
    "sentence",
    "short",
    "side",
    "words",
]

VOCABULARY = frozenset(
    """
    a above after and answer at away b back because behind below between big blue bordered bottom bounces bouncing
    brief c catch change chases chasing choices circle color comes company compared cross cyan d describe description
    detail detailed diamond directly do does doing dotted down each end ends first frame from front get gets give
    given go goal goes gone green growing grows happens has have hidden hides highlighted hit hits how hurries in is it
    its keep large last leave leaves left letter like look meet move moves moving nearest next not object of on option
    orange order other out part passes pattern pink place plain please purple reach reaches red right runs s second
    seen shape shrinking shrinks size small square star start starts stay stays still stops striped that the then
    there they this to top triangle turns up video waits want wants what where which why will with yellow
    """.split()  # noqa: SIM905 (read as lines of words)
)
"""All words of this world, including those of questions and prompts."""

_SIDES = {"left": "to the left", "right": "to the right", "above": "above", "below": "below"}
_BOUNCE = {"sideways": "left and right", "upright": "up and down"}


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower().replace("<region>", " ").replace("<video>", " ").replace("<image>", " "))


def sentence(text: str) -> str:
    """Return the text with a capital letter and a period."""
    return f"{text[0].upper()}{text[1:]}."


def name(facts: Facts, who: int | str) -> str:
    """Return the name of an object, e.g. "the red circle". `who` is its index, or its color and shape.

    An object that changes its color is named by its shape alone.
    """
    if isinstance(who, str):
        return f"the {who}"
    return " ".join(filter(None, ("the", facts.objects[who].color, facts.objects[who].shape)))


def look(item: ObjectFacts) -> str:
    """Return the whole look, e.g. "a small striped red circle", without parts that change."""
    return " ".join(filter(None, ("a", item.size, item.pattern, item.color, item.shape)))


# --- wording of labels ----------------------------------------------------------------------------------------------


def doing(facts: Facts, label: Label) -> str:
    """Return the motion of an object, e.g. "moves left, then up"."""
    kind, *rest = label
    if kind == "two":
        first, last = map(str, rest)
        if first == "still":
            return f"waits, then moves {last}"
        return f"moves {first}, then stops" if last == "still" else f"moves {first}, then {last}"
    if kind == "bounce":
        return f"bounces {_BOUNCE[str(rest[0])]}"
    other = name(facts, rest[0]) if rest else ""
    says: dict[str | int, Callable[[], str]] = {
        "still": lambda: "stays still",
        "move": lambda: f"moves {rest[0]}",
        "circle": lambda: "moves in a circle",
        "grow": lambda: "grows",
        "shrink": lambda: "shrinks",
        "leave": lambda: f"leaves the frame on the {rest[0]}",
        "approach": lambda: f"moves to {other} and stops",
        "chase": lambda: f"chases {other}",
        "behind": lambda: f"passes behind {other}",
        "collide": lambda: f"hits {other} and turns back",
    }
    return says[kind]()


def phase(action: str) -> str:
    """Return the motion of an object in one phase: "moves left" or "stays still"."""
    return "stays still" if action == "still" else f"moves {action}"


def part(action: str) -> str:
    """Return the motion of an object in a part of a clip, e.g. "left" or "growing"."""
    return {"bounce": "bouncing", "grow": "growing", "shrink": "shrinking"}.get(action, action)


def next_action(facts: Facts, label: Label) -> str:
    """Return the motion of an object after the clip, e.g. "will move left"."""
    kind, *rest = label
    if kind == "bounce":
        return f"will keep bouncing {_BOUNCE[str(rest[0])]}"
    if kind in ("reach", "chase"):
        return f"will {'reach' if kind == 'reach' else 'keep chasing'} {name(facts, rest[0])}"
    return {
        "move": f"will move {rest[0] if rest else ''}",
        "still": "will stay still",
        "gone": "will stay out of the frame",
        "leave": "will leave the frame",
        "circle": "will keep moving in a circle",
        "grow": "will keep growing",
        "shrink": "will keep shrinking",
    }[str(kind)]


def goal(facts: Facts, label: Label) -> str:
    """Return the goal of an object, e.g. "to catch the red circle"."""
    kind, *rest = label
    if rest:
        verb = {"catch": "to catch", "escape": "to get away from", "reach": "to reach"}[str(kind)]
        return f"{verb} {name(facts, rest[0])}"
    return {"leave": "to leave the frame", "stay": "to stay in its place"}[str(kind)]


def cause(facts: Facts, label: Label) -> str:
    """Return an event and its reason, e.g. "it turns back because it hits the red circle"."""
    kind, *rest = label
    other = name(facts, rest[0]) if rest else ""
    return {
        "approach": f"it stops because it reaches {other}",
        "approached": f"it gets company because {other} comes to it",
        "chase": f"it hurries because it wants to catch {other}",
        "chased": f"it runs away because {other} chases it",
        "behind": f"it is hidden because it passes behind {other}",
        "front": f"it hides {other} because it is in front",
        "collide": f"it turns back because it hits {other}",
        "leave": "it is gone because it leaves the frame",
    }[str(kind)]


def deed(label: Label) -> str:
    """Return the action of one of two objects on the other, e.g. "the first chases the second"."""
    kind, *rest = label
    if kind == "collide":
        return "they hit each other"
    subject, other = ("first", "second") if rest[0] == "first" else ("second", "first")
    verb = {"chase": "chases", "approach": "moves to", "behind": "passes behind"}[str(kind)]
    return f"the {subject} {verb} the {other}"


def side(label: Label) -> str:
    """Return the position of one object relative to another one, e.g. "to the left"."""
    return _SIDES[str(label[0])]


def change(label: Label) -> str:
    """Return the two values of a change, e.g. "red, then blue"."""
    return f"{label[0]}, then {label[1]}"


# Other wordings of options, so that a model has to read them; an option that fits none of them gets "it is".
_REWORDED = (
    (r"\bmoves\b", "goes"),
    (r"\bwill move\b", "will go"),
    (r"\bwill stay still\b", "will not move"),
    (r"\bstays still\b", "does not move"),
    (r"\bleave the frame\b", "go out of the frame"),
    (r"\bleaves the frame\b", "goes out of the frame"),
    (r"\bchases\b", "runs after"),
    (r"\breach\b", "get to"),
    (r"\breaches\b", "gets to"),
    (r"\bpasses behind\b", "goes behind"),
    (r"^to the (left|right)$", r"on the \1"),
    (r"^(\w+), then (\w+)$", r"first \1 and then \2"),
)


def reworded(text: str) -> str:
    """Return another wording of an option, e.g. "it goes left" for "it moves left", and "it is red" for "red"."""
    changed = text
    for pattern, instead in _REWORDED:
        changed = re.sub(pattern, instead, changed)
    if changed != text or re.match(r"(it|they|to (?!the)|the (first|second)) ?\b", text):
        return changed
    return f"it is {text}"


# --- descriptions ---------------------------------------------------------------------------------------------------


def short(facts: Facts, index: int) -> str:
    """Return a short caption, e.g. "A small striped red circle that moves left."."""
    item = facts.objects[index]
    return sentence(f"{look(item)} that {doing(facts, item.motion)}")


def detailed(facts: Facts, index: int, rng: np.random.Generator | None = None) -> str:
    """Return a detailed description: look, position, motion, actions of others on the object, and position at the end.

    Args:
        facts: facts of the clip.
        index: index of the object.
        rng: chooses between two wordings. Without it, the first one is used.
    """
    item = facts.objects[index]
    plainly = rng is None or pick(rng, (True, False))
    if plainly:
        parts = [f"{look(item)} starts at the {item.start}" if item.start else f"this is {look(item)}"]
    else:
        parts = [f"this is {look(item)}"] + ([f"at the start it is at the {item.start}"] if item.start else [])
    parts.append(f"it {doing(facts, item.motion)}")
    if item.change:
        parts.append(f"it is {change(item.change[1:3])}")
    for number, other in enumerate(facts.objects):
        if other.motion[-1] == index and other.motion[0] != "collide":  # a collision is the motion of both
            done = {"approach": "moves to it and stops", "chase": "chases it", "behind": "passes behind it"}
            parts.append(f"{name(facts, number)} {done[str(other.motion[0])]}")
    if item.end:
        parts.append(f"it ends at the {item.end}" if plainly else f"at the end it is at the {item.end}")
    return " ".join(map(sentence, parts))


def scene_caption(facts: Facts, order: list[int]) -> str:
    """Return a caption of a clip, without regions: one sentence for each object, in the order given."""
    return " ".join(sentence(f"{look(facts.objects[i])} {doing(facts, facts.objects[i].motion)}") for i in order)


def image_caption(items: list[tuple[ObjectFacts, str | None]]) -> str:
    """Return a caption of one frame, without regions: each object, in the order given, with its quarter."""
    said = [f"{look(item)} is at the {quarter}" if quarter else f"there is {look(item)}" for item, quarter in items]
    return " ".join(map(sentence, said))
