"""Ablations on the shapes world: train the rows of a table, and measure each."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_json, read_object
from videorefer_plugin.errors import ConfigurationError, RecordError
from videorefer_plugin.tiny.ablation_report import ablation_table
from videorefer_plugin.tiny.ablation_rows import Variant, trained_stages, variants
from videorefer_plugin.tiny.measuring import DESCRIPTION_TOKENS, QUESTION_TOKENS
from videorefer_plugin.tiny.running import READY, features_in, run_recipe, shared_recipe
from videorefer_plugin.world.stages import STAGES, Stage

__all__ = ["ablate"]


def ablate(
    table: str,
    world: str | os.PathLike,
    start: str | os.PathLike,
    out: str | os.PathLike,
    overrides: Sequence[str] = (),
    limit: int | None = None,
    batch_size: int = 8,
    share: float = 1.0,
    stages: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    processes: int = 1,
) -> Path:
    """Train each row of a table from the same start, measure it on the held-out benchmark, and write the table.

    Finished work is kept. Rows that begin with the same stages share them, also between tables.

    Args:
        table (`str`): `"modes"`, `"unions"` or `"data"`.
        world (`str` or `os.PathLike`): folder of a data set of the shapes world with a benchmark.
        start (`str` or `os.PathLike`): checkpoint after stage 1, or before the first of `stages`.
        out (`str` or `os.PathLike`): folder for checkpoints, answers and tables.
        overrides (`Sequence[str]`): settings to change in all recipes, such as `train.max_steps=200`.
        limit (`int`, *optional*): number of questions, and of descriptions, from the first.
        batch_size (`int`, *optional*, defaults to 8): number of items in a batch.
        share (`float`, *optional*, defaults to 1): share of each recipe's steps to run, above 0.
        stages (`Sequence[str]`, *optional*): stages of a row to run, such as `"stage3"`. Default: all.
        say (*optional*): called with a message at each step.
        processes (`int`, *optional*, defaults to 1): number of processes that train together.

    Returns:
        `Path`: the table, in Markdown.

    Raises:
        ConfigurationError: the table or a stage is unknown, the benchmark is missing, `share` is out of range, or the
            folder holds rows that were trained from another start or with other settings.
        BenchError: items of the benchmark cannot be used.
        TrainingError: a stage failed.
    """
    from videorefer_plugin.bench.answerers import RegionModel
    from videorefer_plugin.bench.evaluate import evaluate_descriptions, evaluate_questions, require_facts
    from videorefer_plugin.bench.items import read_descriptions, read_questions
    from videorefer_plugin.bench.judges import RuleJudge

    rows = variants(table)
    if stages is not None:
        for name in stages:
            if name not in trained_stages():
                raise ConfigurationError(f"Unknown stage {name!r}; known are {', '.join(trained_stages())}.")
        rows = [replace(row, stages=tuple(name for name in row.stages if name in stages)) for row in rows]
    world, out = Path(world), Path(out)
    questions, descriptions = (world / "heldout" / name for name in ("bench_q.json", "bench_d.json"))
    for path in (questions, descriptions):
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing; make it with `videorefer world --heldout`.")
    unfinished = [stage for row in rows for stage, folder in _folders(row, out) if not (folder / READY).exists()]
    for path in (world / file for stage in unfinished for file in stage.data):
        if not path.is_file():
            raise ConfigurationError(
                f"{path} is missing; write it with the `videorefer world` command that made the rest of {world}."
            )
    if not 0 < share <= 1:
        raise ConfigurationError(f"share is {share!r}; expected a part of each recipe's steps, above 0 and at most 1.")
    for mode in {row.mode for row in rows}:  # before anything is trained
        read_questions(questions, mode=mode)
        require_facts(read_descriptions(descriptions, mode=mode))
    out.mkdir(parents=True, exist_ok=True)
    _check_settings(out, {"start": os.fspath(Path(start).resolve()), "share": share, "overrides": list(overrides)})
    results = []
    for row in rows:
        model = _train(row, world, Path(start), out, overrides, share, say, processes)
        say(f"Measuring {row.name} ({row.mode}-frame)")
        frames = next((s.split("=")[1] for s in row.settings if s.startswith("data.max_frames")), None)
        shown = int(frames) if frames else None
        answering: dict[str, Any] = {"mode": row.mode, "name": row.name, "batch_size": batch_size, "limit": limit}
        answerer = RegionModel(str(model), max_frames_per_region=shown, max_new_tokens=QUESTION_TOKENS)
        asked = evaluate_questions(questions, answerer, out / "answers", **answering)
        answerer = RegionModel(str(model), max_frames_per_region=shown, max_new_tokens=DESCRIPTION_TOKENS)
        described = evaluate_descriptions(descriptions, answerer, RuleJudge(), out / "answers", **answering)
        results.append((asked["scores"]["tables"]["strict"], described["scores"]))
    path = out / f"{table}.md"
    write_whole(path, ablation_table(table, rows, results, overrides, share, stages))
    return path


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Save the settings of a folder's checkpoints, and refuse other settings in the same folder."""
    path = out / "ablation.json"
    if not path.exists():
        write_whole(path, json.dumps(settings, indent=2) + "\n")
        return
    kept = read_object(path, ConfigurationError, "the settings of an ablation")
    for name, value in settings.items():
        if kept.get(name) != value:
            raise ConfigurationError(
                f"{out} holds rows that were trained with {name} {kept.get(name)!r}, not {value!r}; take another "
                "folder."
            )


