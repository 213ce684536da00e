"""The parts of a model that stages train: vision tower, connector, object encoder and language model."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.hosts import host_of
from videorefer_plugin.models.videorefer.regions import RegionMixin

__all__ = ["PARTS", "has_unused_parameters", "modules_of_parts", "parameters_by_part", "set_trainable"]

PARTS = ("vision_tower", "connector", "object_encoder", "language_model")


def parameters_by_part(model: Any) -> dict[str, dict[str, nn.Parameter]]:
    """Sort the parameters of a model into its parts.

    The host's description names the vision tower. The language model is the module from `get_decoder`, with the output
    head. All other parameters outside of the object encoder are the connector. This works for VideoRefer, for hosts
    with an attached object encoder, and with PEFT adapters, which belong to the part that they adapt.

    Args:
        model (`PreTrainedModel` or `PeftModel`): the model.

    Returns:
        `dict`: for each of `PARTS`, its parameters by their name in `model`.

    Raises:
        ConfigurationError: no host is known for the model, or the model lacks the tower that the host names.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    modules = {
        "object_encoder": getattr(plain, "object_encoder", None),
        "vision_tower": _vision_tower(plain),
        "language_model": plain.get_decoder(),
    }
    owner = {id(p): part for part, module in modules.items() if module is not None for p in module.parameters()}
    head = plain.get_output_embeddings()
    if head is not None:
        owner.update({id(p): "language_model" for p in head.parameters()})
    by_part: dict[str, dict[str, nn.Parameter]] = {part: {} for part in PARTS}
    for name, parameter in model.named_parameters():
        by_part[owner.get(id(parameter), "connector")][name] = parameter
    return by_part


def _vision_tower(model: Any) -> nn.Module:
    if isinstance(model, RegionMixin):
        return model.get_vision_tower()
    return host_of(model.config.model_type).tower(model)


def set_trainable(model: Any, parts: Iterable[str]) -> None:
    """Train these parts of a model and freeze the others.

    Args:
        model (`PreTrainedModel`): the model, without PEFT adapters.
        parts (`Iterable[str]`): names out of `PARTS`.

    Raises:
        ConfigurationError: a part is unknown, or the model does not have it.
    """
    wanted = list(parts)
    by_part = parameters_by_part(model)
    for part in wanted:
        if part not in PARTS:
            raise ConfigurationError(f"Unknown part {part!r}; a model consists of {', '.join(PARTS)}.")
        if not by_part[part]:
            raise ConfigurationError(f"{type(model).__name__} has no {part.replace('_', ' ')} to train.")
    for part, parameters in by_part.items():
        for parameter in parameters.values():
            parameter.requires_grad_(part in wanted)


def modules_of_parts(model: Any, parts: Iterable[str]) -> list[str]:
    """Return the names of the outermost modules of some parts, for PEFT's `modules_to_save`.

    Args:
        model (`PreTrainedModel`): the model, without PEFT adapters.
        parts (`Iterable[str]`): names out of `PARTS`.

    Raises:
        ConfigurationError: a part has parameters outside of modules of its own.
    """
    by_part = parameters_by_part(model)
    found = []
    for part in parts:
        left = set(by_part[part])
        for name, module in model.named_modules():
            own = {f"{name}.{inner}" for inner, _ in module.named_parameters()}
            if own and own <= left:
                found.append(name)
                left -= own
        if left:
            raise ConfigurationError(
                f"{', '.join(sorted(left))} of the {part.replace('_', ' ')} of {type(model).__name__} cannot be kept "
                f"beside an adapter. Take {part} out of train.parts, or train without a lora section."
            )
    return found


def has_unused_parameters(model: Any) -> bool:
    """Tell whether trained parameters may get no gradient from a batch, which distributed training must expect.

    The language model and the object encoder always get gradients. Towers have layers above the one whose features are
    used; and hosts, unlike this library's own model, skip tower and connector for batches of text only.

    Args:
        model (`PreTrainedModel` or `PeftModel`): the model, with the parts frozen that are not trained.
    """
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    parts = ("vision_tower", "connector") if hasattr(plain, "object_encoder_attachment") else ("vision_tower",)
    by_part = parameters_by_part(model)
    return any(parameter.requires_grad for part in parts for parameter in by_part[part].values())
