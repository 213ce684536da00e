"""Reads the text or JSON that was asked for out of the reply of a chat model."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from videorefer_plugin._json import TwiceError, each_once, json_fault
from videorefer_plugin._kinds import check_kind
from videorefer_plugin._text import short, text_fault
from videorefer_plugin.chat.base import CHAT, Chat, Completion, Message, check_at_least
from videorefer_plugin.chat.reasoning import without_reasoning
from videorefer_plugin.errors import ChatError

__all__ = ["Asked", "ReplyError", "ask_json", "ask_text", "json_objects"]

ValueT = TypeVar("ValueT")
Kind = Literal["empty", "refused", "not_json", "cut_off", "endpoint", "timeout", "too_long"]

_STRICT = json.JSONDecoder(object_pairs_hook=each_once)
_MOST_STARTS = 1000  # positions of a reply at which JSON may begin; more are noise


class ReplyError(ChatError):
    """These messages got no usable reply; other messages may get one.

    Attributes:
        kind (`str`): `"empty"`, `"refused"`, `"not_json"`, `"cut_off"` (at the most tokens of a reply), `"endpoint"`
            (an error of the server or the network), `"timeout"` or `"too_long"` (the messages).
        spent (`tuple[Completion, ...]`): unusable replies that arrived, and whose tokens count.
    """

    def __init__(self, message: str, kind: Kind = "endpoint", spent: Sequence[Completion] = ()) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.spent = tuple(spent)


@dataclass(frozen=True)
class Asked(Generic[ValueT]):
    """The value that was asked for, and all replies until it was there.

    Attributes:
        value: the text, or the value that was read from JSON.
        completions (`tuple[Completion, ...]`): the replies in order; the value is from the last one.
    """

    value: ValueT
    completions: tuple[Completion, ...]


def ask_text(chat: Chat, messages: Sequence[Message]) -> Asked[str]:
    """Ask for a text, without the reasoning that some models write before it.

    Raises:
        ReplyError: the reply is empty, refused or cut off, or no reply came.
        ChatError: no messages will get a reply.
    """
    check_kind(ChatError, CHAT, chat=chat)
    completion = chat.complete(messages)
    said, trouble = _said(completion)
    if trouble is not None:
        raise ReplyError(_sentence(*trouble), trouble[0], (completion,))
    if completion.finish == "length":
        raise ReplyError(_sentence("cut_off", ""), "cut_off", (completion,))
    return Asked(said, (completion,))


def ask_json(chat: Chat, messages: Sequence[Message], read: Callable[[Any], ValueT], tries: int = 2) -> Asked[ValueT]:
    """Ask for JSON, an object or a list, in a fence or with prose around it.

    A model that replies with something else is told the reason and asked again.

    Args:
        chat ([`Chat`]): the chat model.
        messages (`Sequence`): the messages, in the form of OpenAI's chat completions.
        read (`Callable`): converts the JSON to the wanted value, or raises `ValueError` with a reason for the model to
            read.
        tries (`int`): how often to ask at most.

    Raises:
        ReplyError: no reply can be used; `spent` holds all replies.
        ChatError: no messages will get a reply.
    """
    check_at_least("tries", tries, 1, whole=True)
    spent: list[Completion] = []
    conversation = list(messages)
    while True:
        try:
            completion = chat.complete(conversation)
        except ReplyError as error:
            error.spent = (*spent, *error.spent)
            raise
        spent.append(completion)
        found = _read(completion, read)
        if isinstance(found, Asked):
            return Asked(found.value, tuple(spent))
        kind, reason = found
        if kind == "refused" or len(spent) >= tries:
            said = f"{reason}: {short(completion.text)}" if kind == "not_json" else reason
            raise ReplyError(_sentence(kind, said), kind, spent)
        conversation = _once_more(
            messages, completion, f"{_to_model(kind, reason)} Reply with the JSON and nothing else."
        )


def json_objects(text: str) -> Iterator[Mapping[str, Any]]:
    """Iterate over the JSON objects of a text, with any other text around them."""
    return (value for value in _json_values(text, "{"))


def _read(completion: Completion, read: Callable[[Any], ValueT]) -> Asked[ValueT] | tuple[Kind, str]:
    said, trouble = _said(completion)
    if trouble is not None:
        return trouble
    reason = _broken(said)
    usable: list[tuple[Any, ValueT]] = []
    for value in _json_values(said, "{[", strict=True):
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            reason = "it has NaN, infinity or half a character (a lone surrogate), which JSON does not allow"
            continue
        try:
            usable.append((value, read(value)))
        except ValueError as error:
            reason = str(error)
    if any(value != usable[0][0] for value, _ in usable):
        return "not_json", "it has several answers in JSON that differ; expected a single one"
    if usable:
        return Asked(usable[0][1], ())
    return ("cut_off", "") if completion.finish == "length" else ("not_json", reason)


def _broken(text: str) -> str:
    """Return the reason why a text has no JSON, as a parser gives it."""
    place = text.find("{")
    if place < 0:
        return "there is no JSON in it"
    try:
        _STRICT.raw_decode(text, place)
    except json.JSONDecodeError as error:
        return f"the JSON in it is broken ({error.msg})"
    except (ValueError, RecursionError) as error:
        return json_fault(error)
    return "there is no JSON in it"


def _said(completion: Completion) -> tuple[str, tuple[Kind, str] | None]:
    """Return the text of a reply without its reasoning, or the reason why it cannot be used."""
    if completion.finish == "content_filter" or completion.refusal:
        return "", ("refused", short(completion.refusal) if completion.refusal else "")
    said = without_reasoning(completion.text)
    if said is None or not said.strip():
        return "", ("cut_off", "") if completion.finish == "length" else ("empty", "")
    fault = text_fault(said)
    return said.strip(), ("endpoint", fault) if fault else None


def _sentence(kind: Kind, reason: str) -> str:
    begin = {
        "empty": "The model's reply is empty",
        "refused": "The model refuses to reply",
        "cut_off": "The model's reply is cut off at the most tokens of a reply; raise max_tokens",
        "not_json": "The model's reply cannot be used",
    }.get(kind, "The model's reply cannot be read")
    return f"{begin} ({reason})." if reason else f"{begin}."


def _to_model(kind: Kind, reason: str) -> str:
    """Return the sentence that tells a model why its reply cannot be used."""
    if kind == "empty":
        return "Your reply was empty."
    if kind == "cut_off":
        return "Your reply was too long and was cut off; be brief."
    return f"Your reply cannot be used: {reason}."


def _once_more(messages: Sequence[Message], completion: Completion, said: str) -> list[Message]:
    """Return the messages, the reply and its fault. Users and models take turns, as some templates demand."""
    if completion.text.strip():
        return [*messages, {"role": "assistant", "content": completion.text}, {"role": "user", "content": said}]
    *before, last = messages
    content = last["content"]
    more = f"{content}\n\n{said}" if isinstance(content, str) else [*content, {"type": "text", "text": said}]
    return [*before, {**last, "content": more}]


def _json_values(text: str, openers: str, strict: bool = False) -> Iterator[Any]:
    """Iterate over the JSON values of a text that begin with one of these characters.

    With `strict`, objects with doubled keys and parts of broken or cut off values are left out.
    """
    decoder = _STRICT if strict else json.JSONDecoder()
    place = _next_of(text, openers, 0)
    for _ in range(_MOST_STARTS):
        if place < 0:
            return
        try:
            value, end = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            end = max(place + 1, error.pos if strict else 0)
        except (TwiceError, RecursionError):
            return
        except ValueError:  # a number of thousands of digits
            end = place + 1
        else:
            yield value
        place = _next_of(text, openers, end)


def _next_of(text: str, characters: str, start: int) -> int:
    places = [place for place in (text.find(character, start) for character in characters) if place >= 0]
    return min(places, default=-1)
