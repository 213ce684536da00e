"""Regions as crops, each of which the vision tower sees separately."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.devices import device_of
from videorefer_plugin.models.gradients import no_grad_if_frozen
from videorefer_plugin.models.videorefer.crop_inputs import CropInputs, distinct_crops
from videorefer_plugin.object_encoder import ObjectEncoderOutput, object_cells

__all__ = ["CropRegions"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Host
else:
    _Host = object


class CropRegions(_Host):
    """The part of [`RegionMixin`] that shows crops to the vision tower."""

    object_encoder: Any
    region_token_id: Any
    get_vision_tower: Any

    def get_crop_features(self, pixel_values: Tensor, grids: Tensor) -> Tensor:
        """Return features of crops, each of which the tower sees separately; for object encoders that look at crops.

        Args:
            pixel_values (`torch.Tensor` of shape `(sum(rows * columns), patch_values)`): patches of all crops.
            grids (`torch.LongTensor` of shape `(num_masks, 2)`): rows and columns of each.

        Returns:
            `torch.Tensor` of shape `(sum(rows * columns), vision_hidden_size)`, in row-major order.
        """
        raise NotImplementedError

    def encode_crops(self, input_ids: Tensor, regions: CropInputs) -> ObjectEncoderOutput:
        """Run the vision tower on the crops of all masks, and the object encoder on the cells below them.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch, length)`): ids with `<region>` placeholders.
            regions ([`CropInputs`]): the regions, with a row for each sample.

        Raises:
            TensorError: the tower returned nothing but zeros for a cell, so that tokens are missing.
        """
        flat = regions.flatten()
        device = device_of(self.object_encoder)
        pixels, grids, rows = distinct_crops(flat)
        with no_grad_if_frozen(self.get_vision_tower().parameters(), flat.pixel_values):
            features = self.get_crop_features(pixels, grids).to(device)
        if rows is not None:
            features = features[rows.to(device)]
        cells, own = object_cells(features, *(each.to(device) for each in (flat.grids, flat.masks, flat.mask_grids)))
        output = self.object_encoder(cells, own, flat.lengths.to(device), regions.initial_cells, values=False)
        positions = int((input_ids == self.region_token_id).sum())
        if len(output.tokens) != positions:
            raise TensorError(
                f"The crops became {len(output.tokens)} object token(s), but there are {positions} <region> "
                "position(s): features of some cells are all zero. Look at the weights of the vision tower."
            )
        return output
