"""The agents of a run on a Ray cluster, of this machine or of many."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import math
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from videorefer_plugin.data_engine.executors.ray_resources import check_cluster, cpus_for_one_of_each
from videorefer_plugin.data_engine.executors.ray_stage import COLUMN, ActorError, StageActor, stop_file, table_of
from videorefer_plugin.data_engine.recipe import StageSettings
from videorefer_plugin.data_engine.stage import StageSpec
from videorefer_plugin.data_engine.state import State
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["check_ray", "run_ray"]

_LARGEST_TABLE = 32  # videos; each costs the plumbing a few ms of its own below that, and stages overlap less above
_TABLES = 256  # at least, of a long run: small ones let the stages overlap
_LOOK_SECONDS = 0.5  # between two looks whether to stop


def check_ray() -> None:
    """Check that Ray is installed.

    Raises:
        ConfigurationError: it is not.
    """
    if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError("executor.kind='ray' needs Ray Data: pip install 'videorefer-plugin[ray]'.")


def run_ray(
    specs: Sequence[StageSpec],
    settings: Mapping[str, StageSettings],
    states: Iterable[State],
    on_done: Callable[[State], None],
    should_stop: Callable[[], bool] = lambda: False,
    *,
    address: str | None = None,
) -> None:
    """Do all stages of all states with the actors of Ray Data.

    Each stage has its own pool of actors, which write to the ledger what they make before they pass it on; results
    come here for progress alone. All nodes have to see the folder of the ledger, the videos and the checkpoints under
    the same paths. Ray's own checkpoints are not used: the ledger knows what is done.

    Args:
        specs (`Sequence[StageSpec]`): the stages, in order.
        settings (`Mapping[str, StageSettings]`): of each stage: workers, batches, and what a worker takes.
        states (`Iterable[State]`): what to work on; read once, and not kept.
        on_done (`Callable`): called here with each state that went through all stages or failed.
        should_stop (`Callable`, *optional*): asked now and then, from another thread; once it says yes, what is being
            worked on is finished and written down, and nothing new begins.
        address (`str`, *optional*): of a cluster, as `ray.init` takes it (`"auto"`, `"host:6379"`); one is started on
            this machine, and ended afterwards, by default. A connection that this process has already is used.

    Raises:
        ConfigurationError: Ray is not installed, or an agent cannot be made.
        EngineError: the cluster cannot be reached, or has less than the stages take; an agent says that nothing can
            be done any more; or workers die again and again.
    """
    check_ray()
    specs = [replace(spec, folder=os.path.abspath(spec.folder)) for spec in specs]
    if not specs:
        for state in states:
            on_done(state)
        return
    Path(specs[0].folder).mkdir(parents=True, exist_ok=True)
    with _Spool(Path(specs[0].folder), [spec.stage for spec in specs]) as spool:
        for state in states:
            if spool.takes(state):
                spool.add(state)
            else:
                on_done(state)
        if spool.count:
            with _cluster(specs, settings, address), _quiet_data(), _stopping(spool.stop, should_stop):
                for state in _results(specs, settings, spool):
                    if not spool.takes(state):  # some are passed through unfinished at a stop
                        on_done(state)


class _Spool:
    """States on their way to the actors, in a file beside the ledger, which all nodes see; memory stays flat."""

    def __init__(self, folder: Path, stages: Sequence[str]) -> None:
        self._stages = stages
        self.run = str(folder / f".ray-{uuid.uuid4().hex}")
        self.stop = Path(stop_file(self.run))
        self._path = Path(f"{self.run}.states")
        self.count = 0

    def __enter__(self) -> _Spool:
        for left in self._path.parent.glob(".ray-*"):  # of a run that was killed
            left.unlink(missing_ok=True)
        self._stream = self._path.open("w", encoding="ascii")
        self._starts: list[int] = []
        return self

    def __exit__(self, *error: Any) -> None:
        self._stream.close()
        for ours in self._path.parent.glob(f"{Path(self.run).name}.*"):
            ours.unlink(missing_ok=True)
        for stage in self._stages:  # Ray ends its actors without letting them clean up
            for lock in self._path.parent.glob(f".{stage}-*.jsonl.lock"):
                lock.unlink(missing_ok=True)

    def takes(self, state: State) -> bool:
        """Whether there is anything left to do on it."""
        return state.failed is None and any(stage not in state.rows for stage in self._stages)

    def add(self, state: State) -> None:
        self._starts.append(self._stream.tell())
        self._stream.write(json.dumps(state.to_json(), separators=(",", ":")) + "\n")
        self.count += 1

    def tables(self, rows: int) -> list[Callable[[], list[Any]]]:
        """Functions that read the states as tables of so many rows, wherever they are called."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return [_reader(str(self._path), str(self.stop), start, rows) for start in self._starts[::rows]]


