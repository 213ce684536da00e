"""Runs a recipe."""

import importlib
import os
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from torch.utils.data import Subset
from transformers import TrainingArguments, set_seed
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils import logging

from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin.errors import ConfigurationError, TrainingError
from videorefer_plugin.hosts.attach import AttachedRegionMixin
from videorefer_plugin.hosts.saving import save_object_encoder, trained_encoder
from videorefer_plugin.models.quantized import is_quantized
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.training.arguments import training_arguments
from videorefer_plugin.training.blank_visuals import blank_visuals
from videorefer_plugin.training.building import build, prepare_for_training
from videorefer_plugin.training.checkpoints import check_same_run, identity_of, prepared_folder
from videorefer_plugin.training.collator import VideoReferCollator
from videorefer_plugin.training.dataset import VideoReferDataset, recipe_dataset
from videorefer_plugin.training.feature_collator import FeatureCollator
from videorefer_plugin.training.kept_features import compute_features, remove_features
from videorefer_plugin.training.letters import LetterLoss
from videorefer_plugin.training.parts import has_unused_parameters
from videorefer_plugin.training.read_once import ReadOnce
from videorefer_plugin.training.recipe import Recipe
from videorefer_plugin.training.stopping import stopping
from videorefer_plugin.training.trainer import trainer_class

__all__ = ["train"]

logger = logging.get_logger(__name__)


def train(recipe: Recipe, *, resume: bool = True) -> Any:
    """Run a recipe to its end and save the result.

    Interrupted runs resume from their newest checkpoint when the same recipe is run again. SIGINT and SIGTERM save a
    checkpoint at the end of the current step, which is the same in all processes; a second signal stops at once. The
    previous signal handlers are restored at the end. In threads other than the main one, handlers are not changed.

    Args:
        recipe ([`Recipe`]): the recipe.
        resume (`bool`, *optional*, defaults to `True`):
            Whether to resume from a checkpoint in `recipe.output.folder`. With `False`, a folder with checkpoints is
            refused.

    Returns:
        [`VideoReferTrainer`]: the trainer, with the trained model and its log.

    Raises:
        ConfigurationError: the recipe cannot be run, or another process trains in its folder.
        RecordError: the data have bad records.
        CheckpointError: the model cannot be loaded, or the checkpoint to resume from is damaged or of another run.
        TrainingError: training cannot continue.
        KeyboardInterrupt: a signal stopped the run; the attribute `signum` of the error is its number.
    """
    if recipe.pretrain is not None:
        # Only small models need it, so that it is in the room that makes them.
        workshop = importlib.import_module("videorefer_plugin.tiny.pretraining.run")
        return workshop.pretrain(recipe, resume=resume)
    recipe.check()  # the recipe may have been made or changed in Python
    if not recipe.data.files:
        raise ConfigurationError("The recipe names no data. Give data.files, a list of files.")
    set_seed(recipe.train.seed)
    check_folder_place(recipe.output.folder, ConfigurationError)
    arguments = training_arguments(recipe)
    _check_sharing(recipe, arguments)
    with prepared_folder(recipe, arguments.process_index, resume) as checkpoint:
        return _train(recipe, arguments, checkpoint)


