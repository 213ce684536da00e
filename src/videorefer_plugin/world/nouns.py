"""Objects that a text of the shapes world names: what it says of their look, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from videorefer_plugin.world.values import COLORS, PATTERNS, SHAPES, SIZES

__all__ = ["ADJECTIVES", "LOOKS", "Mention", "mentions"]

LOOKS = {"color": tuple(COLORS), "shape": SHAPES, "pattern": PATTERNS, "size": SIZES}
"""What can be said of a look, and the words for it."""

ADJECTIVES = "|".join([*COLORS, *PATTERNS, *SIZES])
_MANY = r"two|three|four|five|six|some|several|many|few|both|all|these|those"
_MENTION = re.compile(
    rf"\b(?:(?P<one>an?|the|this|that|another|one)|(?P<many>(?:the )?(?:{_MANY})))? ?\b"
    rf"(?P<said>(?:(?:{ADJECTIVES}),? ){{0,9}})(?P<shape>{'|'.join(SHAPES)})(?P<plural>e?s)?\b",
    re.IGNORECASE,
)
_MOTION = re.compile(r"\bin (?:a circle|circles)\b", re.IGNORECASE)  # which names no object


@dataclass(frozen=True)
class Mention:
    """An object that a text names.

    Attributes:
        looks (`dict`): "color", "shape", "pattern" and "size", as far as they are said.
        text (`str`): the words, with the article.
        first (`bool`): whether it is the first object that is named in its sentence.
        singular (`bool`): whether it is one object.
    """

    looks: dict[str, str] = field(hash=False)
    text: str
    first: bool
    singular: bool

    def agrees_with(self, other: dict[str, str]) -> bool:
        """Whether nothing that is said of it differs from what is said of another one."""
        return all(other.get(key, value) == value for key, value in self.looks.items())


def mentions(text: str) -> list[Mention]:
    """All objects that a text names by their shape, in order; one that is named again is there again.

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
