"""A served model that takes regions, so that one server answers for many workers."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin.bench.reading import Item
from videorefer_plugin.bench.runner import OF_ONE, ItemError, failure_of
from videorefer_plugin.bench.seeing import said_by
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.chat.regions import region_message

__all__ = ["RegionEndpoint"]


class RegionEndpoint:
    """A model behind `videorefer serve`. Each request has the item's video and its regions.

    Args:
        chat: the endpoint. Its further fields choose the frames.
    """

    def __init__(self, chat: Chat):
        self.chat = chat
        self.workers = chat.workers

    def settings(self) -> dict[str, Any]:
        """See [`Answerer`]."""
        return {"sees": "regions", **self.chat.settings()}

    def answer(self, items: Sequence[Item], mode: str) -> list[str | ItemError]:
        """See [`Answerer`]."""
        return [self._answer(item, mode) for item in items]

    def _answer(self, item: Item, mode: str) -> str | ItemError:
        try:
            return said_by(self.chat, [region_message(item.kind, item.video, item.prompt, item.regions(mode))])
        except OF_ONE as error:
            return failure_of(item, error)
