"""What models are asked.

Questions and descriptions are asked as in the released benchmark. The wording of captions and of what is said about
marks is this library's: the paper prints neither.
"""

import re
from collections.abc import Sequence

__all__ = [
    "CAPTION_PROMPT",
    "VERSION",
    "marked_prompt",
    "question_prompt",
]

VERSION = 1  # of the prompts, part of the configuration of every answer; raise it when one changes

CAPTION_PROMPT = "Please describe in one sentence what the person [<region>] does in the video."
_LETTER_ONLY = "Answer with the option's letter from the given choices directly."

_BARE = re.compile(r"(?<!\[)<region>(?!\])")
_MENTION = re.compile(r"(?:(?P<name><object\d+>)\s*)?\[?<region>\]?")

# How each style shows an object, in words.
MARK_WORDS = {"contour": "outlined with", "mask": "covered with", "box": "framed with a box in"}
_WHERE = {
    "single": "in the frame of the video in which it is marked",
    "multi": "in those frames of the video in which it is annotated",
}


def question_prompt(question: str, options: Sequence[str]) -> str:
    """A multiple-choice question of Bench-Q.

    The region stands in brackets, as models were trained to find it: the published questions have
    `<object1><region>`, and `<object1>[<region>]` is what is asked.
    """
    return f"{_BARE.sub('[<region>]', question)} {' '.join(options)}. {_LETTER_ONLY}"


def marked_prompt(prompt: str, colors: Sequence[str], style: str, mode: str) -> str:
    """A prompt for a model that sees marks drawn on the frames.

    The paper has general models run in two modes, which need to be told different things: in single-frame mode the
    object is marked in one frame, in multi-frame mode in all that are annotated.

    Args:
        prompt (`str`): with a `<region>` for each object.
        colors (`Sequence[str]`): name of each object's colour; the objects are numbered from 1 in the same order.
        style (`str`): `"contour"`, `"mask"` or `"box"`.
        mode (`str`): `"single"` or `"multi"`.

    Examples:
        >>> print(marked_prompt("What is <object4><region>? (A) a cat (B) a dog", ["red"], "contour", "multi"))
        Object 1 is outlined with red and carries the number 1 in those frames of the video in which it is annotated.
        What is object 1? (A) a cat (B) a dog
    """
    number = 0
    names: dict[str, str] = {}

    def label(match: re.Match[str]) -> str:
        nonlocal number
        number += 1
        if match["name"]:
            names[match["name"]] = f"object {number}"
        return f"object {number}"

    text = _MENTION.sub(label, prompt)
    for name, known in names.items():  # mentioned again, without a region
        text = text.replace(name, known)
    said = [
        f"Object {i} is {MARK_WORDS[style]} {color} and carries the number {i} {_WHERE[mode]}."
        for i, color in enumerate(colors, 1)
    ]
    return "\n".join([*said, re.sub(r"object object (\d+)", r"object \1", text)])
