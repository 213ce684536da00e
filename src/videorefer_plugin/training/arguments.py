"""Converts recipes to arguments of transformers' Trainer."""

from dataclasses import fields
from typing import Any

import torch
from transformers import TrainingArguments

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.choices import extra_arguments
from videorefer_plugin.training.extra import rehearse
from videorefer_plugin.training.ranges import ARGUMENT
from videorefer_plugin.training.recipe import Recipe, TrainSettings
from videorefer_plugin.training.secrets import without_secrets

__all__ = ["training_arguments"]


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """Convert a recipe's training section to arguments of transformers.

    Raises:
        ConfigurationError: the global batch size does not fit the number of processes, or transformers refuses a
            setting.
    """
    references = recipe.environment()
    with without_secrets(references.values()):
        arguments = _arguments(recipe)
        rehearse(arguments)
    arguments.gradient_accumulation_steps = recipe.accumulation_steps(max(arguments.world_size, 1))
    arguments.said_as = {name: text for path, text in references.items() if (name := _argument_at(path)) is not None}
    return arguments


class _Arguments(TrainingArguments):
    """Arguments that are logged with references to the environment instead of its values.

    Attributes:
        said_as (`dict`): for each argument, the reference that is logged instead of its value.
    """

    said_as: dict[str, str] = {}  # noqa: RUF012 - no field

    def to_dict(self) -> dict[str, Any]:
        return {name: self.said_as.get(name, value) for name, value in super().to_dict().items()}


def _argument_at(path: tuple[str | int, ...]) -> str | None:
    """Return the argument for the path of a setting in a recipe."""
    if path[:2] == ("output", "folder"):
        return "output_dir"
    if path[:2] == ("train", "extra"):
        return str(path[2]) if len(path) > 2 else None
    if path[:1] == ("train",) and len(path) > 1:
        return next((item.metadata.get(ARGUMENT) for item in fields(TrainSettings) if item.name == path[1]), None)
    return None


def _arguments(recipe: Recipe) -> "_Arguments":
    try:
        return _Arguments(**_translated(recipe))
    except Exception as error:  # transformers raises many types for wrong values
        raise ConfigurationError(
            f"transformers.TrainingArguments cannot be made of the recipe: {type(error).__name__}: {error}"
            + (f" See train.extra, which has {', '.join(recipe.train.extra)}." if recipe.train.extra else "")
        ) from error


def _translated(recipe: Recipe) -> dict[str, Any]:
    train = recipe.train
    named = {item.metadata[ARGUMENT]: getattr(train, item.name) for item in fields(train) if ARGUMENT in item.metadata}
    return {
        **{argument: value for argument, value in named.items() if value is not None},
        "output_dir": recipe.output.folder,
        "per_device_eval_batch_size": train.batch_size,
        "prediction_loss_only": True,
        "eval_strategy": "no" if train.eval_every is None else "steps",
        "save_strategy": "steps",
        "data_seed": train.seed,
        "bf16": recipe.model.dtype == "bfloat16",  # autocast; trained weights stay in float32
        "fp16": recipe.model.dtype == "float16",
        "dataloader_num_workers": recipe.data.workers,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "ddp_find_unused_parameters": False,  # `train` sets it for models that have some
        "use_cpu": not torch.cuda.is_available(),
        **extra_arguments(train.extra),
    }
