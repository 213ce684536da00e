"""Draws frames for a visitor: objects in their colors, and the clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.app.things import Mark
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.pictures import draw_marks
from videorefer_plugin.pictures.marks import color_of
from videorefer_plugin.pictures.sheets import resized_mask

__all__ = ["picture", "scale_of"]

_LEAST, _MOST = 640, 1280  # pixels of the longer side of a shown frame
_ON, _OFF, _RIM = (0, 170, 60), (215, 30, 30), (255, 255, 255)


def scale_of(height: int, width: int) -> float:
    """Return the factor by which a frame is enlarged."""
    longest = max(height, width)
    return max(_LEAST / longest, 1.0) if longest < _LEAST else min(_MOST / longest, 1.0)


def picture(room: Workspace, frame: int, aim: tuple[float, float] | None = None) -> NDArray[np.uint8]:
    """Return a frame with its objects, uint8 (height, width, 3), enlarged by `scale_of`.

    Args:
        room ([`Workspace`]): the visitor's work.
        frame (`int`): index of the frame.
        aim (*optional*): x and y of a cross, in pixels of the video.

    Raises:
        VideoError: the frame cannot be read.
    """
    from PIL import Image

    pixels, video = room.read(frame), room.opened
    scale = scale_of(video.height, video.width)
    size = max(round(video.height * scale), 1), max(round(video.width * scale), 1)
    if size != pixels.shape[:2]:
        pixels = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BICUBIC))
    masks = {}
    for thing in room.things:
        mask = None if thing.hidden else thing.mask(frame, video.height, video.width)
        if mask is not None:
            masks[thing.number] = resized_mask(mask, size)
    drawn = Image.fromarray(draw_marks(pixels, masks, "mask", "contour"))
    for thing in room.things:
        if thing.number == room.selected and frame in thing.marks:
            _draw_clicks(drawn, thing.marks[frame], color_of(thing.number), scale)
    if room.corner is not None and room.corner[0] == frame:
        _draw_cross(drawn, room.corner[1] * scale, room.corner[2] * scale, 14, _ON)
    if aim is not None:
        _draw_cross(drawn, aim[0] * scale, aim[1] * scale, max(size), (255, 220, 0))
    return np.asarray(drawn)


def _draw_clicks(picture: Any, mark: Mark, color: tuple[int, int, int], scale: float) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    if mark.box is not None:
        draw.rectangle([side * scale for side in mark.box], outline=_RIM, width=4)
        draw.rectangle([side * scale for side in mark.box], outline=color, width=2)
    for (x, y), label in zip(mark.points, mark.labels, strict=True):
        x, y = x * scale, y * scale
        draw.ellipse([x - 9, y - 9, x + 9, y + 9], fill=_ON if label else _OFF, outline=_RIM, width=2)
        draw.line([x - 5, y, x + 5, y], fill=_RIM, width=2)
        if label:  # a plus or a minus, so that clicks differ not only in color
            draw.line([x, y - 5, x, y + 5], fill=_RIM, width=2)


def _draw_cross(picture: Any, x: float, y: float, arm: float, color: tuple[int, int, int]) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    for width, ink in ((4, (0, 0, 0)), (2, color)):
        draw.line([x - arm, y, x + arm, y], fill=ink, width=width)
        draw.line([x, y - arm, x, y + arm], fill=ink, width=width)
