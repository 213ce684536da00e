"""The form of a request: chat completions of OpenAI, with regions between the words.

A region is a content part, `{"type": "region", "region": {"12": {"box": [10, 20, 60, 80]}}}`, between texts, or an
entry of the list `regions`, for a `<region>` in a text. This module fetches nothing, and opens no video.
"""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import RegionError, ServeError
from videorefer_plugin.inputs.conversations import check_text
from videorefer_plugin.inputs.matching import named
from videorefer_plugin.inputs.questions import without_placeholders
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Region, as_region
from videorefer_plugin.serve.limits import Limits
from videorefer_plugin.serve.settings import (
    SETTINGS_NAMES,
    check_answer_settings,
    check_visual_settings,
    known_fields,
)
from videorefer_plugin.serve.sources import Sources

__all__ = ["VISUAL_TOKENS", "ChatRequest", "read_request"]

VISUAL_TOKENS = ("<video>", "<image>")
"""Placeholders of visuals in prompts, which texts must not contain."""

_ROLES = ("system", "user", "assistant")
_VISUALS = {"video_url": "video", "image_url": "image"}
_MESSAGE_KEYS = ("role", "content")


@dataclass(frozen=True)
class ChatRequest:
    """A request that was checked as far as possible without opening its visuals.

    Attributes:
        messages (`list[dict]`): the conversation. Content parts are texts, in which `<region>` marks a region, and
            visuals as they were given. Consecutive texts are joined.
        regions (`list[Region]`): the regions, in the order of the conversation.
        settings (`dict`): settings of the processor for frames and regions.
        answer (`dict`): the other fields, such as `temperature` and `stream`.
    """

    messages: list[dict[str, Any]]
    regions: list[Region]
    settings: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] = field(default_factory=dict)

    def visuals(self) -> list[tuple[str, str]]:
        """Return kind and address of each visual, in the order of the conversation."""
        return [
            (_VISUALS[part["type"]], part[part["type"]]["url"])
            for message in self.messages
            for part in message["content"]
            if part["type"] in _VISUALS
        ]

    def to_json(self, kwargs_name: str) -> dict[str, Any]:
        """Return the request in the form for engines without regions.

        Args:
            kwargs_name (`str`): field that the engine passes to the processor.
        """
        own = dict(self.settings)
        if self.regions:
            own["regions"] = [region.to_json() for region in self.regions]
        return {**self.answer, "messages": self.messages, **({kwargs_name: own} if own else {})}


def read_request(
    body: Any, limits: Limits, sources: Sources | None = None, more_fields: Collection[str] = ()
) -> ChatRequest:
    """Check a request.

    Args:
        body: the JSON value of the request.
        limits ([`Limits`]): limits of requests.
        sources ([`Sources`], *optional*): allowed sources of visuals; by default no files and any server.
        more_fields (`Collection[str]`, *optional*): fields of the engine in addition to those of all engines. Their
            values are checked by the engine.

    Raises:
        ServeError: a part of the request is wrong or unknown. The message names that part.
        RegionError, PromptError: a region is malformed, or a text is not usable.
    """
    if not isinstance(body, Mapping):
        raise ServeError(f'A request is an object with "model" and "messages", but this one is {_kind(body)}.')
    _check_fields(body, known_fields(more_fields))
    beside, settings = _kwargs(body, limits)
    texts = _Conversation(limits, sources or Sources(), dict(body).get("messages"))
    messages = texts.read()
    regions = _match(texts, beside)
    _check_regions(regions, texts, limits)
    answer = {name: value for name, value in body.items() if value is not None and name not in _OWN}
    check_answer_settings(answer, limits)
    return ChatRequest(messages, regions, settings, answer)


_OWN = ("messages", "regions", *SETTINGS_NAMES)


def _check_fields(body: Mapping[str, Any], known: Collection[str]) -> None:
    for name, value in body.items():
        if name in known or value is None:
            continue
        close = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ServeError(
            f"The request has the field {short(name)}, which this server does not know and would ignore.{hint} "
            "Leave it out.",
            parameter=name[:64],
        )


