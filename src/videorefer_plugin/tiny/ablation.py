"""Ablations on the shapes world, as in tables 5 to 7 of the paper: frames of a region, unions, and kinds of data."""

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.tiny.making import STAGES, features_in, run_recipe, shared_recipe
from videorefer_plugin.tiny.measuring import DESCRIPTION_TOKENS, QUESTION_TOKENS
from videorefer_plugin.world.values import QUESTION_TYPES

__all__ = ["TABLES", "Variant", "ablate", "variants"]

TABLES = ("modes", "unions", "data")
UNIONS = (1, 4, 8, 16)
_READY = "trainer_state.json"
_QUESTIONS = ("qa", "choice", "frame", "image", "facts", "named")  # of stage 3; the other kind is "detailed"

# Recipe -> files of the data set, in the order of training.
_FILES = {stage.recipe: stage.data for name, stage in STAGES.items() if name.startswith(("stage2", "stage3"))}
_SHORT = tuple(recipe for recipe in _FILES if recipe.startswith("tiny/stage2") and recipe != "tiny/stage2.5")
_BEFORE_DETAILS = tuple(recipe for recipe in _FILES if recipe != "tiny/stage2.5")


@dataclass(frozen=True)
class Variant:
    """One row of a table.

    Attributes:
        name (`str`): what the row is called.
        mode (`str`): in how many frames objects are shown: `"single"` or `"multi"`.
        stages (`tuple[str, ...]`): recipes that are run one after the other, from the same start.
        kinds (`tuple[str, ...]`, *optional*): kinds of records that stage 3 is trained on; all by default.
        settings (`tuple[str, ...]`): changes of the recipes.
    """

    name: str
    mode: str = "multi"
    stages: tuple[str, ...] = tuple(_FILES)
    kinds: tuple[str, ...] | None = None
    settings: tuple[str, ...] = field(default=())


def variants(table: str) -> list[Variant]:
    """The rows of a table.

    Raises:
        ConfigurationError: there is no such table.
    """
    if table == "modes":  # table 5: one training, asked in two ways
        return [Variant("single-frame", "single"), Variant("multi-frame", "multi")]
    if table == "unions":  # table 7
        frames = "data.max_frames_per_region=16"
        return [Variant(f"u = {u}", settings=(f"model.max_tokens_per_region={u}", frames)) for u in UNIONS]
    if table == "data":  # table 6
        return [
            Variant("none", stages=()),
            Variant("+ short captions", stages=_SHORT),  # and short lists of facts
            Variant("+ questions", stages=_BEFORE_DETAILS, kinds=_QUESTIONS),
            Variant("+ detailed captions"),
        ]
    raise ConfigurationError(f"Unknown table {table!r}; known are {', '.join(TABLES)}.")


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

    What is finished is not done again: rows that begin with the same stages share them, also between tables.

    Args:
        table (`str`): `"modes"`, `"unions"` or `"data"`.
        world (`str` or `os.PathLike`): folder of a data set of the shapes world with a benchmark.
        start (`str` or `os.PathLike`): checkpoint after stage 1, or before the first of `stages`.
        out (`str` or `os.PathLike`): folder for checkpoints, answers and tables.
        overrides (`Sequence[str]`): settings to change in all recipes, such as `train.max_steps=200`.
        limit (`int`, *optional*): only the first so many questions, and as many descriptions.
        batch_size (`int`, *optional*, defaults to 8): items answered together.
        share (`float`, *optional*, defaults to 1): part of each recipe's steps that is run, above 0.
        stages (`Sequence[str]`, *optional*): which of a row's stages are run, such as `"stage3"`; all by default.
        say (*optional*): told what is being done.
        processes (`int`, *optional*, defaults to 1): that train together.

    Returns:
        `Path`: the table, in Markdown.

    Raises:
        ConfigurationError: there is no such table or stage, or no benchmark, or `share` is out of range, or the folder
            holds rows that were trained from another start or with other settings.
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
            if f"tiny/{name}" not in _FILES:
                known = ", ".join(recipe.removeprefix("tiny/") for recipe in _FILES)
                raise ConfigurationError(f"Unknown stage {name!r}; known are {known}.")
        chosen = {f"tiny/{name}" for name in stages}
        rows = [replace(row, stages=tuple(name for name in row.stages if name in chosen)) for row in rows]
    world, out = Path(world), Path(out)
    questions, descriptions = (world / "heldout" / name for name in ("bench_q.json", "bench_d.json"))
    for path in (questions, descriptions):
        if not path.is_file():
            raise ConfigurationError(f"{path} is missing; make it with `videorefer world --heldout`.")
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
    path.write_text(_table(table, rows, results, overrides, share, stages), encoding="utf-8")
    return path


