"""Marks: objects drawn on a frame, each in a colour of its own and numbered."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import ConfigurationError

__all__ = ["COLORS", "STYLES", "draw_marks"]

STYLES = ("contour", "mask", "box")
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
        ConfigurationError: the style is unknown.

    Examples:
        >>> frame = np.zeros((40, 40, 3), np.uint8)
        >>> mask = np.zeros((40, 40), bool)
        >>> mask[10:30, 10:30] = True
        >>> draw_marks(frame, {1: mask}, "contour")[10, 12].tolist()
        [255, 0, 0]
    """
    from PIL import Image, ImageDraw, ImageFilter

    if style not in STYLES:
        raise ConfigurationError(f"marks are {style!r}: expected one of {', '.join(STYLES)}")
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
    """The number on a plate of the object's colour, in the middle of the object."""
    from PIL import ImageDraw, ImageFont

    pixels = np.argwhere(mask)
    # The pixel nearest to the centre, which may itself lie outside, as in a ring.
    row, column = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()]
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
