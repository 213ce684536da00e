"""Features of the frames that masks lie on: frames of the original's `images`, or of `region_pixel_values`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import ConfigurationError, PromptError, TensorError
from videorefer_plugin.models.distinct import distinct_frames, take
from videorefer_plugin.models.videorefer.region_inputs import FlatRegions, RegionInputs
from videorefer_plugin.object_encoder.checks import not_finite

__all__ = ["region_features", "vision_tower"]


def vision_tower(model: Any) -> Any:
    """The vision tower of an original model.

    Raises:
        ConfigurationError: the model has no vision tower.
    """
    tower = model.get_vision_tower()
    if tower is None:
        raise ConfigurationError(
            f"This {type(model).__name__} has no vision tower, so there is nothing to point at. Load a multimodal "
            "checkpoint, or call model.get_model().initialize_vision_modules first."
        )
    return tower


def region_features(
    model: Any, input_ids: Tensor, regions: RegionInputs, images: Sequence[tuple[Tensor, str]]
) -> tuple[Tensor, FlatRegions]:
    """Encode the frames that masks lie on, each distinct one once.

    Args:
        model (`Videollama2Qwen2ForCausalLM`): the original model.
        input_ids (`torch.LongTensor` of shape `(batch, length)`): with one negative id for each visual.
        regions ([`RegionInputs`]): at least one region, with a row for each sample.
        images (`list`): the original's visuals, `(frames, "image" | "video")` each, in prompt order.

    Returns:
        `tuple[torch.Tensor, FlatRegions]`: features of shape `(num_frames, rows, columns, width)`, and the regions
        with rows of these features as `frames`.

    Raises:
        PromptError: there are fewer visuals than the prompts have ids for.
        TensorError: tensors have another shape, hold NaN or infinity, or a mask lies beyond the frames of its sample.
        ConfigurationError: the vision tower makes no grid of features.
    """
    tower = vision_tower(model)
    side = tower.num_patches_per_side
    _check_shapes(regions, side, tower.config.image_size)
    flat = regions.flatten()
    masks = list(zip(flat.samples.tolist(), flat.frames.tolist(), strict=True))
    place = {key: number for number, key in enumerate(dict.fromkeys(masks))}
    frames = _frames(list(place), input_ids, regions.pixel_values, images, tower)
    first, same = distinct_frames(frames)
    with torch.no_grad():
        features = tower(take(frames, first))
    if features.shape[1] != side * side:
        raise ConfigurationError(
            f"The vision tower gives {features.shape[1]} features a frame, which is not a {side} x {side} grid. "
            "Regions need mm_vision_select_feature='patch'."
        )
    rows = torch.tensor([same[place[key]] for key in masks], device=flat.frames.device)
    return features.unflatten(1, (side, side)), flat._replace(frames=rows)


def _check_shapes(regions: RegionInputs, side: int, size: int) -> None:
    assert regions.pixel_values is not None
    if tuple(regions.pixel_values.shape[2:]) != (3, size, size):
        raise TensorError(
            f"region_pixel_values must have shape (batch, max_frames, 3, {size}, {size}), but have shape "
            f"{tuple(regions.pixel_values.shape)}. Use the processor that belongs to this model."
        )
    if tuple(regions.masks.shape[2:]) != (side, side):
        raise TensorError(
            f"region_masks must have shape (batch, max_masks, {side}, {side}), with the grid of the vision tower, but "
            f"have shape {tuple(regions.masks.shape)}. resize_masks brings masks to a grid."
        )


def _frames(
    wanted: list[tuple[int, int]], input_ids: Tensor, pixels: Tensor | None, images: Any, tower: Any
) -> Tensor:
    """Pixels of frames, by sample and by index as in [`RegionInputs`]."""
    assert pixels is not None
    ids = (input_ids < 0).sum(dim=1).tolist()  # the original has no other negative ids
    shown: dict[int, list[Tensor]] = {}
    found = []
    for sample, place in wanted:
        if place < 0:
            found.append(pixels[sample, -1 - place])
            continue
        if sample not in shown:
            shown[sample] = _shown_frames(ids, sample, images, tower.config.image_size)
        if place > len(shown[sample]):
            raise TensorError(
                f"region_frames name frame {place} of sample {sample}, but the visuals of that sample show "
                f"{len(shown[sample])} frame(s). Pass all outputs of original_inputs on."
            )
        found.append(shown[sample][place - 1])
    return torch.stack([frame.to(tower.device, tower.dtype) for frame in found])


def _shown_frames(ids: list[int], sample: int, images: Any, size: int) -> list[Tensor]:
    """Frames of the visuals of one sample, in the order of [`RegionInputs`]: videos come before images.

    Args:
        ids (`list[int]`): number of visuals in each prompt of the batch.
        sample (`int`): the sample.
        images, size: visuals of the batch, and the side of their frames.
    """
    if not isinstance(images, (list, tuple)):
        raise TensorError(f"images must be a list of (frames, 'image' or 'video'), but are {short(images)}.")
    first = sum(max(count, 1) for count in ids[:sample])  # the original takes one even for a prompt without an id
    own = images[first : first + ids[sample]]
    if len(own) < ids[sample]:
        raise PromptError(
            f"Sample {sample} has {ids[sample]} id(s) of visuals, but {len(own)} of the {len(images)} images are left "
            "for it. The original takes one for every id, and one for a sample without any."
        )
    clips: dict[bool, list[Tensor]] = {False: [], True: []}  # by whether it is an image
    for number, visual in enumerate(own, start=first):
        frames, kind = visual if isinstance(visual, (list, tuple)) and len(visual) == 2 else (visual, None)
        fits = isinstance(frames, Tensor) and frames.is_floating_point() and frames.ndim in (3, 4)
        if kind is None or not fits or tuple(frames.shape[-3:]) != (3, size, size):
            raise TensorError(
                f"images[{number}] must be (frames, 'image' or 'video') with floating-point frames of shape "
                f"(num_frames, 3, {size}, {size}), but is {short(visual) if kind is None else short(frames)}."
            )
        what, bad = not_finite(frames)
        if what:
            raise TensorError(f"images[{number}] holds {what} at index {listed(bad)} of its first dimension.")
        clips[kind == "image"].extend(frames if frames.ndim == 4 else [frames])
    return clips[False] + clips[True]
