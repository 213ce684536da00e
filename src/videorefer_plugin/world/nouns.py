"""The objects that a text of the shapes world names, with their looks and positions in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from videorefer_plugin.world.values import COLORS, PATTERNS, SHAPES, SIZES

__all__ = ["ADJECTIVES", "LOOKS", "Mention", "mentions"]

LOOKS = {"color": tuple(COLORS), "shape": SHAPES, "pattern": PATTERNS, "size": SIZES}
"""The parts of a look, with the words for each."""

ADJECTIVES = "|".join([*COLORS, *PATTERNS, *SIZES])
_MANY = r"two|three|four|five|six|some|several|many|few|both|all|these|those"
_MENTION = re.compile(
    rf"\b(?:(?P<one>an?|the|this|that|another|one)|(?P<many>(?:the )?(?:{_MANY})))? ?\b"
    rf"(?P<said>(?:(?:{ADJECTIVES}),? ){{0,9}})(?P<shape>{'|'.join(SHAPES)})(?P<plural>e?s)?\b",
    re.IGNORECASE,
)
_MOTION = re.compile(r"\bin (?:a circle|circles)\b", re.IGNORECASE)  # does not name an object


@dataclass(frozen=True)
class Mention:
    """An object that a text names.

    Attributes:
        looks (`dict`): those of "color", "shape", "pattern" and "size" that the text names.
        text (`str`): the words, with the article.
        first (`bool`): whether it is the first object in its sentence.
        singular (`bool`): whether it is one object.
    """

    looks: dict[str, str] = field(hash=False)
    text: str
    first: bool
    singular: bool

    def agrees_with(self, other: dict[str, str]) -> bool:
        """Return whether no part of its look differs from those of another one."""
        return all(other.get(key, value) == value for key, value in self.looks.items())


def mentions(text: str) -> list[Mention]:
    """Return all objects that a text names by their shape, in order. An object that is named twice is returned twice.

    Examples:
        >>> [(one.text, one.first) for one in mentions("A small red star moves to the blue cross and stops.")]
        [('A small red star', True), ('the blue cross', False)]
    """
    found = []
    for sentence in re.split(r"[.;!?]+", " ".join(text.split())):
        first = True
        for match in _MENTION.finditer(_MOTION.sub(lambda words: "_" * len(words[0]), sentence)):
            said = re.findall(ADJECTIVES, match["said"].lower())
            looks = {key: word for key, values in LOOKS.items() for word in said if word in values}
            looks["shape"] = match["shape"].lower()
            singular = not (match["many"] or match["plural"])
            found.append(Mention(looks, match[0].strip(), first, singular))
            first = False
    return found
