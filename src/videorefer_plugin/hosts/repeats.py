"""Visuals that occur several times in a batch: they are encoded once, and the output is expanded for all of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.models.distinct import distinct_frames

__all__ = ["distinct_by", "spread_output"]


def distinct_by(*values: Tensor) -> tuple[list[int], list[int]]:
    """Find rows that differ from all earlier ones in at least one of several tensors; see [`distinct_frames`]."""
    return distinct_frames(torch.tensor([distinct_frames(value)[1] for value in values]).T)


def spread_output(output: Any, place: Sequence[int], rows: int) -> Any:
    """Expand a tower's output for distinct rows to all rows.

    Args:
        output (`ModelOutput`): the output for the distinct rows.
        place (`Sequence[int]`): for each row of the batch, its index among the distinct ones.
        rows (`int`): how many are distinct. Tensors of another first dimension are not counted by rows, and are kept.
    """
    return type(output)(**{name: _spread(value, list(place), rows) for name, value in output.items()})


def _spread(value: Any, place: list[int], rows: int) -> Any:
    if isinstance(value, Tensor):
        return value[place] if value.ndim and len(value) == rows else value
    if isinstance(value, (list, tuple)):
        return type(value)([_spread(each, place, rows) for each in value])
    return value
