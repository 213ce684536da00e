"""`<region>` in the text of a host's prompt: made as long as its object tokens, and found again."""

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["expand_regions", "join_offsets"]

Offset = dict[str, Any]


def expand_regions(prompt: str, token: str, counts: Sequence[int]) -> tuple[str, list[Offset]]:
    """Repeat every placeholder once for each of its object tokens.

    Args:
        prompt (`str`): the text.
        token (`str`): the placeholder.
        counts (`Sequence[int]`): object tokens of each region, in order.

    Returns:
        `tuple[str, list[dict]]`: the new text, and for each placeholder its place before (`span`) and after
        (`new_span`), as processors of transformers say it of theirs.
    """
    left, offsets, growth = iter(counts), [], 0

    def repeated(match: re.Match) -> str:
        nonlocal growth
        text = match.group() * next(left)
        start, end = match.span()
        new_span = (start + growth, start + growth + len(text))
        offsets.append(
            {"type": "region", "span": (start, end), "new_span": new_span, "text": token, "replacement": text}
        )
        growth += len(text) - len(token)
        return text

    return re.sub(re.escape(token), repeated, prompt), offsets


def join_offsets(first: Sequence[Offset], second: Sequence[Offset]) -> list[Offset]:
    """Offsets of two replacements, one after the other, as if both had been made at once.

    Args:
        first (`Sequence[dict]`): from the prompt to a text in between.
        second (`Sequence[dict]`): from that text to the last one.
    """
    moved = [{**one, "new_span": _shifted(one["new_span"], second, "span", "new_span")} for one in first]
    moved += [{**one, "span": _shifted(one["span"], first, "new_span", "span")} for one in second]
    return sorted(moved, key=lambda one: one["span"])


def _shifted(span: tuple[int, int], offsets: Sequence[Offset], old: str, new: str) -> tuple[int, int]:
    """Where a span lies on the other side of replacements before it."""
    before = [one[new][1] - one[old][1] for one in offsets if one[old][1] <= span[0]]
    shift = before[-1] if before else 0
    return span[0] + shift, span[1] + shift
