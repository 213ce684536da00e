"""One object on its way through a video: where it is expected, which pixels are its own, and whether it is there."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.classical_motion import Motion, carried, moved
from videorefer_plugin.segment.classical_pixels import Colors, Floats, Look, Mask, fill_holes, grow, sharpen, shrink

__all__ = ["Follower", "Sight"]

_LEARN = 0.1  # share by which the colors of a new frame count
_KEEP = 12  # frames for which a part that is not seen is still expected
_HIDDEN = 0.08  # an object of which less is seen is absent
_WHOLE = 0.9  # an object of which more is seen is not hidden
_STRANGE = 0.45  # likeness of colors below which it is another thing
_PATIENCE = 3  # frames for which it may be


class Sight(NamedTuple):
    """An object in a frame: its mask, or None where it is absent; how sure that is; and if it is lost, why."""

    mask: Mask | None
    score: float
    lost: str | None = None


class _Expected(NamedTuple):
    """All of an object as it is expected, by which (x, y) it moved, and by how many pixels that may be wrong."""

    shape: Mask
    shift: NDArray[np.float64]
    reach: int


class Follower:
    """Follows one object from frame to frame, in one direction.

    `look` finds it in a frame and changes nothing; `take` goes on from what was found. So known masks can be taken
    in place of found ones, and everything goes on as if it had not been interrupted.
    """

    def __init__(self, look: Look, mask: Mask, trust: float = 1.0):
        self.trust = trust
        self.age = np.where(mask, 0, _KEEP + 1).astype(np.float32)
        self.mask: Mask | None = mask
        self.speed = np.zeros(2)
        self.first = self.colors = Colors(look.lab[_core(mask)])
        self.around = self._surroundings(look, mask)
        self.missing = self.strange = 0
        self.was_whole = True
        self.size = float(mask.sum())

    @property
    def expected(self) -> Mask:
        """All of the object, seen or not, as of the last frame."""
        return self.age <= _KEEP

    def look(self, look: Look, motion: Motion | None, is_cut: bool = False) -> Sight:
        """Find the object in the next frame."""
        likely = self._likely(look)
        if is_cut:
            found = self._anywhere(look, likely)
            return Sight(None, 0.1) if found is None else Sight(found, self._sureness(look, found, found))
        shape, _, reach = self._expect(look, motion, likely)
        mask = self._own(look, likely, shape, reach) if shape.any() else None
        if mask is None:
            mask = self._anywhere(look, likely)
        if mask is None:
            return Sight(None, 0.1, None if self.mask is None else self._why_lost(look, shape))
        score = self._sureness(look, mask, shape)
        if self.strange + 1 >= _PATIENCE and self._likeness(look, mask) < _STRANGE:
            return Sight(None, score, "what was followed does not look like it any more")
        return Sight(mask, score)

    def _why_lost(self, look: Look, shape: Mask) -> str | None:
        """Why it is not only absent, if it is seen no more: nothing hides it, and it has not left the frame."""
        if self.mask is None or not shape.any():
            return None
        inner = np.zeros_like(shape)
        margin = 2 + int(np.ceil(np.abs(self.speed).max()))
        inner[margin:-margin, margin:-margin] = True
        if (shape & ~inner).any() or self.mask.sum() < 0.6 * self.expected.sum():
            return None
        # Something that was not around it before lies where it should be.
        covered = self.around(look.lab[shape]) < 1e-4
        if covered.mean() > 0.3:
            return None
        return "it is not where it is expected, and nothing hides it there"

    def take(self, look: Look, motion: Motion | None, mask: Mask | None, is_cut: bool = False) -> None:
        """Go on from what was found in the next frame."""
        if is_cut:
            self.mask, self.age, self.speed = None, np.full_like(self.age, _KEEP + 1), np.zeros(2)
        else:
            shift = self._expect(look, motion, self._likely(look)).shift
            self.age = _moved_age(self.age, shift)
        if mask is None:
            self.missing += 1
        else:
            self.strange = self.strange + 1 if self._likeness(look, mask) < _STRANGE else 0
            self._learn(look, motion, mask)
            self.missing = 0
        self.mask = mask

    def _learn(self, look: Look, motion: Motion | None, mask: Mask) -> None:
        """Learn how it looks, how it moves, and its shape, of which a part may be hidden."""
        hidden = self.expected & ~mask
        whole = not self.missing and mask.sum() > _WHOLE * (mask | hidden).sum()
        if self.mask is not None and not self.missing:
            if whole and self.was_whole:
                self.speed = 0.5 * self.speed + 0.5 * (_center(mask) - _center(self.mask))
            elif motion is not None and (mask & motion.sure).any():
                step = -np.median(motion.back[mask & motion.sure], axis=0)
                self.speed = 0.8 * self.speed + 0.2 * step
        # A seam that stays beside what is seen is no longer the object's; what is hidden lies deeper with each frame.
        gone = hidden & grow(mask, 1) & (self.age >= 3)
        age = np.where(hidden & ~gone, np.minimum(self.age + 1, _KEEP), _KEEP + 1)
        self.age = np.where(mask, 0, age).astype(np.float32)
        if whole:
            self.colors = self.colors.mixed(Colors(look.lab[_core(mask)]), _LEARN)
            self.size += 0.3 * (mask.sum() - self.size)
        self.was_whole = whole
        self.around = self._surroundings(look, mask | self.expected)

    def _surroundings(self, look: Look, mask: Mask) -> Colors:
        """The colors around the object, those nearby counting most."""
        reach = _reach(mask)
        near = Colors(look.lab[grow(mask, reach) & ~grow(mask, 1)])
        return near.mixed(Colors(look.lab[~grow(mask, 1)]), 0.2)

    def _likely(self, look: Look) -> Floats:
        """How much more each pixel looks like the object than like what is around it, as a logarithm."""
        own = self.colors.mixed(self.first, 0.5)(look.lab)
        other = self.around(look.lab)
        return np.log((own + 1e-5) / (other + 1e-5)).clip(-4, 4)

    def _expect(self, look: Look, motion: Motion | None, likely: Floats) -> _Expected:
        """Where all of the object is expected."""
        now = self.expected
        if not now.any():
            return _Expected(now, self.speed, 0)
        if self.mask is None or motion is None:
            shape = moved(now, self.speed)
            return _Expected(shape, self.speed, min(2 + self.missing, _reach(now)))
        shift = self._best_shift(likely, now)
        flowed = carried(self.mask.astype(np.float32), motion.back) > 0.5
        shifted = moved(self.mask, shift)
        fits = [float(likely[one].mean()) if one.any() else -9.0 for one in (shifted, flowed)]
        if fits[1] > fits[0] + 0.2 and flowed.sum() > 0.7 * self.mask.sum() and self.was_whole:
            shift = _center(flowed) - _center(self.mask)
            return _Expected(flowed | moved(now & ~self.mask, shift), shift, 2)
        return _Expected(moved(now, shift), shift, 2)

    def _best_shift(self, likely: Floats, now: Mask) -> NDArray[np.float64]:
        """The move by which the object lies best on pixels that look like it; x and y.

        While a part of it is hidden, what is seen tells little of where the rest is: then it mostly goes on as it did.
        """
        import cv2

        top, left, high, wide = _window(now, 1)
        kernel = np.where(_cut(now, top, left, high, wide), 1.0, -0.5).astype(np.float32)
        search = int(4 + 0.5 * np.sqrt(now.sum()) + np.abs(self.speed).max())
        likely = likely.clip(-1 if self.was_whole else 0, 4)
        padded = _cut(likely, top - search, left - search, high + 2 * search, wide + 2 * search)
        fit = cv2.matchTemplate(padded, kernel, cv2.TM_CCORR)
        at = np.arange(-search, search + 1)
        away = np.hypot(at[:, None] - self.speed[1], at[None, :] - self.speed[0])
        fit = fit - (0.02 if self.was_whole else 0.15) * now.sum() * away
        y, x = np.unravel_index(int(fit.argmax()), fit.shape)
        if not self.was_whole:  # closer than to a pixel
            return np.array([x - search, y - search]) * 0.5 + self.speed * 0.5
        return np.array([x - search, y - search], float)

    def _own(self, look: Look, likely: Floats, shape: Mask, reach: int) -> Mask | None:
        """The pixels that are the object's, near where it is expected."""
        import cv2

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
        return mask

    def _anywhere(self, look: Look, likely: Floats) -> Mask | None:
        """The object, if it is back somewhere in the frame."""
        import cv2

        _, labels, stats, _ = cv2.connectedComponentsWithStats((likely > 1).astype(np.uint8), connectivity=4)
        best, found = 0.0, None
        for number in range(1, len(stats)):
            if not 0.5 < stats[number, cv2.CC_STAT_AREA] / self.size < 2:
                continue
            part = labels == number
            like = self.first.like(Colors(look.lab[part]))
            if like > max(best, 0.75):
                best, found = like, part
        return None if found is None else sharpen(fill_holes(found), look)

    def _likeness(self, look: Look, mask: Mask) -> float:
        """How much the colors of a mask are those of the object."""
        return self.first.mixed(self.colors, 0.5).like(Colors(look.lab[_core(mask)]))

    def _sureness(self, look: Look, mask: Mask, shape: Mask) -> float:
        ratio = mask.sum() / max(shape.sum(), 1)
        return self.trust * float(np.clip(self._likeness(look, mask), 0, 1) * min(1.0, 0.5 + ratio / 2))


