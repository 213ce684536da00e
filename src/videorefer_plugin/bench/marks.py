"""Marks for models that take no regions: objects drawn on the frames, each in a colour of its own and numbered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.bench.prompts import marked_prompt
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.chat.pictures import picture_message
from videorefer_plugin.pictures import COLORS, STYLES, draw_marks

__all__ = ["COLORS", "STYLES", "MarkedClip", "draw_marks", "frame_messages", "mark_item"]


@dataclass(frozen=True)
class MarkedClip:
    """What a model that sees marks is shown and asked.

    Attributes:
        frames: uint8 (frames, height, width, 3), with marks.
        metadata (`dict`): which frames of the video these are, as video processors take it.
        prompt (`str`): the question, without `<region>`.
    """

    frames: NDArray[np.uint8]
    metadata: dict[str, Any]
    prompt: str


def mark_item(item: Item, mode: str, style: str, num_frames: int) -> MarkedClip:
    """Sample an item's video and draw its objects.

    Frames are sampled evenly. Annotated ones take the place of the sampled frames nearest to them, as many of each
    object as there are frames to show, spread evenly.

    Args:
        item: of any benchmark.
        mode (`str`): `"single"` for marks in the item's one frame, `"multi"` for marks in all annotated frames shown.
        style (`str`): as in [`draw_marks`].
        num_frames (`int`): frames to show.

    Raises:
        RegionError: an object does not fit its video.
        VideoError: the video cannot be read.
    """
    from videorefer_plugin.inputs.clips import Sampling, open_clip, show_frames
    from videorefer_plugin.inputs.masks import region_frames
    from videorefer_plugin.inputs.matching import Source

    clip = open_clip(Source("video", item.video, 0), 0, Sampling(num_frames=num_frames))
    objects = [region.at_frames(clip.frame_at) for region in item.regions(mode)]
    used = [region_frames(region, clip, "keep", num_frames) for region in objects]
    show_frames(clip, [frame for masks in used for frame in masks.frames], True)
    pictures = clip.read().copy()
    for place, frame in enumerate(clip.sampled):
        masks = {
            number: region.mask(frame, *clip.size)
            for number, region in enumerate(objects, 1)
            if frame in region.frames
        }
        if masks:
            pictures[place] = draw_marks(pictures[place], masks, style)
    names = list(COLORS)
    colors = [names[number % len(names)] for number in range(len(objects))]
    return MarkedClip(pictures, clip.describe(), marked_prompt(item.prompt, colors, style, mode))


def frame_messages(clip: MarkedClip) -> Sequence[dict[str, Any]]:
    """The frames and the question as one message of a chat."""
    said = f"These are {len(clip.frames)} frames of a video, in order.\n{clip.prompt}"
    return [picture_message(clip.frames, said)]
