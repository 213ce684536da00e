"""Time limits for work that may never end, such as requests to other computers.

The timeout of a client counts for each piece that it reads, so a server that sends a byte now and then can block it
for ever.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["TooSlowError", "within"]

ValueT = TypeVar("ValueT")


class TooSlowError(Exception):
    """The work did not end within its time limit."""


def within(seconds: float, work: Callable[[], ValueT]) -> ValueT:
    """Return the result of `work`, or raise its error, if it ends within so many seconds.

    It runs in another thread, so that Ctrl-C interrupts the wait. Work that exceeds its limit is abandoned, and does
    not keep the process from ending.

    Raises:
        TooSlowError: the work did not end in time.
    """
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # raised again in the waiting thread
            failure.append(error)

    thread = threading.Thread(target=run, name="videorefer-waiting", daemon=True)
    thread.start()
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if failure:
        raise failure[0]
    if not outcome:
        raise TooSlowError
    return outcome[0]
