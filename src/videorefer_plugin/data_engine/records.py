"""What a run hands over: records, those that the Reviewer discarded, and for each where it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_json, read_object, write_json
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import STAGES
from videorefer_plugin.data_engine.items import Spent
from videorefer_plugin.data_engine.recipe import PRODUCTS, EngineRecipe
from videorefer_plugin.data_engine.record_making import LeftOut, MadeRecord, make_records
from videorefer_plugin.data_engine.record_output import FORMATS, record_output
from videorefer_plugin.data_engine.state import State, with_uncounted
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = [
    "DROPPED",
    "REPORT",
    "UNKNOWN",
    "RecordCounts",
    "is_unknown_license",
    "read_report",
    "record_files",
    "write_records",
]

RUN = "run.json"
REPORT = "report.json"
DROPPED = "dropped.jsonl"
UNKNOWN = "unknown"  # the license of a source that says none; no license that is known can have this name
_UNKNOWN = frozenset({"", UNKNOWN, "n/a", "na", "none", "null", "nan", "?", "-", "unspecified", "not known"})


def is_unknown_license(text: object) -> bool:
    """Whether what a table has as the license of a source says none, such as an empty cell or "Unknown"."""
    return not isinstance(text, str) or text.strip().strip(".").casefold() in _UNKNOWN


@dataclass
class RecordCounts:
    """What became of the sources of a run.

    Attributes:
        name, product (`str`): of the recipe.
        sources (`int`): all sources, those that failed included.
        objects (`int`): all objects of sources that did not fail.
        records, discarded (`int`): records that were kept, and those that the Reviewer discarded.
        turns (`int`): questions with their answers, in the records that were kept.
        questions (`dict[str, int]`): kind of question -> how many of the kept records' turns.
        failed, dropped (`dict[str, dict[str, int]]`): stage -> kind of failure (of sources), or of drop (of objects or
            questions) -> how many.
        verdicts (`dict[str, int]`): `"kept"` and `"discarded"` -> objects of which the Reviewer said so, whatever
            became of them afterwards.
        licenses (`dict[str, int]`): license of the source, or `"unknown"` -> records that were kept.
        addresses (`int`): records that were kept whose source says where it comes from.
        media (`dict[str, int]`): `"video"` and `"image"` -> records that were kept.
        spent (`dict[str, Spent]`): stage -> what it took, also what failed or was not used any more.
        seconds (`dict[str, float]`): stage -> seconds of work, of all workers together.
    """

    name: str = ""
    product: str = ""
    sources: int = 0
    objects: int = 0
    records: int = 0
    discarded: int = 0
    turns: int = 0
    questions: dict[str, int] = field(default_factory=dict)
    failed: dict[str, dict[str, int]] = field(default_factory=dict)
    dropped: dict[str, dict[str, int]] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    licenses: dict[str, int] = field(default_factory=dict)
    addresses: int = 0
    media: dict[str, int] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def retained(self) -> float | None:
        """The share of objects that the Reviewer kept, of those that it has seen; `None` where it has seen none."""
        seen = sum(self.verdicts.values())
        return self.verdicts.get("kept", 0) / seen if seen else None

    def to_json(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {**asdict(self), "retained": self.retained}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RecordCounts:
        """Read what `to_json` gave, also after it went through JSON.

        Raises:
            TypeError: it is something else.
        """
        some, nested = {"": 0}, {"": {"": 0}}
        like = cls("", "", 0, 0, 0, 0, 0, some, nested, nested, some, some, 0, some, {"": Spent()}, {"": 0.0})
        if isinstance(value, Mapping) and isinstance(
            value.get("spent"), Mapping
        ):  # reports of earlier versions do not say it
            value = {**value, "spent": {stage: with_uncounted(one) for stage, one in value["spent"].items()}}
        _check_like("", value, asdict(like))
        known = {one.name: value[one.name] for one in fields(cls)}
        return cls(**{**known, "spent": {stage: Spent(**one) for stage, one in known["spent"].items()}})

    def add(self, state: State) -> None:
        """Count a source, and what agents spent on it."""
        self.sources += 1
        for stage, row in state.rows.items():
            self.spent[stage] = self.spent.get(stage, Spent()) + Spent(**row["spent"])
            self.seconds[stage] = round(self.seconds.get(stage, 0.0) + row["seconds"], 4)
        outcomes = state.outcomes()
        for item, _ in outcomes:
            if item.verdict is not None:
                _count(self.verdicts, "kept" if item.verdict.same else "discarded")
        if state.failed is not None:
            stage, failure = state.failed
            _count(self.failed.setdefault(stage, {}), failure.kind)
        else:
            self.objects += len(outcomes)

    def add_made(self, made: MadeRecord | LeftOut) -> None:
        """Count what came of an object."""
        if isinstance(made, LeftOut):
            _count(self.dropped.setdefault(made.stage, {}), made.kind)
        elif not made.kept:
            self.discarded += 1
        else:
            source = made.provenance["source"]
            self.records += 1
            self.turns += len(made.record["conversations"]) // 2
            self.addresses += source["address"] is not None
            _count(self.licenses, UNKNOWN if is_unknown_license(source["license"]) else source["license"].strip())
            _count(self.media, source["kind"])
            for kind in made.provenance.get("questions", ()):
                _count(self.questions, kind)


def _check_like(name: str, value: Any, like: Any) -> None:
    """Make sure that a value of JSON is shaped as an example, in which the key "" stands for any."""
    kinds = (int, float) if isinstance(like, (int, float)) else (type(like),)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name or 'it'} is {short(value)}")
    if isinstance(value, dict):
        for key in value if "" in like else like:
            _check_like(f"{name}.{key}" if name else key, value.get(key), like[""] if "" in like else like[key])


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def read_report(folder: Path) -> RecordCounts:
    """What `report.json` in a run's folder says.

    Raises:
        EngineError: it is not there, or holds something else.
    """
    try:
        return RecordCounts.from_json(read_json(folder / REPORT, EngineError))
    except (ValueError, TypeError) as error:
        raise EngineError(
            f"{folder / REPORT} does not say what came of the run ({error}); write the records again (videorefer data "
            "run)."
        ) from error


def record_files(folder: Path, kept: bool = True) -> tuple[Path, Path]:
    """The records of a run's folder, and the file that says where each comes from.

    Args:
        folder (`Path`): of the run.
        kept (`bool`, *optional*, defaults to `True`): those that were kept, or those that the Reviewer discarded.

    Raises:
        EngineError: there are none.
    """
    records, provenance = _names(kept)
    for ending in FORMATS:
        if (folder / f"{records}.{ending}").is_file() and (folder / provenance).is_file():
            return folder / f"{records}.{ending}", folder / provenance
    raise EngineError(
        f"{folder} has no {records}.json or {records}.parquet with its {provenance}; expected the folder of a run "
        "that has come to its end (videorefer data run)."
    )


def write_records(
    states: Iterable[State],
    folder: Path,
    recipe: EngineRecipe,
    spent: Mapping[str, Spent] | None = None,
    seconds: Mapping[str, float] | None = None,
) -> RecordCounts:
    """Write what a run has made. Every file appears whole or not at all, and memory does not grow with the run.

    `records.json` (or `.parquet`) has the records, `provenance.jsonl` in the same order a line for each: the source
    with its license and address, what each agent made of the objects, seeds, and the keys by which `run.json` has the
    agents' identities. `discarded.json` and `discarded_provenance.jsonl` are the same of what the Reviewer discarded,
    and `dropped.jsonl` has a line for each object that became no record, with the reason. `report.json` counts.

    Args:
        states (`Iterable[State]`): all sources of the run, in the order that records are to have.
        folder (`Path`): of the run.
        recipe ([`EngineRecipe`]): of the run.
        spent, seconds (`Mapping`, *optional*): stage -> what the whole run took; by default, what these sources took.

    Returns:
        [`RecordCounts`]: what `report.json` says.

    Raises:
        ConfigurationError: product or format is unknown, or pyarrow is not installed for Parquet.
        EngineError: the folder cannot be written.
    """
    folder, output = Path(folder), recipe.output
    if recipe.product not in PRODUCTS:
        raise ConfigurationError(f"product is {short(recipe.product)}; expected one of {', '.join(PRODUCTS)}.")
    if output.format not in FORMATS:
        raise ConfigurationError(f"output.format is {short(output.format)}; expected {' or '.join(FORMATS)}.")
    if not isinstance(output.frames, int) or output.frames < 1:
        raise ConfigurationError(f"output.frames is {short(output.frames)}; expected how many frames of each object.")
    counts = RecordCounts(recipe.name, recipe.product)
    stages = _stages(folder, recipe)
    names = [name for kept in (True, False) for name in _names(kept)]
    paths = [folder / (name if name.endswith(".jsonl") else f"{name}.{output.format}") for name in names]

    def write(files: Sequence[str]) -> None:
        records, provenance, discarded, discarded_provenance, dropped = files
        with (
            record_output(records, output.format) as kept_records,
            open(provenance, "w", encoding="utf-8") as kept_lines,
            record_output(discarded, output.format) as discarded_records,
            open(discarded_provenance, "w", encoding="utf-8") as discarded_lines,
            open(dropped, "w", encoding="utf-8") as lost,
        ):
            for state in states:
                counts.add(state)
                done = {stage: stages[stage] for stage in state.rows if stage in stages}
                for made in make_records(state, recipe.product, folder, output.frames, recipe.seed):
                    counts.add_made(made)
                    if isinstance(made, LeftOut):
                        _write_line(lost, asdict(made))
                        continue
                    (kept_records if made.kept else discarded_records).write(made.record)
                    line = {**made.provenance, "agents": done}
                    _write_line(kept_lines if made.kept else discarded_lines, line)
        if spent is not None:
            counts.spent = dict(spent)
        if seconds is not None:
            counts.seconds = {name: round(took, 4) for name, took in seconds.items()}

    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_all([*paths, folder / DROPPED], write)
        for path in (paths[0], paths[2]):  # of another format, which would be taken for those of this run
            for ending in FORMATS:
                if path.suffix != f".{ending}":
                    path.with_suffix(f".{ending}").unlink(missing_ok=True)
        write_json(folder / REPORT, counts.to_json(), ensure_ascii=False)
    except OSError as error:
        raise EngineError(f"The records cannot be written into {folder} ({error.strerror or error}).") from error
    return counts


def _names(kept: bool) -> tuple[str, str]:
    return ("records", "provenance.jsonl") if kept else ("discarded", "discarded_provenance.jsonl")


def _stages(folder: Path, recipe: EngineRecipe) -> dict[str, dict[str, Any]]:
    """For each agent of the run its backend, and the key of its identity in `run.json`."""
    keys: Mapping[str, str] = {}
    if (folder / RUN).is_file():
        try:
            keys = dict(read_object(folder / RUN, EngineError).get("keys", {}))
        except (ValueError, TypeError) as error:
            raise EngineError(f"{folder / RUN} cannot be read ({error}); start the run again.") from error
    found = {}
    for stage in STAGES:
        settings = getattr(recipe, stage)
        if settings is not None:
            found[stage] = {"backend": settings.backend} | ({"identity": keys[stage]} if stage in keys else {})
    return found


def _write_line(stream: Any, value: Mapping[str, Any]) -> None:
    # Characters beyond ASCII are escaped, since a caption may hold halves of them, which no file can.
    stream.write(json.dumps(value) + "\n")


def _write_all(paths: Sequence[Path], write: Callable[[Sequence[str]], None], opened: tuple[str, ...] = ()) -> None:
    """Write several files together, each of which appears once all of them are complete."""
    if not paths:
        write(opened)
        return
    write_whole(paths[0], lambda name: _write_all(paths[1:], write, (*opened, name)))
