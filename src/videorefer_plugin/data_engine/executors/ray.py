"""The executor for Ray clusters, on this machine or on many."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import math
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from videorefer_plugin.data_engine.executors.ray_files import News, Spool
from videorefer_plugin.data_engine.executors.ray_resources import check_cluster, cpus_for_one_of_each
from videorefer_plugin.data_engine.executors.ray_stage import ActorError, StageActor, is_busy
from videorefer_plugin.data_engine.recipe import StageSettings
from videorefer_plugin.data_engine.stage import StageSpec
from videorefer_plugin.data_engine.state import State
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["check_ray", "run_ray"]

_LARGEST_TABLE = 32  # videos; smaller tables cost a few ms more per video, and larger ones let stages overlap less
_TABLES = 256  # at least, in a long run: small tables let the stages overlap
_STARTS = 3  # of a cluster on this machine, which may be busy
_KNOCK_SECONDS = 10  # for the answer of a cluster on another machine
_LOOK_SECONDS = 0.5  # between two checks for a stop


def check_ray() -> None:
    """Check that Ray is installed.

    Raises:
        ConfigurationError: Ray is not installed.
    """
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError("executor.kind='ray' needs Ray Data: pip install 'videorefer-plugin[ray]'.")


def run_ray(
    specs: Sequence[StageSpec],
    settings: Mapping[str, StageSettings],
    states: Iterable[State],
    on_done: Callable[[State], object],
    should_stop: Callable[[], bool],
    *,
    address: str | None = None,
) -> None:
    """Run all stages of all states with the actors of Ray Data.

    Each stage has its own pool of actors, which write their results to the ledger before they pass them on. This
    process reads them from the ledger. All nodes have to see the folder of the ledger, the videos and the checkpoints
    under the same paths. Ray's own checkpoints are not used, since the ledger has all finished work.

    Args:
        specs (`Sequence[StageSpec]`): the stages, in order.
        settings (`Mapping[str, StageSettings]`): stage -> workers, batches, and the resources of a worker.
        states (`Iterable[State]`): unfinished states, which are read once and not kept.
        on_done (`Callable`): called with each state and its new line; may raise an error to stop the run.
        should_stop (`Callable`): called regularly. Once it returns true, work in progress is finished and written, and
            no other work begins.
        address (`str`, *optional*): address of a cluster, as in `ray.init` (`"auto"`, `"host:6379"`). By default, a
            cluster is started on this machine and ended afterwards. An existing connection of this process is used.

    Raises:
        ConfigurationError: Ray is not installed, or an agent cannot be made.
        EngineError: the cluster cannot be reached, or has too few resources; an error of an agent concerns all
            sources; or workers die again and again.
    """
    check_ray()
    specs = [replace(spec, folder=os.path.abspath(spec.folder)) for spec in specs]
    if not specs:
        return
    with Spool(specs) as spool:
        for state in states:
            if spool.waits(state):
                spool.add(state)
        if len(spool):
            with _cluster(specs, settings, address):
                _follow(_Pipeline(specs, settings, spool), News(specs), spool, on_done, should_stop)


def _follow(
    pipeline: _Pipeline, news: News, spool: Spool, on_done: Callable[[State], object], should_stop: Callable[[], bool]
) -> None:
    """Pass on the lines that actors write to the ledger, until all of them are done."""
    pipeline.start()
    try:
        while pipeline.is_alive():
            pipeline.join(_LOOK_SECONDS)
            _tell(news, spool, on_done)
            if should_stop():
                _settle(pipeline, spool)
                break
        _tell(news, spool, on_done)
    except Exception:
        _settle(pipeline, spool)
        raise
    if pipeline.error is not None:
        raise pipeline.error


def _tell(news: News, spool: Spool, on_done: Callable[[State], object]) -> None:
    for row in news.rows():
        state = spool.state(row["id"])
        if state is not None:
            state.rows[row["stage"]] = row
            on_done(state)


def _settle(pipeline: _Pipeline, spool: Spool) -> None:
    """Wait until actors have written their work in progress. The other states are not waited for."""
    spool.stop()
    idle = 0
    while (
        pipeline.is_alive() and idle < 3
    ):  # an actor that has just checked for the stop may not be marked as busy yet
        pipeline.join(_LOOK_SECONDS)
        idle = 0 if is_busy(spool.run) else idle + 1


class _Pipeline(threading.Thread):
    """A thread that sends all states through the actors, so that the run can be stopped at any time.

    Attributes:
        error: the error that ended it, if there was one.
    """

    def __init__(self, specs: Sequence[StageSpec], settings: Mapping[str, StageSettings], spool: Spool) -> None:
        super().__init__(name="videorefer-ray", daemon=True)
        self._specs, self._settings, self._spool = specs, settings, spool
        self.error: Exception | None = None

    def run(self) -> None:
        """Do all the work. The outputs are empty tables, since results are in the ledger."""
        try:
            with _quiet_data():
                for _ in self._data().iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                    pass
        except Exception as error:
            # Its frames would keep the actors and their resources alive.
            self.error = _typed(error)

    def _data(self) -> Any:
        import ray.data

        stages = [self._settings[spec.stage] for spec in self._specs]
        many = max(_TABLES, 4 * max(one.workers for one in stages))
        rows = max(max(one.batch_size for one in stages), min(_LARGEST_TABLE, len(self._spool) // many))
        tables = self._spool.tables(rows)
        data = ray.data.read_datasource(_datasource(tables, rows), override_num_blocks=len(tables))
        for spec, wanted in zip(self._specs, stages, strict=True):
            data = data.map_batches(
                StageActor,
                fn_constructor_args=(spec, self._spool.run, os.getcwd(), spec is self._specs[-1]),
                batch_size=wanted.batch_size,
                batch_format="pyarrow",
                zero_copy_batch=True,
                compute=ray.data.ActorPoolStrategy(size=wanted.workers),
                num_cpus=wanted.cpus,
                num_gpus=wanted.gpus or None,
            )
        return data


def _datasource(tables: Sequence[Callable[[], list[Any]]], rows: int) -> Any:
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class States(Datasource):
        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[Any]:
            told = BlockMetadata(num_rows=rows, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(read, told) for read in tables]

    return States()


def _typed(error: BaseException) -> Exception:
    """Return the error of an actor without Ray's layers around it, or a short error of Ray itself."""
    inner: BaseException | None = error
    while inner is not None:
        if type(inner) is ActorError:  # and not a class that Ray derives from it
            return inner.error
        inner = getattr(inner, "cause", None) or inner.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return EngineError(
        f"Ray stopped with {type(error).__name__}: {' '.join(lines[-1:])} Finished work is in the ledger; the "
        "same command goes on from there."
    )


