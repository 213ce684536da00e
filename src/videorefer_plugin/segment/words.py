"""Checks words to find, and makes the message for words that are not found."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import listed, short, text_fault
from videorefer_plugin.errors import SegmentError

__all__ = ["check_phrase", "check_tokens", "nothing_found"]

_LONGEST = 2000  # characters; more than any text encoder reads, and little to read for a tokenizer


def check_phrase(phrase: Any) -> str:
    """Return the words of a phrase, with single spaces between them.

    Raises:
        SegmentError: the phrase is not a text, is empty or far too long, or has characters that no tokenizer reads.
    """
    example = "expected a text such as 'the man in red'"
    if not isinstance(phrase, str):
        hint = "; look for one phrase after the other" if isinstance(phrase, (list, tuple, set)) else ""
        raise SegmentError(f"The words to find are {short(phrase)}, of type {type(phrase).__name__}; {example}{hint}.")
    words = " ".join(phrase.split())
    if len(words) > _LONGEST:
        raise SegmentError(f"The words to find are {len(words)} characters long, more than {_LONGEST}; {example}.")
    if fault := text_fault(words):
        raise SegmentError(f"The words to find cannot be read: {fault}. Take it out, or decode the text again.")
    kinds = [unicodedata.category(character) for character in words]
    if "Cc" in kinds:
        at = kinds.index("Cc")
        raise SegmentError(
            f"The words to find cannot be read: character {at} is the control character {words[at]!a}. Take it out."
        )
    if not any(kind[0] in "LNMS" for kind in kinds):
        raise SegmentError(f"The words to find are {short(phrase)}, which has no word; {example}.")
    return words


def check_tokens(phrase: str, tokenizer: Any, most: int, what: str, end: str = "") -> None:
    """Refuse words that a text encoder does not know, or would truncate.

    Args:
        phrase: the words.
        tokenizer: tokenizer of the encoder.
        most: largest number of tokens that it reads, special tokens included.
        what: name of the encoder in messages.
        end: text that is appended to the words.

    Raises:
        SegmentError: there are more tokens, or none.
    """
    ids = tokenizer(phrase + end)["input_ids"]
    if len(ids) > most:
        raise SegmentError(
            f"The words to find, {short(phrase)}, become {len(ids)} tokens, but {what} reads at most {most}; say it "
            "shorter."
        )
    if not set(tokenizer(phrase, add_special_tokens=False)["input_ids"]):
        raise SegmentError(f"The words to find, {short(phrase)}, are unknown to {what}; use other words.")


def nothing_found(name: str, phrase: str, frames: Sequence[int], threshold: float, best: float | None) -> SegmentError:
    """Return the error for words that are not found.

    Args:
        name: name of the segmenter.
        phrase: the words.
        frames: the frames that were searched, in order of time.
        threshold: lowest score of a candidate.
        best: highest score; `None` if there was no candidate.
    """
    where = f"frame {frames[0]}" if len(frames) == 1 else f"frames {listed(frames, 8)}"
    if len(frames) > 2 and list(frames) == list(range(frames[0], frames[-1] + 1)):
        where = f"frames {frames[0]} to {frames[-1]}"
    if best is None:
        seen = f"there was no candidate at all (the threshold is {threshold:g})"
    elif best > threshold:
        seen = f"the best score is {best:.3g}, above the threshold of {threshold:g}, but no mask came of it"
    else:
        seen = f"the best score is {best:.3g}, and the threshold {threshold:g}"
    return SegmentError(
        f"{name} found nothing for {short(phrase)} in {where}: {seen}. Say it in other words, look in another frame "
        f"(frame=), or load the segmenter with a lower threshold."
    )
