"""Whole evaluations: read a benchmark, have every item answered (and judged), score, write the result."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from videorefer_plugin.bench import prompts
from videorefer_plugin.bench.answerers import Answerer
from videorefer_plugin.bench.captions import score_captions
from videorefer_plugin.bench.description_scores import score_descriptions
from videorefer_plugin.bench.items import DescriptionItem, Item, read_captions, read_descriptions, read_questions
from videorefer_plugin.bench.judges import Judge, RuleJudge
from videorefer_plugin.bench.question_scores import score_questions
from videorefer_plugin.bench.runner import WHOLE, ItemError, Outcome, Shard, run
from videorefer_plugin.bench.store import Store, configuration_hash, write_json
from videorefer_plugin.errors import BenchError
from videorefer_plugin.models.fingerprint import file_hash

__all__ = ["evaluate_captions", "evaluate_descriptions", "evaluate_questions", "require_facts"]

Progress = Callable[[str, int, int], None]
Result = dict[str, Any]


def evaluate_questions(
    data: str | os.PathLike,
    answerer: Answerer,
    out: str | os.PathLike,
    *,
    mode: str = "single",
    media_root: str | os.PathLike | None = None,
    name: str | None = None,
    batch_size: int = 1,
    shard: Shard = WHOLE,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Evaluate a model on VideoRefer-Bench-Q.

    Args:
        data: the benchmark's file.
        answerer: who answers.
        out: folder of the answers and results. What is there of the same configuration is not done again.
        mode (`str`): `"single"` or `"multi"`.
        media_root (*optional*): folder that videos are in; that of the file by default.
        name (`str`, *optional*): how reports call the model.
        batch_size (`int`): items answered together.
        shard: the part that this process answers. The result is complete when the last process has finished.
        limit (`int`, *optional*): only the first so many items.
        progress: told what is done, how many items of this process, and of how many.

    Returns:
        What `results/*.json` holds: `benchmark`, `name`, `settings`, `items`, `answered`, `failed` (id -> why), and
        [`QuestionScores`] under `scores`.

    Raises:
        BenchError: the file, the answers or the endpoint cannot be used.
    """
    everything = read_questions(data, media_root, mode)
    items = everything[:limit]
    settings = _settings("q", data, mode, answerer)
    outcome = _answer(everything, items, settings, answerer, out, mode, batch_size, shard, progress)
    predictions = {key: row["prediction"] for key, row in outcome.rows.items()}
    scores = score_questions(items, predictions).to_dict()
    return _write(out, "q", name, settings, items, outcome, {"scores": scores})


