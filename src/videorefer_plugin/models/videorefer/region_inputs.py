"""The regions of a batch as tensors, and their checks."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.object_encoder.checks import not_finite

__all__ = ["RegionInputs", "check_placeholders"]


class RegionInputs(NamedTuple):
    """The regions of a batch, in prompt order, as the processor makes them.

    Attributes:
        pixel_values (`torch.Tensor` of shape `(num_frames, 3, image_size, image_size)`, *optional*):
            Mask-carrying frames of the whole batch; `None` where masks lie on frames that the model sees anyway.
        masks (`torch.Tensor` of shape `(num_masks, grid_height, grid_width)`):
            Masks on the feature grid, region by region, and within a region in the order in which they are merged.
        frames (`torch.LongTensor` of shape `(num_masks,)`):
            Row of `pixel_values` of each mask; without them, row of the host's own feature grids.
        lengths (`torch.LongTensor` of shape `(num_regions,)`): number of masks of each region.
        clip_frames (`torch.LongTensor` of shape `(num_frames,)`, *optional*):
            For every mask-carrying frame, its place among the frames that the tower encodes anyway (images first,
            then the frames of the videos), or -1 if it isn't one of them.
    """

    pixel_values: Tensor | None
    masks: Tensor
    frames: Tensor
    lengths: Tensor
    clip_frames: Tensor | None = None

    @classmethod
    def collect(cls, inputs: dict[str, Any], with_pixels: bool = True) -> "RegionInputs | None":
        """Take the `region_...` tensors out of keyword arguments; `None` if there are none.

        Args:
            inputs (`dict`): keyword arguments of `forward` or `generate`.
            with_pixels (`bool`, *optional*, defaults to `True`):
                Whether mask-carrying frames come as pixels of their own, or are among those that the host sees.

        Raises:
            TensorError: some are missing, or their shapes or values do not fit.
        """
        given = {field: inputs.pop(f"region_{field}", None) for field in cls._fields}
        needed = cls._fields[:-1] if with_pixels else cls._fields[1:-1]
        missing = [f"region_{field}" for field in needed if given[field] is None]
        if not with_pixels and (given["pixel_values"] is not None or given["clip_frames"] is not None):
            raise TensorError(
                "region_pixel_values and region_clip_frames are for VideoRefer models; with an attached object "
                "encoder masks lie on the frames that the host sees. Prepare the inputs with "
                "RegionProcessor(processor, model)."
            )
        if len(missing) == len(needed):
            return None
        if missing:
            raise TensorError(
                f"Regions need {', '.join(f'region_{field}' for field in needed)} together, but "
                f"{', '.join(missing)} is missing. Pass all outputs of the processor on."
            )
        regions = cls(**given)
        for field, value in given.items():
            if value is not None and not isinstance(value, Tensor):
                raise TensorError(
                    f"region_{field} must be a tensor, but is a {type(value).__name__}. Call the processor with "
                    "return_tensors='pt'."
                )
        _check_shapes(regions)
        return regions


def _check_shapes(regions: RegionInputs) -> None:
    pixels, masks, frames, lengths, clip_frames = regions
    if pixels is not None and (pixels.ndim != 4 or not pixels.is_floating_point()):
        raise TensorError(
            "region_pixel_values must have shape (num_frames, 3, image_size, image_size) and a floating-point dtype, "
            f"but has shape {tuple(pixels.shape)} and dtype {pixels.dtype}."
        )
    if masks.ndim != 3:
        raise TensorError(
            f"region_masks must have shape (num_masks, grid_height, grid_width), but has shape {tuple(masks.shape)}."
        )
    what, bad = not_finite(masks)
    if what:
        raise TensorError(
            f"region_masks hold {what} in mask(s) {listed(bad)}; make them boolean, as the processor does."
        )
    for name, value in (
        ("region_frames", frames),
        ("region_lengths", lengths),
        ("region_clip_frames", clip_frames),
    ):
        if value is None:
            continue
        if value.ndim != 1 or value.is_floating_point() or value.dtype == torch.bool:
            raise TensorError(
                f"{name} must be one-dimensional and of an integer dtype, but has shape {tuple(value.shape)} "
                f"and dtype {value.dtype}."
            )
    if frames.shape[0] != masks.shape[0]:
        raise TensorError(f"There are {masks.shape[0]} region_masks but {frames.shape[0]} region_frames.")
    if torch.compiler.is_compiling():
        return
    if lengths.numel() and int(lengths.min()) < 1:
        raise TensorError(f"Every region needs at least one mask, but region_lengths are {lengths.tolist()}.")
    if int(lengths.sum()) != masks.shape[0]:
        raise TensorError(f"region_lengths add up to {int(lengths.sum())}, but there are {masks.shape[0]} masks.")
    if pixels is None:
        return
    if frames.numel() and not 0 <= int(frames.min()) <= int(frames.max()) < pixels.shape[0]:
        raise TensorError(
            f"region_frames name frames {int(frames.min())} to {int(frames.max())}, but region_pixel_values hold "
            f"{pixels.shape[0]} frame(s)."
        )
    unused = sorted(set(range(pixels.shape[0])) - set(frames.tolist()))
    if unused:
        raise TensorError(
            f"No mask lies on frame(s) {listed(unused)} of region_pixel_values: region_frames name "
            f"{listed(sorted(set(frames.tolist())))}. Tensors of several calls of the processor must not be "
            "concatenated, since region_frames count from the start of a batch; call the processor once with all "
            "samples."
        )
    what, bad = not_finite(pixels)
    if what:
        raise TensorError(f"region_pixel_values hold {what} in frame(s) {listed(bad)}; the processor makes none.")


def check_placeholders(positions: list[int], tokens: list[int]) -> None:
    """Compare `<region>` positions of each sample with the tokens of the regions, in order.

    Args:
        positions (`list[int]`): number of positions of each sample.
        tokens (`list[int]`): number of object tokens of each region of the batch.

    Raises:
        PromptError: they do not fit together; the first sample is named.
    """
    if sum(positions) == sum(tokens) == 0:
        return
    remaining = list(tokens)
    for sample, wanted in enumerate(positions):
        taken = 0
        while remaining and taken < wanted:
            taken += remaining.pop(0)
        if taken != wanted:
            raise PromptError(
                f"Sample {sample} of the batch has {wanted} <region> position(s) (by sample: {positions}), which the "
                f"next regions do not fill: the regions of the batch become {tokens} token(s). Every region needs as "
                "many <region> ids as it has object tokens; use the processor that belongs to this model, and pass "
                "all its outputs on."
            )
    if remaining:
        raise PromptError(
            f"{len(remaining)} region(s) are left over: the samples of the batch have {positions} <region> "
            f"position(s), and its regions become {tokens} token(s). Use the processor that belongs to this model, "
            "and pass all its outputs on."
        )