def _check_settings(out: Path, settings: dict[str, Any]) -> None:
    """Keep with what is trained in a folder how it was, and let nothing else be taken for it."""
    path = out / "ablation.json"
    if not path.exists():
        path.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
        return
    kept = json.loads(path.read_text(encoding="utf-8"))
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
    model, done = start, ""
    for name in row.stages:
        kinds = row.kinds if name.startswith("tiny/stage3") else None
        done += f"{name.split('/')[1]}{'-' + '-'.join(kinds) if kinds else ''}+"
        label = "".join(setting.rpartition(".")[2].replace("=", "") + "_" for setting in row.settings)
        folder = out / f"{label}{done.rstrip('+')}"
        if not (folder / _READY).exists():
            say(f"Running {name} for {row.name}")
            data = json.dumps([str(_records(world / file, kinds, out)) for file in _FILES[name]])
            settings = [f"model.checkpoint={model}", f"data.files={data}", f"data.media_root={world}"]
            settings += [
                *features_in(out / "features", name, overrides),
                f"output.folder={folder}",
                *row.settings,
                *overrides,
            ]
            steps = shared_recipe(name, settings, processes).train.max_steps
            if steps is not None:
                settings.append(f"train.max_steps={math.ceil(share * steps)}")
            run_recipe(name, settings, processes)
        model = folder
    return model


def _records(path: Path, kinds: Sequence[str] | None, out: Path) -> Path:
    """The file, or one with some kinds of its records only, which their ids tell."""
    if kinds is None:
        return path
    chosen = out / f"{path.stem}-{'-'.join(kinds)}.json"
    if not chosen.exists():
        records = json.loads(path.read_text(encoding="utf-8"))
        temporary = chosen.with_suffix(".part")
        temporary.write_text(json.dumps([one for one in records if one["id"].split("/")[1] in kinds]), "utf-8")
        temporary.replace(chosen)
    return chosen


def _table(
    table: str,
    rows: Sequence[Variant],
    results: Sequence[tuple[dict[str, Any], dict[str, Any]]],
    overrides: Sequence[str],
    share: float,
    stages: Sequence[str] | None,
) -> str:
    """A line a row: accuracies of questions by type and of all, scores of descriptions by dimension and their mean."""
    heads = [name.removesuffix(" Questions") for name in QUESTION_TYPES]
    columns = [*heads, "all questions", *results[0][1]["dimensions"], "mean score"]
    lines = [f"| {table} | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for row, (asked, described) in zip(rows, results, strict=True):
        types = [asked["types"].get(name, {}).get("accuracy") for name in QUESTION_TYPES]
        scores = [cell["mean"] for cell in described["dimensions"].values()]
        cells = [_cell(100, one, 1) for one in (*types, asked["overall"]["accuracy"])]
        cells += [_cell(1, one, 2) for one in (*scores, described["average"])]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    changes = f" Settings changed: {', '.join(overrides)}." if overrides else ""
    if stages is not None:
        changes += f" Only these stages were run, where a row has them: {', '.join(stages)}."
    if share < 1:
        changes += f" Each stage had {share:g} of its recipe's steps."
    note = (
        f"Accuracy in percent on {results[0][0]['overall']['total']} held-out questions of the shapes world, read "
        f"strictly; scores from 0 to 5 of descriptions of held-out objects, by its rules.{changes}"
    )
    return "\n".join([*lines, "", note, ""])


def _cell(scale: float, value: float | None, digits: int) -> str:
    return "-" if value is None else f"{scale * value:.{digits}f}"
