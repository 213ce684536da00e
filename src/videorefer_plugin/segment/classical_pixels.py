"""Colors, outlines and shapes of masks, as the classical segmenter sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Colors",
    "Look",
    "Mask",
    "border_share",
    "contrast",
    "fill_holes",
    "grow",
    "look_at",
    "sharpen",
    "shrink",
    "window",
]

Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

_DARK = 12.0  # added to the brightness that divides saturation, so that black has no strong color
_LOW = np.array([0.0, -80.0, -80.0], np.float32)  # lower end of the colors that are distinguished
_HIGH = np.array([100.0, 80.0, 80.0], np.float32)
_BINS = 24


class Look(NamedTuple):
    """A frame, or a part of one, and its colors.

    Attributes:
        rgb: uint8 (height, width, 3).
        lab: float32 (height, width, 3), CIE Lab.
        tint: float32 (height, width, 2), hue and saturation as a vector in about the units of Lab. Shadows and dark
            patterns do not change it.
    """

    rgb: NDArray[np.uint8]
    lab: Floats
    tint: Floats

    def part(self, rows: slice, columns: slice) -> Look:
        """Return a window of the frame."""
        return Look(self.rgb[rows, columns], self.lab[rows, columns], self.tint[rows, columns])


def look_at(rgb: NDArray[np.uint8]) -> Look:
    """Compute the colors of a frame."""
    import cv2

    values = rgb.astype(np.float32)
    lab = cv2.cvtColor(values / np.float32(255), cv2.COLOR_RGB2Lab)
    red, green, blue = values[..., 0], values[..., 1], values[..., 2]
    top = values.max(2) + np.float32(_DARK)
    across = (red - (green + blue) / 2) / top
    along = (green - blue) * np.float32(np.sqrt(3) / 2) / top
    return Look(rgb, lab.reshape(values.shape), np.stack([across, along], 2) * np.float32(100))


class Colors:
    """A histogram of colors in Lab, smoothed so that a few pixels are enough."""

    def __init__(self, lab: Floats, weights: Floats | None = None):
        self.shares = np.zeros((_BINS,) * 3, np.float32)
        if len(lab):
            counts = np.bincount(_bin(lab), weights, _BINS**3)
            self.shares = _smooth(counts.reshape((_BINS,) * 3).astype(np.float32))
            self.shares /= max(float(self.shares.sum()), 1e-9)

    def __call__(self, lab: Floats) -> Floats:
        """Return the density of each color."""
        return self.shares.ravel()[_bin(lab.reshape(-1, 3))].reshape(lab.shape[:-1])

    def mixed(self, other: Colors, share: float) -> Colors:
        """Return a mixture with a share of another histogram."""
        made = Colors(np.empty((0, 3), np.float32))
        made.shares = (1 - share) * self.shares + share * other.shares
        return made

    def like(self, other: Colors) -> float:
        """Return how alike two histograms are, from 0 to 1 (Bhattacharyya)."""
        return float(np.sqrt(self.shares * other.shares).sum())


def _bin(lab: Floats) -> NDArray[np.int64]:
    places = ((lab - _LOW) / (_HIGH - _LOW) * _BINS).astype(np.int64).clip(0, _BINS - 1)
    return (places[..., 0] * _BINS + places[..., 1]) * _BINS + places[..., 2]


def _smooth(counts: Floats) -> Floats:
    kernel = np.array([0.06, 0.24, 0.4, 0.24, 0.06], np.float32)
    for axis in range(3):
        padded = np.pad(counts, [(2, 2) if each == axis else (0, 0) for each in range(3)])
        counts = sum(kernel[shift] * np.take(padded, range(shift, shift + _BINS), axis) for shift in range(5))
    return counts


def _disc(radius: int) -> NDArray[np.uint8]:
    import cv2

    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)


def grow(mask: Mask, radius: int) -> Mask:
    """Return the mask and the pixels near it."""
    import cv2

    if radius > 3:  # far quicker than a large disc
        return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3) <= radius if mask.any() else mask
    return cv2.dilate(mask.astype(np.uint8), _disc(radius)) > 0 if radius > 0 else mask


def shrink(mask: Mask, radius: int) -> Mask:
    """Return the inner part of the mask; the border of the frame does not count as an edge."""
    import cv2

    if radius <= 0:
        return mask
    return cv2.erode(mask.astype(np.uint8), _disc(radius), borderType=cv2.BORDER_REPLICATE) > 0


def window(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Return the window of the frame around a mask, with a margin where the frame has one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
        slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
    )


def fill_holes(mask: Mask) -> Mask:
    """Return the mask without holes."""
    import cv2

    outside = np.pad(mask, 1).astype(np.uint8)
    cv2.floodFill(outside, None, (0, 0), 2)
    return outside[1:-1, 1:-1] != 2


def border_share(mask: Mask) -> float:
    """Return the share of the frame's border that the mask covers."""
    edge = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return float(edge.mean())


