"""Whole evaluations: read a benchmark, answer (and judge) every item, score, and write the result."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from videorefer_plugin._kinds import FUNCTION, PATH, TEXT, check_kind, methods
from videorefer_plugin._places import check_folder_place
from videorefer_plugin.bench import prompts
from videorefer_plugin.bench.answerers import Answerer
from videorefer_plugin.bench.benchmarks.base import Benchmark
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.judges import Judge, RuleJudge, judge_for
from videorefer_plugin.bench.reading import Item, Reading
from videorefer_plugin.bench.runner import WHOLE, ItemError, Outcome, Shard, run
from videorefer_plugin.bench.store import Store, configuration_hash, write_json
from videorefer_plugin.errors import BenchError
from videorefer_plugin.models.fingerprint import file_hash

__all__ = ["evaluate", "evaluate_captions", "evaluate_descriptions", "evaluate_questions", "require_facts"]

Progress = Callable[[str, int, int], None]
Result = dict[str, Any]


_ANSWERER = methods("an answerer, such as a RegionModel", "answer", "settings")
_JUDGE = methods("a judge, such as a ChatJudge", "judge", "settings")


def evaluate(
    benchmark: str | Benchmark[Any],
    data: str | os.PathLike,
    answerer: Answerer,
    out: str | os.PathLike,
    *,
    judge: Judge | None = None,
    mode: str | None = None,
    media_root: str | os.PathLike | None = None,
    name: str | None = None,
    batch_size: int = 1,
    shard: Shard = WHOLE,
    limit: int | None = None,
    on_bad_item: str = "error",
    progress: Progress | None = None,
) -> Result:
    """Evaluate a model on a benchmark.

    Args:
        benchmark (`str` or [`Benchmark`]): name of the benchmark, or the benchmark with options, such as
            `Questions(types=("Color",))`.
        data: the benchmark's file.
        answerer ([`Answerer`]): the model that answers.
        out: folder for answers and results. Existing answers of the same configuration are used.
        judge ([`Judge`], *optional*): the judge of the answers, if the benchmark has judges. Without one, such a
            benchmark writes the answers only.
        mode (`str`, *optional*): `"single"` or `"multi"`. Default: the benchmark's mode.
        media_root (*optional*): folder of the videos. Default: the file's folder.
        name (`str`, *optional*): name of the model in reports.
        batch_size (`int`): number of items in a batch.
        shard: the share of the items that this process answers. The result is complete when the last process has
            finished.
        limit (`int`, *optional*): number of items to answer, from the first.
        on_bad_item (`str`): `"error"`, or `"skip"` to leave out items that the benchmark or the judge cannot use. The
            result names them. Answers do not depend on this setting.
        progress: called with a label, the number of finished items of this process, and their total.

    Returns:
        The contents of `results/*.json`: `benchmark`, `name`, `settings`, `items`, `answered`, `failed` (id ->
        reason), `skipped` (location -> reason, if any item was left out), `adapted` (parameters that the answerer's
        server does not take -> the remedy, if there are any), and the result of [`Benchmark.score`] under `scores`. If
        the benchmark has judges, `scores` is `None` without one. With one, `judge` holds the judge's settings, `dates`
        the first and last day of judging, `judge_failed` the items that could not be judged, `judge_prompt` the name
        in the prompt's file, `judge_adapted` the parameters that the judge's server does not take, and `judge_cut_off`
        the items whose judgment is cut off at the most tokens of a reply.

    Raises:
        BenchError: the benchmark is unknown or does not take this kind of judge, or the file, the answers or the
            endpoint cannot be used.
    """
    benchmark = benchmark_of(benchmark)
    check_kind(BenchError, PATH, data=data)
    check_kind(BenchError, PATH, optional=True, media_root=media_root)
    check_kind(BenchError, _ANSWERER, answerer=answerer)
    check_kind(BenchError, _JUDGE, optional=True, judge=judge)
    check_kind(BenchError, TEXT, optional=True, mode=mode, name=name)
    check_kind(BenchError, FUNCTION, optional=True, progress=progress)
    benchmark = benchmark.with_options({one.name: getattr(benchmark, one.name) for one in fields(benchmark)})
    mode = mode or benchmark.mode
    if judge is not None:
        judge = judge_for(benchmark, judge)
    check_folder_place(out, BenchError)
    read = benchmark.read(data, media_root, mode, on_bad_item)
    ids = {item.id for item in read.items} | set(read.others)
    if judge is not None and on_bad_item == "skip":
        read = _judgeable(read, judge)
    items = read.items[:limit]
    if judge is not None:
        _check(judge, items)  # before anything is generated
    options = benchmark.settings()
    settings = {
        "benchmark": benchmark.name,
        "file": {"name": Path(data).name, "hash": "-".join(map(file_hash, benchmark.files(data)))},
        "mode": mode,
        "prompts": prompts.VERSION,
        **({"options": options} if options else {}),
        **answerer.settings(),
    }
    prompt = getattr(judge, "prompt", None)
    if judge is not None:
        with _judgments(ids, settings, judge, out, shard) as store:
            store.done()  # damaged answers raise an error before anything is generated
            if isinstance(prompt, JudgePrompt):
                prompt.save(store.folder / "configurations")
    outcome = _answer(ids, items, settings, answerer, out, mode, batch_size, shard, progress)
    answers = {key: row["prediction"] for key, row in outcome.rows.items()}
    more: dict[str, Any]
    if not benchmark.needs_judge():
        more = {"scores": benchmark.score(items, answers, {})}
    elif judge is None:
        more = {"scores": None, "judge": None}
    else:
        judged = _judge(ids, items, answers, settings, judge, out, shard, progress)
        dates = sorted(row["date"][:10] for row in judged.rows.values())
        more = {
            "scores": benchmark.score(items, answers, {key: row["reply"] for key, row in judged.rows.items()}),
            "judge": {"name": judge.name, **judge.settings()},
            "dates": [dates[0], dates[-1]] if dates else [],
            "judge_failed": judged.failed,
        }
        # Kept apart from `judge`, whose settings identify its judgments.
        adapted = {name: done for row in judged.rows.values() for name, done in row.get("adapted", {}).items()}
        if adapted:
            more["judge_adapted"] = adapted
        cut_off = [key for key, row in judged.rows.items() if row.get("cut_off")]
        if cut_off:
            more["judge_cut_off"] = cut_off
        if isinstance(prompt, JudgePrompt) and prompt.name is not None:
            more["judge_prompt"] = prompt.name  # kept apart from `judge`, since its name changes no judgment
    if read.skipped:
        more["skipped"] = read.skipped
    return _write(out, benchmark.name, name, settings, items, outcome, more)


def evaluate_questions(
    data: str | os.PathLike, answerer: Answerer, out: str | os.PathLike, *, mode: str = "single", **settings: Any
) -> Result:
    """Evaluate a model on VideoRefer-Bench-Q. The settings are those of [`evaluate`]."""
    return evaluate("q", data, answerer, out, mode=mode, **settings)


def evaluate_captions(
    data: str | os.PathLike, answerer: Answerer, out: str | os.PathLike, *, mode: str = "multi", **settings: Any
) -> Result:
    """Evaluate a model's captions, of HC-STVG or of records with captions. The settings are those of [`evaluate`]."""
    return evaluate("captions", data, answerer, out, mode=mode, **settings)


