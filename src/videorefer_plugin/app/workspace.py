"""What one visitor works on: a video, objects in it, and a conversation about them. No web page is needed for it."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin._text import cut, text_fault
from videorefer_plugin.app.films import draw_film
from videorefer_plugin.app.following import follow
from videorefer_plugin.app.jobs import Job, Pool
from videorefer_plugin.app.limits import MOST_OBJECTS
from videorefer_plugin.app.talking import Talk, no_video
from videorefer_plugin.app.things import Mark, Thing
from videorefer_plugin.app.tools import Tools
from videorefer_plugin.errors import AppError, VideoReferError
from videorefer_plugin.regions import Absent, Rle, encode_rle
from videorefer_plugin.segment import Prompt
from videorefer_plugin.video import Video, open_video

__all__ = ["Workspace", "safe_name"]

_UNDONE = 50  # steps
_FRAMES_KEPT = 8
_LONGEST_NAME = 60  # characters of an object's name
_FOUND = 4  # objects that words may mean in a frame, at most


class Workspace:
    """What one visitor works on. It may be used from several threads.

    Args:
        key (`str`): its secret name, by which a reloaded page finds it again.
        folder (`Path`): where its files lie, and no others.
        tools ([`Tools`]): what all visitors share.

    Attributes:
        video ([`Video`], *optional*): what is looked at.
        things (`tuple[Thing, ...]`): the objects.
        selected (`int`, *optional*): number of the object that clicks are about; None for a new one.
        corner (*optional*): frame, x and y of the first corner of a box.
        frame (`int`): that is looked at.
        place (`Path`, *optional*): the folder of the video, with whatever is written about it.
        film (`Path`, *optional*): the video with its objects, as it was drawn last.
        talk ([`Talk`]): the conversation.
        job ([`Job`], *optional*): what is being done, or was done last.
    """

    def __init__(self, key: str, folder: Path, tools: Tools):
        self.key = key
        self.folder = folder
        self.tools = tools
        self.video: Video | None = None
        self.things: tuple[Thing, ...] = ()
        self.selected: int | None = None
        self.corner: tuple[int, float, float] | None = None
        self.frame = 0
        self.place: Path | None = None
        self.film: Path | None = None
        self.talk = Talk(tools)
        self.job: Job | None = None
        self._before: list[tuple[tuple[Thing, ...], int | None]] = []
        self._pixels: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)

    # --- the video ------------------------------------------------------------------------------------------------

    def open(self, path: Path, name: str | None = None) -> None:
        """Take a video over: the file is moved into the visitor's folder. Objects and conversation begin anew.

        Args:
            path (`Path`): of the file.
            name (`str`, *optional*): what it is called; by default as it is.

        Raises:
            AppError: it is no video, or one that is too long or too large; what was open stays so.
        """
        place = self.folder / secrets.token_hex(4)
        place.mkdir()
        kept = place / safe_name(name or path.name)
        try:
            shutil.move(path, kept)
            video = open_video(kept)
            self.tools.limits.check(video)
            video.read([0])
        except (VideoReferError, OSError) as error:
            shutil.rmtree(place, ignore_errors=True)
            raise AppError(str(error).replace(f"{place}/", "")) from error
        self.close()
        with self._lock:
            before, self.place = self.place, place
            self.video, self.things, self.selected, self.corner, self.frame = video, (), None, None, 0
            self.film = None
            self.talk = Talk(self.tools, video)
            self._before.clear()
            self._pixels.clear()
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    @property
    def opened(self) -> Video:
        """The video.

        Raises:
            AppError: none was opened.
        """
        if self.video is None:
            raise no_video()
        return self.video

    @property
    def title(self) -> str:
        """What the video is called."""
        return Path(self.opened.path or "video").name

    def read(self, frame: int) -> NDArray[np.uint8]:
        """The pixels of a frame, uint8 (height, width, 3); the last few are kept.

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

    # --- pointing at objects --------------------------------------------------------------------------------------

    def thing(self, number: int) -> Thing:
        """An object.

        Raises:
            AppError: there is none of this number.
        """
        found = [thing for thing in self.things if thing.number == number]
        if not found:
            raise AppError(f"There is no object {number}; point at one first.")
        return found[0]

    def select(self, number: int | None) -> None:
        """Say which object clicks are about; None for a new one."""
        with self._lock:
            if number is not None:
                self.thing(number)
            self.selected, self.corner = number, None

    def point(self, frame: int, x: float, y: float, on_object: bool = True) -> None:
        """Say that a point is on the selected object, or that it is not; without one, it is on a new one.

        Args:
            frame (`int`): of the video.
            x, y (`float`): in pixels of the video.
            on_object (`bool`): whether the object is there.

        Raises:
            AppError: nothing was pointed at yet that the point could not be on; or there are too many objects.
            RegionError: the point does not lie in the frame.
            SegmentError: nothing can be cut out there.
        """
        with self._lock:
            thing = self._chosen(frame)
            mark, base = self._before_click(thing, frame)
            if not on_object and mark is None and base is None:
                raise AppError(
                    "Click on the object first: what a point is not on is not known yet. Choose an object of the "
                    "list, or the mode for points on the object."
                )
            points = (*(mark.points if mark else ()), (float(x), float(y)))
            labels = (*(mark.labels if mark else ()), int(on_object))
            self._cut(thing, frame, Mark(Absent(), 0, points, labels, mark.box if mark else None, base))

    def box(self, frame: int, x: float, y: float) -> None:
        """Give one corner of a box around the selected object, or around a new one; the second makes the box.

        Raises:
            AppError, RegionError, SegmentError: as [`point`]; or the box has no extent.
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
        """Find what words mean in a frame; what is found becomes new objects.

        Returns:
            `int`: how many.

        Raises:
            SegmentError: nothing is found, or the words are none.
            AppError: there are too many objects.
        """
        with self._lock:
            room = MOST_OBJECTS - len(self.things)
            if room < 1:
                raise _too_many()
            found = self.tools.finder.find(self.read(frame), words, max_objects=min(room, _FOUND))
            self._remember()
            for one in found:
                shape = Rle.from_mapping(encode_rle(one.mask))
                name = cut(" ".join(words.split()), _LONGEST_NAME)
                self._put(Thing(self._free(), name, {frame: Mark(shape, float(np.clip(one.score, 0, 1)))}))
            return len(found)

    def absent(self, frame: int) -> None:
        """Say that the selected object is not in a frame.

        Raises:
            AppError: none is selected.
        """
        with self._changing() as thing:
            self.opened._check_indices([frame])
            self._put(thing.declared_absent(frame))

    def forget_frame(self, frame: int) -> None:
        """Take back what was pointed at of the selected object in a frame.

        Raises:
            AppError: none is selected, or nothing was pointed at there.
        """
        with self._changing() as thing:
            if frame not in thing.marks:
                raise AppError(f"Object {thing.number} was not pointed at in frame {frame}.")
            self._put(replace(thing, marks={at: mark for at, mark in thing.marks.items() if at != frame}))

    def _chosen(self, frame: int) -> Thing:
        """The object that a click is about, perhaps a new one."""
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
        """What was pointed at in a frame before, if it says where, and the mask that clicks correct."""
        mark = thing.marks.get(frame)
        if mark is not None and not isinstance(mark.shape, Absent):
            is_clicked = bool(mark.points) or mark.box is not None
            return (mark, mark.base) if is_clicked else (None, mark.shape)
        shape = thing.shape(frame)
        return None, None if isinstance(shape, Absent) else shape

    def _cut(self, thing: Thing, frame: int, mark: Mark) -> None:
        """Cut an object out of a frame as it was pointed at."""
        video = self.opened
        base = None if mark.base is None else mark.base.silhouette(video.height, video.width).mask()
        prompt = Prompt(np.array(mark.points or np.empty((0, 2))), mark.labels, mark.box, base)
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

    # --- the list of objects --------------------------------------------------------------------------------------

    def rename(self, name: str) -> None:
        """Name the selected object.

        Raises:
            AppError: none is selected, or the name cannot be written.
        """
        said = " ".join(name.split())
        if fault := text_fault(said):
            raise AppError(f"The name cannot be read: {fault}. Type it anew.")
        with self._changing() as thing:
            self._put(replace(thing, name=said[:_LONGEST_NAME]))

    def hide(self, number: int) -> None:
        """Leave an object out of pictures, or show it again."""
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
        """Say in which frames the selected object counts: its first and last one, None for those of the video.

        Raises:
            AppError: none is selected, or the range holds no frame in which it was pointed at.
        """
        last = self.opened.num_frames - 1
        first_frame, last_frame = 0 if start is None else start, last if end is None else end
        if not 0 <= first_frame <= last_frame <= last:
            raise AppError(f"There are no frames {first_frame} to {last_frame}; expected a range from 0 to {last}.")
        with self._changing() as thing:
            if not any(first_frame <= frame <= last_frame for frame in thing.marks):
                raise AppError(
                    f"Object {thing.number} was pointed at in no frame from {first_frame} to {last_frame}; point at "
                    "it there first, or choose a wider range."
                )
            whole = (None if first_frame == 0 else first_frame, None if last_frame == last else last_frame)
            self._put(replace(thing, start=whole[0], end=whole[1], followed=None))

    def undo(self) -> None:
        """Take the last change of objects back.

        Raises:
            AppError: there is none.
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
        """Whether there is something to take back."""
        return bool(self._before) or self.corner is not None

    def replace_things(self, things: tuple[Thing, ...]) -> None:
        """Put other objects in the place of all, such as those of a file.

        Raises:
            AppError: there are too many.
        """
        if len(things) > MOST_OBJECTS:
            raise AppError(f"There are {len(things)} objects, and this page takes {MOST_OBJECTS} at most.")
        with self._lock:
            self._remember()
            self.things, self.selected, self.corner = things, None, None

    @contextmanager
    def _changing(self) -> Iterator[Thing]:
        """The selected object, which is about to be changed."""
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
        """The lowest number that no object has."""
        taken = {thing.number for thing in self.things}
        free = [number for number in range(1, MOST_OBJECTS + 1) if number not in taken]
        if not free:
            raise _too_many()
        return free[0]

    # --- work that takes a while ----------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether something is being done."""
        return self.job is not None and not self.job.is_over

    def begin(self, kind: str, pool: Pool, work: Callable[[Job], None]) -> Job:
        """Begin work that takes a while.

        Raises:
            AppError: other work of this visitor is not finished, or too many visitors are waiting.
        """
        with self._lock:
            if self.is_busy:
                raise AppError("Something is being done already; wait for it, or stop it.")
            job = Job(kind)
            pool.start(job, work)
            self.job = job
            return job

    def follow(self) -> Job:
        """Follow through the video, in both directions, those objects that were pointed at since they were followed
        last; all of them if there are none.

        Raises:
            AppError: there are no objects, or other work is not finished.
        """
        with self._lock:
            video = self.opened
            things = [thing for thing in self.things if not thing.is_current] or list(self.things)
            things = [thing for thing in things if thing.marks]
            if not things:
                raise AppError("There is no object to follow; click on one first.")

            def work(job: Job) -> None:
                found: list[Thing] = []
                try:
                    for thing in follow(self.tools.segmenter, video, things, job):
                        found.append(thing)
                finally:
                    self._followed(found, video)

            return self.begin("follow", self.tools.following, work)

    def _followed(self, found: list[Thing], video: Video) -> None:
        """Take up what was found of objects that are still there."""
        with self._lock:
            there = {thing.number: thing for thing in self.things} if self.video is video else {}
            found = [thing for thing in found if thing.number in there]
            if found:
                self._remember()
            for thing in found:
                self._put(replace(there[thing.number], masklet=thing.masklet, followed=thing.followed))

    def ask(self, text: str) -> Job:
        """Ask about objects; the answer comes in `talk`.

        Raises:
            AppError: the question has none, or names objects that are not there; or other work is not finished.
            PromptError: the question cannot be read.
        """
        if self.video is None:
            raise no_video()
        with self._lock:
            question = self.talk.read(text, self.things, self.selected)
            talk = self.talk
            return self.begin("answer", self.tools.answering, lambda job: talk.answer(question, job))

    def play(self) -> Job:
        """Draw the video with its objects, as `film`.

        Raises:
            AppError: no video is open, or other work is not finished.
        """
        with self._lock:
            video, place = self.opened, self.place
            assert place is not None
            things = [thing for thing in self.things if not thing.hidden]
            path = place / f"objects-{secrets.token_hex(4)}.mp4"

            def work(job: Job) -> None:
                draw_film(video, things, path, job)
                with self._lock:
                    if self.video is video and path.exists():
                        self.film = path

            return self.begin("draw", self.tools.drawing, work)

    def stop(self) -> None:
        """Stop what is being done; what is done stays."""
        if self.job is not None:
            self.job.stop()

    # --- the end --------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Forget what can be computed again."""
        with self._lock:
            self._pixels.clear()
            if not self.is_busy:
                self.talk.rest()

    def close(self) -> None:
        """Stop what is being done, and wait for that."""
        self.stop()
        if self.job is not None and self.job.started:
            self.job.wait(60)
        self.talk.rest()

    def remove(self) -> None:
        """Close it, and delete its files."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """A name for a file that is in no way special, as like the given one as can be."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip("._-")
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, ending) if dot else (name, "")
    return f"{stem[:60] or 'video'}{dot}{ending[:10]}"


def _too_many() -> AppError:
    return AppError(f"There are {MOST_OBJECTS} objects already, which is all that this page takes; delete one first.")
