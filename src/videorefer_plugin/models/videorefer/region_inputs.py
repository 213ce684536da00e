"""The regions of a batch as tensors, and their checks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import PromptError, TensorError
from videorefer_plugin.object_encoder.checks import not_finite, whole_numbers

__all__ = [
    "FlatRegions",
    "RegionInputs",
    "check_placeholders",
    "check_shown",
    "frames_with_masks",
    "samples_of_rows",
]

_OLD_LAYOUT = (
    "They were prepared by an earlier version of this library, whose region_frames counted over the whole batch. "
    "Prepare them again with the processor"
)


class FlatRegions(NamedTuple):
    """The regions of a batch one after the other, without padding, in prompt order.

    Attributes:
        masks (`torch.Tensor` of shape `(num_masks, grid_height, grid_width)`): masks, region by region.
        samples (`torch.LongTensor` of shape `(num_masks,)`): row of [`RegionInputs`] that each mask comes from.
        frames (`torch.LongTensor` of shape `(num_masks,)`): as in [`RegionInputs`], without zeros.
        lengths (`torch.LongTensor` of shape `(num_regions,)`): number of masks of each region; padding has none.
    """

    masks: Tensor
    samples: Tensor
    frames: Tensor
    lengths: Tensor


class RegionInputs(NamedTuple):
    """The regions of a batch, one row for each sample, as the processor makes them.

    Rows of several calls can be stacked, or concatenated after they are padded with zeros to the same shape: all
        indices
    are relative to the sample.

    Attributes:
        masks (`torch.Tensor` of shape `(batch, max_masks, grid_height, grid_width)`):
            Masks on the feature grid, region by region, and within a region in the order in which they are merged.
        frames (`torch.LongTensor` of shape `(batch, max_masks)`):
            The frame of each mask, counted from 1: `k` is the k-th frame that the sample's own visuals show (those of
            its videos in prompt order, then its images), or the k-th row of features if a host fuses frames; `-k`
            is the k-th frame of the sample's `pixel_values`; 0 means that there is no mask.
        lengths (`torch.LongTensor` of shape `(batch, max_regions)`):
            Number of masks of each region; 0 if there is no region.
        pixel_values (`torch.Tensor` of shape `(batch, max_frames, 3, image_size, image_size)`, *optional*):
            Frames with masks that no visual of the sample shows, padded with zeros; `None` for a host, which sees all
            of them. The processor's `max_frames_per_region` keeps it small.
    """

    masks: Tensor
    frames: Tensor
    lengths: Tensor
    pixel_values: Tensor | None = None

    @classmethod
    def collect(cls, inputs: dict[str, Any], with_pixels: bool = True) -> "RegionInputs | None":
        """Take the `region_...` tensors out of keyword arguments; `None` if there are none.

        Args:
            inputs (`dict`): keyword arguments of `forward` or `generate`.
            with_pixels (`bool`, *optional*, defaults to `True`):
                Whether mask-carrying frames are passed as separate pixels, or are among those that the host sees.

        Raises:
            TensorError: some are missing, their shapes or values do not fit, or they have an old layout.
        """
        given = {field: inputs.pop(f"region_{field}", None) for field in cls._fields}
        if inputs.pop("region_clip_frames", None) is not None:
            raise TensorError(f"region_clip_frames are not an input any more. {_OLD_LAYOUT}.")
        needed = [field for field in cls._fields if with_pixels or field != "pixel_values"]
        missing = [f"region_{field}" for field in needed if given[field] is None]
        if not with_pixels and given["pixel_values"] is not None:
            raise TensorError(
                "region_pixel_values are for VideoRefer models; with an attached object encoder masks lie on the "
                "frames that the host sees. Prepare the inputs with RegionProcessor(processor, model)."
            )
        if len(missing) == len(needed):
            return None
        if missing:
            raise TensorError(
                f"Regions need {', '.join(f'region_{field}' for field in needed)} together, but "
                f"{', '.join(missing)} is missing. Pass all outputs of the processor on."
            )
        for field, value in given.items():
            if value is not None and not isinstance(value, Tensor):
                raise TensorError(
                    f"region_{field} must be a tensor, but is a {type(value).__name__}. Call the processor with "
                    "return_tensors='pt'."
                )
        regions = cls(**given)
        _check_shapes(regions)
        if not torch.compiler.is_compiling():
            _check_counts(regions)
        _check_values(regions)
        return regions

    def count_tokens(self, config: Any) -> list[list[int]]:
        """Return the number of object tokens of each region of each row; 0 if there is no region."""
        return [[config.num_tokens(length) for length in own] for own in self.lengths.tolist()]

    def flatten(self) -> FlatRegions:
        """Remove the padding; while compiling, when shapes must not depend on values, it becomes a last region."""
        frames = self.frames.flatten()
        lengths = self.lengths.to(frames.device)
        if torch.compiler.is_compiling():
            lengths = torch.cat([lengths, self.frames.shape[1] - lengths.sum(dim=1, keepdim=True)], dim=1)
        lengths = lengths.flatten()
        samples = torch.arange(len(self.frames), device=frames.device).repeat_interleave(self.frames.shape[1])
        masks = self.masks.flatten(0, 1)
        if torch.compiler.is_compiling():
            return FlatRegions(masks, samples, frames, lengths)
        order = frames.nonzero().flatten()
        masks = masks[order.to(masks.device)]
        return FlatRegions(masks, samples[order], frames[order], lengths)

    def for_samples(self, positions: Tensor) -> "RegionInputs":
        """Return the same with a row for every sample, also if samples without regions were left out.

        Args:
            positions (`torch.LongTensor` of shape `(batch,)`): number of `<region>` positions of each sample.

        Raises:
            PromptError: the numbers of rows and samples do not fit.
        """
        if len(self.frames) == len(positions) or torch.compiler.is_compiling():
            return self
        samples = samples_of_rows(positions.tolist(), len(self.frames))

        def spread(value: Tensor) -> Tensor:
            spread_out = value.new_zeros((len(positions), *value.shape[1:]))
            return spread_out.index_copy(0, torch.tensor(samples, device=value.device), value)

        pixels = None if self.pixel_values is None else spread(self.pixel_values)
        return RegionInputs(spread(self.masks), spread(self.frames), spread(self.lengths), pixels)


def frames_with_masks(inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the frames of one sample that carry masks, each once, including those that no visual shows.

    Args:
        inputs (`Mapping[str, torch.Tensor]`): the outputs of the processor for one prompt with regions.

    Returns:
        `tuple[torch.Tensor, torch.LongTensor]`: frames of shape `(num_frames, 3, image_size, image_size)`, and the row
        of each mask among them, of shape `(num_masks,)`.
    """
    clips = inputs.get("pixel_values_videos", ()), inputs.get("video_lengths", ())
    shown = [clip[:length] for clip, length in zip(*clips, strict=True)]
    shown += [inputs["pixel_values"]] if "pixel_values" in inputs else []
    pixels = torch.cat([*shown, inputs["region_pixel_values"][0]])
    frames = inputs["region_frames"][0]
    known = sum(map(len, shown))
    used, rows = torch.where(frames > 0, frames - 1, known - 1 - frames).unique(return_inverse=True)
    return pixels[used], rows


