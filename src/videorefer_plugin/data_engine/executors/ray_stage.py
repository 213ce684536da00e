"""A stage as an actor of Ray, for the worker processes."""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.items import Failure, Made, VideoItem
from videorefer_plugin.data_engine.stage import StageRunner, StageSpec
from videorefer_plugin.data_engine.state import State, origin_of, row_key
from videorefer_plugin.errors import ConfigurationError, EngineError, VideoReferError

__all__ = ["COLUMN", "ActorError", "StageActor", "finished_keys", "finished_rows", "is_busy", "is_over", "table_of"]

COLUMN = "state"
"""The column of the tables between actors: a state as JSON in each row, which all libraries read alike."""

_Name = tuple[str, str]  # `key` and `from` of a row: the work, and its input

_DEATHS = 3  # of workers until their video is given up; also, the number of such videos that ends the run


class ActorError(Exception):
    """An error that ends the run, on its way to the driver. It can always be pickled.

    Ray adds words to the message of an exception, and several layers. So its only argument is not a text, but the
    class of our error, and its message.
    """

    @property
    def error(self) -> VideoReferError:
        """The error itself."""
        kind, message = self.args[0]
        return kind(message)


class StageActor:
    """Does a stage's work on tables of states, and writes the results to the ledger before it passes them on.

    Ray always restarts a worker that dies, and gives it the same table again. The finished part of the table is taken
    from the ledger, and a video whose workers die again and again becomes a failure.

    Args:
        spec ([`StageSpec`]): the stage.
        run (`str`): prefix of the names of this run's files, in a folder that all nodes see.
        folder (`str`): the driver's working folder, which relative paths in settings refer to.
        last (`bool`): whether no stage follows, so that nothing is passed on.
    """

    def __init__(self, spec: StageSpec, run: str, folder: str, last: bool) -> None:
        import ray

        if os.path.isdir(folder):
            os.chdir(folder)
        self.spec, self._last = spec, last
        self._run = run
        self._runner: StageRunner | None = None  # made with the first table, so that its errors reach the driver
        context = ray.get_runtime_context()
        self._deaths = _Deaths(Path(f"{run}.{context.get_actor_id()}.busy"))
        self._done: set[_Name] = set()
        if context.was_current_actor_reconstructed:
            self._deaths.read()
            self._done = finished_keys(spec)

    def __call__(self, table: Any) -> Any:
        """Work on the unfinished states of a table."""
        states = [State.from_json(json.loads(one)) for one in table.column(COLUMN).to_pylist()]
        if not is_over(self._run):
            try:
                self._work(states)
            except Exception as error:
                raise _told(error, self.spec) from None
        return table_of([] if self._last else states)

    def __del__(self) -> None:
        if getattr(self, "_runner", None) is not None:
            self._runner.close()  # type: ignore[union-attr]

    def _work(self, states: Sequence[State]) -> None:
        stage = self.spec.stage
        keys = {
            (row_key(state.source, state.seed, self.spec.key), origin_of(state.rows)): state
            for state in states
            if stage not in state.rows
        }
        again = self._done & keys.keys()
        if again:
            for row in finished_rows(self.spec, again):
                keys[row["key"], row["from"]].rows[stage] = row
        waiting = [state for state in keys.values() if stage not in state.rows and state.failed is None]
        suspects = [state for state in waiting if self._deaths.of(state.source.id)]
        for batch in ([state for state in waiting if state not in suspects], *([state] for state in suspects)):
            if batch:
                self._work_on(batch)
        self._done.update(key for key, state in keys.items() if "objects" in state.rows.get(stage, {}))

    def _work_on(self, batch: Sequence[State]) -> None:
        """Work on a batch, or give up its video if workers have died too often."""
        ids = [state.source.id for state in batch]
        died = self._deaths.of(ids[0])
        if died >= _DEATHS:
            self._deaths.give_up(self.spec)
            given_up = StageRunner(self.spec, _GivenUp(self.spec.stage, died))
            given_up(batch)
            given_up.close()
            return
        self._runner = self._runner or StageRunner(self.spec)
        self._deaths.begin(ids)
        self._runner(batch)
        self._deaths.survived(ids)


