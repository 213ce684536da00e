"""The index of a run's work: the positions of the lines about each source in the ledger's files."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

from videorefer_plugin._files import read_lines
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import Source, Spent
from videorefer_plugin.data_engine.ledger_lines import (
    DONE,
    FAILED,
    FAILURE,
    NOT_DONE,
    Line,
    LineFiles,
    StageLines,
    longest,
)
from videorefer_plugin.data_engine.state import MADE_BY, State, origin_of, read_objects, read_spent
from videorefer_plugin.errors import EngineError

__all__ = ["RunLedger", "Waiting"]

_SPENT = {item.name for item in fields(Spent)}
_ORIGIN = re.compile("[0-9a-f]{16}")


class RunLedger:
    """An index, by source and stage, of the lines that all processes of a run have written.

    The results of agents stay in the files. Memory grows by some fifty bytes for each source and stage.

    Args:
        sources (`Path`): snapshot of the sources, a line of JSON each.
        folder (`Path`): folder of the ledger's files.
        seed (`int`): seed of the run.
        keys (`Mapping[str, str]`): stage -> its key, in order; see [`stage_keys`].
        limit (`int`, *optional*): number of the first sources, to which the run is restricted.

    Attributes:
        cost (`float`): cost of all lines, also of those that are not used any more.
        given, only_given (`int`): sources with given objects, and those of them without a caption.
        spent, seconds (`dict`): stage -> cost and time of the same lines.
        tries (`dict[int, int]`): number of a source -> number of failures.

    Raises:
        EngineError: a file cannot be read, or is damaged. The message names the line.
    """

    def __init__(self, sources: Path, folder: Path, seed: int, keys: Mapping[str, str], limit: int | None = None):
        self._sources, self._folder, self._seed = sources, folder, seed
        self.stages = {stage: StageLines(key) for stage, key in keys.items()}
        self.numbers: dict[str, int] = {}
        self.cost, self._outdated = 0.0, 0
        self.tries: dict[int, int] = {}
        self.given = self.only_given = 0
        self.spent: dict[str, Spent] = {}
        self.seconds: dict[str, float] = {}
        self._forgotten: dict[int, tuple[str, Line]] = {}
        self._touched = bytearray()  # 1 for sources with new lines or reports
        self._places = array("q")
        self._paths: list[Path] = []
        self._read: dict[Path, tuple[int, int]] = {}  # bytes and lines that were read
        self._files = LineFiles()
        self._take_sources(limit)
        self.refresh()

    @property
    def size(self) -> int:
        """The number of sources."""
        return len(self._places)

    @property
    def outdated(self) -> int:
        """The number of unused lines: of other settings or sources, or with an input that was made again since."""
        return self._outdated + sum(one.unused for one in self.stages.values())

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _take_sources(self, limit: int | None) -> None:
        for offset, line, place in _lines(self._sources, 0, 0):
            if limit is not None and self.size >= limit:
                break
            try:
                source = Source.from_json(json.loads(line))
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise _damaged(place, str(error)) from error
            self.given += bool(source.objects)
            self.only_given += bool(source.objects) and not source.caption.strip()
            self.numbers[source.id] = self.size
            self._places.append(offset)
            self._touched.append(0)
            for stage in self.stages.values():
                stage.add(source, self._seed)

    def refresh(self) -> None:
        """Read the lines that were written since the last time."""
        for path in sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else ():
            if path not in self._read:
                self._paths.append(path)
                self._read[path] = (0, 0)
            number = self._paths.index(path)
            for offset, line, place in _lines(path, *self._read[path]):
                self._take(number, offset, _parsed(line, place))
                self._read[path] = (offset + len(line) + 1, place[1])
        stages, number = list(self.stages.values()), self._touched.find(1)
        while number >= 0:
            self._settle(stages, number)
            self._touched[number] = 0
            number = self._touched.find(1, number + 1)

    def _settle(self, stages: Sequence[StageLines], number: int) -> None:
        """Choose the lines about a source that belong together."""
        chosen = longest(stages, number, bytes.fromhex(origin_of({})))
        for stage, line in zip_longest(stages, chosen):
            stage.use(number, line)

    def _take(self, file: int, offset: int, row: dict[str, Any]) -> None:
        if "spent" not in row:
            return  # the first line, which describes the file
        self._add_spent(row)
        if "key" not in row:
            return  # about a cost without a result
        number, stage = self.numbers.get(row["id"]), self.stages.get(row["stage"])
        if stage is None or number is None or stage.key_of(number) != row["key"]:
            self._outdated += row["id"] in self.numbers or stage is None
            return
        if "failed" in row:
            self.tries[number] = self.tries.get(number, 0) + 1
        made = FAILURE if "failed" in row else bytes.fromhex(origin_of({row["stage"]: row}))
        stage.take(number, Line(file, offset, bytes.fromhex(row["from"]), made))
        self._touched[number] = 1

    def _add_spent(self, row: Mapping[str, Any]) -> None:
        self.cost += row["spent"]["cost"]
        self.spent[row["stage"]] = self.spent.get(row["stage"], Spent()) + Spent(**row["spent"])
        self.seconds[row["stage"]] = self.seconds.get(row["stage"], 0.0) + row["seconds"]

    def note(self, state: State) -> list[dict[str, Any]]:
        """Add the work of an executor, and return the new lines."""
        new = []
        for name, row in state.rows.items():
            stage = self.stages[name]
            if stage.status[state.number] == NOT_DONE:
                stage.status[state.number] = FAILED if "failed" in row else DONE
                stage.done += 1
                self._touched[state.number] = 1  # until it is read
                new.append(row)
        return new

    def failed_stage(self, number: int) -> str | None:
        """Return the stage at which a source failed."""
        name = self._first_not_done(number)
        return name if name is not None and self.stages[name].status[number] == FAILED else None

    def next_stage(self, number: int) -> str | None:
        """Return the stage that a source waits for; `None` if it failed or is finished."""
        name = self._first_not_done(number)
        return name if name is not None and self.stages[name].status[number] == NOT_DONE else None

    def _first_not_done(self, number: int) -> str | None:
        return next((name for name, one in self.stages.items() if one.status[number] != DONE), None)

    def failed(self) -> list[int]:
        """Return the sources that failed, those with the fewest tries first."""
        found = [number for number in range(self.size) if self.failed_stage(number) is not None]
        return sorted(found, key=lambda number: self.tries.get(number, 0))

    def forget_failures(self, numbers: list[int]) -> None:
        """Forget failures, so that these stages are done again."""
        for number in numbers:
            name = self.failed_stage(number)
            if name is not None:
                stage = self.stages[name]
                first, *others = stage.lines(number)
                self._forgotten[number] = name, first
                stage.use(number, None)
                stage.keep(number, others)

    def remember_failures(self) -> None:
        """Restore forgotten failures of stages that were not done again."""
        stages = list(self.stages.values())
        for number, (name, line) in self._forgotten.items():
            if self.stages[name].status[number] == NOT_DONE:
                self.stages[name].take(number, line)
                self._settle(stages, number)
        self._forgotten.clear()

    def state(self, number: int) -> State:
        """Return a source, with its lines that were read."""
        source = Source.from_json(self._files.line(self._sources, self._places[number]))
        state = State(source, self._seed, {}, number)
        for name, stage in self.stages.items():
            if stage.status[number] == NOT_DONE or stage.files[number] < 0:
                break
            path = self._paths[stage.files[number]]
            state.rows[name] = self._files.line(path, stage.offsets[number])
        return state

    def settled(self) -> Iterator[State]:
        """Yield all sources that failed or are finished, in their order."""
        self.refresh()
        return (self.state(number) for number in range(self.size) if self.next_stage(number) is None)


@dataclass
class Waiting:
    """The unfinished sources. Each iteration reads their current state from the ledger.

    Attributes:
        ledger ([`RunLedger`]): ledger of the run.
        numbers (`list[int]`, *optional*): the sources to work on, in this order. Default: all.
    """

    ledger: RunLedger
    numbers: list[int] | None = None

    def __iter__(self) -> Iterator[State]:
        """Yield all sources that are not finished and did not fail."""
        return self._those(None)

    def at(self, stage: str) -> Iterator[State]:
        """Yield the sources that wait for a stage."""
        return self._those(stage)

    def _those(self, stage: str | None) -> Iterator[State]:
        self.ledger.refresh()
        for number in range(self.ledger.size) if self.numbers is None else self.numbers:
            waits = self.ledger.next_stage(number)
            if waits is not None and stage in (None, waits):
                yield self.ledger.state(number)


def _lines(path: Path, start: int, number: int) -> Iterator[tuple[int, bytes, tuple[Path, int]]]:
    """Yield whole lines from an offset on, with the offset of each."""
    try:
        for place, (offset, line) in enumerate(read_lines(path, start=start), number + 1):
            yield offset, line, (path, place)
    except OSError as error:
        raise EngineError(f"{path} cannot be read ({error.strerror or error}).") from error


def _parsed(line: bytes, place: tuple[Path, int]) -> dict[str, Any]:
    """Return the value of a line, which must have the form that a run writes."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise _damaged(place, "it is not JSON") from None
    if not _is_row(row):
        raise _damaged(place, f"{short(row)} is not a line of a run")
    try:
        if row.get("stage") in MADE_BY and "spent" in row:
            read_spent(row)
            read_objects(row)
    except EngineError as error:
        raise _damaged(place, str(error)) from error
    return row


