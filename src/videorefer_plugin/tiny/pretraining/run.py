"""Pretraining of tokenizer, language model, vision tower and connector.

There are no published parts for a model this small, so they are trained first: the language model on conversations
without visuals, and the tower on naming the objects of masks. Both are saved like the parts of other models, so that
stage 1 uses them in the same way. The connector fits only these two parts. It is trained in the model of stage 1 to
identify and locate objects in a clip, and to tell their motion (see `connector`).
"""

import logging
import time
from pathlib import Path
from typing import Any

from transformers import set_seed

from videorefer_plugin._places import check_folder_place
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.tiny.pretraining.connector import ConnectorPart
from videorefer_plugin.tiny.pretraining.language_model import LanguageModelPart
from videorefer_plugin.tiny.pretraining.letters import LettersPart
from videorefer_plugin.tiny.pretraining.vision_tower import VisionTowerPart
from videorefer_plugin.training.arguments import training_arguments
from videorefer_plugin.training.checkpoints import check_same_run, identity_of, prepared_folder
from videorefer_plugin.training.dataset import VideoReferDataset, recipe_dataset
from videorefer_plugin.training.read_once import ReadOnce
from videorefer_plugin.training.recipe import PretrainSettings, Recipe
from videorefer_plugin.training.stopping import stopping
from videorefer_plugin.training.trainer import VideoReferTrainer

__all__ = ["pretrain"]

logger = logging.getLogger(__name__)


def pretrain(recipe: Recipe, *, resume: bool = True) -> Any:
    """Run a recipe that has a `pretrain` section, and save the part that it trains.

    Args:
        recipe ([`Recipe`]): recipe to run.
        resume (`bool`, *optional*, defaults to `True`): whether to resume from a checkpoint in the output folder.

    Returns:
        `transformers.Trainer`: the trainer, with the part and its log.

    Raises:
        ConfigurationError: the recipe cannot be run.
        RecordError: the data hold bad records.
    """
    recipe.check()  # it may have been made or changed in Python
    settings = recipe.pretrain
    if settings is None:
        raise ConfigurationError(f"{recipe.name} has no pretrain section, so there is no part to make.")
    if not recipe.data.files:
        raise ConfigurationError("The recipe names no data. Give data.files, a list of files.")
    set_seed(recipe.train.seed)
    check_folder_place(recipe.output.folder, ConfigurationError)
    arguments = training_arguments(recipe)
    with prepared_folder(recipe, arguments.process_index, resume) as checkpoint:
        return _train(recipe, settings, arguments, checkpoint)


def _train(recipe: Recipe, settings: PretrainSettings, arguments: Any, checkpoint: str | None) -> Any:
    dataset = recipe_dataset(recipe, recipe.data.files)
    part = _part(recipe, settings, dataset)
    # Towers have a layer above the one whose features are used, and some batches lack a target.
    arguments.ddp_find_unused_parameters = settings.part != "language_model"
    started = time.monotonic()
    identity = identity_of(recipe, records=len(dataset))
    trainer = _PartTrainer(
        model=part.model,
        args=arguments,
        train_dataset=_examples(part, settings, dataset),
        data_collator=part.collator,
        group_by_modality_length=recipe.train.group_by == "modality_length",
        identity=identity,
    )
    if isinstance(part, LettersPart):
        part.callback.trainer = trainer
        trainer.add_callback(part.callback)
    if checkpoint is not None:
        check_same_run(checkpoint, identity)
    with stopping(trainer):
        trainer.train(resume_from_checkpoint=checkpoint)
    if trainer.args.should_save:
        part.save(Path(recipe.output.folder))
        trainer.state.save_to_json(str(Path(recipe.output.folder) / "trainer_state.json"))
        logger.info("Saved to %s after %.0f s.", recipe.output.folder, time.monotonic() - started)
    return trainer


def _examples(part: Any, settings: PretrainSettings, dataset: VideoReferDataset) -> Any:
    if isinstance(part, LettersPart):
        return part.dataset
    return dataset if settings.part == "language_model" else ReadOnce(dataset)


def _part(recipe: Recipe, settings: PretrainSettings, dataset: VideoReferDataset) -> Any:
    if settings.part == "connector":
        return ConnectorPart(recipe, dataset)
    if settings.part == "vision_tower":
        return VisionTowerPart(settings, dataset)
    if settings.exercise is not None:
        return LettersPart(recipe, dataset)
    return LanguageModelPart(settings, dataset, recipe.data.max_length)


class _PartTrainer(VideoReferTrainer):
    """A trainer of one part, whose gradients are not split into groups."""

    def measure_gradients(self) -> None:
        """Do nothing: the norm of all gradients is that of the part."""
