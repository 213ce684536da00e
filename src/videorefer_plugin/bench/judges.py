"""Judges of answers, behind one small interface: a chat model, or the rules of the shapes world."""

import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, Protocol

from videorefer_plugin.bench.benchmarks.descriptions import JUDGE_PROMPT
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.bench.runner import ItemError
from videorefer_plugin.bench.store import text_hash
from videorefer_plugin.chat.base import Chat
from videorefer_plugin.errors import BenchError, ConfigurationError
from videorefer_plugin.world.judge import score_description

__all__ = ["ChatJudge", "Judge", "RuleJudge"]


class Judge(Protocol):
    """Somebody who compares an answer with the truth.

    Attributes:
        name (`str`): how tables call it.
        workers (`int`): how many calls it takes at the same time.
    """

    name: str
    workers: int

    def settings(self) -> dict[str, Any]:
        """Everything that its judgement depends on."""
        ...

    def check(self, items: Sequence[Any]) -> None:
        """Make sure that items can be judged, before anything is generated.

        Raises:
            BenchError: one cannot.
        """
        ...

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """Judge an answer.

        Returns:
            `reply` (`str`), in which scores from 0 to 5 are still to be read, and `date` (UTC).

        Raises:
            ItemError, ReplyError: there is no reply about this item.
            BenchError: there will be none about others either.
        """
        ...


class ChatJudge:
    """A chat model that is asked about each answer.

    Args:
        chat: behind an endpoint, or loaded here.
        prompt (*optional*): what it is asked; for the four scores of Bench-D by default.
    """

    def __init__(self, chat: Chat, prompt: JudgePrompt = JUDGE_PROMPT):
        self.chat = chat
        self.prompt = prompt
        self.workers = chat.workers
        self.name = str(chat.settings()["model"])

    def settings(self) -> dict[str, Any]:
        """See [`Judge`]."""
        return {"judge": "chat", **self.chat.settings(), "prompt_hash": self.prompt.hash}

    def check(self, items: Sequence[Item]) -> None:
        """See [`Judge`]."""

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """See [`Judge`]; several replies are one `reply` that is a JSON list of texts."""
        completions = [self.chat.complete(asked) for asked in self.prompt.conversations(item, answer)]
        texts = [completion.text for completion in completions]
        return {
            "reply": texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False),
            "date": _now(),
            "input_tokens": sum(completion.input_tokens for completion in completions),
            "output_tokens": sum(completion.output_tokens for completion in completions),
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

    def check(self, items: Sequence[Any]) -> None:
        """See [`Judge`]."""
        for item in items:
            if item.facts is None:
                raise _no_facts(item)
            self.judge(item, item.caption)  # it understands them

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """See [`Judge`]."""
        if item.facts is None:
            raise _no_facts(item)
        try:
            scores = score_description(answer, item.facts)
        except (ConfigurationError, TypeError, AttributeError) as error:  # the latter for values of other types
            raise ItemError(f"{item.place}: item {item.id!r} has facts that no rule understands: {error}") from error
        return {"reply": json.dumps(scores), "date": _now()}


def _no_facts(item: Item) -> BenchError:
    return BenchError(
        f"{item.place}: item {item.id!r} has no facts, which only benchmarks of the shapes world have: use a "
        "chat model as the judge"
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
