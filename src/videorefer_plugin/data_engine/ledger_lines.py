"""The lines of a ledger about each source, each of which was made from the ones before it."""

from __future__ import annotations

import json
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.data_engine.state import row_key

__all__ = ["DONE", "FAILED", "FAILURE", "NOT_DONE", "Line", "LineFiles", "StageLines", "longest"]

NOT_DONE, DONE, FAILED = range(3)
FAILURE = b"\xff" * 8  # stands for a missing result

_OPEN_FILES = 64  # of a ledger at the same time
_KEY_BYTES = 12  # of `row_key`
_ORIGIN_BYTES = 8  # of `origin_of`


class LineFiles:
    """A reader of lines at known offsets, with a limited number of open files."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, BinaryIO] = OrderedDict()

    def line(self, path: Path, offset: int) -> Any:
        """Return the value of the line that begins at an offset."""
        stream = self._open.pop(path, None) or open(path, "rb")  # noqa: SIM115 - closed by `close`
        self._open[path] = stream
        if len(self._open) > _OPEN_FILES:
            self._open.popitem(last=False)[1].close()
        stream.seek(offset)
        return json.loads(stream.readline())

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()


class Line(NamedTuple):
    """The location of a line, its input, and its outcome."""

    file: int
    offset: int
    origin: bytes
    made: bytes  # the origin of the line that follows it; `FAILURE` if none can

    @property
    def failed(self) -> bool:
        """Whether it is a failure."""
        return self.made == FAILURE


@dataclass
class StageLines:
    """The state of one stage for all sources: whether it is done, and where its line is."""

    key: str
    keys: bytearray = field(default_factory=bytearray)
    status: bytearray = field(default_factory=bytearray)
    files: array[int] = field(default_factory=lambda: array("i"))
    offsets: array[int] = field(default_factory=lambda: array("q"))
    origins: bytearray = field(default_factory=bytearray)
    made: bytearray = field(default_factory=bytearray)
    others: dict[int, list[Line]] = field(default_factory=dict)  # of sources with several lines
    done: int = 0

    def add(self, source: Source, seed: int) -> None:
        """Add a source without any work."""
        self.keys += bytes.fromhex(row_key(source, seed, self.key))
        self.status.append(NOT_DONE)
        self.files.append(-1)
        self.offsets.append(0)
        self.origins += FAILURE
        self.made += FAILURE

    @property
    def failures(self) -> int:
        """The number of sources that failed at this stage."""
        return self.status.count(FAILED)

    @property
    def unused(self) -> int:
        """The number of lines whose input was different from the lines that are used before them."""
        unused = sum(map(len, self.others.values()))
        return unused + sum(file >= 0 and not status for file, status in zip(self.files, self.status, strict=True))

    def key_of(self, number: int) -> str:
        """Return the `key` of the lines about a source for this stage."""
        return self.keys[number * _KEY_BYTES : (number + 1) * _KEY_BYTES].hex()

    def lines(self, number: int) -> list[Line]:
        """Return the lines about a source, first the one that is used, if there is one."""
        if self.files[number] < 0:
            return []
        place = slice(number * _ORIGIN_BYTES, (number + 1) * _ORIGIN_BYTES)
        origin, made = bytes(self.origins[place]), bytes(self.made[place])
        first = Line(self.files[number], self.offsets[number], origin, made)
        return [first, *self.others.get(number, ())]

    def keep(self, number: int, lines: Sequence[Line]) -> None:
        """Keep only these lines about a source."""
        first, others = lines[0] if lines else Line(-1, 0, FAILURE, FAILURE), list(lines[1:])
        place = slice(number * _ORIGIN_BYTES, (number + 1) * _ORIGIN_BYTES)
        self.files[number], self.offsets[number] = first.file, first.offset
        self.origins[place], self.made[place] = first.origin, first.made
        self.others.pop(number, None)
        if others:
            self.others[number] = others

    def take(self, number: int, line: Line) -> None:
        """Add a line. It replaces an earlier failure with the same input; several results are all kept."""
        there = self.lines(number)
        same = [one for one in there if one.origin == line.origin]
        if any(not one.failed for one in same) if line.failed else any(one.made == line.made for one in same):
            return
        failure = next((place for place, one in enumerate(there) if one in same and one.failed), None)
        if failure is None:
            self.keep(number, [*there, line])
        else:
            self.keep(number, [*there[:failure], line, *there[failure + 1 :]])

    def use(self, number: int, line: Line | None) -> None:
        """Use this line for a source, or none."""
        if line is not None:
            self.keep(number, [line, *(one for one in self.lines(number) if one != line)])
        self.done += (line is not None) - (self.status[number] != NOT_DONE)
        self.status[number] = NOT_DONE if line is None else FAILED if line.failed else DONE


def longest(stages: Sequence[StageLines], number: int, origin: bytes) -> list[Line]:
    """Return the lines about a source, stage by stage, each of which was made from those before it.

    If a stage was done several times, the line with the most following stages is used.
    """
    best: list[Line] = []
    for line in stages[0].lines(number) if stages else ():
        if line.origin == origin:
            found = [line, *([] if line.failed else longest(stages[1:], number, line.made))]
            if not best or (len(found), not found[-1].failed) > (len(best), not best[-1].failed):
                best = found
    return best
