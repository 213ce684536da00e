"""The default executor. It runs one stage after the other, in this process, its threads, or other processes."""

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
"""Called with each state after a stage, in the process that started the run; may raise an error to stop it."""

AHEAD = 2
"""The number of batches in progress for each worker: the current one, and the next."""


class WaitingStates(Protocol):
    """The unfinished states, which each iteration reads from the ledger again; see [`ledgers.Waiting`]."""

    def __iter__(self) -> Iterator[State]:
        """Yield all states that wait for some stage."""

    def at(self, stage: str) -> Iterator[State]:
        """Yield the states that wait for this stage."""


def run_local(
    specs: Sequence[StageSpec],
    settings: Mapping[str, StageSettings],
    states: WaitingStates,
    on_done: OnDone,
    should_stop: Callable[[], bool],
    *,
    ahead: int = AHEAD,
) -> None:
    """Do a run stage by stage, so that only the models of one agent are in memory.

    A stage with one worker runs in this process. With several workers, agents that support threads are shared by as
    many threads, and other agents are made once in each of as many processes. Batches depend on the sources'
    positions, so that they are the same after an interruption.

    Args:
        specs (`Sequence[StageSpec]`): the stages, in order.
        settings (`Mapping[str, StageSettings]`): stage -> size of its batches, and number of its workers.
        states ([`WaitingStates`]): unfinished states.
        on_done (`Callable`): called with each state after a stage.
        should_stop (`Callable`): called before each batch. If it returns true, no further batch is begun.
        ahead (`int`): number of batches in progress for each worker.

    Raises:
        EngineError: an error concerns all sources, or a worker process was killed. Finished work is in the ledger.
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
        if not hasattr(own, "runner"):  # each thread writes its own file
            own.runner = StageRunner(spec, agent)
            runners.append(own.runner)
        return own.runner(batch)

    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(workers))
        stack.callback(lambda: [runner.close() for runner in runners])
        stack.callback(pool.shutdown, cancel_futures=True)  # shut down before the others
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
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads or CUDA may hang
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(spec,))
    try:
        for states in _through(pool, _work, ahead * workers, batches, should_stop):
            for state in states:
                on_done(state)
    except BrokenProcessPool as error:
        raise EngineError(
            f"A worker process of the {spec.stage} {spec.backend!r} has ended unexpectedly, as it does when it is "
            "killed or the machine runs out of memory. Finished work is kept; start the same run again, with fewer "
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
    """Yield the results of a pool as they finish, with only a few batches in progress at a time."""
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    multiprocessing.util.Finalize(None, _end, exitpriority=0)  # `atexit` does not run in worker processes


def _end() -> None:
    """Release the agent and the ledger at the end of a worker process."""
    if _runner is not None:
        _runner.close()


def _end_with_parent() -> None:
    """End a worker whose run was killed. It would wait for work forever, and keep its GPU's memory."""
    parent: Any = multiprocessing.parent_process()
    parent.join()
    os._exit(1)


def _work(batch: list[State]) -> list[State]:
    global _runner
    assert _spec is not None
    _runner = _runner or StageRunner(_spec)
    return _runner(batch)
