"""What a chat model is, whether it runs behind an endpoint or here, and what was used of it."""

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
    """A reply, and what it took.

    Attributes:
        text (`str`): the reply; empty if the model said nothing, or refused.
        input_tokens, output_tokens (`int`, *optional*): as counted by the model's side.
        finish (`str`, *optional*): why it ends: `"stop"`, `"length"` (cut off at the most tokens of a reply) or
            `"content_filter"` (refused, by the model or by a filter before it), if the model's side says so.
        refusal (`str`, *optional*): what was said in place of a reply.
    """

    text: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: Finish | None = None
    refusal: str | None = None


class Chat(Protocol):
    """A chat model.

    Attributes:
        workers (`int`): how many requests it takes at the same time.
    """

    workers: int

    def settings(self) -> dict[str, Any]:
        """Everything that its replies depend on."""
        ...

    def complete(self, messages: Sequence[Message]) -> Completion:
        """Reply to messages in the form of OpenAI's chat completions.

        A reply that is empty, refused or cut off is returned as it is, and says so.

        Raises:
            PromptError: they are no messages that can be sent.
            ReplyError: there is no reply to these messages; there may be one to others.
            ChatError: there will be none to others either.
        """
        ...

    def close(self) -> None:
        """Let go of a model or of connections; the next messages bring them back."""
        ...


CHAT = methods("a chat model", "complete", hint="ChatEndpoint, LocalChat and make_chat make one.")


def check_messages(messages: Sequence[Message]) -> None:
    """Make sure that messages can be sent.

    Raises:
        PromptError: there is none, or one has no role, no content, or half a character.
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
    """Reply to several lists of messages; in one batch, if the chat model has a `complete_many` of its own."""
    check_kind(ChatError, CHAT, chat=chat)
    check_kind(PromptError, LIST, conversations=conversations)
    own = getattr(chat, "complete_many", None)
    return own(conversations) if own else [chat.complete(messages) for messages in conversations]


class Usage:
    """Tokens used so far, and what they cost if prices are known; safe to share between threads.

    Attributes:
        requests, input_tokens, output_tokens (`int`): so far.
        uncounted (`int`): requests whose tokens the model's side does not count, which are not among these.

    Args:
        prices (`tuple[float, float]`, *optional*): of a million tokens read and written.

    Raises:
        ChatError: a price is no number from 0 up.
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
        """What was used times the prices, in their currency, as far as the model's side counts it."""
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
    """Make sure that a setting is a finite number from `least` up (or `above` it), and a `whole` one where asked.

    Raises:
        ChatError: it is not.
    """
    kind_of = numbers.Integral if whole else numbers.Real
    right = isinstance(value, kind_of) and not isinstance(value, bool) and _is_finite(value)
    if not right or value < least or (above and value == least):
        kind = "a whole number" if whole else "a number"
        raise ChatError(
            f"{name} is {short(value)}: expected {kind} {f'above {least}' if above else f'from {least} up'}"
        )
