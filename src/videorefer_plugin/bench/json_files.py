"""Strict reading of JSON: what a parser lets pass without a word is an error here, with its file and line.

That is a key that stands twice in an object (the parser takes the last), NaN and infinity, numbers without bounds, and
halves of characters, which cannot be written to a file again. Files are UTF-8, with or without a byte-order mark.
"""

import codecs
import json
import math
import re
from pathlib import Path
from typing import Any

from videorefer_plugin._json import each_once
from videorefer_plugin._text import short
from videorefer_plugin.errors import BenchError

__all__ = ["JsonError", "decode", "parse_json", "read_json", "read_text"]

_DEEPEST = 200
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_CONSTANTS = ("NaN", "Infinity", "-Infinity")
# Pairs of surrogates are one character, and an escaped backslash begins no escape.
_ESCAPES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class JsonError(ValueError):
    """Why a text cannot be used.

    Attributes:
        reason (`str`): in words.
        line (`int`): where, counted from 1 within the text.
        is_json (`bool`): whether it is JSON, but such as is not taken here.
    """

    def __init__(self, reason: str, line: int, is_json: bool = True):
        super().__init__(f"line {line}: {reason}")
        self.reason, self.line, self.is_json = reason, line, is_json


class _RefusedError(ValueError):
    """Something that is refused; where it stands is looked for afterwards."""


def parse_json(text: str, constants: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text (`str`): the text.
        constants (`bool`): take NaN and infinity too, which some programs write.

    Raises:
        JsonError: it is no JSON, or has something that would be lost or changed without a word.
    """
    lone = next((match for match in _ESCAPES.finditer(text) if match["lone"]), None)
    if lone:
        raise JsonError(f"{lone[0]} is half a character (a lone surrogate)", _line(text, lone.start()))
    hooks: dict[str, Any] = {} if constants else {"parse_constant": _refuse, "parse_float": _finite}
    try:
        return json.loads(text, object_pairs_hook=each_once, **hooks)
    except json.JSONDecodeError as error:
        raise JsonError(f"no JSON ({error.msg}, at column {error.colno})", error.lineno, is_json=False) from error
    except (ValueError, RecursionError) as error:
        reason, place = _trouble(text, constants) or (str(error), 0)
        raise JsonError(reason, _line(text, place)) from error


def decode(data: bytes) -> str:
    """The text of a file.

    Raises:
        JsonError: it is not UTF-8.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise JsonError("the file is in UTF-16: save it as UTF-8", 1, is_json=False)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"byte {data[error.start]:#04x} is no UTF-8 ({error.reason}): save the file as UTF-8"
        raise JsonError(reason, data.count(b"\n", 0, error.start) + 1, is_json=False) from error


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        BenchError: it cannot be read, or is not UTF-8.
    """
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise BenchError(f"{path} cannot be read: {error.strerror or error}") from error
    except JsonError as problem:
        raise BenchError(f"{path}, {problem}") from problem


def read_json(path: Path, constants: bool = False) -> Any:
    """The value of a JSON file; see [`parse_json`].

    Raises:
        BenchError: it cannot be read, with its line.
    """
    try:
        return parse_json(read_text(path), constants)
    except JsonError as problem:
        raise BenchError(f"{path}, {problem}") from problem


def _refuse(constant: str) -> Any:
    raise _RefusedError


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _RefusedError
    return number


def _line(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def _trouble(text: str, constants: bool) -> tuple[str, int] | None:
    """The first thing in a JSON text that is refused, and where it stands."""
    keys: list[set[str]] = []
    last = None
    for token in _TOKEN.finditer(text):
        word = token[0]
        if word in "{[":
            keys.append(set())
            if len(keys) > _DEEPEST:
                return f"lists and objects are nested more than {_DEEPEST} deep", token.start()
        elif word in "}]" and keys:
            keys.pop()
        elif word == ":" and keys and last is not None:
            key = json.loads(last[0])
            if key in keys[-1]:
                return f"the key {short(key)} stands twice in one object", last.start()
            keys[-1].add(key)
        elif word in _CONSTANTS and not constants:
            return f"{word} is no number", token.start()
        elif word[0] in "-0123456789" and _unbounded(word):
            return f"the number {short(word)} is too large", token.start()
        last = token
    return None


def _unbounded(digits: str) -> bool:
    try:
        return math.isinf(float(digits)) or len(digits) > 4300  # what Python takes for an int
    except ValueError:
        return False
