"""One stage of a run: an agent, and the ledger of its results, wherever it runs."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from videorefer_plugin._files import Ledger, LedgerError
from videorefer_plugin.data_engine.agent import Agent, BatchInterrupted, BatchStoppedError
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Spent, VideoItem
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.data_engine.state import MADE_BY, State, made_row, read_objects, read_spent
from videorefer_plugin.errors import EngineError

__all__ = ["StageRunner", "StageSpec"]


@dataclass(frozen=True)
class StageSpec:
    """The description of a stage for a process that does its work. It can be pickled.

    Attributes:
        stage (`str`): one of `STAGES`.
        backend (`str`): name of the agent for [`make_agent`].
        key (`str`): key from [`stage_keys`].
        folder (`str`): folder of the ledger, which all processes of a run share.
        settings (`dict`): arguments of the agent.
    """

    stage: str
    backend: str
    key: str
    folder: str
    settings: dict[str, Any] = field(default_factory=dict)


class StageRunner:
    """Does a stage's work on states, and writes the results to the ledger before it returns the states.

    Executors call it: the local one in this process, threads or other processes, and Ray in its actors. Each runner
    writes its own file in the ledger's folder, `<stage>-<host>-<pid>-<random>.jsonl`.

    Args:
        spec ([`StageSpec`]): the stage.
        agent ([`Agent`], *optional*): the agent, if it exists already.
    """

    def __init__(self, spec: StageSpec, agent: Agent | None = None):
        self.spec = spec
        self.agent = agent or make_agent(spec.stage, spec.backend, spec.settings)
        self._ledger: Ledger | None = None

    def __call__(self, states: Sequence[State]) -> list[State]:
        """Work on the unfinished ones of these states. States that have this stage, or failed, are returned unchanged.

        Raises:
            EngineError: an error concerns all sources, or the ledger cannot be written.
        """
        waiting = [state for state in states if self.spec.stage not in state.rows and state.failed is None]
        for state, made, seconds in self._work(waiting):
            if isinstance(made, Spent):
                self._write_spent(state, made, seconds)
            else:
                state.rows[self.spec.stage] = self._written(state, made, seconds)
        return list(states)

    def close(self) -> None:
        """Release the agent's models, and the ledger."""
        ledger, self._ledger = self._ledger, None
        try:
            self.agent.close()
        finally:
            if ledger is not None:
                with _writing():
                    ledger.close()

    def _work(self, states: Sequence[State]) -> Iterable[tuple[State, Made | Failure | Spent, float]]:
        busy, items = [], []
        for state in states:
            item = state.item
            if self.spec.stage == "analyzer" or item.objects:
                busy.append(state)
                items.append(item)
            else:  # no object is left to work on
                yield state, Made(()), 0.0
        if not busy:
            return
        started = time.monotonic()
        try:
            results = self._run(items)
        except (BatchStoppedError, BatchInterrupted) as error:
            seconds = (time.monotonic() - started) / len(busy)
            for state, item, there in zip(busy, items, error.results, strict=False):
                if there is not None:
                    yield state, there if isinstance(there, Spent) else self._checked(item, there), seconds
            raise
        except EngineError:
            raise
        except Exception as error:
            if len(items) == 1:
                yield busy[0], Failure.of(error), time.monotonic() - started
                return
            for state in busy:
                yield from self._work([state])
            return
        seconds = (time.monotonic() - started) / len(busy)
        for state, made in zip(busy, results, strict=True):
            yield state, made, seconds

    def _run(self, items: Sequence[VideoItem]) -> list[Made | Failure]:
        results = self.agent.run(items)
        if len(results) != len(items):
            raise EngineError(
                f"The {self.spec.stage} {self.spec.backend!r} was given {len(items)} video(s) and returned "
                f"{len(results)} result(s); expected one for each."
            )
        return [self._checked(item, made) for item, made in zip(items, results, strict=True)]

    def _checked(self, item: VideoItem, made: Any) -> Made | Failure:
        """Return the result for an item if it has the form that an agent may return."""
        if not isinstance(made, (Made, Failure)):
            raise EngineError(
                f"The {self.spec.stage} {self.spec.backend!r} returned a {type(made).__name__} for "
                f"{item.source.id!r}; expected Made or Failure."
            )
        given = self.spec.stage != "analyzer"  # the analyzer makes the objects
        if given and isinstance(made, Made) and len(made.objects) != len(item.objects):
            raise EngineError(
                f"The {self.spec.stage} {self.spec.backend!r} was given {len(item.objects)} object(s) of "
                f"{item.source.id!r} and returned {len(made.objects)}; expected one for each."
            )
        self._check_kinds(item, made)
        return made

    def _check_kinds(self, item: VideoItem, made: Made | Failure) -> None:
        kind = MADE_BY[self.spec.stage]
        wanted: Any = str if isinstance(made, Failure) else (kind, Drop)
        expected = "texts" if isinstance(made, Failure) else f"{kind.__name__} or Drop"
        for one in (made.kind, made.reason) if isinstance(made, Failure) else made.objects:
            if not isinstance(one, wanted):
                raise EngineError(
                    f"The {self.spec.stage} {self.spec.backend!r} returned a {type(made).__name__} of a "
                    f"{type(one).__name__} for {item.source.id!r}; expected {expected}."
                )

    def _written(self, state: State, made: Made | Failure, seconds: float) -> dict[str, Any]:
        """Return the line about a result, once it is in the ledger."""
        if isinstance(made, Failure):
            made = replace(made, reason=made.reason.encode("utf-8", "backslashreplace").decode())
        try:
            row = made_row(state, self.spec.stage, self.spec.key, made, seconds)
            json.dumps(
                {**row, "id": ""}, ensure_ascii=False
            ).encode()  # the id belongs to the source and may hold anything
            row = json.loads(json.dumps(row))  # the next stage gets the same values as after a restart
            read_objects(row)
            read_spent(row)
        except (TypeError, ValueError, RecursionError, EngineError) as error:  # a lone surrogate is a ValueError
            how = "is not as expected" if isinstance(error, EngineError) else "cannot be written as JSON"
            reason = f"the result of the {self.spec.stage} {self.spec.backend!r} {how}: {error}"
            failure = Failure("unexpected", reason, made.spent if _is_plain(made.spent) else Spent())
            row = made_row(state, self.spec.stage, self.spec.key, failure, seconds)
        self._write(row)
        return row

    def _write_spent(self, state: State, spent: Spent, seconds: float) -> None:
        """Write the cost of work without a result. A line without a key does not count as finished work."""
        if spent.calls:
            row = {"id": state.source.id, "stage": self.spec.stage, "spent": asdict(spent)}
            self._write({**row, "seconds": round(seconds, 4)})

    def _write(self, row: Mapping[str, Any]) -> None:
        with _writing():
            if self._ledger is None:
                folder = Path(self.spec.folder)
                folder.mkdir(parents=True, exist_ok=True)
                name = f"{self.spec.stage}-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl"
                self._ledger = Ledger(folder / name, {"stage": self.spec.stage, "key": self.spec.key})
            self._ledger.append(row)


def _is_plain(spent: Any) -> bool:
    """Return whether all parts of a cost are numbers."""
    return isinstance(spent, Spent) and all(isinstance(took, (int, float)) for took in asdict(spent).values())


@contextmanager
def _writing() -> Iterator[None]:
    """Open a block that adds remedies to errors of the ledger."""
    try:
        yield
    except (OSError, LedgerError) as error:
        reason = str(error).rstrip(".")
        raise EngineError(
            f"Finished work cannot be written: {reason}. Work that was written before is kept; make room or rights, "
            "and start the same run again."
        ) from error
