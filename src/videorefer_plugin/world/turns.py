"""Turns of conversations about the objects of a clip: questions, questions with options, and lists of facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from videorefer_plugin.world import language
from videorefer_plugin.world.categories import CATEGORIES, Subject, asked
from videorefer_plugin.world.facts import Facts
from videorefer_plugin.world.questions import ask, open_questions
from videorefer_plugin.world.values import QUESTION_TYPES, pick
from videorefer_plugin.world.versions import VERSION

__all__ = [
    "ALONE",
    "FROM_PARTS",
    "NAMED",
    "SHEET",
    "TURNS",
    "Mix",
    "Turn",
    "choices",
    "open_turns",
    "sheet",
    "verbal",
]

TURNS = 6  # of a conversation
_LOOKS = ("color", "shape", "pattern", "size", "look")  # what a name answers
_MOTIONS = ("doing", "order", "first", "last")  # what a short caption answers
SHEET = (  # what a list of facts has one of each of: what says nearly the same is not said twice
    ("color", "shape", "pattern", "size"),
    ("start", "end"),
    ("doing", "order", "first", "last", "goal", "cause"),
    ("partner", "nearest"),
    ("next",),
    ("colors", "patterns"),
)
_KEYS = {"partner": "meet", "cause": "why"}  # in a list of facts; the others are called as their categories
ALONE = (  # the same for lists that have to do without the clip
    ("color", "shape", "pattern", "size", "start", "end"),
    ("doing", "order", "first", "last"),
    ("goal", "cause"),
    ("next",),
    ("colors", "patterns"),
)
NAMED = (  # the same for lists about objects that are called by colour and shape
    ("pattern", "size", "start", "end"),
    ("doing", "order", "first", "last", "goal", "cause"),
    ("next",),
    ("colors", "patterns"),
)
_PARTS = 4  # of a clip; a list that goes with it says what the object does in each: where it turns, comes and stops
# Before the answers of such questions with options, what the objects do in each part: what follows from how an object
# moves is learnt far sooner when that is said first.
CHANGING = ("colors", "patterns")
FROM_PARTS = ("doing", "order", "first", "last", "deed", "goal", "cause", "next", *CHANGING)
# How often questions of each type are tried; with these weights, all five are about as frequent in the end.
_CHOICE_WEIGHTS = (0.6, 4.0, 1.0, 2.0, 1.0)
_TRIES = 60  # for a conversation of a mix; of clips with few objects, it may have less turns than others
# Where not all options are true of objects of the clip, these answers would be right far more often than one time in
# four that they are offered, and be learnt instead of looked for. So many of such questions are kept.
_KEPT = {
    ("doing", "still"): 0.6,
    ("goal", "stay"): 0.35,
    ("goal", "leave"): 0.5,
    ("cause", "leave"): 0.25,
    ("next", "still"): 0.4,
}

Turn = tuple[str, str, Subject, str]  # question, answer, objects, category
Asked = tuple[str, Subject, str]  # category, objects, answer


@dataclass(frozen=True)
class Mix:
    """Which questions with options are asked where what objects do in each part comes before what follows from it.

    Attributes:
        types: how often questions of each type are tried, in the order of `QUESTION_TYPES`.
        often: category -> so many times as often as others of its type; the hardest to learn.
    """

    types: tuple[float, ...]
    often: Mapping[str, int] = field(default_factory=dict)


def open_turns(facts: Facts, rng: np.random.Generator) -> list[Turn]:
    """Questions about objects of a clip, of different categories."""
    by_category: dict[str, list[Asked]] = {}
    for one in open_questions(facts):
        by_category.setdefault(one[0], []).append(one)
    groups = list(by_category.values())
    turns = []
    for place in rng.permutation(len(groups))[:TURNS]:
        category, subject, answer = pick(rng, groups[place])
        turns.append((pick(rng, CATEGORIES[category].phrasings), answer, subject, category))
    return turns


def choices(
    facts: Facts,
    rng: np.random.Generator,
    mix: Mix | None = None,
    without: Sequence[str] = (),
    version: int = VERSION,
    letters: bool = True,
) -> list[Turn]:
    """Questions with options, of some categories not; of types that few clips have, more where they are.

    With a mix, answers that follow from how objects move come after what these do in each part. Of each object, one
    such question is asked: in others, that would be copied from above. From version 7 of the data on, some options are
    in other words, and with `letters` the letter comes after the words, as the benchmark asks for it.
    """
    turns: list[Turn] = []
    done: set[tuple[str, Subject]] = set()  # again, the answer would be copied from above
    names: dict[str, list[str]] = {}
    for name, kind in asked(version).items():
        if name not in without:
            names.setdefault(kind.type, []).extend([name] * (mix.often.get(name, 1) if mix else 1))
    often = dict(zip(QUESTION_TYPES, mix.types if mix else _CHOICE_WEIGHTS, strict=True))
    weights = np.array([often[wanted] for wanted in names])
    tries, reworded = 0, version >= 7
    while not turns or (len(turns) < TURNS and not (mix and tries >= _TRIES)):
        tries += 1
        category = pick(rng, names[str(rng.choice(list(names), p=weights / weights.sum()))])
        in_parts = mix and category in FROM_PARTS
        for question in ask(category, facts, rng, full=True, reworded=reworded) or ask(
            category, facts, rng, reworded=reworded
        ):
            kept = _KEPT.get((category, str(question.labels[question.answer][0])), 1)
            if question.spread < len(question.options) and rng.random() > kept:
                continue
            parts = category if category in CHANGING else "parts"
            told = {(parts, (index,)) for index in question.subjects} if in_parts else {(category, question.subjects)}
            if told & done:
                continue
            done |= told
            letter, said = question.options[question.answer].split(" ", 1)
            # The letter is looked up by the words. In words alone, it is what exercises of its own are for.
            answer = f"Answer: {said} {letter}" if letters and version >= 7 else f"Answer: {said}"
            if in_parts:
                whole = _changed if category in CHANGING else _parts
                answer = " ".join([*(whole(facts, index) for index in question.subjects), answer])
            turns.append((question.prompt, answer, question.subjects, category))
    return turns


def verbal(
    facts: Facts, rng: np.random.Generator, count: int, plainly: bool, version: int = VERSION
) -> list[tuple[str, str]]:
    """A conversation in words: a description stands where an object would, a detailed one if `plainly`."""
    found = [*open_turns(facts, rng), *choices(facts, rng, version=version, letters=False)]
    turns = []
    for place in rng.permutation(len(found))[:count]:
        question, answer, subjects, category = found[place]
        for index in subjects:
            region = "[<region>]" if "[<region>]" in question else "<region>"
            said = language.detailed(facts, index, rng)
            if not plainly and category in _LOOKS:
                said = pick(rng, (language.look(facts.objects[index]), language.short(facts, index)))
            elif not plainly and category in _MOTIONS:
                said = language.short(facts, index)
            question = question.replace(region, f"[{said}]", 1)
        turns.append((question, answer))
    return turns


def sheet(facts: Facts, rng: np.random.Generator, index: int, groups: Sequence[tuple[str, ...]], by_part: bool) -> str:
    """A list of facts about an object, one of each group, in any order: "next: it will move left. color: red."."""
    said = []
    for names in groups:
        known = [
            (name, CATEGORIES[name].text(facts, labels[index,]))
            for name in names
            if (index,) in (labels := CATEGORIES[name].labels(facts))
        ]
        if known:
            name, text = pick(rng, known)
            said.append(f"{_KEYS.get(name, name)}: {text}.")
    if by_part:
        said.append(_parts(facts, index))
    return " ".join(said[place] for place in rng.permutation(len(said)))


def _parts(facts: Facts, index: int) -> str:
    """What an object does in the middle of each part of the clip: "part: up, up, still, still."."""
    middles = [(2 * part + 1) * facts.frames // (2 * _PARTS) for part in range(_PARTS)]
    phases = facts.objects[index].phases
    actions = [phase.action for at in middles for phase in phases if phase.start <= at < phase.stop]
    return f"part: {', '.join(language.part(action) for action in actions)}."


def _changed(facts: Facts, index: int) -> str:
    """What a color or pattern that changes is in the middle of each part: "part: red, red, blue, blue."."""
    change = facts.objects[index].change
    if change is None:
        raise ValueError("the object does not change")
    middles = [(2 * part + 1) * facts.frames // (2 * _PARTS) for part in range(_PARTS)]
    return f"part: {', '.join(change[1] if at < change[3] else change[2] for at in middles)}."
