"""Checks arguments in `train.extra` that would fail only after the model is loaded, or change a run silently."""

import importlib.util
import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainingArguments, get_scheduler
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils import is_liger_kernel_available

from videorefer_plugin._text import short
from videorefer_plugin._yaml import nearest
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.ranges import COUNT, FROM_ZERO, LARGEST, Range, check_number

__all__ = ["REFUSED", "check_extra", "numbers_in", "rehearse"]

REFUSED = {
    "metric_for_best_model": "the newest checkpoints are kept; see train.keep_checkpoints",
    "greater_is_better": "the newest checkpoints are kept; see train.keep_checkpoints",
    "batch_eval_metrics": "the loss is all that evaluations compute",
    "include_for_metrics": "the loss is all that evaluations compute",
    "auto_find_batch_size": "another batch size would be another run; set train.batch_size",
    "save_only_model": "checkpoints hold all that a run goes on with",
    "enable_jit_checkpoint": "SIGINT and SIGTERM save a checkpoint by themselves",
    "local_rank": "the launcher of the processes sets it",
    "do_train": "recipes train",
    "do_eval": "set train.eval_every",
    "do_predict": "recipes train",
    "parallelism_config": "recipes run on copies of a model, or on one that FSDP or DeepSpeed shards",
}
"""Arguments that recipes cannot set, and the reason or alternative."""

_RANGES = {
    "adam_beta1": Range(0, 1, below=True),
    "adam_beta2": Range(0, 1, below=True),
    "adam_epsilon": FROM_ZERO,
    "label_smoothing_factor": Range(0, 1, below=True),
    "neftune_noise_alpha": FROM_ZERO,
    "eval_delay": FROM_ZERO,
    **dict.fromkeys(
        (
            *("per_device_eval_batch_size", "eval_accumulation_steps", "dataloader_prefetch_factor"),
            *("torch_empty_cache_steps", "ddp_bucket_cap_mb", "ddp_timeout"),
        ),
        COUNT,
    ),
}
_LEVELS = ("debug", "detail", "info", "warning", "error", "critical", "passive")
_OF_ACCELERATOR = {
    "gradient_accumulation_kwargs": "how batches are added up follows from train.global_batch_size",
    "split_batches": "how much each process sees is train.batch_size",
}
_WITH_EXPONENT = re.compile(r"[+-]?[0-9]+[eE][+-]?[0-9]{1,3}")


def numbers_in(value: Any) -> Any:
    """Convert texts such as 1e-7, which YAML does not read as numbers, to numbers at every level of settings."""
    if isinstance(value, Mapping):
        return {name: numbers_in(one) for name, one in value.items()}
    if isinstance(value, list):
        return [numbers_in(one) for one in value]
    return float(value) if isinstance(value, str) and _WITH_EXPONENT.fullmatch(value) else value