class _Deaths:
    """The videos that a worker was working on when it died, in a file that its successor reads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: dict[str, int] = {}
        self._given_up = 0  # without a finished one in between

    def of(self, name: str) -> int:
        return self._counts.get(name, 0)

    def read(self) -> None:
        """Read the file of a worker that died."""
        try:
            told = json.loads(self._path.read_text())
        except (OSError, ValueError):  # it died before, or while it wrote this
            return
        self._counts, self._given_up = told["deaths"], told["given_up"]
        for name in told["busy"]:
            self._counts[name] = self.of(name) + 1
        self._write([])

    def begin(self, names: Sequence[str]) -> None:
        """Note the videos that the worker is about to work on."""
        self._write(names)

    def survived(self, names: Sequence[str]) -> None:
        """Note that the work is done."""
        self._given_up = 0
        for name in names:
            self._counts.pop(name, None)
        self._write([])

    def _write(self, names: Sequence[str]) -> None:
        if names or self._counts:
            self._path.write_text(json.dumps({"busy": names, "deaths": self._counts, "given_up": self._given_up}))
        else:
            self._path.unlink(missing_ok=True)

    def give_up(self, spec: StageSpec) -> None:
        self._given_up += 1
        if self._given_up >= _DEATHS:
            raise EngineError(
                f"Workers of the {spec.stage} {spec.backend!r} die on every video, as they do when a machine "
                "runs out of memory. Finished work is kept; start the same run again, with fewer "
                f"{spec.stage}.workers if memory is short."
            )


def is_busy(run: str) -> bool:
    """Return whether some actor of a run is busy, according to the files that all nodes see."""
    run_path = Path(run)
    for path in run_path.parent.glob(f"{run_path.name}.*.busy"):
        try:
            if json.loads(path.read_text())["busy"]:
                return True
        except (OSError, ValueError):  # it has just finished, or is about to begin
            return True
    return False


class _GivenUp(Agent):
    """An agent that returns a failure for videos that no worker survives."""

    def __init__(self, stage: str, died: int) -> None:
        self.stage = stage  # type: ignore[misc]
        self._died = died

    def identity(self) -> dict[str, Any]:
        """Return an empty identity, since a failure is not a result."""
        return {}

    def run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        """Say why."""
        reason = f"{self._died} workers died while they worked on it, out of memory or by a fault in compiled code."
        return [Failure("worker", reason) for _ in items]


def is_over(run: str) -> bool:
    """Return whether the driver has stopped the run, or is gone; states then pass unchanged."""
    return os.path.exists(f"{run}.stop") or not os.path.exists(f"{run}.states")


def table_of(states: Sequence[State]) -> Any:
    """Return states as a table for actors."""
    import pyarrow

    lines = [json.dumps(state.to_json(), separators=(",", ":")) for state in states]
    return pyarrow.table({COLUMN: pyarrow.array(lines, pyarrow.large_string())})


def finished_keys(spec: StageSpec) -> set[_Name]:
    """Return `key` and `from` of all results without failures in the stage's ledger."""
    return {name for name, _ in _lines(spec)}


def finished_rows(spec: StageSpec, names: set[_Name]) -> Iterator[dict[str, Any]]:
    """Yield the rows of the stage's ledger with these names."""
    for name, line in _lines(spec):
        if name in names:
            yield json.loads(line)


def _lines(spec: StageSpec) -> Iterator[tuple[_Name, bytes]]:
    """Yield the lines about finished work. Others write at the same time, so the last line may not be whole."""
    # Quotes inside the text of a row are escaped, so only a row itself looks like this.
    told = re.compile(b'"stage":"%b","key":"([0-9a-f]+)","from":"([0-9a-f]+)","objects":' % spec.stage.encode())
    for path in sorted(Path(spec.folder).glob(f"{spec.stage}-*.jsonl")):
        with path.open("rb") as stream:
            for line in stream:
                found = told.search(line)
                if found and line.endswith(b"\n"):
                    yield (found[1].decode(), found[2].decode()), line


def _told(error: Exception, spec: StageSpec) -> ActorError:
    if isinstance(error, VideoReferError):
        kind = ConfigurationError if isinstance(error, ConfigurationError) else EngineError
        return ActorError((kind, str(error)))
    where = "".join(traceback.format_tb(error.__traceback__)[-1:]).strip()
    said = f"The {spec.stage} {spec.backend!r} stopped with {type(error).__name__}: {error} ({where})"
    return ActorError((EngineError, said))
