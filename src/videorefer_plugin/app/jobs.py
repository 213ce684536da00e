"""Jobs that take a while: they continue when their page is closed, have a progress, and can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from videorefer_plugin.errors import AppError, VideoReferError

__all__ = ["Job", "Pool"]


class Job:
    """A job, which runs in a thread of its own.

    Attributes:
        kind (`str`): `"follow"`, `"answer"` or `"draw"`.
        done, total (`int`): progress; `total` is 0 as long as it is not known.
        started (`bool`): whether it has begun; before, it waits for other jobs.
        error (`BaseException`, *optional*): the error with which it failed.
        is_told (`bool`): whether a page has shown its result.
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
        """Whether it has ended."""
        return self._over.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    @property
    def fault(self) -> str:
        """Return a sentence about its failure; empty if it did not fail.

        Raises:
            BaseException: it failed because of a bug in the program.
        """
        if self.error is None:
            return ""
        if not isinstance(self.error, (VideoReferError, OSError)):
            raise self.error
        return str(self.error)

    def tell(self, done: int, total: int) -> bool:
        """Set its progress; returns `False` if it was asked to stop."""
        self.done, self.total = done, total
        return not self.is_stopped

    def stop(self) -> None:
        """Ask it to stop, which it does after its current frame or word."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for its end, and return whether it has ended."""
        return self._over.wait(seconds)

    def run(self, work: Callable[[Job], None]) -> None:
        """Run the work of the job."""
        try:
            if not self.is_stopped:
                self.started = True
                work(self)
        except BaseException as error:  # raised again where the page reads the job
            self.error = error
        finally:
            self._over.set()


class Pool:
    """Runs jobs of one kind in their order, a limited number at once.

    Args:
        name (`str`): name of its threads.
        at_once (`int`): largest number of jobs at the same time.
        waiting (`int`): largest number of waiting jobs.
    """

    def __init__(self, name: str, at_once: int = 1, waiting: int = 32):
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix=name)
        self._room = threading.Semaphore(at_once + waiting)

    def start(self, job: Job, work: Callable[[Job], None]) -> None:
        """Run a job as soon as it is its turn.

        Raises:
            AppError: too many jobs are waiting.
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
        """Start no more jobs."""
        self._threads.shutdown(wait=False, cancel_futures=True)
