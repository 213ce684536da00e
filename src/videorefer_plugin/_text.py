"""Values as words for messages, made short."""

import math
import reprlib
from collections.abc import Iterable
from typing import Any

__all__ = ["cut", "listed", "short", "size_words", "text_fault"]

_MAX_BITS = 256  # the longest integer that is written out; Python refuses to write out very long ones


def short(value: Any) -> str:
    """Return the value as a text that is short enough for a message."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and len(value.shape):
        return f"{type(value).__name__} of shape {tuple(value.shape)} and dtype {value.dtype}"
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        return f"a whole number of about {int(value.bit_length() * math.log10(2)) + 1} digits"
    try:
        return reprlib.repr(value)
    except ValueError:  # such an integer inside another value
        return f"{type(value).__name__} with a number of thousands of digits"


def cut(text: str, most: int) -> str:
    """Return the first characters of a text, at most `most` of them."""
    return text if len(text) <= most else f"{text[:most]}..."


def listed(numbers: Iterable[Any], most: int = 5, between: str = ", ") -> str:
    """Return the first few of many numbers (or other values) as a text such as "0, 4, 8, ..."."""
    words = [str(number) for number in numbers]
    return between.join(words[:most] + ["..."] * (len(words) > most))


def size_words(height: int, width: int) -> str:
    """Return the size of a frame as a text that names the order of the sides."""
    return f"{height}x{width} (height x width)"


def text_fault(text: str) -> str:
    """Explain why a text cannot be written or tokenized; empty if nothing is wrong with it.

    A text that was cut in the middle of an emoji, or decoded wrongly, has half a character, which is not valid UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (
            f"character {error.start} is {text[error.start]!a}, a lone surrogate, which is half of a character and "
            "cannot be written as UTF-8"
        )
    return ""
