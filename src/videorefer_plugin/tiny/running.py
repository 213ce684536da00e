"""Running of the recipes of the embedded model, in one process or in several on this machine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin.errors import TrainingError

__all__ = ["READY", "features_in", "run_recipe", "shared_recipe"]

READY = "trainer_state.json"
"""The file in a folder that marks that its recipe has run to the end."""


def features_in(folder: Path, recipe: str, overrides: Sequence[str]) -> list[str]:
    """Return the setting that lets a recipe share a folder of features with others, if it keeps features."""
    from videorefer_plugin.training.recipe import load_recipe

    data = load_recipe(recipe, overrides).data
    return [f"data.features={folder}"] if data.keep_features or not data.clip else []


def shared_recipe(name: str, settings: Sequence[str], processes: int) -> Any:
    """Load a recipe whose batches are shared among processes.

    Raises:
        ConfigurationError: the recipe is wrong, or its batches cannot be shared among this number of processes.
    """
    from videorefer_plugin.training.recipe import load_recipe

    recipe = load_recipe(name, settings)
    share = max(recipe.train.global_batch_size // processes, 1)
    recipe.train.batch_size = min(recipe.train.batch_size, share)
    recipe.accumulation_steps(processes)
    return recipe


def run_recipe(name: str, settings: Sequence[str], processes: int = 1) -> None:
    """Run a recipe, in this process or in several on this machine.

    Raises:
        ConfigurationError: see [`shared_recipe`].
        TrainingError: the recipe failed in other processes.
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
        raise TrainingError(f"{name} ended with exit code {code}; the error is shown above.")
