"""Reading of judges' replies about descriptions: JSON, or the numbered lines of the released benchmark.

There are two readers, as for answers. The compatible one finds and drops the same scores as the released script. The
strict one reads JSON and all variants of such lines with the same meaning. It refuses scores outside 0 to 5, and
scores that may mean another number ("3-4", "4/10"). Callers count the replies that neither understands.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from videorefer_plugin.chat.reasoning import without_reasoning
from videorefer_plugin.chat.replies import json_objects

__all__ = ["DIMENSIONS", "compatible_scores", "reply_scores"]

DIMENSIONS = {
    "SC": "Subject Correspondence",
    "AD": "Appearance Description",
    "TD": "Temporal Description",
    "HD": "Hallucination Detection",
}
_NUMBERED = re.compile(r"(?<!\d)\d+\.\s+")
_NAME_AND_SCORE = re.compile(r"(.+?):\s+([\d.]+)")
_LOWEST, _HIGHEST = 0.0, 5.0


def compatible_scores(reply: str | None) -> dict[str, float] | None:
    """Return name -> score as the released script finds them; `None` if it drops the whole reply.

    The script takes every `number. name: score`, whatever the name, and keeps the last score of a name. White space of
    any kind and length, also a line end, has to follow the period and the colon; a name is on one line. A score that
    is not a number, such as `4.5.`, or a missing reply, drops everything.
    """
    if reply is None:
        return None
    try:
        return {name: float(score) for name, score in _entries(reply)}
    except ValueError:
        return None


def _entries(reply: str) -> Iterator[tuple[str, str]]:
    """Yield names and scores as `re.findall` of `\\d+\\.\\s+(.+?):\\s+([\\d.]+)` gives them.

    `re.findall` would take minutes for a reply of many numbers without a score. This function scans a line without a
    score only once.
    """
    place, barren = 0, -2  # the end of the last line without a score
    while number := _NUMBERED.search(reply, place):
        place = number.end()
        line_end = reply.find("\n", place)
        entry = _NAME_AND_SCORE.match(reply, place) if line_end != barren else None
        if entry is None and reply.startswith(":", place) and reply[place - 2].isspace():
            entry = _NAME_AND_SCORE.match(reply, place - 1)  # the name is the last space
        if entry is None:
            barren = line_end
        else:
            place = entry.end()
            yield entry[1], entry[2]


_NAMES = {
    **{code.lower(): code for code in DIMENSIONS},
    **{re.sub(r"\W", "", name).lower(): code for code, name in DIMENSIONS.items()},
}
_NUMBER = r"(?P<score>[+-]?(?:\d+(?:\.\d*)?|\.\d+))"
_OF_FIVE = r"(?:/|(?:out\s+)?of)\s*5(?:\.0*)?(?![\d.]*\d)"
# Not part of a longer number, word or range, and not out of another total than 5.
_END = (
    r"(?!\d|\.\d|,\d|[eE][+-]?\d)(?!(?!pts?\b|points?\b|stars?\b|out\b|of\b|and\b)[A-Za-z])"
    r"(?!\.?[ \t*_]*(?:[~\u2010-\u2014-]|to\b|or\b)[ \t*_]*[\d.]*\d)"
    rf"(?!\.?[\s*_]*(?!{_OF_FIVE})(?:[/\u2044]|(?:out\s+)?of)[\s*_]*\d)"
    r"(?!\s*%)"
)
_LINE = re.compile(
    r"(?<![A-Za-z])(?P<name>"
    + "|".join([*(name.replace(" ", r"[\s_-]*") for name in DIMENSIONS.values()), *DIMENSIONS])
    + r")(?![A-Za-z])"
    r"(?:[\s*_]*\([^()\n]{1,40}\))?(?:\s+score\b)?"  # the name with its short form, or with the total of scores
    r"[\s*_\"'`)\]]*[:=|\u2013-][\s*_\"'`(\[]*"
    r"(?:score[\s*_:=]*)?[(\[]?" + _NUMBER + _END,
    re.I,
)
_VALUE = re.compile(rf"[\s*_]*{_NUMBER}{_END}(?:[\s*_]*{_OF_FIVE})?(?:\s*(?:pts?|points?|stars?))?\.?[\s*_]*", re.I)


def reply_scores(reply: str | None) -> dict[str, float]:
    """Return the scores by dimension (`"SC"`, `"AD"`, `"TD"`, `"HD"`) that can be understood in a reply.

    Examples:
        >>> reply_scores('{"SC": 5, "AD": 4.5, "TD": {"score": 3, "why": "..."}, "HD": 7}')
        {'SC': 5.0, 'AD': 4.5, 'TD': 3.0}
        >>> reply_scores("**Subject Correspondence:** 4/5")
        {'SC': 4.0}
    """
    said = without_reasoning(unicodedata.normalize("NFKC", reply)) if reply else None
    if not said:
        return {}
    for value in json_objects(said):
        scores = _from_json(value)
        if scores:
            return scores
    found: dict[str, float] = {}
    for match in _LINE.finditer(said):
        score = _in_range(match["score"])
        code = _NAMES[re.sub(r"[\W_]", "", match["name"]).lower()]
        found.pop(code, None)  # the last mention counts, even if it is invalid
        if score is not None:
            found[code] = score
    return {code: found[code] for code in DIMENSIONS if code in found}


def _from_json(value: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, given in value.items():
        code = _NAMES.get(re.sub(r"[\W_]", "", key).lower())
        if code is None:
            if isinstance(given, Mapping):  # {"scores": {...}}
                found.update(_from_json(given))
            continue
        if isinstance(given, Mapping):
            given = given.get("score", given.get("Score"))
        score = None
        if isinstance(given, str):
            match = _VALUE.fullmatch(given)
            score = _in_range(match["score"]) if match else None
        elif isinstance(given, (int, float)) and not isinstance(given, bool) and _LOWEST <= given <= _HIGHEST:
            score = float(given)
        if score is not None:
            found[code] = score
    return {code: found[code] for code in DIMENSIONS if code in found}


def _in_range(text: str) -> float | None:
    score = float(text)
    return score if _LOWEST <= score <= _HIGHEST else None
