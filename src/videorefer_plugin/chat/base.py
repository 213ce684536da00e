"""The interface of chat models, behind an endpoint or on this machine, and a count of the tokens that they use."""

import math
import numbers
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from videorefer_plugin._kinds import LIST, MAPPING, check_kind, lists, methods
from videorefer_plugin._text import short, text_fault
from videorefer_plugin.errors import ChatError, PromptError

__all__ = [
    "CHAT",
    "Chat",
    "Completion",
    "Finish",
    "Message",
    "Usage",
    "check_at_least",
    "check_messages",
    "complete_many",
]

Message = dict[str, Any]
Finish = Literal["stop", "length", "content_filter"]


@dataclass(frozen=True)
class Completion:
    """The reply of a chat model, and the number of its tokens.

    Attributes:
        text (`str`): the reply; empty if the model wrote nothing or refused.
        input_tokens, output_tokens (`int`, *optional*): numbers of tokens, as counted by the server or model.
        finish (`str`, *optional*): why the reply ends: `"stop"`, `"length"` (cut off at the largest number of tokens)
            or `"content_filter"` (refused by the model or by a filter before it), if the server or model tells.
        refusal (`str`, *optional*): the words with which the model refused to reply.
    """

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: Finish | None = None
    refusal: str | None = None


class Chat(Protocol):
    """A chat model.

    Attributes:
        workers (`int`): how many requests the model takes at the same time.
    """

    workers: int

    def settings(self) -> dict[str, Any]:
        """Return all settings that replies depend on."""
        ...

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages in the form of OpenAI's chat completions.

        A reply that is empty, refused or cut off is returned as it is; its `finish` and `refusal` tell.

        Raises:
            PromptError: the messages cannot be sent.
            ReplyError: these messages got no reply; others may get one.
            ChatError: no messages will get a reply, such as after a wrong key.
        """
        ...

    def close(self) -> None:
        """Release the model or the connections; the next messages bring them back."""
        ...


CHAT = methods("a chat model", "complete", hint="ChatEndpoint, LocalChat and make_chat make one.")


def check_messages(messages: Sequence[Message]) -> None:
    """Check that messages can be sent.

    Raises:
        PromptError: there is no message, or one has no role, no content, or a lone surrogate in its text.
    """
    check_kind(PromptError, lists(MAPPING, "messages"), messages=messages)
    if not messages:
        raise PromptError("There are no messages: expected at least one, of a user")
    for number, message in enumerate(messages):
        content = message.get("content")
        if not isinstance(message.get("role"), str) or not isinstance(content, (str, list)):
            raise PromptError(f"Message {number} is {short(message)}: expected a role, and a text or parts as content")
        texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content]
        fault = next(filter(None, map(text_fault, texts)), "")
        if fault:
            raise PromptError(f"Message {number} cannot be sent: {fault}")


def complete_many(chat: Chat, conversations: Sequence[Sequence[Message]]) -> list[Completion]:
    """Reply to several lists of messages, in one batch if the chat model has a `complete_many` of its own."""
    check_kind(ChatError, CHAT, chat=chat)
    check_kind(PromptError, LIST, conversations=conversations)
    own = getattr(chat, "complete_many", None)
    return own(conversations) if own else [chat.complete(messages) for messages in conversations]


class Usage:
    """Counts tokens, and their cost if prices are given. Threads can share it.

    Attributes:
        requests, input_tokens, output_tokens (`int`): numbers of requests and tokens so far.
        uncounted (`int`): requests whose tokens the server does not report. `input_tokens` and `output_tokens` leave
            them out.

    Args:
        prices (`tuple[float, float]`, *optional*): prices of a million tokens read, and of a million written.

    Raises:
        ChatError: a price is not a finite number of at least 0.
    """

    def __init__(self, prices: tuple[float, float] | None = None):
        if prices is not None:
            prices = _checked_prices(prices)
        self.prices = prices
        self.requests = self.input_tokens = self.output_tokens = self.uncounted = 0
        self._lock = threading.Lock()

    def add(self, completion: Completion) -> None:
        """Count a reply."""
        with self._lock:
            self.requests += 1
            self.uncounted += completion.input_tokens is None or completion.output_tokens is None
            self.input_tokens += completion.input_tokens or 0
            self.output_tokens += completion.output_tokens or 0

    @property
    def cost(self) -> float | None:
        """Cost of the counted tokens, in the currency of the prices; `None` without prices."""
        if self.prices is None:
            return None
        return (self.input_tokens * self.prices[0] + self.output_tokens * self.prices[1]) / 1e6

    def __str__(self) -> str:
        if self.requests and self.uncounted == self.requests:
            return f"{self.requests} request(s), tokens unknown, since the model's side counts none"
        cost = "" if self.cost is None else f", cost {self.cost:.4f}"
        unknown = f", and those of {self.uncounted} request(s) unknown" if self.uncounted else ""
        return f"{self.requests} request(s), {self.input_tokens} tokens in, {self.output_tokens} out{cost}{unknown}"


def _checked_prices(prices: Any) -> tuple[float, float]:
    if not isinstance(prices, Sequence) or isinstance(prices, str) or len(prices) != 2:
        raise ChatError(f"prices are {short(prices)}: expected two numbers, of a million tokens read and written")
    for price in prices:
        check_at_least("prices", price, 0)
    return float(prices[0]), float(prices[1])


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False


def check_at_least(name: str, value: Any, least: float, *, above: bool = False, whole: bool = False) -> None:
    """Check that a setting is a finite number of at least `least` (or `above` it), and `whole` where asked.

    Raises:
        ChatError: the setting is something else.
    """
    kind_of = numbers.Integral if whole else numbers.Real
    right = isinstance(value, kind_of) and not isinstance(value, bool) and _is_finite(value)
    if not right or value < least or (above and value == least):
        kind = "a whole number" if whole else "a number"
        raise ChatError(
            f"{name} is {short(value)}: expected {kind} {f'above {least}' if above else f'from {least} up'}"
        )
