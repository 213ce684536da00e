"""Features of crops, from a tower of VideoLLaMA3."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

__all__ = ["crop_features"]

_PATCHES_AT_ONCE = 1 << 14


def crop_features(tower: Any, pixel_values: Tensor, grids: Tensor) -> Tensor:
    """Run a tower of VideoLLaMA3 on crops, each of them alone; see [`RegionMixin.get_crop_features`]."""
    weight = next(tower.parameters())
    grids = grids.to(weight.device)
    if not len(grids):
        return pixel_values.new_zeros((0, tower.config.hidden_size), dtype=weight.dtype)
    ones = torch.ones_like(grids[:, :1])
    grid_thw = torch.cat([ones, grids], dim=1)
    done, features = 0, []
    for crops in _pieces(grids.prod(dim=1).tolist()):
        own = grid_thw[crops]
        patches = int(own.prod(dim=1).sum())
        pixels = pixel_values[done : done + patches].to(weight.device)
        features.append(tower(pixels, own, ones[crops].flatten(), return_dict=True).last_hidden_state)
        done += patches
    return torch.cat(features)


def _pieces(sizes: list[int]) -> Iterator[slice]:
    """Crops that the tower sees at once, since all of them might not fit in memory."""
    first, held = 0, 0
    for crop, size in enumerate(sizes):
        if held and held + size > _PATCHES_AT_ONCE:
            yield slice(first, crop)
            first, held = crop, 0
        held += size
    yield slice(first, len(sizes))
