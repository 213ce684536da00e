"""A Reviewer that asks a chat model whether two descriptions mean the same object."""

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
from videorefer_plugin.data_engine.agents.reviewing import both_texts
from videorefer_plugin.data_engine.items import Drop, Failure, Made, ObjectItem, Verdict, VideoItem
from videorefer_plugin.errors import ConfigurationError

__all__ = ["PROMPT_VERSION", "ChatReviewer"]

PROMPT_VERSION = 1  # raise it when a prompt changes

_TASK = """\
Two observers describe {what} in a video. The first one was told what to look for and saw the whole video. The second \
one was shown a marked region of one frame, and was not told what it is. Decide {whether} both describe the same thing.

- Different words, another viewpoint or more detail on one side are no contradiction.
- They differ if they name different kinds of things, or say of its look what cannot both be true.
- What the second one says of other things around the region does not count.

"""

_ONE = """\
Reply with JSON and nothing else:
{"same": <true or false>, "reason": "<one sentence>"}"""

_SEVERAL = """\
Reply with JSON and nothing else, with one verdict for each object, in the same order:
{"verdicts": [{"object": <its number>, "same": <true or false>, "reason": "<one sentence>"}]}"""

_WORDS = {"one": ("an object", "whether"), "video": ("several objects", "for each of them whether")}


class ChatReviewer(Agent):
    """Asks a chat model whether the Annotator's description and the region caption mean the same object.

    Args:
        model (`str`): name of the model at the endpoint, or a folder or Hub id.
        request (`str`): `"one"` asks about each object alone, `"video"` about all objects of a video at once.
        chat: see [`ChatSettings`].

    Raises:
        ConfigurationError: a setting is unknown or has a wrong value.
        ChatError: a setting of the chat model has a wrong value, or it cannot be asked.
    """

    stage = "reviewer"
    threads = True

    def __init__(self, model: str, *, request: str = "one", **chat: Any):
        if request not in ("one", "video"):
            raise ConfigurationError(
                f"request of the reviewer 'chat' is {short(request)}; expected 'one', to ask about each object apart, "
                "or 'video', to ask about all of a video at once."
            )
        self._request = request
        self._asking = Asking("reviewer 'chat'", model, chat)

    def identity(self) -> dict[str, Any]:
        """Return the settings, prompts and the chat model."""
        return {
            "request": self._request,
            "prompts": prompt_identity(PROMPT_VERSION, _TASK, _ONE, _SEVERAL, *sum(_WORDS.values(), ())),
            "chat": self._asking.identity(),
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return the verdicts on the objects of these videos; see [`Agent`]."""
        return self._asking.each(items, self._verdicts)

    def close(self) -> None:
        """Release the chat model."""
        self._asking.close()

    def _verdicts(self, item: VideoItem, talk: Talk) -> Sequence[Verdict | Drop]:
        texts = [_shown(item, one) for one in item.objects]
        what, whether = _WORDS[self._request]
        task = _TASK.format(what=what, whether=whether)
        if self._request == "one":
            return [talk.json(messages_of(task + _ONE, text), _read_one) for text in texts]
        content = "\n\n".join(f"Object {number}\n{text}" for number, text in enumerate(texts, start=1))
        found = talk.json(messages_of(task + _SEVERAL, content), lambda value: _read_several(value, len(texts)))
        return [found] * len(texts) if isinstance(found, Drop) else found


def _shown(item: VideoItem, one: ObjectItem) -> str:
    """Return the texts to compare, quoted, so that nothing in them is taken for an instruction."""
    description, caption = both_texts(item, one)
    quoted = (json.dumps(text, ensure_ascii=False) for text in (one.noun.text, description, caption))
    return "What the first one looked for: {}\nFirst description: {}\nSecond description: {}".format(*quoted)


def _read_one(value: Any) -> Verdict:
    same = value.get("same") if isinstance(value, Mapping) else None
    if not isinstance(same, bool):
        raise ValueError(f'"same" is {short(same)}, expected true or false')
    return Verdict(same, text_in(value, "reason"))


def _read_several(value: Any, wanted: int) -> list[Verdict]:
    verdicts = value.get("verdicts") if isinstance(value, Mapping) else None
    if not isinstance(verdicts, list) or len(verdicts) != wanted:
        raise ValueError(f'"verdicts" is {short(verdicts)}, expected a list of {wanted}')
    for number, one in enumerate(verdicts, start=1):
        told = one.get("object") if isinstance(one, Mapping) else None
        if isinstance(told, bool) or told != number:
            raise ValueError(f'"object" of verdict {number} is {short(told)}, expected {number}')
    return [_read_one(one) for one in verdicts]
