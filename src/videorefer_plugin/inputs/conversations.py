"""Conversations as chat templates take them, with regions between the words."""

from collections.abc import Sequence
from typing import Any

from videorefer_plugin._text import text_fault
from videorefer_plugin.errors import PromptError, RegionError
from videorefer_plugin.regions import Region, as_region, is_one_region

__all__ = ["CONTENT_KINDS", "as_conversations", "check_text", "plain_conversation", "regions_of"]

CONTENT_KINDS = ("text", "image", "video", "region")
"""Types of the content items of a message."""

Message = dict[str, Any]


def check_text(text: str, what: str) -> None:
    """Make sure that a text can be given to a tokenizer.

    Args:
        text (`str`): the text.
        what (`str`): what it is, for messages, such as `"The question"`.

    Raises:
        PromptError: it holds half of a character.
    """
    if fault := text_fault(text):
        raise PromptError(f"{what} cannot be read: {fault}. Take it out, or decode the text anew from its source.")


def as_conversations(conversation: Any, kinds: Sequence[str] = CONTENT_KINDS) -> tuple[list[list[Message]], bool]:
    """Check that this is a conversation, or a list of them, with content that a processor knows.

    Args:
        conversation: messages, or a list of these for each sample.
        kinds (`Sequence[str]`, *optional*): types of content items that are known.

    Returns:
        `tuple[list, bool]`: the conversations, and whether there may be several.

    Raises:
        PromptError: it is malformed; the sample is named.
    """
    batched = isinstance(conversation, (list, tuple)) and bool(conversation)
    batched = batched and isinstance(conversation[0], (list, tuple))
    conversations = list(conversation) if batched else [conversation]
    for index, messages in enumerate(conversations):
        where = f"Sample {index}: a" if batched else "A"
        if not isinstance(messages, (list, tuple)) or not messages or not all(isinstance(m, dict) for m in messages):
            raise PromptError(
                f"{where} conversation must be a list of messages such as "
                f'{{"role": "user", "content": "What happens here?"}}, but is {messages!r}.'
            )
        for message in messages:
            if not isinstance(message.get("role"), str):
                raise PromptError(f'{where} message needs a string under "role", such as "user", but is {message!r}.')
            check_text(message["role"], f"{where} message's role")
            _check_content(message.get("content"), kinds, where)
    return conversations, batched


def _check_content(content: Any, kinds: Sequence[str], where: str) -> None:
    if content is not None and not isinstance(content, (str, list, tuple)):
        raise PromptError(
            f"{where} message's content must be a string or a list of content items, but is a "
            f"{type(content).__name__}."
        )
    if isinstance(content, str):
        check_text(content, f"{where} message's content")
    for item in content if isinstance(content, (list, tuple)) else []:
        kind = item.get("type") if isinstance(item, dict) else item
        if not isinstance(item, dict) or kind not in kinds:
            raise PromptError(
                f"{where} content item must be a dict with one of the types {', '.join(map(repr, kinds))}, but one "
                f"has {kind!r}."
            )
        if kind == "text" and not isinstance(item.get("text"), str):
            raise PromptError(
                f'{where} content item of type "text" needs a string under "text", but has '
                f"{type(item.get('text')).__name__}."
            )
        if kind == "text":
            check_text(item["text"], f'{where} content item of type "text"')


def regions_of(conversations: Sequence[Sequence[Message]], regions: Any) -> Any:
    """The regions of conversations: those that stand in them as content items, or those given beside them.

    Raises:
        PromptError: they come both ways.
        RegionError: a content item of type `"region"` has no [`Region`] and no JSON form of one.
    """
    inline = [_inline_regions(conversation) for conversation in conversations]
    if not any(inline):
        return regions
    if regions is not None:
        raise PromptError("Regions are given both as regions= and as content items; use one way.")
    return inline


def _inline_regions(conversation: Sequence[Message]) -> list[Region]:
    found = []
    for message in conversation:
        content = message.get("content")
        for item in content if isinstance(content, (list, tuple)) else []:
            if item.get("type") == "region":
                if not is_one_region(item.get("region")):
                    raise RegionError(
                        'A content item of type "region" needs a Region under "region", or its JSON form, but has '
                        f"{type(item.get('region')).__name__}."
                    )
                found.append(as_region(item["region"]))
    return found


def plain_conversation(
    conversation: Sequence[Message], sources: dict[str, list[Any]], region_token: str
) -> list[Message]:
    """A conversation as a host's chat template knows it: without visuals and regions themselves.

    Args:
        conversation (`list[dict]`): messages, checked by [`as_conversations`].
        sources (`dict[str, list]`): gets the visuals, by kind, in their order.
        region_token (`str`): what stands for a region in the text around it.

    Raises:
        PromptError: a content item of a visual has none.
    """
    messages = []
    for message in conversation:
        content = message.get("content")
        if not isinstance(content, (list, tuple)):
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
                sources[kind].append(_source(item, kind))
                items.append({"type": kind})
        messages.append({**message, "content": items})
    return messages


def _source(item: Message, kind: str) -> Any:
    source = next((item[name] for name in (kind, "path", "url") if item.get(name) is not None), None)
    if source is None:
        raise PromptError(f'A content item of type "{kind}" needs a {kind} under "{kind}".')
    return source


# ---------------------------------------------------------------------- settings
