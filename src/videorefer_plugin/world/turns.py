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
_LOOKS = ("color", "shape", "pattern", "size", "look")  # categories that a name answers
_MOTIONS = ("doing", "order", "first", "last")  # categories that a short caption answers
SHEET = (  # a list of facts has one category of each group, because those of a group say nearly the same
    ("color", "shape", "pattern", "size"),
    ("start", "end"),
    ("doing", "order", "first", "last", "goal", "cause"),
    ("partner", "nearest"),
    ("next",),
    ("colors", "patterns"),
)
_KEYS = {"partner": "meet", "cause": "why"}  # keys in a list of facts; the others are the names of their categories
ALONE = (  # the same for lists without the clip
    ("color", "shape", "pattern", "size", "start", "end"),
    ("doing", "order", "first", "last"),
    ("goal", "cause"),
    ("next",),
    ("colors", "patterns"),
)
NAMED = (  # the same for lists about objects that the question names by color and shape
    ("pattern", "size", "start", "end"),
    ("doing", "order", "first", "last", "goal", "cause"),
    ("next",),
    ("colors", "patterns"),
)
_PARTS = 4  # of a clip; a list with the clip has the object's motion in each part: where it turns, comes and stops
# The answers to such multiple-choice questions begin with the motion in each part: a model learns the conclusions from
# a motion far sooner if the motion comes first.
CHANGING = ("colors", "patterns")
FROM_PARTS = ("doing", "order", "first", "last", "deed", "goal", "cause", "next", *CHANGING)
# How often questions of each type are tried; with these weights, all five types become about equally frequent.
_CHOICE_WEIGHTS = (0.6, 4.0, 1.0, 2.0, 1.0)
_TRIES = 60  # for a conversation of a mix; with few objects in a clip, it may have fewer turns than others
# If not all options are true of objects of the clip, these answers would be right far more often than one time in
# four, and a model would learn them instead of looking. This share of such questions is kept.
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
    """The mix of multiple-choice questions in conversations whose answers begin with the motion in each part.

    Attributes:
        types: how often questions of each type are tried, in the order of `QUESTION_TYPES`.
        often: category -> factor by which it is more frequent than others of its type, for those hardest to learn.
    """

    types: tuple[float, ...]
    often: Mapping[str, int] = field(default_factory=dict)


def open_turns(facts: Facts, rng: np.random.Generator) -> list[Turn]:
    """Return questions about objects of a clip, of different categories."""
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
    """Return multiple-choice questions. Some categories are excluded; types that few clips have are preferred.

    With a mix, answers that follow from a motion begin with the motion in each part. Each object gets one such
    question: in further ones, the motion could be copied from above. From version 7 of the data on, some options are
    reworded, and with `letters` the letter comes after the words, as the benchmark expects it.
    """
    turns: list[Turn] = []
    done: set[tuple[str, Subject]] = set()  # a second time, the answer could be copied from above
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
            # The model looks up the letter by the words. Conversations without a visual have separate exercises for
            # letters.
            answer = f"Answer: {said} {letter}" if letters and version >= 7 else f"Answer: {said}"
            if in_parts:
                whole = _changed if category in CHANGING else _parts
                answer = " ".join([*(whole(facts, index) for index in question.subjects), answer])
            turns.append((question.prompt, answer, question.subjects, category))
    return turns


def verbal(
    facts: Facts, rng: np.random.Generator, count: int, plainly: bool, version: int = VERSION
) -> list[tuple[str, str]]:
    """Return a conversation in text alone, with a description for each object: a detailed one if `plainly`."""
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
    """Return a list of facts about an object in random order: "next: it will move left. color: red."."""
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
    """Return the motion in the middle of each part of the clip: "part: up, up, still, still."."""
    middles = [(2 * part + 1) * facts.frames // (2 * _PARTS) for part in range(_PARTS)]
    phases = facts.objects[index].phases
    actions = [phase.action for at in middles for phase in phases if phase.start <= at < phase.stop]
    return f"part: {', '.join(language.part(action) for action in actions)}."


def _changed(facts: Facts, index: int) -> str:
    """Return the changing color or pattern in the middle of each part: "part: red, red, blue, blue."."""
    change = facts.objects[index].change
    if change is None:
        raise ValueError("the object does not change")
    middles = [(2 * part + 1) * facts.frames // (2 * _PARTS) for part in range(_PARTS)]
    return f"part: {', '.join(change[1] if at < change[3] else change[2] for at in middles)}."
