"""Work that takes a while: it goes on when its page is closed, tells how far it is, and can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from videorefer_plugin.errors import AppError, VideoReferError

__all__ = ["Job", "Pool"]


class Job:
    """One piece of work, done in a thread of its own.

    Attributes:
        kind (`str`): `"follow"`, `"answer"` or `"draw"`.
        done, total (`int`): how far it is; `total` is 0 while that is not known.
        started (`bool`): whether it has begun; before that it waits for others.
        error (`BaseException`, *optional*): why it failed.
        is_told (`bool`): whether a page has said how it ended.
    """

    def __init__(self, kind: str):
        self.kind = kind
        self.done = 0
        self.total = 0
        self.started = False
        self.error: BaseException | None = None
        self.is_told = False
        self._stop = threading.Event()
        self._over = threading.Event()

    @property
    def is_over(self) -> bool:
        """Whether it has come to its end."""
        return self._over.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    @property
    def fault(self) -> str:
        """Why it failed, in a sentence; empty if it did not.

        Raises:
            BaseException: it failed because of a mistake in the program.
        """
        if self.error is None:
            return ""
        if not isinstance(self.error, (VideoReferError, OSError)):
            raise self.error
        return str(self.error)

    def tell(self, done: int, total: int) -> bool:
        """Say how far it is; `False` if it was asked to stop."""
        self.done, self.total = done, total
        return not self.is_stopped

    def stop(self) -> None:
        """Ask it to stop, which it does behind the frame or word that it is at."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end; whether it has come."""
        return self._over.wait(seconds)

    def run(self, work: Callable[[Job], None]) -> None:
        """Do it."""
        try:
            if not self.is_stopped:
                self.started = True
                work(self)
        except BaseException as error:  # raised again where the page looks at the job
            self.error = error
        finally:
            self._over.set()


class Pool:
    """Does jobs of one kind, so many at once, in the order in which they come.

    Args:
        name (`str`): of its threads.
        at_once (`int`): jobs.
        waiting (`int`): jobs that may wait.
    """

    def __init__(self, name: str, at_once: int = 1, waiting: int = 32):
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._room = threading.Semaphore(at_once + waiting)

    def start(self, job: Job, work: Callable[[Job], None]) -> None:
        """Do a job as soon as its turn comes.

        Raises:
            AppError: too many are waiting.
        """
        if not self._room.acquire(blocking=False):
            raise AppError("Too many others are waiting; try again in a while.")

        def run() -> None:
            try:
                job.run(work)
            finally:
                self._room.release()

        self._threads.submit(run)

    def close(self) -> None:
        """Start no other job."""
        self._threads.shutdown(wait=False, cancel_futures=True)
