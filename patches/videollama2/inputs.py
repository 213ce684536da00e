"""Converting the outputs of `VideoReferProcessor` to the inputs of the original model class."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.videollama2.checks import clip_lengths
from videorefer_plugin.models.videollama2.configuration import count_visual_tokens

__all__ = ["original_inputs"]

# Ids of the original for a whole visual.
_SENTINELS = {"image": -200, "video": -201}


def original_inputs(batch: Mapping[str, Any], processor: Any) -> dict[str, Any]:
    """Rewrite a batch of [`VideoReferProcessor`] for the original `Videollama2Qwen2ForCausalLM`.

    Our processor writes one id for each token of a visual, the original expects one for the whole visual. Visuals
    become the original's list of `(frames, "image" | "video")`, in prompt order, and padding is moved to the right.

    Args:
        batch (`Mapping`): outputs of the processor, as tensors; optionally with `labels`.
        processor ([`VideoReferProcessor`]): the processor that made it.

    Returns:
        `dict`: arguments of the model's `forward` and `generate`: `input_ids`, `attention_mask`, `labels` if
            given, `images` if there are any, and the unchanged `region_...` tensors.

    Raises:
        TensorError: the batch does not hold tensors, its visuals are not those of its ids, or its clips have
            different lengths, which the original does not support.
    """
    ids = batch.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2:
        raise TensorError(
            "The batch holds no input_ids of shape (batch, length). Call the processor with return_tensors='pt'."
        )
    mask = batch.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    labels = batch.get("labels")
    visuals = _visuals(batch)
    rows, row_labels = [], []
    images: list[tuple[Tensor, str] | None] = []
    for row, row_ids in enumerate(ids):
        row_ids, kept = row_ids.clone(), mask[row] != 0
        # A sample without a visual consumes one all the same, of which the original uses nothing.
        images += _take_visuals(row, row_ids, kept, visuals, processor) or [None]
        rows.append(row_ids[kept])
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
    example = next((visual for visual in images if visual is not None), None)
    if example is not None:
        blank = torch.zeros_like(example[0]), example[1]
        result["images"] = [blank if visual is None else visual for visual in images]
    return result


def _visuals(batch: Mapping[str, Any]) -> dict[str, list[Tensor]]:
    """Images, as clips of one frame each, and clips of a batch, both in prompt order."""
    pixels, clips = batch.get("pixel_values"), batch.get("pixel_values_videos")
    lengths = [] if clips is None else clip_lengths(clips, batch.get("video_lengths"))
    if len(set(lengths)) > 1:
        raise TensorError(
            f"The clips of the batch have {listed(lengths)} frames, but the original takes clips of one length only. "
            "Sample as many frames from each, with num_frames= and without fps=, or use "
            "VideoReferForConditionalGeneration, which takes any lengths."
        )
    return {
        "image": [] if pixels is None else list(pixels.unsqueeze(1)),
        "video": [] if clips is None else [clip[:length] for clip, length in zip(clips, lengths, strict=True)],
    }


def _take_visuals(
    row: int, ids: Tensor, kept: Tensor, visuals: dict[str, list[Tensor]], processor: Any
) -> list[tuple[Tensor, str]]:
    """Take the visuals of one sample, in prompt order, and leave one id of each in `ids`, where `kept` is true."""
    tokens = {"image": processor.image_token_id, "video": processor.video_token_id}
    shown: dict[int, tuple[Tensor, str]] = {}  # position -> visual
    for kind, token in tokens.items():
        left = ((ids == token) & kept).nonzero().flatten().tolist()
        while left:
            if not visuals[kind]:
                raise TensorError(f"Sample {row} has an id of <{kind}>, but the batch has no {kind} left for it.")
            visual = visuals[kind].pop(0)
            frames = processor.num_frames if kind == "image" else len(visual)
            count = count_visual_tokens(frames, processor.grid_size, processor.projector_type)
            if len(left) < count:
                raise TensorError(
                    f"Sample {row} has {len(left)} id(s) of <{kind}> left for a {kind} that takes {count}. Pass the "
                    "batch as the processor made it, and that processor."
                )
            shown[left[0]] = visual, kind
            ids[left[0]] = _SENTINELS[kind]
            kept[left[1:count]] = False
            left = left[count:]
    return [shown[position] for position in sorted(shown)]


def _pad_right(rows: list[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=value)
