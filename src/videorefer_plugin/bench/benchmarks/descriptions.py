"""VideoRefer-Bench-D: descriptions of objects, scored by a judge from 0 to 5 in four dimensions."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from videorefer_plugin._text import short
from videorefer_plugin.bench import checks, paper
from videorefer_plugin.bench.benchmarks.base import Benchmark, Layout, Task
from videorefer_plugin.bench.description_scores import score_descriptions
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.judge_replies import DIMENSIONS
from videorefer_plugin.bench.reading import Item, place_of, text_of
from videorefer_plugin.bench.tables import Result, cell, drawn, judged_by, label, mode_of, remarks, table
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.wording import description_prompt

__all__ = ["JUDGE_PROMPT", "DescriptionItem", "Descriptions", "read_descriptions"]


@dataclass(frozen=True)
class DescriptionItem(Item):
    """An object to describe, of Bench-D.

    Attributes:
        caption (`str`): a true description, which answers are compared with.
        facts (`dict`, *optional*): in the shapes world, the facts of the object, for the judge.
    """

    caption: str = ""
    facts: dict[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """The question, which is the same for every object."""
        return description_prompt(self.kind)


_SYSTEM = """\
You compare a description of one object in a video with a reference that is true, and give four scores from 0 to 5:

- SC, subject correspondence: is it about the same object as the reference?
- AD, appearance: how much of what the reference says of the object's look (colour, shape, texture and the like) is \
there, and right?
- TD, time: does what it says about movement and change agree with the reference?
- HD, hallucination: is it free of facts, actions and things that the reference does not bear out? 5 if nothing is \
made up, 0 if most of it is.

