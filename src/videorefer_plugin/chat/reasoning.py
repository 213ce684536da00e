"""Replies without the reasoning that some models write before them."""

import re

__all__ = ["without_reasoning"]

_WORDS = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|scratchpad|reflection)"
_MARK = re.compile(
    rf"<(?P<closing>/?)\s*{_WORDS}\b[^<>]*>"
    r"|\[(?P<square>/?)think\]"
    r"|◁(?P<triangle>/?)think▷"
    r"|<\|(?:begin|(?P<end>end))_of_thought\|>",
    re.I,
)


def without_reasoning(text: str) -> str | None:
    """Return the text outside of blocks such as `<think>...</think>`; `None` if the last block was never closed.

    A closing mark alone ends reasoning too, because some chat templates open the block in the prompt.

    Examples:
        >>> [without_reasoning(text) for text in ("<think>A?</think>B", "A?</think>B", "<think>A")]
        ['B', 'B', None]
    """
    said: list[str] = []
    place, thinking = 0, False
    for mark in _MARK.finditer(text):
        if mark[0].endswith("/>"):  # an empty block
            continue
        closes = any(mark.groupdict().values())
        if not closes and not thinking:
            said.append(text[place : mark.start()])
        elif closes and not thinking:
            said.clear()
        if closes or not thinking:
            place = mark.end()
        thinking = not closes
    return None if thinking else "\n".join([*said, text[place:]])
