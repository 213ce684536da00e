"""The base class of benchmarks. The runner, the command line, reports and lmms-eval use this class alone."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic

from videorefer_plugin.bench import checks, options
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.reading import ItemT, Reading, read_items
from videorefer_plugin.bench.tables import Result
from videorefer_plugin.errors import BenchError

__all__ = ["Benchmark", "Layout", "Task"]


@dataclass(frozen=True)
class Layout:
    """The files of a published benchmark.

    Attributes:
        title (`str`): title of the benchmark.
        file (`str`): file of its items, relative to the benchmark's folder.
        media (`tuple[str, ...]`): folders of videos, relative to the same folder.
        media_root (`str`): folder that the items' paths are relative to.
        source (`str`): where to get the files.
    """

    title: str
    file: str
    media: tuple[str, ...]
    media_root: str
    source: str

    def describe(self, name: str) -> str:
        """Return a text that says where to get the benchmark's files and where to put them."""
        paths = "\n".join(f"    {path}" for path in (self.file, *self.media))
        return (
            f"{self.title}\n  from {self.source}\n  expected in one folder:\n{paths}\n"
            f"  then: videorefer bench {name} FOLDER/{self.file} --media-root FOLDER"
            f"{'' if self.media_root == '.' else '/' + self.media_root} --model ... --out ...\n"
        )


@dataclass(frozen=True)
class Task:
    """A benchmark as a task of lmms-eval.

    Attributes:
        name (`str`): name of the task.
        variable (`str`): environment variable that names the benchmark's file.
        figures (`dict[str, bool]`): names of [`Benchmark.figures`] -> whether higher is better.
        by_item (`bool`): whether the figures are the means of those of single items, so that lmms-eval can average
            them itself and give their standard errors.
    """

    name: str
    variable: str
    figures: dict[str, bool]
    by_item: bool = False


