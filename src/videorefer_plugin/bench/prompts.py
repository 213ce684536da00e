"""Prompts of models.

The prompts for questions and descriptions are those of the released benchmark. The prompts for captions, marks, boxes
and single frames are this library's, since the paper does not print them.
"""

import re
from collections.abc import Sequence

__all__ = [
    "CAPTION_PROMPT",
    "SUMMARY_PROMPT",
    "VERSION",
    "boxed_prompt",
    "marked_prompt",
    "named_prompt",
    "one_frame_prompt",
    "question_prompt",
    "summary_prompt",
]

VERSION = 1  # of the prompts, part of the configuration of every answer; raise it if a prompt changes

CAPTION_PROMPT = "Please describe in one sentence what the person [<region>] does in the video."
NO_ANSWER = "(no answer)"
SUMMARY_PROMPT = """\
Frames of a video were shown one by one, in order, and each time the same question was asked about that frame alone.

The question:
{question}

The answers:
{answers}

Answer the question about the video as a whole from these answers: say what they agree on and how things change from \
frame to frame, and leave out what only contradicts the others. If the question offers options, choose one of them. \
Reply with the answer and nothing else."""
_LETTER_ONLY = "Answer with the option's letter from the given choices directly."

_BARE = re.compile(r"(?<!\[)<region>(?!\])")
_MENTION = re.compile(r"(?:(?P<name><object\d+>)\s*)?\[?<region>\]?")

# The description of each style of marks.
MARK_WORDS = {"contour": "outlined with", "mask": "covered with", "box": "framed with a box in"}
_WHERE = {
    "single": "in the frame of the video in which it is marked",
    "multi": "in those frames of the video in which it is annotated",
    "image": "in the picture",
}


def question_prompt(question: str, options: Sequence[str]) -> str:
    """Return the prompt of a multiple-choice question of Bench-Q.

    The region is put in brackets, as in training: the published questions have `<object1><region>`, and the prompt has
    `<object1>[<region>]`.
    """
    return f"{_BARE.sub('[<region>]', question)} {' '.join(options)}. {_LETTER_ONLY}"


def marked_prompt(prompt: str, colors: Sequence[str], style: str, mode: str) -> str:
    """Return a prompt for a model that sees marks on the frames.

    The paper runs general models in two modes with different prompts: in single-frame mode, the object is marked in
    one frame, and in multi-frame mode in all annotated ones.

    Args:
        prompt (`str`): the prompt with a `<region>` for each object.
        colors (`Sequence[str]`): name of each object's color. The objects are numbered from 1 in the same order.
        style (`str`): `"contour"`, `"mask"` or `"box"`.
        mode (`str`): `"single"`, `"multi"`, or `"image"` for a picture.

    Examples:
        >>> print(marked_prompt("What is <object4><region>? (A) a cat (B) a dog", ["red"], "contour", "multi"))
        Object 1 is outlined with red and carries the number 1 in those frames of the video in which it is annotated.
        What is object 1? (A) a cat (B) a dog
    """
    text = named_prompt(prompt, [f"object {number}" for number in range(1, len(colors) + 1)])
    said = [
        f"Object {i} is {MARK_WORDS[style]} {color} and carries the number {i} {_WHERE[mode]}."
        for i, color in enumerate(colors, 1)
    ]
    return "\n".join([*said, text])


def named_prompt(prompt: str, words: Sequence[str]) -> str:
    """Return a prompt in which texts that begin with `object NUMBER` replace each `<region>`."""
    given = iter(words)
    names: dict[str, str] = {}

    def label(match: re.Match[str]) -> str:
        said = next(given)
        if match["name"]:
            names[match["name"]] = " ".join(said.split()[:2])
        return said

    text = _MENTION.sub(label, prompt)
    for name, known in names.items():  # further mentions, without a region
        text = text.replace(name, known)
    return re.sub(r"object object (\d+)", r"object \1", text)


def boxed_prompt(prompt: str, boxes: Sequence[Sequence[tuple[str, str]]], words: str) -> str:
    """Return a prompt for a model that reads boxes.

    A single box of an object replaces its `<region>`. Boxes in several frames are listed before the question.

    Args:
        prompt (`str`): the prompt with a `<region>` for each object.
        boxes: for each object, words for the frame (empty for a picture) and `[x0, y0, x1, y1]` in each that has it.
        words (`str`): description of the numbers of boxes.

    Examples:
        >>> print(boxed_prompt("What is <region>?", [[("frame 3 of 8", "[1, 2, 30, 40]")]], "from 0 to 100"))
        Boxes are [left, top, right, bottom], from 0 to 100.
        Object 1 is in the box [1, 2, 30, 40] in frame 3 of 8.
        What is object 1 [1, 2, 30, 40]?
    """
    lines = [f"Boxes are [left, top, right, bottom], {words}."]
    mentions = []
    for number, own in enumerate(boxes, 1):
        if len(own) == 1:
            place = f" in {own[0][0]}" if own[0][0] else ""
            lines.append(f"Object {number} is in the box {own[0][1]}{place}.")
        elif own:
            found = "; ".join(f"{box} in {place}" for place, box in own)
            lines.append(f"Object {number} is in the boxes {found}.")
        else:
            lines.append(f"Object {number} has no box here.")
        mentions.append(f"object {number} {own[0][1]}" if len(own) == 1 else f"object {number}")
    return "\n".join([*lines, named_prompt(prompt, mentions)])


def one_frame_prompt(prompt: str, colors: Sequence[str | None], style: str) -> str:
    """Return a prompt about one frame alone. Objects that are not on it have no color."""
    said = [
        f"Object {i} is not marked in this picture."
        if color is None
        else f"Object {i} is {MARK_WORDS[style]} {color} and carries the number {i} {_WHERE['image']}."
        for i, color in enumerate(colors, 1)
    ]
    return "\n".join([*said, named_prompt(prompt, [f"object {i}" for i in range(1, len(colors) + 1)])])


def summary_prompt(prompt: str, objects: int, answers: Sequence[tuple[str, str]]) -> str:
    """Return the prompt that asks to merge answers about single frames into one about the video.

    Args:
        prompt (`str`): the question, with a `<region>` for each object.
        objects (`int`): number of objects.
        answers: name of each frame, and the answer about it.
    """
    question = named_prompt(prompt, [f"object {i}" for i in range(1, objects + 1)])
    given = "\n".join(f"- {frame}: {' '.join(said.split()) or NO_ANSWER}" for frame, said in answers)
    before, between, after = re.split(
        r"\{question\}|\{answers\}", SUMMARY_PROMPT
    )  # in one step: answers hold anything
    return "".join((before, question, between, given, after))