def _check_shapes(regions: RegionInputs) -> None:
    masks, frames, lengths, pixels = regions
    if frames.ndim == 1 or masks.ndim == 3:
        raise TensorError(
            f"region_frames must have shape (batch, max_masks) and region_masks (batch, max_masks, grid_height, "
            f"grid_width), but have shapes {tuple(frames.shape)} and {tuple(masks.shape)}. {_OLD_LAYOUT}, or keep the "
            "first dimension of its tensors."
        )
    if masks.ndim != 4 or masks.is_complex():
        raise TensorError(
            "region_masks must be boolean of shape (batch, max_masks, grid_height, grid_width), but have shape "
            f"{tuple(masks.shape)} and dtype {masks.dtype}."
        )
    for name, value, shape in (
        ("region_frames", frames, "(batch, max_masks)"),
        ("region_lengths", lengths, "(batch, max_regions)"),
    ):
        if value.ndim != 2 or not whole_numbers(value):
            raise TensorError(
                f"{name} must have shape {shape} and an integer dtype, but has shape {tuple(value.shape)} and dtype "
                f"{value.dtype}."
            )
    if pixels is not None and (pixels.ndim != 5 or not pixels.is_floating_point()):
        raise TensorError(
            "region_pixel_values must have shape (batch, max_frames, 3, image_size, image_size) and a floating-point "
            f"dtype, but has shape {tuple(pixels.shape)} and dtype {pixels.dtype}."
        )
    rows = {f"region_{name}": len(value) for name, value in regions._asdict().items() if value is not None}
    if len(set(rows.values())) > 1:
        given = ", ".join(f"{name} has {number}" for name, number in rows.items())
        raise TensorError(f"Tensors of regions have one row for each sample, but {given}.")
    if masks.shape[1] != frames.shape[1]:
        raise TensorError(
            f"There are {masks.shape[1]} region_masks but {frames.shape[1]} region_frames for each sample."
        )


