"""The values of the shapes world (shapes, colors, patterns, motions), and the geometry of their names."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.wording import QUESTION_TYPES

__all__ = [
    "ACTIONS",
    "AXES",
    "COLORS",
    "CORNERS",
    "DIRECTIONS",
    "FPS",
    "LARGE",
    "OPPOSITE",
    "PATTERNS",
    "QUARTERS",
    "QUESTION_TYPES",
    "REACH",
    "SHAPES",
    "SIZES",
    "SMALL",
    "SPLITS",
    "STRAIGHT",
    "Label",
    "Stage",
    "combinations",
    "motion_key",
    "pick",
]

T = TypeVar("T")

Label = tuple[str | int, ...]
"""A fact about an object: a kind and its arguments, e.g. ("move", "left"); an int is the index of an object."""

SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
# The corners of the hull of each shape of radius 1; a circle has none. The shapes have about equal areas.
CORNERS: dict[str, list[tuple[float, float]]] = {
    "circle": [],
    "square": [(x, y) for x in (-0.9, 0.9) for y in (-0.9, 0.9)],
    "triangle": [(0, -1.5), (-1.5 * math.sqrt(0.75), 0.75), (1.5 * math.sqrt(0.75), 0.75)],
    "diamond": [(0.9 * math.sqrt(2) * x, 0.9 * math.sqrt(2) * y) for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1))],
    "star": [
        (1.5 * math.cos(angle), 1.5 * math.sin(angle)) for angle in (math.radians(-90 + 72 * k) for k in range(5))
    ],
    "cross": [(x * a, y * b) for a, b in ((1.1, 0.48), (0.48, 1.1)) for x in (-1, 1) for y in (-1, 1)],
}
# Reach of a shape of radius 1: the distance from its center to its farthest point.
REACH = {shape: max([math.hypot(*corner) for corner in corners], default=1.0) for shape, corners in CORNERS.items()}
# The hues are far apart, so that they can be told apart after the chroma subsampling of H.264.
COLORS = {
    "red": (215, 30, 35),
    "orange": (250, 140, 20),
    "yellow": (245, 225, 40),
    "green": (35, 160, 55),
    "cyan": (50, 205, 215),
    "blue": (40, 70, 215),
    "purple": (135, 40, 165),
    "pink": (250, 120, 190),
}
PATTERNS = ("plain", "striped", "dotted", "bordered")
SIZES = ("small", "large")
SMALL = (5.2, 5.8)  # range of radii, in pixels of a frame of 64 x 64
LARGE = (8.3, 9.3)

_HALF = math.sqrt(0.5)
DIRECTIONS = {
    "left": (-1.0, 0.0),
    "right": (1.0, 0.0),
    "up": (0.0, -1.0),
    "down": (0.0, 1.0),
    "up left": (-_HALF, -_HALF),
    "up right": (_HALF, -_HALF),
    "down left": (-_HALF, _HALF),
    "down right": (_HALF, _HALF),
}
STRAIGHT = ("left", "right", "up", "down")
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}
ACTIONS = (*STRAIGHT, "still")  # the phases of a two-phase motion
AXES = {"left": "sideways", "right": "sideways", "up": "upright", "down": "upright"}
QUARTERS = ("top left", "top right", "bottom left", "bottom right")

SPLITS = ("train", "heldout")
FPS = 8
_HELDOUT_IN = 5  # one of five combinations of shape, color and motion is held out


class Stage(NamedTuple):
    """The size of a clip: side of its square frames in pixels, number of frames, and frames simulated past its end."""

    size: int = 64
    frames: int = 16

    @property
    def future(self) -> int:
        """The number of frames that are simulated past the end of the clip, to know its continuation."""
        return self.frames // 2

    @property
    def length(self) -> int:
        """The number of all simulated frames."""
        return self.frames + self.future

    @property
    def unit(self) -> float:
        """The pixels of this frame per pixel of a frame of 64 x 64."""
        return self.size / 64

    def check(self) -> Stage:
        """Return the stage itself.

        Raises:
            ConfigurationError: H.264 with 4:2:0 chroma cannot store it, or objects would be too small or too slow.
        """
        if not (isinstance(self.size, int) and 48 <= self.size <= 512 and self.size % 2 == 0):
            raise ConfigurationError(f"size is {self.size!r}: expected an even number of pixels from 48 to 512")
        if not (isinstance(self.frames, int) and 8 <= self.frames <= 128):
            raise ConfigurationError(f"frames is {self.frames!r}: expected a whole number from 8 to 128")
        return self


def motion_key(label: Label) -> str:
    """Return the kind of a motion without its partner, e.g. "move left" or "chase", which the splits depend on."""
    return " ".join(part for part in label if isinstance(part, str))


@cache
def combinations(split: str, motion: str) -> tuple[tuple[str, str], ...]:
    """Return the pairs (shape, color) that a motion may have in a split; every pair belongs to exactly one split.

    Args:
        split: "train" or "heldout".
        motion: a result of `motion_key`.
    """
    every = [(shape, color) for shape in SHAPES for color in COLORS]
    held = {pair for pair in every if zlib.crc32("/".join((*pair, motion)).encode()) % _HELDOUT_IN == 0}
    return tuple(pair for pair in every if (pair in held) == (split == "heldout"))


def pick(rng: np.random.Generator, values: Sequence[T]) -> T:
    """Return one of the values, all equally likely; many times faster than `rng.choice`."""
    return values[int(rng.integers(len(values)))]
