"""The default executor: stage after stage, in this process, its threads, or other processes of this machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from itertools import groupby
from typing import Any, Protocol

from videorefer_plugin.data_engine.recipe import StageSettings
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.data_engine.stage import StageRunner, StageSpec
from videorefer_plugin.data_engine.state import State
from videorefer_plugin.errors import EngineError

__all__ = ["AHEAD", "OnDone", "WaitingStates", "run_local"]

OnDone = Callable[[State], object]
"""Called with each state that has come further, in the process that started the run; may raise to stop it."""

AHEAD = 2
"""Batches that are on their way for each worker: the one that it works on, and the next."""


class WaitingStates(Protocol):
    """What is still to be done, read anew from the ledger whenever it is iterated over; see [`ledgers.Waiting`]."""

    def __iter__(self) -> Iterator[State]:
        """All states that wait for some stage."""

    def at(self, stage: str) -> Iterator[State]:
        """States that wait for this one."""


def run_local(
    specs: Sequence[StageSpec],
    settings: Mapping[str, StageSettings],
    states: WaitingStates,
    on_done: OnDone,
    should_stop: Callable[[], bool],
    *,
    ahead: int = AHEAD,
) -> None:
    """Do a run stage after stage, so that the models of one agent at a time are in memory.

    A stage with one worker works in this process. With several, agents that threads may share are used by as many
    threads, and others are made once in each of as many processes. Batches are cut by the sources' places, so that
    they are the same ones whenever a run is interrupted.

    Args:
        specs (`Sequence[StageSpec]`): the stages, in order.
        settings (`Mapping[str, StageSettings]`): stage -> size of its batches, and number of its workers.
        states ([`WaitingStates`]): what is to be done.
        on_done (`Callable`): called with each state that has come further.
        should_stop (`Callable`): asked before each batch; then, what no worker has begun is not begun.
        ahead (`int`): batches that are on their way for each worker at a time.

    Raises:
        EngineError: nothing can be done any more, or a worker process was killed. What was done is in the ledger.
    """
    for spec in specs:
        batches = _batches(states.at(spec.stage), settings[spec.stage].batch_size)
        workers = settings[spec.stage].workers
        if workers == 1:
            _in_order(spec, batches, on_done, should_stop)
        elif make_agent(spec.stage, spec.backend, spec.settings).threads:
            _in_threads(spec, workers, ahead, batches, on_done, should_stop)
        else:
            _in_processes(spec, workers, ahead, batches, on_done, should_stop)
        if should_stop():
            return


def _batches(states: Iterator[State], size: int) -> Iterator[list[State]]:
    for _, group in groupby(states, lambda state: state.number // size):
        yield list(group)


def _in_order(
    spec: StageSpec, batches: Iterator[list[State]], on_done: OnDone, should_stop: Callable[[], bool]
) -> None:
    runner = None
    try:
        for batch in batches:
            if should_stop():
                return
            runner = runner or StageRunner(spec)
            for state in runner(batch):
                on_done(state)
    finally:
        if runner is not None:
            runner.close()


def _in_threads(
    spec: StageSpec,
    workers: int,
    ahead: int,
    batches: Iterator[list[State]],
    on_done: OnDone,
    should_stop: Callable[[], bool],
) -> None:
    agent, own, runners = make_agent(spec.stage, spec.backend, spec.settings), threading.local(), []

    def work(batch: list[State]) -> list[State]:
        if not hasattr(own, "runner"):  # each thread writes a file of its own
            own.runner = StageRunner(spec, agent)
            runners.append(own.runner)
        return own.runner(batch)

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(lambda: [runner.close() for runner in runners])
        stack.callback(pool.shutdown, cancel_futures=True)  # first, of these
        for states in _through(pool, work, ahead * workers, batches, should_stop):
            for state in states:
                on_done(state)


def _in_processes(
    spec: StageSpec,
    workers: int,
    ahead: int,
    batches: Iterator[list[State]],
    on_done: OnDone,
    should_stop: Callable[[], bool],
) -> None:
    others = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # forks of a process with threads or CUDA may hang
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(spec,))
    try:
        for states in _through(pool, _work, ahead * workers, batches, should_stop):
            for state in states:
                on_done(state)
    except BrokenProcessPool as error:
        raise EngineError(
            f"A worker process of the {spec.stage} {spec.backend!r} has ended unexpectedly, as it does when it is "
            "killed or the machine runs out of memory. What was done is kept; start the same run again, with fewer "
            f"{spec.stage}.workers if memory is short."
        ) from error
    except KeyboardInterrupt:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _through(
    pool: Executor,
    work: Callable[[list[State]], list[State]],
    most: int,
    batches: Iterator[list[State]],
    should_stop: Callable[[], bool],
) -> Iterator[list[State]]:
    """What comes out of a pool, as it comes; only a few batches are on their way at a time."""
    busy: set[Future[list[State]]] = set()
    more = True
    while True:
        while more and len(busy) < most:
            batch = None if should_stop() else next(batches, None)
            more = batch is not None
            if batch is not None:
                busy.add(pool.submit(work, batch))
        if not busy:
            return
        done, busy = wait(busy, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()
        if should_stop():
            more, busy = False, {future for future in busy if not future.cancel()}


_runner: StageRunner | None = None  # of a worker process
_spec: StageSpec | None = None


def _begin(spec: StageSpec) -> None:
    """Prepare a worker process."""
    global _spec
    _spec = spec
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started it decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    multiprocessing.util.Finalize(None, _end, exitpriority=0)  # `atexit` is not for worker processes


def _end() -> None:
    """Let go of the agent and the ledger, as a worker process ends."""
    if _runner is not None:
        _runner.close()


def _end_with_parent() -> None:
    """A worker whose run was killed would wait for work for ever, and keep its GPU's memory."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def _work(batch: list[State]) -> list[State]:
    global _runner
    assert _spec is not None
    _runner = _runner or StageRunner(_spec)
    return _runner(batch)
