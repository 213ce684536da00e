"""Models whose weights are sharded among processes, which all must run the same modules in the same order."""

import importlib
import os
import sys
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["agree", "is_sharded", "receives_weights"]


def is_sharded(model: nn.Module) -> bool:
    """Whether no process has all weights of a model (FSDP, FSDP2, DeepSpeed ZeRO 3).

    A module's weights are gathered when its `forward` is called, by all processes together: one that calls it less
    often than the others do lets them wait for ever, or takes the weights of another module for its own.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() < 2:
        return False
    if "deepspeed" in sys.modules and _zero3():
        return True
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:  # it was never imported
        return False
    return any(isinstance(module, (fsdp.FSDPModule, fsdp.FullyShardedDataParallel)) for module in model.modules())


def _zero3() -> bool:
    return bool(importlib.import_module("transformers.integrations").is_deepspeed_zero3_enabled())


def receives_weights() -> bool:
    """Whether this process gets its weights from another one once they are loaded: FSDP's RAM-efficient loading.

    transformers leaves those that a checkpoint lacks on the device `meta` then.
    """
    wanted = ("ACCELERATE_USE_FSDP", "FSDP_CPU_RAM_EFFICIENT_LOADING")
    if not all(os.environ.get(name, "false").lower() in ("1", "true", "yes", "y", "on", "t") for name in wanted):
        return False
    return dist.is_available() and dist.is_initialized() and os.environ.get("LOCAL_RANK", "0") != "0"


def agree(flags: Sequence[bool], device: torch.device) -> tuple[list[bool], list[bool]]:
    """Combine the answers of all processes; each must call this equally often.

    Args:
        flags (`Sequence[bool]`): what holds in this process, equally many in all of them.
        device (`torch.device`): where this process computes.

    Returns:
        `tuple[list[bool], list[bool]]`: what holds in some process, and what holds in every one.
    """
    own = torch.tensor([*flags, *(not flag for flag in flags)], dtype=torch.int32, device=device)
    dist.all_reduce(own, op=dist.ReduceOp.MAX)
    some, none = own.bool().chunk(2)
    return some.tolist(), (~none).tolist()
