"""Common parts of agents that use a chat model: settings, costs, and failures."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from threading import Lock
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlsplit

from videorefer_plugin._text import listed, short, text_fault
from videorefer_plugin.chat.base import Chat, Completion, Message, Usage
from videorefer_plugin.chat.choosing import make_chat
from videorefer_plugin.chat.replies import Asked, ReplyError, ask_json, ask_text
from videorefer_plugin.data_engine.agent import BatchInterrupted, BatchStoppedError
from videorefer_plugin.data_engine.agents.loading import each
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Spent, VideoItem
from videorefer_plugin.errors import ChatError, ConfigurationError, EngineError

__all__ = ["Asking", "ChatSettings", "Talk", "messages_of", "prompt_identity", "text_in"]

ValueT = TypeVar("ValueT")

_AGAIN_THE_SAME: tuple[str, ...] = ("refused", "too_long")  # outcomes that a later try would repeat


class ChatSettings(TypedDict, total=False):
    """The settings of agents that use a chat model.

    Attributes:
        endpoint (`str`): address of an OpenAI-compatible endpoint, or `"openai"`. Without one, `model` is a folder or
            Hub id, and is loaded here.
        temperature (`float`): temperature; 0 by default.
        max_tokens (`int`): most tokens of a reply.
        tries (`int`): number of tries for a usable reply, 2 by default. The model is told the error of the last reply.
        timeout (`float`): seconds to wait for a reply.
        retries (`int`): retries of a request that fails at the endpoint.
        requests_per_minute (`float`): most requests to start per minute.
        workers (`int`): concurrent requests, for the videos of a batch.
        prices (`Sequence[float]`): prices of a million tokens read and written.
        key_variable (`str`): name of the environment variable with the key.
    """

    endpoint: str | None
    temperature: float
    max_tokens: int
    tries: int
    timeout: float
    retries: int
    requests_per_minute: float | None
    workers: int
    prices: Sequence[float] | None
    key_variable: str


class Asking:
    """A chat model that an agent asks about videos.

    Several threads may use it at once. A model that is loaded here answers one at a time.

    Args:
        agent (`str`): name of the agent, for messages, such as `"analyzer 'chat'"`.
        model (`str`): name of the model at the endpoint, or a folder or Hub id.
        settings ([`ChatSettings`]): the given settings.
        max_tokens (`int`): most tokens of a reply, if the settings do not name it.
        extra (`Mapping[str, Any]`, *optional*): further fields of requests to an endpoint.

    Raises:
        ConfigurationError: a setting is unknown, or the model is missing.
        ChatError: a setting is wrong, the package `openai` is missing, or there is no key.
    """

    def __init__(
        self,
        agent: str,
        model: str,
        settings: Mapping[str, Any],
        max_tokens: int = 1024,
        extra: Mapping[str, Any] | None = None,
    ):
        known = tuple(ChatSettings.__annotations__)
        for name in settings:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"of the chat model it takes {listed(known, 20)}."
                raise ConfigurationError(f"The {agent} has no setting {name!r}; {hint}")
        if not isinstance(model, str) or not model.strip():
            raise ConfigurationError(
                f"The model of the {agent} is {short(model)}; expected the name of a model at the endpoint, or the "
                "folder or Hub id of one to load."
            )
        given = {"max_tokens": max_tokens, **settings}
        self.tries = given.pop("tries", 2)
        if not isinstance(self.tries, int) or isinstance(self.tries, bool) or self.tries < 1:
            raise ConfigurationError(
                f"tries of the {agent} is {short(self.tries)}; expected a whole number from 1 up, of how often to ask "
                "for a reply that can be used."
            )
        prices = given.get("prices")
        self._prices = Usage(prices).prices
        self._turn: Any = contextlib.nullcontext() if given.get("endpoint") else Lock()
        self.chat: Chat = make_chat(model, **given, extra=extra)

    def close(self) -> None:
        """Release the model or the connections; the next question brings them back."""
        self.chat.close()

    def identity(self) -> dict[str, Any]:
        """Return everything that replies depend on; the address of a server in the local network is left out."""
        said = {**self.chat.settings(), "tries": self.tries}
        if "endpoint" in said:
            said["endpoint"] = _provider(said["endpoint"])
        return said

    def spent(self, completions: Sequence[Completion]) -> Spent:
        """Return the cost of these replies."""
        usage = Usage(self._prices)
        for completion in completions:
            usage.add(completion)
        return Spent(usage.requests, usage.input_tokens, usage.output_tokens, usage.cost or 0.0, usage.uncounted)

    def each(
        self, items: Sequence[VideoItem], work: Callable[[VideoItem, Talk], Sequence[Any]]
    ) -> list[Made | Failure]:
        """Work on videos, concurrently if the model allows it.

        Args:
            items (`Sequence[VideoItem]`): the videos.
            work (`Callable`): function from a video and its [`Talk`] to the results for its objects.

        Returns:
            For each video its result, or a [`Failure`]: of kind `"endpoint"` if there is no reply, of kind `"reply"`
            if it cannot be used.

        Raises:
            BatchStoppedError: an error concerns all videos, such as a wrong key. It has the results so far.
            BatchInterrupted: the user stopped the work. It has the results so far.
        """
        return each(items, lambda item: self._made(item, work), self.chat.workers)

    def _made(self, item: VideoItem, work: Callable[[VideoItem, Talk], Sequence[Any]]) -> Made | Failure:
        talk = Talk(self)
        try:
            return Made(tuple(work(item, talk)), talk.spent)
        except ReplyError as error:
            kind = "endpoint" if error.kind in ("endpoint", "timeout") else "reply"
            return Failure(kind, str(error), talk.spent)
        except (ChatError, EngineError) as error:
            raise BatchStoppedError(str(error), [talk.spent]) from error
        except KeyboardInterrupt as error:
            raise BatchInterrupted([talk.spent]) from error
        except Exception as error:  # concerns this video alone; the results of others are kept
            return replace(Failure.of(error), spent=talk.spent)

    def ask(self, ask: Callable[[Chat], Asked[ValueT]]) -> Asked[ValueT]:
        """Ask; a model that is loaded here answers one at a time."""
        with self._turn:
            return ask(self.chat)


def _provider(address: Any) -> str:
    """Return the provider of an address; empty for a local server, whose address may change."""
    host = urlsplit(str(address)).hostname or ""
    try:
        own = not ip_address(host).is_global
    except ValueError:
        own = "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return "" if own else host


class Talk:
    """The questions about one video, and their cost.

    Attributes:
        spent ([`Spent`]): the cost so far.
    """

    def __init__(self, asking: Asking):
        self._asking = asking
        self.spent = Spent()

    def json(self, messages: Sequence[Message], read: Callable[[Any], ValueT]) -> ValueT | Drop:
        """Ask for JSON; see `ask_json`. Messages that the model refuses, or that are too long, give a [`Drop`].

        Raises:
            ReplyError: there is no usable reply.
            ChatError: there will be no reply to other messages either.
        """
        return self._asked(lambda chat: ask_json(chat, messages, read, self._asking.tries))

    def text(self, messages: Sequence[Message]) -> str | Drop:
        """Ask for a text; see `ask_text`. Refusals and errors are as with `json`."""
        return self._asked(lambda chat: ask_text(chat, messages))

    def _asked(self, ask: Callable[[Chat], Asked[ValueT]]) -> ValueT | Drop:
        try:
            return self._asking.ask(lambda chat: ask(_Counted(chat, self._count))).value
        except ReplyError as error:
            if error.kind in _AGAIN_THE_SAME:
                return Drop(error.kind, str(error))
            raise

    def _count(self, completion: Completion) -> None:
        self.spent += self._asking.spent([completion])


class _Counted:
    """A chat model that counts all replies as soon as they arrive, also unusable ones."""

    def __init__(self, chat: Chat, count: Callable[[Completion], None]):
        self.workers, self.settings, self.close = chat.workers, chat.settings, chat.close
        self._chat, self._count = chat, count

    def complete(self, messages: Sequence[Message]) -> Completion:
        """See [`Chat`]."""
        completion = self._chat.complete(messages)
        self._count(completion)
        return completion


def messages_of(instructions: str, content: str) -> list[Message]:
    """Return instructions and content as one message, since some chat models take no system message."""
    return [{"role": "user", "content": f"{instructions}\n\n{content}"}]


def prompt_identity(version: int, *prompts: str) -> dict[str, Any]:
    """Return version and hash of prompts for the identity of an agent, so that edited prompts give new results."""
    return {"version": version, "hash": hashlib.sha256("\x1f".join(prompts).encode()).hexdigest()[:16]}


def text_in(value: Any, name: str) -> str:
    """Return a text of a reply.

    Raises:
        ValueError: the text is missing; the message is for the model.
    """
    text = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} is {short(text)}, expected a text")
    fault = text_fault(text)
    if fault:
        raise ValueError(f"in {name}, {fault}")
    return " ".join(text.split())
