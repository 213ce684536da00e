"""A Refiner that asks a chat model for one coherent description, or for questions and answers."""

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
from videorefer_plugin.data_engine.agents.refiner_prompts import (
    ALL_PROMPTS,
    PROMPT_VERSION,
    checked_kinds,
    description_task,
    questions_task,
)
from videorefer_plugin.data_engine.agents.refiner_replies import check_clean, new_words, read_questions
from videorefer_plugin.data_engine.items import Drop, Failure, Made, ObjectItem, Question, Refined, VideoItem
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["ChatRefiner"]

_PRODUCTS = ("detailed", "qa")


class ChatRefiner(Agent):
    """Asks a chat model to turn the Annotator's texts into one description, or into questions and answers.

    Objects that the Reviewer discarded are dropped here (`"discarded"`).

    Args:
        model (`str`): name of the model at the endpoint, or a folder or Hub id.
        product (`str`): `"detailed"` for descriptions, `"qa"` for questions.
        kinds (`Mapping[str, int]`, *optional*): number of questions of each kind per request: `"basic"`, `"reasoning"`
            and `"future"` (paper, section 3.1.2). Default: two, one and one.
        rounds (`str`): `"one"` for independent questions, `"many"` for the rounds of a conversation.
        about (`str`): `"one"` asks about each object alone; `"several"` asks about all objects of a video at once, and
            about their relations. An object without a question is then dropped (`"no_question"`). A question belongs
            to the first object that it names, and a conversation to the first object of its first question.
        max_new_words (`float`, *optional*): largest share of new words in a description, from 0 to 1, which are in
            none of its source texts. A description with more is dropped (`"invented"`). The share is a rough measure
            for English: words are compared by their beginnings, and stop words do not count. By default nothing is
            dropped, and the share is stored with the description.
        chat: see [`ChatSettings`].

    Raises:
        ConfigurationError: a setting is unknown or has a wrong value.
        ChatError: a setting of the chat model has a wrong value, or it cannot be asked.
    """

    stage = "refiner"
    threads = True

    def __init__(
        self,
        model: str,
        *,
        product: str = "detailed",
        kinds: Mapping[str, int] | None = None,
        rounds: str = "many",
        about: str = "one",
        max_new_words: float | None = None,
        **chat: Any,
    ):
        for name, value, known in (
            ("product", product, _PRODUCTS),
            ("rounds", rounds, ("one", "many")),
            ("about", about, ("one", "several")),
        ):
            if value not in known:
                raise ConfigurationError(
                    f"{name} of the refiner 'chat' is {short(value)}; expected one of {', '.join(known)}."
                )
        self._kinds = checked_kinds(kinds, "chat")
        share: Any = max_new_words
        if share is not None:
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise ConfigurationError(
                    f"max_new_words of the refiner 'chat' is {short(share)}; expected a share from 0 to 1, or none."
                )
            if product == "qa":
                raise ConfigurationError(
                    "max_new_words of the refiner 'chat' is about descriptions; leave it out with product 'qa'."
                )
        self._product, self._rounds, self._about, self._share = product, rounds, about, share
        self._asking = Asking("refiner 'chat'", model, chat)

    def identity(self) -> dict[str, Any]:
        """Return the settings, prompts and the chat model."""
        asked = {"kinds": self._kinds, "rounds": self._rounds, "about": self._about}
        return {
            "product": self._product,
            **(asked if self._product == "qa" else {"max_new_words": self._share}),
            "prompts": prompt_identity(PROMPT_VERSION, *ALL_PROMPTS),
            "chat": self._asking.identity(),
        }

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Return the descriptions or questions of these videos; see [`Agent`]."""
        return self._asking.each(items, self._described if self._product == "detailed" else self._questioned)

    def close(self) -> None:
        """Release the chat model."""
        self._asking.close()

    # --- descriptions

    def _described(self, item: VideoItem, talk: Talk) -> Sequence[Refined | Drop]:
        return [_discarded(one) or self._description(item, one, talk) for one in item.objects]

    def _description(self, item: VideoItem, one: ObjectItem, talk: Talk) -> Refined | Drop:
        facts = _facts(item, one)
        if not any(facts[name] for name in ("appearance", "actions")):
            return Drop("no_description", "The Annotator has said nothing about it.")
        content = json.dumps(facts, ensure_ascii=False, indent=1)
        text = talk.json(
            messages_of(description_task(), content), lambda value: _read_description(value, " ".join(facts.values()))
        )
        if isinstance(text, Drop):
            return text
        share = new_words(text, " ".join(facts.values()))
        if self._share is not None and share > self._share:
            return Drop(
                "invented",
                f"{share:.0%} of the words of the description stand in none of the texts that it is made from, more "
                f"than {self._share:.0%}: {short(text)}",
            )
        return Refined(text, new_words=round(share, 3))

    # --- questions

    def _questioned(self, item: VideoItem, talk: Talk) -> Sequence[Refined | Drop]:
        kept = [one for one in item.objects if _discarded(one) is None]
        groups = [kept] if self._about == "several" and kept else [[one] for one in kept]
        made: dict[int, Refined | Drop] = {}
        for objects in groups:
            asked = self._ask(item, objects, talk)
            for one in objects:
                made[one.number] = asked if isinstance(asked, Drop) else self._refined(one, asked)
        return [_discarded(one) or made[one.number] for one in item.objects]

    def _ask(self, item: VideoItem, objects: Sequence[ObjectItem], talk: Talk) -> list[Question] | Drop:
        facts = {f"object {place}": _facts(item, one) for place, one in enumerate(objects, start=1)}
        numbers = [one.number for one in objects]
        task = questions_task(self._kinds, self._rounds, len(objects), (item.seed, *numbers))
        content = json.dumps(facts, ensure_ascii=False, indent=1)
        return talk.json(messages_of(task, content), lambda value: read_questions(value, self._kinds, numbers))

    def _refined(self, one: ObjectItem, asked: Sequence[Question]) -> Refined | Drop:
        """Return the object's share of the questions: those that name it first.

        A conversation stays whole, and belongs to the first object of its first question.
        """
        together = self._rounds == "many"
        own = tuple(question for question in asked if (asked[0] if together else question).objects[0] == one.number)
        if not any(one.number in question.objects for question in asked):
            return Drop("no_question", "None of the questions about the video is about it.")
        return Refined(questions=own, conversation=together)


def _discarded(one: ObjectItem) -> Drop | None:
    if one.verdict is None or one.verdict.same:
        return None
    return Drop("discarded", f"The reviewer discarded it: {one.verdict.reason}")


def _facts(item: VideoItem, one: ObjectItem) -> dict[str, str]:
    """Return the facts about an object."""
    if one.description is None:
        raise EngineError(
            f"Object {one.number} of {item.source.id!r} has no description, which the refiner needs; add an annotator "
            "to the recipe."
        )
    name = one.noun.expression or one.noun.text
    return {"name": name, "appearance": one.description.appearance, "actions": one.description.dynamic}


def _read_description(value: Any, facts: str) -> str:
    text = text_in(value, "description")
    check_clean("description", text, facts)
    return text
