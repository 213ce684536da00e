"""Conversations as chat templates take them, with regions between the words."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from videorefer_plugin._text import listed, short, text_fault
from videorefer_plugin.errors import PromptError, RegionError
from videorefer_plugin.inputs.placeholders import placeholder_kinds
from videorefer_plugin.regions import Region, as_region, is_one_region

__all__ = ["CONTENT_KINDS", "as_conversations", "check_text", "content_kinds", "plain_conversation", "regions_of"]

CONTENT_KINDS = ("text", "image", "video", "region")
"""Types of the content items of a message."""

_URL_KINDS = {"image_url": "image", "video_url": "video"}  # in the form of OpenAI's API
_SOURCES = ("image", "video", *_URL_KINDS, "url", "path", "base64")
_ROLES = ("system", "user", "assistant", "tool", "developer", "function")
_OTHER_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant"}  # their names in training records
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call")
# Settings about frames and their size, which are an error beside a visual because they would be ignored.
_SETTINGS = (
    *("fps", "num_frames", "nframes", "max_frames", "min_frames", "video_start", "video_end", "start", "end"),
    *("min_pixels", "max_pixels", "total_pixels", "resized_height", "resized_width", "mask_policy"),
)
_BASE64 = re.compile(r"[A-Za-z0-9+/\r\n]{64,}={0,2}\s*")  # no image is shorter

Message = dict[str, Any]


def check_text(text: str, what: str) -> None:
    """Make sure that a text can be tokenized.

    Args:
        text (`str`): the text.
        what (`str`): its name in messages, such as `"The question"`.

    Raises:
        PromptError: the text holds half of a character.
    """
    if fault := text_fault(text):
        raise PromptError(f"{what} cannot be read: {fault}. Take it out, or decode the text again from its source.")


def as_conversations(
    conversation: Any, kinds: Sequence[str] = CONTENT_KINDS, *, with_sources: bool = True
) -> tuple[list[list[Message]], bool]:
    """Check a conversation, or a list of them, and bring it to the one form that the rest of this library uses.

    Messages and content items may also be dataclasses or pydantic models, and a conversation an object with
    `messages`, as in transformers. A visual is the value of its type, `"url"`, `"path"` or `"base64"`, or has the form
    of OpenAI's API, `{"type": "image_url", "image_url": {"url": ...}}`.

    Args:
        conversation: messages, or a list of these for each sample.
        kinds (`Sequence[str]`, *optional*): the accepted types of content items.
        with_sources (`bool`, *optional*, defaults to `True`):
            Whether every visual must have a source. Texts can be made without.

    Returns:
        `tuple[list, bool]`: the conversations, and whether a list of several was given. Messages and content items
            are new dicts without the keys whose value is None. A visual is the value of its type; base64 is a data:
            URL.

    Raises:
        PromptError: it is malformed; the message names the sample, the message and the content item.
    """
    batched = isinstance(conversation, (list, tuple)) and bool(conversation) and _is_conversation(conversation[0])
    read = []
    for index, one in enumerate(conversation if batched else [conversation]):
        messages = _messages(one, f"Sample {index}: a" if batched else "A")
        where = f"Sample {index}: message" if batched else "Message"
        read.append([_message(each, kinds, with_sources, f"{where} {turn}") for turn, each in enumerate(messages)])
    return read, batched


def _is_conversation(value: Any) -> bool:
    # A message may be a named tuple.
    return hasattr(value, "messages") or (isinstance(value, (list, tuple)) and _said_by(value) is None)


def _messages(conversation: Any, where: str) -> list[Message]:
    given = getattr(conversation, "messages", conversation)
    if not isinstance(given, (list, tuple)) or not given:
        raise _no_messages(where, f"is {_named(given)}")
    messages = []
    for place, one in enumerate(given):
        message = _said_by(one)
        if message is None:
            raise _no_messages(where, f"its message {place} is {_named(one)}")
        messages.append(message)
    return messages


def _no_messages(where: str, wrong: str) -> PromptError:
    return PromptError(
        f"{where} conversation must be a list of messages such as "
        f'{{"role": "user", "content": "What happens here?"}}, but {wrong}.'
    )


def _said_by(value: Any) -> Message | None:
    """Return the content of a message or content item by name; None if it is neither."""
    if isinstance(value, Mapping):
        said = dict(value)
    elif is_dataclass(value) and not isinstance(value, type):
        said = {field.name: getattr(value, field.name) for field in fields(value)}
    elif callable(getattr(value, "model_dump", None)) and not isinstance(value, type):  # of pydantic
        said = value.model_dump()
    elif hasattr(value, "role") and hasattr(value, "content"):
        said = {"role": value.role, "content": value.content}
    else:
        return None
    return {name: one for name, one in said.items() if one is not None}


def _named(value: Any) -> str:
    """Describe a value for messages, which omit anything that may be long."""
    plain = value is None or isinstance(value, (str, bytes, int, float))
    empty = isinstance(value, (list, tuple, dict)) and not value
    return short(value) if plain or empty else f"a {type(value).__name__}"


def _message(message: Message, kinds: Sequence[str], with_sources: bool, where: str) -> Message:
    role, content = message.get("role"), message.get("content")
    _check_role(role, message, where)
    if isinstance(content, str):
        check_text(content, f"{where}: its content")
    elif isinstance(content, (list, tuple)):
        places = enumerate(content)
        message["content"] = [
            _item(item, kinds, with_sources, f"{where}: content item {place}") for place, item in places
        ]
    elif content is not None:
        raise PromptError(
            f"{where}: content must be a string or a list of content items, but is a {type(content).__name__}."
        )
    elif not any(name in message for name in _INSTEAD_OF_CONTENT):
        keys = listed([_named(key) for key in message if key != "role"]) or "nothing"
        raise PromptError(
            f'{where} needs a string or a list of content items under "content", but has {keys} beside its role. '
            'Write "content": "" for a message that says nothing.'
        )
    return message


def _check_role(role: Any, message: Message, where: str) -> None:
    """Check a role, since a chat template would write any, even one that no model was trained with."""
    if not isinstance(role, str):
        keys = listed([_named(key) for key in message if key != "role"])
        given = f"{_named(role)} there" if "role" in message else keys or "nothing"
        raise PromptError(f'{where} needs a string under "role", such as "user", but has {given}.')
    check_text(role, f"{where}: its role")
    plain = role.strip().lower()
    if not plain:
        raise PromptError(f'{where} needs a role, such as "user", but has {short(role)}.')
    if role not in _ROLES:
        close = difflib.get_close_matches(_OTHER_ROLES.get(plain, plain), _ROLES, n=1, cutoff=0.8)
        if close:
            raise PromptError(f'{where} has the role {short(role)}, which no model knows; write "{close[0]}".')


def _item(given: Any, kinds: Sequence[str], with_sources: bool, where: str) -> Message:
    item = _said_by(given)
    kind: Any = given if item is None else item.get("type")
    if item is None or not isinstance(kind, str) or _URL_KINDS.get(kind, kind) not in kinds:
        raise PromptError(
            f"{where}: a content item must be a dict with one of the types {', '.join(map(repr, kinds))}, but this "
            f"one {'is' if item is None else 'has'} {_named(kind)}."
        )
    if kind == "text":
        _check_text_item(item, where)
    elif kind == "region":
        _check_alone(item, ("type", "region"), f'{where} of type "region"')
    else:
        return _visual_item(item, _URL_KINDS.get(kind, kind), with_sources, where)
    return item


def _check_text_item(item: Message, where: str) -> None:
    what = f'{where} of type "text"'
    if not isinstance(item.get("text"), str):
        raise PromptError(f'{what} needs a string under "text", but has {type(item.get("text")).__name__}.')
    check_text(item["text"], what)
    lost = next((name for name in ("image", "video", "region", *_URL_KINDS) if name in item), None)
    if lost is not None:
        raise PromptError(f'{what} has "{lost}" beside its text, which nobody would look at. Make two items of it.')


def _check_alone(item: Message, known: Sequence[str], what: str, refused: Sequence[str] | None = None) -> None:
    """Refuse keys beside a region or visual that would be ignored; all of them, or those in `refused`."""
    beside = [name for name in item if name not in known and (refused is None or name in refused)]
    if beside:
        raise PromptError(
            f"{what} has {_named(beside[0])} beside it, which nobody would look at. Settings are given to the call, "
            "and count for all; a Region says itself where it lies."
        )


# --- visuals ---------------------------------------------------------------------------------------------------------


def _visual_item(item: Message, kind: str, with_sources: bool, where: str) -> Message:
    """Bring a content item of a visual to its plain form."""
    what = f'{where} of type "{item["type"]}"'
    _check_alone(item, (), what, _SETTINGS)
    given = [name for name in _SOURCES if name in item]
    if len(given) > 1:
        raise PromptError(f"{what} names its {kind} {len(given)} times, as {listed(map(repr, given))}. Keep one.")
    own = [name for name in (kind, f"{kind}_url", "url", "path", "base64") if name in given]
    if given != own or (with_sources and not own):
        a = "an" if kind == "image" else "a"
        raise PromptError(
            f'{what} needs {a} {kind} under "{kind}", "url", "path" or "base64", but has '
            f"{listed(map(repr, given)) or listed([_named(key) for key in item if key != 'type']) or 'none'}."
        )
    return {"type": kind, kind: _source(item[own[0]], own[0], kind, what)} if own else {"type": kind}


def _source(value: Any, name: str, kind: str, what: str) -> Any:
    if name in _URL_KINDS:
        address = value if isinstance(value, str) else (_said_by(value) or {}).get("url")
        if not isinstance(address, str):
            raise PromptError(
                f'{what} needs an address under "{name}", as a string or {{"url": ...}}, but has a '
                f"{type(value).__name__}."
            )
        value = address
    if name == "base64":
        return _as_data_url(value, kind, what)
    if kind == "image" and isinstance(value, str) and _BASE64.fullmatch(value) and not os.path.isfile(value):
        return _as_data_url(value, kind, what)  # transformers does not check it
    return value


def _as_data_url(text: Any, kind: str, what: str) -> Any:
    """Turn base64 into a data: URL, which is decoded when opened; equal ones are recognized as the same visual."""
    if isinstance(text, (bytes, bytearray)):
        if not text.isascii():  # decoded already, as by pydantic
            return bytes(text)
        text = text.decode("ascii")
    if not isinstance(text, str):
        raise PromptError(f'{what} needs a string under "base64", but has a {type(text).__name__}.')
    return text if text[:5].lower() == "data:" else f"data:{kind}/*;base64,{text}"


# --- regions ---------------------------------------------------------------------------------------------------------


def regions_of(conversations: Sequence[Sequence[Message]], regions: Any) -> Any:
    """Return the regions of conversations: those in their content items, or those given separately.

    Raises:
        PromptError: regions are given in both ways.
        RegionError: a content item of type `"region"` has no [`Region`] and no JSON form of one.
    """
    several = len(conversations) > 1
    inline = [
        _inline_regions(conversation, f"Sample {sample}: message" if several else "Message")
        for sample, conversation in enumerate(conversations)
    ]
    if not any(inline):
        return regions
    if regions is not None:
        raise PromptError("Regions are given both as regions= and as content items; use one way.")
    return inline


def _inline_regions(conversation: Sequence[Message], where: str) -> list[Region]:
    found = []
    for turn, message in enumerate(conversation):
        for place, item in enumerate(_items(message)):
            if item["type"] == "region":
                if not is_one_region(item.get("region")):
                    raise RegionError(
                        f'{where} {turn}: content item {place} of type "region" needs a Region under "region", or its '
                        f"JSON form, but has {type(item.get('region')).__name__}."
                    )
                found.append(as_region(item["region"]))
    return found


def content_kinds(conversation: Sequence[Message], tokens: Mapping[str, str]) -> list[str]:
    """Return the kinds of items in a conversation, in its order, before a chat template moves anything.

    Args:
        conversation (`list[dict]`): messages, as [`as_conversations`] returns them.
        tokens (`Mapping[str, str]`): the placeholders, which may also occur in texts, by kind.

    Returns:
        `list[str]`: the kinds, such as `["video", "region"]`.
    """
    found: list[str] = []
    for message in conversation:
        for item in _items(message):
            kind = item["type"]
            found += placeholder_kinds(item["text"], tokens) if kind == "text" else [kind]
    return found


def _items(message: Message) -> Iterator[Message]:
    """The content items of a message; a bare text is one."""
    content = message.get("content")
    yield from [{"type": "text", "text": content}] if isinstance(content, str) else content or []


def plain_conversation(
    conversation: Sequence[Message], sources: dict[str, list[Any]], region_token: str
) -> list[Message]:
    """Return a conversation for a host's chat template, without the visuals and regions themselves.

    Args:
        conversation (`list[dict]`): messages, as [`as_conversations`] returns them.
        sources (`dict[str, list]`): collects the visuals, by kind, in their order.
        region_token (`str`): the placeholder of a region in the text around it.
    """
    messages = []
    for message in conversation:
        content = message.get("content")
        if not isinstance(content, list):
            messages.append(message)
            continue
        items: list[Message] = []
        for item in content:
            kind = item["type"]
            if kind in ("text", "region"):
                text = region_token if kind == "region" else item["text"]
                if items and items[-1]["type"] == "text":
                    items[-1]["text"] += text
                else:
                    items.append({"type": "text", "text": text})
            else:
                sources[kind] += [item[kind]] if kind in item else []
                items.append({"type": kind})
        messages.append({**message, "content": items})
    return messages
