"""The regions of a batch as crops: planned from masks alone, and cut out after frames are read."""

import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videorefer_plugin.errors import RegionError, TensorError
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.frames import pieces
from videorefer_plugin.inputs.masks import RegionMasks
from videorefer_plugin.inputs.matching import Sample, named
from videorefer_plugin.object_encoder import Crop, CropRule, resize_crop

__all__ = ["CroppedRegion", "cut_crops", "plan_crops", "plan_used", "warn_of_cost"]

_warned: "weakref.WeakSet[Any]" = weakref.WeakSet()


@dataclass(frozen=True, eq=False)
class CroppedRegion:
    """A region as crops.

    Attributes:
        clip ([`Clip`]): what it lies on.
        frames (`tuple[int, ...]`): frames of the masks, in the order of their groups of tokens.
        crops (`tuple[Crop, ...]`): the crop of each mask.
    """

    clip: Clip
    frames: tuple[int, ...]
    crops: tuple[Crop, ...]

    @property
    def patches(self) -> int:
        """Number of patches that the vision tower sees of all crops."""
        return sum(grid_of(crop.shown, crop)[0] * grid_of(crop.shown, crop)[1] for crop in self.crops)


def grid_of(size: tuple[int, int], crop: Crop) -> tuple[int, int]:
    """Rows and columns of patches of a size, of the side that the cells of a crop have."""
    side = crop.resized[0] // crop.cells.shape[0]
    return size[0] // side, size[1] // side


def plan_crops(
    clip: Clip, masks: RegionMasks, rule: CropRule, policy: str, max_pixels: int | None = None
) -> CroppedRegion:
    """Find the crops of a region, from its masks alone.

    Raises:
        RegionError: a mask has no pixel; its frame is named.
    """
    crops = []
    for frame, mask in zip(masks.frames, masks, strict=True):
        try:
            crops.append(rule.crop(mask, masks.size, policy, max_pixels))
        except TensorError as error:
            raise RegionError(
                f"it has no pixel in frame {frame}, so there is nothing to crop. Leave that frame out, or mark the "
                "object in it."
            ) from error
    return CroppedRegion(clip, masks.frames, tuple(crops))


def plan_used(
    encoder: Any,
    sample: Sample,
    used: Sequence[tuple[Clip, RegionMasks]],
    policy: str,
    region_token: str,
    object_token: str | None = None,
) -> list[CroppedRegion]:
    """Plan the crops of the regions of a sample, and make room for their tokens.

    Args:
        encoder ([`CropEncoderConfig`]): how crops are cut, and how many tokens they become.
        sample ([`Sample`]): the prompt.
        used (`Sequence`): its regions: what each lies on, and its masks.
        policy (`str`): the mask policy.
        region_token (`str`): stands for a region in the prompt.
        object_token (`str`, *optional*): stands for each of its tokens; the same by default.

    Raises:
        RegionError: a mask has no pixel; sample and region are named.
    """
    # The original lets all objects of a question share one budget.
    masks = sum(len(own) for _, own in used)
    budget = encoder.max_crop_pixels // max(masks, 1) if policy == "original" else None
    regions = []
    for number, (clip, own) in enumerate(used):
        with named(f"Sample {sample.index}: region {number}"):
            regions.append(plan_crops(clip, own, encoder.rule, policy, budget))
    token = object_token or region_token
    sample.replacements[region_token] = [
        "".join(encoder.placeholder(token, count) for count in encoder.groups_of(region)) for region in regions
    ]
    return regions


def warn_of_cost(owner: Any, clips: Sequence[Clip], regions: Sequence[Sequence[CroppedRegion]]) -> None:
    """Warn once per processor that its crops cost more passes of the vision tower than the frames that are shown."""
    crops = sum(len(region.crops) for own in regions for region in own)
    frames = sum(len(clip.sampled) for clip in clips)
    if crops <= frames or owner in _warned:
        return
    _warned.add(owner)
    warnings.warn(
        f"The vision tower sees {crops} crop(s) of objects, but only {frames} frame(s): the crops cost more passes of "
        "the tower than the visuals. Point at objects in fewer frames, or limit them with max_frames_per_region. Each "
        "processor warns once.",
        stacklevel=5,
    )


def cut_crops(regions: Sequence[Sequence[CroppedRegion]], patches: Any) -> list[list[list[tuple[Any, ...]]]]:
    """Cut the crops of a batch out of their frames, each of which is read once.

    Args:
        regions (`Sequence`): the regions of each sample.
        patches ([`Patches`]): makes patches of pictures.

    Returns:
        `list`: for each sample, region and mask what `pack_crops` takes.

    Raises:
        VideoError: a frame cannot be read; the message names the sample.
        RegionError: the video was sampled beforehand, and a frame was not passed; the message names the sample.
    """
    wanted: dict[int, dict[int, list[tuple[CroppedRegion, int]]]] = {}
    clips: dict[int, Clip] = {}
    for region in (region for own in regions for region in own):
        clips.setdefault(id(region.clip.video), region.clip)
        with named(f"Sample {region.clip.sample}"):
            rows = region.clip.rows_of(region.frames)
        for mask, row in enumerate(rows):
            wanted.setdefault(id(region.clip.video), {}).setdefault(row, []).append((region, mask))
    cut: dict[tuple[int, int], tuple[Tensor, Tensor, tuple[int, int]]] = {}
    for key, by_row in wanted.items():
        video = clips[key].video
        with named(f"Sample {clips[key].sample}"):
            for part in pieces(video, sorted(by_row)):
                for row, frame in zip(part, video.read(part), strict=True):
                    for region, mask in by_row[row]:
                        cut[id(region), mask] = _cut(frame, region.crops[mask], patches)
    return [[[cut[id(region), mask] for mask in range(len(region.crops))] for region in own] for own in regions]


def _cut(frame: np.ndarray, crop: Crop, patches: Any) -> tuple[Tensor, Tensor, tuple[int, int]]:
    top, left, bottom, right = crop.box
    picture = resize_crop(torch.from_numpy(np.ascontiguousarray(frame[top:bottom, left:right])), crop.resized)
    return patches.of(picture.numpy()[None], crop.shown)[0], crop.cells, grid_of(crop.shown, crop)
