"""What agents that ask a chat model have in common: their settings, what they spend, and what becomes of no reply."""

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

_AGAIN_THE_SAME: tuple[str, ...] = ("refused", "too_long")  # what a model would also say if it were asked later


class ChatSettings(TypedDict, total=False):
    """How a chat model is asked; settings of every agent that asks one.

    Attributes:
        endpoint (`str`): address of an OpenAI-compatible endpoint, or `"openai"`. Without one, `model` is a folder or
            Hub id, and is loaded here.
        temperature (`float`): 0 by default.
        max_tokens (`int`): the most tokens of a reply.
        tries (`int`): how often to ask for a reply that can be used, 2 by default; the model is told what was wrong.
        timeout (`float`): seconds to wait for a reply.
        retries (`int`): further tries of a request that an endpoint does not take.
        requests_per_minute (`float`): the most requests to start in a minute.
        workers (`int`): requests at the same time, of the videos of a batch.
        prices (`Sequence[float]`): of a million tokens read and written.
        key_variable (`str`): the environment variable that holds the key.
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
    """A chat model, as an agent asks it about videos.

    Several threads may use it at once; a model that is loaded here takes turns.

    Args:
        agent (`str`): who asks, for messages, such as `"analyzer 'chat'"`.
        model (`str`): its name at the endpoint; or a folder or Hub id.
        settings ([`ChatSettings`]): those that were given.
        max_tokens (`int`): where they don't say it.
        extra (`Mapping[str, Any]`, *optional*): further fields of requests to an endpoint.

    Raises:
        ConfigurationError: there is no such setting, or no model.
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
        """Let go of a model that was loaded, or of connections; they come back when it is asked again."""
        self.chat.close()

    def identity(self) -> dict[str, Any]:
        """What replies depend on: of a server on this machine or its network not where it listens."""
        said = {**self.chat.settings(), "tries": self.tries}
        if "endpoint" in said:
            said["endpoint"] = _provider(said["endpoint"])
        return said

    def spent(self, completions: Sequence[Completion]) -> Spent:
        """What these replies took."""
        usage = Usage(self._prices)
        for completion in completions:
            usage.add(completion)
        return Spent(usage.requests, usage.input_tokens, usage.output_tokens, usage.cost or 0.0, usage.uncounted)

    def each(
        self, items: Sequence[VideoItem], work: Callable[[VideoItem, Talk], Sequence[Any]]
    ) -> list[Made | Failure]:
        """Work on videos, on as many at once as the model takes.

        Args:
            items (`Sequence[VideoItem]`): the videos.
            work (`Callable`): from a video and the talk about it to what is made of its objects.

        Returns:
            For each video what was made; or a [`Failure`] of kind `"endpoint"` where there is no reply, of kind
            `"reply"` where it cannot be used.

        Raises:
            BatchStoppedError: the model will reply to nothing, such as with a wrong key; has what there is.
            BatchInterrupted: the user stopped it; has the same.
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
        except Exception as error:  # of this video alone; others are not asked about again for it
            return replace(Failure.of(error), spent=talk.spent)

    def ask(self, ask: Callable[[Chat], Asked[ValueT]]) -> Asked[ValueT]:
        """Ask, where models that are loaded here take turns."""
        with self._turn:
            return ask(self.chat)


def _provider(address: Any) -> str:
    """Whose server has this address; empty for one of one's own, which may listen elsewhere the next time."""
    host = urlsplit(str(address)).hostname or ""
    try:
        own = not ip_address(host).is_global
    except ValueError:
        own = "." not in host or host.endswith((".local", ".localhost", ".internal"))
    return "" if own else host


class Talk:
    """What is asked about one video, with what it takes.

    Attributes:
        spent ([`Spent`]): so far.
    """

    def __init__(self, asking: Asking):
        self._asking = asking
        self.spent = Spent()

    def json(self, messages: Sequence[Message], read: Callable[[Any], ValueT]) -> ValueT | Drop:
        """Ask for JSON; see `ask_json`. Messages that are refused, or too long, would be so again: that is a [`Drop`].

        Raises:
            ReplyError: there is no reply that can be used.
            ChatError: there will be none to other messages either.
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
    """A chat model whose replies are counted as soon as they are there, whatever becomes of them."""

    def __init__(self, chat: Chat, count: Callable[[Completion], None]):
        self.workers, self.settings, self.close = chat.workers, chat.settings, chat.close
        self._chat, self._count = chat, count

    def complete(self, messages: Sequence[Message]) -> Completion:
        """See [`Chat`]."""
        completion = self._chat.complete(messages)
        self._count(completion)
        return completion


def messages_of(instructions: str, content: str) -> list[Message]:
    """What is asked, as one message: not every chat model takes one of the system."""
    return [{"role": "user", "content": f"{instructions}\n\n{content}"}]


def prompt_identity(version: int, *prompts: str) -> dict[str, Any]:
    """Version and hash of prompts, for the identity of an agent: whoever edits one gets new results."""
    return {"version": version, "hash": hashlib.sha256("\x1f".join(prompts).encode()).hexdigest()[:16]}


def text_in(value: Any, name: str) -> str:
    """A text of a reply.

    Raises:
        ValueError: there is none, for the model to read.
    """
    text = value.get(name) if isinstance(value, Mapping) else None
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"{name} is {short(text)}, expected a text")
    fault = text_fault(text)
    if fault:
        raise ValueError(f"in {name}, {fault}")
    return " ".join(text.split())
