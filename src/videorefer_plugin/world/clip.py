"""Clips: frames, exact masks and facts, by seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._kinds import INTEGER, check_kind
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.regions import Region, encode_rle
from videorefer_plugin.world.drawing import draw, draw_background
from videorefer_plugin.world.facts import Facts, observe, quarter
from videorefer_plugin.world.scene import Scene, make_scene
from videorefer_plugin.world.values import Stage

__all__ = ["Clip", "iter_clips", "make_clip", "seeded"]

_CLEARLY = 0.6  # share of the most pixels that are ever seen of an object


class Clip:
    """One clip of the shapes world. It is drawn when its pixels are first used.

    Attributes:
        scene (`Scene`): the objects, their tracks and the background.
        facts (`Facts`): the facts of the clip.
    """

    def __init__(self, scene: Scene):
        self.scene = scene
        self.facts: Facts = observe(scene)

    def __len__(self) -> int:
        return len(self.scene.actors)

    @cached_property
    def _drawn(self) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        scene, frames = self.scene, self.scene.stage.frames
        background = draw_background(np.random.default_rng(scene.paint_seed), scene.stage, scene.cluttered)
        shapes = [(actor.shape, actor.color, actor.pattern) for actor in scene.actors]
        return draw(
            background,
            shapes,
            scene.centers[:, :frames],
            scene.radii[:, :frames],
            scene.order,
            scene.stage.unit,
            [actor.change for actor in scene.actors],
        )

    @property
    def frames(self) -> NDArray[np.uint8]:
        """The frames, uint8 (T, size, size, 3), RGB."""
        return self._drawn[0]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """The visible mask of each object, bool (N, T, size, size); all False where it is hidden or out of sight."""
        return self._drawn[1]

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Visible pixels of each object in each frame, (N, T)."""
        return self.masks.sum((2, 3))

    def clear_frames(self, index: int) -> list[int]:
        """Return the frames in which most of an object can be seen; at least one."""
        areas = self.areas[index]
        # The comparison is with its size at the time, so that the early frames of a growing object count.
        share = areas / self.scene.radii[index, : len(areas)] ** 2
        return [int(frame) for frame in np.flatnonzero(share >= _CLEARLY * share.max())]

    def quarter(self, index: int, frame: int) -> str | None:
        """Return the quarter of the frame that an object is in, e.g. "top left"; None if that is not clear."""
        return quarter(self.scene, index, frame)

    def annotation(self, index: int, frames: Iterable[int] | None = None) -> dict[str, dict]:
        """Return one object in the format of records: frame -> {"segmentation": COCO RLE, or None if it is not seen}.

        Args:
            index: index of the object.
            frames: frames of the clip. Default: all.
        """
        chosen = range(self.masks.shape[1]) if frames is None else frames
        return {
            str(frame): {"segmentation": encode_rle(self.masks[index, frame]) if self.areas[index, frame] else None}
            for frame in chosen
        }

    def region(self, index: int, frames: Iterable[int] | None = None) -> Region:
        """Return one object as a [`Region`].

        Args:
            index: index of the object.
            frames: frames of the clip. Default: all.
        """
        chosen = range(self.masks.shape[1]) if frames is None else frames
        return Region({frame: self.masks[index, frame] if self.areas[index, frame] else None for frame in chosen})


def seeded(*seed: int) -> np.random.Generator:
    """Return a random generator that depends on these numbers alone.

    Raises:
        ConfigurationError: a seed is not a whole number from 0 up.
    """
    for number in seed:
        if not isinstance(number, (int, np.integer)) or isinstance(number, bool) or number < 0:
            raise ConfigurationError(f"seed is {number!r}: expected a whole number from 0 up")
    return np.random.default_rng(list(seed))


def make_clip(
    seed: int | tuple[int, ...],
    split: str = "train",
    size: int = 64,
    frames: int = 16,
    objects: int | None = None,
    theme: str | None = None,
    distinct: bool = False,
) -> Clip:
    """Make a clip. The same arguments give the same clip on every machine.

    Args:
        seed: a number, or several, from 0 up.
        split: "train" or "heldout". The splits share no combination of shape, color and motion.
        size: side of the square frames in pixels, even, from 48.
        frames: length of the clip, from 8; shown at 8 frames per second.
        objects: number of objects, 2 to 4. Default: random.
        theme: kind of motion: "mixed", "sequence", "pairs", "goals" or "future". Default: random. With "colors" or
            "patterns", objects change these while they move; random themes never do.
        distinct: whether no two objects share a shape, color or pattern.

    Raises:
        ConfigurationError: an argument has an unknown value.

    Examples:
        >>> clip = make_clip(3, objects=2)
        >>> clip.frames.shape, clip.masks.shape
        ((16, 64, 64, 3), (2, 16, 64, 64))
    """
    numbers = seed if isinstance(seed, tuple) else (seed,)
    return Clip(make_scene(seeded(*numbers), split, Stage(size, frames), objects, theme, distinct))


def iter_clips(
    seed: int, split: str = "train", size: int = 64, frames: int = 16, start: int = 0, step: int = 1
) -> Iterator[Clip]:
    """Yield clips without end, in memory.

    Several workers share the work without repeats if each sets `start` to its number and `step` to the number of
    workers.
    """
    check_kind(ConfigurationError, INTEGER, start=start, step=step)
    index = start
    while True:
        yield make_clip((seed, index), split, size, frames)
        index += step
