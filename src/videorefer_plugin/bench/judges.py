"""Judges of answers, with one small interface: a chat model, or the rules of the shapes world."""

import copy
import json
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, ClassVar, Protocol

from videorefer_plugin._kinds import check_kind, instances
from videorefer_plugin.bench.benchmarks.base import Benchmark
from videorefer_plugin.bench.benchmarks.descriptions import JUDGE_PROMPT
from videorefer_plugin.bench.judge_prompts import JudgePrompt, Messages
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.bench.runner import ItemError
from videorefer_plugin.chat.base import CHAT, Chat
from videorefer_plugin.errors import BenchError, ConfigurationError
from videorefer_plugin.world.judge import score_description

__all__ = ["ChatJudge", "Judge", "RuleJudge", "judge_for"]


class Judge(Protocol):
    """The interface of judges, which compare an answer with the truth.

    Attributes:
        name (`str`): name in tables.
        workers (`int`): number of concurrent calls that it takes.
    """

    name: str
    workers: int

    def settings(self) -> dict[str, Any]:
        """Return all settings that its judgment depends on."""
        ...

    def check(self, items: Sequence[Any]) -> None:
        """Make sure that items can be judged, before anything is generated.

        Raises:
            BenchError: an item cannot be judged.
        """
        ...

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """Judge an answer.

        Returns:
            `reply` (`str`), from which scores are read later, and `date` (UTC). A chat model adds `input_tokens` and
            `output_tokens` (`None` if the server does not count them), `cut_off` if the reply ends at the most tokens
            of a reply, and `adapted`, the parameters that its server does not take.

        Raises:
            ItemError, ReplyError: there is no reply about this item.
            BenchError: there will be no reply about other items either.
        """
        ...


class ChatJudge:
    """A chat model that judges each answer.

    Args:
        chat: the chat model, behind an endpoint or loaded here.
        prompt ([`JudgePrompt`], *optional*): its prompt. Default: that of the benchmark in `evaluate`, and elsewhere
            the prompt for the four scores of Bench-D.
    """

    kinds: ClassVar[tuple[str, ...]] = ("endpoint", "local")

    def __init__(self, chat: Chat, prompt: JudgePrompt | None = None):
        check_kind(BenchError, CHAT, chat=chat)
        check_kind(BenchError, instances(JudgePrompt), optional=True, prompt=prompt)
        self.chat = chat
        self.prompt = prompt
        self.workers = chat.workers
        self.name = str(chat.settings()["model"])

    def settings(self) -> dict[str, Any]:
        """See [`Judge`]."""
        return {"judge": "chat", **self.chat.settings(), "prompt_hash": self._asks().hash}

    def check(self, items: Sequence[Any]) -> None:
        """See [`Judge`]."""
        for item in items:
            self._conversations(item, "")

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """Judge an answer; see [`Judge`]. Several replies become one `reply`, a JSON list of texts."""
        completions = [self.chat.complete(asked) for asked in self._conversations(item, answer)]
        texts = [completion.text for completion in completions]
        adapted = getattr(self.chat, "adapted", None)
        return {
            "reply": texts[0] if len(texts) == 1 else json.dumps(texts, ensure_ascii=False),
            "date": _now(),
            "input_tokens": _total([completion.input_tokens for completion in completions]),
            "output_tokens": _total([completion.output_tokens for completion in completions]),
            **({"cut_off": True} if any(completion.finish == "length" for completion in completions) else {}),
            **({"adapted": dict(adapted)} if adapted else {}),
        }

    def _asks(self) -> JudgePrompt:
        return JUDGE_PROMPT if self.prompt is None else self.prompt

    def _conversations(self, item: Any, answer: str) -> list[Messages]:
        try:
            return self._asks().conversations(item, answer)
        except (
            AttributeError,
            TypeError,
            LookupError,
            ValueError,
        ) as error:  # any of these may come from `fields`
            raise BenchError(
                f"{item.place}: item {item.id!r} lacks a value for the judge's prompt: {error}. Choose the "
                "prompt of this benchmark, which is that of a ChatJudge without one."
            ) from error


RULES = "f5058fa73967"
"""The version of the rules of `videorefer_plugin.world.judge` in judgments; change it whenever a rule changes."""


class RuleJudge:
    """The rules of the shapes world, for items with facts; see `videorefer_plugin.world.judge`."""

    kinds: ClassVar[tuple[str, ...]] = ("rule",)
    name = "rules of the shapes world"
    workers = 1

    def settings(self) -> dict[str, Any]:
        """See [`Judge`]."""
        return {
            "judge": "rule",
            "model": self.name,
            "prompt_hash": RULES,
        }  # the version of the rules instead of a prompt

    def check(self, items: Sequence[Any]) -> None:
        """See [`Judge`]."""
        for item in items:
            self.judge(item, getattr(item, "caption", ""))  # fails if the rules do not understand the facts

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """See [`Judge`]."""
        facts = getattr(item, "facts", None)
        if facts is None:
            raise _no_facts(item)
        try:
            scores = score_description(answer, facts)
        except (ConfigurationError, TypeError, AttributeError) as error:  # the latter two for values of other types
            raise ItemError(f"{item.place}: item {item.id!r} has facts that no rule understands: {error}") from error
        return {"reply": json.dumps(scores), "date": _now()}


def judge_for(benchmark: Benchmark[Any], judge: Judge) -> Judge:
    """Return a judge for a benchmark: a chat model without its own prompt gets the benchmark's.

    Raises:
        BenchError: the benchmark is scored without a judge, or does not take judges of this kind.
    """
    if not benchmark.needs_judge():
        raise BenchError(f"answers of {benchmark.title} are scored without a judge: leave it out")
    kinds = getattr(judge, "kinds", benchmark.judges)  # a user's own judge that declares no kinds is accepted
    if not set(kinds) & set(benchmark.judges):
        raise BenchError(
            f"answers of {benchmark.title} cannot be judged by {judge.name!r}, a judge of the kind "
            f"{' or '.join(kinds)}: expected one of {', '.join(benchmark.judges)}"
        )
    if isinstance(judge, ChatJudge) and judge.prompt is None:
        judge = copy.copy(judge)
        judge.prompt = benchmark.judge_prompt
    return judge


def _no_facts(item: Item) -> BenchError:
    return BenchError(
        f"{item.place}: item {item.id!r} has no facts, which only benchmarks of the shapes world have: use a "
        "chat model as the judge"
    )


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
