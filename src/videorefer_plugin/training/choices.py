"""Checks settings of a recipe against the names that transformers and other libraries know."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

import torch
from transformers import SchedulerType, TrainingArguments, get_scheduler
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.training_args import OptimizerNames

from videorefer_plugin._text import short
from videorefer_plugin._yaml import nearest
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.extra import REFUSED, numbers_in
from videorefer_plugin.training.ranges import ARGUMENT, COUNT, FROM_ZERO, LARGEST, Range
from videorefer_plugin.training.settings import PretrainSettings, TrainSettings
from videorefer_plugin.training.structured import typed

__all__ = [
    "DTYPES",
    "check_attention",
    "check_optimizer",
    "check_reports",
    "check_sizes",
    "check_targets",
    "extra_arguments",
    "optimizers",
    "schedulers",
]

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Dtypes that weights may be loaded in."""

# They need scores of an evaluation, which runs of recipes do not have: the learning rate would never change.
_WAIT_FOR_SCORES = ("reduce_lr_on_plateau", "greedy")
_FEW = Range(1, 1024)  # layers, heads and channels

# Arguments of TrainingArguments that other settings of a recipe set, or that recipes cannot set.
_ELSEWHERE = {
    "output_dir": "set output.folder",
    "bf16": "set model.dtype",
    "fp16": "set model.dtype",
    "data_seed": "set train.seed",
    "dataloader_num_workers": "set data.workers",
    "gradient_accumulation_steps": "it follows from train.global_batch_size",
    "gradient_checkpointing": "set train.gradient_checkpointing",
    "activation_checkpointing": "set train.gradient_checkpointing",
    "train_sampling_strategy": "set train.group_by",
    "save_strategy": "set train.save_every",
    "eval_strategy": "set train.eval_every",
    "prediction_loss_only": "the loss is all that evaluations compute",
    "load_best_model_at_end": "the newest checkpoints are kept; see train.keep_checkpoints",
    "resume_from_checkpoint": "runs go on from the newest checkpoint in output.folder by themselves",
    "remove_unused_columns": "batches are made whole",
    "label_names": "batches are made with labels",
    "ddp_find_unused_parameters": "it follows from the model",
    **dict.fromkeys(
        ("push_to_hub", "hub_token", "hub_private_repo", "hub_model_id", "hub_strategy", "hub_always_push"),
        "publish the result with `videorefer publish`",
    ),
    "hub_revision": "publish the result with `videorefer publish`",
    **REFUSED,
}
_PLAIN = {
    int: "a number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "settings",
    list: "a list",
}
# Packages of integrations with other names.
_PACKAGES = {"azure_ml": "azureml-sdk", "comet_ml": "comet-ml", "flyte": "flytekit"}


def optimizers() -> tuple[str, ...]:
    """Return the names of the optimizers of transformers' Trainer. Some need packages of their own."""
    return tuple(str(name.value) for name in OptimizerNames)


def check_optimizer(name: str) -> None:
    """Check one of the `optimizers` by a lookup of the Trainer.

    Raises:
        ConfigurationError: the optimizer needs a package that is not installed, or settings that recipes do not have.
    """
    from transformers import Trainer  # takes seconds to import

    arguments = TrainingArguments.__new__(TrainingArguments)  # only the defaults, since `__init__` sets up the devices
    arguments.optim = OptimizerNames(name)
    try:
        Trainer.get_optimizer_cls_and_kwargs(arguments, torch.nn.Module())
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(f"train.optimizer={name} cannot be used here: {error}") from error


@lru_cache
def schedulers() -> tuple[str, ...]:
    """Return the names of the schedules of transformers that need only length and warm-up, as in recipes."""
    return tuple(str(name.value) for name in SchedulerType if _needs_nothing_else(name))


def _needs_nothing_else(name: SchedulerType) -> bool:
    if name.value in _WAIT_FOR_SCORES:
        return False
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    try:
        get_scheduler(name, optimizer, num_warmup_steps=1, num_training_steps=2)
    except (TypeError, ValueError):  # a setting is missing
        return False
    return True


def check_attention(name: str | None) -> None:
    """Check the name of an attention backend: one of transformers, or a kernel on the Hub, `"owner/name"`.

    Raises:
        ConfigurationError: the name is unknown.
    """
    known = ("eager", *ALL_ATTENTION_FUNCTIONS.valid_keys())
    if name is not None and name not in known and not re.fullmatch(r"(paged\|)?[\w.-]+/[\w.-]+(@[^:]+)?(:\w+)?", name):
        raise ConfigurationError(
            f"model.attn_implementation must be one of {', '.join(map(repr, known))}, null, or a kernel on the Hub "
            f"such as 'owner/name', but is {short(name)}."
        )


def check_targets(names: Iterable[str]) -> None:
    """Check the names of layers that LoRA adapts.

    Raises:
        ConfigurationError: there are no names, or one is malformed.
    """
    names = list(names)
    if not names:
        raise ConfigurationError(
            "lora.targets is empty, so nothing would be adapted. Name linear layers, such as q_proj."
        )
    for name in names:
        try:
            re.compile(name)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigurationError(
                f"lora.targets has {short(name)}, which is not the name of a layer: {error}."
            ) from error
        if not name.strip():
            raise ConfigurationError(
                f"lora.targets has {short(name)}, which is not the name of a layer, such as q_proj."
            )


