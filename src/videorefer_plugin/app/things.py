"""The data of a visitor's object: its clicks, and its mask in every frame that it was followed through."""

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
    """The clicks on an object in one frame, and the segmenter's mask for them.

    Attributes:
        shape: the mask, or the absence of the object.
        score: score of the segmenter.
        points, labels, box: the clicks.
        base: the earlier mask, which the clicks correct.
    """

    shape: Shape
    score: float
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    base: Shape | None = None

    def prompt(self, height: int, width: int) -> Prompt:
        """Return the prompt for following the object: the visible mask if it was corrected, else the clicks."""
        if isinstance(self.shape, Absent):
            return Prompt(absent=True)
        if self.base is not None or not (1 in self.labels or self.box):
            return Prompt(mask=self.shape.silhouette(height, width).mask())
        return Prompt(points=np.array(self.points or np.empty((0, 2))), labels=self.labels, box=self.box)


@dataclass(frozen=True, eq=False)
class Thing:
    """An object, which is immutable: changes make another object, so that they can be undone.

    Attributes:
        number (`int`): number from 1, which determines its color.
        name (`str`): the visitor's name for it.
        marks (`Mapping[int, Mark]`): its clicks by frame.
        masklet (`Masklet`, *optional*): the result of following it.
        followed (`Mapping[int, Mark]`, *optional*): the marks from which it was followed.
        hidden (`bool`): whether pictures leave it out.
        start, end (`int`, *optional*): first and last frame of its range.
        identity (`object`): the same after all changes, while another object may get its number later.
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
        """Its name, or a text if it has none."""
        return self.name or "unnamed"

    @property
    def is_current(self) -> bool:
        """Whether it was followed, without later clicks."""
        return self.masklet is not None and self.followed is self.marks

    def holds(self, frame: int) -> bool:
        """Tell whether a frame is in its range."""
        return (self.start is None or frame >= self.start) and (self.end is None or frame <= self.end)

    def shapes(self) -> dict[int, Shape]:
        """Return mask or absence by frame, for the frames in its range. The last clicks take precedence."""
        known: dict[int, Shape] = {}
        if self.masklet is not None:
            region = self.masklet.region
            known = {frame: region.shape(frame) for frame in region.frames}
        known |= {frame: mark.shape for frame, mark in self.marks.items()}
        return {frame: known[frame] for frame in sorted(known) if self.holds(frame)}

    def shape(self, frame: int) -> Shape | None:
        """Return its mask or absence in one frame; None if neither is known."""
        if not self.holds(frame):
            return None
        if frame in self.marks:
            return self.marks[frame].shape
        if self.masklet is not None and frame in self.masklet.scores:
            return self.masklet.region.shape(frame)
        return None

    def mask(self, frame: int, height: int, width: int) -> NDArray[np.bool_] | None:
        """Return its pixels in one frame, bool (height, width); None if it is not visible."""
        shape = self.shape(frame)
        return None if shape is None or isinstance(shape, Absent) else shape.silhouette(height, width).mask()

    def scores(self) -> dict[int, float]:
        """Return the segmenter's scores by frame, for the frames in its range."""
        known = {} if self.masklet is None else dict(self.masklet.scores)
        known |= {frame: mark.score for frame, mark in self.marks.items()}
        return {frame: known[frame] for frame in sorted(known) if self.holds(frame)}

    def region(self) -> Region:
        """Return the object as a region for models.

        Raises:
            AppError: the object is visible in no frame.
        """
        shapes = self.shapes()
        if all(isinstance(shape, Absent) for shape in shapes.values()):
            raise AppError(f"Object {self.number} ({self.called}) is seen in no frame; click on it in one first.")
        return Region.from_shapes(shapes)

    def prompts(self, height: int, width: int) -> dict[int, Prompt]:
        """Return its prompts for the segmenter, by frame."""
        return {frame: mark.prompt(height, width) for frame, mark in self.marks.items() if self.holds(frame)}

    def as_masklet(self, height: int, width: int, backend: str, settings: Mapping, video: str | None) -> Masklet:
        """Return the object as a masklet for files, with its name as the phrase."""
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
        """Return the object with clicks in a frame."""
        return replace(self, marks={**self.marks, frame: mark})

    def declared_absent(self, frame: int) -> Thing:
        """Return the object as absent from a frame."""
        return self.marked(frame, Mark(ABSENT, 1.0))
