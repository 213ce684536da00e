"""Frames for models that take no regions, with objects in different colors and with numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.bench.prompts import marked_prompt
from videorefer_plugin.bench.reading import Item
from videorefer_plugin.chat.pictures import picture_message
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.clips import Clip, Sampling, open_clip, show_frames
from videorefer_plugin.inputs.masks import region_frames
from videorefer_plugin.inputs.matching import Source
from videorefer_plugin.pictures import COLORS, STYLES, draw_marks
from videorefer_plugin.regions import Region

__all__ = [
    "COLORS",
    "STYLES",
    "MarkedClip",
    "colors_of",
    "draw_marks",
    "frame_messages",
    "known_style",
    "mark_frame",
    "mark_item",
    "show_item",
]


@dataclass(frozen=True)
class MarkedClip:
    """The frames and the prompt for a model that takes no regions.

    Attributes:
        frames: uint8 (frames, height, width, 3), for some answerers with marks.
        metadata (`dict`): the numbers and times of the frames, in the form of video processors.
        prompt (`str`): the question, without `<region>`.
        kind (`str`): `"video"`, or `"image"` for frames that are shown as pictures.
    """

    frames: NDArray[np.uint8]
    metadata: dict[str, Any]
    prompt: str
    kind: str = "video"


def known_style(style: str) -> str:
    """Return the name of a style if it is known.

    Raises:
        BenchError: the style is unknown.
    """
    if style not in STYLES:
        raise BenchError(f"marks are {style!r}: expected one of {', '.join(STYLES)}")
    return style


def show_item(item: Item, mode: str, num_frames: int) -> tuple[Clip, list[Region]]:
    """Sample an item's video, and find its objects.

    Frames are sampled evenly. Annotated frames, evenly spread and at most `num_frames` of each object, replace the
    sampled frames nearest to them. A picture has one frame.

    Raises:
        RegionError: an object does not fit its video.
        VideoError: the video cannot be read.
    """
    clip = open_clip(Source(item.kind, item.video, 0), 0, Sampling(num_frames=num_frames))
    objects = [region.at_frames(clip.frame_at) for region in item.regions(mode)]
    used = [region_frames(region, clip, "keep", num_frames) for region in objects]
    show_frames(clip, [frame for masks in used for frame in masks.frames], True)
    return clip, objects


def mark_item(item: Item, mode: str, style: str, num_frames: int) -> MarkedClip:
    """Sample an item's video, and draw its objects: the frames and the question that a model without regions gets.

    Frames are sampled evenly; annotated frames replace the sampled frames nearest to them. A picture has one frame.

    Args:
        item: an item of any benchmark.
        mode (`str`): `"single"` for marks in the item's one frame, `"multi"` for marks in all shown frames that are
            annotated.
        style (`str`): a style of [`draw_marks`].
        num_frames (`int`): frames to show.

    Returns:
        `MarkedClip`: `frames`, `uint8` of shape `(frames, height, width, 3)`, with marks; `metadata`, which says which
        frames of the video these are; `prompt`, the question without `<region>`; and `kind`, `"video"` or `"image"`.

    Raises:
        RegionError: an object does not fit its video.
        VideoError: the video cannot be read.
    """
    clip, objects = show_item(item, mode, num_frames)
    pictures = clip.read().copy()
    for place, frame in enumerate(clip.sampled):
        pictures[place], _ = mark_frame(pictures[place], frame, objects, style)
    where = "image" if item.kind == "image" else mode
    return MarkedClip(
        pictures, clip.describe(), marked_prompt(item.prompt, colors_of(len(objects)), style, where), item.kind
    )


def mark_frame(
    picture: NDArray[np.uint8], frame: int, objects: Sequence[Region], style: str
) -> tuple[NDArray[np.uint8], Mapping[int, Any]]:
    """Return a frame with its objects drawn, and their masks by number, from 1."""
    masks = {
        number: region.mask(frame, *picture.shape[:2])
        for number, region in enumerate(objects, 1)
        if frame in region.frames
    }
    return (draw_marks(picture, masks, style) if masks else picture), masks


def colors_of(count: int) -> list[str]:
    """Return the names of the colors of some objects, numbered from 1."""
    names = list(COLORS)
    return [names[number % len(names)] for number in range(count)]


def frame_messages(clip: MarkedClip) -> Sequence[dict[str, Any]]:
    """Return the frames and the question as one message of a chat."""
    said = f"These are {len(clip.frames)} frames of a video, in order.\n" if clip.kind == "video" else ""
    return [picture_message(clip.frames, said + clip.prompt)]
