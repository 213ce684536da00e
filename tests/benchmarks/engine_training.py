"""Whether data that the engine makes is worth having: the same short training on four sets of records.

    python -m tests.benchmarks.engine_training --out FOLDER [--clips 150] [--steps 300] [--faults 0.4]

The embedded model gets a new object encoder, and only that is trained, as stage 2 does, on descriptions of the same
objects: true ones with true masks; those that the engine made; and those with faults planted, before and after the
Reviewer. Steps, seeds and settings are the same. Bench-Q and Bench-D of the shapes world, multi-frame, with 95 %
intervals (of the items, not of trainings).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.engine_items import agent_of, annotated, shown_object, worked
from videorefer_plugin.data_engine.faults import plant
from videorefer_plugin.data_engine.items import ObjectItem, VideoItem
from videorefer_plugin.world import language
from videorefer_plugin.world.clip import Clip
from videorefer_plugin.world.records import DETAILED_PROMPTS

DRAWS = 2000  # of the bootstrap
BATCH = 8


def record(item: VideoItem, one: ObjectItem, annotation: dict[str, Any], answer: str, number: int) -> dict[str, Any]:
    prompt = DETAILED_PROMPTS[number % len(DETAILED_PROMPTS)]
    turns = [{"from": "human", "value": f"<video>\n{prompt}"}, {"from": "gpt", "value": answer}]
    return {
        "id": f"{item.source.id}/{one.number}",
        "video": str(Path(item.source.path).resolve()),
        "conversations": turns,
        "annotation": [annotation],
        "height": 64,
        "width": 64,
    }


def engine_records(items: Sequence[VideoItem]) -> list[dict[str, Any]]:
    """Records of all objects that are refined."""
    made = [(item, one) for item in items for one in item.objects if one.refined and one.found]
    return [
        record(item, one, one.found.annotation, one.refined.description, number)  # type: ignore[union-attr]
        for number, (item, one) in enumerate(made)
    ]


def true_records(items: Sequence[VideoItem], clips: dict[str, Clip]) -> list[dict[str, Any]]:
    """Records of the same objects with what is true of them."""
    made = []
    for item in items:
        clip = clips[item.source.id]
        for one in item.objects:
            index = shown_object(one, clip)
            if index is not None:
                answer = language.detailed(clip.facts, index)
                made.append(record(item, one, clip.annotation(index), answer, len(made)))
    return made


def reviewed(items: Sequence[VideoItem]) -> list[VideoItem]:
    from dataclasses import replace

    done = worked(agent_of("reviewer"), worked(agent_of("captioner"), items))
    return [
        replace(item, objects=tuple(one for one in item.objects if one.verdict and one.verdict.same)) for item in done
    ]


def data_sets(folder: Path, clips: int, seed: int, share: float) -> dict[str, list[dict[str, Any]]]:
    items, made = annotated(folder, clips, seed, "embedded")
    faulty = [one.item for one in plant(items, share, seed)]
    refiner = agent_of("refiner")
    return {
        "true": true_records(items, made),
        "engine": engine_records(worked(refiner, reviewed(items))),
        "faults, reviewed": engine_records(worked(refiner, reviewed(faulty))),
        "faults, unreviewed": engine_records(worked(refiner, faulty)),
    }


def start_model(folder: Path, seed: int) -> Path:
    """The embedded model with an object encoder that knows nothing."""
    import torch

    import videorefer_plugin as vr
    from videorefer_plugin.asking import load_model

    model, processor = load_model(vr.tiny_checkpoint(), dtype="float32")
    torch.manual_seed(seed)
    for module in model.object_encoder.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def train(start: Path, data: Path, folder: Path, steps: int, seed: int, features: Path) -> Path:
    from videorefer_plugin.tiny.running import run_recipe

    settings = [
        f"model.checkpoint={start}",
        f"data.files={json.dumps([str(data)])}",
        "data.mode=multi",
        "data.keep_features=true",
        f"data.features={features}",
        f"train.max_steps={steps}",
        f"train.seed={seed}",
        f"train.save_every={steps}",
        f"train.global_batch_size={BATCH}",
        f"train.batch_size={BATCH}",
        f"output.folder={folder}",
    ]
    if not (folder / "trainer_state.json").exists():
        run_recipe("tiny/stage2", settings)
    return folder


def measure(model: Path, world: Path, out: Path, name: str, limit: int | None) -> dict[str, Any]:
    """Accuracy on Bench-Q, and the mean score of each dimension of Bench-D, each with its interval."""
    from videorefer_plugin.bench.answerers import RegionModel
    from videorefer_plugin.bench.evaluate import evaluate_descriptions, evaluate_questions
    from videorefer_plugin.bench.judges import RuleJudge
    from videorefer_plugin.tiny.measuring import DESCRIPTION_TOKENS, QUESTION_TOKENS

    settings: dict[str, Any] = {"mode": "multi", "name": name, "batch_size": 8, "limit": limit}
    answerer = RegionModel(str(model), max_new_tokens=QUESTION_TOKENS)
    asked = evaluate_questions(world / "heldout" / "bench_q.json", answerer, out, **settings)
    answerer = RegionModel(str(model), max_new_tokens=DESCRIPTION_TOKENS)
    told = evaluate_descriptions(world / "heldout" / "bench_d.json", answerer, RuleJudge(), out, **settings)
    right = [100.0 * row["correct"]["strict"] for row in asked["scores"]["items"]]
    found = {"Bench-Q": interval(right)}
    rows = told["scores"]["items"]
    for code in ("SC", "AD", "TD", "HD"):
        found[code] = interval([row["scores"][code] for row in rows])
    found["Bench-D"] = interval([float(np.mean([row["scores"][code] for code in row["scores"]])) for row in rows])
    return found


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by the bootstrap."""
    chance = np.random.default_rng(0)
    given = np.array(values, float)
    means = given[chance.integers(len(given), size=(DRAWS, len(given)))].mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(given.mean()), float(low), float(high)


def main(arguments: Sequence[str] | None = None) -> int:
    from videorefer_plugin.world import write_dataset

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--faults", type=float, default=0.4)
    parser.add_argument("--heldout", type=int, default=100, help="Clips of the benchmark.")
    parser.add_argument("--seed", type=int, default=24)
    given = parser.parse_args(arguments)
    out: Path = given.out
    out.mkdir(parents=True, exist_ok=True)
    write_dataset(out / "world", 0, seed=1, heldout=given.heldout)
    started = time.monotonic()
    sets = data_sets(out / "data", given.clips, given.seed, given.faults)
    print(
        f"Records: { {name: len(rows) for name, rows in sets.items()} }, {time.monotonic() - started:.0f} s",
        flush=True,
    )
    start = start_model(out / "start", given.seed)
    table = {"untrained": measure(start, out / "world", out / "answers", "untrained", None)}
    for name, rows in sets.items():
        label = name.replace(", ", "-")
        data = out / f"{label}.json"
        data.write_text(json.dumps(rows), encoding="utf-8")
        model = train(start, data, out / label, given.steps, given.seed, out / "features")
        table[name] = measure(model, out / "world", out / "answers", label, None)
        print(name, table[name], f"{time.monotonic() - started:.0f} s", flush=True)
    (out / "table.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    print("| records | number | " + " | ".join(table["true"]) + " |\n|---|---:|" + "---:|" * len(table["true"]))
    for name, found in table.items():
        cells = [f"{mean:.2f} ({low:.2f}-{high:.2f})" for mean, low, high in found.values()]
        print(f"| {name} | {len(sets.get(name, []))} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
