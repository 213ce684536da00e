"""Follows one object through a video: its expected position, its pixels, and whether it is visible."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.classical_motion import Motion, carried, moved
from videorefer_plugin.segment.classical_pixels import (
    Colors,
    Floats,
    Look,
    Mask,
    border_share,
    fill_holes,
    grow,
    sharpen,
    shrink,
)

__all__ = ["Follower", "Sight"]

_LEARN = 0.1  # weight of the colors of a new frame
_KEEP = 12  # frames for which an invisible part counts as hidden
_HIDDEN = 0.08  # an object is absent if a smaller share is visible
_WHOLE = 0.9  # an object is not hidden if a larger share is visible
_STRANGE = 0.45  # likeness of colors below which it is another object
_ALIKE = 0.85  # likeness of colors above which a region elsewhere is the object
_FORM = 0.65  # and IoU of the two outlines when they are aligned
_SIZES = 0.6  # and ratio of the smaller area to the larger one
_PATIENCE = 3  # frames for which it may look strange


class Sight(NamedTuple):
    """An object in a frame: its mask, or None where it is absent; the score; and the reason if it is lost."""

    mask: Mask | None
    score: float
    lost: str | None = None


class _Expected(NamedTuple):
    """The expected mask of a whole object, visible or not; x and y of its move; the error of that in pixels."""

    shape: Mask
    shift: NDArray[np.float64]
    speed: NDArray[np.float64]
    reach: int


class Follower:
    """Follows one object from frame to frame, in one direction.

    `look` finds the object in a frame and changes nothing; `take` continues from the mask that was found. An
    interrupted run can so take known masks, and continues as if it had not been interrupted.
    """

    def __init__(self, look: Look, mask: Mask, trust: float = 1.0):
        self.trust = trust
        self.mask: Mask | None = mask
        self.is_somewhere = True  # positions are those of one shot
        self.whole = mask  # mask when it was last seen with nothing in front of it
        self.place = np.zeros(2)  # its move since then, x and y
        self.speed, self.steps = np.zeros(2), 0  # and the number of steps in which it was measured
        self.hidden = self.missing = self.strange = 0  # numbers of frames
        self.first = self.colors = Colors(look.lab[_core(mask)])
        self.around = self._surroundings(look, mask)
        self.size = float(mask.sum())

    def look(self, look: Look, motion: Motion | None, is_cut: bool = False) -> Sight:
        """Find the object in the next frame."""
        likely = self._likely(look)
        if is_cut:
            found = self._anywhere(look, likely)
            return Sight(None, 0.1) if found is None else Sight(found, self._sureness(look, found, found))
        expected = self._expect(motion, likely)
        mask = self._own(look, likely, expected) if expected.shape.any() else None
        if mask is None:
            mask = self._anywhere(look, likely)
        if mask is None:
            return Sight(None, 0.1, None if self.mask is None else self._why_lost(look, expected.shape))
        score = self._sureness(look, mask, expected.shape)
        if self.strange + 1 >= _PATIENCE and self._likeness(look, mask) < _STRANGE:
            return Sight(None, score, "the region that was followed does not look like it any more")
        return Sight(mask, score)

    def _why_lost(self, look: Look, shape: Mask) -> str | None:
        """Return the reason if the object is lost rather than absent: nothing hides it, and it is inside the frame."""
        if self.hidden or not shape.any():
            return None
        inner = np.zeros_like(shape)
        margin = 2 + int(np.ceil(np.abs(self.speed).max()))
        inner[margin:-margin, margin:-margin] = True
        if (shape & ~inner).any():
            return None
        # Something that was not around the object before is at its expected position.
        covered = self.around(look.lab[shape]) < 1e-4
        if covered.mean() > 0.3:
            return None
        return "it is not where it is expected, and nothing hides it there"

    def take(self, look: Look, motion: Motion | None, mask: Mask | None, is_cut: bool = False) -> None:
        """Continue from the mask that was found in the next frame."""
        if is_cut:
            self.mask, self.speed, self.steps, self.is_somewhere = None, np.zeros(2), 0, False
        else:
            expected = self._expect(motion, self._likely(look))
            self.place, self.speed = self.place + expected.shift, expected.speed
        if mask is None:
            self.missing += 1
        else:
            self.strange = self.strange + 1 if self._likeness(look, mask) < _STRANGE else 0
            self._learn(look, mask)
            self.missing = 0
        self.mask = mask

    def _learn(self, look: Look, mask: Mask) -> None:
        """Learn the object's colors, and its shape, of which a part may be hidden."""
        if not self.is_somewhere:
            self.is_somewhere, self.whole, self.place = True, mask, np.zeros(2)
            self.hidden = 0
        shape = moved(self.whole, self.place)
        lacking = shape & ~mask
        part = mask.sum() / max(int(self.whole.sum()), 1)
        is_whole = part > _WHOLE and (part > 0.96 or not _one_sided(lacking, shape))
        if self.missing:
            is_whole = mask.sum() > _WHOLE * self.size
        if not is_whole and self.hidden < _KEEP:
            self.hidden += 1
            if (mask & shape).sum() < (0.5 * mask.sum() if self.missing else 1):  # it is back at another position
                self.place = _center(mask) - _center(self.whole)
                self.speed, self.steps = np.zeros(2), 0
        else:
            if is_whole and not self.hidden and self.mask is not None:
                self.steps += 1
                step = _center(mask) - _center(self.mask)
                self.speed = self.speed + max(0.4, 1 / self.steps) * (step - self.speed)
            self.hidden, self.whole, self.place = 0, mask, np.zeros(2)
            self.colors = self.colors.mixed(Colors(look.lab[_core(mask)]), _LEARN)
            self.size += 0.3 * (mask.sum() - self.size)
        self.around = self._surroundings(look, mask | moved(self.whole, self.place))

    def _surroundings(self, look: Look, mask: Mask) -> Colors:
        """Return the colors around the object, with the largest weights nearby."""
        reach = _reach(mask)
        near = Colors(look.lab[grow(mask, reach) & ~grow(mask, 1)])
        return near.mixed(Colors(look.lab[~grow(mask, 1)]), 0.2)

    def _likely(self, look: Look) -> Floats:
        """Return for each pixel the log ratio of its likeness to the object and to the surroundings."""
        own = self.colors.mixed(self.first, 0.5)(look.lab)
        other = self.around(look.lab)
        return np.log((own + 1e-5) / (other + 1e-5)).clip(-4, 4)

    def _expect(self, motion: Motion | None, likely: Floats) -> _Expected:
        """Return the expected position of the whole object."""
        now = moved(self.whole, self.place) & self.is_somewhere
        if not now.any():
            return _Expected(now, self.speed, self.speed, 0)
        if self.hidden or self.mask is None or motion is None:
            return self._beside(likely)
        shift = self._best_shift(likely, now)
        shifted, flowed = moved(now, shift), carried(self.mask.astype(np.float32), motion.back) > 0.5
        fits = [float(likely[one].mean()) if one.any() else -9.0 for one in (shifted, flowed)]
        is_sure = flowed.sum() > 0.7 * self.mask.sum() and motion.sure[flowed].mean() > 0.5
        if is_sure and fits[1] > fits[0] + 0.2:
            return _Expected(flowed, _center(flowed) - _center(self.mask), self.speed, 2)
        return _Expected(shifted, shift, self.speed, 2)

    def _best_shift(self, likely: Floats, now: Mask) -> NDArray[np.float64]:
        """Return the move, x and y, that moves the object best onto pixels that look like it."""
        import cv2

        top, left, high, wide = _window(now, 1)
        kernel = np.where(_cut(now, top, left, high, wide), 1.0, -0.5).astype(np.float32)
        search = int(4 + 0.5 * np.sqrt(now.sum()) + np.abs(self.speed).max())
        padded = _cut(likely, top - search, left - search, high + 2 * search, wide + 2 * search)
        fit = cv2.matchTemplate(padded, kernel, cv2.TM_CCORR)
        at = np.arange(-search, search + 1)
        away = np.hypot(at[:, None] - self.speed[1], at[None, :] - self.speed[0])
        y, x = np.unravel_index(int((fit - 0.02 * now.sum() * away).argmax()), fit.shape)
        return np.array([x - search, y - search], float)

    def _beside(self, likely: Floats) -> _Expected:
        """Return the expected position of a partly hidden object, which continues its move and fits the visible part.

        The outline of the visible part is partly that of the object, and partly that of the thing in front of it.
        """
        import cv2

        shape = moved(self.whole, self.place + self.speed)
        if not shape.any():
            return _Expected(shape, self.speed, self.speed, 2)
        search = min(2 + self.missing, _reach(self.whole)) + round(0.1 * float(np.sqrt(shape.sum())))
        seen = (likely > 0.5) & grow(shape, search + 1)
        top, left, high, wide = _window(shape, 1)
        area = _cut(shape, top, left, high, wide)
        seen = _cut(seen, top - search, left - search, high + 2 * search, wide + 2 * search)
        edges = cv2.GaussianBlur((seen & ~shrink(seen, 1)).astype(np.float32), (3, 3), 0.8)
        outline = (area & ~shrink(area, 1)).astype(np.float32)
        fit = cv2.matchTemplate(edges, outline, cv2.TM_CCORR)
        fit = fit + cv2.matchTemplate(seen.astype(np.float32), area.astype(np.float32), cv2.TM_CCORR)
        at = np.arange(-search, search + 1)
        away = np.hypot(at[:, None], at[None, :])
        y, x = np.unravel_index(int((fit - 0.03 * shape.sum() * away).argmax()), fit.shape)
        wrong = np.array([x - search, y - search], float)
        if self.steps:  # its speed is known, so half of the mismatch may come from the pixels
            wrong = wrong * np.where(np.abs(wrong) > 1, 1, 0.5)
        shift, speed = self.speed + wrong, self.speed + wrong * (0.2 if self.steps else 0.5)
        reach = 2 if edges.any() else search
        return _Expected(moved(self.whole, self.place + shift), shift, speed, reach)

    def _own(self, look: Look, likely: Floats, expected: _Expected) -> Mask | None:
        """Return the pixels of the object near its expected position."""
        import cv2

        shape, reach = expected.shape, expected.reach
        inside = cv2.distanceTransform(shape.astype(np.uint8), cv2.DIST_L2, 3)
        outside = cv2.distanceTransform((~shape).astype(np.uint8), cv2.DIST_L2, 3)
        prior = (inside - outside).clip(-2 * reach, 2) * (1.5 / reach)
        belief = cv2.GaussianBlur(likely, (3, 3), 0.6) + prior
        mask = (belief > 0) & (outside <= reach)
        mask = _parts(mask, shape)
        if not mask.any():
            return None
        mask = sharpen(fill_holes(mask), look)
        if mask.sum() < max(2, _HIDDEN * shape.sum()) or likely[mask].mean() < 0.5:
            return None
        if self.missing and self._likeness(look, mask) < _STRANGE:
            return None
        return mask

    def _anywhere(self, look: Look, likely: Floats) -> Mask | None:
        """Return the object at another position that it can have reached, if color, size and shape are alike."""
        import cv2

        _, labels, stats, _ = cv2.connectedComponentsWithStats((likely > 1).astype(np.uint8), connectivity=4)
        best, found = 0.0, None
        for number in range(1, len(stats)):
            if not _SIZES < stats[number, cv2.CC_STAT_AREA] / self.size < 1 / _SIZES:
                continue
            part = labels == number
            match = self._match(look, part) if self._can_be(part) else 0.0
            if match > best:
                best, found = match, part
        return None if found is None else sharpen(fill_holes(found), look)

    def _can_be(self, part: Mask) -> bool:
        """Tell whether the object can have come there: from its last position nearby, or from outside the frame."""
        if not self.is_somewhere or border_share(part):
            return True
        way = _center(part) - _center(self.whole) - self.place
        step = np.sqrt(self.size) + np.abs(self.speed).max()
        return bool(np.hypot(*way) <= (1 + self.missing) * step)

    def _match(self, look: Look, part: Mask) -> float:
        """Return how surely a region elsewhere is the object, from 0 to 1; 0 if it may be something else."""
        like = self.first.like(Colors(look.lab[_core(part)]))
        form = _form(part, self.whole)
        return like * min(1.0, form / 0.8) if like > _ALIKE and form > _FORM else 0.0

    def _likeness(self, look: Look, mask: Mask) -> float:
        """Return how much the colors of a mask are those of the object."""
        return self.first.mixed(self.colors, 0.5).like(Colors(look.lab[_core(mask)]))

    def _sureness(self, look: Look, mask: Mask, shape: Mask) -> float:
        ratio = mask.sum() / max(shape.sum(), 1)
        return self.trust * float(np.clip(self._likeness(look, mask), 0, 1) * min(1.0, 0.5 + ratio / 2))


