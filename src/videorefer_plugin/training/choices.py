"""What settings of a recipe may name, as far as the libraries know that recipes are handed to."""

import difflib
import re
from collections.abc import Iterable
from functools import lru_cache

import torch
from transformers import SchedulerType, TrainingArguments, get_scheduler
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.training_args import OptimizerNames

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.ranges import COUNT, FROM_ZERO, LARGEST, Range
from videorefer_plugin.training.settings import PretrainSettings

__all__ = ["DTYPES", "check_attention", "check_optimizer", "check_sizes", "check_targets", "optimizers", "schedulers"]

DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Dtypes that weights may be loaded in."""

# They wait for scores of an evaluation, of which runs of recipes have none: the learning rate would never change.
_WAIT_FOR_SCORES = ("reduce_lr_on_plateau", "greedy")
_FEW = Range(1, 1024)  # layers, heads and channels


def optimizers() -> tuple[str, ...]:
    """Names of the optimizers that transformers' Trainer knows. Some need packages of their own."""
    return tuple(str(name.value) for name in OptimizerNames)


def check_optimizer(name: str) -> None:
    """Check one of the `optimizers`, by having the Trainer look it up.

    Raises:
        ConfigurationError: it needs a package that is not installed, or settings that recipes do not have.
    """
    from transformers import Trainer  # takes seconds to import

    arguments = TrainingArguments.__new__(TrainingArguments)  # the defaults alone: making one sets up the devices
    arguments.optim = OptimizerNames(name)
    try:
        Trainer.get_optimizer_cls_and_kwargs(arguments, torch.nn.Module())
    except (ImportError, TypeError, ValueError) as error:
        raise ConfigurationError(f"train.optimizer={name} cannot be used here: {error}") from error


@lru_cache
def schedulers() -> tuple[str, ...]:
    """Names of the schedules of transformers that need no settings but length and warm-up, which recipes have."""
    return tuple(str(name.value) for name in SchedulerType if _needs_nothing_else(name))


def _needs_nothing_else(name: SchedulerType) -> bool:
    if name.value in _WAIT_FOR_SCORES:
        return False
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    try:
        get_scheduler(name, optimizer, num_warmup_steps=1, num_training_steps=2)
    except (TypeError, ValueError):  # it misses a setting
        return False
    return True


def check_attention(name: str | None) -> None:
    """Check the name of an attention backend: one of transformers, or a kernel on the Hub, `"owner/name"`.

    Raises:
        ConfigurationError: nobody knows it.
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
        ConfigurationError: there are none, or one is no name.
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
                f"lora.targets has {short(name)}, which is no name of a layer: {error}."
            ) from error
        if not name.strip():
            raise ConfigurationError(f"lora.targets has {short(name)}, which is no name of a layer, such as q_proj.")


def check_sizes(settings: PretrainSettings) -> None:
    """Check the sizes of a part that is made from nothing, by making it where tensors have no values.

    Raises:
        ConfigurationError: a size is misspelt or out of its range, or they do not go together.
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
    except Exception as error:  # whatever transformers and PyTorch make of sizes that they were not made for
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
