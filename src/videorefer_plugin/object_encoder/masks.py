"""Masks on the feature grid and the average of the features below them (Spatial Token Extractor)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from videorefer_plugin.errors import TensorError
from videorefer_plugin.object_encoder.checks import (
    FEATURE_VALUES,
    MASK_VALUES,
    check_finite,
    check_tensors,
    not_finite,
)
from videorefer_plugin.object_encoder.grids import GridRule, check_policy, read_grid

__all__ = ["pool_masks", "resize_masks"]


def resize_masks(
    masks: Tensor,
    grid: int | tuple[int, int],
    policy: str = "keep",
    *,
    pad_to_square: bool = False,
) -> Tensor:
    """Resize binary masks to the grid of a vision tower's features.

    A cell belongs to the object where bilinear interpolation (`align_corners=False`, no antialiasing) of the mask is
    positive. That rule uses at most four pixels for each cell, so no other pixels are read. Masks that already have
    the size of the grid are used unchanged.

    Args:
        masks (`torch.Tensor` of shape `(num_masks, height, width)`):
            Boolean or numeric masks; every positive value counts.
        grid (`int` or `tuple[int, int]`):
            Height and width of the feature grid, in cells.
        policy (`str`, *optional*, defaults to `"keep"`):
            The treatment of a mask that no cell sees. With `"original"` it stays empty, as in the released VideoRefer
            code. With `"keep"` it gets the one cell that it covers most, unless it has no pixel at all.
        pad_to_square (`bool`, *optional*, defaults to `False`):
            Whether the image was centered on a square before it was resized; the masks are then read as if they had
            been padded in the same way, with the spare row or column at the bottom or right.

    Returns:
        `torch.Tensor` of shape `(num_masks, grid_height, grid_width)` and dtype `bool`.

    Raises:
        TensorError: the masks are not three-dimensional, have an empty side, or hold NaN.
        ConfigurationError: the policy or the grid is unknown.
    """
    check_policy(policy)
    read_grid(grid)
    check_tensors(masks=masks)
    if masks.ndim != 3:
        raise TensorError(f"masks must have shape (num_masks, height, width), but have shape {tuple(masks.shape)}.")
    if "NaN" in not_finite(masks)[0]:
        raise TensorError(f"masks hold NaN; {MASK_VALUES}.")
    height, width = masks.shape[-2:]
    if height < 1 or width < 1:
        raise TensorError(f"masks must have at least one row and one column, but have shape {tuple(masks.shape)}.")

    rule = GridRule((height, width), grid, policy, pad_to_square)
    index = (rule.rows[:, None] * width + rule.columns).to(masks.device)
    seen = masks.flatten(1).gather(1, index.reshape(1, -1).expand(len(masks), -1))
    resized = rule.cells(_positive(seen).view(-1, *index.shape))
    if rule.keeps and len(masks):
        for lost in (~resized.flatten(1).any(dim=1)).nonzero().squeeze(1).tolist():
            pixels, top, left = _box(_positive(masks[lost]))
            if len(pixels):
                resized[lost].view(-1)[rule.fullest(pixels, top, left)] = True
    return resized


def _box(mask: Tensor) -> tuple[Tensor, int, int]:
    """The smallest box that holds all of a mask, and its offset; it has no rows if the mask has no pixel."""
    values = mask.view(torch.uint8)  # PyTorch searches bytes thirty times faster than booleans
    rows = values.amax(dim=1).nonzero()
    if not len(rows):
        return mask[:0], 0, 0
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = values[top:bottom].amax(dim=0).nonzero()
    left, right = int(columns[0]), int(columns[-1]) + 1
    return mask[top:bottom, left:right], top, left


def _positive(values: Tensor) -> Tensor:
    return values if values.dtype == torch.bool else values > 0


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
            Whether to look for NaN and infinity, which reads every feature one more time.

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
    """Whether to read only the cells below masks, which is faster on a CPU if they are fewer than all cells.

    If a gradient flows into the features, which is rare since vision towers are frozen, all cells are read: only that
    has gradients that can be differentiated again.
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
