"""Judges of descriptions, behind one small interface: a chat model, or the rules of the shapes world."""

import json
from datetime import datetime, timezone
from typing import Any, Protocol

from videorefer_plugin.bench.items import DescriptionItem
from videorefer_plugin.bench.runner import ItemError
from videorefer_plugin.bench.store import text_hash
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.errors import BenchError, ConfigurationError
from videorefer_plugin.world.judge import score_description

__all__ = ["ChatJudge", "Judge", "RuleJudge"]


class Judge(Protocol):
    """Somebody who compares a description with the truth.

    Attributes:
        name (`str`): how tables call it.
        workers (`int`): how many calls it takes at the same time.
    """

    name: str
    workers: int

    def settings(self) -> dict[str, Any]:
        """Everything that its judgement depends on."""
        ...

    def judge(self, item: DescriptionItem, description: str) -> dict[str, Any]:
        """Judge a description.

        Returns:
            `reply` (`str`), in which scores from 0 to 5 are still to be read, and `date` (UTC).

        Raises:
            ItemError, ReplyError: there is no reply about this item.
            BenchError: there will be none about others either.
        """
        ...


_SYSTEM = """\
You compare a description of one object in a video with a reference that is true, and give four scores from 0 to 5:

- SC, subject correspondence: is it about the same object as the reference?
- AD, appearance: how much of what the reference says of the object's look (colour, shape, texture and the like) is \
there, and right?
- TD, time: does what it says about movement and change agree with the reference?
- HD, hallucination: is it free of facts, actions and things that the reference does not bear out? 5 if nothing is \
made up, 0 if most of it is.

Different words for the same thing are as good as the same words. Halves are allowed. Judge only by the reference.
Reply with one JSON object and nothing else: {"SC": number, "AD": number, "TD": number, "HD": number}"""
_USER = "Reference:\n{reference}\n\nDescription to score:\n{description}"


class ChatJudge:
    """A chat model that is asked for the four scores, as JSON.

    Args:
        chat: behind an endpoint, or loaded here.
    """

    def __init__(self, chat: Chat):
        self.chat = chat
        self.workers = chat.workers
        self.name = str(chat.settings()["model"])

    def settings(self) -> dict[str, Any]:
        """See [`Judge`]."""
        return {"judge": "chat", **self.chat.settings(), "prompt_hash": text_hash(_SYSTEM + _USER)}

    def judge(self, item: DescriptionItem, description: str) -> dict[str, Any]:
        """See [`Judge`]."""
        said = _USER.format(reference=item.caption, description=description)
        completion = self.chat.complete([{"role": "system", "content": _SYSTEM}, {"role": "user", "content": said}])
        return {
            "reply": completion.text,
            "date": _now(),
            "input_tokens": completion.input_tokens,
            "output_tokens": completion.output_tokens,
        }


class RuleJudge:
    """The rules of the shapes world, for items that carry its facts; see `videorefer_plugin.world.judge`."""

    name = "rules of the shapes world"
    workers = 1

    def settings(self) -> dict[str, Any]:
        """See [`Judge`]."""
        from pathlib import Path

        from videorefer_plugin.world import judge

        # In place of a prompt, the rules themselves.
        return {"judge": "rule", "model": self.name, "prompt_hash": text_hash(Path(str(judge.__file__)).read_text())}

    def judge(self, item: DescriptionItem, description: str) -> dict[str, Any]:
        """See [`Judge`]."""
        if item.facts is None:
            raise BenchError(
                f"{item.place}: item {item.id!r} has no facts, which only benchmarks of the shapes world have: use a "
                "chat model as the judge"
            )
        try:
            scores = score_description(description, item.facts)
        except (ConfigurationError, TypeError, AttributeError) as error:  # the latter for values of other types
            raise ItemError(f"{item.place}: item {item.id!r} has facts that no rule understands: {error}") from error
        return {"reply": json.dumps(scores), "date": _now()}


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
