"""What a run has done so far: where in the ledger's files the lines about each source are."""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from videorefer_plugin._files import read_lines
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import Source, Spent
from videorefer_plugin.data_engine.state import State, row_key
from videorefer_plugin.errors import EngineError

__all__ = ["RunLedger", "Waiting"]

_OPEN_FILES = 64  # of a ledger at the same time
_KEY_BYTES = 12  # of `row_key`
_SPENT = {item.name for item in fields(Spent)}
_NOT_DONE, _DONE, _FAILED = range(3)


class _Files:
    """Lines of files at known places, with a limited number of files open."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, BinaryIO] = OrderedDict()

    def line(self, path: Path, offset: int) -> Any:
        """The value of the line that begins there."""
        stream = self._open.pop(path, None) or open(path, "rb")  # noqa: SIM115 - closed by `close`
        self._open[path] = stream
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        stream.seek(offset)
        return json.loads(stream.readline())

    def close(self) -> None:
        while self._open:
            self._open.popitem()[1].close()


@dataclass
class _Stage:
    """What is known of one stage, of source after source: whether it is done, and where its line is."""

    key: str
    keys: bytearray = field(default_factory=bytearray)
    status: bytearray = field(default_factory=bytearray)
    files: array[int] = field(default_factory=lambda: array("i"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    done: int = 0

    def add(self, source: Source, seed: int) -> None:
        self.keys += bytes.fromhex(row_key(source, seed, self.key))
        self.status.append(_NOT_DONE)
        self.files.append(-1)
        self.offsets.append(0)

    @property
    def failures(self) -> int:
        return self.status.count(_FAILED)

    def key_of(self, number: int) -> str:
        return self.keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES].hex()


class RunLedger:
    """The lines that all processes of a run have written, found by source and stage.

    What agents made stays in the files; memory grows by some fifty bytes for each source and stage.

    Args:
        sources (`Path`): the snapshot of the sources, a line of JSON each.
        folder (`Path`): of the ledger's files.
        seed (`int`): of the run.
        keys (`Mapping[str, str]`): stage -> its key, in order; see [`stage_keys`].
        limit (`int`, *optional*): of the first sources, to which the run is restricted.

    Attributes:
        cost (`float`): of all lines that were read, also of those that are not used any more.
        outdated (`int`): lines of other settings or sources, which are not used.

    Raises:
        EngineError: a file cannot be read, or is damaged; names the line.
    """

    def __init__(self, sources: Path, folder: Path, seed: int, keys: Mapping[str, str], limit: int | None = None):
        self._sources, self._folder, self._seed = sources, folder, seed
        self.stages = {stage: _Stage(key) for stage, key in keys.items()}
        self.numbers: dict[str, int] = {}
        self.cost, self.outdated = 0.0, 0
        self.tries: dict[int, int] = {}  # of sources that failed
        self._forgotten: dict[int, tuple[str, int]] = {}
        self._places = array("q")
        self._paths: list[Path] = []
        self._read: dict[Path, tuple[int, int]] = {}  # bytes and lines that were read
        self._files = _Files()
        self._take_sources(limit)
        self.refresh()

    @property
    def size(self) -> int:
        """Number of sources."""
        return len(self._places)

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()

    def _take_sources(self, limit: int | None) -> None:
        for offset, line, place in _lines(self._sources, 0, 0):
            if limit is not None and self.size >= limit:
                break
            try:
                source = Source.from_json(_parsed(line, place))
            except TypeError as error:
                raise _damaged(place, str(error)) from error
            self.numbers[source.id] = self.size
            self._places.append(offset)
            for stage in self.stages.values():
                stage.add(source, self._seed)

    def refresh(self) -> None:
        """Take in what was written since the last time."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else ():
            if path not in self._read:
                self._paths.append(path)
                self._read[path] = (0, 0)
            number = self._paths.index(path)
            for offset, line, place in _lines(path, *self._read[path]):
                self._take(number, offset, _parsed(line, place))
                self._read[path] = (offset + len(line) + 1, place[1])

    def _take(self, file: int, offset: int, row: dict[str, Any]) -> None:
        if "key" not in row:
            return  # the first line, which says what the file is
        self.cost += row["spent"]["cost"]
        number, stage = self.numbers.get(row["id"]), self.stages.get(row["stage"])
        if stage is None or number is None or stage.key_of(number) != row["key"]:
            self.outdated += row["id"] in self.numbers or stage is None
            return
        if "failed" in row:
            self.tries[number] = self.tries.get(number, 0) + 1
        before = stage.files[number], stage.status[number]
        if before[0] >= 0 and before[1] == _DONE:
            return  # the stages behind it were given that one
        if stage.status[number] == _NOT_DONE:
            stage.done += 1
        stage.status[number] = _FAILED if "failed" in row else _DONE
        stage.files[number], stage.offsets[number] = file, offset

    def note(self, state: State) -> list[dict[str, Any]]:
        """Take in what an executor has done, and return the lines that are new."""
        new = []
        for name, row in state.rows.items():
            stage = self.stages[name]
            if stage.status[state.number] == _NOT_DONE:
                stage.status[state.number] = _FAILED if "failed" in row else _DONE
                stage.done += 1
                new.append(row)
        return new

    def failed_stage(self, number: int) -> str | None:
        """The stage at which a source failed."""
        return next((name for name, one in self.stages.items() if one.status[number] == _FAILED), None)

    def next_stage(self, number: int) -> str | None:
        """The stage that a source waits for; `None` if it failed or is finished."""
        for name, one in self.stages.items():
            if one.status[number] == _FAILED:
                return None
            if one.status[number] == _NOT_DONE:
                return name
        return None

    def failed(self) -> list[int]:
        """Sources that failed, those first that were tried least."""
        found = [number for number in range(self.size) if self.failed_stage(number) is not None]
        return sorted(found, key=lambda number: self.tries.get(number, 0))

    def forget_failures(self, numbers: list[int]) -> None:
        """Have the stages at which sources failed done again."""
        for number in numbers:
            name = self.failed_stage(number)
            if name is not None:
                stage = self.stages[name]
                self._forgotten[number] = name, stage.files[number]
                stage.status[number], stage.files[number] = _NOT_DONE, -1
                stage.done -= 1

    def remember_failures(self) -> None:
        """Take in again the failures that were to be forgotten, where the stage was not done again."""
        for number, (name, file) in self._forgotten.items():
            stage = self.stages[name]
            if stage.status[number] == _NOT_DONE:
                stage.status[number], stage.files[number] = _FAILED, file
                stage.done += 1
        self._forgotten.clear()

    def state(self, number: int) -> State:
        """A source, with its lines as far as they were read."""
        source = Source.from_json(self._files.line(self._sources, self._places[number]))
        state = State(source, self._seed, {}, number)
        for name, stage in self.stages.items():
            if stage.files[number] < 0:
                break
            path = self._paths[stage.files[number]]
            state.rows[name] = self._files.line(path, stage.offsets[number])
        return state

    def settled(self) -> Iterator[State]:
        """All sources that failed or are finished, in their order."""
        self.refresh()
        return (self.state(number) for number in range(self.size) if self.next_stage(number) is None)


