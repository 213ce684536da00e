"""Reads our docstrings, which write types as transformers does, as the Google style that mkdocstrings renders.

``width (`int`, *optional*, defaults to 2): ...`` becomes `width (int): ...`: a type that is marked as code; whether
there is a default value, and which, is read from the signature.
"""

import re
from itertools import zip_longest
from typing import Any

import griffe

NO_BREAK_SPACE = "\N{NO-BREAK SPACE}"
_ENTRY = re.compile(r"^( +)([*\w]+(?:, [*\w]+)*) \((.*?`.*?)\):(?=\s)", re.M)
_RETURNED = re.compile(r"(?<=Returns:\n)( +)\[?`[^`]+`\]?: ")


class PlainTypes(griffe.Extension):
    """Plain types in the sections about arguments, attributes and return values."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of a loaded object."""
        if obj.docstring:
            obj.docstring.value = plain_types(obj.docstring.value, getattr(obj, "returns", None) is not None)


def plain_types(text: str, returns_annotated: bool) -> str:
    """Return the docstring in the Google style. A type in `Returns` is dropped if the signature has one."""
    text = _ENTRY.sub(_entry, text)
    return _RETURNED.sub(r"\1", text) if returns_annotated else text


def _entry(found: re.Match[str]) -> str:
    """An entry of a section; griffe ends the names at the first space, so several are joined without one."""
    return f"{found[1]}{found[2].replace(' ', NO_BREAK_SPACE)} ({_plain(found[3])}):"


def _plain(kind: str) -> str:
    """A type without markup. A default in words, such as 2 GiB, is kept, since the signature has only its name."""
    kind = re.sub(r", defaults to (`[^`]*`|[\d.]+)$", "", kind).replace(", *optional*", "")
    words = re.split(r"(`[^`]*`)", kind.replace("[`", "`").replace("`]", "`"))
    between = (re.sub(r"^(, | or |, or )(?!defaults)(?=$|\w)", " | ", each) for each in words[::2])
    return "".join(part for pair in zip_longest(between, words[1::2], fillvalue="") for part in pair).replace("`", "")
