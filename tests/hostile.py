"""How hostile input is tried: in a bounded time, with one accepted outcome, and each distinct input once."""

import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from videorefer_plugin.errors import VideoReferError

SECONDS = 30  # for one input; most take milliseconds
LONGEST_MESSAGE = 1500


@contextmanager
def in_time() -> Iterator[None]:
    """Fail what hangs."""

    def stop(*_: Any) -> None:
        pytest.fail(f"still busy after {SECONDS} s")  # which nobody takes for an error of the system

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def refuses(error: type[VideoReferError], door: Callable[[Any], Any]) -> Callable[[Any], None]:
    """A check that a door answers with this error and no other, in a message that can be read."""

    def check(value: Any) -> None:
        with in_time(), pytest.raises(error) as caught:
            door(value)
        assert 10 < len(str(caught.value)) < LONGEST_MESSAGE
        assert str(caught.value).encode()

    return check


def draw(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int = 8) -> int:
    """Check inputs of a kind, and say how many distinct ones there were."""
    seen: set[bytes] = set()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def once(value: Any) -> None:
        seen.add(pickle.dumps(value))
        check(value)

    once()
    return len(seen)