def _check_counts(regions: RegionInputs) -> None:
    """Check the counts: every region has masks, every mask a frame, and every frame a mask."""
    _, frames, lengths, pixels = regions
    if lengths.numel() and int(lengths.min()) < 0:
        raise TensorError(f"No region has fewer than 0 masks, but region_lengths are {lengths.tolist()}.")
    found, wanted = (frames != 0).sum(dim=1).tolist(), lengths.sum(dim=1).tolist()
    for sample, (masks, total) in enumerate(zip(found, wanted, strict=True)):
        if masks != total:
            raise TensorError(
                f"Row {sample}: region_lengths add up to {total} mask(s), but region_frames place {masks}; 0 stands "
                "for no mask. Tensors of samples are padded with zeros and put together whole: use processor.pad, "
                "or call the processor once with all samples."
            )
    if pixels is None:
        if frames.numel() and int(frames.min()) < 0:
            raise TensorError(
                f"region_frames name frame {int(frames.min())} of region_pixel_values, which hosts have not. Prepare "
                "the inputs with RegionProcessor(processor, model)."
            )
        return
    held = pixels.shape[1]
    if frames.numel() and -int(frames.min()) > held:
        row = int((frames < -held).any(dim=1).nonzero()[0])
        raise TensorError(
            f"Row {row}: region_frames name frame {int(frames[row].min())} of region_pixel_values, but these hold "
            f"{held} frame(s) a sample, numbered from -1 downward. Pass all outputs of one call of the processor on."
        )
    filled = pixels.flatten(2).any(dim=2).tolist()
    for sample, own in enumerate(frames.tolist()):
        used = {-1 - frame for frame in own}
        real = [row for row, shown in enumerate(filled[sample]) if shown and row not in used]
        if real:
            raise TensorError(
                f"Row {sample}: no mask lies on frame(s) {listed(real)} of region_pixel_values. Tensors of samples "
                "are padded at the end, with zeros: use processor.pad, or call the processor once with all samples."
            )


def _check_values(regions: RegionInputs) -> None:
    what, bad = not_finite(regions.masks)
    if what:
        raise TensorError(
            f"region_masks hold {what} in row(s) {listed(bad)}; make them boolean, as the processor does."
        )
    if regions.pixel_values is not None:
        what, bad = not_finite(regions.pixel_values)
        if what:
            raise TensorError(f"region_pixel_values hold {what} in row(s) {listed(bad)}; the processor makes none.")


def check_shown(regions: FlatRegions, shown: Tensor) -> None:
    """Check that masks lie on frames that the visuals of their sample show.

    Args:
        regions ([`FlatRegions`]): the regions.
        shown (`torch.LongTensor` of shape `(num_masks,)`): for each mask, number of rows of features of its sample.

    Raises:
        TensorError: a mask lies beyond them; the message names the sample.
    """
    if torch.compiler.is_compiling() or not bool((regions.frames > shown).any()):
        return
    mask = int((regions.frames > shown).nonzero()[0])
    raise TensorError(
        f"region_frames name frame {int(regions.frames[mask])} of sample {int(regions.samples[mask])}, but the "
        f"visuals of that sample have {int(shown[mask])} row(s) of features, numbered from 1. Pass all outputs of one "
        "call of the processor on."
    )


def check_placeholders(positions: list[int], tokens: list[list[int]]) -> None:
    """Compare `<region>` positions of each sample with the object tokens of its regions.

    Args:
        positions (`list[int]`): number of positions of each sample.
        tokens (`list[list[int]]`):
            For each row of [`RegionInputs`], the number of object tokens of each of its regions. Rows of samples
            without regions may be left out altogether.

    Raises:
        PromptError: they do not fit together; the message names the first sample.
    """
    rows = samples_of_rows(positions, len(tokens)) if tokens else []  # without any, the error names the first sample
    by_sample: list[list[int]] = [[] for _ in positions]
    for sample, own in zip(rows, tokens, strict=True):
        by_sample[sample] = [count for count in own if count]
    for sample, (wanted, own) in enumerate(zip(positions, by_sample, strict=True)):
        if wanted != sum(own):
            raise PromptError(
                f"Sample {sample} of the batch has {wanted} <region> position(s) (by sample: {positions}), but its "
                f"{len(own)} region(s) become {own} token(s). Every region needs as many <region> ids as it has "
                "object tokens; use the processor that belongs to this model, and pass all its outputs on."
            )


def samples_of_rows(positions: list[int], rows: int) -> list[int]:
    """Sample of each row of [`RegionInputs`]: all samples, or those with `<region>` positions.

    Raises:
        PromptError: there are neither as many rows as samples nor as many as samples with regions.
    """
    if rows == len(positions):
        return list(range(rows))
    with_regions = [sample for sample, count in enumerate(positions) if count]
    if rows != len(with_regions):
        raise PromptError(
            f"The batch has {len(positions)} sample(s), of which {len(with_regions)} have <region> in them (positions "
            f"by sample: {positions}), but the tensors of regions have {rows} row(s). They need one row for each."
        )
    return with_regions