def _kwargs(body: Mapping[str, Any], limits: Limits) -> tuple[list[Any] | None, dict[str, Any]]:
    """Return the separate list of regions, if there is one, and the settings of visuals."""
    regions: list[tuple[str, Any]] = [("regions", body["regions"])] if body.get("regions") is not None else []
    given = [name for name in SETTINGS_NAMES if body.get(name) is not None]
    if len(given) > 1:
        raise ServeError(f"The request has both {' and '.join(given)}, which mean the same. Keep one.")
    own: dict[str, Any] = {}
    for name in given:
        if not isinstance(body[name], Mapping):
            raise ServeError(f"{name} must be an object of settings, but is {_kind(body[name])}.", parameter=name)
        own = dict(body[name])
        if (inside := own.pop("regions", None)) is not None:
            regions.append((f"{name}.regions", inside))
    if len(regions) > 1:
        raise ServeError(f"Regions are given twice, as {regions[0][0]} and {regions[1][0]}. Keep one.")
    for name, value in regions:
        if not isinstance(value, list):
            raise ServeError(
                f'{name} must be a list with one region for each <region>, such as [{{"12": {{"box": [10, 20, 60, '
                f"80]}}}}], but is {_kind(value)}.",
                parameter=name,
            )
    check_visual_settings(own, limits, given[0] if given else "")
    return (regions[0][1] if regions else None), own


def _match(texts: "_Conversation", beside: list[Any] | None) -> list[Region]:
    """Return the regions, in the order of the conversation."""
    if texts.inline and beside is not None:
        raise ServeError("Regions are given both as content parts and as the list regions. Use one way.")
    if beside is None:
        if texts.placeholders > len(texts.inline):
            raise ServeError(
                f"The texts have {texts.placeholders - len(texts.inline)} {REGION_TOKEN} without a region. Replace "
                'each by a content part {"type": "region", "region": ...}, or give its region in the list regions.'
            )
        return texts.inline
    if texts.placeholders != len(beside):
        raise ServeError(
            f"The texts have {texts.placeholders} {REGION_TOKEN}, but the list regions holds {len(beside)} region(s). "
            f"Write one {REGION_TOKEN} for each, in the same order.",
            parameter="regions",
        )
    found = []
    for number, one in enumerate(beside):
        with named(f"regions[{number}]"):
            found.append(as_region(one))
    return found


def _check_regions(regions: Sequence[Region], texts: "_Conversation", limits: Limits) -> None:
    if regions and not texts.visuals:
        raise ServeError(
            f"The request has {len(regions)} region(s) and no video or image in which they lie. Add a content part of "
            'type "video_url" or "image_url" before the text.'
        )
    if len(regions) > limits.regions:
        raise ServeError(f"The request has {len(regions)} regions; this server takes at most {limits.regions}.")
    frames = sum(len(region.to_json()) for region in regions)
    if frames > limits.region_frames:
        raise ServeError(
            f"The regions have {frames} frames all together; this server takes at most {limits.region_frames}. Give "
            "each in fewer frames."
        )
    for number, region in enumerate(regions):
        if region.visual is not None and region.visual >= texts.visuals:
            raise RegionError(
                f"Region {number} lies on visual {region.visual}, but the request has {texts.visuals}, counted from 0."
            )


def _kind(value: Any) -> str:
    """Return the kind of a JSON value, without its contents."""
    kinds: list[tuple[Any, str]] = [(bool, "true or false"), ((int, float), "a number"), (str, "a string")]
    kinds += [(list, "a list"), (Mapping, "an object")]
    return next((words for kind, words in kinds if isinstance(value, kind)), "null")


