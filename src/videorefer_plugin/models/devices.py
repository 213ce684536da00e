"""The device on which a module computes, also when its weights are offloaded."""

import torch
from torch import nn

__all__ = ["device_of"]


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's inputs.

    With `device_map` and too little memory, or after `accelerate.cpu_offload`, weights are on the device `meta` until
    a hook moves those of a layer to its execution device. Inputs cannot be moved to `meta`, so the execution device of
    these hooks is returned.
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
