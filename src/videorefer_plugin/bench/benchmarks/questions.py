"""VideoRefer-Bench-Q: multiple-choice questions about objects."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from videorefer_plugin._text import listed, short
from videorefer_plugin.bench import checks, paper
from videorefer_plugin.bench.benchmarks.base import Benchmark, Layout, Task
from videorefer_plugin.bench.letters import gold_letter, option_letters
from videorefer_plugin.bench.prompts import question_prompt
from videorefer_plugin.bench.question_scores import READERS, misread, score_questions
from videorefer_plugin.bench.reading import Item, place_of, text_of
from videorefer_plugin.bench.tables import LISTED, Result, cell, drawn, label, mode_of, percent, remarks, table
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.wording import QUESTION_TYPES

__all__ = ["QUESTION_TYPES", "QuestionItem", "Questions", "read_questions"]


@dataclass(frozen=True)
class QuestionItem(Item):
    """A multiple-choice question of Bench-Q.

    Attributes:
        question (`str`): the question, with a `<region>` for each object.
        options (`list[str]`): options such as `"(A) a red car"`.
        answer (`str`): the right option, `"(A) a red car"`, or its letter.
        type (`str`): one of `QUESTION_TYPES`.
    """

    question: str = ""
    options: list[str] = field(default_factory=list)
    answer: str = ""
    type: str = ""

    @property
    def prompt(self) -> str:
        """The question with its options in the benchmark's format."""
        return question_prompt(self.question, self.options)


_SCORES = checks.object_of(
    tables=checks.object_of(
        **dict.fromkeys(
            READERS,
            checks.object_of(
                types=checks.map_of(checks.share),
                overall=checks.share,
                mean_over_types=checks.number(0, 1),
                mean_interval=checks.interval(1),
                no_letter=checks.count,
            ),
        )
    ),
    differences=checks.list_of(checks.text),
    missing=checks.list_of(checks.text),
)
_ITEMS = checks.list_of(
    checks.object_of(
        prediction=checks.or_none(checks.text),
        letter=checks.object_of(**dict.fromkeys(READERS, checks.or_none(checks.text))),
    )
)
_MOST = 0.5  # share of misread answers from which on the compatible figure is that of chance


