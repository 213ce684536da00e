"""The work of one visitor: a video, its objects, and a conversation about them. It needs no web page."""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from videorefer_plugin.app.films import draw_film
from videorefer_plugin.app.following import follow
from videorefer_plugin.app.jobs import Job, Pool
from videorefer_plugin.app.pointing import Pointing
from videorefer_plugin.app.talking import Asked, Talk, no_video
from videorefer_plugin.app.things import Thing
from videorefer_plugin.app.tools import Tools
from videorefer_plugin.errors import AppError, VideoReferError
from videorefer_plugin.video import Video, open_video

__all__ = ["Workspace", "safe_name"]


class Workspace(Pointing):
    """The work of one visitor. Several threads may use it.

    Args:
        key (`str`): its secret key, by which a reloaded page finds it again.
        folder (`Path`): folder of its files only.
        tools ([`Tools`]): the shared model and segmenters.

    Attributes:
        frame (`int`): the current frame.
        place (`Path`, *optional*): folder of the video, and of the files about it.
        film (`Path`, *optional*): the video with its objects that was drawn last.
        taken (`list[Path]`): files for download.
        talk ([`Talk`]): the conversation.
        job ([`Job`], *optional*): the current or last job.
    """

    def __init__(self, key: str, folder: Path, tools: Tools):
        super().__init__(tools)
        self.key = key
        self.folder = folder
        self.frame = 0
        self.place: Path | None = None
        self.film: Path | None = None
        self.taken: list[Path] = []
        self.talk = Talk(tools)
        self.job: Job | None = None
        folder.mkdir(parents=True, exist_ok=True)

    # --- the video ------------------------------------------------------------------------------------------------

    def open(self, path: Path, name: str | None = None) -> None:
        """Open a video, and move its file into the visitor's folder. Objects and conversation are reset.

        Args:
            path (`Path`): path of the file.
            name (`str`, *optional*): name of the video; by default that of the file.

        Raises:
            AppError: the file is not a video, or exceeds a limit. The previous video stays open.
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
            self.film, self.taken = None, []
            self.talk = Talk(self.tools, video)
            self._before.clear()
            self._pixels.clear()
        if before is not None:
            shutil.rmtree(before, ignore_errors=True)

    @property
    def title(self) -> str:
        """Name of the video."""
        return Path(self.opened.path or "video").name

    # --- work that takes a while ----------------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether a job is running."""
        return self.job is not None and not self.job.is_over

    def begin(self, kind: str, pool: Pool, work: Callable[[Job], None]) -> Job:
        """Start a job.

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
        """Follow objects with clicks since they were last followed through the video, in both directions; all objects
        if there are none.

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
        """Store the masklets of objects that still exist."""
        with self._lock:
            there = {thing.identity: thing for thing in self.things} if self.video is video else {}
            found = [thing for thing in found if thing.identity in there]
            if found:
                self._remember()
            for thing in found:
                self._put(replace(there[thing.identity], masklet=thing.masklet, followed=thing.followed))

    def ask(self, text: str) -> Job:
        """Ask about objects. The attribute `talk` has the answer.

        Raises:
            AppError: the question names no objects, or missing ones; or other work is not finished.
            PromptError: the question is not a usable text.
        """
        if self.video is None:
            raise no_video()
        with self._lock:
            question = self.talk.read(text, self.things, self.selected)
            talk = self.talk
            job = self.begin("answer", self.tools.answering, lambda job: talk.answer(question, job))
            talk.typed = text
            return job

    def take_back(self) -> None:
        """Remove the last question and its answer.

        Raises:
            AppError: there is no question, or one is being answered.
        """
        with self._lock:
            self._check_silent()
            self.talk.take_back()

    def begin_anew(self, turns: Sequence[Asked] = ()) -> None:
        """Start a new conversation, or continue another one.

        Raises:
            AppError: a question is being answered.
        """
        with self._lock:
            self._check_silent()
            self.talk.begin_anew(turns)

    def _check_silent(self) -> None:
        if self.job is not None and self.job.kind == "answer" and self.is_busy:
            raise AppError("A question is being answered; wait for the answer, or stop it.")

    def play(self) -> Job:
        """Draw the video with its objects, for the attribute `film`.

        Raises:
            AppError: no video is open, or other work is not finished.
        """
        with self._lock:
            video, place = self.opened, self.place
            assert place is not None
            things = [thing for thing in self.things if not thing.hidden]
            path = place / f"{Path(self.title).stem}_objects.mp4"

            def work(job: Job) -> None:
                draw_film(video, things, path, job)
                with self._lock:
                    if self.video is video and path.exists():
                        self.film, self.taken = path, [path]

            return self.begin("draw", self.tools.drawing, work)

    def stop(self) -> None:
        """Stop the current job, and keep its finished part."""
        if self.job is not None:
            self.job.stop()

    # --- the end --------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Drop cached values, which can be computed again."""
        with self._lock:
            self._pixels.clear()
            if not self.is_busy:
                self.talk.rest()

    def close(self) -> None:
        """Stop the current job, and wait for its end."""
        self.stop()
        if self.job is not None and self.job.started:
            self.job.wait(60)
        self.talk.rest()

    def remove(self) -> None:
        """Close the work, and delete its files."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def safe_name(name: str) -> str:
    """Return a safe file name that is similar to the given name."""
    name = re.sub(r"[^\w.-]+", "_", name.replace("\\", "/").rsplit("/", 1)[-1]).strip("._-")
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem.strip("._-"), ending) if dot else (name, "")
    return f"{stem[:60] or 'video'}{dot}{ending[:10]}"
