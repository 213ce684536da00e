"""Objects of a visitor: where each was pointed at, and its mask in every frame that it was followed through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.errors import AppError
from videorefer_plugin.regions import ABSENT, Absent, Region, Shape
from videorefer_plugin.segment import Masklet, Prompt

__all__ = ["Mark", "Thing"]


@dataclass(frozen=True, eq=False)
class Mark:
    """Where an object was pointed at in one frame, and what the segmenter made of it.

    Attributes:
        shape: the mask, or that the object is absent.
        score: how sure the segmenter is of it.
        points, labels, box: what was clicked.
        base: the mask that was there before, which the clicks correct.
    """

    shape: Shape
    score: float
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    base: Shape | None = None

    def prompt(self, height: int, width: int) -> Prompt:
        """What the segmenter is told when it follows the object: where a mask was corrected, the mask that is seen."""
        if isinstance(self.shape, Absent):
            return Prompt(absent=True)
        if self.base is not None or not (1 in self.labels or self.box):
            return Prompt(mask=self.shape.silhouette(height, width).mask())
        return Prompt(points=np.array(self.points or np.empty((0, 2))), labels=self.labels, box=self.box)


@dataclass(frozen=True, eq=False)
class Thing:
    """An object. Nothing of it is changed: what changes becomes another one, so that it can be undone.

    Attributes:
        number (`int`): from 1; decides its color.
        name (`str`): what the visitor calls it.
        marks (`Mapping[int, Mark]`): frame -> where it was pointed at.
        masklet (`Masklet`, *optional*): what following it has found.
        followed (`Mapping[int, Mark]`, *optional*): the marks that it was followed from.
        hidden (`bool`): whether it is left out of pictures.
        start, end (`int`, *optional*): first and last frame that it is followed through, and in which it counts.
        identity (`object`): stays the same whatever is done to it; another object may get its number later.
    """

    number: int
    name: str = ""
    marks: Mapping[int, Mark] = field(default_factory=dict)
    masklet: Masklet | None = None
    followed: Mapping[int, Mark] | None = None
    hidden: bool = False
    start: int | None = None
    end: int | None = None
    identity: object = field(default_factory=object, repr=False)

    @property
    def called(self) -> str:
        """Its name, or that it has none."""
        return self.name or "unnamed"

    @property
    def is_current(self) -> bool:
        """Whether it was followed, and nothing was pointed at since."""
        return self.masklet is not None and self.followed is self.marks

    def holds(self, frame: int) -> bool:
        """Whether a frame is in its range."""
        return (self.start is None or frame >= self.start) and (self.end is None or frame <= self.end)

    def shapes(self) -> dict[int, Shape]:
        """Frame -> mask or absence, of the frames in its range; what was pointed at last counts."""
        known: dict[int, Shape] = {}
        if self.masklet is not None:
            region = self.masklet.region
            known = {frame: region.shape(frame) for frame in region.frames}
        known |= {frame: mark.shape for frame, mark in self.marks.items()}
        return {frame: known[frame] for frame in sorted(known) if self.holds(frame)}

    def shape(self, frame: int) -> Shape | None:
        """Its mask in one frame, or its absence; None if nothing is known."""
        if not self.holds(frame):
            return None
        if frame in self.marks:
            return self.marks[frame].shape
        if self.masklet is not None and frame in self.masklet.scores:
            return self.masklet.region.shape(frame)
        return None

    def mask(self, frame: int, height: int, width: int) -> NDArray[np.bool_] | None:
        """Its pixels in one frame, bool (height, width); None where it is not seen."""
        shape = self.shape(frame)
        return None if shape is None or isinstance(shape, Absent) else shape.silhouette(height, width).mask()

    def scores(self) -> dict[int, float]:
        """Frame -> how sure the segmenter is, of the frames in its range."""
        known = {} if self.masklet is None else dict(self.masklet.scores)
        known |= {frame: mark.score for frame, mark in self.marks.items()}
        return {frame: known[frame] for frame in sorted(known) if self.holds(frame)}

    def region(self) -> Region:
        """The object as models are asked about it.

        Raises:
            AppError: it is seen in no frame.
        """
        shapes = self.shapes()
        if all(isinstance(shape, Absent) for shape in shapes.values()):
            raise AppError(f"Object {self.number} ({self.called}) is seen in no frame; click on it in one first.")
        return Region.from_shapes(shapes)

    def prompts(self, height: int, width: int) -> dict[int, Prompt]:
        """What the segmenter is told of it, by frame."""
        return {frame: mark.prompt(height, width) for frame, mark in self.marks.items() if self.holds(frame)}

    def as_masklet(self, height: int, width: int, backend: str, settings: Mapping, video: str | None) -> Masklet:
        """The object as files of masklets have it, with its name as its words."""
        region, scores = self.region(), self.scores()
        return Masklet(
            region=region,
            scores={frame: scores[frame] for frame in region.frames},
            prompts=self.prompts(height, width),
            backend=backend,
            size=(height, width),
            settings=dict(settings),
            notes=() if self.masklet is None else self.masklet.notes,
            phrase=self.name or None,
            video=video,
        )

    def marked(self, frame: int, mark: Mark) -> Thing:
        """The object, pointed at in a frame."""
        return replace(self, marks={**self.marks, frame: mark})

    def declared_absent(self, frame: int) -> Thing:
        """The object, which is not in a frame."""
        return self.marked(frame, Mark(ABSENT, 1.0))
