"""Masks on the feature grid and the average of the features below them (Spatial Token Extractor)."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.object_encoder.checks import (
    FEATURE_VALUES,
    MASK_VALUES,
    check_finite,
    check_tensors,
    not_finite,
)

__all__ = ["MASK_POLICIES", "pool_masks", "resize_masks"]

MASK_POLICIES = ("keep", "original")

# Only masks that vanished are measured at full size; this many at a time, so that memory stays small.
_COVERAGE_CHUNK = 32


def resize_masks(
    masks: Tensor,
    grid: int | tuple[int, int],
    policy: str = "keep",
    *,
    pad_to_square: bool = False,
) -> Tensor:
    """Resize binary masks to the grid of a vision tower's features.

    A cell belongs to the object where bilinear interpolation (`align_corners=False`, no antialiasing) of the mask is
    positive. That rule looks at no more than four pixels a cell, so no more than those are read. Masks that already
    have the size of the grid are taken as they are.

    Args:
        masks (`torch.Tensor` of shape `(num_masks, height, width)`):
            Boolean or numeric masks; every positive value counts.
        grid (`int` or `tuple[int, int]`):
            Height and width of the feature grid, in cells.
        policy (`str`, *optional*, defaults to `"keep"`):
            What becomes of a mask that no cell sees. With `"original"` it stays empty, as in the released VideoRefer
            code. With `"keep"` it gets the one cell that it covers most, unless it has no pixel at all.
        pad_to_square (`bool`, *optional*, defaults to `False`):
            Whether the image was centred on a square before it was resized; the masks are then read as if they had
            been padded alike, the spare row or column going to the bottom or right.

    Returns:
        `torch.Tensor` of shape `(num_masks, grid_height, grid_width)` and dtype `bool`.

    Raises:
        TensorError: the masks are not three-dimensional, have an empty side, or hold NaN.
        ConfigurationError: the policy or the grid is unknown.
    """
    if policy not in MASK_POLICIES:
        raise ConfigurationError(f"Unknown mask policy {policy!r}; known are {', '.join(map(repr, MASK_POLICIES))}.")
    rows, columns = _grid_size(grid)
    check_tensors(masks=masks)
    if masks.ndim != 3:
        raise TensorError(f"masks must have shape (num_masks, height, width), but have shape {tuple(masks.shape)}.")
    if "NaN" in not_finite(masks)[0]:
        raise TensorError(f"masks hold NaN; {MASK_VALUES}.")
    height, width = masks.shape[-2:]
    if height < 1 or width < 1:
        raise TensorError(f"masks must have at least one row and one column, but have shape {tuple(masks.shape)}.")

    side = max(height, width)
    full_height, full_width = (side, side) if pad_to_square else (height, width)
    top, left = (full_height - height) // 2, (full_width - width) // 2
    row_index, row_used = (axis.to(masks.device) for axis in _taps(full_height, rows, top, height))
    column_index, column_used = (axis.to(masks.device) for axis in _taps(full_width, columns, left, width))

    # (2 * rows, 2 * columns) pixels a mask: above and below, left and right of every cell centre.
    index = (row_index[:, None] * width + column_index).reshape(1, -1).expand(len(masks), -1)
    used = (row_used[:, None] & column_used).reshape(-1)
    seen = (_positive(masks.flatten(1).gather(1, index)) & used).view(-1, 2, rows, 2, columns)
    seen = seen[:, 0] | seen[:, 1]
    resized = seen[:, :, 0] | seen[:, :, 1]
    if policy == "original" or masks.shape[0] == 0:
        return resized

    lost = (~resized.flatten(1).any(dim=1)).nonzero().squeeze(1)
    row_share = _overlap(full_height, rows, top, height).to(masks.device)
    column_share = _overlap(full_width, columns, left, width).to(masks.device)
    for some in lost.split(_COVERAGE_CHUNK):
        covered = row_share @ _positive(masks[some]).to(row_share.dtype) @ column_share.T
        largest, cell = covered.flatten(1).max(dim=1)
        resized.view(len(masks), -1)[some, cell] = largest > 0
    return resized


def _grid_size(grid: int | tuple[int, int]) -> tuple[int, int]:
    size = (grid, grid) if isinstance(grid, int) else tuple(grid) if isinstance(grid, Sequence) else ()
    if len(size) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in size):
        raise ConfigurationError(
            f"A feature grid is one whole number of cells, or a row and a column count, but {grid!r} was given."
        )
    return size


def _positive(values: Tensor) -> Tensor:
    return values if values.dtype == torch.bool else values > 0


@lru_cache(maxsize=64)
def _taps(size: int, cells: int, offset: int, length: int) -> tuple[Tensor, Tensor]:
    """Pixels that bilinear interpolation weighs along one axis, `(2 * cells,)` each: their index, and if they count.

    `size` is the padded length, of which `length` pixels from `offset` on exist; the others are zero.
    Computed on the CPU, in double precision where it matters, which not every accelerator has.
    """
    cell = torch.arange(cells, dtype=torch.float32)
    if size == cells:
        first, fraction = cell.long(), torch.zeros_like(cell)
    else:
        # The interpolation's own arithmetic, a float32 scale and a fused multiply-add (exact in float64, rounded
        # once): whether a weight is exactly zero decides a cell.
        scale = torch.tensor(size, dtype=torch.float32) / cells
        position = (scale.double() * (cell.double() + 0.5) - 0.5).float().clamp(min=0)
        first = position.long().clamp(max=size - 1)
        fraction = position - first
    pixel = torch.cat([first, (first + 1).clamp(max=size - 1)]) - offset
    used = torch.cat([fraction < 1, fraction > 0]) & (pixel >= 0) & (pixel < length)
    return pixel.clamp(0, length - 1), used


def _overlap(size: int, cells: int, offset: int, length: int) -> Tensor:
    """Share of every pixel that lies in every cell along one axis, `(cells, length)`."""
    edge = torch.arange(length, dtype=torch.float64) + offset
    low = torch.arange(cells, dtype=torch.float64)[:, None] * size / cells
    high = low + size / cells
    return (torch.minimum(high, edge + 1) - torch.maximum(low, edge)).clamp(min=0).float()


def pool_masks(features: Tensor, masks: Tensor, mask_frames: Tensor, *, values: bool = True) -> Tensor:
    """Average the features below each mask: one vector for each object and frame (paper, section 3.2.2).

    Args:
        features (`torch.Tensor` of shape `(num_frames, grid_height, grid_width, vision_hidden_size)`):
            Features of the frames that carry masks.
        masks (`torch.Tensor` of shape `(num_masks, grid_height, grid_width)`):
            Masks on the feature grid; every positive value counts.
        mask_frames (`torch.LongTensor` of shape `(num_masks,)`):
            Row of `features` that each mask lies on. Several masks may share a frame.
        values (`bool`, *optional*, defaults to `True`):
            Whether to look for NaN and infinity, which reads every feature once more.

    Returns:
        `torch.Tensor` of shape `(num_masks, vision_hidden_size)`, in float32 (float64 for float64 features), because
        averages over hundreds of cells lose too much in half precision. The average of an empty mask is zero.

    Raises:
        TensorError: shapes do not fit, `mask_frames` points outside `features`, or there is NaN or infinity.
    """
    _check_pooling(features, masks, mask_frames)
    if values:
        check_finite("features", features, FEATURE_VALUES)
        check_finite("masks", masks, MASK_VALUES)
    mask_frames = mask_frames.long()
    dtype = torch.promote_types(features.dtype, torch.float32)
    num_frames, cells = features.shape[0], features.shape[1] * features.shape[2]
    num_masks = masks.shape[0]
    if num_masks == 0:
        return features.new_zeros((0, features.shape[-1]), dtype=dtype)

    flat = _positive(masks).flatten(1)
    sizes = flat.sum(dim=1, keepdim=True).clamp(min=1)
    if torch.compiler.is_compiling():  # no shape may depend on how many masks share a frame
        with torch.autocast(features.device.type, enabled=False):
            wide = features.reshape(num_frames, cells, -1).to(dtype)
            return torch.bmm(flat.to(dtype).unsqueeze(1), wide[mask_frames]).squeeze(1) / sizes

    if _few_cells(features, sizes):
        return _sum_cells(features, flat, mask_frames, dtype) / sizes

    # Masks are laid out frame by frame, as many slots as the busiest frame needs, so that all of them are pooled by
    # one batched matrix product that reads every feature once.
    per_frame = torch.bincount(mask_frames, minlength=num_frames)
    order = mask_frames.argsort(stable=True)
    first = per_frame.cumsum(0) - per_frame
    slot = torch.empty_like(mask_frames)
    slot[order] = torch.arange(num_masks, device=masks.device) - first[mask_frames[order]]
    weights = torch.zeros((num_frames, int(per_frame.max()), cells), dtype=dtype, device=features.device)
    weights[mask_frames, slot] = flat.to(dtype)
    with torch.autocast(features.device.type, enabled=False):
        sums = torch.bmm(weights, features.reshape(num_frames, cells, -1).to(dtype))
    return sums[mask_frames, slot] / sizes


def _few_cells(features: Tensor, sizes: Tensor) -> bool:
    """Whether to read only the cells below masks, which is quicker on a CPU if they are fewer than all cells.

    Where a gradient flows into the features, which is rare since vision towers are frozen, all are read: the gradients
    of that can be differentiated again.
    """
    if features.device.type != "cpu" or features.requires_grad:
        return False
    return int(sizes.sum()) < features.shape[:3].numel()


def _sum_cells(features: Tensor, flat: Tensor, mask_frames: Tensor, dtype: torch.dtype) -> Tensor:
    """Sum of the features below each mask, reading no other features."""
    mask, cell = flat.nonzero(as_tuple=True)
    sizes = flat.sum(dim=1)
    table = features.flatten(0, 2)
    row = mask_frames[mask] * flat.shape[1] + cell
    if table.dtype != dtype:
        table, row = table[row].to(dtype), torch.arange(len(row))
    return F.embedding_bag(row, table, sizes.cumsum(0) - sizes, mode="sum")


def _check_pooling(features: Tensor, masks: Tensor, mask_frames: Tensor) -> None:
    check_tensors(features=features, masks=masks, mask_frames=mask_frames)
    if features.ndim != 4:
        raise TensorError(
            "features must have shape (num_frames, grid_height, grid_width, vision_hidden_size), "
            f"but have shape {tuple(features.shape)}."
        )
    if masks.ndim != 3 or masks.shape[1:] != features.shape[1:3]:
        raise TensorError(
            f"masks must have shape (num_masks, {features.shape[1]}, {features.shape[2]}) like the grid of the "
            f"features, but have shape {tuple(masks.shape)}; resize_masks brings masks to a grid."
        )
    if mask_frames.shape != masks.shape[:1] or mask_frames.is_floating_point() or mask_frames.dtype == torch.bool:
        raise TensorError(
            f"mask_frames must hold one integer for each of the {masks.shape[0]} masks, "
            f"but has shape {tuple(mask_frames.shape)} and dtype {mask_frames.dtype}."
        )
    if torch.compiler.is_compiling() or mask_frames.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(mask_frames))
    if low < 0 or high >= features.shape[0]:
        raise TensorError(
            f"mask_frames names frames {low} to {high}, but features hold {features.shape[0]} frame(s), "
            f"numbered from 0."
        )
