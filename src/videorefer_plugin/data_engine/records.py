"""The output of a run: records, discarded records, and the provenance of each."""

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
UNKNOWN = "unknown"  # the license of a source without one; no known license may have this name
_UNKNOWN = frozenset({"", UNKNOWN, "n/a", "na", "none", "null", "nan", "?", "-", "unspecified", "not known"})


def is_unknown_license(text: object) -> bool:
    """Return whether a table's entry for the license means none, such as an empty cell or "Unknown"."""
    return not isinstance(text, str) or text.strip().strip(".").casefold() in _UNKNOWN


@dataclass
class RecordCounts:
    """The counts of a run's output.

    Attributes:
        name, product (`str`): name and product of the recipe.
        sources (`int`): all sources, including failed ones.
        objects (`int`): all objects of sources that did not fail.
        records, discarded (`int`): kept records, and those that the Reviewer discarded.
        turns (`int`): questions with answers in the kept records.
        questions (`dict[str, int]`): kind of question -> number of turns in the kept records.
        failed, dropped (`dict[str, dict[str, int]]`): stage -> kind of failure (of sources), or of drop (of objects or
            questions) -> number.
        verdicts (`dict[str, int]`): `"kept"` and `"discarded"` -> objects with this verdict of the Reviewer, whatever
            happened to them later.
        licenses (`dict[str, int]`): license of the source, or `"unknown"` -> kept records.
        addresses (`int`): kept records whose source has an address.
        media (`dict[str, int]`): `"video"` and `"image"` -> kept records.
        spent (`dict[str, Spent]`): stage -> cost, also of failed and unused work.
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
        """The share of objects that the Reviewer kept; `None` if it has seen none."""
        seen = sum(self.verdicts.values())
        return self.verdicts.get("kept", 0) / seen if seen else None

    def to_json(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return {**asdict(self), "retained": self.retained}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RecordCounts:
        """Read the result of `to_json`, also after a round trip through JSON.

        Raises:
            TypeError: the value is something else.
        """
        some, nested = {"": 0}, {"": {"": 0}}
        like = cls("", "", 0, 0, 0, 0, 0, some, nested, nested, some, some, 0, some, {"": Spent()}, {"": 0.0})
        if isinstance(value, Mapping) and isinstance(
            value.get("spent"), Mapping
        ):  # reports of earlier versions lack it
            value = {**value, "spent": {stage: with_uncounted(one) for stage, one in value["spent"].items()}}
        _check_like("", value, asdict(like))
        known = {one.name: value[one.name] for one in fields(cls)}
        return cls(**{**known, "spent": {stage: Spent(**one) for stage, one in known["spent"].items()}})

    def add(self, state: State) -> None:
        """Count a source, and its cost."""
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
        """Count a record, or an object that was left out."""
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
    """Make sure that a value of JSON has the structure of an example, in which the key "" stands for any key."""
    kinds = (int, float) if isinstance(like, (int, float)) else (type(like),)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"{name or 'it'} is {short(value)}")
    if isinstance(value, dict):
        for key in value if "" in like else like:
            _check_like(f"{name}.{key}" if name else key, value.get(key), like[""] if "" in like else like[key])


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def read_report(folder: Path) -> RecordCounts:
    """Read `report.json` in a run's folder.

    Raises:
        EngineError: the file is missing, or holds something else.
    """
    try:
        return RecordCounts.from_json(read_json(folder / REPORT, EngineError))
    except (ValueError, TypeError) as error:
        raise EngineError(
            f"{folder / REPORT} does not hold the counts of the run ({error}); write the records again "
            "(videorefer data run)."
        ) from error


def record_files(folder: Path, kept: bool = True) -> tuple[Path, Path]:
    """Return the file of records in a run's folder, and the file of their provenance.

    Args:
        folder (`Path`): folder of the run.
        kept (`bool`, *optional*, defaults to `True`): whether to return kept records, or discarded ones.

    Raises:
        EngineError: the files are missing.
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
    """Write the output of a run. Every file appears whole or not at all, and memory does not grow with the run.

    `records.json` (or `.parquet`) has the records. `provenance.jsonl` has a line for each, in the same order: the
    source with its license and address, the results of each agent for the objects, seeds, and the keys of the agents'
    identities in `run.json`. `discarded.json` and `discarded_provenance.jsonl` have the discarded records in the same
    form. `dropped.jsonl` has a line with the reason for each object without a record, and `report.json` has the
    counts.

    Args:
        states (`Iterable[State]`): all sources of the run, in the order of the records.
        folder (`Path`): folder of the run.
        recipe ([`EngineRecipe`]): recipe of the run.
        spent, seconds (`Mapping`, *optional*): stage -> cost and time of the whole run. Default: those of these
            sources.

    Returns:
        [`RecordCounts`]: the contents of `report.json`.

    Raises:
        ConfigurationError: product or format is unknown, or Parquet needs pyarrow, which is not installed.
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
    """Return for each agent of the run its backend, and the key of its identity in `run.json`."""
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
    # Characters beyond ASCII are escaped, since a caption may hold lone surrogates, which no file can.
    stream.write(json.dumps(value) + "\n")


def _write_all(paths: Sequence[Path], write: Callable[[Sequence[str]], None], opened: tuple[str, ...] = ()) -> None:
    """Write several files, which appear once all of them are complete."""
    if not paths:
        write(opened)
        return
    write_whole(paths[0], lambda name: _write_all(paths[1:], write, (*opened, name)))
