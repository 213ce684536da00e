"""The objects of a visitor, with undo."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from videorefer_plugin._text import text_fault
from videorefer_plugin.app.limits import MOST_OBJECTS
from videorefer_plugin.app.talking import no_video
from videorefer_plugin.app.things import Thing
from videorefer_plugin.errors import AppError
from videorefer_plugin.video import Video

__all__ = ["LONGEST_NAME", "Objects", "too_many"]

LONGEST_NAME = 60
"""Largest number of characters of an object's name."""
_UNDONE = 50  # steps


class Objects:
    """The objects of a visitor. Several threads may use them.

    Attributes:
        video ([`Video`], *optional*): the video with the objects.
        things (`tuple[Thing, ...]`): the objects.
        selected (`int`, *optional*): number of the object for clicks; None for a new one.
        corner (*optional*): frame, x and y of the first corner of a box.
    """

    def __init__(self) -> None:
        self.video: Video | None = None
        self.things: tuple[Thing, ...] = ()
        self.selected: int | None = None
        self.corner: tuple[int, float, float] | None = None
        self._before: list[tuple[tuple[Thing, ...], int | None]] = []
        self._lock = threading.RLock()

    @property
    def opened(self) -> Video:
        """The video.

        Raises:
            AppError: no video is open.
        """
        if self.video is None:
            raise no_video()
        return self.video

    def thing(self, number: int) -> Thing:
        """Return an object.

        Raises:
            AppError: there is no object of this number.
        """
        found = [thing for thing in self.things if thing.number == number]
        if not found:
            raise AppError(f"There is no object {number}; point at one first.")
        return found[0]

    def select(self, number: int | None) -> None:
        """Select the object for clicks; None for a new one."""
        with self._lock:
            if number is not None:
                self.thing(number)
            self.selected, self.corner = number, None

    def rename(self, name: str) -> None:
        """Name the selected object.

        Raises:
            AppError: no object is selected, or the name is not a usable text.
        """
        said = " ".join(name.split())
        if fault := text_fault(said):
            raise AppError(f"The name cannot be read: {fault}. Type it again.")
        with self._changing() as thing:
            self._put(replace(thing, name=said[:LONGEST_NAME]))

    def hide(self, number: int) -> None:
        """Hide an object in pictures, or show it again."""
        with self._lock:
            thing = self.thing(number)
            self._remember()
            self._put(replace(thing, hidden=not thing.hidden))

    def delete(self, number: int) -> None:
        """Delete an object."""
        with self._lock:
            self.thing(number)
            self._remember()
            self.things = tuple(thing for thing in self.things if thing.number != number)
            if self.selected == number:
                self.selected = None

    def limit(self, start: int | None, end: int | None) -> None:
        """Set the range of the selected object: its first and last frame, None for those of the video.

        Raises:
            AppError: no object is selected, or it has no click in the range.
        """
        last = self.opened.num_frames - 1
        first_frame, last_frame = 0 if start is None else start, last if end is None else end
        if not 0 <= first_frame <= last_frame <= last:
            raise AppError(f"There are no frames {first_frame} to {last_frame}; expected a range from 0 to {last}.")
        with self._changing() as thing:
            known = thing.marks or replace(thing, start=None, end=None).shapes()
            if not any(first_frame <= frame <= last_frame for frame in known):
                raise AppError(
                    f"Object {thing.number} was pointed at in no frame from {first_frame} to {last_frame}; point at "
                    "it there first, or choose a wider range."
                )
            whole = (None if first_frame == 0 else first_frame, None if last_frame == last else last_frame)
            if whole != (thing.start, thing.end):
                is_within = thing.holds(first_frame) and thing.holds(last_frame)
                followed = thing.followed if is_within else None
                self._put(replace(thing, start=whole[0], end=whole[1], followed=followed))

    def undo(self) -> None:
        """Undo the last change of objects.

        Raises:
            AppError: there is no change to undo.
        """
        with self._lock:
            if self.corner is not None:
                self.corner = None
                return
            if not self._before:
                raise AppError("There is nothing to take back.")
            self.things, self.selected = self._before.pop()

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to undo."""
        return bool(self._before) or self.corner is not None

    def replace_things(self, things: tuple[Thing, ...]) -> None:
        """Replace all objects by others, such as those of a file.

        Raises:
            AppError: there are too many objects.
        """
        if len(things) > MOST_OBJECTS:
            raise AppError(f"There are {len(things)} objects, and this page takes {MOST_OBJECTS} at most.")
        with self._lock:
            self._remember()
            self.things, self.selected, self.corner = things, None, None

    @contextmanager
    def _changing(self) -> Iterator[Thing]:
        """Return the selected object for a change."""
        with self._lock:
            if self.selected is None:
                raise AppError("No object is selected; choose one of the list.")
            before = self.things
            yield self.thing(self.selected)
            if self.things is not before:
                self._before.append((before, self.selected))
                del self._before[:-_UNDONE]

    def _remember(self) -> None:
        self._before.append((self.things, self.selected))
        del self._before[:-_UNDONE]

    def _put(self, thing: Thing) -> None:
        others = [other for other in self.things if other.number != thing.number]
        self.things = tuple(sorted([*others, thing], key=lambda one: one.number))

    def _free(self) -> int:
        """Return the lowest number that no object has."""
        taken = {thing.number for thing in self.things}
        free = [number for number in range(1, MOST_OBJECTS + 1) if number not in taken]
        if not free:
            raise too_many()
        return free[0]


def too_many() -> AppError:
    """Return the error for more objects than the page takes."""
    return AppError(f"There are {MOST_OBJECTS} objects already, which is all that this page takes; delete one first.")
