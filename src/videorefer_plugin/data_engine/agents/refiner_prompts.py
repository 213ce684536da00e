"""The prompts of the Refiner. The wording is this library's, since the paper prints none."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import seed_of
from videorefer_plugin.errors import ConfigurationError

__all__ = ["ALL_PROMPTS", "KINDS", "PROMPT_VERSION", "checked_kinds", "description_task", "questions_task"]

PROMPT_VERSION = 1  # raise it when a prompt changes

_MOST = 20  # questions of a kind in one request

KINDS = {
    "basic": "can be answered by watching: {focus}",
    "reasoning": "need thought or knowledge of the world to explain what happens, and not only what can be seen",
    "future": "ask what is likely to happen next, and the answer says why",
}
"""Kinds of questions (paper, section 3.1.2), with their descriptions for the model."""

_FOCUSES = (
    "what it is",
    "what it looks like",
    "what it does",
    "where it is",
    "how it interacts with what is around it",
    "how that changes over time",
)

_DESCRIPTION = """\
Below is what two observers of a video noted about one object: its look, and what it does. Write one coherent \
description of the object from it.

Rules:
- Say everything once. Where both notes say the same, or contradict each other, keep what is said more exactly.
- Add nothing that the notes do not say, and leave out guesses and moods.
- Begin with what the object is and looks like; then say what it does, in order of time.
- Write as if you had watched the video. Do not speak of notes, captions, descriptions or observers.

Reply with JSON and nothing else:
{"description": "<the description>"}"""

_QUESTIONS = """\
Below is what is known about {what} in a video. Write questions and answers for people who watch the video{about}.

Write exactly these:
{kinds}

Rules:
- In a question, call {names}, not by the name in the notes, and as often as you need. \
{relations}
- In an answer, never write "object" with a number; use a word such as "the man".
- Answers follow from the notes, or from them and knowledge of the world. Invent nothing, and answer in full sentences.
- {rounds}
- Write as if you had watched the video. Do not speak of notes, captions, descriptions or observers.

Reply with JSON and nothing else, with the kind of each question and the numbers of the objects that it names:
{{"questions": [{{"kind": "<{options}>", "question": "<text>", "answer": "<text>", "objects": [1]}}]}}"""

_ONE = ("one object", " and point at the object", 'the object "object 1"', "Every question names it.")
_SEVERAL = (
    "objects",
    " and point at the objects",
    'the objects "object 1", "object 2" and so on',
    "Every question names at least one object, and at least one question is about how two or more objects relate, and "
    "names them all. Ask about every object where there are questions enough.",
)

_ROUNDS = {
    "one": "Each question stands alone; none needs another one to be understood.",
    "many": "The questions are the rounds of a conversation: begin with what is simple, let later ones build on the "
    "answers before, and do not ask the same twice.",
}

ALL_PROMPTS = (_DESCRIPTION, _QUESTIONS, *KINDS.values(), *_FOCUSES, *_ONE, *_SEVERAL, *_ROUNDS.values())


def description_task() -> str:
    """Return the prompt for one description."""
    return _DESCRIPTION


def questions_task(kinds: Mapping[str, int], rounds: str, objects: int, seed: Any) -> str:
    """Return the prompt for questions. The same seed gives the same topics of basic questions.

    Args:
        kinds (`Mapping[str, int]`): number of questions of each kind.
        rounds (`str`): `"one"` or `"many"`.
        objects (`int`): number of objects.
        seed: seed of the topics of basic questions, for variety.
    """
    focuses = random.Random(seed_of("focus", *seed)).sample(_FOCUSES, min(kinds.get("basic", 0), len(_FOCUSES)))
    lines = (
        f'- {count} of kind "{kind}", which {KINDS[kind].format(focus="; ".join(focuses))}'
        for kind, count in kinds.items()
    )
    what, about, names, relations = _ONE if objects == 1 else _SEVERAL
    return _QUESTIONS.format(
        what=what,
        about=about,
        kinds="\n".join(lines),
        names=names,
        relations=relations,
        rounds=_ROUNDS[rounds],
        options="|".join(kinds),
    )


def checked_kinds(kinds: Any, backend: str) -> dict[str, int]:
    """Return the number of questions of each kind in a setting; two, one and one by default.

    Raises:
        ConfigurationError: the setting has a wrong form, or asks for no question.
    """
    kinds = {"basic": 2, "reasoning": 1, "future": 1} if kinds is None else kinds
    right = isinstance(kinds, Mapping) and all(
        kind in KINDS and isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= _MOST
        for kind, count in kinds.items()
    )
    if not right or not any(kinds.values()):
        raise ConfigurationError(
            f"kinds of the refiner {backend!r} is {short(kinds)}; expected how many questions of each kind, from 0 to "
            f"{_MOST}, such as {{'basic': 2, 'reasoning': 1, 'future': 1}}, and at least one question; kinds are "
            f"{', '.join(KINDS)}."
        )
    return {kind: kinds[kind] for kind in KINDS if kinds.get(kind)}