@dataclass(frozen=True)
class Questions(Benchmark[QuestionItem]):
    """The benchmark of multiple-choice questions."""

    name: ClassVar[str] = "q"
    title: ClassVar[str] = "VideoRefer-Bench-Q"
    about: ClassVar[str] = "VideoRefer-Bench-Q: multiple-choice questions about objects."
    max_new_tokens: ClassVar[int] = 64
    layout: ClassVar[Layout] = Layout(
        "VideoRefer-Bench-Q: 1,000 questions about 198 videos",
        "VideoRefer-Bench-Q.json",
        ("DAVIS/JPEGImages/480p", "MeViS/valid_u/JPEGImages"),
        ".",
        "questions: the data set DAMO-NLP-SG/VideoRefer-Bench on the Hugging Face Hub; frames: DAVIS 2017 "
        "(TrainVal, Test-Dev and Test-Challenge, 480p) and MeViS (valid_u), each under its own terms",
    )
    task: ClassVar[Task] = Task(
        "videorefer_bench_q", "VIDEOREFER_BENCH_Q", {"accuracy": True, "strict_accuracy": True}, by_item=True
    )

    types: tuple[str, ...] = field(
        default=(), metadata={"help": "Further type of question, for your own files. May be repeated."}
    )

    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> QuestionItem:
        """See [`Benchmark`]."""
        where = place_of(common)
        options = value.get("options")
        if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
            raise BenchError(f"{where} needs a list of 'options', but has {short(options)}")
        letters = option_letters(options)
        if letters is None:
            raise BenchError(
                f"{where} has options without letters of their own ({short(options)}): write them as '(A) ...'"
            )
        answer = text_of(value, "Answer", common)
        if gold_letter(answer) not in letters:
            raise BenchError(
                f"{where} has the answer {answer!r}, whose letter none of its options has ({', '.join(letters)})"
            )
        kind = text_of(value, "type", common)
        if kind not in (*QUESTION_TYPES, *self.types):
            raise BenchError(
                f"{where} is of the unknown type {kind!r}: expected one of "
                f"{', '.join((*QUESTION_TYPES, *self.types))}, or types of your own, each given with --types "
                "(in Python, Questions(types=...))"
            )
        return QuestionItem(
            **common, question=text_of(value, "Question", common), options=options, answer=answer, type=kind
        )

    def score(
        self, items: Sequence[QuestionItem], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """See [`score_questions`]."""
        return score_questions(items, answers, self.types).to_dict()

    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the accuracy over items by each of the two readers."""
        found = {reader: read["overall"]["accuracy"] for reader, read in scores["tables"].items()}
        return {"accuracy": found["compatible"], "strict_accuracy": found["strict"]}

    def summary(self, result: Result) -> list[str]:
        """See [`Benchmark`]."""
        lines = []
        for reader, read in _tables(result):
            means = " (means nothing here: these answers are not letters)" if _is_void(result, reader) else ""
            lines.append(f"{reader}{means}: {percent(read['overall'])} % over items, of types:")
            lines += [f"  {kind}: {percent(share)}" for kind, share in read["types"].items()]
        return lines

    def section(self, results: Sequence[Result]) -> list[str]:
        """See [`Benchmark`]."""
        types = _types(results)
        columns = ["model", "answers read", *types, "over items", "mean over types"]
        rows, notes = [], []
        for result in results:
            scores = result["scores"]
            for reader, read in _tables(result):
                kinds = [percent(read["types"][kind]) if kind in read["types"] else "-" for kind in types]
                mean, interval = read["mean_over_types"], read["mean_interval"]
                over_types = cell(100 * mean, [100 * end for end in interval] if interval else None)
                said = f"{reader} (means nothing, see below)" if _is_void(result, reader) else reader
                rows.append([label(result), said, *kinds, percent(read["overall"]), over_types])
            notes += remarks(result)
            if _in_words(result):
                wrong, total = misread(scores.get("items", ()))
                notes.append(
                    f"- {label(result)}: **the strict figures count here.** On {wrong} of {total} answers the "
                    "released script takes a letter that the answer does not name, such as the first one of a "
                    "sentence, so that the compatible figures say nothing about the model."
                )
            readers = ", ".join(f"{read['no_letter']} ({name})" for name, read in scores["tables"].items())
            notes.append(f"- {label(result)}: {result['items']} questions; answers that name no option: {readers}.")
            different = scores["differences"]
            if different:
                notes.append(
                    f"- {label(result)}: the two readers differ on {len(different)}: {listed(different, LISTED)}."
                )
        for row in paper.BENCH_Q:
            cells = [cell(row.values.get(column)) for column in (*types, "overall")]
            rows.append([f"*paper*: {row.name}, {row.mode}-frame", "compatible", *cells, "-"])
        lines = table(columns, rows)
        said = (
            "Accuracy in per cent with 95 % intervals: Wilson's, and of the mean over types what follows from these."
        )
        return [*lines, "", said, "The paper's figures are over items.", "", *notes]

    def check_scores(self, value: Any, where: str) -> None:
        """See [`Benchmark`]."""
        _SCORES(value, where)
        if "items" in value:
            _ITEMS(value["items"], f"{where}.items")

    def drawable(self, results: Sequence[Result]) -> list[Result]:
        """Return all results."""
        return list(results)

    def draw(self, axes: Any, results: Sequence[Result]) -> None:
        """Draw bars by type of question."""
        types = _types(results)
        columns = (*types, "over items")
        series: list[tuple[str, list[float | None], bool]] = []
        for result in results:
            reader, read = _tables(result)[0]
            cells = [read["types"].get(kind) for kind in types] + [read["overall"]]
            legend = f"{label(result)} ({reader})" if _in_words(result) else label(result)
            series.append(
                (
                    legend,
                    [None if not cell or cell["accuracy"] is None else 100 * cell["accuracy"] for cell in cells],
                    False,
                )
            )
        for row in paper.quoted(paper.BENCH_Q, {mode_of(result) for result in results}):
            values = [row.values.get(kind) for kind in (*types, "overall")]
            series.append((f"paper: {row.name}, {row.mode}-frame", values, True))
        width = 0.8 / len(series)
        for number, (legend, values, quoted) in enumerate(series):
            places = [place + (number - (len(series) - 1) / 2) * width for place in range(len(columns))]
            heights = [0.0 if value is None else value for value in values]
            style = {"alpha": 0.5, "hatch": "//"} if quoted else {}
            axes.bar(places, heights, width, label=drawn(legend), **style)
        axes.set_xticks(range(len(columns)), [drawn(column).replace(" ", "\n") for column in columns])
        axes.set_ylim(0, 100)
        axes.set_ylabel("accuracy (%)")
        axes.set_title(self.title)
        axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _in_words(result: Result) -> bool:
    """Return whether the compatible reader misreads most answers, so that the strict figures count."""
    wrong, total = misread(result["scores"].get("items", ()))
    return wrong > _MOST * total


def _is_void(result: Result, reader: str) -> bool:
    return reader == "compatible" and _in_words(result)


def _tables(result: Result) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the figures of both readers, first those that count: the paper's, unless its reader misreads answers."""
    tables = result["scores"]["tables"]
    return [(reader, tables[reader]) for reader in (READERS[::-1] if _in_words(result) else READERS)]


def _types(results: Sequence[Result]) -> list[str]:
    """Return the types of questions: the released ones, and further ones of the results."""
    found = [kind for result in results for read in result["scores"]["tables"].values() for kind in read["types"]]
    return list(dict.fromkeys((*QUESTION_TYPES, *found)))


def read_questions(
    path: str | os.PathLike, media_root: str | os.PathLike | None = None, mode: str = "multi"
) -> list[QuestionItem]:
    """Read a file of VideoRefer-Bench-Q.

    Args:
        path: JSON list or JSON lines.
        media_root: folder that `video` is relative to. Default: the file's folder.
        mode (`str`): `"single"` or `"multi"`. The requirements of the mode are checked, too.

    Raises:
        BenchError: some items cannot be used. The message lists all of them: the video is missing, the type is
            unknown, options lack letters, no option has the answer's letter, the numbers of `<region>` and annotations
            differ, or `frame_idx` cannot be used.
    """
    return Questions().read(path, media_root, mode).items