def _is_row(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    if "key" not in row:
        named = isinstance(row.get("id"), str) and ("spent" not in row or _says_spent(row))
        return named or "ledger" in row
    objects, failed = row.get("objects"), row.get("failed")
    return (
        isinstance(row.get("id"), str)
        and _says_spent(row)
        and isinstance(row.get("from"), str)
        and _ORIGIN.fullmatch(row["from"]) is not None
        and (
            isinstance(objects, list)
            and all(isinstance(one, dict) and one.keys() in ({"made"}, {"drop"}) for one in objects)
            if failed is None
            else isinstance(failed, dict) and failed.keys() == {"kind", "reason"}
        )
    )


def _says_spent(row: Mapping[str, Any]) -> bool:
    """Return whether a line has a stage and its cost."""
    spent = row.get("spent")
    return (
        isinstance(row.get("stage"), str)
        and isinstance(spent, dict)
        and spent.keys() | {"uncounted"} == _SPENT
        and all(isinstance(value, (int, float)) for value in spent.values())
        and isinstance(row.get("seconds"), (int, float))
    )


def _damaged(place: tuple[Path, int], fault: str) -> EngineError:
    path, number = place
    remedy = "Delete that line, and the same command does this work again."
    if path.name == "sources.jsonl":
        remedy = "Delete that file, and the same command reads the sources again."
    return EngineError(f"Line {number} of {path} is damaged: {fault}. {remedy}")