def check_extra(extra: Mapping[str, Any], *, workers: int, evaluates: bool) -> None:
    """Check arguments of `TrainingArguments` that transformers does not check, or checks too late.

    Args:
        extra (`Mapping[str, Any]`): the arguments.
        workers (`int`): processes that load data.
        evaluates (`bool`): whether there are records to evaluate on.

    Raises:
        ConfigurationError: an argument is out of its range, or contradicts the rest of the recipe.
    """
    for name, allowed in _RANGES.items():
        if extra.get(name) is not None:
            kind = int if allowed is COUNT else float
            check_number(f"train.extra.{name}", extra[name], kind, allowed)
            if extra[name] > LARGEST:
                raise ConfigurationError(f"train.extra.{name} must be at most {LARGEST}, but is {short(extra[name])}.")
    for name in ("log_level", "log_level_replica"):
        if name in extra and extra[name] not in _LEVELS:
            near = nearest(str(extra[name]), _LEVELS)
            raise ConfigurationError(f"train.extra.{name} cannot be {short(extra[name])}{near}")
    for name in ("dataloader_persistent_workers", "dataloader_prefetch_factor", "dataloader_multiprocessing_context"):
        if extra.get(name) and not workers:
            raise ConfigurationError(f"train.extra.{name} is for processes that load data. Set data.workers above 0.")
    method = extra.get("dataloader_multiprocessing_context")
    if method is not None and method not in (methods := torch.multiprocessing.get_all_start_methods()):
        raise ConfigurationError(
            f"train.extra.dataloader_multiprocessing_context must be one of {', '.join(methods)}, but is "
            f"{short(method)}."
        )
    if extra.get("eval_on_start") and not evaluates:
        raise ConfigurationError("train.extra.eval_on_start needs data.eval_files and train.eval_every.")
    if extra.get("use_liger_kernel") and not is_liger_kernel_available():
        raise ConfigurationError(
            "train.extra.use_liger_kernel needs a package that is not installed: pip install liger-kernel (or leave "
            "it out)."
        )
    if extra.get("debug"):
        raise ConfigurationError(
            "train.extra.debug is not for recipes: a loss that is not a number stops a run by itself. Leave it out."
        )
    # The package with which transformers measures memory.
    if extra.get("skip_memory_metrics") is False and importlib.util.find_spec("psutil") is None:
        raise ConfigurationError(
            "train.extra.skip_memory_metrics: false needs a package that is not installed: pip install psutil (or "
            "leave it out)."
        )
    settings = extra.get("accelerator_config")
    settings = settings if isinstance(settings, Mapping) else {}
    for name in settings:
        if name in _OF_ACCELERATOR:
            raise ConfigurationError(
                f"train.extra.accelerator_config.{name} cannot be set there: {_OF_ACCELERATOR[name]}."
            )
        if name not in AcceleratorConfig.__dataclass_fields__:
            near = nearest(str(name), [*AcceleratorConfig.__dataclass_fields__], "train.extra.accelerator_config.")
            raise ConfigurationError(f"accelerate has no argument {short(name)} for accelerator_config{near}")
        if settings[name] is not None and not isinstance(settings[name], bool):
            raise ConfigurationError(
                f"train.extra.accelerator_config.{name} must be true or false, but is {short(settings[name])}."
            )


def rehearse(arguments: TrainingArguments) -> None:
    """Make the optimizer and the schedule for a single number, to find wrong settings at once.

    Raises:
        ConfigurationError: the optimizer or the schedule cannot be made.
    """
    from transformers import Trainer  # takes seconds to import

    module: Any = torch.nn.Linear(1, 1)
    module.config = None
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(arguments, module)
        groups = options.pop("optimizer_dict", None) or options.pop("params", None) or module.parameters()
        if options.pop("model", None) is None:
            optimizer = kind(groups, **options)
        else:  # optimizers for layers of the model
            optimizer = torch.optim.SGD(module.parameters(), lr=arguments.learning_rate)
    except Exception as error:  # packages of optimizers raise many types for wrong values
        raise ConfigurationError(
            f"train.optimizer={arguments.optim.value} cannot be made with these settings: {type(error).__name__}: "
            f"{short(str(error))}. See train.extra (optim_args, adam_beta1, adam_beta2, optim_target_modules)."
        ) from error
    kwargs = arguments.lr_scheduler_kwargs
    try:
        scheduler = get_scheduler(
            arguments.lr_scheduler_type,
            optimizer,
            num_warmup_steps=arguments.get_warmup_steps(100),
            num_training_steps=100,
            scheduler_specific_kwargs=dict(kwargs) if kwargs else None,
        )
        for _ in range(3):
            optimizer.step()
            scheduler.step()
    except Exception as error:  # schedules raise many types for wrong values
        raise ConfigurationError(
            f"train.scheduler={arguments.lr_scheduler_type.value} cannot be made with "
            f"train.extra.lr_scheduler_kwargs={short(kwargs)}: {type(error).__name__}: {short(str(error))}."
        ) from error
    rates = scheduler.get_last_lr()
    if not all(isinstance(rate, (int, float)) and abs(rate) < float("inf") for rate in rates):
        raise ConfigurationError(
            f"train.extra.lr_scheduler_kwargs={short(kwargs)} make a learning rate of {short(rates)}."
        )
    if arguments.fsdp and arguments.world_size < 2:
        raise ConfigurationError(
            "train.extra.fsdp shards a model over several processes, of which this is the only one. Start the run "
            "with accelerate launch or torchrun, or leave it out."
        )
