"""Boxes around masks, and the removal of duplicate masks, holes and sprinkles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_around", "box_overlaps", "fill_holes", "keep_surest", "mask_overlaps", "remove_sprinkles"]

_EIGHT_NEIGHBORS = np.ones((3, 3), dtype=bool)


def box_around(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Return the box x0, y0, x1, y1 in pixels around a mask, bool (height, width), that is not empty."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def keep_surest(overlaps: NDArray[Any], scores: Sequence[float] | NDArray[Any], most: float) -> list[int]:
    """Keep the surest of candidates that overlap (non-maximum suppression).

    Args:
        overlaps: (N, N), intersection over union of each pair of candidates.
        scores: (N,); of equal scores, the first one counts as the surest.
        most: largest overlap at which both candidates are kept.

    Returns:
        Indices of the candidates that are kept, the surest first.
    """
    kept: list[int] = []
    for candidate in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable").tolist():
        if all(overlaps[candidate, other] <= most for other in kept):
            kept.append(candidate)
    return kept


def mask_overlaps(masks: NDArray[np.bool_], others: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the IoU of masks (N, height, width) with others (M, height, width); 0 where both are empty."""
    flat, other = (some.reshape(len(some), -1 if len(some) else 0).astype(np.float32) for some in (masks, others))
    both = flat @ other.T if len(flat) and len(other) else np.zeros((len(flat), len(other)), np.float32)
    either = flat.sum(1)[:, None] + other.sum(1)[None] - both
    return (both / np.maximum(either, 1)).astype(np.float64)


def box_overlaps(boxes: NDArray[Any], others: NDArray[Any]) -> NDArray[np.float64]:
    """Return the IoU of boxes (N, 4) with others (M, 4), each x0, y0, x1, y1; 0 where both are empty."""
    boxes, others = np.asarray(boxes, np.float64), np.asarray(others, np.float64)
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas, other = (np.clip(some[:, 2:] - some[:, :2], 0, None).prod(-1) for some in (boxes, others))
    either = areas[:, None] + other[None] - both
    return both / np.where(either > 0, either, 1)


def fill_holes(mask: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Fill holes of at most `most` pixels, as SAM 2 and SAM 3 do.

    A hole is a connected part of the background, also over corners; parts at the edge of the frame count.
    """
    return mask | _small_parts(~mask, most)


def remove_sprinkles(mask: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Remove parts of at most `most` pixels, and of at most half of the mask, as SAM 2 and SAM 3 do.

    A mask that is tiny as a whole stays.
    """
    return mask & ~_small_parts(mask, min(most, int(mask.sum()) // 2))


def _small_parts(mask: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    from scipy.ndimage import label

    parts, _ = label(mask, structure=_EIGHT_NEIGHBORS)
    small = np.bincount(parts.ravel()) <= most
    small[0] = False  # the background
    return small[parts]
