"""From settings, as a recipe or a command line gives them, to a chat model."""

from typing import Any

from videorefer_plugin._kinds import TEXT, check_kind
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.chat.endpoint import ChatEndpoint
from videorefer_plugin.chat.local import LocalChat
from videorefer_plugin.errors import ChatError

__all__ = ["OPENAI", "make_chat"]

OPENAI = "openai"  # in place of an address
_OF_REQUESTS = {"base_url", "retries", "timeout", "requests_per_minute", "workers", "prices", "key_variable", "extra"}
_OF_MODELS_HERE = {"device"}


def make_chat(model: str, endpoint: str | None = None, **settings: Any) -> Chat:
    """A chat model behind an endpoint, or one that is loaded here.

    Args:
        model (`str`): its name at the endpoint; or a folder or Hub id.
        endpoint (`str`, *optional*): address of an OpenAI-compatible endpoint, or `"openai"` for that of OpenAI (or of
            `OPENAI_BASE_URL`). Without one, the model is loaded here.
        settings: of [`ChatEndpoint`] or [`LocalChat`]; `None` is the default of each. Those about requests (such as
            `retries`, `timeout` and `prices`) mean nothing to a model that is loaded here, and `device` means nothing
            to one behind an endpoint.

    Raises:
        ChatError: a setting is wrong, `openai` is not installed, or there is no key.
    """
    check_kind(ChatError, TEXT, optional=True, endpoint=endpoint)
    given = {name: value for name, value in settings.items() if value is not None}
    if endpoint is None:
        return LocalChat(model, **{name: value for name, value in given.items() if name not in _OF_REQUESTS})
    given = {name: value for name, value in given.items() if name not in _OF_MODELS_HERE}
    return ChatEndpoint(model, base_url=None if endpoint == OPENAI else endpoint, **given)
