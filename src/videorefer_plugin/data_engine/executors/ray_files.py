"""Files in the ledger's folder by which the driver of a run on Ray and its actors communicate."""

from __future__ import annotations

import json
import os
import uuid
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin.data_engine.executors.ray_stage import is_over, table_of
from videorefer_plugin.data_engine.stage import StageSpec
from videorefer_plugin.data_engine.state import State

__all__ = ["News", "Spool"]


class Spool:
    """States for the actors, in a file that all nodes see. Memory grows with the length of their ids.

    Args:
        specs (`Sequence[StageSpec]`): the stages of the run.

    Attributes:
        run (`str`): prefix of the names of this run's files.
    """

    def __init__(self, specs: Sequence[StageSpec]) -> None:
        self._folder = Path(specs[0].folder)
        self._stages = [spec.stage for spec in specs]
        self._places = array("q")
        self._numbers: dict[str, int] = {}
        self.run = str(self._folder / f".ray-{uuid.uuid4().hex}")

    def __enter__(self) -> Spool:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._remove(".ray-*")  # files of a run that was killed
        self._stream = open(f"{self.run}.states", "w+b")
        return self

    def __exit__(self, *error: Any) -> None:
        self._stream.close()
        self._remove(f"{Path(self.run).name}.*")
        for stage in self._stages:  # Ray ends its actors without cleanup
            self._remove(f".{stage}-*.jsonl.lock")

    def __len__(self) -> int:
        return len(self._places)

    def _remove(self, pattern: str) -> None:
        for path in self._folder.glob(pattern):
            path.unlink(missing_ok=True)

    def stop(self) -> None:
        """Let actors begin no further work."""
        Path(f"{self.run}.stop").touch()

    def waits(self, state: State) -> bool:
        """Return whether a state is unfinished."""
        return state.failed is None and any(stage not in state.rows for stage in self._stages)

    def add(self, state: State) -> None:
        """Add a state, before any is read."""
        self._numbers[state.source.id] = len(self)
        self._places.append(self._stream.tell())
        self._stream.write(json.dumps(state.to_json(), separators=(",", ":")).encode() + b"\n")

    def state(self, name: str) -> State | None:
        """Return the state of the source with this id."""
        number = self._numbers.get(name)
        if number is None:
            return None
        self._stream.seek(self._places[number])
        return State.from_json(json.loads(self._stream.readline()))

    def tables(self, rows: int) -> list[Callable[[], list[Any]]]:
        """Return functions that read the states as tables of this number of rows, on any node."""
        self._stream.flush()
        os.fsync(self._stream.fileno())
        return [_reader(self.run, place, rows) for place in self._places[::rows]]


def _reader(run: str, place: int, rows: int) -> Callable[[], list[Any]]:
    def read() -> list[Any]:
        if is_over(run):
            return [table_of([])]
        with open(f"{run}.states", "rb") as stream:
            stream.seek(place)
            lines = [line for _, line in zip(range(rows), stream, strict=False)]
        return [table_of([State.from_json(json.loads(line)) for line in lines])]

    return read


class News:
    """The lines that actors have written to the ledger since the run began.

    Args:
        specs (`Sequence[StageSpec]`): the stages of the run.
    """

    def __init__(self, specs: Sequence[StageSpec]) -> None:
        self._folder = Path(specs[0].folder)
        self._patterns = [f"{spec.stage}-*.jsonl" for spec in specs]
        self._read = {path: path.stat().st_size for path in self._paths()}

    def _paths(self) -> list[Path]:
        return [path for pattern in self._patterns for path in sorted(self._folder.glob(pattern))]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines that are new since the last call."""
        for path in self._paths():
            with path.open("rb") as stream:
                stream.seek(self._read.get(path, 0))
                while (line := stream.readline()).endswith(b"\n"):
                    self._read[path] = self._read.get(path, 0) + len(line)
                    row = json.loads(line)
                    if "key" in row:  # and not the first line, which describes the file
                        yield row