def _form(one: Mask, other: Mask) -> float:
    """Return the IoU of two masks that are scaled to the same area and aligned."""
    import cv2

    drawn = []
    for mask in (one, other):
        rows, columns = np.nonzero(mask)
        zoom = 16 / np.sqrt(len(rows))
        matrix = np.array([[zoom, 0, 32 - zoom * columns.mean()], [0, zoom, 32 - zoom * rows.mean()]], np.float32)
        drawn.append(cv2.warpAffine(mask.astype(np.float32), matrix, (64, 64), flags=cv2.INTER_LINEAR) > 0.5)
    return float((drawn[0] & drawn[1]).sum() / max((drawn[0] | drawn[1]).sum(), 1))


def _core(mask: Mask) -> Mask:
    """Return the mask without its blurred edge, if anything is left."""
    core = shrink(mask, 1)
    return core if core.any() else mask


def _reach(mask: Mask) -> int:
    return max(4, round(0.5 * float(np.sqrt(mask.sum()))))


def _center(mask: Mask) -> NDArray[np.float64]:
    """Return x and y of the center."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) if len(rows) else np.zeros(2)


def _window(mask: Mask, margin: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the box around a mask, which may reach out of the frame."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    sides = rows[-1] - rows[0] + 1 + 2 * margin, columns[-1] - columns[0] + 1 + 2 * margin
    return rows[0] - margin, columns[0] - margin, *sides


def _cut(values: NDArray[Any], top: int, left: int, height: int, width: int) -> NDArray[Any]:
    """Return a window of values, with 0 outside of the frame."""
    made = np.zeros((height, width), values.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + height, values.shape[0]), min(left + width, values.shape[1])
    if y1 > y0 and x1 > x0:
        made[y0 - top : y1 - top, x0 - left : x1 - left] = values[y0:y1, x0:x1]
    return made


def _one_sided(lacking: Mask, shape: Mask) -> bool:
    """Tell whether the missing part of a shape is on one side, as if something were in front of it there."""
    count = int(lacking.sum())
    if count < max(3, 0.04 * shape.sum()):
        return False
    aside = np.hypot(*(_center(lacking) - _center(shape)))
    return bool(aside > 0.5 * np.sqrt(shape.sum() / np.pi))


def _parts(mask: Mask, shape: Mask) -> Mask:
    """Return the connected parts that lie in the expected shape, without specks."""
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count)
    touching = np.bincount(labels[shape], minlength=count)
    keep = (touching > 0) & (sizes >= max(1, 0.1 * sizes[1:].max(initial=0)))
    keep[0] = False
    return keep[labels]