Different words for the same thing are as good as the same words. Halves are allowed. Judge only by the reference.
Reply with one JSON object and nothing else: {"SC": number, "AD": number, "TD": number, "HD": number}"""
_USER = "Reference:\n{reference}\n\nDescription to score:\n{description}"
JUDGE_PROMPT = JudgePrompt(_SYSTEM, _USER, lambda item, said: {"reference": item.caption, "description": said})


_SCORE = checks.number(0, 5)


_SCORES = checks.object_of(
    dimensions=checks.object_of(
        **dict.fromkeys(
            DIMENSIONS,
            checks.object_of(
                mean=checks.or_none(_SCORE),
                count=checks.count,
                missing=checks.count,
                interval=checks.interval(5),
            ),
        )
    ),
    average=checks.or_none(_SCORE),
    average_missing_as_zero=_SCORE,
    not_described=checks.list_of(checks.text),
    not_judged=checks.list_of(checks.text),
    not_understood=checks.list_of(checks.text),
    compatible=checks.or_none(
        checks.object_of(
            dimensions=checks.map_of(checks.object_of(mean=checks.or_none(checks.number()), count=checks.count)),
            average=checks.or_none(checks.number()),
            dropped=checks.count,
        )
    ),
)


@dataclass(frozen=True)
class Descriptions(Benchmark[DescriptionItem]):
    """The benchmark of descriptions, which a judge scores."""

    name: ClassVar[str] = "d"
    title: ClassVar[str] = "VideoRefer-Bench-D"
    about: ClassVar[str] = (
        "VideoRefer-Bench-D: descriptions of objects, scored by a judge from 0 to 5 in four dimensions."
    )
    layout: ClassVar[Layout] = Layout(
        "VideoRefer-Bench-D: 400 objects to describe",
        "VideoRefer-Bench-D.json",
        ("Panda-70M-part",),
        "Panda-70M-part",
        "objects, and Panda-70M-part.zip with the videos: the data set DAMO-NLP-SG/VideoRefer-Bench on the "
        "Hugging Face Hub",
    )
    task: ClassVar[Task] = Task(
        "videorefer_bench_d",
        "VIDEOREFER_BENCH_D",
        {**dict.fromkeys((*DIMENSIONS, "average"), True), "not_understood": False},
    )
    judges: ClassVar[tuple[str, ...]] = ("endpoint", "local", "rule", "none")
    judge_prompt: ClassVar[JudgePrompt] = JUDGE_PROMPT

    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> DescriptionItem:
        """See [`Benchmark`]."""
        facts = value.get("facts")
        if facts is not None and not isinstance(facts, dict):
            raise BenchError(f"{place_of(common)} has {short(facts)} as its facts: expected a dict")
        return DescriptionItem(**common, caption=text_of(value, "caption", common), facts=facts)

    def score(
        self, items: Sequence[DescriptionItem], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """See [`score_descriptions`]."""
        return score_descriptions(items, answers, replies).to_dict()

    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the mean of each dimension, their mean, and the number of items without a score."""
        means = {code: scores["dimensions"][code]["mean"] for code in DIMENSIONS}
        lacking = float(len(scores["not_understood"]) + len(scores["not_judged"]))
        return {**means, "average": scores["average"], "not_understood": lacking}

    def summary(self, result: Result) -> list[str]:
        """See [`Benchmark`]."""
        scores = result["scores"]
        cells = [f"{code} {cell(one['mean'], one['interval'], 2)}" for code, one in scores["dimensions"].items()]
        return [
            f"{', '.join(cells)}, average {cell(scores['average'], None, 2)}",
            f"judge: {result['judge']['name']}; replies not understood: {len(scores['not_understood'])}, items not "
            f"judged: {len(scores['not_judged'])}",
        ]

    def section(self, results: Sequence[Result]) -> list[str]:
        """See [`Benchmark`]."""
        columns = ["model", "judge", *DIMENSIONS, "average", "not understood", "not judged"]
        rows, notes = [], []
        for result in results:
            scores, judge = result["scores"], result["judge"]
            notes += remarks(result)
            if scores is None:
                notes.append(f"- {label(result)}: {result['answered']} descriptions, not judged yet.")
                continue
            cells = [
                cell(scores["dimensions"][code]["mean"], scores["dimensions"][code]["interval"], 2)
                for code in DIMENSIONS
            ]
            left = len(scores["not_judged"]) + len(scores["not_described"])
            average = cell(scores["average"], None, 2)
            rows.append([label(result), judge["name"], *cells, average, str(len(scores["not_understood"])), str(left)])
            notes.append(
                f"- {label(result)}: {judged_by(result)}. With 0 for every score that is missing, the average is "
                f"{scores['average_missing_as_zero']:.2f}."
            )
            if scores["compatible"] is not None:
                compatible = scores["compatible"]
                notes.append(
                    f"- {label(result)}: the released script would report "
                    f"{cell(compatible['average'], None, 2)}, from "
                    + ", ".join(f"{cell['count']} scores of {name}" for name, cell in compatible["dimensions"].items())
                    + f", and drop {compatible['dropped']} replies."
                )
        modes = {mode_of(result) for result in results}
        for row in paper.BENCH_D:
            if row.mode in modes:
                cells = [cell(row.values[code], None, 2) for code in (*DIMENSIONS, "average")]
                rows.append([f"*paper*: {row.name}, {row.mode}-frame", "GPT-4o", *cells, "-", "-"])
        said = "Scores from 0 to 5 with 95 % bootstrap intervals, over the replies that give them."
        return [*table(columns, rows), "", said, "Scores of different judges cannot be compared.", "", *notes]

    def check_scores(self, value: Any, where: str) -> None:
        """See [`Benchmark`]."""
        _SCORES(value, where)

    def projection(self) -> str:
        """Return the projection of a radar chart."""
        return "polar"

    def drawable(self, results: Sequence[Result]) -> list[Result]:
        """Return the results that are judged."""
        return [result for result in results if result["scores"] is not None]

    def draw(self, axes: Any, results: Sequence[Result]) -> None:
        """Draw a radar chart of the four dimensions."""
        codes = list(DIMENSIONS)
        angles = [2 * math.pi * place / len(codes) for place in range(len(codes))]
        series: list[tuple[str, list[float], bool]] = []
        for result in results:
            means = [result["scores"]["dimensions"][code]["mean"] for code in codes]
            judge = result["judge"]["name"]
            series.append((f"{label(result)} ({judge})", [0.0 if mean is None else mean for mean in means], False))
        for row in paper.quoted(paper.BENCH_D, {mode_of(result) for result in results}):
            legend = f"paper: {row.name}, {row.mode}-frame (GPT-4o)"
            series.append((legend, [row.values[code] for code in codes], True))
        for legend, values, quoted in series:
            axes.plot([*angles, angles[0]], [*values, values[0]], "--" if quoted else "-", label=drawn(legend))
            if not quoted:
                axes.fill(angles, values, alpha=0.15)
        axes.set_xticks(angles, codes)
        axes.set_ylim(0, 5)
        axes.set_title(self.title)
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.08))


def read_descriptions(
    path: str | os.PathLike, media_root: str | os.PathLike | None = None, mode: str = "multi"
) -> list[DescriptionItem]:
    """Read a file of VideoRefer-Bench-D. The arguments are those of [`read_questions`]."""
    return Descriptions().read(path, media_root, mode).items
