"""The object encoder that looks at crops: it turns the cells below each mask into a group of object tokens."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.object_encoder.checks import FEATURE_VALUES, MASK_VALUES, check_finite, check_tensors
from videorefer_plugin.object_encoder.clusters import cluster_cells, read_initial_cells
from videorefer_plugin.object_encoder.crop_configuration import CropEncoderConfig
from videorefer_plugin.object_encoder.module import EncoderBase, ObjectEncoderOutput

__all__ = ["CropEncoder", "object_cells"]


class CropEncoder(EncoderBase):
    """The region encoder of VideoRefer-VideoLLaMA3: the vision tower sees the crop of every mask separately.

    The cells of a crop that are the object's are reduced to at most `config.max_tokens_per_mask` by k-means, and a
    small MLP projects them to the width of the language model. k-means starts from a fixed rule, so that answers do
    not change from run to run, or from given cells.
    """

    def __init__(self, config: CropEncoderConfig):
        if not isinstance(config, CropEncoderConfig):
            raise ConfigurationError(
                f"config must be a CropEncoderConfig, but {short(config)} was given. Make one with "
                "CropEncoderConfig(vision_hidden_size, hidden_size)."
            )
        super().__init__(config)

    def forward(
        self,
        cells: Tensor,
        masks: Tensor,
        region_lengths: Tensor,
        region_initial_cells: Sequence[Sequence[int] | None] | Tensor | None = None,
        *,
        values: bool = True,
        static: bool = False,
    ) -> ObjectEncoderOutput:
        """Turn the cells of crops into object tokens.

        Args:
            cells (`torch.Tensor` of shape `(num_masks, max_cells, vision_hidden_size)`):
                Features of the crop of each mask, cell by cell in row-major order, region by region. Where crops have
                fewer cells than others, they are padded with cells under no mask. [`object_cells`] makes this layout
                from crops of any size.
            masks (`torch.Tensor` of shape `(num_masks, max_cells)`): every positive value counts.
            region_lengths (`torch.LongTensor` of shape `(num_regions,)`): number of masks of each region.
            region_initial_cells (`Sequence` or `torch.LongTensor`, *optional*):
                For each mask the cells that k-means starts from, `max_tokens_per_mask` numbers counted among the
                object's cells in row-major order, or `None`.
            values (`bool`, *optional*, defaults to `True`): whether to look for NaN and infinity.
            static (`bool`, *optional*, defaults to `False`):
                Whether shapes must not depend on values: the tokens are then padded with zeros to the largest number
                    that
                masks can have.

        Returns:
            [`ObjectEncoderOutput`] with the tokens in the dtype of the projector's weights (or of autocast). A mask
            of c cells has `min(c, max_tokens_per_mask)` of them, a mask without cells none. Cells whose features are
            all zero do not count.

        Raises:
            TensorError: shapes, widths or numbers do not fit together, or there is NaN or infinity.
        """
        self._check(cells, masks, region_lengths, values)
        most = self.config.max_tokens_per_mask
        own = (masks if masks.dtype == torch.bool else masks > 0) & (cells != 0).any(dim=-1)
        order = (~own).to(torch.uint8).argsort(dim=1, stable=True)  # the object's cells first
        counts = own.sum(dim=1)
        if not (static or torch.compiler.is_compiling()):
            order = order[:, : int(counts.max()) if len(counts) else 0]
        cells = cells.gather(1, order[:, :, None].expand(-1, -1, cells.shape[2]))
        initial = read_initial_cells(region_initial_cells, counts, most)
        vectors = cluster_cells(cells, counts, most, self.config.kmeans_rounds, initial)
        kept = counts.clamp(max=most)
        real = (torch.arange(most, device=cells.device) < kept[:, None]).flatten()
        vectors = vectors.flatten(0, 1)
        if static or torch.compiler.is_compiling():
            places = (~real).to(torch.uint8).argsort(stable=True)
            vectors = (vectors * real[:, None])[places]
        else:
            vectors = vectors[real]
        return ObjectEncoderOutput(self.projector(vectors.to(self.dtype)), _by_region(kept, region_lengths))

    def _check(self, cells: Tensor, masks: Tensor, lengths: Tensor, values: bool) -> None:
        check_tensors(cells=cells, masks=masks, region_lengths=lengths)
        width = self.config.vision_hidden_size
        if cells.ndim != 3 or cells.shape[-1] != width:
            raise TensorError(
                f"cells must have shape (num_masks, max_cells, {width}), with the width of the vision tower, but have "
                f"shape {tuple(cells.shape)}."
            )
        if masks.shape != cells.shape[:2]:
            raise TensorError(
                f"masks must have shape {tuple(cells.shape[:2])}, one value for each cell, but have shape "
                f"{tuple(masks.shape)}."
            )
        if lengths.ndim != 1 or lengths.is_floating_point() or lengths.dtype == torch.bool:
            raise TensorError(
                f"region_lengths must be integers of shape (num_regions,), but have shape {tuple(lengths.shape)} and "
                f"dtype {lengths.dtype}."
            )
        if not torch.compiler.is_compiling() and (int(lengths.sum()) != len(masks) or bool((lengths < 0).any())):
            raise TensorError(
                f"region_lengths are {lengths.tolist()}, but there are {len(masks)} masks, and no region has fewer "
                "than 0."
            )
        if values:
            check_finite("cells", cells, FEATURE_VALUES)
            check_finite("masks", masks, MASK_VALUES)


def _by_region(counts: Tensor, lengths: Tensor) -> Tensor:
    """Sums over the masks of each region."""
    ends = lengths.long().cumsum(0)
    sums = F.pad(counts.cumsum(0), (1, 0))
    return sums[ends] - sums[ends - lengths.long()]


def object_cells(features: Tensor, grids: Tensor, masks: Tensor, mask_grids: Tensor) -> tuple[Tensor, Tensor]:
    """Lay out the cells of crops of any size as a [`CropEncoder`] takes them: only those below the masks.

    Args:
        features (`torch.Tensor` of shape `(sum(rows * columns), dim)`): features of all crops, in row-major order.
        grids (`torch.LongTensor` of shape `(num_masks, 2)`): rows and columns of each crop.
        masks (`torch.Tensor` of shape `(sum(mask_rows * mask_columns),)`): masks, one after the other.
        mask_grids (`torch.LongTensor` of shape `(num_masks, 2)`):
            Rows and columns of each mask; the features of a crop with another grid are interpolated.

    Returns:
        `tuple[torch.Tensor, torch.BoolTensor]` of shapes `(num_masks, max_cells, dim)` and `(num_masks, max_cells)`.

    Raises:
        TensorError: the numbers of rows, cells and values do not fit together.
    """
    sizes, mask_sizes = grids.prod(dim=1), mask_grids.prod(dim=1)
    if int(sizes.sum()) != len(features) or int(mask_sizes.sum()) != len(masks) or len(grids) != len(mask_grids):
        raise TensorError(
            f"Grids of {len(grids)} crop(s) have {int(sizes.sum())} cells, and those of {len(mask_grids)} mask(s) "
            f"{int(mask_sizes.sum())}, but features have {len(features)} rows and masks {len(masks)} values."
        )
    if not torch.equal(grids, mask_grids):
        features = _regrid(features, grids, mask_grids)
    own = masks if masks.dtype == torch.bool else masks > 0
    mask = torch.repeat_interleave(torch.arange(len(mask_sizes), device=own.device), mask_sizes.to(own.device))[own]
    counts = torch.bincount(mask, minlength=len(mask_sizes))
    place = torch.arange(len(mask), device=mask.device) - (counts.cumsum(0) - counts)[mask]
    most = int(counts.max()) if len(counts) else 0
    real = torch.arange(most, device=counts.device) < counts[:, None]
    cells = features.new_zeros((len(counts), most, features.shape[1]))
    return cells.index_put((mask, place), features[own]), real


def _regrid(features: Tensor, grids: Tensor, mask_grids: Tensor) -> Tensor:
    """Interpolate the features of crops to the grids of their masks, where these differ."""
    parts = []
    sizes = [rows * columns for rows, columns in grids.tolist()]
    for part, have, want in zip(features.split(sizes), grids.tolist(), mask_grids.tolist(), strict=True):
        if have != want:
            picture = part.unflatten(0, have).permute(2, 0, 1)[None].float()
            picture = F.interpolate(picture, size=want, mode="bilinear", align_corners=False)
            part = picture[0].flatten(1).T.to(features.dtype)
        parts.append(part)
    return torch.cat(parts)