def _core(mask: Mask) -> Mask:
    """The mask without its blurred edge, if anything is left."""
    core = shrink(mask, 1)
    return core if core.any() else mask


def _reach(mask: Mask) -> int:
    return max(4, round(0.5 * float(np.sqrt(mask.sum()))))


def _center(mask: Mask) -> NDArray[np.float64]:
    """x and y of the middle."""
    rows, columns = np.nonzero(mask)
    return np.array([columns.mean(), rows.mean()]) if len(rows) else np.zeros(2)


def _window(mask: Mask, margin: int) -> tuple[int, int, int, int]:
    """Top, left, height and width of the box around a mask; it may reach out of the frame."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    sides = rows[-1] - rows[0] + 1 + 2 * margin, columns[-1] - columns[0] + 1 + 2 * margin
    return rows[0] - margin, columns[0] - margin, *sides


def _cut(values: NDArray[Any], top: int, left: int, height: int, width: int) -> NDArray[Any]:
    """A window, which may reach out of the frame, where it is 0."""
    made = np.zeros((height, width), values.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + height, values.shape[0]), min(left + width, values.shape[1])
    if y1 > y0 and x1 > x0:
        made[y0 - top : y1 - top, x0 - left : x1 - left] = values[y0:y1, x0:x1]
    return made


def _moved_age(age: Floats, shift: NDArray[np.float64]) -> Floats:
    import cv2

    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float32)
    size = age.shape[1], age.shape[0]
    return cv2.warpAffine(
        age, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=_KEEP + 1
    )


def _parts(mask: Mask, shape: Mask) -> Mask:
    """The connected parts that lie in the shape that is expected, and are no specks."""
    import cv2

    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    sizes = np.bincount(labels.ravel(), minlength=count)
    touching = np.bincount(labels[shape], minlength=count)
    keep = (touching > 0) & (sizes >= max(1, 0.1 * sizes[1:].max(initial=0)))
    keep[0] = False
    return keep[labels]