@dataclass
class Waiting:
    """What is still to be done, read from the ledger as it is needed: iterating over it gives it as it is by then.

    Attributes:
        ledger ([`RunLedger`]): of the run.
        numbers (`list[int]`, *optional*): the sources that this is about, in the order in which to do them; all.
    """

    ledger: RunLedger
    numbers: list[int] | None = None

    def __iter__(self) -> Iterator[State]:
        """All sources that are not finished and did not fail."""
        return self._those(None)

    def at(self, stage: str) -> Iterator[State]:
        """The sources that wait for a stage."""
        return self._those(stage)

    def _those(self, stage: str | None) -> Iterator[State]:
        self.ledger.refresh()
        for number in range(self.ledger.size) if self.numbers is None else self.numbers:
            waits = self.ledger.next_stage(number)
            if waits is not None and stage in (None, waits):
                yield self.ledger.state(number)


def _lines(path: Path, start: int, number: int) -> Iterator[tuple[int, bytes, tuple[Path, int]]]:
    """Whole lines from a place on, with where each begins."""
    try:
        for place, (offset, line) in enumerate(read_lines(path, start=start), number + 1):
            yield offset, line, (path, place)
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror or error}).") from error


def _parsed(line: bytes, place: tuple[Path, int]) -> dict[str, Any]:
    """The line's value, which has to be what a run writes."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise _damaged(place, "it is no JSON") from None
    if not _is_row(row):
        raise _damaged(place, f"{short(row)} is no line of a run")
    return row


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    if "key" not in row:
        return "ledger" in row or isinstance(row.get("id"), str)
    spent, objects, failed = row.get("spent"), row.get("objects"), row.get("failed")
    return (
        isinstance(row.get("id"), str)
        and isinstance(row.get("stage"), str)
        and isinstance(spent, dict)
        and spent.keys() == _SPENT
        and all(isinstance(value, (int, float)) for value in spent.values())
        and isinstance(row.get("seconds"), (int, float))
        and (
            isinstance(objects, list)
            and all(isinstance(one, dict) and one.keys() <= {"made", "drop"} for one in objects)
            if failed is None
            else isinstance(failed, dict) and failed.keys() == {"kind", "reason"}
        )
    )


def _damaged(place: tuple[Path, int], fault: str) -> EngineError:
    return EngineError(
        f"Line {place[1]} of {place[0]} is damaged: {fault}. Delete that line, and the same command does again what "
        "it was about."
    )
