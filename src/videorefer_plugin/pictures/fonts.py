"""Fonts for words of any language: Pillow's own, or one of the system if that has more of the letters."""

import functools
from collections.abc import Iterable
from typing import Any

__all__ = ["fitting"]

# File names, as Pillow finds them in the folders of the system; fonts for many languages first.
_SYSTEM = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "ARIALUNI.TTF",
    "Arial.ttf",
    "arial.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "msyh.ttc",
    "msgothic.ttc",
    "malgun.ttf",
    "NotoSansArabic-Regular.ttf",
    "NotoSansHebrew-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "NotoSansThai-Regular.ttf",
)
_NO_LETTER = "\uffff"  # drawn by every font as a missing letter


def fitting(texts: Iterable[str], size: int) -> tuple[Any, dict[int, str]]:
    """Return a font for texts, and a table for the letters that it lacks.

    Letters that no font has become escapes such as `\\u6f22`, so that different words stay different.

    Args:
        texts (`Iterable[str]`): the texts to draw.
        size (`int`): in pixels.

    Returns:
        The font of Pillow, and the table for `str.translate`.
    """
    return _fitting(frozenset(letter for text in texts for letter in set(text) if not _is_plain(letter)), size)


@functools.lru_cache(64)  # as words stand on every frame of a video
def _fitting(letters: frozenset[str], size: int) -> tuple[Any, dict[int, str]]:
    from PIL import ImageFont

    font = ImageFont.load_default(size)
    missing = _missing(font, letters)
    for name in _system_fonts() if missing else ():
        other = ImageFont.truetype(name, size)
        lacks = _missing(other, letters)
        if len(lacks) < len(missing):
            font, missing = other, lacks
        if not missing:
            break
    return font, {ord(letter): _escape(letter) for letter in missing}


def _missing(font: Any, letters: frozenset[str]) -> list[str]:
    """The letters that a font lacks."""
    lacking = bytes(font.getmask(_NO_LETTER))
    return [letter for letter in letters if not letter.isprintable() or bytes(font.getmask(letter)) in (lacking, b"")]


def _is_plain(letter: str) -> bool:
    """Whether every font has it."""
    return letter.isspace() or (letter.isascii() and letter.isprintable())


def _escape(letter: str) -> str:
    number = ord(letter)
    return f"\\u{number:04x}" if number < 1 << 16 else f"\\U{number:08x}"


@functools.cache
def _system_fonts() -> tuple[str, ...]:
    """Files of those fonts that the system has."""
    from PIL import ImageFont

    found = []
    for name in _SYSTEM:
        try:
            found.append(str(ImageFont.truetype(name).path))
        except OSError:  # the font does not exist
            continue
    return tuple(dict.fromkeys(found))
