"""Regions for callers that run a model without its head, such as losses that are computed piece by piece."""

import inspect
import weakref
from typing import Any

from torch import nn

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs
from videorefer_plugin.models.videorefer.region_inputs import RegionInputs

__all__ = ["SCATTER", "BackboneRegions"]

# Name of the argument that carries object tokens through the host to the hook on its decoder.
SCATTER = "object_token_scatter"

_FIELDS = dict.fromkeys((*RegionInputs._fields, *CropInputs._fields))
_TENSORS = (*(f"region_{field}" for field in _FIELDS), "object_tokens")


class BackboneRegions:
    """Forward pre-hook of a backbone whose model has not seen the regions, for instance because TRL calls it alone.

    Without it they would be ignored. The hook knows its model weakly, since a cycle would keep both in memory; copies
    of the hook know none until [`BackboneRegions.belong_to`] is called with the copied model.

    Args:
        model ([`RegionMixin`], *optional*): whose backbone it is.
    """

    def __init__(self, model: Any = None):
        self.model = None if model is None else weakref.ref(model)

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return type(self), ()

    @staticmethod
    def belong_to(model: Any) -> None:
        """Tell the hook of a model's backbone that it belongs to this model, if it has none yet."""
        for hook in model.base_model._forward_pre_hooks.values():
            if isinstance(hook, BackboneRegions) and (hook.model is None or hook.model() is None):
                hook.model = weakref.ref(model)

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Put object tokens into the arguments of the backbone.

        Raises:
            TensorError: there are regions, but the model is gone; or see [`RegionMixin.place_regions`].
        """
        given = any(kwargs.get(name) is not None for name in _TENSORS)
        # In training a batch without regions has object tokens, too: none, with gradients that are zero.
        if SCATTER in kwargs or not (given or (module.training and kwargs.get("input_ids") is not None)):
            return None
        model = None if self.model is None else self.model()
        if model is None:
            if not given:
                return None
            raise TensorError(
                f"This {type(module).__name__} was taken out of its model, and cannot use regions without its object "
                "encoder. Keep the model it comes from, or leave the region_... tensors out."
            )
        inputs = {**dict(zip(inspect.signature(module.forward).parameters, args, strict=False)), **kwargs}
        model.place_regions(inputs)
        return (), {name: value for name, value in inputs.items() if value is not None}
