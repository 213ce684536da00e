"""Make the embedded model from nothing: a data set of the shapes world, and the recipes `tiny/` in order."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import ConfigurationError, TrainingError

__all__ = ["STAGES", "Stage", "features_in", "history", "make_tiny", "pack", "run_recipe", "shared_recipe"]

_READY = "trainer_state.json"  # written when a stage is finished
_LARGEST = 8_000_000  # bytes of the checkpoint that is packaged


@dataclass(frozen=True)
class Stage:
    """One stage.

    Attributes:
        recipe (`str`): name of its recipe.
        data (`tuple[str, ...]`): its files of the data set.
        starts_from (`dict[str, str]`): setting of the recipe -> stage whose result it takes.
    """

    recipe: str
    data: tuple[str, ...]
    starts_from: dict[str, str]


STAGES: dict[str, Stage] = {
    "language_model": Stage("tiny/stage0_language", ("train_stage0_language.json",), {}),
    "vision_tower": Stage("tiny/stage0_tower", ("train_stage0_tower.json",), {}),
    "stage1": Stage(
        "tiny/stage1",
        ("train_stage1.json",),
        {"model.language_model": "language_model", "model.vision_tower": "vision_tower"},
    ),
    "stage1_connector": Stage("tiny/stage1_connector", ("train_stage0_tower.json",), {"model.checkpoint": "stage1"}),
    "stage1_named": Stage("tiny/stage1_named", ("train_stage1_named.json",), {"model.checkpoint": "stage1_connector"}),
    "stage2": Stage("tiny/stage2", ("train_stage2.json",), {"model.checkpoint": "stage1_named"}),
    "stage2_objects": Stage("tiny/stage2_objects", ("train_stage2_objects.json",), {"model.checkpoint": "stage2"}),
    "stage2.5": Stage("tiny/stage2.5", ("train_stage2_5.json",), {"model.checkpoint": "stage2_objects"}),
    "stage3_facts": Stage(
        "tiny/stage3_facts",
        ("train_stage3_facts.json", "train_stage1_named.json"),
        {"model.checkpoint": "stage2.5"},
    ),
    "stage3": Stage("tiny/stage3", ("train_stage3.json",), {"model.checkpoint": "stage3_facts"}),
    "stage3_more": Stage("tiny/stage3_more", ("train_stage3_more.json",), {"model.checkpoint": "stage3"}),
}
_LAST = list(STAGES)[-1]


def make_tiny(
    out: str | os.PathLike,
    clips: int = 10_000,
    heldout: int = 300,
    seed: int = 1,
    workers: int = 1,
    stages: Sequence[str] | None = None,
    overrides: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
    processes: int = 1,
) -> Path:
    """Make the data set, run the stages, pack the result as the package has it, and measure it on the held-out clips.

    Everything goes on where it was when it is called again: clips that are written are kept, finished stages are not
    repeated, and an interrupted one goes on from its checkpoint. `features/` holds what the vision tower makes of the
    clips, for all stages; it may be deleted in the end.

    Args:
        out (`str` or `os.PathLike`): folder for data, stages and the checkpoint.
        clips, heldout, seed (`int`): of the data set.
        workers (`int`): processes that render clips.
        stages (`Sequence[str]`, *optional*): of [`STAGES`]; all by default.
        overrides (`Sequence[str]`): settings to change in all recipes, such as `train.max_steps=2`.
        say (*optional*): told what is being done.
        processes (`int`, *optional*, defaults to 1): that train together, each on its share of every batch. On a CPU
            with several cores, one for each core is faster than one for all.

    Returns:
        `Path`: folder of the checkpoint; of the last stage if not all were run.

    Raises:
        ConfigurationError: there is no such stage, a setting is wrong, or batches cannot be shared among so many
            processes.
        TrainingError: a stage failed.
    """
    from videorefer_plugin.world import write_dataset

    chosen = list(STAGES) if stages is None else list(stages)
    for name in chosen:
        if name not in STAGES:
            raise ConfigurationError(f"Unknown stage {name!r}; known are {', '.join(STAGES)}.")
    root = Path(out)
    settings = {name: _settings(root, name, overrides) for name in chosen}
    recipes = {name: shared_recipe(STAGES[name].recipe, settings[name], processes) for name in chosen}
    world = root / "world"
    files = [world / file for name in chosen for file in STAGES[name].data]
    if not all(path.exists() for path in (world / "world.json", *files)):
        say(f"Rendering {clips} clips into {world}")
        write_dataset(world, clips, seed, heldout, workers=workers)
    for name, recipe in recipes.items():
        if (root / name / _READY).exists():
            say(f"{name} is there already")
            continue
        say(f"Running {recipe.name}: {recipe.description}")
        run_recipe(STAGES[name].recipe, settings[name], processes)
    if chosen[-1] != _LAST:
        return root / chosen[-1]
    folder = pack(root / _LAST, root / "checkpoint")
    if heldout:
        from videorefer_plugin.tiny.measuring import measure, write_results

        write_results(folder, measure(folder, world, root / "results", say=say), history(root))
    return folder


def _settings(root: Path, name: str, overrides: Sequence[str]) -> list[str]:
    stage = STAGES[name]
    starts = [f"{setting}={root / before}" for setting, before in stage.starts_from.items()]
    files = json.dumps([str(root / "world" / file) for file in stage.data])
    output = [f"output.folder={root / name}", *features_in(root / "features", stage.recipe, overrides)]
    return [*starts, f"data.files={files}", *output, *overrides]


def features_in(folder: Path, recipe: str, overrides: Sequence[str]) -> list[str]:
    """The setting that lets a recipe share a folder of features with others, if it keeps any."""
    from videorefer_plugin.training.recipe import load_recipe

    data = load_recipe(recipe, overrides).data
    return [f"data.features={folder}"] if data.keep_features or not data.clip else []


def shared_recipe(name: str, settings: Sequence[str], processes: int) -> Any:
    """Load a recipe whose batches are shared among processes; each sees no more at once than its share.

    Raises:
        ConfigurationError: the recipe is wrong, or its batches cannot be shared among so many processes.
    """
    from videorefer_plugin.training.recipe import load_recipe

    recipe = load_recipe(name, settings)
    share = max(recipe.train.global_batch_size // processes, 1)
    recipe.train.batch_size = min(recipe.train.batch_size, share)
    recipe.accumulation_steps(processes)
    return recipe


def run_recipe(name: str, settings: Sequence[str], processes: int = 1) -> None:
    """Run a recipe, in this process or in several of this machine.

    Raises:
        ConfigurationError: see [`shared_recipe`].
        TrainingError: it failed in other processes.
    """
    recipe = shared_recipe(name, settings, processes)
    if processes == 1:
        from videorefer_plugin.training.run import train

        train(recipe)
        return
    import torch

    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    changed = [*settings, f"train.batch_size={recipe.train.batch_size}"]
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // processes, 1)))
    if not torch.cuda.is_available():
        environment["ACCELERATE_USE_CPU"] = "true"
    command = [*launcher, "-m", "videorefer_plugin.cli", "train", "run", name, *changed]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        raise TrainingError(f"{name} ended with exit code {code}; what went wrong is said above.")


def history(root: str | os.PathLike) -> str:
    """A section of a card on how a model was made: data, and length, time and loss of each stage that was run.

    Args:
        root (`str` or `os.PathLike`): folder that [`make_tiny`] wrote.
    """
    root = Path(root)
    world = json.loads((root / "world" / "world.json").read_text(encoding="utf-8"))
    clips = len(list((root / "world" / "videos").glob("*.mp4")))
    text = (
        f"## Stages\n\nEverything was made from nothing, on {clips:,} clips that `videorefer world` renders from seed "
        f"{world['seed']}. Times are those of each stage's last run, on the machine that is named below; losses are "
        "the last ones that were logged.\n\n"
        "| recipe | optimiser steps | passes over the data | minutes | loss |\n|---|---:|---:|---:|---:|\n"
    )
    for name, stage in STAGES.items():
        path = root / name / _READY
        if path.exists():
            state = json.loads(path.read_text(encoding="utf-8"))
            losses = [entry["loss"] for entry in state["log_history"] if "loss" in entry]
            minutes = state["log_history"][-1].get("train_runtime", 0) / 60
            loss = f"{losses[-1]:.2f}" if losses else "-"
            length = f"{state['global_step']:,} | {state['epoch']:.2f}"
            text += f"| `{stage.recipe}` | {length} | {minutes:.0f} | {loss} |\n"
    return text


def pack(source: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Save a checkpoint in half precision, as small as it is packaged.

    Weights are float16, which keeps more digits of small models than bfloat16 does; they are loaded as float32, which
    every CPU computes with.

    Args:
        source (`str` or `os.PathLike`): folder of the checkpoint.
        folder (`str` or `os.PathLike`): where to.

    Raises:
        ConfigurationError: it is too large to be packaged, or a weight does not fit into float16.
    """
    import torch
    from safetensors.torch import load_file, save_file

    source, folder = Path(source), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    for name, value in weights.items():
        if not torch.isfinite(value.half()).all():
            raise ConfigurationError(f"{name} of {source} has values that do not fit into float16.")
    save_file({name: value.half() for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja", ".py", ".md") and path.name != _READY:
            shutil.copy(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    for part in config.values():
        if isinstance(part, dict):
            part.pop("_name_or_path", None)  # a folder of the machine that made it
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > _LARGEST:
        raise ConfigurationError(f"{folder} has {size} bytes; the embedded model may have {_LARGEST}.")
    return folder
