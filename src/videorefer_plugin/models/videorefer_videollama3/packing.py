"""Training batches without padding: samples end to end in one row, with positions that begin again in each."""

from typing import Any

from torch import Tensor

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs

__all__ = ["pack_batch"]

_IGNORED = -100
_BY_POSITION = ("input_ids", "labels", "mm_token_type_ids", "token_type_ids")


def pack_batch(batch: dict[str, Any]) -> dict[str, Any]:
    """Concatenate the samples of a batch, so that nothing is computed for padding.

    Positions begin at 0 again in every sample, and there is no attention mask: this is how attention of transformers
    separates samples. The first label of each sample is not learned, since the token before it is of another sample.

    Args:
        batch (`dict`):
            What the collator makes of samples for a model with an object encoder that looks at crops, with
            `attention_mask`, padded on either side.

    Returns:
        `dict`: the same with `input_ids` and `labels` of shape `(1, sum of lengths)`, `position_ids`, and a single row
        in the tensors of regions.

    Raises:
        TensorError: there is no attention mask, or regions are in another form.
    """
    mask = batch.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        raise TensorError("A batch needs its attention_mask of shape (batch, length), to leave padding out.")
    if "region_frames" in batch:
        raise TensorError(
            "Samples can be packed for object encoders that look at crops; regions that are pooled from the frames of "
            "their sample cannot. Train without packing."
        )
    real = mask.bool()
    positions = real.long().cumsum(dim=1) - 1
    packed = {name: value for name, value in batch.items() if name != "attention_mask"}
    for name in _BY_POSITION:
        if name in packed:
            value = packed[name]
            if name == "labels":
                value = value.masked_fill(positions == 0, _IGNORED)
            packed[name] = value[real][None]
    packed["position_ids"] = positions[real][None]
    given = {name: packed[name] for name in packed if name.startswith("region_")}
    regions = CropInputs.collect(dict(given))
    if regions is not None:
        flat = regions.flatten()
        packed |= {f"region_{name}": value[None] for name, value in flat._asdict().items()}
        packed["region_lengths"] = flat.lengths[flat.lengths > 0][None]
    return packed