def evaluate_descriptions(
    data: str | os.PathLike,
    answerer: Answerer,
    judge: Judge | None,
    out: str | os.PathLike,
    *,
    mode: str = "single",
    **settings: Any,
) -> Result:
    """Evaluate a model on VideoRefer-Bench-D. The settings are those of [`evaluate`].

    Args:
        judge ([`Judge`] or `None`): the judge of the descriptions. With `None`, only the descriptions are written.
    """
    return evaluate("d", data, answerer, out, judge=judge, mode=mode, **settings)


def require_facts(items: Sequence[Any]) -> None:
    """Make sure that the rules can judge descriptions of these objects.

    Raises:
        BenchError: an item has no facts, or facts that no rule understands.
    """
    RuleJudge().check(items)


def _check(judge: Judge, items: Sequence[Any]) -> None:
    """Let the judge check the items first, if it has a method for that."""
    check = getattr(judge, "check", None)
    if check is not None:
        check(items)


def _judgeable(read: Reading[Any], judge: Judge) -> Reading[Any]:
    """Return the reading without the items that a judge cannot use.

    Raises:
        BenchError: no item is left.
    """
    items, skipped = [], dict(read.skipped)
    for item in read.items:
        try:
            _check(judge, [item])
            items.append(item)
        except BenchError as error:
            skipped[f"{item.place}, item {item.id!r}" if item.place in skipped else item.place] = str(error)
    if not items:
        raise BenchError(f"{judge.name} can judge none of the items: {next(iter(skipped.values()))}")
    return replace(read, items=items, skipped=skipped)


