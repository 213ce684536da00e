"""The rows of a sample's visuals among the features of the whole batch."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from videorefer_plugin.models.videorefer.region_inputs import FlatRegions, check_shown

__all__ = ["FeatureRows", "rows_by_sample", "token_counts"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Host
else:
    _Host = object


class FeatureRows(_Host):
    """The part of [`RegionMixin`] that finds the features below masks."""

    def visual_rows(
        self, kind: str, output: BaseModelOutputWithPooling, inputs: dict[str, Any]
    ) -> tuple[Tensor, Tensor]:
        """Return how many rows of features each visual has, and how many positions of the prompt it fills.

        By default every visual has equally many rows.

        Args:
            kind (`str`): `"video"` or `"image"`.
            output (`BaseModelOutputWithPooling`): what `encode_visuals` returned for that kind.
            inputs (`dict`): the other keyword arguments of `forward`.

        Returns:
            `tuple[torch.LongTensor, torch.LongTensor]`: both of shape `(num_visuals,)`, in prompt order.
        """
        tokens = token_counts(output.pooler_output)
        rows = torch.full_like(tokens, len(output.last_hidden_state) // max(len(tokens), 1))
        return rows, tokens

    def place_rows(
        self,
        input_ids: Tensor,
        flat: FlatRegions,
        encoded: dict[str, BaseModelOutputWithPooling],
        inputs: dict[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """Find the rows that masks lie on among the features of the whole batch: all videos', then all images'.

        Returns:
            `tuple[torch.LongTensor, torch.LongTensor]`: for each mask its row, which means nothing where it lies on a
            frame of `region_pixel_values`; and how many rows there are.

        Raises:
            TensorError: a mask lies beyond the frames of its sample.
        """
        place = flat.frames - 1
        row, known, shown = torch.zeros_like(place), place.new_zeros(()), torch.zeros_like(place)
        for kind in ("video", "image"):
            output = encoded.get(kind)
            if output is None or output.last_hidden_state is None:
                continue
            rows, tokens = self.visual_rows(kind, output, inputs)
            positions = (input_ids == self.placeholder_id(kind)).sum(dim=1)
            first, count = (each.to(place.device)[flat.samples] for each in rows_by_sample(positions, tokens, rows))
            inside = (place >= shown) & (place < shown + count)
            row = torch.where(inside, known + first + place - shown, row)
            shown = shown + count
            known = known + rows.sum().to(known.device)
        check_shown(flat, shown)
        return row, known

    def placeholder_id(self, kind: str) -> int:
        """Id that stands for the tokens of a video or image."""
        return getattr(self.config, f"{kind}_token_id")


def rows_by_sample(positions: Tensor, tokens: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Find the rows of features that belong to each sample, from the placeholders that its visuals fill.

    Args:
        positions (`torch.LongTensor` of shape `(batch,)`): number of placeholder positions of each sample.
        tokens (`torch.LongTensor` of shape `(num_visuals,)`):
            Number of positions that each visual fills, in prompt order over the batch.
        rows (`torch.LongTensor` of shape `(num_visuals,)`): number of rows of features of each visual.

    Returns:
        `tuple[torch.LongTensor, torch.LongTensor]`: first row and number of rows of each sample, `(batch,)` each.
    """
    device = positions.device
    ends = torch.searchsorted(tokens.to(device).cumsum(0), positions.cumsum(0), right=True)
    before = torch.nn.functional.pad(rows.to(device).cumsum(0), (1, 0))[ends]
    first = torch.nn.functional.pad(before[:-1], (1, 0))
    return first, before - first


def token_counts(tokens: Any) -> Tensor:
    """Number of tokens of each visual, from what a host calls `pooler_output`: a tensor, or one for each visual."""
    if isinstance(tokens, Tensor):
        return torch.full((len(tokens),), tokens.shape[1], dtype=torch.long, device=tokens.device)
    return torch.tensor([len(each) for each in tokens], dtype=torch.long)
