"""Checks of the texts about items that callers pass to be scored."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from videorefer_plugin._kinds import lists, methods
from videorefer_plugin._text import short, text_fault
from videorefer_plugin.errors import BenchError

__all__ = ["ITEMS", "check_said"]

ITEMS = lists(methods("an item", "id"), "items, as the functions of benchmarks read them")
"""The items to score, with ids."""


def check_said(what: str, said: Mapping[str, Any], ids: Iterable[str], optional: bool = True) -> None:
    """Make sure that texts can be scored, so that none counts as missing by mistake.

    Args:
        what (`str`): name of the texts, for the message.
        said: id -> text. Some ids may be unknown, but not all.
        ids: ids of the items, each once.
        optional (`bool`): whether a text may be `None`.

    Raises:
        BenchError: an id or a text has the wrong type, an item is there twice, or no text belongs to an item.
    """
    known = Counter(iter(ids))
    twice = next((name for name, count in known.items() if count > 1), None)
    if twice is not None:
        raise BenchError(f"the item {short(twice)} is there {known[twice]} times: give every item once")
    if not isinstance(said, Mapping):
        raise BenchError(f"{what} are a {type(said).__name__}: expected a dict from the ids of items to texts")
    for name, text in said.items():
        if not isinstance(name, str):
            raise BenchError(f"{what} are under the id {short(name)}, a {type(name).__name__}: ids of items are texts")
        if not isinstance(text, str) and not (text is None and optional):
            raise BenchError(f"{what} of item {short(name)} are {short(text)}: expected a text")
        if text and text_fault(text):
            raise BenchError(f"{what} of item {short(name)} have half a character (a lone surrogate): {short(text)}")
    if said and known and not known.keys() & said.keys():
        raise BenchError(
            f"{what} are about {short(next(iter(said)))} and others, but no item is called so; items are called "
            f"{short(next(iter(known)))}, for instance"
        )
