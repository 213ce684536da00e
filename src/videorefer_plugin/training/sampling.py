"""Batches of one modality and of similar length."""

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.utils.data import Sampler

from videorefer_plugin.errors import ConfigurationError

__all__ = ["ModalityLengthSampler"]

# Records are sorted by length within this many batches: similar lengths, and still a random order.
_BATCHES_PER_CHUNK = 50


class ModalityLengthSampler(Sampler[int]):
    """Orders records so that each batch has one modality, and records of similar length.

    Lengths in a batch are padded to the longest, and text needs no vision tower, so that mixed batches waste both. The
    order is random in every epoch, and depends only on seed and epoch, so that all processes have the same order and a
    resumed run continues where it stopped.

    Args:
        lengths (`Sequence[int]`): estimated tokens of each record.
        modalities (`Sequence[str]`): modality of each record. Both may also be functions that return them, if they
            change from epoch to epoch.
        batch_size (`int`): number of records of all processes together in one step.
        seed (`int`, *optional*, defaults to 0): seed of the order.

    Raises:
        ConfigurationError: the sequences differ in length, or the batch size is less than 1.
    """

    def __init__(
        self,
        lengths: Sequence[int] | Callable[[], Sequence[int]],
        modalities: Sequence[str] | Callable[[], Sequence[str]],
        batch_size: int,
        seed: int = 0,
    ):
        self._total = len(_now(lengths))
        if self._total != len(_now(modalities)):
            raise ConfigurationError(f"There are {self._total} lengths but {len(_now(modalities))} modalities.")
        if batch_size < 1:
            raise ConfigurationError(f"batch_size must be at least 1, but is {batch_size}.")
        self.lengths = lengths
        self.modalities = modalities
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Use the order of another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[int]:
        draw = random.Random(f"{self.seed}-{self.epoch}")
        lengths, modalities = _now(self.lengths), _now(self.modalities)
        batches: list[list[int]] = []
        rest: list[int] = []
        for modality in sorted(set(modalities)):
            indices = [index for index, own in enumerate(modalities) if own == modality]
            draw.shuffle(indices)
            chunk = self.batch_size * _BATCHES_PER_CHUNK
            for start in range(0, len(indices), chunk):
                part = sorted(indices[start : start + chunk], key=lambda index: -lengths[index])
                whole = len(part) // self.batch_size * self.batch_size
                batches += [part[at : at + self.batch_size] for at in range(0, whole, self.batch_size)]
                rest += part[whole:]
        draw.shuffle(batches)
        draw.shuffle(rest)
        yield from (index for batch in batches for index in batch)
        yield from rest  # the rest of each modality comes last, in mixed batches


def _now(values: Any) -> Any:
    return values() if callable(values) else values
