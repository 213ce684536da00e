"""Cuts an object out of one frame, from a click, a box or a rough mask."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.classical_pixels import (
    Floats,
    Look,
    Mask,
    border_share,
    contrast,
    fill_holes,
    grow,
    sharpen,
    shrink,
    window,
)
from videorefer_plugin.segment.classical_scale import Placed

__all__ = ["corrected", "cut_out", "leave_out"]

_LEVELS = np.geomspace(3, 90, 26)
_TINT = 35.0  # difference of tint at which an outline stands out well
_SIZE = 0.25  # power of the area in a region's score, so that a stripe is not taken for the object
_TURNS = 6  # rounds in which a region grows by its neighbors
_FINALISTS = 4
_BOX_ALONE = 0.1  # score of a box in which nothing stands out, so that all of it is taken
_AT_ONCE = 4096  # pixels that are compared with samples at once, to limit memory
_SAME = 0.12  # masks of areas that differ by less are the same region


def cut_out(look: Look, prompt: Placed) -> tuple[Mask, float]:
    """Return the mask of the object that a prompt means (empty if nothing stands out), and its score."""
    inside, outside = _pixels(look, prompt, 1), _pixels(look, prompt, 0)
    allowed = _box_mask(look, prompt)
    finals = []
    for quality, mask in nlargest(_FINALISTS, _candidates(look, prompt, inside), key=lambda one: one[0]):
        whole = complete(mask, look) & allowed
        if not all(grow(whole, 1)[y, x] for y, x in inside):
            whole = mask  # the points must stay in the mask
        finals.append((quality / max(_looks(mask, look), 1e-6) * _looks(whole, look), whole))
    highest, best = max(finals, key=lambda one: one[0], default=(0.0, np.zeros(look.lab.shape[:2], bool)))
    if not highest:
        best = np.zeros(look.lab.shape[:2], bool)
    clear = _clearness(finals, highest, best)
    if prompt.box is not None and (not best.any() or _sureness(best, look) < 0.5):
        best = _grab(look, allowed, best)
    is_click = len(inside) == 1 and prompt.box is None and prompt.mask is None
    for y, x in () if is_click else inside:
        if not grow(best, 1)[y, x] and best.any():
            more, _ = cut_out(look, Placed.at(y, x))
            best = best | (more & allowed)
    if not best.any() and prompt.mask is not None:
        return _without(look, prompt.mask & allowed, outside), _BOX_ALONE
    if not best.any() and prompt.box is not None:
        return _without(look, allowed, outside), _BOX_ALONE
    best = _without(look, best, outside)
    return best, _sureness(best, look) * clear if best.any() else 0.0


def _clearness(finals: list[tuple[float, Mask]], highest: float, best: Mask) -> float:
    """Return how clear the choice was, from 0.4 (something else was nearly as good) to 1."""
    others = [quality for quality, mask in finals if (mask & best).sum() < 0.6 * (mask | best).sum()]
    share = max(others, default=0.0) / max(highest, 1e-6)
    return 1 - 0.6 * float(np.clip((share - 0.7) / 0.2, 0, 1))


def _grab(look: Look, allowed: Mask, before: Mask) -> Mask:
    """Return the mask of GrabCut in a box in which no tolerance of color separates the object, or `before`."""
    import cv2

    rows, columns = window(allowed, 8 + round(0.3 * float(np.sqrt(allowed.sum()))))
    inside = allowed[rows, columns]
    if inside.all() or min(inside.shape) < 8:
        return before
    labels = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    pixels = np.ascontiguousarray(look.rgb[rows, columns][..., ::-1])
    cv2.grabCut(pixels, labels, None, *models, 3, cv2.GC_INIT_WITH_MASK)
    found = np.zeros_like(allowed)
    found[rows, columns] = (labels == cv2.GC_PR_FGD) & inside
    found = fill_holes(found)
    return found if found.sum() > 0.05 * allowed.sum() else before


def leave_out(look: Look, mask: Mask, prompt: Placed) -> Mask:
    """Return a mask without the parts that negative points exclude."""
    return _without(look, mask, _pixels(look, prompt, 0))


def corrected(look: Look, mask: Mask, prompt: Placed) -> tuple[Mask, float] | None:
    """Return a mask with the parts that points add, without those that they exclude, and the score of the new parts.

    The result is `None` if the points mean another object: no point is in the mask, and no new part touches it.
    """
    near = grow(mask, 1)
    inside, outside = _pixels(look, prompt, 1), _pixels(look, prompt, 0)
    beyond = [(x + 0.5, y + 0.5) for y, x in inside if not near[y, x]]
    sure = 1.0
    if beyond:
        labels = (1,) * len(beyond) + (0,) * len(outside)
        points = np.concatenate([np.array(beyond), outside[:, ::-1] + 0.5])
        more, sure = cut_out(look, Placed(points, labels))
        if len(beyond) == len(inside) and not (more & grow(mask, 2)).any():
            return None
        mask = mask | more
    mask = _without(look, mask, outside)
    return (mask, sure) if mask.any() else None


def _without(look: Look, mask: Mask, outside: NDArray[np.int64]) -> Mask:
    for y, x in outside:
        if mask[y, x]:
            other, _ = cut_out(look, Placed.at(y, x))
            if not other[y, x] or (mask & ~other).sum() < 0.1 * mask.sum():
                # All of the mask looks like that point: only the parts near it are removed.
                other = np.zeros_like(mask)
                other[y, x] = True
                other = grow(other, max(1, round(0.2 * float(np.sqrt(mask.sum())))))
            mask = mask & ~other
    return mask


def _pixels(look: Look, prompt: Placed, label: int) -> NDArray[np.int64]:
    """Return rows and columns of the points with this label."""
    height, width = look.lab.shape[:2]
    places = prompt.points[[one == label for one in prompt.labels]] if len(prompt.points) else prompt.points
    return np.floor(places[:, ::-1]).astype(np.int64).clip(0, [height - 1, width - 1])


def _box_mask(look: Look, prompt: Placed) -> Mask:
    """Return the mask of pixels where the object may be: those of the box, if there is one."""
    allowed = np.ones(look.lab.shape[:2], bool)
    if prompt.box is not None:
        x0, y0, x1, y1 = prompt.box
        allowed[:] = False
        # A box may reach out of the frame; at least one pixel of it is kept.
        height, width = look.lab.shape[:2]
        y, x = min(max(int(np.floor(y0)), 0), height - 1), min(max(int(np.floor(x0)), 0), width - 1)
        allowed[y : max(int(np.ceil(y1)), y + 1), x : max(int(np.ceil(x1)), x + 1)] = True
    return allowed


def _candidates(look: Look, prompt: Placed, inside: NDArray[np.int64]) -> Iterator[tuple[float, Mask]]:
    """Yield masks that the prompt may mean, with their scores."""
    if prompt.mask is not None and prompt.mask.any():
        yield 2.0 * max(_looks(prompt.mask, look), 0.01), prompt.mask
    allowed = _box_mask(look, prompt)
    outside = _pixels(look, prompt, 0)
    if prompt.box is not None:
        for mask, quality in _in_box(look, allowed):
            if all(grow(mask, 1)[y, x] for y, x in inside) and not any(mask[y, x] for y, x in outside):
                yield quality, mask
    if len(inside):
        for mask, quality in _regions(look, inside[0]):
            fit = _fit(mask, allowed) if prompt.box is not None else 1.0
            if all(grow(mask, 1)[y, x] for y, x in inside) and not any(mask[y, x] for y, x in outside):
                yield quality * fit, mask & allowed


def _in_box(look: Look, allowed: Mask) -> Iterator[tuple[Mask, float]]:
    """Yield masks of the pixels in a box that differ from the surroundings of the box, for several tolerances."""
    import cv2

    ring = grow(allowed, max(3, round(0.15 * float(np.sqrt(allowed.sum()))))) & ~allowed
    if ring.sum() < 8:  # the box is the whole frame: its border counts as the surroundings
        ring = allowed.copy()
        ring[1:-1, 1:-1] = False
    values = np.concatenate([look.lab, look.tint], 2)
    far = np.zeros(allowed.shape, np.float32)
    far[allowed] = _far(values[allowed], _some(values[ring]))
    for level in _LEVELS[2::2]:
        count, labels, stats, _ = cv2.connectedComponentsWithStats((far > level).astype(np.uint8), connectivity=8)
        if count < 2:
            return
        largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        mask = fill_holes(labels == largest)
        yield mask, _looks(mask, look) * _fit(mask, allowed)


def _fit(mask: Mask, allowed: Mask) -> float:
    """Return how well a mask fills a box from side to side."""
    part = mask & allowed
    if not part.any():
        return 0.0
    span = float((part.any(0).sum() * part.any(1).sum()) / max(allowed.any(0).sum() * allowed.any(1).sum(), 1))
    return span**2 * float(part.sum() / mask.sum()) ** 2


def _sureness(mask: Mask, look: Look) -> float:
    """Return how well a mask stands out, from 0 to 1."""
    color, tint = contrast(mask, look)
    area = float(mask.mean())
    return float((1 - np.exp(-max(color, tint) / 10)) * (1 - border_share(mask)) * min(1.0, 2 * (1 - area)))


def complete(mask: Mask, look: Look) -> Mask:
    """Add the pixels around a region that have its hue, such as a dark seam, and correct its outline."""
    if not mask.any():
        return mask
    rows, columns = window(mask, 16 + round(1.5 * float(np.sqrt(mask.sum()))))
    made = mask.copy()
    made[rows, columns] = _completed(mask[rows, columns], look.part(rows, columns))
    return made


def _completed(mask: Mask, look: Look) -> Mask:
    for turn in range(_TURNS):
        before = int(mask.sum())
        reach = max(2, round(0.15 * float(np.sqrt(mask.sum()))))
        near = grow(mask, reach) & ~mask
        ring = grow(mask, 3 * reach) & ~grow(mask, reach)
        if near.any() and ring.any():
            own, other = _some(look.tint[mask]), _some(look.tint[ring])
            tints = look.tint[near]
            mask = mask.copy()
            mask[near] = _far(tints, own) < 0.6 * _far(tints, other)
        mask = sharpen(fill_holes(mask), look)
        if turn and mask.sum() < 1.05 * before:
            break
    return mask


def _some(values: Floats) -> Floats:
    return values[:: max(1, len(values) // 64)]


def _far(values: Floats, samples: Floats) -> Floats:
    """Return the distance of each value to the nearest samples, without a few outliers."""
    rank = min(len(samples) - 1, len(samples) // 16)
    found = np.empty(len(values), np.float32)
    for first in range(0, len(values), _AT_ONCE):
        part = values[first : first + _AT_ONCE, None]
        steps = sum((part[..., axis] - samples[:, axis]) ** 2 for axis in range(samples.shape[1]))
        found[first : first + _AT_ONCE] = np.sqrt(np.partition(steps, rank, axis=1)[:, rank])
    return found


def _regions(look: Look, seed: NDArray[np.int64]) -> Iterator[tuple[Mask, float]]:
    """Yield regions around a pixel, with their scores."""
    seen: dict[tuple[int, ...], float] = {}
    for y, x, near in _seeds(look, seed):
        for values in (look.tint, look.lab):
            far = np.sqrt(((values - values[y, x]) ** 2).sum(2))
            for mask, span in _plateaus(far, (y, x)):
                if not grow(mask, 1)[seed[0], seed[1]]:
                    continue
                hit = 1.0 if mask[seed[0], seed[1]] else 0.7
                key = _key(mask)
                if key not in seen:
                    seen[key] = _looks(mask, look)
                yield mask, span**0.4 * near * hit * seen[key]


def _key(mask: Mask) -> tuple[int, ...]:
    """Return a key that distinguishes masks without comparing all their pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(mask.sum()), int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])


