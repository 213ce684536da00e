"""Waiting for what may never come: other computers, which are given a time as a whole.

A client's own timeout is one for each piece that it reads, so that a server which sends a byte now and then keeps it
for ever.
"""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["TooSlowError", "within"]

ValueT = TypeVar("ValueT")


class TooSlowError(Exception):
    """Something did not end in its time."""


def within(seconds: float, work: Callable[[], ValueT]) -> ValueT:
    """What `work` gives or raises, if it ends in so many seconds.

    It runs beside, so that Ctrl-C reaches what waits for it. Work that is not waited for any more is left alone, and
    keeps no process from ending.

    Raises:
        TooSlowError: it did not end in time.
    """
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # raised again by whoever waits
            failure.append(error)

    thread = threading.Thread(target=run, name="videorefer-waiting", daemon=True)
    thread.start()
    thread.join(min(seconds, threading.TIMEOUT_MAX))
    if failure:
        raise failure[0]
    if not outcome:
        raise TooSlowError
    return outcome[0]
