"""Batches put together and taken apart by hand, as by someone who knows nothing of this library."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

BY_POSITION = ("input_ids", "attention_mask")


def collate(singles: Sequence[Mapping[str, Tensor]], pad_token_id: int) -> dict[str, Tensor]:
    """Ids are padded on the left, all else with zeros at the end of dimension 1, and everything is concatenated.

    What only some samples have is concatenated of these.
    """
    batch = {}
    for name in dict.fromkeys(name for single in singles for name in single):
        values = [single[name] for single in singles if name in single]
        if name in BY_POSITION:
            values = pad_dimension_1(values, pad_token_id if name == "input_ids" else 0, left=True)
        elif values[0].ndim > 1:
            values = pad_dimension_1(values, 0)
        batch[name] = torch.cat(values)
    return batch


def pad_dimension_1(values: Sequence[Tensor], fill: int, left: bool = False, more: int = 0) -> list[Tensor]:
    """Tensors made as long as the longest in dimension 1, or longer still."""
    length = max(value.shape[1] for value in values) + more
    padded = []
    for value in values:
        missing = length - value.shape[1]
        beside = [0, 0] * (value.ndim - 2)
        padded.append(F.pad(value, [*beside, *((missing, 0) if left else (0, missing))], value=fill))
    return padded


def take_samples(
    batch: Mapping[str, Tensor], rows: Sequence[int], videos: Sequence[int], images: Sequence[int]
) -> dict[str, Tensor]:
    """Some samples of a batch with their visuals, which are counted over the batch."""
    places = {"pixel_values_videos": videos, "video_lengths": videos, "pixel_values": images}
    taken = {name: value[list(places.get(name, rows))] for name, value in batch.items()}
    return {name: value for name, value in taken.items() if len(value)}


@torch.no_grad()
def logits_by_sample(model: Any, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Logits of each sample at the positions that are no padding."""
    logits = model(**inputs).logits
    return [own[mask.bool()] for own, mask in zip(logits, inputs["attention_mask"], strict=True)]


@contextmanager
def tower_rows(model: Any) -> Iterator[list[int]]:
    """Number of frames in each run of the vision tower within the block."""
    runs: list[int] = []
    tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    hook = tower.embeddings.register_forward_hook(lambda module, args, output: runs.append(len(output)))
    try:
        yield runs
    finally:
        hook.remove()
