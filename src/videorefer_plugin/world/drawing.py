"""Drawing of clips: anti-aliased pictures and exact visible masks from tracks.

A pixel belongs to an object if its center lies inside the object's outline and in no object that is drawn over it. The
picture is blended over one pixel around that outline. Nothing else decides masks, so they are exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.world.values import COLORS, REACH, Stage

__all__ = ["STAR_DISC", "draw", "draw_background", "outline"]

_DARK = 0.3  # the second color of a pattern is the first one at this brightness: the hue stays the same
_STAR = [(math.cos(angle), math.sin(angle)) for angle in (math.radians(-90 + 72 * k) for k in range(5))]
STAR_DISC = 0.8
_STAR_LINE = REACH["star"] * math.cos(math.radians(72))


def outline(shape: str, x: NDArray, y: NDArray) -> NDArray:
    """Return the signed distance to the outline of a shape of radius 1 (negative inside, exact near edges' middles).

    Args:
        shape: one of `values.SHAPES`.
        x: offsets from the center, to the right, in radii.
        y: offsets from the center, down, in radii; same shape as `x`.
    """
    if shape == "circle":
        return np.hypot(x, y) - 1
    if shape == "square":
        return np.maximum(abs(x), abs(y)) - 0.9
    if shape == "diamond":
        return (abs(x) + abs(y)) * math.sqrt(0.5) - 0.9
    if shape == "triangle":
        return np.maximum(y, abs(x) * math.sqrt(0.75) - y / 2) - 0.75
    if shape == "cross":
        across, along = abs(x), abs(y)
        return np.minimum(
            np.maximum(across - 1.1, along - 0.48),
            np.maximum(across - 0.48, along - 1.1),
        )
    # A point is inside a five-pointed star if it is on the inner side of at least four of its five lines. A disc makes
    # the star fat enough for patterns to be seen.
    lines = np.stack([x * cos + y * sin for cos, sin in _STAR])
    lines.partition(3, axis=0)
    return np.minimum(lines[3] - _STAR_LINE, np.hypot(x, y) - STAR_DISC)


def draw_background(rng: np.random.Generator, stage: Stage, cluttered: bool) -> NDArray[np.float32]:
    """Make a background, float32 (size, size, 3) from 0 to 255: one light gray, or low-contrast grays over it."""
    size = stage.size
    tone = rng.uniform(165, 215)
    picture = np.full((size, size), tone, np.float32)
    if cluttered:
        rows, columns = np.mgrid[:size, :size].astype(np.float32)
        for _ in range(int(rng.integers(6, 11))):
            x, y, angle = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(0, math.pi)
            along = (columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)
            across = (rows - y) * math.cos(angle) - (columns - x) * math.sin(angle)
            inside = (abs(along) < rng.uniform(4, 16) * stage.unit) & (abs(across) < rng.uniform(1, 8) * stage.unit)
            picture[inside] = tone + rng.uniform(-28, 28)
        picture += rng.normal(0, 3, picture.shape)
    return np.repeat(picture[..., None], 3, axis=2).clip(0, 255)


def draw(
    background: NDArray[np.float32],
    shapes: Sequence[tuple[str, str, str]],
    centers: NDArray,
    radii: NDArray,
    order: Sequence[int],
    unit: float,
    changes: Sequence[tuple[str, str, str, int] | None] = (),
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw a clip.

    Args:
        background: (size, size, 3), values from 0 to 255.
        shapes: (shape, color, pattern) of each of N objects.
        centers: (N, T, 2), x and y in pixels; they may lie outside the frame.
        radii: (N, T), in pixels.
        order: indices of the objects from the back to the front.
        unit: pixels of this frame per pixel of a frame of 64 x 64; scales the patterns.
        changes: for each object, if any change: "color" or "pattern", its first and second value, and the frame at
            which it changes.

    Returns:
        Frames uint8 (T, size, size, 3) and visible masks bool (N, T, size, size).
    """
    count, frames = radii.shape
    size = len(background)
    # Boxes are cut from a canvas with a border, so that objects at the edge need no special case.
    boxes = [2 * math.ceil(REACH[shape] * radii[i].max() + 1) + 1 for i, (shape, _, _) in enumerate(shapes)]
    border = max(boxes)
    canvas = np.zeros((frames, size + 2 * border, size + 2 * border, 3), np.float32)
    inner = slice(border, border + size)
    canvas[:, inner, inner] = background
    owner = np.full(canvas.shape[:3], -1, np.int8)
    times = np.arange(frames)[:, None, None]
    for index in order:
        box = boxes[index]
        corners = np.floor(centers[index]).astype(int) - box // 2
        corners = corners.clip(-border, size + border - box)
        pixels = corners[:, :, None] + np.arange(box)  # (T, 2, box)
        offsets = (pixels + 0.5 - centers[index][:, :, None]).astype(np.float32)
        x, y = np.broadcast_arrays(offsets[:, 0, None, :], offsets[:, 1, :, None])
        shape, color, pattern = shapes[index]
        radius = radii[index].astype(np.float32)[:, None, None]
        distance = outline(shape, x / radius, y / radius) * radius
        change = changes[index] if changes else None
        paint = _paint(color, pattern, x, y, distance, unit)
        if change:
            looks = [(one, pattern) if change[0] == "color" else (color, one) for one in change[1:3]]
            first, last = (_paint(*look, x, y, distance, unit) for look in looks)
            paint = np.where(times[..., None] < change[3], first, last)
        where = times, pixels[:, 1, :, None] + border, pixels[:, 0, None, :] + border
        cover = (0.5 - distance).clip(0, 1)[..., None]
        under = canvas[where]
        canvas[where] = under + (paint - under) * cover
        owner[where] = np.where(distance < 0, np.int8(index), owner[where])
    pictures = (canvas[:, inner, inner] + 0.5).astype(np.uint8)
    return pictures, owner[None, :, inner, inner] == np.arange(count, dtype=np.int8)[:, None, None, None]


def _paint(color: str, pattern: str, x: NDArray, y: NDArray, distance: NDArray, unit: float) -> NDArray[np.float32]:
    return np.asarray(COLORS[color], np.float32) * _brightness(pattern, x, y, distance, unit)[..., None]


def _brightness(pattern: str, x: NDArray, y: NDArray, distance: NDArray, unit: float) -> NDArray[np.float32]:
    if pattern == "striped":
        dark = np.floor(y / (2.5 * unit)) % 2 == 0
    elif pattern == "dotted":
        step = 5 * unit  # a dot in the middle of each cell of a grid with a corner in the center
        dark = np.hypot(x % step - step / 2, y % step - step / 2) < 1.5 * unit
    elif pattern == "bordered":
        dark = distance > -1.6 * unit
    else:
        return np.ones_like(distance)
    return np.where(dark, np.float32(_DARK), np.float32(1))
