"""Chat models as judges and answerers, from `videorefer_plugin.chat`."""

from videorefer_plugin.chat.base import Chat, Completion, Usage
from videorefer_plugin.chat.endpoint import ChatEndpoint
from videorefer_plugin.chat.local import LocalChat

__all__ = ["Chat", "ChatEndpoint", "Completion", "LocalChat", "Usage"]
