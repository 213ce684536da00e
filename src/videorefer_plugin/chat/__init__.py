"""Chat models as tools: behind an OpenAI-compatible endpoint, or loaded on this machine."""

from videorefer_plugin.chat.base import Chat, Completion, Usage, complete_many
from videorefer_plugin.chat.choosing import make_chat
from videorefer_plugin.chat.endpoint import ChatEndpoint
from videorefer_plugin.chat.local import LocalChat
from videorefer_plugin.chat.replies import Asked, ReplyError, ask_json, ask_text

__all__ = [
    "Asked",
    "Chat",
    "ChatEndpoint",
    "Completion",
    "LocalChat",
    "ReplyError",
    "Usage",
    "ask_json",
    "ask_text",
    "complete_many",
    "make_chat",
]
