"""Frames of a batch for a host's processor, and the positions of regions on the feature grids."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers.video_utils import VideoMetadata

from videorefer_plugin.errors import RegionError
from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.registry import Host, hosts_with_images
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.frames import FrameStore
from videorefer_plugin.inputs.masks import RegionMasks, grid_masks
from videorefer_plugin.inputs.matching import Sample, named
from videorefer_plugin.models.tokenizing import one_at_a_time

__all__ = ["Plan", "UsedRegion", "read_once", "region_tensors"]


class UsedRegion(NamedTuple):
    """A region of a sample.

    Attributes:
        clip ([`Clip`]): the clip that it lies on.
        masks ([`RegionMasks`]): its masks, in the order in which they are merged.
    """

    clip: Clip
    masks: RegionMasks


class Plan(NamedTuple):
    """A batch that a processor has matched, opened and checked, before any frame is decoded.

    Attributes:
        samples (`list[Sample]`): the prompts.
        clips (`list[Clip]`): their visuals, in order, with the frames to show.
        used (`list[list[UsedRegion]]`): the regions of each prompt.
        expanded (`list[tuple[str, list]]`): the prompts with room for object tokens, and its positions.
        settings, rest (`dict`): settings of the call about clips and regions, and the host's own.
    """

    samples: list[Sample]
    clips: list[Clip]
    used: list[list[UsedRegion]]
    expanded: list[tuple[str, list[dict[str, Any]]]]
    settings: dict[str, Any]
    rest: dict[str, Any]

    def call(self, host: Host, processor: Any, frames: Iterable[np.ndarray]) -> dict[str, Any]:
        """Call the host's processor, with the frames that each clip shows."""
        visuals: dict[str, list[Any]] = {"video": [], "image": []}
        for clip, shown in zip(self.clips, frames, strict=True):
            visuals[clip.kind].append(shown if clip.kind == "video" else shown[0])
        metadata = [VideoMetadata(**clip.describe()) for clip in self.clips if clip.kind == "video"]
        with one_at_a_time():  # a host's processor also tokenizes
            return host.call_processor(processor, [text for text, _ in self.expanded], visuals, metadata, self.rest)


def read_once(clips: Sequence[Clip]) -> Iterator[np.ndarray]:
    """Yield the frames of each clip; frames of a video that several clips show are decoded once.

    Raises:
        VideoError: a frame cannot be decoded; the message names the sample.
    """
    store = FrameStore(lambda frames, kind: torch.from_numpy(frames))
    times = Counter(id(clip.video) for clip in clips)
    for clip in clips:
        if times[id(clip.video)] > 1:
            store.want(clip, clip.sampled)
    for clip in clips:
        if times[id(clip.video)] > 1:
            yield store.get(clip, clip.sampled).numpy()
        else:
            with named(f"Sample {clip.sample}"):
                frames = clip.read()
            yield frames


def region_tensors(
    host: Host,
    clips: Sequence[Clip],
    grids: Sequence[VisualGrid | None],
    regions: Sequence[Sequence[UsedRegion]],
    policy: str,
) -> dict[str, Tensor]:
    """Make the tensors of [`RegionInputs`] for a batch with regions.

    Args:
        host ([`Host`]): the host, for messages.
        clips (`Sequence[Clip]`): the visuals of the batch, in order of the prompts.
        grids (`Sequence[VisualGrid | None]`): the position of each, from [`Host.locate`].
        regions (`Sequence[Sequence[UsedRegion]]`): the regions of each sample, in prompt order.
        policy (`str`): `"keep"` or `"original"`.

    Raises:
        RegionError: a region lies on a visual on which the host cannot place regions; the message names the sample.
    """
    found = {id(clip): grid for clip, grid in zip(clips, grids, strict=True)}
    masks: list[list[Tensor]] = []
    frames: list[Tensor] = []
    for own in regions:
        rows: list[int] = []
        masks.append([])
        for clip, drawn in own:
            grid, place = _placed(host, clip, found[id(clip)]), clip.place
            masks[-1] += grid_masks(drawn, grid.size, policy, grid.pad_to_square).unbind()
            rows += [grid.first_row + place[frame] // grid.frames_per_row + 1 for frame in drawn.frames]
        frames.append(torch.tensor(rows, dtype=torch.long))
    lengths = [torch.tensor([len(drawn) for _, drawn in own], dtype=torch.long) for own in regions]
    return {
        "region_masks": _padded(masks),
        "region_frames": pad_sequence(frames, batch_first=True),
        "region_lengths": pad_sequence(lengths, batch_first=True),
    }


def _placed(host: Host, clip: Clip, grid: VisualGrid | None) -> VisualGrid:
    if grid is not None:
        return grid
    where = f"Sample {clip.sample}: {host.model_type} hosts cut images into tiles, so that"
    if clip.kind == "image":
        raise RegionError(
            f"{where} no region can lie on an image. Show the image as a video of one frame, videos=[[image]], or use "
            f"one of the hosts that place regions on images: {', '.join(hosts_with_images())}."
        )
    raise RegionError(
        f"{where} it is not known where the frames of a video lie behind an image of the same prompt. Put the video "
        "first, or show the image as a video of one frame."
    )


def _padded(masks: Sequence[Sequence[Tensor]]) -> Tensor:
    """Stack masks of samples, whose numbers and sizes may differ, in one tensor padded with `False`."""
    shapes = [mask.shape for own in masks for mask in own]
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    padded = torch.zeros((len(masks), max(map(len, masks)), height, width), dtype=torch.bool)
    for sample, own in enumerate(masks):
        for number, mask in enumerate(own):
            padded[sample, number, : mask.shape[0], : mask.shape[1]] = mask
    return padded
