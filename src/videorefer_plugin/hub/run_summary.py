"""The facts about the run that made a checkpoint: the file from which model cards are filled."""

import dataclasses
import difflib
import json
import os
import re
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import read_json
from videorefer_plugin._places import writing
from videorefer_plugin._text import short
from videorefer_plugin.errors import PublishError

__all__ = ["HUB_ID", "RUN_FILE", "DataFile", "Recipe", "Result", "RunSummary"]

RUN_FILE = "videorefer_run.json"
"""The file in an output folder that describes how its model was trained and measured."""

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass
class Recipe:
    """The recipe of a run.

    Attributes:
        name (`str`): its path, such as `"videollama2.1-7b/stage3"`.
        text (`str`, *optional*): the recipe as it was run, with its overrides. It is published: keep secrets out of
            it.
    """

    name: str
    text: str | None = None


@dataclass
class DataFile:
    """One source of training data.

    Attributes:
        name (`str`): name of the file; of a path, only the last part is kept.
        records (`int`, *optional*): number of records used.
        hub_id (`str`, *optional*): the data set's id on the Hub, if it has one.
        counts (`dict[str, int]`): further counts, such as `{"videos": 120, "regions": 340, "skipped": 2}`.
    """

    name: str
    records: int | None = None
    hub_id: str | None = None
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = _last_part(self.name)


@dataclass
class Result:
    """One measured number.

    Attributes:
        benchmark (`str`): such as `"VideoRefer-Bench-D"`.
        metric (`str`): the name of the metric.
        value (`float`): the number.
        judge (`str`, *optional*):
            The model (with its version) that graded the answers, or `None` if no model did. It is required, since
            judged numbers mean nothing without it.
        split (`str`, *optional*): the part of the benchmark.
        date (`str`, *optional*): when it was measured, as `YYYY-MM-DD`.
    """

    benchmark: str
    metric: str
    value: float
    judge: str | None
    split: str | None = None
    date: str | None = None


@dataclass
class RunSummary:
    """Facts about a training run. Unknown facts stay unset and are left out of the card.

    Stored as JSON in `videorefer_run.json` beside the weights, under these names; `recipe`, `data` and `results` hold
    objects with the names of [`Recipe`], [`DataFile`] and [`Result`]. The file is published, so local paths are
    shortened to their last part.

    Attributes:
        recipe (`Recipe`, *optional*): the recipe of the run.
        base_model (`str`, *optional*): checkpoint that training started from: a Hub id, or a folder's name.
        data (`list[DataFile]`): the training data.
        hyperparameters (`dict`): names and plain values, such as learning rates and batch sizes.
        seeds (`list[int]`): seeds of the run.
        steps (`int`, *optional*): optimizer steps taken.
        seconds (`float`, *optional*): duration.
        hardware (`str`, *optional*): such as `"8 x NVIDIA H100 80GB"`.
        results (`list[Result]`): measurements of the checkpoint.
        versions (`dict[str, str]`): of `torch`, `transformers`, `videorefer-plugin` and so on.
        license (`str`, *optional*): identifier of the license of the weights, such as `"apache-2.0"`.
    """

    recipe: Recipe | None = None
    base_model: str | None = None
    data: list[DataFile] = field(default_factory=list)
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    seeds: list[int] = field(default_factory=list)
    steps: int | None = None
    seconds: float | None = None
    hardware: str | None = None
    results: list[Result] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    license: str | None = None

    def __post_init__(self) -> None:
        base = self.base_model or ""
        if base and (base.startswith((".", "~")) or not HUB_ID.fullmatch(base)):
            self.base_model = _last_part(base)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "RunSummary":
        """Build a summary from plain values.

        Raises:
            PublishError: a name is unknown, or a value is missing or of another type; the message names it.
        """
        if isinstance(values, dict) and "licence" in values and "license" not in values:  # files before 0.1.0
            values = {"license" if name == "licence" else name: value for name, value in values.items()}
        return _build(cls, values, RUN_FILE)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "RunSummary | None":
        """Read the summary in a folder; `None` if there is none.

        Raises:
            PublishError: the file cannot be read.
        """
        path = Path(folder) / RUN_FILE
        if not path.is_file():
            return None
        return cls.from_dict(read_json(path, PublishError))

    def to_json(self) -> str:
        """Return the content of the file."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the summary into a folder, and return the file's path.

        Raises:
            PublishError: the file cannot be written.
        """
        path = Path(folder) / RUN_FILE
        with writing(path, PublishError):
            write_whole(path, self.to_json())
        return path


def _last_part(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _build(cls: Any, values: Any, place: str) -> Any:
    if not isinstance(values, dict):
        raise PublishError(f"{place} must be an object, but is {type(values).__name__} {short(values)}.")
    fields = {each.name: each for each in dataclasses.fields(cls)}
    for name in values:
        if name not in fields:
            close = difflib.get_close_matches(name, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(fields)}."
            raise PublishError(f"{place} has no {name!r}; {hint}")
    types_of = typing.get_type_hints(cls)
    for name, each in fields.items():
        if name not in values and each.default is each.default_factory is dataclasses.MISSING:
            note = " (null if no model judged the answers)" if name == "judge" else ""
            raise PublishError(f"{place} lacks {name!r}{note}.")
    return cls(**{name: _convert(types_of[name], value, f"{place}: {name}") for name, value in values.items()})


def _convert(wanted: Any, value: Any, place: str) -> Any:
    """Check a plain value against a field's type, building dataclasses on the way."""
    if isinstance(wanted, types.UnionType):  # only "or None" is used
        return None if value is None else _convert(typing.get_args(wanted)[0], value, place)
    if dataclasses.is_dataclass(wanted):
        return _build(wanted, value, place)
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin is list and isinstance(value, list):
        return [_convert(arguments[0], item, f"{place}[{index}]") for index, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        return {str(name): _convert(arguments[1], item, f"{place}.{name}") for name, item in value.items()}
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted is Any or (wanted is float and number) or (wanted is int and number and isinstance(value, int)):
        return value
    if wanted is str and isinstance(value, str):
        return value
    kind = getattr(origin or wanted, "__name__", str(wanted))
    raise PublishError(f"{place} must be of type {kind}, but is {type(value).__name__} {short(value)}.")
