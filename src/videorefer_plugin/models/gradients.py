"""Recording gradients only if they are needed."""

import contextlib
from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["no_grad_if_frozen"]


def no_grad_if_frozen(parameters: Iterable[nn.Parameter], *inputs: Tensor) -> contextlib.AbstractContextManager:
    """`torch.no_grad()`, unless one of the parameters or inputs needs gradients.

    A frozen vision tower keeps no activations then, even if hooks (such as those of PEFT) change its inputs.

    Args:
        parameters (`Iterable[nn.Parameter]`): of the modules that run in this context.
        inputs (`torch.Tensor`): what they run on.
    """
    if not torch.is_grad_enabled():
        return contextlib.nullcontext()
    needed = any(value.requires_grad for value in inputs) or any(value.requires_grad for value in parameters)
    return contextlib.nullcontext() if needed else torch.no_grad()
