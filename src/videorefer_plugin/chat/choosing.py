"""Makes a chat model from the settings of a recipe or a command line."""

from typing import Any

from videorefer_plugin._kinds import TEXT, check_kind
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.chat.endpoint import ChatEndpoint
from videorefer_plugin.chat.local import LocalChat
from videorefer_plugin.errors import ChatError

__all__ = ["OPENAI", "make_chat"]

OPENAI = "openai"  # may be given instead of an address
_OF_REQUESTS = {"base_url", "retries", "timeout", "requests_per_minute", "workers", "prices", "key_variable", "extra"}
_OF_MODELS_HERE = {"device"}


def make_chat(model: str, endpoint: str | None = None, **settings: Any) -> Chat:
    """Make a chat model that is behind an endpoint, or is loaded on this machine.

    Args:
        model (`str`): the model's name at the endpoint, or without an endpoint its folder or Hub id.
        endpoint (`str`, *optional*): address of an OpenAI-compatible endpoint, or `"openai"` for that of OpenAI (or of
            `OPENAI_BASE_URL`). Without it, the model is loaded on this machine.
        settings: arguments of [`ChatEndpoint`] or [`LocalChat`]; `None` means their default. Those about requests
            (such as `retries`, `timeout` and `prices`) have no effect on a model that is loaded here, and `device` has
            none on a model behind an endpoint.

    Raises:
        ChatError: a setting is wrong, `openai` is not installed, or there is no key.
    """
    check_kind(ChatError, TEXT, optional=True, endpoint=endpoint)
    given = {name: value for name, value in settings.items() if value is not None}
    if endpoint is None:
        return LocalChat(model, **{name: value for name, value in given.items() if name not in _OF_REQUESTS})
    given = {name: value for name, value in given.items() if name not in _OF_MODELS_HERE}
    return ChatEndpoint(model, base_url=None if endpoint == OPENAI else endpoint, **given)
