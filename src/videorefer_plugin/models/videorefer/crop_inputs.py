"""The regions of a batch as tensors, for an object encoder that looks at the crop of every mask."""

from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from videorefer_plugin.errors import TensorError
from videorefer_plugin.models.distinct import distinct_frames
from videorefer_plugin.models.videorefer.region_inputs import samples_of_rows
from videorefer_plugin.object_encoder.checks import check_finite, whole_numbers

__all__ = ["CropInputs", "FlatCrops", "distinct_crops", "pack_crops"]

_TENSORS = ("pixel_values", "masks", "grids", "mask_grids", "lengths")
_TOGETHER = "Pass all outputs of one call of the processor on"


class FlatCrops(NamedTuple):
    """The crops of a batch one after the other, without padding, in prompt order.

    Attributes:
        pixel_values (`torch.Tensor` of shape `(num_patches, patch_values)`): patches of all crops.
        masks (`torch.Tensor` of shape `(num_cells,)`): masks on their grids, row by row.
        grids, mask_grids (`torch.LongTensor` of shape `(num_masks, 2)`): rows and columns of each.
        lengths (`torch.LongTensor` of shape `(num_regions,)`): number of masks of each region; padding has none.
    """

    pixel_values: Tensor
    masks: Tensor
    grids: Tensor
    mask_grids: Tensor
    lengths: Tensor


