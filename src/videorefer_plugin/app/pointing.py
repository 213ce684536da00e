"""Converts clicks, boxes and words to masks of objects in a frame."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import cut
from videorefer_plugin.app.limits import MOST_OBJECTS
from videorefer_plugin.app.objects import LONGEST_NAME, Objects, too_many
from videorefer_plugin.app.things import Mark, Thing
from videorefer_plugin.app.tools import Tools
from videorefer_plugin.errors import AppError
from videorefer_plugin.regions import Absent, Rle, encode_rle
from videorefer_plugin.segment import Prompt

__all__ = ["Pointing"]

_FRAMES_KEPT = 8
_FOUND = 4  # largest number of objects that words may mean in a frame


class Pointing(Objects):
    """The objects of a visitor, with methods for pointing at them in frames of the video.

    Args:
        tools ([`Tools`]): the segmenter, and the finder of words.
    """

    def __init__(self, tools: Tools):
        super().__init__()
        self.tools = tools
        self._pixels: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def read(self, frame: int) -> NDArray[np.uint8]:
        """Return the pixels of a frame, uint8 (height, width, 3). The last few frames are kept.

        Raises:
            VideoError: the video has no such frame, or it cannot be decoded.
        """
        video = self.opened
        with self._lock:
            if frame not in self._pixels:
                self._pixels[frame] = video.read([frame])[0]
            self._pixels.move_to_end(frame)
            while len(self._pixels) > _FRAMES_KEPT:
                self._pixels.popitem(last=False)
            return self._pixels[frame]

    def point(self, frame: int, x: float, y: float, on_object: bool = True) -> None:
        """Add a point on the selected object or not on it; if no object is selected, on a new one.

        Args:
            frame (`int`): index of the frame.
            x, y (`float`): position in pixels of the video.
            on_object (`bool`): whether the point is on the object.

        Raises:
            AppError: a negative point has no object yet, or there are too many objects.
            RegionError: the point is outside the frame.
            SegmentError: no object can be cut out there.
        """
        with self._lock:
            thing = self._chosen(frame)
            mark, base = self._before_click(thing, frame)
            if not on_object and mark is None and base is None:
                raise AppError(
                    "Click on the object first: a negative point needs an object that it is not on. Choose one of the "
                    "list, or the mode for points on the object."
                )
            points = (*(mark.points if mark else ()), (float(x), float(y)))
            labels = (*(mark.labels if mark else ()), int(on_object))
            self._cut(thing, frame, Mark(Absent(), 0, points, labels, mark.box if mark else None, base))

    def box(self, frame: int, x: float, y: float) -> None:
        """Add a corner of a box around the selected object or a new one. The second corner completes the box.

        Raises:
            AppError, RegionError, SegmentError: see [`point`]; or the box has no extent.
        """
        with self._lock:
            self.opened._check_indices([frame])
            if self.corner is None or self.corner[0] != frame:
                self.corner = frame, float(x), float(y)
                return
            _, x0, y0 = self.corner
            self.corner = None
            if abs(x - x0) < 1 or abs(y - y0) < 1:
                raise AppError(
                    "The two corners lie in one row or column; click on two opposite corners of the object."
                )
            thing = self._chosen(frame)
            box = min(x, x0), min(y, y0), max(x, x0), max(y, y0)
            self._cut(thing, frame, Mark(Absent(), 0, box=box))

    def find(self, frame: int, words: str) -> int:
        """Find the objects that words mean in a frame, and add them as new objects.

        Returns:
            `int`: number of objects that were found.

        Raises:
            SegmentError: no object is found, or the words are not usable.
            AppError: there are too many objects.
        """
        with self._lock:
            room = MOST_OBJECTS - len(self.things)
            if room < 1:
                raise too_many()
            with self.tools.cutting:
                found = self.tools.finder.find(self.read(frame), words, max_objects=min(room, _FOUND))
            self._remember()
            for one in found:
                shape = Rle.from_mapping(encode_rle(one.mask))
                name = cut(" ".join(words.split()), LONGEST_NAME)
                self._put(Thing(self._free(), name, {frame: Mark(shape, float(np.clip(one.score, 0, 1)))}))
            return len(found)

    def absent(self, frame: int) -> None:
        """Mark the selected object as absent from a frame.

        Raises:
            AppError: no object is selected.
        """
        with self._changing() as thing:
            self.opened._check_indices([frame])
            self._put(thing.declared_absent(frame))

    def forget_frame(self, frame: int) -> None:
        """Remove the clicks on the selected object in a frame.

        Raises:
            AppError: no object is selected, or it has no clicks there.
        """
        with self._changing() as thing:
            if frame not in thing.marks:
                raise AppError(f"Object {thing.number} was not pointed at in frame {frame}.")
            self._put(replace(thing, marks={at: mark for at, mark in thing.marks.items() if at != frame}))

    def _chosen(self, frame: int) -> Thing:
        """Return the object of a click, which may be a new one."""
        self.opened._check_indices([frame])
        if self.selected is None:
            return Thing(self._free())
        thing = self.thing(self.selected)
        if not thing.holds(frame):
            raise AppError(
                f"Frame {frame} is not in the range of object {thing.number}; change its first or last frame."
            )
        return thing

    def _before_click(self, thing: Thing, frame: int) -> tuple[Mark | None, Any]:
        """Return the earlier clicks in a frame, if they show the object, and the mask that clicks correct."""
        mark = thing.marks.get(frame)
        if mark is not None and not isinstance(mark.shape, Absent):
            is_clicked = bool(mark.points) or mark.box is not None
            return (mark, mark.base) if is_clicked else (None, mark.shape)
        shape = thing.shape(frame)
        return None, None if isinstance(shape, Absent) else shape

    def _cut(self, thing: Thing, frame: int, mark: Mark) -> None:
        """Cut an object out of a frame by its clicks."""
        video = self.opened
        base = None if mark.base is None else mark.base.silhouette(video.height, video.width).mask()
        prompt = Prompt(np.array(mark.points or np.empty((0, 2))), mark.labels, mark.box, base)
        with self.tools.cutting:
            (found,) = self.tools.segmenter.segment(self.read(frame), [prompt])
        if not found.mask.any():
            raise AppError(
                "Nothing stands out there, so that nothing can be cut out. Click on another part of the object, or "
                "draw a box around it."
            )
        self._remember()
        score = float(np.clip(found.score, 0, 1))
        self._put(thing.marked(frame, replace(mark, shape=Rle.from_mapping(encode_rle(found.mask)), score=score)))
        self.selected = thing.number