def evaluate_captions(
    data: str | os.PathLike,
    answerer: Answerer,
    out: str | os.PathLike,
    *,
    mode: str = "multi",
    media_root: str | os.PathLike | None = None,
    name: str | None = None,
    batch_size: int = 1,
    shard: Shard = WHOLE,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Evaluate a model's captions, of HC-STVG or of records with true captions; see [`evaluate_questions`]."""
    everything = read_captions(data, media_root, mode)
    items = everything[:limit]
    settings = _settings("captions", data, mode, answerer)
    outcome = _answer(everything, items, settings, answerer, out, mode, batch_size, shard, progress)
    predictions = {key: row["prediction"] for key, row in outcome.rows.items()}
    scores = score_captions({item.id: item.references for item in items}, predictions).to_dict()
    return _write(out, "captions", name, settings, items, outcome, {"scores": scores})


def evaluate_descriptions(
    data: str | os.PathLike,
    answerer: Answerer,
    judge: Judge | None,
    out: str | os.PathLike,
    *,
    mode: str = "single",
    media_root: str | os.PathLike | None = None,
    name: str | None = None,
    batch_size: int = 1,
    shard: Shard = WHOLE,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Result:
    """Evaluate a model on VideoRefer-Bench-D; see [`evaluate_questions`].

    Args:
        judge: who scores the descriptions; nobody if `None`, and nothing but the descriptions is written then.

    Returns:
        As [`evaluate_questions`], with [`DescriptionScores`] under `scores`, the judge's settings under `judge`, the
        first and last day of judgement under `dates`, and what could not be judged under `judge_failed`.
    """
    everything = read_descriptions(data, media_root, mode)
    items = everything[:limit]
    if judge is not None and items and judge.settings()["judge"] == "rule":
        require_facts(items)  # before anything is generated
    settings = _settings("d", data, mode, answerer)
    if judge is not None:
        with _judgements(everything, settings, judge, out, shard) as store:
            store.done()  # what is wrong with them is said before anything is generated
    outcome = _answer(everything, items, settings, answerer, out, mode, batch_size, shard, progress)
    if judge is None:
        return _write(out, "d", name, settings, items, outcome, {"scores": None, "judge": None})
    descriptions = {key: row["prediction"] for key, row in outcome.rows.items()}
    judged = _judge(everything, items, descriptions, settings, judge, out, shard, progress)
    replies = {key: row["reply"] for key, row in judged.rows.items()}
    dates = sorted(row["date"][:10] for row in judged.rows.values())
    more = {
        "scores": score_descriptions(items, descriptions, replies).to_dict(),
        "judge": {"name": judge.name, **judge.settings()},
        "dates": [dates[0], dates[-1]] if dates else [],
        "judge_failed": judged.failed,
    }
    return _write(out, "d", name, settings, items, outcome, more)


def require_facts(items: Sequence[DescriptionItem]) -> None:
    """Make sure that rules can judge descriptions of these objects.

    Raises:
        BenchError: an item has no facts, or such as no rule understands.
    """
    for item in items:
        if item.facts is None:
            raise BenchError(
                f"{item.place}: item {item.id!r} has no facts, which only benchmarks of the shapes world have: "
                "use a chat model as the judge"
            )
        RuleJudge().judge(item, item.caption)  # it understands them


def _settings(benchmark: str, data: str | os.PathLike, mode: str, answerer: Answerer) -> dict[str, Any]:
    """Everything that answers depend on."""
    return {
        "benchmark": benchmark,
        "file": {"name": Path(data).name, "hash": file_hash(data)},
        "mode": mode,
        "prompts": prompts.VERSION,
        **answerer.settings(),
    }


def _answer(
    everything: Sequence[Item],
    items: Sequence[Any],
    settings: Mapping[str, Any],
    answerer: Answerer,
    out: str | os.PathLike,
    mode: str,
    batch_size: int,
    shard: Shard,
    progress: Progress | None,
) -> Outcome:
    def work(batch: Sequence[Item]) -> list[dict[str, Any]]:
        said = answerer.answer(batch, mode)
        return [{"prediction": text} for text in said]

    kept = answerer if isinstance(answerer, AbstractContextManager) else nullcontext()
    with Store(out, "answers", settings, shard.rank, {item.id for item in everything}) as store, kept:
        outcome = run(
            items,
            work,
            store,
            batch_size=batch_size,
            workers=answerer.workers,
            shard=shard,
            progress=None if progress is None else lambda done, total: progress("answering", done, total),
        )
    return _of_items(outcome, items)


def _of_items(outcome: Outcome, items: Sequence[Item]) -> Outcome:
    """Without the lines of items that a limit leaves out."""
    wanted = {item.id for item in items}
    outcome.rows = {key: row for key, row in outcome.rows.items() if key in wanted}
    return outcome


def _judgements(
    everything: Sequence[Item], settings: Mapping[str, Any], judge: Judge, out: str | os.PathLike, shard: Shard
) -> Store:
    configuration = {"answers": configuration_hash(settings), **judge.settings()}
    return Store(out, "judgements", configuration, shard.rank, {item.id for item in everything})


def _judge(
    everything: Sequence[Item],
    items: Sequence[Any],
    descriptions: Mapping[str, str],
    settings: Mapping[str, Any],
    judge: Judge,
    out: str | os.PathLike,
    shard: Shard,
    progress: Progress | None,
) -> Outcome:
    mine = [item for item in list(items)[shard.rank :: shard.size] if item.id in descriptions]

    def work(batch: Sequence[Any]) -> list[dict[str, Any] | ItemError]:
        return [judge.judge(item, descriptions[item.id]) for item in batch]

    with _judgements(everything, settings, judge, out, shard) as store:
        outcome: Outcome = run(
            mine,
            work,
            store,
            workers=judge.workers,
            progress=None if progress is None else lambda done, total: progress("judging", done, total),
        )
    return _of_items(outcome, items)


def _write(
    out: str | os.PathLike,
    benchmark: str,
    name: str | None,
    settings: Mapping[str, Any],
    items: Sequence[Item],
    outcome: Outcome,
    more: Mapping[str, Any],
) -> Result:
    model = str(settings["model"]).rstrip("/")
    result = {
        "benchmark": benchmark,
        "name": name or Path(model).name,
        "settings": dict(settings),
        "items": len(items),
        "answered": len(outcome.rows),
        "failed": outcome.failed,
        **more,
    }
    judge = more.get("judge")
    stem = f"{benchmark}-{configuration_hash(settings)}" + (f"-{configuration_hash(judge)}" if judge else "")
    path = Path(out) / "results" / f"{stem}.json"
    write_json(path, result)
    return {**result, "path": str(path)}
