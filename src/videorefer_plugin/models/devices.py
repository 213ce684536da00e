"""Where a module computes, also when its weights wait elsewhere."""

import torch
from torch import nn

__all__ = ["device_of"]


def device_of(module: nn.Module) -> torch.device:
    """The device that a module takes its inputs on.

    With `device_map` and too little memory, or after `accelerate.cpu_offload`, weights are on the device `meta` until
    a hook brings those of a layer to where it computes. Nothing can be moved to `meta`; what is asked for there is the
    device of these hooks.
    """
    for parameter in module.parameters():
        if parameter.device.type != "meta":
            return parameter.device
        break
    for part in module.modules():
        hook = getattr(part, "_hf_hook", None)
        for one in getattr(hook, "hooks", (hook,)):  # several of a module are one that holds them
            device = getattr(one, "execution_device", None)
            if device is not None and not isinstance(device, dict):
                return torch.device(device)
    return next((each.device for each in module.parameters() if each.device.type != "meta"), torch.device("cpu"))