def check_sizes(settings: PretrainSettings) -> None:
    """Check the sizes of a part that is trained from scratch, by building it on the device `meta`.

    Raises:
        ConfigurationError: a size is misspelled or out of its range, or sizes do not fit together.
    """
    if settings.part == "connector":
        if settings.sizes:
            raise ConfigurationError("A connector has the sizes of the model that it is in; leave pretrain.sizes out.")
        return
    from transformers import Qwen2Config, SiglipVisionConfig

    known = (Qwen2Config if settings.part == "language_model" else SiglipVisionConfig)().to_dict()
    for name, value in settings.sizes.items():
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.85)
        if name not in known and close:
            raise ConfigurationError(f"Unknown setting pretrain.sizes.{name}; did you mean pretrain.sizes.{close[0]}?")
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            _check_size(name, value)
    try:
        with torch.device("meta"):
            _run_part(settings)
    except Exception as error:  # transformers and PyTorch raise many types for wrong sizes
        raise ConfigurationError(
            f"pretrain.sizes and pretrain.feature_layer make no {settings.part}: {type(error).__name__}: {error}"
        ) from error


def _check_size(name: str, value: float) -> None:
    allowed = FROM_ZERO
    if name.startswith("num_"):
        allowed = _FEW
    elif name.endswith("_size"):
        allowed = COUNT
    if not allowed.holds(value) or value > LARGEST:
        words = allowed.words(type(value))
        raise ConfigurationError(f"pretrain.sizes.{name} must be {words}, but is {short(value)}.")


def _run_part(settings: PretrainSettings) -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

    if settings.part == "language_model":
        Qwen2ForCausalLM(Qwen2Config(**settings.sizes))(input_ids=torch.zeros((1, 2), dtype=torch.long))
        return
    config = SiglipVisionConfig(**{"vision_use_head": False, **settings.sizes})
    pixels = torch.zeros(1, 3, config.image_size, config.image_size)
    states = SiglipVisionModel(config)(pixel_values=pixels, output_hidden_states=True).hidden_states
    side = config.image_size // config.patch_size
    states[settings.feature_layer].unflatten(1, (side, side))


def check_reports(names: Sequence[str]) -> None:
    """Check the names of the integrations for logs.

    Raises:
        ConfigurationError: transformers does not know a name, or it needs a package that is not installed.
    """
    from transformers.integrations import integration_utils  # takes seconds to import

    known = sorted(integration_utils.INTEGRATION_TO_CALLBACK)
    available = integration_utils.get_available_reporting_integrations()
    alone = [name for name in names if name in ("none", "all")]
    if alone and len(names) > 1:
        raise ConfigurationError(
            f"train.report_to names {alone[0]!r} together with others; name it alone, or leave it out."
        )
    for name in names:
        if name not in ("none", "all", *known):
            raise ConfigurationError(f"train.report_to cannot be {short(name)}{nearest(name, [*known, 'none'])}")
        if name in known and name not in available:
            package = _PACKAGES.get(name, name)
            raise ConfigurationError(
                f"train.report_to names {name}, which is not installed: pip install {package} (or report_to: none)"
            )


def extra_arguments(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `TrainingArguments` in `train.extra`.

    Raises:
        ConfigurationError: a name is unknown (the message names the nearest), an argument has a setting of its own in
            recipes, or a value is of another type.
    """
    hints = get_type_hints(TrainingArguments)
    known = {item.name for item in fields(TrainingArguments)}
    ours = {
        item.metadata[ARGUMENT]: f"set train.{item.name}"
        for item in fields(TrainSettings)
        if ARGUMENT in item.metadata
    }
    ours |= _ELSEWHERE
    found = {}
    for name, value in extra.items():
        if name in ours:
            raise ConfigurationError(f"train.extra.{name} cannot be set there: {ours[name]}.")
        if name not in known:
            near = nearest(name, known - ours.keys(), "train.extra.")
            raise ConfigurationError(
                f"transformers.TrainingArguments has no argument {short(name)} for train.extra{near}"
            )
        found[name] = _argument(name, numbers_in(value) if isinstance(value, (dict, list)) else value, hints[name])
    return found


def _argument(name: str, value: Any, hint: Any) -> Any:
    """Check the type of an argument's value, and convert texts such as 1e-8 to numbers."""
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    if len(kinds) == 1 and kinds[0] in _PLAIN:
        return typed(value, hint, f"train.extra.{name}")
    allowed = [get_origin(kind) or kind for kind in kinds]
    allowed = [kind for kind in allowed if kind in _PLAIN] or [str]
    if value is not None and type(value) not in allowed:
        wanted = " or ".join(_PLAIN[kind] for kind in allowed)
        raise ConfigurationError(f"train.extra.{name} must be {wanted}, but is {short(value)}.")
    return value
