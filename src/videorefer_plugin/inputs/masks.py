"""The frames in which a region is used, and its masks on the feature grid of a vision tower."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import RegionError
from videorefer_plugin.inputs.clips import Clip, open_image
from videorefer_plugin.inputs.matching import check_mask_policy, check_region_limit
from videorefer_plugin.inputs.visuals import is_frame
from videorefer_plugin.object_encoder import GridRule
from videorefer_plugin.regions import Region, Silhouette, as_region
from videorefer_plugin.video import open_video, sample_frame_indices

__all__ = ["DrawnRegion", "RegionMasks", "draw_region", "evenly", "grid_masks", "region_frames"]


@dataclass(frozen=True, eq=False)
class RegionMasks(Sequence[NDArray[np.bool_]]):
    """The masks of a region, each drawn once and stored compactly; see [`Silhouette`].

    A sequence of bool arrays of shape `size`.

    Attributes:
        frames (`tuple[int, ...]`): frames of the masks, in the order in which they are merged.
        size (`tuple[int, int]`): height and width of the frames, in pixels.
        silhouettes (`tuple[Silhouette, ...]`): the stored masks.
    """

    frames: tuple[int, ...]
    size: tuple[int, int]
    silhouettes: tuple[Silhouette, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        return self.silhouettes[index].mask()

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        return (silhouette.mask() for silhouette in self.silhouettes)


@dataclass(frozen=True, eq=False)
class DrawnRegion:
    """A region on the feature grid.

    Attributes:
        clip ([`Clip`]): the clip that it lies on.
        frames (`tuple[int, ...]`): frames of the masks, in the order in which they are merged.
        masks (`torch.Tensor` of shape `(num_frames, grid_height, grid_width)` and dtype `bool`): its masks.
    """

    clip: Clip
    frames: tuple[int, ...]
    masks: Tensor


def draw_region(
    region: Any,
    video: Any,
    grid: tuple[int, int],
    *,
    mask_policy: str = "keep",
    max_frames: int | None = None,
    pad_to_square: bool = False,
) -> DrawnRegion:
    """Draw a region on the feature grid of a vision tower, as the processors do.

    Args:
        region ([`Region`] or `dict`): the region, or its JSON form.
        video: the video that it lies on, as [`open_video`] takes it, or an image, as [`load_image`] takes it.
        grid (`tuple[int, int]`): rows and columns of the grid.
        mask_policy (`str`, *optional*, defaults to `"keep"`): `"keep"` or `"original"`, as in [`VideoReferProcessor`].
        max_frames (`int`, *optional*): the most frames to use, taken evenly; all by default.
        pad_to_square (`bool`, *optional*, defaults to `False`):
            Whether frames are centered on a square before they are resized.

    Returns:
        [`DrawnRegion`] with the frames that carry masks, in the order in which they are merged, and the masks.

    Raises:
        RegionError: the region lies beyond the end, does not fit the frames, or has no pixel anywhere.
        VideoError: the video cannot be read.
        ConfigurationError: a setting has an unknown value.
    """
    check_mask_policy(mask_policy)
    check_region_limit(max_frames)
    image = is_frame(video)
    clip = Clip("image" if image else "video", 0, open_image(video) if image else open_video(video), [])
    masks = region_frames(as_region(region), clip, mask_policy, max_frames)
    return DrawnRegion(clip, masks.frames, grid_masks(masks, grid, mask_policy, pad_to_square))


def region_frames(region: Region, clip: Clip, policy: str, limit: int | None) -> RegionMasks:
    """Choose the frames in which a region is used, and draw its masks.

    With `"keep"`, frames without the object are left out, because it is declared absent or its mask has no pixel, and
    then the limit takes some of the others evenly, in order of time. With `"original"`, every annotated frame counts,
    in the annotation's order, and the limit applies to that list, as in the released VideoRefer code.

    Args:
        region ([`Region`]): the region.
        clip ([`Clip`]): the clip that it lies on.
        policy (`str`): `"keep"` or `"original"`.
        limit (`int`, *optional*): the most frames to use, taken evenly.

    Raises:
        RegionError: it lies beyond the end, does not fit the frames, or (with `"keep"`) has no pixel anywhere.
    """
    region = region.at_frames(clip.frame_at)
    last = region.frames[-1]
    if last >= clip.num_frames:
        first = next(frame for frame in region.frames if frame >= clip.num_frames)
        raise RegionError(
            f"it lies on frame {first}, but {clip.video.name} has {clip.num_frames} frame(s), numbered from 0. "
            "Frames are those of the source video, not of the sampled clip."
        )
    if policy == "original":
        frames = evenly(region.order, limit)
        drawn = dict(region.silhouettes(*clip.size, frames=frames))
        return RegionMasks(tuple(frames), clip.size, tuple(drawn.values()))
    drawn = dict(region.silhouettes(*clip.size, frames=region.present))
    seen = evenly([frame for frame, silhouette in drawn.items() if silhouette.any()], limit)
    if not seen:
        height, width = clip.size
        raise RegionError(
            f"it has no pixel in any of its {len(region.frames)} frame(s) ({listed(region.frames)}) of "
            f"{height}x{width} (height x width). Mark the object in at least one frame."
        )
    return RegionMasks(tuple(seen), clip.size, tuple(drawn[frame] for frame in seen))


def evenly(frames: Sequence[int], limit: int | None) -> list[int]:
    """Return as many of the frames as the limit allows, evenly spread; all of them without a limit."""
    if limit is None or len(frames) <= limit:
        return list(frames)
    return [frames[index] for index in sample_frame_indices(len(frames), num_frames=limit)]


def grid_masks(masks: RegionMasks, grid: tuple[int, int], policy: str, pad_to_square: bool) -> Tensor:
    """Bring the masks of a region to a feature grid, as [`resize_masks`] does, reading only the pixels of its rule.

    Returns:
        `torch.Tensor` of shape `(num_frames, *grid)` and dtype `bool`.
    """
    rule = GridRule(masks.size, grid, policy, pad_to_square)
    rows, columns = rule.rows.numpy(), rule.columns.numpy()
    seen = [silhouette.at(rows, columns) for silhouette in masks.silhouettes]
    resized = rule.cells(torch.from_numpy(np.stack(seen)))
    if rule.keeps:
        for lost in (~resized.flatten(1).any(dim=1)).nonzero().squeeze(1).tolist():
            top, left, box = masks.silhouettes[lost].box()
            if box.size:
                resized[lost].view(-1)[rule.fullest(torch.from_numpy(box.copy()), top, left)] = True
    return resized