def contrast(mask: Mask, look: Look) -> tuple[float, float]:
    """Return the differences of color and tint across the outline, in units of Lab: the lower quartile along it.

    The edge of the frame is not part of the outline.
    """
    import cv2

    if not mask.any():
        return 0.0, 0.0
    rows, columns = window(mask, 6)
    mask, look = mask[rows, columns], look.part(rows, columns)
    outline = mask & ~shrink(mask, 1)
    if not outline.any():
        return 0.0, 0.0
    values = np.concatenate([look.lab, look.tint], 2)
    sides = []
    for side in (shrink(mask, 1), ~grow(mask, 1)):
        weight = side.astype(np.float32)
        near = cv2.boxFilter(weight, -1, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT)
        total = cv2.boxFilter(values * weight[..., None], -1, (5, 5), normalize=False, borderType=cv2.BORDER_CONSTANT)
        sides.append((total / np.maximum(near, 1e-6)[..., None], near > 0))
    (inner, has_inner), (outer, has_outer) = sides
    known = outline & has_inner & has_outer
    if not known.any():
        known = outline & has_outer
        inner = values
    if not known.any():
        return 0.0, 0.0
    steps = (inner - outer)[known] ** 2
    color, tint = np.sqrt(steps[:, :3].sum(1)), np.sqrt(steps[:, 3:].sum(1))
    return float(np.quantile(color, 0.25)), float(np.quantile(tint, 0.25))


_REACH = [(y, x) for y in range(-3, 4) for x in range(-3, 4) if 0 < y * y + x * x <= 10]
_AT_ONCE = 2000
_HUE = 0.3


def sharpen(mask: Mask, look: Look) -> Mask:
    """Correct the outline to the pixel: each pixel near it goes to the side that covers more than half of it.

    Its color is explained as the best mixture of a nearby color inside and one outside.
    """
    if not mask.any():
        return mask
    rows, columns = window(mask, 6)
    found = mask.copy()
    found[rows, columns] = _sharpened(mask[rows, columns], look.part(rows, columns))
    return found


def _sharpened(mask: Mask, look: Look) -> Mask:
    inner, outer = shrink(mask, 1), ~grow(mask, 1)
    band = np.argwhere(~inner & ~outer)
    if not inner.any():
        inner = mask
    if not len(band) or not outer.any():
        return mask
    found = mask.copy()
    inner, outer = np.pad(inner, 3), np.pad(outer, 3)
    # Videos store the hue at half the size, so that brightness is more exact at an outline.
    lab = np.pad(look.lab * np.array([1, _HUE, _HUE], np.float32), ((3, 3), (3, 3), (0, 0)))
    for first in range(0, len(band), _AT_ONCE):
        rows, columns = band[first : first + _AT_ONCE].T
        found[rows, columns] = _covered(rows + 3, columns + 3, lab, inner, outer, mask[rows, columns])
    return found


def _covered(rows: Any, columns: Any, lab: Floats, inner: Mask, outer: Mask, before: Mask) -> Mask:
    """Return for each of these pixels whether more than half of it is covered."""
    own = lab[rows, columns]
    places = np.array(_REACH)
    y, x = rows[:, None] + places[:, 0], columns[:, None] + places[:, 1]
    colors, far = lab[y, x], np.hypot(*places.T).astype(np.float32)
    fronts, front_cost = _nearest(colors, inner[y, x], far, 12)
    backs, back_cost = _nearest(colors, outer[y, x], far, 6)
    across = fronts[:, :, None] - backs[:, None]  # (n, fronts, backs, 3)
    offset = own[:, None, None] - backs[:, None]
    length = (across**2).sum(3)
    share = ((offset * across).sum(3) / np.maximum(length, 1e-3)).clip(0, 1)
    left = np.sqrt(((offset - share[..., None] * across) ** 2).sum(3))
    cost = left + front_cost[:, :, None] + back_cost[:, None] + (length < 9) * 50
    best = cost.reshape(len(own), -1).argmin(1)
    at = np.arange(len(own))
    lowest = cost.reshape(len(own), -1)[at, best]
    return np.where(lowest < 40, share.reshape(len(own), -1)[at, best] > 0.5, before)


def _nearest(colors: Floats, is_one: Mask, far: Floats, most: int) -> tuple[Floats, Floats]:
    """Return the nearest colors around each pixel, with a cost that grows with their distance."""
    cost = np.where(is_one, far, np.float32(1000))
    order = np.argpartition(cost, most, axis=1)[:, :most]
    return np.take_along_axis(colors, order[..., None], 1), np.take_along_axis(cost, order, 1)
