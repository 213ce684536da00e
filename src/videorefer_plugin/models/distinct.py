"""Finding equal frames, so that a vision tower sees each of them once."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["distinct_frames", "take"]

_PROBES = 64  # values of each frame that are looked at to tell which could be equal


@torch.no_grad()
def distinct_frames(frames: Tensor) -> tuple[list[int], list[int]]:
    """Find the frames that are not equal to an earlier one.

    Frames count as equal if every value is the same. A few values of each are compared first and then a digest of all,
    so that no frame is compared with more than two others. All frames count as distinct while a model is compiled or
    exported, and where gradients of the frames themselves are wanted.

    Args:
        frames (`torch.Tensor` of shape `(num_frames, ...)`): frames, or anything else.

    Returns:
        `tuple[list[int], list[int]]`: indices of the distinct frames, in order, and for each frame its index among
            these.
    """
    every = list(range(len(frames)))
    if len(frames) < 2 or torch.compiler.is_compiling() or frames.requires_grad or frames.is_meta:
        return every, every
    flat = frames.reshape(len(frames), -1)
    step = max(flat.shape[1] // _PROBES, 1)
    alike: dict[tuple[float, ...], _Alike] = {}
    first: list[int] = []
    place: list[int] = []
    for index, probe in enumerate(flat[:, step // 2 :: step].cpu().tolist()):
        found = alike.setdefault(tuple(probe), _Alike()).find(flat, index, len(first))
        if found == len(first):
            first.append(index)
        place.append(found)
    return first, place


class _Alike:
    """Distinct frames that a few values don't tell apart. As a rule there is one."""

    def __init__(self) -> None:
        self._first: tuple[int, int] | None = None  # index of a frame, and its index among the distinct ones
        self._by_digest: dict[int, tuple[int, int]] = {}

    def find(self, flat: Tensor, index: int, place: int) -> int:
        """Return the distinct index of the frame that is equal to a given one; `place`, its own, if there is none."""
        if self._first is None:
            self._first = index, place
            return place
        if torch.equal(flat[self._first[0]], flat[index]):
            return self._first[1]
        known, found = self._by_digest.setdefault(_digest(flat[index]), (index, place))
        return found if torch.equal(flat[known], flat[index]) else place


def _digest(frame: Tensor) -> int:
    """A number made of all bits of a frame."""
    kinds = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.uint8}
    bits = frame.contiguous().view(kinds[frame.element_size()]).long()
    return int((bits * _weights(len(bits), str(bits.device))).sum())


@lru_cache(maxsize=4)
def _weights(number: int, device: str) -> Tensor:
    return torch.randint(1 << 62, (number,), generator=torch.Generator().manual_seed(0)).to(device)


def take(values: Tensor, indices: Sequence[int]) -> Tensor:
    """Rows of a tensor by their indices; the tensor itself if these are all of its rows in order."""
    return values if list(indices) == list(range(len(values))) else values[list(indices)]
