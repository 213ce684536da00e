"""The regions of a batch as crops: planned from masks alone, and cut out once frames are read."""

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
from videorefer_plugin.inputs.matching import named
from videorefer_plugin.object_encoder import Crop, CropRule, resize_crop

__all__ = ["CroppedRegion", "cut_crops", "plan_crops"]


@dataclass(frozen=True, eq=False)
class CroppedRegion:
    """A region as crops.

    Attributes:
        clip ([`Clip`]): what it lies on.
        frames (`tuple[int, ...]`): frames of the masks, in the order of their groups of tokens.
        crops (`tuple[Crop, ...]`): what is shown of each mask.
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


def cut_crops(regions: Sequence[Sequence[CroppedRegion]], patches: Any) -> list[list[list[tuple[Any, ...]]]]:
    """Cut the crops of a batch out of their frames, each of which is read once.

    Args:
        regions (`Sequence`): the regions of each sample.
        patches ([`Patches`]): makes patches of pictures.

    Returns:
        `list`: for each sample, region and mask what `pack_crops` takes.

    Raises:
        VideoError: a frame cannot be read; the sample is named.
        RegionError: of a video sampled beforehand, a frame was not handed over; the sample is named.
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
