"""How far a source has come: what each agent made of it, as the ledger has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.items import (
    Description,
    Drop,
    Failure,
    Found,
    Made,
    Noun,
    ObjectItem,
    Question,
    Refined,
    RegionCaption,
    Source,
    Spent,
    Verdict,
    VideoItem,
    seed_of,
)
from videorefer_plugin.errors import EngineError

__all__ = ["MADE_BY", "State", "made_row", "origin_of", "read_objects", "read_spent", "row_key", "stage_keys"]

Row = dict[str, Any]

MADE_BY: dict[str, Any] = {
    "analyzer": Noun,
    "segmentor": Found,
    "annotator": Description,
    "captioner": RegionCaption,
    "reviewer": Verdict,
    "refiner": Refined,
}
"""What the agent of each stage makes of an object."""


def stage_keys(stages: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """A short name for all that what a stage makes depends on: its agent's identity, and those of the ones before it.

    Args:
        stages: name and identity of each, in order.
    """
    keys, before = {}, ""
    for stage, identity in stages:
        text = json.dumps([before, stage, identity], sort_keys=True, ensure_ascii=False)
        keys[stage] = before = hashlib.sha256(text.encode()).hexdigest()[:16]
    return keys


def row_key(source: Source, seed: int, stage_key: str) -> str:
    """The ledger's name for what a stage makes of a source; as long as it is the same, it is not done again."""
    return hashlib.sha256(json.dumps([source.work_digest, seed, stage_key]).encode()).hexdigest()[:24]


def origin_of(rows: Mapping[str, Row]) -> str:
    """A short name for what was made so far, which is what the next stage works on.

    The same agent may say something else when it is asked again, so a line of the ledger belongs to the lines before
    it only if it says that it was made from just these.

    Args:
        rows: stage -> its line, in the order in which stages were done.
    """
    if not rows:
        return "0" * 16
    last = list(rows.values())[-1]
    return hashlib.sha256(json.dumps([last["from"], last.get("objects")]).encode()).hexdigest()[:16]


def made_row(state: State, stage: str, stage_key: str, made: Made | Failure, seconds: float) -> Row:
    """The line of the ledger about what a stage made of a source, or why it made nothing.

    A line has `id`, `stage`, `key`, `from` (see [`origin_of`]), `spent` and `seconds`, and either `objects`, a list of
    {"made": ...} or {"drop": ...}, or `failed`, {"kind", "reason"}.
    """
    key = row_key(state.source, state.seed, stage_key)
    row: Row = {"id": state.source.id, "stage": stage, "key": key, "from": origin_of(state.rows)}
    if isinstance(made, Failure):
        row["failed"] = {"kind": made.kind, "reason": made.reason}
    else:
        row["objects"] = [{"drop" if isinstance(one, Drop) else "made": asdict(one)} for one in made.objects]
    return {**row, "spent": asdict(made.spent), "seconds": round(seconds, 4)}


def read_objects(row: Row) -> list[Any]:
    """What a line says of the objects: for each what was made of it, or [`Drop`].

    Raises:
        EngineError: that is not what its stage makes; says in a few words what is wrong, and not where.
    """
    return [
        _read(Drop, one["drop"]) if "drop" in one else _read(MADE_BY[row["stage"]], one["made"])
        for one in row.get("objects", ())
    ]


def with_uncounted(spent: Any) -> Any:
    """What a line says that the work took; lines of earlier versions do not say which calls were not counted."""
    return {"uncounted": 0, **spent} if isinstance(spent, dict) else spent


def read_spent(row: Row) -> Spent:
    """What a line says that the work took.

    Raises:
        EngineError: it is not as it is written; says what is wrong, and not where.
    """
    spent: Spent = _read(Spent, with_uncounted(row["spent"]))
    return spent


def _read(kind: Any, value: Any) -> Any:
    known = {one.name: str(one.type) for one in fields(kind)}
    if not isinstance(value, dict) or value.keys() != known.keys():
        raise EngineError(f"a {kind.__name__} is {short(value)}; expected {listed(known, 20)}")
    return kind(**{name: _read_field(f"{kind.__name__}.{name}", known[name], one) for name, one in value.items()})