@dataclass(frozen=True)
class Benchmark(ABC, Generic[ItemT]):
    """The base class of benchmarks. To add a benchmark, subclass it in a new file and call `register_benchmark`.

    The fields of a subclass are its options: each becomes an option of `videorefer bench NAME`, with the help text in
    the field's `metadata["help"]`. A value other than the default is part of the configuration that answers depend on.
    Fields need defaults. They are texts (limited to `metadata["choices"]`, if given), numbers, `bool`, tuples of these
    of any length, such as `tuple[str, ...]`, or `None`.

    Attributes:
        name (`str`): short name, which its command and files have.
        title (`str`): name in reports.
        about (`str`): summary for the command's help.
        mode (`str`): default mode: objects in their `"single"` frame, or in all of `"multi"`.
        max_new_tokens (`int`): default for the most tokens of an answer.
        max_frames_per_region (`int`, *optional*): default for the most frames of an object in multi-frame mode.
        layout ([`Layout`], *optional*): its files, if it is published.
        task ([`Task`], *optional*): its task in lmms-eval.
        judges (`tuple[str, ...]`): kinds of judges that score answers, of `"endpoint"`, `"local"`, `"rule"` and
            `"none"`; empty if answers are scored without one.
        judge_prompt ([`JudgePrompt`], *optional*): the prompt of a chat model that judges.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    mode: ClassVar[str] = "single"
    max_new_tokens: ClassVar[int] = 512
    max_frames_per_region: ClassVar[int | None] = None
    layout: ClassVar[Layout | None] = None
    task: ClassVar[Task | None] = None
    judges: ClassVar[tuple[str, ...]] = ()
    judge_prompt: ClassVar[JudgePrompt | None] = None

    # --- required methods --------------------------------------------------------------------------------------------

    @abstractmethod
    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> ItemT:
        """Return an item.

        Args:
            value: the value in the file.
            common: the fields of [`Item`], which are read already.

        Raises:
            BenchError: the item cannot be used.
        """

    @abstractmethod
    def score(
        self, items: Sequence[ItemT], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Score answers, and return the scores in the form of JSON.

        Args:
            items: all items, also those without an answer.
            answers: id -> answer.
            replies: id -> reply of the judge, if the benchmark has judges.
        """

    @abstractmethod
    def summary(self, result: Result) -> list[str]:
        """Return a result in a few lines, for the terminal."""

    @abstractmethod
    def section(self, results: Sequence[Result]) -> list[str]:
        """Return results as lines of a report in Markdown, with the paper's figures if there are any."""

    @abstractmethod
    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the figures that summarize scores; `None` for those that could not be measured."""

    # --- optional methods --------------------------------------------------------------------------------------------

    def read(
        self,
        data: str | os.PathLike,
        media_root: str | os.PathLike | None = None,
        mode: str | None = None,
        on_bad_item: str = "error",
    ) -> Reading[ItemT]:
        """Read the items of a file.

        Args:
            data: JSON list, JSON lines, or Parquet, or another format that [`values`] reads.
            media_root (*optional*): folder that `video` is relative to. Default: the file's folder.
            mode (`str`, *optional*): `"single"` or `"multi"`. Default: the benchmark's mode.
            on_bad_item (`str`): `"error"`, or `"skip"` to leave out items that cannot be used.

        Raises:
            BenchError: the file cannot be read, some items cannot be used (the message lists all of them), or none
                can.
        """
        return read_items(data, media_root, mode or self.mode, self.item, on_bad_item, self.values)

    def values(self, source: Path) -> list[tuple[str, Any]]:
        """Return the locations in a file, each with the value for [`item`], or with a [`BenchError`] if there is none.

        The default reads one value per item of the file. Override this method for another format.
        """
        return item_values(source, keep_bad=True)

    def files(self, data: str | os.PathLike) -> list[Path]:
        """Return the files that items are read from. Answers are only valid for their contents."""
        return [Path(data)]

    def prompt(self, item: ItemT) -> str:
        """Return the prompt of an item, with a `<region>` for each object."""
        return item.prompt

    def settings(self) -> dict[str, Any]:
        """Return the options that differ from their defaults, which are part of the configuration of answers."""
        default = {one.name: one.default for one in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def with_options(self, given: Mapping[str, Any]) -> Benchmark[ItemT]:
        """Return the benchmark with other options, in the form of a command line or JSON.

        Raises:
            BenchError: an option is unknown, or a value is invalid.
        """
        return replace(self, **options.read(self, given))

    def of(self, result: Result) -> Benchmark[ItemT]:
        """Return the benchmark with the options of a result, which may come from an older version with others."""
        known = {one.name for one in fields(self)}
        given = result["settings"].get("options", {})
        return self.with_options({name: value for name, value in given.items() if name in known})

    def needs_judge(self) -> bool:
        """Return whether a judge scores the answers, with these options."""
        return bool(self.judges)

    def check_result(self, result: Result) -> None:
        """Make sure that a result belongs to this benchmark.

        Raises:
            WrongValueError: a value is invalid.
        """
        checks.object_of(**_RUN)(result, "result")
        checks.map_of(checks.text)(result.get("skipped", {}), "result.skipped")
        checks.object_of()(result["settings"].get("options", {}), "result.settings.options")
        try:
            benchmark = self.of(result)
        except BenchError as error:
            raise checks.WrongValueError(f"result.settings.options cannot be used: {error}") from error
        if not benchmark.needs_judge():
            checks.object_of(scores=self.check_scores)(result, "result")
            return
        judge = checks.or_none(checks.object_of(name=checks.text))
        checks.object_of(scores=checks.or_none(self.check_scores), judge=judge)(result, "result")
        if result["scores"] is not None:
            judged = checks.object_of(name=checks.text, prompt_hash=checks.text)
            checks.object_of(judge=judged, dates=checks.list_of(checks.text))(result, "result")

    def check_scores(self, value: Any, where: str) -> None:
        """Make sure that `scores` of a result have the form that [`score`] writes, so that an edited file is an error.

        Raises:
            WrongValueError: a value is invalid.
        """
        checks.object_of()(value, where)

    def projection(self) -> str | None:
        """Return the projection of the axes that [`draw`] takes."""
        return None

    def drawable(self, results: Sequence[Result]) -> list[Result]:
        """Return the results that [`draw`] can draw; none, if the benchmark has no picture."""
        return []

    def draw(self, axes: Any, results: Sequence[Result]) -> None:
        """Draw results into axes of matplotlib.

        Raises:
            BenchError: the benchmark has no picture.
        """
        raise BenchError(f"{self.title} has no picture.")


_RUN: dict[str, checks.Check] = {
    "name": checks.text,
    "settings": checks.object_of(),
    "items": checks.count,
    "answered": checks.count,
    "failed": checks.map_of(checks.text),
}
