"""An Analyzer that asks a chat model which objects a caption names."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.agents.chatting import (
    Asking,
    Talk,
    messages_of,
    prompt_identity,
    text_in,
)
from videorefer_plugin.data_engine.agents.nouns import SCENERY, NounRules
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Noun, VideoItem
from videorefer_plugin.data_engine.languages import is_language, language_of
from videorefer_plugin.errors import ConfigurationError

__all__ = ["PROMPT_VERSION", "ChatAnalyzer"]

PROMPT_VERSION = 1  # raise it when a prompt changes

_TASK = """\
You are given the caption of a video. List the objects that it names: people, animals and things that can be \
pointed at in a picture. {which}

Rules:
- Use words of the caption only. Invent nothing, and add nothing that the caption does not name.
- List each object once, also if the caption names it several times, such as "a man ... the man ... he".
- Leave out what cannot be pointed at: the video, the scene, the camera, the background, times, actions and moods.

Reply with JSON and nothing else:
{{"language": "<code of the caption's language, such as en>", "objects": [{{"noun": "<the bare noun with the words \
right before it that tell it apart, without article, such as red car>", "expression": "<all words of the caption \
about it, such as a red car with a trailer>", "role": "<subject if the caption says what it does or is, else other>", \
"singular": <true if it is a single object, false if there are several>}}]}}
If the caption names no object, "objects" is an empty list."""

_WHICH = {
    "all": "List subjects and all others.",
    "short": "List subjects only, which is what the caption is about; leave out what they only act upon.",
}

_MOST = 200  # objects of a reply; longer lists cannot come from a caption


class ChatAnalyzer(Agent):
    """Asks a chat model for the nouns of captions, with one request for each.

    The reply is compared with the caption. Objects are dropped if the caption does not name them (`"invented"`), if
    they cannot be pointed at (`"scenery"`), or if there are too many (`"surplus"`); in mode `"short"` also if they are
    several (`"plural"`) or not the caption's subject (`"not_subject"`). A caption without objects gives one dropped
    object of kind `"no_noun"`, an empty one `"no_caption"`, and one in another language `"other_language"`.

    Args:
        model (`str`): name of the model at the endpoint, or a folder or Hub id.
        mode (`str`): `"all"`, or `"short"` for single subjects only.
        max_objects (`int`): most objects of a caption.
        language (`str`, *optional*): code of the required language of captions; None for any.
        scenery (`Sequence[str]`): nouns that are not objects.
        chat: see [`ChatSettings`].

    Raises:
        ConfigurationError: a setting is unknown or has a wrong value.
        ChatError: a setting of the chat model has a wrong value, or it cannot be asked.
    """

    stage = "analyzer"
    threads = True

    def __init__(
        self,
        model: str,
        *,
        mode: str = "all",
        max_objects: int = 10,
        language: str | None = "en",
        scenery: Sequence[str] = SCENERY,
        **chat: Any,
    ):
        self._rules = NounRules(mode, max_objects, scenery)
        if language is not None and (not isinstance(language, str) or not is_language(language)):
            raise ConfigurationError(
                f"The language of the analyzer 'chat' is {short(language)}; expected a code such as 'en', or none."
            )
        self._language = language
        self._asking = Asking("analyzer 'chat'", model, chat)

    def identity(self) -> dict[str, Any]:
        """Return the settings, prompts and the chat model."""
        return {
            **self._rules.identity(),
            "language": self._language,
            "prompts": prompt_identity(PROMPT_VERSION, _TASK, *_WHICH.values()),
            "chat": self._asking.identity(),
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return the nouns of the videos' captions; see [`Agent`]."""
        return self._asking.each(items, self._nouns)

    def close(self) -> None:
        """Release the chat model."""
        self._asking.close()

    def _nouns(self, item: VideoItem, talk: Talk) -> Sequence[Noun | Drop]:
        caption = " ".join(item.source.caption.split())
        if not caption:
            return [Drop("no_caption", "There is no caption to find objects in.")]
        task = _TASK.format(which=_WHICH[self._rules.mode])
        found = talk.json(messages_of(task, f"Caption: {json.dumps(caption, ensure_ascii=False)}"), _read)
        if isinstance(found, Drop):
            return [found]
        language, nouns = found
        if self._language is not None and language_of(language) != language_of(self._language):
            return [Drop("other_language", f"The caption is in {language!r}, and not in {self._language!r}.")]
        return self._rules.sift(caption, nouns)


def _read(value: Any) -> tuple[str, list[Noun]]:
    """Return the language of the caption, and its nouns.

    Raises:
        ValueError: the reply has a wrong form.
    """
    language = value.get("language") if isinstance(value, Mapping) else None
    if not isinstance(language, str) or not is_language(language):
        raise ValueError(f'"language" is {short(language)}, expected a code such as "en"')
    objects = value.get("objects")
    if not isinstance(objects, list) or len(objects) > _MOST:
        raise ValueError(f'"objects" is {short(objects)}, expected a list of at most {_MOST}')
    return language, [_noun(one) for one in objects]


def _noun(value: Any) -> Noun:
    if not isinstance(value, Mapping):
        raise ValueError(f'{short(value)} is in "objects", expected {{"noun", "expression", "role", "singular"}}')
    text, expression = text_in(value, "noun"), text_in(value, "expression")
    role, singular = value.get("role"), value.get("singular")
    if role not in ("subject", "other"):
        raise ValueError(f'"role" of {short(text)} is {short(role)}, expected "subject" or "other"')
    if not isinstance(singular, bool):
        raise ValueError(f'"singular" of {short(text)} is {short(singular)}, expected true or false')
    return Noun(text, expression, role, singular)
