"""A finder for the shapes world, which finds the pixels of a named object by color, then by outline."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import ConfigurationError, SegmentError
from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.classical_pixels import Look, look_at, sharpen
from videorefer_plugin.segment.cleaning import box_around
from videorefer_plugin.segment.collecting import Progress
from videorefer_plugin.segment.events import Candidate
from videorefer_plugin.segment.masklet import Masklet
from videorefer_plugin.segment.prompts import Prompt
from videorefer_plugin.segment.registry import load_segmenter
from videorefer_plugin.segment.words import nothing_found
from videorefer_plugin.video import Video
from videorefer_plugin.world.drawing import outline
from videorefer_plugin.world.nouns import mentions
from videorefer_plugin.world.values import COLORS, LARGE, SHAPES, SMALL

__all__ = ["ShapesFinder"]

Mask = NDArray[np.bool_]

_SHADES = (1.0, 0.3)  # brightness of an object, and of the dark parts of its pattern
_TINTED = 22.0  # tint above which a pixel does not belong to a gray background
_LEAST = 0.003  # share of the frame; smaller regions are noise, or the edge of another object
_KEPT = 0.75  # share of a mask that its corrected outline must keep
_THRESHOLD = 0.5  # required overlap of a mask with an outline
_SCALES = (0.9, 0.97, 1.04, 1.11)  # of the outlines to try, in radii of an outline of the same area
_SHIFTS = (-0.12, 0.0, 0.12)  # of their centers, in radii
_TRIES = 5  # frames of a video to look at


class ShapesFinder(Segmenter):
    """Finds an object of the shapes world by words such as "red circle" or "a small striped red circle".

    It uses decoded pixels only: regions near the named color become masks. If several have that color, the shape
    decides, then the size, then the pattern, if the words name them. It has no weights and no settings.
    """

    name = "shapes_color"

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> ShapesFinder:
        """Load the finder; see [`Segmenter.load`]. It takes no settings, and runs on the CPU."""
        given = [name for name, value in {"device": device, "dtype": dtype, **settings}.items() if value is not None]
        if [name for name in given if name != "device"] or (device is not None and str(device) != "cpu"):
            raise ConfigurationError(
                f"The segmenter shapes_color has no weights, no settings and no device but the CPU, but was given "
                f"{', '.join(given)}; leave it out."
            )
        return cls()

    def _find(self, frame: NDArray[np.uint8], phrase: str, max_objects: int | None) -> list[Candidate]:
        found = self._candidates(frame, phrase)
        sure = [one for one in found if one.score >= _THRESHOLD]
        if not sure:
            raise nothing_found(self.name, phrase, [0], _THRESHOLD, found[0].score if found else None)
        return sure[:max_objects]

    def _find_in_video(
        self, video: Video, phrase: str, frame: int | None, max_objects: int | None, progress: Progress | None
    ) -> list[Masklet]:
        spread = np.linspace(0, video.num_frames - 1, min(_TRIES, video.num_frames)).round()
        looked = [int(one) for one in spread] if frame is None else [frame]
        found = {index: self._candidates(video.read([index])[0], phrase) for index in looked}
        best = max(looked, key=lambda index: found[index][0].score if found[index] else 0.0)
        sure = [one for one in found[best] if one.score >= _THRESHOLD][:max_objects]
        if not sure:
            raise nothing_found(self.name, phrase, looked, _THRESHOLD, found[best][0].score if found[best] else None)
        prompts = [{best: Prompt(mask=one.mask)} for one in sure]
        return load_segmenter("classical").propagate(video, prompts, progress=progress)

    def _candidates(self, frame: NDArray[np.uint8], phrase: str) -> list[Candidate]:
        """Return the candidates for the words, the surest first."""
        looks = _looks_of(phrase)
        unit = min(frame.shape[:2]) / 64
        seen = [_Seen.of(mask, frame, unit) for mask in _regions(frame, looks["color"])]
        for key in ("shape", "size", "pattern"):
            alike = [one for one in seen if key in looks and getattr(one, key) == looks[key]]
            seen = alike or seen
        made = [Candidate(one.mask, box_around(one.mask), one.score(looks.get("shape")), phrase) for one in seen]
        return sorted(made, key=lambda one: -one.score)


def _looks_of(phrase: str) -> dict[str, str]:
    """Return the look that words name.

    Raises:
        SegmentError: the words name no color and shape of this world.
    """
    found = mentions(phrase)
    if not found or "color" not in found[0].looks:
        raise SegmentError(
            f"shapes_color found nothing for {phrase!r}: it knows colors with shapes only, such as 'red circle'. The "
            f"colors are {', '.join(COLORS)}, and the shapes {', '.join(SHAPES)}."
        )
    return found[0].looks


# --- colors ----------------------------------------------------------------------------------------------------------


@cache
def _tints() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the tints of all colors in all shades, and the color of each."""
    shades = [np.array(color) * shade for shade in _SHADES for color in COLORS.values()]
    return look_at(np.array([shades]).round().astype(np.uint8)).tint[0], np.arange(len(shades)) % len(COLORS)


