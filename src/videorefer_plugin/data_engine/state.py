"""The state of a source: the results of each agent, as in the ledger."""

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
"""The result of each stage's agent for an object."""


def stage_keys(stages: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, str]:
    """Return a digest, for each stage, of its agent's identity and those of the stages before it.

    Args:
        stages: name and identity of each stage, in order.
    """
    keys, before = {}, ""
    for stage, identity in stages:
        text = json.dumps([before, stage, identity], sort_keys=True, ensure_ascii=False)
        keys[stage] = before = hashlib.sha256(text.encode()).hexdigest()[:16]
    return keys


def row_key(source: Source, seed: int, stage_key: str) -> str:
    """Return the key of a stage's work on a source; work with the same key is not done again."""
    return hashlib.sha256(json.dumps([source.work_digest, seed, stage_key]).encode()).hexdigest()[:24]


def origin_of(rows: Mapping[str, Row]) -> str:
    """Return a digest of the results so far, which are the input of the next stage.

    The same agent may have another result when it runs again, so a line of the ledger belongs to the lines before it
    only if it has their digest.

    Args:
        rows: stage -> its line, in the order in which stages were done.
    """
    if not rows:
        return "0" * 16
    last = list(rows.values())[-1]
    return hashlib.sha256(json.dumps([last["from"], last.get("objects")]).encode()).hexdigest()[:16]


def made_row(state: State, stage: str, stage_key: str, made: Made | Failure, seconds: float) -> Row:
    """Return the line of the ledger about a stage's result for a source, or about its failure.

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
    """Return the results of a line: for each object its result, or a [`Drop`].

    Raises:
        EngineError: the results have a wrong form. The message names the fault, but not the line.
    """
    return [
        _read(Drop, one["drop"]) if "drop" in one else _read(MADE_BY[row["stage"]], one["made"])
        for one in row.get("objects", ())
    ]


def with_uncounted(spent: Any) -> Any:
    """Return the cost in a line, with a default for uncounted calls, which lines of earlier versions lack."""
    return {"uncounted": 0, **spent} if isinstance(spent, dict) else spent


def read_spent(row: Row) -> Spent:
    """Return the cost in a line.

    Raises:
        EngineError: the cost has a wrong form. The message names the fault, but not the line.
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
    "tuple": (list, tuple),  # a tuple before the round trip through JSON
}


def _read_field(name: str, kind: str, value: Any) -> Any:
    """Return the value of a field; `kind` is its annotation, such as "tuple[int, ...]" or "float | None"."""
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
        seed (`int`): seed of the run; see [`seed_of`].
        rows (`dict`): stage -> its line, in the order in which stages were done.
        number (`int`): number of the source in the run, from 0, which batches depend on.
    """

    source: Source
    seed: int
    rows: dict[str, Row] = field(default_factory=dict)
    number: int = 0

    @property
    def failed(self) -> tuple[str, Failure] | None:
        """The stage that failed, and the failure."""
        for stage, row in self.rows.items():
            if "failed" in row:
                return stage, Failure(row["failed"]["kind"], row["failed"]["reason"], Spent(**row["spent"]))
        return None

    @property
    def item(self) -> VideoItem:
        """The source as the input of the next agent, with the objects that were not dropped or discarded."""
        kept = tuple(one for one, drop in self.outcomes() if drop is None and not one.is_discarded)
        return VideoItem(self.source, seed_of(self.seed, self.source.id), kept)

    def outcomes(self) -> list[tuple[ObjectItem, tuple[str, Drop] | None]]:
        """Return all objects with their results, and the stage that dropped them with the reason, if one did.

        An object that the Analyzer dropped has an empty noun.

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
                    "does this work again."
                )
            left = iter(made)
            found = [
                (item, drop) if drop is not None or item.is_discarded else _after(item, stage, next(left))
                for item, drop in found
            ]
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the state in the form that `from_json` reads."""
        return {"source": self.source.to_json(), "seed": self.seed, "rows": self.rows, "number": self.number}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> State:
        """Read the result of `to_json`, also after a round trip through JSON."""
        return cls(Source.from_json(value["source"]), value["seed"], dict(value["rows"]), value.get("number", 0))


def _after(item: ObjectItem, stage: str, made: Any) -> tuple[ObjectItem, tuple[str, Drop] | None]:
    return (item, (stage, made)) if isinstance(made, Drop) else (item.having(made), None)


def _given(number: int, source: Source) -> ObjectItem:
    """Return a given object as if Analyzer and Segmentor had found it."""
    given = source.objects[number]
    noun = Noun(given.expression, given.expression)
    first = next((int(frame) for frame, one in given.annotation.items() if one.get("segmentation")), 0)
    return ObjectItem(
        number, noun, Found(dict(given.annotation), source.height or 0, source.width or 0, first, (), 1.0)
    )
