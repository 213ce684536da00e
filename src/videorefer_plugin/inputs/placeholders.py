"""Expanding placeholders in a prompt to the length of their content, and finding them again."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from videorefer_plugin.errors import PromptError

__all__ = ["check_expanded", "expand", "join_offsets", "placeholder_kinds", "visuals_before"]

Offset = dict[str, Any]


def placeholder_kinds(text: str, tokens: Mapping[str, str]) -> list[str]:
    """Return the kinds of the placeholders of a text, in order.

    Args:
        text (`str`): the text.
        tokens (`Mapping[str, str]`): the placeholders by kind, such as `{"video": "<video>", "region": "<region>"}`.

    Returns:
        `list[str]`: the kinds.
    """
    pattern = "|".join(f"(?P<{kind}>{re.escape(token)})" for kind, token in tokens.items())
    return [str(found.lastgroup) for found in re.finditer(pattern, text)]


def visuals_before(kinds: Sequence[str]) -> list[int]:
    """For each `"region"` among placeholders, return the last visual before it, or the first one if there is none."""
    visuals, before = 0, []
    for kind in kinds:
        if kind == "region":
            before.append(max(visuals - 1, 0))
        else:
            visuals += 1
    return before


def expand(text: str, replacements: Mapping[str, Sequence[str]]) -> tuple[str, list[Offset]]:
    """Replace each placeholder in turn.

    Args:
        text (`str`): the prompt.
        replacements (`Mapping[str, Sequence[str]]`):
            The replacements of each placeholder, in order; further occurrences are left unchanged.

    Returns:
        `tuple[str, list[dict]]`: the new text, and for each placeholder its position before (`span`) and after
            (`new_span`), in the form that processors of transformers use.
    """
    left = {token: iter(values) for token, values in replacements.items() if values}
    if not left:
        return text, []
    offsets: list[Offset] = []
    growth = 0

    def replaced(match: re.Match) -> str:
        nonlocal growth
        token = match.group()
        replacement = next(left[token], None)
        if replacement is None:
            return token
        start, end = match.span()
        offsets.append(
            {
                "type": token.strip("<>"),
                "span": (start, end),
                "new_span": (start + growth, start + growth + len(replacement)),
                "text": token,
                "replacement": replacement,
            }
        )
        growth += len(replacement) - len(token)
        return replacement

    return re.sub("|".join(map(re.escape, left)), replaced, text), offsets


def join_offsets(first: Sequence[Offset], second: Sequence[Offset]) -> list[Offset]:
    """Combine the offsets of two replacements, one after the other, as if both had been made at once.

    Args:
        first (`Sequence[dict]`): from the prompt to a text in between.
        second (`Sequence[dict]`): from that text to the last one.
    """
    moved = [{**one, "new_span": _shifted(one["new_span"], second, "span", "new_span")} for one in first]
    moved += [{**one, "span": _shifted(one["span"], first, "new_span", "span")} for one in second]
    return sorted(moved, key=lambda one: one["span"])


def _shifted(span: tuple[int, int], offsets: Sequence[Offset], old: str, new: str) -> tuple[int, int]:
    """The position of a span after, or before, the replacements in front of it."""
    before = [one[new][1] - one[old][1] for one in offsets if one[old][1] <= span[0]]
    shift = before[-1] if before else 0
    return span[0] + shift, span[1] + shift


def check_expanded(
    input_ids: Any, replacements: Sequence[Mapping[str, Sequence[str]]], token_ids: Mapping[str, int]
) -> None:
    """Check that tokenizing kept every position of a placeholder.

    Args:
        input_ids: ids of each sample.
        replacements (`Sequence[Mapping[str, Sequence[str]]]`): the replacements of placeholders in each sample.
        token_ids (`Mapping[str, int]`): the id of each placeholder.

    Raises:
        PromptError: the text was truncated; the message names the sample.
    """
    for index, (ids, replaced) in enumerate(zip(input_ids, replacements, strict=True)):
        ids = torch.as_tensor(ids)
        for token, values in replaced.items():
            wanted = sum(value.count(token) for value in values)
            found = int((ids == token_ids[token]).sum())
            if wanted != found:
                raise PromptError(
                    f"Sample {index} needs {wanted} {token} position(s), but {found} are left after tokenizing: the "
                    "text was truncated. Raise max_length, or shorten the text yourself."
                )
