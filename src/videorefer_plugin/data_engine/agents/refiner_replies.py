"""Checks of a Refiner's reply."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.agents.chatting import text_in
from videorefer_plugin.data_engine.agents.nouns import words_of
from videorefer_plugin.data_engine.items import Question
from videorefer_plugin.inputs.wording import REGION_TOKEN

__all__ = ["check_clean", "new_words", "read_questions"]

_UNCLEAN = (
    (r"<[^<>\s]{1,40}>|\[/?INST\]", "has the placeholder {}, expected plain words"),
    (r"(?i)(?<!\w)(?:user|assistant|human|system|gpt) ?:", "has the role {}, expected plain words"),
)

_UNITS = r"(?:meters?|metres?|cm|km|feet|foot|inches|seconds?|times?)"
_NAMED = r"\bobject[\s_#]*(?P<{}>\d{{1,4}})\b" + rf"(?!\s*{_UNITS}\b)(?![.,]\d)"
_OBJECT = re.compile(
    rf"\[{_NAMED.format('square')}\]|<{_NAMED.format('angle')}>|\({_NAMED.format('round')}\)|{_NAMED.format('bare')}",
    re.IGNORECASE,
)
_OBJECTS = re.compile(r"\bobjects[\s_#]*\d", re.IGNORECASE)

# Words that carry no information about an object.
_SMALL = frozenset(
    (
        *("a", "about", "after", "again", "also", "an", "and", "are", "around", "as", "at", "away", "be", "been"),
        *("before", "being", "both", "but", "by", "down", "during", "each", "for", "from", "has", "have", "he", "her"),
        *("him", "his", "how", "in", "into", "is", "it", "its", "of", "off", "on", "one", "onto", "or", "other"),
        *("out", "over", "she", "some", "that", "the", "their", "them", "then", "there", "these", "they", "this"),
        *("those", "through", "to", "two", "under", "up", "very", "was", "were", "what", "when", "where", "which"),
        *("while", "who", "with", "appears", "seems", "seen", "shown", "visible", "video", "object"),
    )
)


# Mentions of the sources of a text. Such words may also name visible things.
_MADE_FROM = r"(?:captions?|descriptions?|notes|annotations?|observers?)"
_SPEAKS_OF = re.compile(
    r"\b(?:according to|based on|as (?:stated|mentioned|described|noted) (?:in|by))\s+"
    rf"(?:both|the|this|that|these|my|your)\s+(?:(?:first|second|two|given|provided|other)\s+)*{_MADE_FROM}\b"
    rf"|\b(?:both|the|this|that|these|my|your)\s+(?:(?:first|second|two|given|provided|other)\s+)*{_MADE_FROM}\s+"
    r"(?:do(?:es)? not |don't |doesn't |also |both |clearly )?"
    r"(?:say|mention|state|describe|note|indicate|suggest|report|agree|tell|specify|specifies|imply|implies|differ)\w*\b",
    re.IGNORECASE,
)


def check_clean(name: str, text: str, facts: str = "") -> None:
    """Make sure that a text is fit for a record.

    Args:
        name (`str`): name of the text, for the message.
        text (`str`): the text.
        facts (`str`): its source; words of the source are allowed.

    Raises:
        ValueError: the text has placeholders or names of roles, or mentions its sources.
    """
    for pattern, fault in _UNCLEAN:
        found = re.search(pattern, text)
        if found:
            raise ValueError(f'"{name}" {fault.format(repr(found[0].strip()))}: {short(text)}')
    found = _SPEAKS_OF.search(text)
    if found and found[0].casefold() not in facts.casefold():
        raise ValueError(f'"{name}" speaks of {found[0]!r}, expected what can be seen in the video: {short(text)}')


def new_words(text: str, source: str) -> float:
    """Return the share of a text's words that are not in the source, from 0 to 1.

    Words are compared by their first four characters, so "walking" is not new after "walks"; stop words do not count.
    """
    said = [word[:4] for word in words_of(text) if word not in _SMALL]
    known = {word[:4] for word in words_of(source)}
    return sum(word not in known for word in said) / len(said) if said else 0.0


def read_questions(value: Any, kinds: Mapping[str, int], numbers: Sequence[int]) -> list[Question]:
    """Return the questions of a reply.

    Args:
        value: JSON of the reply.
        kinds (`Mapping[str, int]`): expected number of questions of each kind.
        numbers (`Sequence[int]`): numbers of the objects that the model knows as object 1, object 2 and so on.

    Raises:
        ValueError: a question or its answer cannot be used, or their number is wrong.
    """
    given = value.get("questions") if isinstance(value, Mapping) else None
    if not isinstance(given, list):
        raise ValueError(f'"questions" is {short(given)}, expected a list')
    questions = [_question(one, place, numbers) for place, one in enumerate(given, start=1)]
    counts = Counter(question.kind for question in questions)
    for kind in (*kinds, *(counts.keys() - kinds.keys())):
        if counts[kind] != kinds.get(kind, 0):
            raise ValueError(f"{counts[kind]} question(s) are of kind {kind!r}, expected {kinds.get(kind, 0)}")
    twice = [
        text for text, count in Counter(question.question.casefold() for question in questions).items() if count > 1
    ]
    if twice:
        raise ValueError(f"a question is there twice: {short(twice[0])}")
    if len(numbers) > 1 and not any(len(set(question.objects)) > 1 for question in questions):
        raise ValueError("no question names two objects, expected at least one about how they relate")
    return questions


def _question(value: Any, place: int, numbers: Sequence[int]) -> Question:
    if not isinstance(value, Mapping):
        raise ValueError(f'question {place} is {short(value)}, expected {{"kind", "question", "answer", "objects"}}')
    kind = value.get("kind")
    if not isinstance(kind, str):
        raise ValueError(f'"kind" of question {place} is {short(kind)}, expected a text')
    question, answer = text_in(value, "question"), text_in(value, "answer")
    check_clean("question", _OBJECT.sub("", question))
    check_clean("answer", answer)
    if _OBJECTS.search(question):
        raise ValueError(f'question {place} names several at once, expected such as "object 1 and object 2"')
    named = _OBJECT.search(answer) or _OBJECTS.search(answer)
    if named:
        raise ValueError(f'the answer of question {place} has {named[0]!r}, expected a word such as "the man"')
    asked = [int(found[found.lastgroup or 0]) for found in _OBJECT.finditer(question)]
    unknown = [number for number in asked if not 1 <= number <= len(numbers)]
    if unknown:
        raise ValueError(f"question {place} is about object {unknown[0]}, but there are {len(numbers)} object(s)")
    if not asked:
        raise ValueError(f'question {place} names no object, expected such as "object 1" in it: {short(question)}')
    told = value.get("objects")
    if not isinstance(told, list) or {_number(one) for one in told} != set(asked):
        raise ValueError(
            f'"objects" of question {place} is {short(told)}, but its text names {listed(sorted(set(asked)), 10)}'
        )
    return Question(kind, _OBJECT.sub(REGION_TOKEN, question), answer, tuple(numbers[number - 1] for number in asked))


def _number(value: Any) -> int | None:
    """Return the number of an object, which models also write as a text."""
    if isinstance(value, str):
        found = re.fullmatch(r"(?:object )?(\d{1,4})", value.strip(), re.IGNORECASE)
        return int(found[1]) if found else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
