"""What a benchmark is. Everything else here (the runner, the command line, reports, lmms-eval) asks this class."""

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
    """Files of a published benchmark.

    Attributes:
        title (`str`): what it is.
        file (`str`): its items, from the benchmark's folder.
        media (`tuple[str, ...]`): folders of videos, from the same folder.
        media_root (`str`): the folder that the items' paths start from.
        source (`str`): where to get it.
    """

    title: str
    file: str
    media: tuple[str, ...]
    media_root: str
    source: str

    def describe(self, name: str) -> str:
        """Where everything of the benchmark of a name comes from and belongs, in words."""
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
        name (`str`): of the task.
        variable (`str`): environment variable that names the benchmark's file.
        figures (`dict[str, bool]`): names of [`Benchmark.figures`] -> whether higher is better.
        by_item (`bool`): whether the figures of all items are the means of those of each item alone, so that lmms-eval
            can average them itself, and say how sure they are.
    """

    name: str
    variable: str
    figures: dict[str, bool]
    by_item: bool = False


@dataclass(frozen=True)
class Benchmark(ABC, Generic[ItemT]):
    """A benchmark. To add one, subclass this in a file of its own and give it a `register_benchmark` line.

    The fields of a subclass are its options: each is an option of `videorefer bench NAME`, described by the field's
    `metadata["help"]`, and becomes part of the configuration that answers depend on unless it has its default value.
    They have defaults, and are texts (of `metadata["choices"]`, if that is there), numbers, `bool`, tuples of these of
    any length, such as `tuple[str, ...]`, or `None`.

    Attributes:
        name (`str`): short; that of its command, and in the names of files.
        title (`str`): what reports call it.
        about (`str`): what it measures, for the command's help.
        mode (`str`): the mode by default: objects in their `"single"` frame, or in all of `"multi"`.
        max_new_tokens (`int`): the most tokens of an answer, by default.
        max_frames_per_region (`int`, *optional*): in multi-frame mode, the most frames of an object, by default.
        layout ([`Layout`], *optional*): where its files come from and belong, if it is published.
        task ([`Task`], *optional*): itself as a task of lmms-eval.
        judges (`tuple[str, ...]`): kinds of judges that score answers, of `"endpoint"`, `"local"`, `"rule"` and
            `"none"`; empty if answers are scored without one.
        judge_prompt ([`JudgePrompt`], *optional*): what a chat model that judges is asked.
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

    # --- what every benchmark has to say -----------------------------------------------------------------------------

    @abstractmethod
    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> ItemT:
        """One item.

        Args:
            value: as it stands in the file.
            common: what all items have, read already: the fields of [`Item`].

        Raises:
            BenchError: it cannot be used.
        """

    @abstractmethod
    def score(
        self, items: Sequence[ItemT], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Score answers; fit for JSON.

        Args:
            items: all items, also those without an answer.
            answers: id -> answer.
            replies: id -> what the judge said about it, if the benchmark has judges.
        """

    @abstractmethod
    def summary(self, result: Result) -> list[str]:
        """A result in a few lines, for the terminal."""

    @abstractmethod
    def section(self, results: Sequence[Result]) -> list[str]:
        """Results as lines of a report in Markdown, with the paper's figures beside them where it has some."""

    @abstractmethod
    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """The figures that sum scores up; `None` where one could not be measured."""

    # --- what most do not have to say --------------------------------------------------------------------------------

    def read(
        self,
        data: str | os.PathLike,
        media_root: str | os.PathLike | None = None,
        mode: str | None = None,
        on_bad_item: str = "error",
    ) -> Reading[ItemT]:
        """Read the items of a file.

        Args:
            data: JSON list, JSON lines, or Parquet; or what [`values`] reads.
            media_root (*optional*): folder that `video` starts from; that of the file by default.
            mode (`str`, *optional*): `"single"` or `"multi"`; the benchmark's own by default.
            on_bad_item (`str`): `"error"`, or `"skip"` to leave out items that cannot be used.

        Raises:
            BenchError: the file cannot be read; items cannot be used, all named together; or none can.
        """
        return read_items(data, media_root, mode or self.mode, self.item, on_bad_item, self.values)

    def values(self, source: Path) -> list[tuple[str, Any]]:
        """Places in a file, each with what [`item`] makes an item of, or with the [`BenchError`] that says why not.

        Those of the file itself by default; a benchmark in a format of its own says here what stands for an item.
        """
        return item_values(source, keep_bad=True)

    def files(self, data: str | os.PathLike) -> list[Path]:
        """The files that items are made of. Answers belong to what was in them."""
        return [Path(data)]

    def prompt(self, item: ItemT) -> str:
        """What the model is asked, with a `<region>` for each object."""
        return item.prompt

    def settings(self) -> dict[str, Any]:
        """Options that are not as they are by default; part of the configuration that answers depend on."""
        default = {one.name: one.default for one in fields(self)}
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    def with_options(self, given: Mapping[str, Any]) -> Benchmark[ItemT]:
        """The same benchmark with other options, as a command line or JSON gives them.

        Raises:
            BenchError: it has no such option, or a value cannot be one.
        """
        return replace(self, **options.read(self, given))

    def of(self, result: Result) -> Benchmark[ItemT]:
        """The same benchmark with the options of a result, which may be one of an older version with others."""
        known = {one.name for one in fields(self)}
        given = result["settings"].get("options", {})
        return self.with_options({name: value for name, value in given.items() if name in known})

    def needs_judge(self) -> bool:
        """Whether answers are scored by a judge, with these options."""
        return bool(self.judges)

    def check_result(self, result: Result) -> None:
        """Make sure that a result is one of this benchmark.

        Raises:
            WrongValueError: a value is not what it has to be.
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
        """Make sure that `scores` of a result are what [`score`] writes, so that an edited file is an error.

        Raises:
            WrongValueError: a value is not what it has to be.
        """
        checks.object_of()(value, where)

    def projection(self) -> str | None:
        """The projection of the axes that [`draw`] takes."""
        return None

    def drawable(self, results: Sequence[Result]) -> list[Result]:
        """Those of its results that [`draw`] draws; none, if it has no picture."""
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
