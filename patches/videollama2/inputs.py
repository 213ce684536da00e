"""From what `VideoReferProcessor` makes to what the original model class takes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin.errors import TensorError

__all__ = ["original_inputs"]

# Ids of the original for a whole visual.
_SENTINELS = {"image": -200, "video": -201}


def original_inputs(batch: Mapping[str, Any], processor: Any) -> dict[str, Any]:
    """Rewrite a batch of [`VideoReferProcessor`] for the original `Videollama2Qwen2ForCausalLM`.

    Our processor writes one id for each token of a visual, the original takes one for the whole visual. Visuals become
    the original's list of `(frames, "image" | "video")`, one for each sample, and padding goes to the right.

    Args:
        batch (`Mapping`): outputs of the processor, as tensors; with `labels` as well, if you like.
        processor ([`VideoReferProcessor`]): the processor that made it.

    Returns:
        `dict`: arguments of the model's `forward` and `generate`: `input_ids`, `attention_mask`, `labels` if there
        were some, `images` if there are any, and the `region_...` tensors as they are.

    Raises:
        TensorError: the batch holds no tensors, or its visuals are not those that its ids speak of.
    """
    ids = batch.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        raise TensorError(
            "The batch holds no input_ids of shape (batch, length). Call the processor with return_tensors='pt'."
        )
    mask = batch.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    labels = batch.get("labels")
    pixels, clips = batch.get("pixel_values"), batch.get("pixel_values_videos")
    visuals = {
        "image": [] if pixels is None else list(pixels.unsqueeze(1)),  # a clip of one frame each
        "video": [] if clips is None else list(clips),
    }
    tokens = {"image": processor.image_token_id, "video": processor.video_token_id}
    rows, row_labels, images = [], [], []
    for row, row_ids in enumerate(ids):
        kept = mask[row].bool()
        shown: tuple[Tensor, str] | None = None
        row_ids = row_ids.clone()
        for kind, token in tokens.items():
            at = ((row_ids == token) & kept).nonzero().flatten()
            if not len(at):
                continue
            if not visuals[kind]:
                raise TensorError(f"Sample {row} has an id of <{kind}>, but the batch has no {kind} left for it.")
            shown = visuals[kind].pop(0), kind
            row_ids[at[0]] = _SENTINELS[kind]
            kept[at[1:]] = False
        rows.append(row_ids[kept])
        images.append(shown)
        if labels is not None:
            row_labels.append(labels[row][kept])
    for kind, left in visuals.items():
        if left:
            raise TensorError(f"{len(left)} {kind}(s) are left over: no sample has ids for them.")

    pad = processor.tokenizer.pad_token_id
    result: dict[str, Any] = {
        "input_ids": _pad_right(rows, 0 if pad is None else pad),
        "attention_mask": _pad_right([torch.ones_like(row) for row in rows], 0),
        **{name: value for name, value in batch.items() if name.startswith("region_")},
    }
    if labels is not None:
        result["labels"] = _pad_right(row_labels, -100)
    example = next((shown for shown in images if shown is not None), None)
    if example is not None:
        # A sample without a visual takes one all the same, of which the original uses nothing.
        blank = torch.zeros_like(example[0][:1]), "image"
        result["images"] = [blank if shown is None else shown for shown in images]
    return result


def _pad_right(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
