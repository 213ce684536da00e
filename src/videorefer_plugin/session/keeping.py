"""Limits the memory that a session keeps between questions."""

import threading
import weakref
from typing import TypeVar

from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.session.chat import SessionChat
from videorefer_plugin.session.prefixes import Runner
from videorefer_plugin.session.prompts import Keeps, Visuals
from videorefer_plugin.session.streaming import AnswerStream

__all__ = ["KeepsWithin"]

OpenT = TypeVar("OpenT", SessionChat, AnswerStream)


class KeepsWithin:
    """The part of a [`VideoSession`] that limits the bytes that it keeps.

    Args:
        store ([`FeatureStore`]): the store of the features of frames.
        own_store (`bool`): whether the store is the session's own, whose bytes count.
        max_bytes (`int`): largest number of bytes to keep.
    """

    _runner: Runner
    _visuals: Visuals

    def __init__(self, store: FeatureStore, own_store: bool, max_bytes: int):
        self._store = store
        self._own_store = own_store
        self._max_bytes = max_bytes
        self._open: weakref.WeakSet[SessionChat | AnswerStream] = weakref.WeakSet()
        self._opening = threading.Lock()  # of that set, which is read while a question is answered

    def memory(self) -> int:
        """Return the bytes kept between questions, on all devices. A store in `features=` does not count."""
        return sum(part.memory() for part in self._parts()) + (self._store.memory() if self._own_store else 0)

    def trim(self) -> None:
        """Drop the values that were not used for the longest time, until at most `max_bytes` are kept."""
        while self.memory() > self._max_bytes and len(self._runner.prefixes) > 1:
            self._runner.forget()
        surplus = self.memory() - self._max_bytes
        if surplus > 0 and self._own_store:
            self._store.shrink(max(self._store.memory() - surplus, 0))
        for part in self._parts():
            while self.memory() > self._max_bytes and part.forget():
                pass

    def _parts(self) -> list[Keeps]:
        """Return all parts that keep something, in the order in which they drop it."""
        return [*self.all_open(SessionChat), self._runner, self._visuals]

    def opened(self, part: OpenT) -> OpenT:
        """Note a conversation or stream, which the session ends when it is closed."""
        with self._opening:
            self._open.add(part)
        return part

    def all_open(self, kind: type[OpenT]) -> list[OpenT]:
        """Return the conversations or streams that a caller still holds."""
        with self._opening:
            return [part for part in self._open if isinstance(part, kind)]

    def forget_all(self) -> None:
        """Drop everything except the features in the store."""
        for part in self._parts():
            while part.forget():
                pass
