"""Reading what a judge says about a description: JSON, or the numbered lines of the released benchmark.

As with answers there are two readers. The compatible one finds what the released script finds, and drops what that
drops. The strict one reads JSON and every way of writing such lines that means the same, and takes no score outside 0
to 5. What neither understands is counted by those who use them.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["DIMENSIONS", "compatible_scores", "reply_scores"]

DIMENSIONS = {
    "SC": "Subject Correspondence",
    "AD": "Appearance Description",
    "TD": "Temporal Description",
    "HD": "Hallucination Detection",
}
_ENTRY = re.compile(r"(\d+)\. (.+?): ([\d.]+)")
_LOWEST, _HIGHEST = 0.0, 5.0


def compatible_scores(reply: str | None) -> dict[str, float] | None:
    """Name -> score as the released script finds them; `None` where it drops the whole reply.

    It takes every `number. name: score` on a line, whatever the name, and keeps the last score of a name. A score that
    is no number, such as `4.5.`, or no reply at all, drops everything.
    """
    if reply is None:
        return None
    try:
        return {name: float(score) for _, name, score in _ENTRY.findall(reply)}
    except ValueError:
        return None


_NAMES = {
    **{code.lower(): code for code in DIMENSIONS},
    **{re.sub(r"\W", "", name).lower(): code for code, name in DIMENSIONS.items()},
}
_LINE = re.compile(
    r"(?<![A-Za-z])(?P<name>"
    + "|".join([*(name.replace(" ", r"[\s_-]*") for name in DIMENSIONS.values()), *DIMENSIONS])
    + r")(?![A-Za-z])"
    r"(?:\s*\((?:SC|AD|TD|HD)\))?"  # the name with its short form
    r"[\s*_\"'`)\]]*[:=|\u2013-][\s*_\"'`(\[]*"
    r"(?:score\s*[*_]*\s*[:=]?\s*[*_]*\s*)?[(\[]?"
    r"(?P<score>-?\d+(?:\.\d+)?)(?!\d|\.\d)",
    re.I,
)


def reply_scores(reply: str | None) -> dict[str, float]:
    """Scores by dimension (`"SC"`, `"AD"`, `"TD"`, `"HD"`) that a reply gives, of those that can be understood.

    Examples:
        >>> reply_scores('{"SC": 5, "AD": 4.5, "TD": {"score": 3, "why": "..."}, "HD": 7}')
        {'SC': 5.0, 'AD': 4.5, 'TD': 3.0}
        >>> reply_scores("**Subject Correspondence:** 4/5")
        {'SC': 4.0}
    """
    if not reply:
        return {}
    for value in _json_objects(reply):
        scores = _from_json(value)
        if scores:
            return scores
    found: dict[str, float] = {}
    for match in _LINE.finditer(reply):
        score = _in_range(match["score"])
        code = _NAMES[re.sub(r"[\W_]", "", match["name"]).lower()]
        found.pop(code, None)  # what is said last counts, also where it makes no sense
        if score is not None:
            found[code] = score
    return {code: found[code] for code in DIMENSIONS if code in found}


def _json_objects(reply: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects of a reply, whatever stands around them."""
    decoder, place = json.JSONDecoder(), reply.find("{")
    while place >= 0:
        try:
            value, end = decoder.raw_decode(reply, place)
        except ValueError:
            end = place + 1
        else:
            yield value
        place = reply.find("{", end)


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
        if isinstance(given, bool) or not isinstance(given, (int, float, str)):
            continue
        match = re.fullmatch(r"\s*(-?\d+(?:\.\d+)?)\s*(?:/\s*5(?:\.0)?)?\s*", str(given))
        score = _in_range(match.group(1)) if match else None
        if score is not None:
            found[code] = score
    return {code: found[code] for code in DIMENSIONS if code in found}


def _in_range(text: str) -> float | None:
    score = float(text)
    return score if _LOWEST <= score <= _HIGHEST else None
