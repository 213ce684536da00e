"""Checks masks of the classical segmenter with other clicks on the same object, and with neighboring frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.segment.classical_cut import cut_out
from videorefer_plugin.segment.classical_motion import moved
from videorefer_plugin.segment.classical_pixels import Look, Mask, grow, look_at
from videorefer_plugin.segment.classical_scale import Placed, Scale

__all__ = ["BESIDE", "overlap", "settled", "witnessed"]

BESIDE = (-2, 2, -4, 4)  # offsets of the frames in which the object is cut out again
_SIDE = 160  # to which frames are scaled down for the check
_AREA = 600  # pixels of the object; if it has fewer, frames are scaled down less
_SAME = 0.85  # IoU from which two masks count as the same
_AGAIN = 0.82, 0.87  # IoUs with the mask in a neighboring frame between which its vote grows
_DOUBT = 0.4  # factor of a score without a witness
_FAR = 30.0  # larger differences of color count the same


def settled(look: Look, prompt: Placed, mask: Mask, score: float) -> tuple[Mask, float]:
    """Return the mask and score of a single click, after clicks on other points of its mask were compared.

    A mask of another click that leaves out the original click is another thing that touches the object. A larger mask
    that all clicks share is the whole object, of which the first mask was a part.
    """
    if not mask.any() or not _is_click(prompt):
        return mask, score
    scale = _scale(mask)
    small, own, (click,) = look_at(scale.smaller(look.rgb)), scale.smaller_mask(mask), scale.prompt(prompt).points
    column, row = np.floor(click).astype(int)
    places = _places(own)
    again = [cut_out(small, Placed.at(*place))[0] for place in places]
    if all(overlap(one, own) >= _SAME for one in again):
        return mask, score
    others = [one for one in again if one.any() and not grow(one, 1)[row, column]]
    if others:
        rest = _part_at(own & ~np.logical_or.reduce(others), row, column)
        if rest.sum() >= 0.05 * own.sum():
            return mask & scale.enlarged(rest), score
    elif overlap(again[0], again[1]) >= _SAME and (again[0] & own).sum() > 0.8 * own.sum():
        place = Placed.at(*places[0]) if scale.is_same else Placed(_enlarged(places[0], scale), (1,))
        return cut_out(look, place)
    return mask, _DOUBT * score


def witnessed(look: Look, prompt: Placed, mask: Mask, beside: Sequence[Look]) -> float:
    """Return a factor for the score of a mask: in neighboring frames, the moved prompt must cut out the same.

    Things that touch in one frame move apart, so that their common mask is not found again.

    Returns:
        A factor for the score: 1 if one of the frames is a good witness, or if there are no frames.
    """
    if not beside or not mask.any() or (prompt.mask is not None and prompt.box is None and not len(prompt.points)):
        return 1.0
    scale = _scale(mask)
    here, own, given = look_at(scale.smaller(look.rgb)), scale.smaller_mask(mask), scale.prompt(prompt)
    prompts = [given._replace(mask=None)] + ([Placed.at(*_places(own)[0])] if _is_click(prompt) else [])
    best, reach = 0.0, min(10, 4 + round(0.6 * float(np.sqrt(own.sum()))))
    for number, there in enumerate(beside):
        other = look_at(scale.smaller(there.rgb))
        shift = _shift(here, other, own, reach * (1 + number // 2))
        where = moved(own, shift)
        support = 1.0
        for one in prompts:
            if support > best:
                support = min(support, overlap(cut_out(other, _moved(one, shift, own.shape))[0], where))
        best = max(best, support)
        if best >= _AGAIN[1]:
            return 1.0
    low, high = _AGAIN
    return _DOUBT + (1 - _DOUBT) * float(np.clip((best - low) / (high - low), 0, 1))


def overlap(one: Mask, other: Mask) -> float:
    """Return the IoU of two masks."""
    return float((one & other).sum() / max((one | other).sum(), 1))


def _is_click(prompt: Placed) -> bool:
    return prompt.box is None and prompt.mask is None and tuple(prompt.labels) == (1,)


def _scale(mask: Mask) -> Scale:
    """Return a scale at which the check is quick, and the object still has enough pixels."""
    height, width = mask.shape
    share = max(_SIDE / max(height, width), float(np.sqrt(_AREA / mask.sum())))
    return Scale(height, width, min(max(height, width), round(share * max(height, width))))


def _enlarged(place: NDArray[np.int64], scale: Scale) -> NDArray[np.float64]:
    return (place[::-1] + 0.5) * np.array([[scale.width / scale.size[1], scale.height / scale.size[0]]])


def _places(mask: Mask) -> list[NDArray[np.int64]]:
    """Return row and column of two points well inside a mask: near its middle, and far from there."""
    import cv2

    deep = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    inner = np.argwhere(deep >= min(2.0, float(deep.max())))
    first = inner[np.hypot(*(inner - np.argwhere(mask).mean(0)).T).argmin()]
    return [first, inner[np.hypot(*(inner - first).T).argmax()]]


def _part_at(mask: Mask, row: int, column: int) -> Mask:
    """Return the connected part of a mask at or next to a point; empty if there is none."""
    import cv2

    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    near = labels[max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
    number = labels[row, column] or near.max()
    return labels == number if number else np.zeros_like(mask)


def _moved(prompt: Placed, shift: NDArray[np.float64], size: tuple[int, ...]) -> Placed:
    """Return a prompt that is moved by x and y, but stays inside the frame."""
    most = np.array([size[1], size[0]]) - 0.01
    points = (prompt.points + shift).clip(0, most)
    box = None if prompt.box is None else tuple((np.array(prompt.box) + np.tile(shift, 2)).clip(0, np.tile(most, 2)))
    return prompt._replace(points=points, box=box)


def _shift(here: Look, there: Look, mask: Mask, search: int) -> NDArray[np.float64]:
    """Return the move, x and y, by which most pixels of a mask are found in another frame."""
    rows, columns = np.nonzero(mask)
    wide = np.pad(there.lab, ((search, search), (search, search), (0, 0)), mode="edge")
    own, best, found = here.lab[rows, columns], np.inf, (0, 0)
    for y, x in _moves(search):
        steps = np.sqrt(((wide[rows + search + y, columns + search + x] - own) ** 2).sum(1))
        cost = float(np.minimum(steps, _FAR).mean()) + 0.02 * float(np.hypot(y, x))
        if cost < best:
            best, found = cost, (x, y)
    return np.array(found, float)


def _moves(search: int) -> Iterator[tuple[int, int]]:
    return ((y, x) for y in range(-search, search + 1) for x in range(-search, search + 1))