def _regions(frame: NDArray[np.uint8], color: str) -> list[Mask]:
    """Return the regions of a frame with a color, each with its dark stripes and dots, and with its edge."""
    import cv2

    look = look_at(frame)
    tint = look.tint
    colored = np.hypot(tint[..., 0], tint[..., 1]) > _TINTED
    known, of_color = _tints()
    nearest = of_color[((tint[..., None, :] - known) ** 2).sum(-1).argmin(-1)]
    # At an edge, halved chroma and the gray beside it give other colors. Without its edge, a region of such colors is
    # too small for an object; each pixel of the edge then goes to the nearest region.
    kernel = np.ones((3, 3), np.uint8)
    cores = np.zeros(frame.shape[:2], np.int64)
    for number in range(len(COLORS)):
        same = (colored & (nearest == number)).astype(np.uint8)
        cores[cv2.morphologyEx(same, cv2.MORPH_OPEN, kernel) > 0] = number + 1
    if not cores.any():
        return []
    _, labels = cv2.distanceTransformWithLabels(
        (cores == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    color_of_label = np.zeros(int(labels.max()) + 1, np.int64)
    color_of_label[labels[cores > 0]] = cores[cores > 0]
    mine = colored & (color_of_label[labels] == list(COLORS).index(color) + 1)
    count, parts = cv2.connectedComponents(mine.astype(np.uint8), connectivity=8)
    regions = [parts == number for number in range(1, count)]
    return [_sharpened(region, look) for region in regions if region.mean() >= _LEAST]


def _sharpened(mask: Mask, look: Look) -> Mask:
    """Return the mask with a corrected outline, or unchanged if the correction would remove a dark stripe."""
    found = sharpen(mask, look)
    return found if np.count_nonzero(found) > _KEPT * np.count_nonzero(mask) else mask


# --- outlines --------------------------------------------------------------------------------------------------------


class _Seen(NamedTuple):
    """A region of one color, and its look.

    Attributes:
        mask: mask of the frame.
        fits: shape -> overlap of its best outline (intersection over union).
        size, pattern: size and pattern, if they can be recognized.
    """

    mask: Mask
    fits: dict[str, float]
    size: str | None
    pattern: str | None

    @classmethod
    def of(cls, mask: Mask, frame: NDArray[np.uint8], unit: float) -> _Seen:
        fits, radius = {}, 0.0
        for shape in SHAPES:
            fits[shape], found = _fit(mask, shape, unit)
            radius = found if fits[shape] == max(fits.values()) else radius
        return cls(mask, fits, _size(radius), _pattern(mask, frame))

    @property
    def shape(self) -> str:
        """The shape that fits best."""
        return max(self.fits, key=lambda shape: self.fits[shape])

    def score(self, shape: str | None) -> float:
        """Return the score for a thing of this shape, or of any shape."""
        best = self.fits[self.shape]
        wanted = best if shape is None else self.fits[shape]
        return round(float(wanted * (wanted / max(best, 1e-6)) ** 2), 4)


@cache
def _area(shape: str) -> float:
    """Return the area of a shape of radius 1."""
    y, x = np.mgrid[-1.6:1.6:0.02, -1.6:1.6:0.02]
    return float((outline(shape, x, y) < 0).sum() * 0.02**2)


def _fit(mask: Mask, shape: str, unit: float) -> tuple[float, float]:
    """Return the overlap of a shape's best outline with a mask, and its radius in pixels of a frame of 64 x 64."""
    area = np.count_nonzero(mask)
    likely = np.sqrt(area / _area(shape))
    rows, columns = np.nonzero(mask)
    margin = int(np.ceil(likely))
    top, left = max(rows.min() - margin, 0), max(columns.min() - margin, 0)
    part = mask[top : rows.max() + 1 + margin, left : columns.max() + 1 + margin]
    y, x = (np.mgrid[: part.shape[0], : part.shape[1]] + 0.5).astype(np.float32)
    x, y = x - (columns.mean() + 0.5 - left), y - (rows.mean() + 0.5 - top)
    best, radius = 0.0, likely
    for size in likely * np.array(_SCALES):
        for shift_x in likely * np.array(_SHIFTS):
            for shift_y in likely * np.array(_SHIFTS):
                drawn = outline(shape, (x - shift_x) / size, (y - shift_y) / size) < 0
                both = np.count_nonzero(drawn & part)
                share = both / (area + np.count_nonzero(drawn) - both)
                if share > best:
                    best, radius = share, size
    return float(best), float(radius / unit)


def _size(radius: float) -> str:
    return "small" if radius < (SMALL[1] + LARGE[0]) / 2 else "large"


def _pattern(mask: Mask, frame: NDArray[np.uint8]) -> str | None:
    """Return "plain" if hardly a pixel is dark; other patterns are not recognized."""
    bright = frame[mask].max(1).astype(np.float64)
    dark = (bright < 0.6 * np.quantile(bright, 0.9)).mean()
    return "plain" if dark < 0.08 else None
