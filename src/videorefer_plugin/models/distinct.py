"""Find frames that are equal, so that a vision tower sees each of them once."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["distinct_frames", "take"]

_PROBES = 64  # values of each frame that are looked at to tell which could be equal


@torch.no_grad()
def distinct_frames(frames: Tensor) -> tuple[list[int], list[int]]:
    """Find the frames that are not equal to an earlier one.

    Frames count as equal if every value is the same. A few values of each are compared first, so frames that differ
    cost next to nothing. All frames count as distinct while a model is compiled or exported, and where gradients of
    the frames themselves are wanted.

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
    alike: dict[tuple[float, ...], list[int]] = {}
    first: list[int] = []
    place: list[int] = []
    for index, probe in enumerate(flat[:, step // 2 :: step].cpu().tolist()):
        known = alike.setdefault(tuple(probe), [])
        position = next((one for one in known if torch.equal(flat[first[one]], flat[index])), None)
        if position is None:
            position = len(first)
            known.append(position)
            first.append(index)
        place.append(position)
    return first, place


def take(values: Tensor, indices: Sequence[int]) -> Tensor:
    """Rows of a tensor by their indices; the tensor itself if these are all of its rows in order."""
    return values if list(indices) == list(range(len(values))) else values[list(indices)]