class CropInputs(NamedTuple):
    """The regions of a batch for an object encoder that looks at crops, one row for each sample.

    Rows of several calls can be stacked, or concatenated after they are padded with zeros to the same shape.

    Attributes:
        pixel_values (`torch.Tensor` of shape `(batch, max_patches, patch_values)`):
            Patches of the sample's crops, one crop after the other, region by region.
        masks (`torch.Tensor` of shape `(batch, max_cells)`): the masks on their grids, one after the other.
        grids (`torch.LongTensor` of shape `(batch, max_masks, 2)`): rows and columns of each crop, in patches.
        mask_grids (`torch.LongTensor` of shape `(batch, max_masks, 2)`): those of each mask.
        lengths (`torch.LongTensor` of shape `(batch, max_regions)`): number of masks of each region.
        initial_cells (`list` or `torch.LongTensor`, *optional*):
            For each mask of the batch, in order, the cells that k-means starts from; see [`CropEncoder`].
    """

    pixel_values: Tensor
    masks: Tensor
    grids: Tensor
    mask_grids: Tensor
    lengths: Tensor
    initial_cells: Any = None

    @classmethod
    def collect(cls, inputs: dict[str, Any]) -> "CropInputs | None":
        """Take the `region_...` tensors out of keyword arguments; `None` if there are none.

        Raises:
            TensorError: some are missing, or their shapes or values do not fit.
        """
        given = {field: inputs.pop(f"region_{field}", None) for field in cls._fields}
        frames = inputs.pop("region_frames", None)
        missing = [f"region_{field}" for field in _TENSORS if given[field] is None]
        if frames is not None:
            raise TensorError(
                "region_frames belong to an object encoder that pools features; this one looks at crops. Prepare the "
                "inputs with the processor of this model."
            )
        if len(missing) == len(_TENSORS):
            if given["initial_cells"] is not None:
                raise TensorError("region_initial_cells were given, but there are no regions. Leave them out.")
            return None
        if missing:
            raise TensorError(
                f"Regions need {', '.join(f'region_{field}' for field in _TENSORS)} together, but "
                f"{', '.join(missing)} is missing. {_TOGETHER}."
            )
        for field in _TENSORS:
            if not isinstance(given[field], Tensor):
                raise TensorError(
                    f"region_{field} must be a tensor, but is a {type(given[field]).__name__}. Call the processor "
                    "with return_tensors='pt'."
                )
        regions = cls(**given)
        regions._check()
        return regions

    def _check(self) -> None:
        ranks = {"pixel_values": 3, "masks": 2, "grids": 3, "mask_grids": 3, "lengths": 2}
        for field, rank in ranks.items():
            value = getattr(self, field)
            if value.ndim != rank or (rank == 3 and field != "pixel_values" and value.shape[2] != 2):
                raise TensorError(
                    f"region_{field} has shape {tuple(value.shape)}, which is not that of a batch of crops; see "
                    f"CropInputs. {_TOGETHER}."
                )
            if field in ("grids", "mask_grids", "lengths") and not whole_numbers(value):
                raise TensorError(f"region_{field} must be whole numbers, but are of dtype {value.dtype}.")
        if len({len(getattr(self, field)) for field in ranks}) > 1:
            rows = ", ".join(f"region_{field} has {len(getattr(self, field))}" for field in ranks)
            raise TensorError(f"Tensors of regions have one row for each sample, but {rows}.")
        if self.grids.shape != self.mask_grids.shape or not self.pixel_values.is_floating_point():
            raise TensorError(
                f"region_grids and region_mask_grids must be alike and region_pixel_values floating-point, but have "
                f"shapes {tuple(self.grids.shape)} and {tuple(self.mask_grids.shape)} and dtype "
                f"{self.pixel_values.dtype}. {_TOGETHER}."
            )
        if torch.compiler.is_compiling():
            return
        patches, cells = self.grids.prod(dim=2), self.mask_grids.prod(dim=2)
        if bool(((patches > 0) != (cells > 0)).any() | (self.grids < 0).any() | (self.lengths < 0).any()):
            raise TensorError(f"Every crop has a grid of patches and one of its mask. {_TOGETHER}.")
        for name, held, wanted in (
            ("region_pixel_values", self.pixel_values.shape[1], patches.sum(dim=1)),
            ("region_masks", self.masks.shape[1], cells.sum(dim=1)),
            ("region_grids", self.grids.shape[1], self.lengths.sum(dim=1)),
        ):
            if len(wanted) and int(wanted.max()) > held:
                row = int(wanted.argmax())
                raise TensorError(f"Row {row}: {name} hold {held}, but {int(wanted[row])} are needed. {_TOGETHER}.")
        if not torch.equal((patches > 0).sum(dim=1), self.lengths.sum(dim=1).to(patches.device)):
            raise TensorError(
                f"region_lengths add up to {self.lengths.sum(dim=1).tolist()} mask(s), but region_grids have "
                f"{(patches > 0).sum(dim=1).tolist()}. {_TOGETHER}."
            )
        check_finite("region_pixel_values", self.pixel_values, "the processor makes none")

    def flatten(self) -> FlatCrops:
        """Remove the padding."""
        real = self.grids.prod(dim=2) > 0
        patches, cells = self.grids.prod(dim=2).sum(dim=1), self.mask_grids.prod(dim=2).sum(dim=1)

        def packed(values: Tensor, counts: Tensor) -> Tensor:
            return values[torch.arange(values.shape[1], device=values.device) < counts[:, None].to(values.device)]

        return FlatCrops(
            packed(self.pixel_values, patches),
            packed(self.masks, cells),
            self.grids[real],
            self.mask_grids[real.to(self.mask_grids.device)],
            self.lengths.flatten(),
        )

    def count_tokens(self, config: Any) -> list[list[int]]:
        """Return the number of object tokens of each region of each row; 0 if there is no region."""
        flat = self.flatten()
        own = flat.masks if flat.masks.dtype == torch.bool else flat.masks > 0
        parts = own.split(flat.mask_grids.prod(dim=1).tolist())
        counts = iter([config.tokens_of(int(part.sum())) for part in parts])
        return [[sum(next(counts) for _ in range(length)) for length in row] for row in self.lengths.tolist()]

    def select(self, keep: Tensor) -> dict[str, Tensor]:
        """The tensors of some of the regions only, by name; `keep` is bool `(num_regions,)`, without padding."""
        flat = self.flatten()
        lengths = self.lengths[self.lengths > 0].tolist()
        crops = iter(
            zip(
                flat.pixel_values.split(flat.grids.prod(dim=1).tolist()),
                flat.masks.split(flat.mask_grids.prod(dim=1).tolist()),
                flat.grids.tolist(),
                flat.mask_grids.tolist(),
                strict=True,
            )
        )
        regions = iter(
            [
                [(patches, mask.view(size), tuple(grid)) for patches, mask, grid, size in islice(crops, count)]
                for count in lengths
            ]
        )
        kept = iter(keep.tolist())
        rows = []
        for row in self.lengths:
            own = [next(regions) for _ in range(int((row > 0).sum()))]
            rows.append([region for region in own if next(kept)])
        return pack_crops(rows, self.pixel_values.shape[2])

    def for_samples(self, positions: Tensor) -> "CropInputs":
        """Return the same with a row for every sample, also if samples without regions were left out.

        Raises:
            PromptError: the numbers of rows and samples do not fit.
        """
        if len(self.lengths) == len(positions):
            return self
        samples = samples_of_rows(positions.tolist(), len(self.lengths))
        spread = {
            field: (value := getattr(self, field))
            .new_zeros((len(positions), *value.shape[1:]))
            .index_copy(0, torch.tensor(samples, device=value.device), value)
            for field in _TENSORS
        }
        return self._replace(**spread)