# --- the cluster -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cluster(specs: Sequence[StageSpec], settings: Mapping[str, StageSettings], address: str | None) -> Iterator[None]:
    """Open a connection to a cluster with enough resources. It is closed at the end if it was opened here."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect(address, cpus_for_one_of_each(specs, settings))
    try:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        check_cluster(specs, settings, nodes, ray.available_resources())
        yield
    finally:
        if ours:
            ray.shutdown()


def _init(options: Mapping[str, Any]) -> None:
    """Start Ray, or connect to it. A slow start is tried again, since Ray waits for 30 s only."""
    import ray

    for left in reversed(range(_STARTS)):
        try:
            ray.init(**options)
            return
        except Exception as error:
            if (
                type(error) is not Exception or not left
            ):  # Ray raises a plain exception for a start that takes too long
                raise
            ray.shutdown()


def _knock(address: str) -> None:
    """Raise an OSError if nothing listens at `host:port`, since Ray may end the whole process then."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_SECONDS).close()


def _connect(address: str | None, cpus: float) -> None:
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address in (None, "local"):
        # Ray counts CPUs and does not bind them, so that one worker of each stage may share them.
        enough = max(os.cpu_count() or 1, math.ceil(cpus))
        options |= {"address": "local", "include_dashboard": False, "num_cpus": enough}
    else:
        options["address"] = address
    try:
        _knock(options["address"])
        _init(options)
    except Exception as error:  # Ray raises many kinds
        said = f"{type(error).__name__}: {error}".rstrip(".")
        if options["address"] == "local":
            raise EngineError(
                f"Ray cannot be started on this machine ({said}). The same command may do on a "
                "machine that is less busy; executor.kind=local needs no Ray."
            ) from error
        raise EngineError(
            f"No Ray cluster answers at {address!r} ({said}). Start one with ray start --head, or leave "
            "executor.address out for one of this machine. One that asks for a token, as ray start says, answers "
            "only where RAY_AUTH_MODE=token is set and the token is the same."
        ) from error


@contextlib.contextmanager
def _quiet_data() -> Iterator[None]:
    """Open a block in which Ray Data shows no bars and no log lines, and raises errors unchanged."""
    import ray.data

    log = logging.getLogger("ray.data")
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    context.retried_map_errors = False
    level = log.level
    with ray.data.DataContext.current(context):
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(level)
