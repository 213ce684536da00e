"""Checks of argument types, with one form of message.

A function checks its arguments where they come in, with one line for each kind. The caller passes the class of error
to raise.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoReferError

__all__ = [
    "FUNCTION",
    "INTEGER",
    "LIST",
    "MAPPING",
    "MODEL",
    "PATH",
    "PROCESSOR",
    "TEXT",
    "Kind",
    "check_kind",
    "instances",
    "lists",
    "methods",
]


class Kind(NamedTuple):
    """A kind of argument.

    Attributes:
        words (`str`): its name in a message, with its article.
        fits (`Callable[[Any], bool]`): whether a value is of this kind.
        hint (`str`): advice for values that are not of this kind.
    """

    words: str
    fits: Callable[[Any], bool]
    hint: str = ""


def _is_path(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, os.PathLike) and isinstance(os.fspath(value), str))


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, bytearray, Mapping))


PATH = Kind("a path (str or os.PathLike)", _is_path)
TEXT = Kind("a string", lambda value: isinstance(value, str))
INTEGER = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
LIST = Kind("a list", _is_list)
MAPPING = Kind("a dict", lambda value: isinstance(value, Mapping))
FUNCTION = Kind("a function", callable)


def instances(*classes: type, hint: str = "") -> Kind:
    """The kind of instances of one or more classes."""
    names = " or ".join(each.__name__ for each in classes)
    return Kind(f"{'an' if names[0] in 'AEIO' else 'a'} {names}", lambda value: isinstance(value, classes), hint)


def lists(kind: Kind, words: str) -> Kind:
    """The kind of lists, or tuples, whose elements are all of one kind."""

    def fits(value: Any) -> bool:
        return isinstance(value, (list, tuple)) and all(kind.fits(one) for one in value)

    return Kind(f"a list of {words}", fits, kind.hint)


def methods(words: str, *names: str, hint: str = "") -> Kind:
    """The kind of objects that have these methods; a class itself does not count."""
    return Kind(words, lambda value: not isinstance(value, type) and all(hasattr(value, name) for name in names), hint)


def check_kind(error: type[VideoReferError], kind: Kind, *, optional: bool = False, **given: Any) -> None:
    """Make sure that arguments are of a kind.

    Args:
        error: the class of error to raise.
        kind ([`Kind`]): the kind that they must have.
        optional (`bool`): whether they may be `None`.
        given: the arguments by name.

    Raises:
        VideoReferError: of the given class: an argument is of another kind.
    """
    for name, value in given.items():
        if not (kind.fits(value) or (optional and value is None)):
            said = "is None" if value is None else f"is {short(value)} ({type(value).__name__})"
            hint = f" {kind.hint}" if kind.hint else ""
            raise error(f"{name} must be {kind.words}{' or None' if optional else ''}, but {said}.{hint}")


MODEL = methods("a model of transformers", "generate", "parameters", hint="A folder or Hub id is a string.")
PROCESSOR = methods("a processor with a chat template", "apply_chat_template", hint="AutoProcessor loads it.")