def _train(
    row: Variant,
    world: Path,
    start: Path,
    out: Path,
    overrides: Sequence[str],
    share: float,
    say: Callable[[str], None],
    processes: int,
) -> Path:
    model = start
    for stage, folder in _folders(row, out):
        if not (folder / READY).exists():
            say(f"Running {stage.recipe} for {row.name}")
            data = json.dumps([str(_records(world / one.file, _left_out(one, row), out)) for one in stage.sources])
            settings = [f"model.checkpoint={model}", f"data.files={data}", f"data.media_root={world}"]
            settings += [
                *features_in(out / "features", stage.recipe, overrides),
                f"output.folder={folder}",
                *row.settings,
                *overrides,
            ]
            steps = shared_recipe(stage.recipe, settings, processes).train.max_steps
            if steps is not None:
                settings.append(f"train.max_steps={math.ceil(share * steps)}")
            run_recipe(stage.recipe, settings, processes)
        model = folder
    return model


def _folders(row: Variant, out: Path) -> Iterator[tuple[Stage, Path]]:
    """Yield the stages of a row with their folders, which rows share if they begin with the same stages."""
    label = "".join(setting.rpartition(".")[2].replace("=", "") + "_" for setting in row.settings)
    done = []
    for stage in (STAGES[name] for name in row.stages):
        done.append(f"{stage.name}{_without([kind for one in stage.sources for kind in _left_out(one, row)])}")
        yield stage, out / f"{label}{'+'.join(done)}"


def _left_out(stage: Stage, row: Variant) -> list[str]:
    """Return the kinds of a stage's records that belong to kinds of data which a row leaves out."""
    return [kind.name for kind in stage.kinds if kind.product not in (None, *row.products)]


def _without(kinds: Sequence[str]) -> str:
    """Return the part of a name that lists the kinds of records that were left out."""
    return f"-without-{'-'.join(kinds)}" if kinds else ""


def _records(path: Path, left_out: Sequence[str], out: Path) -> Path:
    """Return a file of records, or a copy without some kinds of records, which are recognized by their ids."""
    if not left_out:
        return path
    chosen = out / f"{path.stem}{_without(left_out)}.json"
    if not chosen.exists():
        records = read_json(path, RecordError)
        text = json.dumps([one for one in records if one["id"].split("/")[1] not in left_out])
        write_whole(chosen, text)
    return chosen
