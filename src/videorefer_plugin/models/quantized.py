"""Quantized weights: detecting and saving them, and the dtypes of the other weights beside them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from videorefer_plugin._text import listed
from videorefer_plugin.errors import CheckpointError

__all__ = ["check_savable", "is_quantized", "settle_dtypes"]

_SHOWN = 3


def is_quantized(model: Any) -> bool:
    """Whether a model was loaded with quantized weights, which cannot be trained themselves."""
    return bool(getattr(model, "is_quantized", False))


def check_savable(module: nn.Module, state: Mapping[str, Any] | None = None) -> None:
    """Refuse weights that are not tensors, such as those that `quantize_dynamic` packs.

    Args:
        module (`nn.Module`): the module to save.
        state (`dict`, *optional*): its weights, if they are already available.

    Raises:
        CheckpointError: there are such weights.
    """
    state = module.state_dict() if state is None else state
    packed = [name.split("._packed_params", 1)[0] for name, value in state.items() if not isinstance(value, Tensor)]
    if packed:
        raise CheckpointError(
            f"Weights of {listed(sorted(set(packed)), _SHOWN)} are packed, as torch's quantize_dynamic does it, and "
            "cannot be saved. Save the model before it is quantized, and quantize it again where it is loaded; or "
            "load it with quantization_config=, a BitsAndBytesConfig or TorchAoConfig, with which it can be saved."
        )


def settle_dtypes(model: Any) -> None:
    """Convert weights that are not quantized to the dtype that a checkpoint of quantized ones was loaded in.

    transformers leaves each `weight` of such a checkpoint as it was saved, and casts the rest, so that a layer has
    its weight and its bias in two dtypes and cannot run.
    """
    dtype = getattr(model.config, "dtype", None)
    if not is_quantized(model) or not isinstance(dtype, torch.dtype):
        return
    kept = tuple(model._keep_in_fp32_modules or ()) if dtype == torch.float16 else ()
    for name, parameter in model.named_parameters():
        # Quantized ones have other classes.
        if type(parameter) is nn.Parameter and parameter.is_floating_point():
            wanted = torch.float32 if any(f".{part}." in f".{name}" for part in kept) else dtype
            if parameter.dtype != wanted:
                parameter.data = parameter.data.to(wanted)
