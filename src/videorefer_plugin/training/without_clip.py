"""Training on objects without their clips.

What can be seen in an object itself, how it looks and where it goes, can be learnt from its object tokens alone. Then
prompts are short, and since the vision tower is frozen, what it makes of each mask is computed once and kept: in the
same time, many times more objects are seen than with their clips.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers.utils import logging

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.object_encoder import pool_masks
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.prompts import check_template, make_prompt

__all__ = ["ClipFreeCollator", "pool_regions"]

_IGNORED = -100


def pool_regions(
    model: VideoReferForConditionalGeneration, processor: Any, dataset: VideoReferDataset
) -> dict[str, Tensor]:
    """Compute what the vision tower makes of the masks of all objects of a data set, each object once.

    Of several processes, each computes its share and gets those of the others.

    Args:
        model ([`VideoReferForConditionalGeneration`]): the model.
        processor ([`VideoReferProcessor`]): its processor.
        dataset ([`VideoReferDataset`]): records with objects.

    Returns:
        `dict`: key of an object in its clip -> float tensor `(num_masks, vision_hidden_size)`, on the CPU.

    Raises:
        ConfigurationError: a record has no objects.
    """
    jobs: list[tuple[int, list[int]]] = []  # a record, and which of its objects no earlier one has
    known: set[str] = set()
    for index in range(len(dataset)):
        sample = dataset[index]
        keys = _keys(sample)
        if not keys:
            raise ConfigurationError(
                f"{sample['record'].place}: it has no objects, so that without its clip nothing is left to learn "
                "from. Leave it out, or set data.clip: true."
            )
        new = [place for place, key in enumerate(keys) if key not in known and key not in keys[:place]]
        if new:
            jobs.append((index, new))
            known.update(keys)
    state = PartialState()
    model.to(state.device)
    mine: dict[str, Tensor] = {}
    share = jobs[state.process_index :: state.num_processes]
    for index, places in logging.tqdm(share, desc="Pooling objects", disable=not state.is_main_process):
        mine |= _pool(model, processor, dataset[index], places)
    parts = gather_object([mine]) if state.num_processes > 1 else [mine]
    return {key: pooled for part in parts for key, pooled in part.items()}


@torch.no_grad()
def _pool(
    model: VideoReferForConditionalGeneration, processor: Any, sample: dict[str, Any], places: list[int]
) -> dict[str, Tensor]:
    """Pool some of the objects of a record."""
    kind = sample["kind"]
    inputs = processor(
        text=[f"<{kind}>\n" + processor.region_token * len(places)],
        **{f"{kind}s": [sample["visual"]]},
        regions=[[sample["regions"][place] for place in places]],
        return_tensors="pt",
    )
    device, dtype = model.object_encoder.device, next(model.model.vision_tower.parameters()).dtype
    grids = model.model.get_frame_features(inputs["region_pixel_values"].to(device, dtype))
    pooled = pool_masks(grids, inputs["region_masks"].to(device), inputs["region_frames"].to(device))
    parts = pooled.float().cpu().split(inputs["region_lengths"].tolist())
    keys = _keys(sample)
    return {keys[place]: part.clone() for place, part in zip(places, parts, strict=True)}


def _keys(sample: dict[str, Any]) -> list[str]:
    """What tells the objects of a record from all others: their clips and masks."""
    texts = [f"{sample['visual']} {json.dumps(one, sort_keys=True)}" for one in sample["record"].annotation or []]
    return [hashlib.blake2b(text.encode(), digest_size=16).hexdigest() for text in texts]


class ClipFreeCollator:
    """Turn items of a [`VideoReferDataset`] into batches without visuals. For a `DataLoader`.

    Conversations lose their `<video>` or `<image>`; each `<region>` becomes as many positions as the object has
    tokens. What is learnt is as with [`VideoReferCollator`]. Every record is read once.

    Args:
        processor ([`VideoReferProcessor`]): for its chat template and tokenizer.
        pooled (`dict`): what [`pool_regions`] returned.
        max_tokens_per_region (`int`): unions u of the object encoder.

    Raises:
        ConfigurationError: the processor's chat template cannot be used.
    """

    def __init__(self, processor: Any, pooled: dict[str, Tensor], max_tokens_per_region: int):
        check_template("chat", processor)
        self.processor = processor
        self.pooled = pooled
        self.max_tokens_per_region = max_tokens_per_region
        self._read: dict[int, tuple[list[Tensor], Tensor, Tensor]] = {}

    def __call__(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Make a batch.

        Args:
            samples (`list[dict]`): items of the data set.

        Returns:
            `dict` with `input_ids`, `attention_mask` and `labels` of shape `(batch, length)`, `region_pooled` of shape
            `(num_masks, vision_hidden_size)`, and `region_lengths` of shape `(num_regions,)`.
        """
        for sample in samples:
            if sample["index"] not in self._read:
                self._read[sample["index"]] = self._prepare(sample)
        rows = [self._read[sample["index"]] for sample in samples]
        pooled = [one for row in rows for one in row[0]]
        pad = nn.utils.rnn.pad_sequence
        return {
            "input_ids": pad([ids for _, ids, _ in rows], True, self.processor.tokenizer.pad_token_id),
            "attention_mask": pad([torch.ones_like(ids) for _, ids, _ in rows], True),
            "labels": pad([labels for _, _, labels in rows], True, _IGNORED),
            "region_pooled": torch.cat(pooled),
            "region_lengths": torch.tensor([len(one) for one in pooled]),
        }

    def _prepare(self, sample: dict[str, Any]) -> tuple[list[Tensor], Tensor, Tensor]:
        """Objects, ids and labels of one record."""
        head = f"<{sample['kind']}>\n"
        messages = [{**one, "content": one["content"].removeprefix(head)} for one in sample["messages"]]
        prompt = make_prompt("chat", self.processor, {**sample, "messages": messages})
        pooled = [self.pooled[key] for key in _keys(sample)]
        counts = iter([min(len(one), self.max_tokens_per_region) for one in pooled])
        ids: list[int] = []
        labels: list[int] = []
        # Question and answer by turns; they meet at special tokens, so that they can be tokenised one by one.
        bounds = [0, *(place for span in prompt.learnt for place in span), len(prompt.text)]
        for number, (start, stop) in enumerate(pairwise(bounds)):
            text = prompt.text[start:stop]
            text = re.sub(re.escape(self.processor.region_token), lambda found: found.group() * next(counts), text)
            new = self.processor.tokenizer(text, add_special_tokens=False).input_ids
            ids += new
            labels += new if number % 2 else [_IGNORED] * len(new)
        learnt = torch.tensor(labels)
        learnt[learnt == self.processor.region_token_id] = _IGNORED
        return pooled, torch.tensor(ids), learnt