def _seeds(look: Look, seed: NDArray[np.int64]) -> list[tuple[int, int, float]]:
    """Return the pixel and some neighbors, since a click is easily on the blurred edge of its object."""
    height, width = look.lab.shape[:2]
    found = []
    for dy, dx in [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-2, 0), (2, 0), (0, -2), (0, 2)]:
        y, x = int(seed[0]) + dy, int(seed[1]) + dx
        if 0 <= y < height and 0 <= x < width:
            found.append((y, x, 1.0 - 0.15 * (abs(dy) + abs(dx))))
    return found


def _plateaus(far: Floats, seed: tuple[int, int]) -> Iterator[tuple[Mask, float]]:
    """Yield the regions around a pixel that are stable over a range of tolerances, and the width of the range."""
    import cv2

    regions, areas = [], []
    for level in _LEVELS:
        _, labels = cv2.connectedComponents((far <= level).astype(np.uint8), connectivity=4)
        region = labels == labels[seed]
        regions.append(region)
        areas.append(int(region.sum()))
        if areas[-1] > 0.6 * far.size:
            break
    first = 0
    for place in range(1, len(areas) + 1):
        if place == len(areas) or areas[place] > areas[first] * (1 + _SAME) + 1:
            if place - first > 1:
                yield regions[(first + place - 1) // 2], (place - first) / len(_LEVELS)
            first = place


def _looks(mask: Mask, look: Look) -> float:
    """Return how much a region looks like an object: its outline stands out, and is not the border of the frame."""
    area = mask.sum() / mask.size
    if not 0 < area <= 0.7:
        return 0.0
    filled = fill_holes(mask)
    color, tint = contrast(filled, look)
    sharp = 0.4 * (1 - np.exp(-color / 20)) + 0.6 * (1 - np.exp(-tint / _TINT))
    one = 0.5 if _is_two(filled) else 1.0
    return float(sharp * one * (1 - border_share(mask)) ** 2 * filled.sum() ** _SIZE)


def _is_two(mask: Mask) -> bool:
    """Tell whether a region looks like two things that touch: two large parts with a neck between them."""
    import cv2

    rows, columns = window(mask, 1)
    mask = mask[rows, columns]
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)  # far quicker than large discs
    radius, most = 1, max(1, round(0.14 * float(np.sqrt(mask.sum()))))
    while radius <= most:
        inner = shrink(mask, radius) if radius <= 3 else depth > radius + 0.25
        radius += 1 + radius // 10
        _, _, stats, _ = cv2.connectedComponentsWithStats(inner.astype(np.uint8), connectivity=4)
        areas = np.sort(stats[1:, cv2.CC_STAT_AREA])
        if len(areas) > 1 and areas[-2] > max(3, 0.06 * areas.sum()):
            return True
    return False
