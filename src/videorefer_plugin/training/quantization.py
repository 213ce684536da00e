"""Language models in 4 or 8 bits for training adapters (QLoRA)."""

import importlib.util
import inspect
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from videorefer_plugin._text import short
from videorefer_plugin._yaml import nearest
from videorefer_plugin.errors import ConfigurationError

__all__ = ["prepare_quantized", "quantization_config"]

_WHERE = "model.quantization"


def quantization_config(settings: dict[str, Any]) -> BitsAndBytesConfig:
    """Make the `quantization_config` of transformers from settings.

    Args:
        settings (`dict`): fields of [`transformers.BitsAndBytesConfig`], such as `load_in_4bit` and
            `bnb_4bit_quant_type`; dtypes by their names.

    Raises:
        ConfigurationError: a field is unknown or has an invalid value, neither 4 nor 8 bits are asked for, or
            bitsandbytes is not installed.
    """
    known = [
        name for name in inspect.signature(BitsAndBytesConfig.__init__).parameters if name not in ("self", "kwargs")
    ]
    for name in settings:
        if name not in known:
            raise ConfigurationError(f"Unknown setting {_WHERE}.{name}{nearest(name, known, f'{_WHERE}.')}")
    for name, value in settings.items():
        if name.endswith("_dtype") and not isinstance(getattr(torch, str(value), None), torch.dtype):
            raise ConfigurationError(
                f"{_WHERE}.{name} is {short(value)}, which is not a dtype; use bfloat16, float16 or float32."
            )
    if bool(settings.get("load_in_4bit")) == bool(settings.get("load_in_8bit")):
        raise ConfigurationError(
            f"{_WHERE} is {short(settings)}, which does not say how many bits. Set load_in_4bit: true, or "
            "load_in_8bit: true, or leave the section out."
        )
    try:
        config = BitsAndBytesConfig(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{_WHERE} is {short(settings)}, which cannot be used: {error}") from error
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigurationError(
            f"{_WHERE} needs bitsandbytes: pip install bitsandbytes. Without it, leave the section out, which takes "
            "about four times the memory for the language model."
        )
    return config


def prepare_quantized(model: Any, *, lora: bool, parts: list[str]) -> Any:
    """Freeze a quantized model, and convert its other weights to the dtypes that training needs.

    Args:
        model (`PreTrainedModel`): the model.
        lora (`bool`): whether adapters are added.
        parts (`list[str]`): the parts that are trained with them.

    Raises:
        ConfigurationError: there are no adapters, or a part with quantized weights is to be trained.
    """
    quantized = [part for part in ("language_model", "vision_tower") if part in parts]
    if quantized or not lora:
        what = f"train.parts names {', '.join(quantized)}" if quantized else "the recipe has no lora section"
        raise ConfigurationError(
            f"Weights that {_WHERE} quantizes cannot be trained, but {what}. Give the recipe a lora section with "
            "output.save: adapter, and train connector or object_encoder beside it."
        )
    from peft import prepare_model_for_kbit_training

    # Gradient checkpointing is turned on later, as for all models.
    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