def distinct_crops(flat: FlatCrops) -> tuple[Tensor, Tensor, Tensor | None]:
    """Remove crops that are equal to an earlier one, which the vision tower need not see again.

    Returns:
        `tuple`: patches and grids of the others; and for each patch of all crops its row among those, or `None` if
            all crops differ.
    """
    sizes = flat.grids.prod(dim=1).tolist()
    parts, grids = flat.pixel_values.split(sizes), [tuple(grid) for grid in flat.grids.tolist()]
    same = list(range(len(parts)))  # for each crop the first one that is equal
    for grid in set(grids):
        alike = [number for number, own in enumerate(grids) if own == grid]
        first, place = distinct_frames(torch.stack([parts[number] for number in alike]))
        for number, one in zip(alike, place, strict=True):
            same[number] = alike[first[one]]
    kept = sorted(set(same))
    if len(kept) == len(parts):
        return flat.pixel_values, flat.grids, None
    starts, start = {}, 0
    for number in kept:
        starts[number], start = start, start + sizes[number]
    rows = [torch.arange(sizes[number]) + starts[same[number]] for number in range(len(parts))]
    return torch.cat([parts[number] for number in kept]), flat.grids[kept], torch.cat(rows)


def pack_crops(samples: list[list[list[tuple[Tensor, Tensor, tuple[int, int]]]]], patch_values: int) -> dict[str, Any]:
    """Arrange crops as [`CropInputs`] holds them.

    Args:
        samples (`list`):
            For each sample, for each region, for each mask: patches of its crop of shape `(num_patches,
            patch_values)`, its mask of shape `(rows, columns)`, and rows and columns of the crop.
        patch_values (`int`): number of values of a patch.

    Returns:
        `dict[str, torch.Tensor]`: the tensors by name, with `region_` in front.
    """
    rows = []
    for regions in samples:
        crops = [crop for region in regions for crop in region]
        rows.append(
            {
                "pixel_values": torch.cat([torch.zeros(0, patch_values), *(patches for patches, _, _ in crops)]),
                "masks": torch.cat([torch.zeros(0, dtype=torch.bool), *(mask.flatten() for _, mask, _ in crops)]),
                "grids": torch.tensor([grid for _, _, grid in crops], dtype=torch.long).view(-1, 2),
                "mask_grids": torch.tensor([mask.shape for _, mask, _ in crops], dtype=torch.long).view(-1, 2),
                "lengths": torch.tensor([len(region) for region in regions], dtype=torch.long),
            }
        )
    return {f"region_{name}": pad_sequence([row[name] for row in rows], True) for name in rows[0]}
