"""Measure a checkpoint on the held-out benchmark of the shapes world."""

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_json
from videorefer_plugin.errors import BenchError
from videorefer_plugin.hub.run_summary import Result

__all__ = ["DESCRIPTION_TOKENS", "QUESTION_TOKENS", "measure", "shuffle_regions"]

QUESTION_TOKENS, DESCRIPTION_TOKENS = 64, 96  # most tokens of answers, which begin with the motion in each part
_Q, _D = "VideoRefer-Bench-Q, shapes world", "VideoRefer-Bench-D, shapes world"


def measure(
    checkpoint: str | os.PathLike,
    world: str | os.PathLike,
    out: str | os.PathLike,
    limit: int | None = None,
    batch_size: int = 8,
    say: Callable[[str], None] = lambda text: None,
) -> list[Result]:
    """Measure a checkpoint on questions, descriptions and grounding, in single- and multi-frame mode.

    Args:
        checkpoint (`str` or `os.PathLike`): folder of the checkpoint.
        world (`str` or `os.PathLike`): folder of a data set of the shapes world with a benchmark.
        out (`str` or `os.PathLike`): folder for answers and results. A run in it is continued.
        limit (`int`, *optional*): number of items of each file, from the first.
        batch_size (`int`, *optional*, defaults to 8): number of items in a batch.
        say (*optional*): called with a message at each step.

    Returns:
        `list[Result]`: shares in percent, and scores from 0 to 5.
    """
    from videorefer_plugin.bench.answerers import RegionModel
    from videorefer_plugin.bench.evaluate import evaluate_descriptions, evaluate_questions
    from videorefer_plugin.bench.judges import RuleJudge

    heldout, out = Path(world) / "heldout", Path(out)
    out.mkdir(parents=True, exist_ok=True)
    shuffled = out / "bench_q_shuffled.json"
    write_whole(shuffled, json.dumps(shuffle_regions(read_json(heldout / "bench_q.json", BenchError))))
    today = datetime.date.today().isoformat()
    results: list[Result] = []

    def add(benchmark: str, metric: str, value: float, split: str, judge: str | None = None) -> None:
        results.append(Result(benchmark, metric, round(value, 2), judge, split, today))

    def questions(file: Path, mode: str) -> dict[str, Any]:
        say(f"Measuring {file.name}, {mode}-frame")
        answerer = RegionModel(os.fspath(checkpoint), max_new_tokens=QUESTION_TOKENS)
        return evaluate_questions(
            file, answerer, out, mode=mode, media_root=heldout, batch_size=batch_size, limit=limit
        )["scores"]

    for mode in ("single", "multi"):
        table = questions(heldout / "bench_q.json", mode)["tables"]["strict"]
        for name, cell in table["types"].items():
            if cell["total"]:
                add(_Q, f"{name}, accuracy in percent", 100 * cell["accuracy"], f"{mode}-frame")
        add(_Q, "all items, accuracy in percent", 100 * table["overall"]["accuracy"], f"{mode}-frame")
    table = questions(shuffled, "multi")["tables"]["strict"]
    add(
        _Q, "all items, regions of other clips, accuracy in percent", 100 * table["overall"]["accuracy"], "multi-frame"
    )
    right = {row["id"]: row["correct"]["strict"] for row in questions(heldout / "grounding_q.json", "multi")["items"]}
    pairs: dict[str, list[bool]] = {}
    for item in read_json(heldout / "grounding_q.json", BenchError):
        if item["id"] in right:
            pairs.setdefault(item["pair"], []).append(right[item["id"]])
    flips = [all(answers) for answers in pairs.values() if len(answers) == 2]
    if flips:
        add(
            "Grounding, shapes world",
            "pairs answered as the facts are, in percent",
            100 * np.mean(flips),
            "multi-frame",
        )
    judge = RuleJudge()
    for mode in ("single", "multi"):
        say(f"Measuring bench_d.json, {mode}-frame")
        answerer = RegionModel(os.fspath(checkpoint), max_new_tokens=DESCRIPTION_TOKENS)
        scores = evaluate_descriptions(
            heldout / "bench_d.json", answerer, judge, out, mode=mode, batch_size=batch_size, limit=limit
        )["scores"]
        for code, cell in scores["dimensions"].items():
            if cell["mean"] is not None:
                add(_D, f"{code}, 0 to 5", cell["mean"], f"{mode}-frame", judge.name)
    return results


def shuffle_regions(items: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Return items of Bench-Q, each with the same number of regions from the clip of another item."""
    chance = np.random.default_rng(seed)
    shuffled = [dict(item) for item in items]
    for count in {len(item["annotation"]) for item in items}:
        places = [place for place, item in enumerate(items) if len(item["annotation"]) == count]
        order = [places[at] for at in chance.permutation(len(places))]
        for place, other in zip(order, order[1:] + order[:1], strict=True):
            shuffled[place] |= {name: items[other][name] for name in ("annotation", "frame_idx")}
    return shuffled
