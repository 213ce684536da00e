"""Find frames that are equal, so that a vision tower sees each of them once."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["distinct_frames", "take"]

_PROBES = 64  # values of each frame that are looked at to tell which could be equal


@torch.no_grad()
def distinct_frames(frames: Tensor) -> tuple[list[int], list[int]]:
    """Find the frames that are not equal to an earlier one.

    Frames count as equal if every value is the same. A few values of each are compared first and then a digest of all,
    so that no frame is compared with more than one other. All frames count as distinct while a model is compiled or
    exported, and where gradients of the frames themselves are wanted.

    Args:
        frames (`torch.Tensor` of shape `(num_frames, ...)`): frames, or anything else.

    Returns:
        `tuple[list[int], list[int]]`: indices of the distinct frames, in order, and for each frame its place among
        these.
    """
    every = list(range(len(frames)))
    if len(frames) < 2 or torch.compiler.is_compiling() or frames.requires_grad or frames.is_meta:
        return every, every
    flat = frames.reshape(len(frames), -1)
    step = max(flat.shape[1] // _PROBES, 1)
    probes = [tuple(probe) for probe in flat[:, step // 2 :: step].cpu().tolist()]
    repeated = {probe for probe, number in Counter(probes).items() if number > 1}
    known: dict[Any, int] = {}
    first: list[int] = []
    place: list[int] = []
    weights = _weights(flat) if repeated else None
    for index, probe in enumerate(probes):
        # All values are looked at where the few ones do not tell frames apart.
        key = (probe, _digest(flat[index], weights)) if probe in repeated else probe
        position = known.get(key)
        if position is None or not torch.equal(flat[first[position]], flat[index]):
            position = len(first)
            known.setdefault(key, position)
            first.append(index)
        place.append(position)
    return first, place


def _weights(flat: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(1 << 62, (_bits(flat[0]).numel(),), generator=generator).to(flat.device)


def _digest(frame: Tensor, weights: Any) -> int:
    return int((_bits(frame).long() * weights).sum())


def _bits(frame: Tensor) -> Tensor:
    kinds = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
    return frame.contiguous().view(kinds[frame.element_size()])


def take(values: Tensor, indices: Sequence[int]) -> Tensor:
    """Rows of a tensor by their indices; the tensor itself if these are all of its rows in order."""
    return values if list(indices) == list(range(len(values))) else values[list(indices)]
