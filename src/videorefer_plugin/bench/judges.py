"""Judges of answers, behind one small interface: a chat model, or the rules of the shapes world."""

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
            `reply` (`str`), in which scores from 0 to 5 are still to be read, and `date` (UTC). A chat model adds
            `input_tokens` and `output_tokens` (`None` where its side counts none), `cut_off` if the reply ends at the
            most tokens of one, and `adapted`, the parameters that its server does not take.

        Raises:
            ItemError, ReplyError: there is no reply about this item.
            BenchError: there will be none about others either.
        """
        ...


class ChatJudge:
    """A chat model that is asked about each answer.

    Args:
        chat: behind an endpoint, or loaded here.
        prompt ([`JudgePrompt`], *optional*): what it is asked. By default, in `evaluate`, what the benchmark says; and
            for the four scores of Bench-D elsewhere.
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
        """See [`Judge`]; several replies are one `reply` that is a JSON list of texts."""
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
        ) as error:  # whatever `fields` meets
            raise BenchError(
                f"{item.place}: item {item.id!r} does not have what the judge's prompt is about: {error}. Choose the "
                "prompt of this benchmark, which is that of a ChatJudge without one."
            ) from error


RULES = "f5058fa73967"
"""The rules of `videorefer_plugin.world.judge`, as judgements name them; to be changed whenever a rule is."""


class RuleJudge:
    """The rules of the shapes world, for items that carry its facts; see `videorefer_plugin.world.judge`."""

    kinds: ClassVar[tuple[str, ...]] = ("rule",)
    name = "rules of the shapes world"
    workers = 1

    def settings(self) -> dict[str, Any]:
        """See [`Judge`]."""
        return {
            "judge": "rule",
            "model": self.name,
            "prompt_hash": RULES,
        }  # in place of a prompt, the rules themselves

    def check(self, items: Sequence[Any]) -> None:
        """See [`Judge`]."""
        for item in items:
            self.judge(item, getattr(item, "caption", ""))  # it understands them

    def judge(self, item: Any, answer: str) -> dict[str, Any]:
        """See [`Judge`]."""
        facts = getattr(item, "facts", None)
        if facts is None:
            raise _no_facts(item)
        try:
            scores = score_description(answer, facts)
        except (ConfigurationError, TypeError, AttributeError) as error:  # the latter for values of other types
            raise ItemError(f"{item.place}: item {item.id!r} has facts that no rule understands: {error}") from error
        return {"reply": json.dumps(scores), "date": _now()}


def judge_for(benchmark: Benchmark[Any], judge: Judge) -> Judge:
    """A judge as a benchmark needs it: a chat model that was told nothing else is asked in the benchmark's words.

    Raises:
        BenchError: the benchmark is scored without a judge, or not by judges of this kind.
    """
    if not benchmark.needs_judge():
        raise BenchError(f"answers of {benchmark.title} are scored without a judge: leave it out")
    kinds = getattr(judge, "kinds", benchmark.judges)  # judges of somebody's own know best themselves
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