def _train(recipe: Recipe, arguments: TrainingArguments, checkpoint: str | None) -> Any:
    model, processor = build(recipe.model)
    if recipe.data.num_frames is not None:
        processor.num_frames = recipe.data.num_frames
        if hasattr(model.config, "num_frames"):  # the number of frames for an image; not every host has it
            model.config.num_frames = recipe.data.num_frames
    if recipe.data.max_frames_per_region is not None:  # questions use as many frames of regions as training did
        processor.max_frames_per_region = recipe.data.max_frames_per_region
    dataset = recipe_dataset(recipe, recipe.data.files, object_encoder=model.object_encoder.config)
    if model.object_encoder.config.kind == "crop":
        _say_cost(dataset)
    collator = _collator(recipe, model, processor, dataset)
    seen = recipe_dataset(recipe, recipe.data.eval_files) if recipe.data.eval_files else None
    eval_collator = collator if seen is None else _collator(recipe, model, processor, seen)
    model = prepare_for_training(model, recipe)
    arguments.ddp_find_unused_parameters = has_unused_parameters(model)
    identity = identity_of(recipe, records=len(dataset))
    trainer = trainer_class(recipe.trainer)(
        model=model,
        args=arguments,
        train_dataset=ReadOnce(dataset, regions=False) if isinstance(collator, FeatureCollator) else dataset,
        data_collator=collator,
        eval_dataset=None if seen is None else Subset(seen, range(len(seen))),  # always the choices of the first epoch
        eval_collator=eval_collator,
        learning_rates=recipe.train.learning_rates,
        group_by_modality_length=recipe.train.group_by == "modality_length",
        identity=identity,
        **_own_loss(recipe, processor),
    )
    plain = trainer.accelerator.unwrap_model(trainer.model)
    plain = plain.get_base_model() if hasattr(plain, "get_base_model") else plain
    if isinstance(plain, AttachedRegionMixin) and (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        plain.blank_visuals = blank_visuals(processor)
    if checkpoint is not None:
        check_same_run(checkpoint, identity)
    summary = _summary(trainer, recipe, dataset)
    started = time.monotonic()
    with stopping(trainer):
        trainer.train(resume_from_checkpoint=checkpoint)
    summary.steps, summary.seconds = trainer.state.global_step, round(time.monotonic() - started, 1)
    summary.hyperparameters["skipped"] = len(dataset.skipped)
    with writing(recipe.output.folder, TrainingError, also=(SafetensorError,)):
        _save(trainer, recipe, processor, summary)
    return trainer


def _own_loss(recipe: Recipe, processor: Any) -> dict[str, Any]:
    weight = recipe.train.letter_loss
    return {} if weight is None else {"compute_loss_func": LetterLoss(processor.tokenizer, weight)}


def _check_sharing(recipe: Recipe, arguments: TrainingArguments) -> None:
    """Refuse settings that contradict sharded weights.

    Raises:
        ConfigurationError: ZeRO 3 is used on CPUs, or features are kept although no process has the whole model.
    """
    # Accelerate does not use FSDP and DeepSpeed on CPUs, where every process has the whole model.
    whole = arguments.world_size < 2 or arguments.distributed_state.distributed_type == "MULTI_CPU"
    zero3 = is_deepspeed_zero3_enabled()
    if zero3 and os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true":
        raise ConfigurationError(
            "DeepSpeed ZeRO 3 shares weights out when a model is loaded, but accelerate leaves DeepSpeed "
            "out where ACCELERATE_USE_CPU is true (accelerate launch --cpu), so that nobody would put them together "
            "again. Start the run on GPUs, or without DeepSpeed (accelerate launch --multi_gpu)."
        )
    if recipe.data.clip and not recipe.data.keep_features:
        return
    fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" or bool(arguments.fsdp)
    if zero3 or (fsdp and not whole):
        setting = "data.keep_features: true" if recipe.data.clip else "data.clip: false"
        raise ConfigurationError(
            f"{setting} computes features once, with the whole model in each process, but "
            f"{'DeepSpeed ZeRO 3' if zero3 else 'FSDP'} shares its weights out among the processes. Start the run "
            "without it (accelerate launch --multi_gpu), or leave the setting out."
        )


def _say_cost(dataset: VideoReferDataset) -> None:
    """Log the number of crops of a run before it starts."""
    each = dataset.masks_per_record
    logger.warning(
        "The vision tower sees the crop of every mask alone: %.1f crops a record beside its frames, %d in an epoch of "
        "%d records. data.max_frames_per_region and data.mode: single make them fewer.",
        each,
        round(each * len(dataset)),
        len(dataset),
    )


def _collator(recipe: Recipe, model: Any, processor: Any, dataset: VideoReferDataset) -> Any:
    if recipe.data.clip and not recipe.data.keep_features:
        return VideoReferCollator(
            processor,
            template=recipe.data.template,
            max_length=recipe.data.max_length,
            mask_policy=recipe.data.mask_policy,
            on_bad_sample=recipe.data.on_bad_sample,
            packing=recipe.data.packing,
        )
    if not isinstance(model, VideoReferForConditionalGeneration):
        setting = "data.keep_features: true" if recipe.data.clip else "data.clip: false"
        raise ConfigurationError(
            f"{setting} is for VideoRefer models, but {recipe.model.checkpoint} holds a host of another kind "
            f"({type(model).__name__}). Leave it out."
        )
    folder = recipe.data.features or recipe.output.folder
    features = compute_features(model, processor, dataset, folder, clips=recipe.data.clip)
    # The outputs of a frozen connector for clips are kept as well, if this process makes the batches.
    connector = None if recipe.data.workers or "connector" in recipe.train.parts else model.model.connector
    config = model.object_encoder.config
    return FeatureCollator(processor, features, config, clips=recipe.data.clip, connector=connector)


def _save(trainer: Any, recipe: Recipe, processor: Any, summary: Any) -> None:
    """Save the result in the form that the recipe asks for, the processor, and a summary of the run."""
    folder = Path(recipe.output.folder)
    unwrapped = trainer.accelerator.unwrap_model(trainer.model)
    plain = unwrapped.get_base_model() if hasattr(unwrapped, "get_base_model") else unwrapped
    plain.config.use_cache = True
    if not is_quantized(plain):  # else the other weights keep their dtypes
        plain.to(getattr(torch, recipe.model.dtype))  # trained weights are in float32 until here
    if trainer.is_fsdp_enabled:  # with other types of state, `save_model` saves nothing
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    if recipe.output.save != "object_encoder":
        trainer.save_model(str(folder))  # gathers sharded weights; a PEFT model saves its adapter
    apart = recipe.output.save in ("object_encoder", "adapter")
    state = trainer.gathered(trained_encoder(plain)) if apart else None  # all processes must call this
    if not trainer.args.should_save:
        return
    if apart:
        save_object_encoder(plain, folder, state)
    if recipe.data.features is None:
        remove_features(folder)  # the run is over
    processor.save_pretrained(folder)
    trainer.state.save_to_json(str(folder / "trainer_state.json"))
    summary.save(folder)
    logger.info("Saved to %s.", folder)


def _summary(trainer: Any, recipe: Recipe, dataset: VideoReferDataset) -> Any:
    """Return the summary of a run that is known before it starts."""
    import yaml

    import videorefer_plugin
    from videorefer_plugin.hub.run_summary import Recipe as RecipeSummary
    from videorefer_plugin.hub.run_summary import RunSummary

    said = recipe.to_dict(references=True)  # the published summary must not contain values of the environment
    devices = max(trainer.args.world_size, 1)
    hardware = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    return RunSummary(
        recipe=RecipeSummary(name=said["name"], text=yaml.safe_dump(said, sort_keys=False)),
        base_model=said["model"]["checkpoint"] or said["model"]["language_model"],
        data=_data_files(said["data"]["files"], dataset),
        hyperparameters=_hyperparameters(said["train"]),
        seeds=[recipe.train.seed],
        hardware=f"{devices} x {hardware}",
        versions={
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "videorefer-plugin": videorefer_plugin.__version__,
        },
        license=said["output"]["license"],
    )


def _hyperparameters(train: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that determine the result, without those that have their default value."""
    return {
        name: value
        for name, value in train.items()
        if name not in ("report_to", "eval_every") and (name != "extra" or value)
    }


def _data_files(entries: Any, dataset: VideoReferDataset) -> list[Any]:
    from videorefer_plugin.hub.run_summary import DataFile

    entries = [entries] if isinstance(entries, str) else entries
    names = [os.path.basename(entry if isinstance(entry, str) else entry["file"]) for entry in entries]
    counts = dataset.records_by_file
    if len(counts) != len(names):  # one reference was resolved to several files
        return [DataFile(name=name) for name in names]
    return [DataFile(name=name, records=count) for name, count in zip(names, counts, strict=True)]