class _Conversation:
    """Reads messages, and collects their regions, placeholders of regions, and visuals."""

    def __init__(self, limits: Limits, sources: Sources, messages: Any):
        self.inline: list[Region] = []
        self.placeholders = 0
        self.visuals = 0
        self._limits = limits
        self._sources = sources
        self._given = messages
        self._parts: dict[str, Callable[[Mapping[str, Any], str, str], dict[str, Any]]] = {
            "text": self._text_part,
            "region": self._region_part,
            **dict.fromkeys(_VISUALS, self._visual_part),
        }

    def read(self) -> list[dict[str, Any]]:
        if not isinstance(self._given, list) or not self._given:
            raise ServeError(
                'A request needs a list of messages, such as [{"role": "user", "content": "..."}], under "messages", '
                f"but {'has an empty one' if self._given == [] else f'this is {_kind(self._given)}'}.",
                parameter="messages",
            )
        if len(self._given) > self._limits.messages:
            raise ServeError(
                f"The request has {len(self._given)} messages; this server takes at most {self._limits.messages}.",
                parameter="messages",
            )
        messages = [self._message(one, f"messages[{turn}]") for turn, one in enumerate(self._given)]
        if messages[-1]["role"] != "user":
            raise ServeError(
                'The last message must be of the role "user", since it is answered.', parameter="messages"
            )
        return messages

    def _message(self, message: Any, where: str) -> dict[str, Any]:
        if not isinstance(message, Mapping):
            raise ServeError(f"{where} must be an object with a role and content, but is {_kind(message)}.")
        said = {name: value for name, value in message.items() if value is not None}
        strange = [name for name in said if name not in _MESSAGE_KEYS]
        if strange:
            raise ServeError(
                f"{where} has the key {short(strange[0])}, which would be ignored; messages have a role and "
                "content. Leave it out.",
                parameter=where,
            )
        role, content = said.get("role"), said.get("content")
        if role not in _ROLES:
            raise ServeError(
                f"{where} has the role {short(role)}; expected one of {', '.join(_ROLES)}.", parameter=f"{where}.role"
            )
        if isinstance(content, str):
            content = [{"type": "text", "text": content}]
        if not isinstance(content, list) or not content:
            raise ServeError(
                f'{where} needs a string or a list of content parts under "content", but has '
                f"{'an empty list' if content == [] else _kind(content)}.",
                parameter=f"{where}.content",
            )
        parts = [self._part(part, role, f"{where}.content[{place}]") for place, part in enumerate(content)]
        return {"role": role, "content": _joined(parts)}

    def _part(self, part: Any, role: str, where: str) -> dict[str, Any]:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if not isinstance(kind, str) or kind not in self._parts:
            given = f"the type {short(kind)}" if isinstance(part, Mapping) else _kind(part)
            raise ServeError(
                f"{where} must be an object with one of the types {', '.join(self._parts)}, but has {given}.",
                parameter=where,
            )
        strange = [name for name, value in part.items() if name not in ("type", kind) and value is not None]
        if strange:
            raise ServeError(
                f"{where} has the key {short(strange[0])} besides its {kind}, which would be ignored. Leave it out.",
                parameter=where,
            )
        if role != "user" and kind != "text":
            raise ServeError(
                f"{where} is a part of type {kind!r} in a message of the role {role!r}; only users show and point at "
                "something.",
                parameter=where,
            )
        return self._parts[kind](part, role, where)

    def _text_part(self, part: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
        text = part.get("text")
        if not isinstance(text, str):
            raise ServeError(f'{where} needs a string under "text", but has {_kind(text)}.', parameter=where)
        check_text(text, where)
        if role != "user":
            # A model may have written the words, which are then plain text.
            return {"type": "text", "text": without_placeholders(text, (REGION_TOKEN, *VISUAL_TOKENS))}
        lost = next((token for token in VISUAL_TOKENS if token in text), None)
        if lost:
            raise ServeError(
                f"{where} has {lost} in its text, but visuals are content parts. Leave it out; if the word is meant "
                "literally, write it without the angle brackets.",
                parameter=where,
            )
        self.placeholders += text.count(REGION_TOKEN)
        return {"type": "text", "text": text}

    def _region_part(self, part: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
        with named(where):
            self.inline.append(as_region(part.get("region")))
        self.placeholders += 1
        return {"type": "text", "text": REGION_TOKEN}

    def _visual_part(self, part: Mapping[str, Any], role: str, where: str) -> dict[str, Any]:
        name = part["type"]
        value = part.get(name)
        address = value.get("url") if isinstance(value, Mapping) else value
        beside = {key: said for key, said in value.items() if key != "url"} if isinstance(value, Mapping) else {}
        # OpenAI's clients may choose the detail of an image; here it has no effect.
        if beside and beside != {"detail": "auto"}:
            raise ServeError(
                f"{where} has {listed(map(short, beside))} besides its address, which would be ignored. Leave it "
                "out; settings of visuals belong in mm_processor_kwargs.",
                parameter=where,
            )
        if not isinstance(address, str) or not address:
            raise ServeError(
                f'{where} needs an address, {{"url": "data:...;base64,..."}}, under {name!r}, but has '
                f"{_kind(address) if address != '' else 'an empty one'}.",
                parameter=where,
            )
        self._sources.check(address, where)
        self.visuals += 1
        if self.visuals > self._limits.visuals:
            raise ServeError(f"The request shows more than {self._limits.visuals} videos and images, the most here.")
        return {"type": name, name: {"url": address}}


def _joined(parts: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join consecutive texts, since templates put something between text parts."""
    joined: list[dict[str, Any]] = []
    for part in parts:
        if joined and part["type"] == joined[-1]["type"] == "text":
            joined[-1]["text"] += part["text"]
        else:
            joined.append(dict(part))
    return joined