def _reader(path: str, stop: str, start: int, rows: int) -> Callable[[], list[Any]]:
    def read() -> list[Any]:
        if os.path.exists(stop):
            return [table_of([])]
        with open(path, encoding="ascii") as stream:
            stream.seek(start)
            lines = [line for _, line in zip(range(rows), stream, strict=False)]
        return [table_of([State.from_json(json.loads(line)) for line in lines])]

    return read


def _results(specs: Sequence[StageSpec], settings: Mapping[str, StageSettings], spool: _Spool) -> Iterator[State]:
    """Let the states go through all stages; they come back in the order in which they are finished."""
    import ray.data
    import ray.exceptions

    widest = max(settings[spec.stage].workers for spec in specs)
    largest = max(settings[spec.stage].batch_size for spec in specs)
    rows = max(largest, min(_LARGEST_TABLE, spool.count // max(_TABLES, 4 * widest)))
    tables = spool.tables(rows)
    data = ray.data.read_datasource(_datasource(tables, rows), override_num_blocks=len(tables))
    for spec in specs:
        wanted = settings[spec.stage]
        data = data.map_batches(
            StageActor,
            fn_constructor_args=(spec, spool.run, os.getcwd()),
            batch_size=wanted.batch_size,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(size=wanted.workers),
            num_cpus=wanted.cpus,
            num_gpus=wanted.gpus or None,
        )
    try:
        for table in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for one in table.column(COLUMN).to_pylist():
                yield State.from_json(json.loads(one))
    except (ray.exceptions.RayError, ray.data.exceptions.SystemException) as error:
        raise _typed(error) from None


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
    """What an actor raised, instead of the layers that Ray puts around it; or what Ray itself says, in short."""
    inner: BaseException | None = error
    while inner is not None:
        if type(inner) is ActorError:  # and not what Ray derives from it
            return inner.error
        inner = getattr(inner, "cause", None) or inner.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return EngineError(
        f"Ray stopped with {type(error).__name__}: {' '.join(lines[-1:])} What was finished is in the ledger; the "
        "same command goes on from there."
    )


# --- the cluster -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _cluster(specs: Sequence[StageSpec], settings: Mapping[str, StageSettings], address: str | None) -> Iterator[None]:
    """A connection to a cluster that has what the stages take; ended afterwards if it was made here."""
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


def _connect(address: str | None, cpus: float) -> None:
    import ray

    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address in (None, "local"):
        # Ray counts CPUs and does not bind them, so that one worker of each stage may share what there is.
        enough = max(os.cpu_count() or 1, math.ceil(cpus))
        options |= {"address": "local", "include_dashboard": False, "num_cpus": enough}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "on this machine" if options["address"] == "local" else f"at {address!r}"
        start = (
            "" if options["address"] == "local" else " Start one with ray start --head, or leave executor.address out."
        )
        raise EngineError(f"There is no Ray cluster {where} ({type(error).__name__}: {error}).{start}") from error


@contextlib.contextmanager
def _quiet_data() -> Iterator[None]:
    """Ray Data without bars and log lines of its own; errors come as they were raised."""
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


@contextlib.contextmanager
def _stopping(stop: Path, should_stop: Callable[[], bool]) -> Iterator[None]:
    """Look now and then whether the run is to end, and tell the actors by a file that all of them see."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_SECONDS):
            if should_stop():
                stop.touch()
                return

    watcher = threading.Thread(target=look, name="videorefer-stop", daemon=True)
    watcher.start()
    try:
        yield
    except BaseException:
        stop.touch()  # on a cluster that goes on, actors shall not begin anything new
        raise
    finally:
        over.set()
        watcher.join()