def _answer(
    ids: Collection[str],
    items: Sequence[Any],
    settings: Mapping[str, Any],
    answerer: Answerer,
    out: str | os.PathLike,
    mode: str,
    batch_size: int,
    shard: Shard,
    progress: Progress | None,
) -> Outcome:
    def work(batch: Sequence[Item]) -> list[dict[str, Any] | ItemError]:
        said = answerer.answer(batch, mode)
        adapted = _adapted(answerer)
        more = {"adapted": adapted} if adapted else {}
        return [one if isinstance(one, ItemError) else {"prediction": one, **more} for one in said]

    kept = answerer if isinstance(answerer, AbstractContextManager) else nullcontext()
    with Store(out, "answers", settings, shard.rank, ids) as store, kept:
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


def _adapted(answerer: Any) -> dict[str, str]:
    """Return the parameters that the servers of an answerer do not take, with the remedies."""
    seer = getattr(answerer, "seer", None)
    chats = (getattr(seer, "chat", None), getattr(answerer, "summary", None))
    return {name: done for chat in chats for name, done in getattr(chat, "adapted", {}).items()}


def _of_items(outcome: Outcome, items: Sequence[Item]) -> Outcome:
    """Return the outcome without the lines of items that a limit leaves out."""
    wanted = {item.id for item in items}
    outcome.rows = {key: row for key, row in outcome.rows.items() if key in wanted}
    return outcome


def _judgments(
    ids: Collection[str], settings: Mapping[str, Any], judge: Judge, out: str | os.PathLike, shard: Shard
) -> Store:
    configuration = {"answers": configuration_hash(settings), **judge.settings()}
    return Store(out, "judgements", configuration, shard.rank, ids)


def _judge(
    ids: Collection[str],
    items: Sequence[Any],
    answers: Mapping[str, str],
    settings: Mapping[str, Any],
    judge: Judge,
    out: str | os.PathLike,
    shard: Shard,
    progress: Progress | None,
) -> Outcome:
    mine = [item for item in list(items)[shard.rank :: shard.size] if item.id in answers]

    def work(batch: Sequence[Any]) -> list[dict[str, Any] | ItemError]:
        return [judge.judge(item, answers[item.id]) for item in batch]

    with _judgments(ids, settings, judge, out, shard) as store:
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
    adapted = {name: done for row in outcome.rows.values() for name, done in row.get("adapted", {}).items()}
    if adapted:
        result["adapted"] = adapted
    judge = more.get("judge")
    stem = f"{benchmark}-{configuration_hash(settings)}" + (f"-{configuration_hash(judge)}" if judge else "")
    path = Path(out) / "results" / f"{stem}.json"
    write_json(path, result)
    return {**result, "path": str(path)}
