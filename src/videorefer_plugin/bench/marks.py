"""Marks for models that take no regions: objects drawn on the frames, each in a colour of its own and numbered."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.bench.items import Item
from videorefer_plugin.bench.prompts import MARK_WORDS, marked_prompt
from videorefer_plugin.errors import BenchError

__all__ = ["COLORS", "STYLES", "MarkedClip", "draw_marks", "encode_frame", "mark_item"]

STYLES = tuple(MARK_WORDS)
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 200, 0),
    "blue": (40, 80, 255),
    "yellow": (255, 220, 0),
    "purple": (160, 32, 240),
    "orange": (255, 128, 0),
    "cyan": (0, 220, 220),
    "pink": (255, 105, 180),
}
_OPACITY = 0.45  # of filled masks
_LINE = 200  # a line is one pixel wide for so many of the frame's shorter side


def draw_marks(frame: NDArray[np.uint8], masks: Mapping[int, NDArray[np.bool_]], style: str) -> NDArray[np.uint8]:
    """Draw marks on a frame.

    Args:
        frame: uint8 (height, width, 3).
        masks: number of an object, from 1 -> bool (height, width). Objects without a pixel get no mark.
        style (`str`): `"contour"`, a line around the object; `"mask"`, the object in colour; `"box"`, its box.

    Returns:
        A new frame.

    Raises:
        BenchError: the style is unknown.

    Examples:
        >>> frame = np.zeros((40, 40, 3), np.uint8)
        >>> mask = np.zeros((40, 40), bool)
        >>> mask[10:30, 10:30] = True
        >>> draw_marks(frame, {1: mask}, "contour")[10, 12].tolist()
        [255, 0, 0]
    """
    from PIL import Image, ImageDraw, ImageFilter

    if style not in STYLES:
        raise BenchError(f"marks are {style!r}: expected one of {', '.join(STYLES)}")
    picture = Image.fromarray(frame).convert("RGB")
    width = max(1, round(min(frame.shape[:2]) / _LINE))
    drawn = {number: mask for number, mask in masks.items() if mask.any()}
    for number, mask in drawn.items():
        color = _color(number)
        if style == "mask":
            shade = Image.fromarray((mask * round(255 * _OPACITY)).astype(np.uint8))
            picture.paste(color, mask=shade)
        elif style == "box":
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            box = [int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])]
            ImageDraw.Draw(picture).rectangle(box, outline=color, width=width)
        else:
            # The rim of the object itself, so that neighbours keep lines of their own. Padding gives the object a rim
            # also where the frame ends.
            padded = Image.fromarray(np.pad(mask, width).astype(np.uint8) * 255)
            inner = np.asarray(padded.filter(ImageFilter.MinFilter(2 * width + 1)))[width:-width, width:-width] > 0
            picture.paste(color, mask=Image.fromarray((mask & ~inner).astype(np.uint8) * 255))
    for number, mask in drawn.items():  # on top of all marks
        _draw_number(picture, number, mask)
    return np.asarray(picture)


def _color(number: int) -> tuple[int, int, int]:
    return list(COLORS.values())[(number - 1) % len(COLORS)]


def _draw_number(picture: Any, number: int, mask: NDArray[np.bool_]) -> None:
    """The number on a plate of the object's colour, where the object is widest."""
    from PIL import ImageDraw, ImageFont
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    size = max(8, min(picture.size) // 20)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
    wide, high = right - left + 2, bottom - top + 2
    x = int(min(max(column - wide / 2, 0), max(picture.width - wide, 0)))
    y = int(min(max(row - high / 2, 0), max(picture.height - high, 0)))
    color = _color(number)
    bright = sum(part * weight for part, weight in zip(color, (0.3, 0.6, 0.1), strict=True)) > 128
    draw.rectangle([x, y, x + wide - 1, y + high - 1], fill=color)
    draw.text((x + 1 - left, y + 1 - top), str(number), font=font, fill=(0, 0, 0) if bright else (255, 255, 255))


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
    from videorefer_plugin.hosts.sampling import open_clip, region_frames, show_frames

    settings = dict.fromkeys(("fps", "video_start", "video_end", "do_sample_frames"))
    clip = open_clip("video", 0, item.video, {**settings, "num_frames": num_frames}, None, None)
    objects = [region_frames(region, clip, "keep", num_frames) for region in item.regions(mode)]
    show_frames(clip, [frame for _, frames in objects for frame in frames], True)
    height, width = clip.video.height, clip.video.width
    pictures = clip.read().copy()
    for place, frame in enumerate(clip.sampled):
        masks = {
            number: region.mask(frame, height, width)
            for number, (region, _) in enumerate(objects, 1)
            if frame in region.frames
        }
        if masks:
            pictures[place] = draw_marks(pictures[place], masks, style)
    names = list(COLORS)
    colors = [names[number % len(names)] for number in range(len(objects))]
    return MarkedClip(pictures, clip.describe(), marked_prompt(item.prompt, colors, style, mode))


def encode_frame(frame: NDArray[np.uint8]) -> str:
    """A frame as a `data:` address of a JPEG of high quality, which endpoints take."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "jpeg", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def frame_messages(clip: MarkedClip) -> Sequence[dict[str, Any]]:
    """The frames and the question as one message of a chat."""
    frames = [{"type": "image_url", "image_url": {"url": encode_frame(frame)}} for frame in clip.frames]
    said = f"These are {len(frames)} frames of a video, in order.\n{clip.prompt}"
    return [{"role": "user", "content": [*frames, {"type": "text", "text": said}]}]
