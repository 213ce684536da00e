"""Strict JSON: mistakes that Python's parser accepts silently are errors here, with the file and the line.

These are duplicate keys in an object (the parser keeps the last), NaN and infinity, numbers without bounds, and halves
of characters, which cannot be written to a file again. Files are UTF-8, with or without a byte-order mark. This module
also writes JSON files for people to read.
"""

import codecs
import contextlib
import json
import math
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._places import named_path, read_file
from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoReferError

__all__ = [
    "JsonError",
    "TwiceError",
    "decode",
    "each_once",
    "json_fault",
    "parse_json",
    "parse_line",
    "read_json",
    "read_object",
    "read_text",
    "write_json",
]

_DEEPEST = 200
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+')
_CONSTANTS = ("NaN", "Infinity", "-Infinity")
_GZIP = b"\x1f\x8b"
# A pair of surrogates is one character, and an escaped backslash does not begin an escape.
_ESCAPES = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


class JsonError(ValueError):
    """The reason why a text cannot be used.

    Attributes:
        reason (`str`): in words.
        line (`int`): the line of the mistake, counted from 1 within the text.
        is_json (`bool`): whether the text is JSON, although it is refused here.
    """

    def __init__(self, reason: str, line: int, is_json: bool = True):
        super().__init__(f"line {line}: {reason}")
        self.reason, self.line, self.is_json = reason, line, is_json


class TwiceError(ValueError):
    """A key occurs twice in an object."""


class _RefusedError(ValueError):
    """A part of a text that is refused; its position is searched for afterwards."""


# --- reading ---------------------------------------------------------------------------------------------------------


def read_json(
    path: str | os.PathLike, error: type[VideoReferError], constants: bool = False, utf16: bool = False
) -> Any:
    """Return the value of a JSON file; see [`parse_json`].

    Args:
        path: of the file.
        error: the class of error to raise.
        constants (`bool`): accept NaN and infinity too.
        utf16 (`bool`): accept UTF-16 and UTF-32 too, which can be recognized in JSON.

    Raises:
        VideoReferError: of the given class: the file cannot be read; the message names the line.
    """
    data = read_file(path, error)
    encoding = json.detect_encoding(data) if utf16 else "utf-8"
    if not encoding.startswith("utf-8"):
        with contextlib.suppress(UnicodeDecodeError):  # `decode` raises an error with an explanation
            data = data.decode(encoding).removeprefix("\ufeff").encode("utf-8", "surrogatepass")
    try:
        return parse_json(decode(data), constants)
    except JsonError as problem:
        raise error(f"{named_path(path)}, {problem}") from problem


def read_object(
    path: str | os.PathLike, error: type[VideoReferError], expected: str = "an object", constants: bool = False
) -> dict[str, Any]:
    """Return the object in a JSON file; see [`parse_json`].

    Args:
        path: of the file.
        error: the class of error to raise.
        expected (`str`): a description of the expected content, for the message.
        constants (`bool`): accept NaN and infinity too.

    Raises:
        VideoReferError: of the given class: the file cannot be read, or holds another value; the message names the
            line.
    """
    value = read_json(path, error, constants)
    if not isinstance(value, dict):
        raise error(f"{named_path(path)} holds {short(value)}; expected {expected}.")
    return value


def read_text(path: str | os.PathLike, error: type[VideoReferError]) -> str:
    """Return the text of a file in UTF-8, without a byte-order mark.

    Args:
        path: of the file.
        error: the class of error to raise.

    Raises:
        VideoReferError: of the given class: the file cannot be read, or is not UTF-8; the message names the line.
    """
    try:
        return decode(read_file(path, error))
    except JsonError as problem:
        raise error(f"{named_path(path)}, {problem}") from problem


def parse_json(text: str, constants: bool = False) -> Any:
    """Return the value of a JSON text.

    Args:
        text (`str`): the text.
        constants (`bool`): accept NaN and infinity too, which some programs write.

    Raises:
        JsonError: the text is not JSON, or holds values that would be lost or changed silently.
    """
    lone = next((match for match in _ESCAPES.finditer(text) if match["lone"]), None)
    if lone:
        raise JsonError(f"{lone[0]} is half a character (a lone surrogate)", _line(text, lone.start()))
    hooks: dict[str, Any] = {} if constants else {"parse_constant": _refuse, "parse_float": _finite}
    try:
        return json.loads(text, object_pairs_hook=each_once, **hooks)
    except json.JSONDecodeError as error:
        if not text.strip():
            raise JsonError("no JSON (it is empty)", 1, is_json=False) from error
        raise JsonError(f"no JSON ({error.msg}, at column {error.colno})", error.lineno, is_json=False) from error
    except (ValueError, RecursionError) as error:
        reason, place = _trouble(text, constants) or (json_fault(error), 0)
        raise JsonError(reason, _line(text, place)) from error


def parse_line(line: bytes) -> Any:
    """Return the value of a line of JSON; see [`parse_json`].

    Raises:
        JsonError: the line is not UTF-8, or see [`parse_json`].
    """
    return parse_json(decode(line))


def decode(data: bytes) -> str:
    """Decode the text of a file.

    Raises:
        JsonError: the bytes are not UTF-8.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise JsonError("the file is in UTF-16: save it as UTF-8", 1, is_json=False)
    if data.startswith(_GZIP):
        raise JsonError("the file is compressed with gzip: unpack it", 1, is_json=False)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reason = f"byte {data[error.start]:#04x} is not UTF-8 ({error.reason}): save the file as UTF-8"
        raise JsonError(reason, data.count(b"\n", 0, error.start) + 1, is_json=False) from error


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from keys and values, as the `object_pairs_hook` of a JSON decoder.

    Raises:
        TwiceError: a key occurs twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        double, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise TwiceError(f"one object has the key {short(double)} twice: keep one")
    return found


def json_fault(error: Exception) -> str:
    """Explain why a text cannot be parsed; for deep nesting and long numbers, Python's own message does not help."""
    if isinstance(error, RecursionError):
        return "lists and objects are nested too deep"
    if "integer string conversion" in str(error):
        return "a whole number has thousands of digits"
    return str(error)


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
    """Return the first part of a JSON text that is refused, and its position."""
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
            return f"{word} is not a number", token.start()
        elif word[0] in "-0123456789" and _unbounded(word):
            return f"the number {short(word)} is too large", token.start()
        last = token
    return None


def _unbounded(digits: str) -> bool:
    try:
        return math.isinf(float(digits)) or len(digits) > 4300  # what Python takes for an int
    except ValueError:
        return False


# --- writing ---------------------------------------------------------------------------------------------------------


def write_json(path: Path, value: Any, *, ensure_ascii: bool = True) -> None:
    """Write a file as a whole or not at all, with a line for each value.

    Args:
        path (`Path`): of the file.
        value (`Any`): a value that JSON can represent.
        ensure_ascii (`bool`, *optional*, defaults to `True`): escape all characters outside ASCII. Without it, half a
            character cannot be written.
    """
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=ensure_ascii) + "\n")
