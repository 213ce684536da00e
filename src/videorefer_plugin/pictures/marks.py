"""Marks: numbered objects drawn on a frame, each in its own color."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._kinds import MAPPING, check_kind, instances
from videorefer_plugin.errors import ConfigurationError

__all__ = ["COLORS", "STYLES", "color_of", "draw_marks"]

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


def color_of(number: int) -> tuple[int, int, int]:
    """Return the color of an object, numbered from 1; colors repeat from the ninth on."""
    return list(COLORS.values())[(number - 1) % len(COLORS)]


def draw_marks(
    frame: NDArray[np.uint8], masks: Mapping[int, NDArray[np.bool_]], style: str, *more: str, letters: int = 8
) -> NDArray[np.uint8]:
    """Draw marks on a frame.

    Args:
        frame: uint8 (height, width, 3).
        masks: number of an object, from 1 -> bool (height, width). Objects without a pixel get no mark.
        style (`str`): `"contour"`, a line around the object; `"mask"`, the object in color; `"box"`, its box.
        more (`str`): further styles that are drawn over the first.
        letters (`int`, *optional*, defaults to 8): height of the numbers in pixels, at least; 0 for no numbers.

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
    from PIL import Image

    check_kind(ConfigurationError, instances(np.ndarray), frame=frame)
    check_kind(ConfigurationError, MAPPING, masks=masks)
    styles = (style, *more)
    for one in styles:
        if not isinstance(one, str) or one not in STYLES:
            raise ConfigurationError(f"marks are {one!r}: expected one of {', '.join(STYLES)}")
    picture = Image.fromarray(frame).convert("RGB")
    width = max(1, round(min(frame.shape[:2]) / _LINE))
    drawn = {number: mask for number, mask in masks.items() if mask.any()}
    for one in styles:
        for number, mask in drawn.items():
            _draw_mark(picture, color_of(number), mask, one, width)
    for number, mask in drawn.items() if letters else ():  # on top of all marks
        _draw_number(picture, number, mask, letters)
    return np.asarray(picture)


def _draw_mark(picture: Any, color: tuple[int, int, int], mask: NDArray[np.bool_], style: str, width: int) -> None:
    from PIL import Image, ImageDraw

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    left, top, right, bottom = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    if style == "box":
        ImageDraw.Draw(picture).rectangle([left, top, right, bottom], outline=color, width=width)
        return
    drawn = mask[top : bottom + 1, left : right + 1]
    opacity = _OPACITY if style == "mask" else 1
    shade = Image.fromarray(
        ((drawn if style == "mask" else _rim(drawn, width)) * round(255 * opacity)).astype(np.uint8)
    )
    picture.paste(color, (left, top), shade)


def _rim(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The rim of the object itself, so that the lines of neighbors stay apart."""
    inner = np.pad(mask, width)  # gives the object a rim also where the frame ends
    for length in mask.shape:
        inner = np.logical_and.reduce([inner[first : first + length] for first in range(2 * width + 1)]).T
    return mask & ~inner


def _draw_number(picture: Any, number: int, mask: NDArray[np.bool_], letters: int) -> None:
    """Draw the number on a plate of the object's color, in the middle of the object."""
    from PIL import ImageDraw, ImageFont

    pixels = np.argwhere(mask)
    # The pixel nearest to the center, which may itself lie outside, as in a ring.
    row, column = pixels[((pixels - pixels.mean(0)) ** 2).sum(1).argmin()]
    size = max(letters, min(picture.size) // 20)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
    wide, high = right - left + 2, bottom - top + 2
    x = int(min(max(column - wide / 2, 0), max(picture.width - wide, 0)))
    y = int(min(max(row - high / 2, 0), max(picture.height - high, 0)))
    color = color_of(number)
    bright = sum(part * weight for part, weight in zip(color, (0.3, 0.6, 0.1), strict=True)) > 128
    draw.rectangle([x, y, x + wide - 1, y + high - 1], fill=color)
    draw.text((x + 1 - left, y + 1 - top), str(number), font=font, fill=(0, 0, 0) if bright else (255, 255, 255))
