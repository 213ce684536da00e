"""Make the embedded model from nothing: a data set of the shapes world, and its stages in order."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from videorefer_plugin._places import check_folder_place
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.tiny import continuing
from videorefer_plugin.tiny.card import history, write_results
from videorefer_plugin.tiny.measuring import measure
from videorefer_plugin.tiny.packing import pack
from videorefer_plugin.tiny.running import READY, features_in, run_recipe, shared_recipe
from videorefer_plugin.world.dataset import write_dataset
from videorefer_plugin.world.stages import STAGES
from videorefer_plugin.world.versions import NEWEST, check_version

__all__ = ["make_tiny"]

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
    data_version: int | None = None,
    start: str | os.PathLike | None = None,
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
        say (*optional*): called with a line about each step.
        processes (`int`, *optional*, defaults to 1): that train together, each on its share of every batch. On a CPU
            with several cores, one for each core is faster than one for all.
        data_version (`int`, *optional*): of what a seed of the data set stands for; the newest by default.
        start (`str` or `os.PathLike`, *optional*): a checkpoint that was made before. Only the stages that teach it
            letters are run ([`CONTINUED`]), and what it learned before is kept. By default everything is made from
            nothing.

    Returns:
        `Path`: folder of the checkpoint; of the last stage if not all were run.

    Raises:
        CheckpointError: `start` cannot be loaded.
        ConfigurationError: there is no such stage or version, the folder holds data of another version, a setting is
            wrong, or batches cannot be shared among so many processes.
        TrainingError: a stage failed.
    """
    root = check_folder_place(out, ConfigurationError)
    world, version = root / "world", NEWEST if data_version is None else data_version
    chosen = _chosen(continuing.CONTINUED if stages is None and start is not None else stages, version)
    check_version(world, version)
    if start is not None:
        continuing.check(start, chosen, root)
    settings = {name: _settings(root, name, overrides, version, start is not None) for name in chosen}
    recipes = {name: shared_recipe(STAGES[name].recipe, settings[name], processes) for name in chosen}
    files = [world / file for name in chosen for file in STAGES[name].data]
    if not all(path.exists() for path in (world / "world.json", *files)):
        say(f"Rendering {clips} clips into {world}")
        write_dataset(world, clips, seed, heldout, workers=workers, version=version)
    if start is not None:
        continuing.split(start, root)
    for name, recipe in recipes.items():
        if (root / name / READY).exists():
            say(f"{name} is there already")
            continue
        if start is not None and name == continuing.CONTINUED[-1]:
            continuing.with_language_model(start, root)
        say(f"Running {recipe.name}: {recipe.description}")
        run_recipe(STAGES[name].recipe, settings[name], processes)
    if chosen[-1] != _LAST:
        return root / chosen[-1]
    folder = pack(root / _LAST, root / "checkpoint")
    if heldout:
        results = measure(folder, world, root / "results", say=say)
        write_results(folder, results, history(root, start), letters=version >= 7)
    return folder


def _chosen(stages: Sequence[str] | None, version: int) -> list[str]:
    """The stages to be made, in the order given.

    Raises:
        ConfigurationError: there is no such stage, or not with data of this version, or none is named.
    """
    known = [name for name, stage in STAGES.items() if type(version) is not int or stage.since <= version]
    for name in known if stages is None else stages:
        if name not in STAGES:
            raise ConfigurationError(f"Unknown stage {name!r}; known are {', '.join(STAGES)}.")
        if name not in known:
            raise ConfigurationError(
                f"The stage {name} is made with data from version {STAGES[name].since} on, not with version "
                f"{version}: leave it out, or choose another folder and version."
            )
    if stages is not None and not stages:
        raise ConfigurationError(f"No stage is to be made: expected some of {', '.join(STAGES)}, or None for all.")
    return known if stages is None else list(stages)


def _settings(root: Path, name: str, overrides: Sequence[str], version: int, goes_on: bool) -> list[str]:
    stage = STAGES[name]
    folders = {setting: str(root / _made(before, version)) for setting, before in stage.starts_from.items()}
    folders |= continuing.starts(root, name) if goes_on else {}
    starts = [f"{setting}={folder}" for setting, folder in folders.items()]
    files = json.dumps([str(root / "world" / file) for file in stage.data], ensure_ascii=False)
    output = [f"output.folder={root / name}", *features_in(root / "features", stage.recipe, overrides)]
    return [*starts, f"data.files={files}", *output, *overrides]


def _made(before: str, version: int) -> str:
    """The stage whose result a stage starts from; where it is left out, the one that it would start from itself."""
    while STAGES[before].since > version:
        (before,) = STAGES[before].starts_from.values()
    return before