_KINDS: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "dict": dict,
    "tuple": (list, tuple),  # also as it is before it goes through JSON
}


def _read_field(name: str, kind: str, value: Any) -> Any:
    """A field as its dataclass has it; `kind` is the annotation, such as "tuple[int, ...]" or "float | None"."""
    if value is None and kind.endswith(" | None"):
        return None
    outer, _, inner = kind.removesuffix(" | None").removesuffix("]").partition("[")
    if outer == "Question":
        return _read(Question, value)
    if not isinstance(value, _KINDS[outer]) or (isinstance(value, bool) and outer != "bool"):
        raise EngineError(f"{name} is {short(value)}; expected {kind}")
    return tuple(_read_field(name, inner.split(",")[0], one) for one in value) if outer == "tuple" else value


@dataclass
class State:
    """A source, with the lines of the ledger about it.

    Attributes:
        source ([`Source`]): the video or image.
        seed (`int`): of the run; see [`seed_of`].
        rows (`dict`): stage -> its line, in the order in which stages were done.
        number (`int`): its place among the sources of the run, from 0, by which batches are cut.
    """

    source: Source
    seed: int
    rows: dict[str, Row] = field(default_factory=dict)
    number: int = 0

    @property
    def failed(self) -> tuple[str, Failure] | None:
        """The stage that failed, and why."""
        for stage, row in self.rows.items():
            if "failed" in row:
                return stage, Failure(row["failed"]["kind"], row["failed"]["reason"], Spent(**row["spent"]))
        return None

    @property
    def item(self) -> VideoItem:
        """The source as the next agent is given it: with the objects that no agent has dropped or discarded."""
        kept = tuple(one for one, drop in self.outcomes() if drop is None and not one.is_discarded)
        return VideoItem(self.source, seed_of(self.seed, self.source.id), kept)

    def outcomes(self) -> list[tuple[ObjectItem, tuple[str, Drop] | None]]:
        """All objects, with what was made of them, and the stage that dropped them and why, if one did.

        An object that the Analyzer itself dropped has no noun but an empty one.

        Raises:
            EngineError: a line has more or fewer objects than were left for its stage.
        """
        found: list[tuple[ObjectItem, tuple[str, Drop] | None]] = []
        if "analyzer" not in self.rows:
            found = [(_given(number, self.source), None) for number in range(len(self.source.objects))]
        for stage, row in self.rows.items():
            made = read_objects(row)
            if stage == "analyzer":
                found = [
                    (ObjectItem(number, one), None)
                    if isinstance(one, Noun)
                    else (ObjectItem(number, Noun("")), (stage, one))
                    for number, one in enumerate(made)
                ]
                continue
            if "objects" not in row:
                continue
            waiting = sum(drop is None and not item.is_discarded for item, drop in found)
            if len(made) != waiting:
                raise EngineError(
                    f"The line of the {stage} about {self.source.id!r} is damaged: it has {len(made)} object(s), and "
                    f"{waiting} were given to it. Delete that line from the run's folder stages, and the same command "
                    "does again what it was about."
                )
            left = iter(made)
            found = [
                (item, drop) if drop is not None or item.is_discarded else _after(item, stage, next(left))
                for item, drop in found
            ]
        return found

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {"source": self.source.to_json(), "seed": self.seed, "rows": self.rows, "number": self.number}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> State:
        """Read what `to_json` gave, also after it went through JSON."""
        return cls(Source.from_json(value["source"]), value["seed"], dict(value["rows"]), value.get("number", 0))


def _after(item: ObjectItem, stage: str, made: Any) -> tuple[ObjectItem, tuple[str, Drop] | None]:
    return (item, (stage, made)) if isinstance(made, Drop) else (item.having(made), None)


def _given(number: int, source: Source) -> ObjectItem:
    """An object that came with its masks, as if Analyzer and Segmentor had found it."""
    given = source.objects[number]
    noun = Noun(given.expression, given.expression)
    first = next((int(frame) for frame, one in given.annotation.items() if one.get("segmentation")), 0)
    return ObjectItem(
        number, noun, Found(dict(given.annotation), source.height or 0, source.width or 0, first, (), 1.0)
    )
