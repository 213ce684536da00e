"""Features of crops, from a tower of VideoLLaMA3."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["crop_features"]


def crop_features(tower: Any, pixel_values: Tensor, grids: Tensor) -> Tensor:
    """Run a tower of VideoLLaMA3 on crops, each of them alone; see [`RegionMixin.get_crop_features`]."""
    weight = next(tower.parameters())
    grids = grids.to(weight.device)
    if not len(grids):
        return pixel_values.new_zeros((0, tower.config.hidden_size), dtype=weight.dtype)
    ones = torch.ones_like(grids[:, :1])
    grid_thw = torch.cat([ones, grids], dim=1)
    return tower(pixel_values.to(weight.device), grid_thw, ones.flatten(), return_dict=True).last_hidden_state
