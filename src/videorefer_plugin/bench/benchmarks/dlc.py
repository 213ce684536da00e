"""DLC-Bench: detailed captions of objects in pictures. A judge answers questions about each caption.

The published benchmark ("Describe Anything", arXiv 2504.16072) has three files in a folder: `annotations.json` in
COCO's format; `qa.json`, which maps an annotation's id to questions; and `class_names.json`, which maps the id to the
object's class. Give `qa.json` as the file. Your own items have the form of other benchmarks:

```json
{"id": 0, "image": "images/dog.png", "annotation": [{"segmentation": {...}}],
 "questions": [{"kind": "recognition", "question": "Is it a dog?", "choices": [["Yes", 1], ["No", 0]]},
               {"kind": "positive", "question": "Which color is it?",
                "choices": [["Brown", 1], ["White", -1], ["Not said", 0]]}]}
```

The rules are those of the released script: an item's positive score is the mean worth of the chosen options over its
positive questions, and its negative score that over the negative ones. If the object was not recognized, no option is
worth more than 0. The released judge is Llama-3.1-8B, which sees the caption and no picture. The judge's prompt is
this library's own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from videorefer_plugin._json import JsonError, parse_json, read_json, read_text
from videorefer_plugin._text import listed, short
from videorefer_plugin.bench import checks
from videorefer_plugin.bench.benchmarks.base import Benchmark, Layout, Task
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.bench.judge_prompts import JudgePrompt, Messages
from videorefer_plugin.bench.letters import strict_letter
from videorefer_plugin.bench.reading import Item, LeftOutError, place_of, text_of
from videorefer_plugin.bench.said import check_said
from videorefer_plugin.bench.statistics import mean_interval, mean_of_means_interval, share_of
from videorefer_plugin.bench.tables import LISTED, Result, cell, comparable, judged_by, label, percent, remarks, table
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.wording import description_prompt

__all__ = ["DetailItem", "DetailedCaptions", "JudgeQuestion"]

KINDS = ("recognition", "positive", "negative")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_WORTH = {"correct": 1.0, "incorrect": 0.0}  # the released script's names for the choices of a recognition question
_COLUMNS = ("positive", "negative", "average", "recognized")
_LACKING = ("not_described", "not_judged", "not_understood")
_FILES = ("annotations.json", "class_names.json")  # beside qa.json


class JudgeQuestion(NamedTuple):
    """A question that the judge answers from a description.

    Attributes:
        kind (`str`): one of `KINDS`.
        text (`str`): the question.
        options (`list[str]`): such as `"(A) brown"`.
        worth (`list[float]`): worth of each option, from -1 to 1. In a recognition question, options that mean yes are
            worth more than 0.
    """

    kind: str
    text: str
    options: list[str]
    worth: list[float]

    def read(self, reply: str) -> float | None:
        """Return the worth of the option that a reply names; `None` if it names none, or several."""
        letter = strict_letter(reply, self.options)
        return None if letter is None else self.worth[_LETTERS.index(letter)]


@dataclass(frozen=True)
class DetailItem(Item):
    """An object to describe in detail.

    Attributes:
        questions (`tuple[JudgeQuestion, ...]`): the judge's questions about the description.
    """

    questions: tuple[JudgeQuestion, ...] = ()

    @property
    def prompt(self) -> str:
        """The question, which is the same for every object."""
        return description_prompt(self.kind)


class _QuestionPrompt(JudgePrompt):
    """A prompt with one question; the judge gets one for each question of an item."""

    def conversations(self, item: Any, answer: str) -> list[Messages]:
        """See [`JudgePrompt`]."""
        ask = super().conversations
        return [one for question in item.questions for one in ask(question, answer)]


_SYSTEM = """\
Somebody described one object in a picture, which you do not see. You are asked a question about the object, and \
choose the option that the description bears out best; the wording may differ. What the description leaves open is \
not mentioned, however likely it is. Reply with the letter of one option, and nothing else."""
_USER = "Description:\n{description}\n\nQuestion: {question}\n{options}"
JUDGE_PROMPT = _QuestionPrompt(
    _SYSTEM,
    _USER,
    lambda asked, said: {"description": said, "question": asked.text, "options": "\n".join(asked.options)},
)

_WORTHS = checks.number(-1, 1)
_MEAN = checks.object_of(mean=checks.or_none(_WORTHS), interval=checks.or_none(checks.list_of(_WORTHS, 2)))
_SCORES = checks.object_of(
    positive=_MEAN,
    negative=_MEAN,
    average=_MEAN,
    recognized=checks.share,
    questions=checks.count,
    unclear=checks.count,
    **dict.fromkeys(_LACKING, checks.list_of(checks.text)),
)


@dataclass(frozen=True)
class DetailedCaptions(Benchmark[DetailItem]):
    """The benchmark of detailed captions; see the module."""

    name: ClassVar[str] = "dlc"
    title: ClassVar[str] = "DLC-Bench"
    about: ClassVar[str] = "DLC-Bench: detailed captions of objects, each of which a judge answers questions about."
    layout: ClassVar[Layout] = Layout(
        "DLC-Bench: detailed captions of objects in pictures",
        "qa.json",
        (*_FILES, "images"),
        ".",
        "pictures: the data set nvidia/DLC-Bench on the Hugging Face Hub (CC BY-NC-SA 4.0); the three files of JSON: "
        "there, or with the evaluation of NVlabs/describe-anything",
    )
    task: ClassVar[Task] = Task(
        "dlc_bench",
        "VIDEOREFER_DLC",
        {"positive": True, "negative": True, "average": True, "recognized": True, "not_understood": False},
    )
    judges: ClassVar[tuple[str, ...]] = ("endpoint", "local", "none")
    judge_prompt: ClassVar[JudgePrompt] = JUDGE_PROMPT

    def files(self, data: str | os.PathLike) -> list[Path]:
        """See [`Benchmark`]."""
        source = Path(data)
        return [source, *(source.parent / name for name in _FILES if _published(source) is not None)]

    def values(self, source: Path) -> list[tuple[str, Any]]:
        """See [`Benchmark`]."""
        questions = _published(source)
        return item_values(source, keep_bad=True) if questions is None else _joined(source, questions)

    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> DetailItem:
        """See [`Benchmark`]."""
        where = place_of(common)
        if len(common["annotation"]) != 1:
            raise BenchError(f"{where} has {len(common['annotation'])} annotations: expected that of one object")
        given = value.get("questions")
        if not isinstance(given, list) or not given:
            raise BenchError(f"{where} needs a list of 'questions', but has {short(given)}")
        questions = tuple(_question(one, {**common, "place": f"{where}, question {n}"}) for n, one in enumerate(given))
        kinds = [question.kind for question in questions]
        if kinds.count("recognition") > 1 or set(kinds) == {"recognition"}:
            raise BenchError(
                f"{where} has questions of the kinds {', '.join(kinds)}: expected one of recognition at most, and one "
                "that is positive or negative"
            )
        return DetailItem(**common, questions=questions)

    def score(
        self, items: Sequence[DetailItem], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Score descriptions from -1 to 1.

        A reply that names no option is worth 0, as in the released script, and is counted under `unclear`. If it is
        the reply about recognition, the item has no scores, and is among those not understood.
        """
        check_said("answers", answers, (item.id for item in items))
        check_said("replies", replies, (item.id for item in items))
        rows = [_row(item, answers.get(item.id), replies.get(item.id)) for item in items]
        columns = [[row[kind] for row in rows] for kind in ("positive", "negative")]
        positive, negative = map(_mean, columns)
        both = [one["mean"] for one in (positive, negative) if one["mean"] is not None]
        judged = [row for row in rows if row["replies"] is not None]
        none = {"mean": None, "interval": None}
        known = [row["recognized"] for row in judged if row["recognized"] is not None]
        return {
            "items": rows,
            "positive": positive,
            "negative": negative,
            "average": {"mean": sum(both) / 2, "interval": mean_of_means_interval(columns)}
            if len(both) == 2
            else none,
            "recognized": share_of(known),
            "questions": sum(len(row["worth"]) for row in judged),
            "unclear": sum(worth is None for row in judged for worth in row["worth"]),
            "not_described": [row["id"] for row in rows if row["description"] is None],
            "not_judged": [row["id"] for row in rows if row["description"] is not None and row["replies"] is None],
            "not_understood": [row["id"] for row in judged if row["positive"] is None and row["negative"] is None],
        }

    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the means of both kinds of questions, their mean, the share recognized, and the items not scored."""
        return {
            "positive": scores["positive"]["mean"],
            "negative": scores["negative"]["mean"],
            "average": scores["average"]["mean"],
            "recognized": scores["recognized"]["accuracy"],
            "not_understood": float(len(scores["not_understood"]) + len(scores["not_judged"])),
        }

    def summary(self, result: Result) -> list[str]:
        """See [`Benchmark`]."""
        scores = result["scores"]
        positive, negative, average, recognized = _cells(scores)
        return [
            f"positive {positive}, negative {negative}, average {average}; recognized {recognized} %",
            f"judge: {result['judge']['name']}; {_lacking(scores)}",
        ]

    def section(self, results: Sequence[Result]) -> list[str]:
        """See [`Benchmark`]."""
        rows, notes = [], []
        for result in results:
            scores, judge = result["scores"], result["judge"]
            notes += remarks(result)
            if scores is None:
                notes.append(f"- {label(result)}: {result['answered']} descriptions, not judged yet.")
                continue
            rows.append([label(result), judge["name"], *_cells(scores)])
            notes.append(f"- {label(result)}: {judged_by(result)}; {_lacking(scores)}.")
            if scores["not_understood"]:
                notes.append(f"- {label(result)}: no scores of {listed(scores['not_understood'], LISTED)}.")
        said = (
            "From -100 to 100, with 95 % bootstrap intervals over items; recognized in per cent, with Wilson's. The "
            f"average is that of positive and negative. {comparable(results, JUDGE_PROMPT.hash)}"
        )
        return [*table(["model", "judge", *_COLUMNS], rows), "", said, "", *notes]

    def check_scores(self, value: Any, where: str) -> None:
        """See [`Benchmark`]."""
        _SCORES(value, where)
        means = [value[kind]["mean"] for kind in ("positive", "negative")]
        average, expected = value["average"]["mean"], None if None in means else sum(means) / 2
        if (average is None) != (expected is None) or abs((average or 0) - (expected or 0)) > 1e-9:
            raise checks.WrongValueError(f"{where}.average.mean is {short(average)}: expected {short(expected)}")


# --- files -----------------------------------------------------------------------------------------------------------


def _published(source: Path) -> dict[str, list[Any]] | None:
    """Return the questions of the published form, annotation's id -> list; `None` for a file in another form."""
    try:
        value = parse_json(read_text(source, BenchError)) if source.suffix == ".json" else None
    except JsonError:  # one item per line, or a file that the reader of items refuses
        return None
    if isinstance(value, dict) and "annotations" in value:
        raise BenchError(f"{source} has the annotations: give the file with the questions, such as qa.json beside it")
    published = isinstance(value, dict) and value and all(isinstance(questions, list) for questions in value.values())
    return value if published else None


def _joined(source: Path, questions: Mapping[str, list[Any]]) -> list[tuple[str, Any]]:
    """Return the items, joined from the published files."""
    coco, names = (read_json(source.parent / name, BenchError) for name in _FILES)
    if not isinstance(coco, dict) or not isinstance(names, dict):
        raise BenchError(f"{source.parent} needs JSON objects in {' and '.join(_FILES)}")
    images = _by_id(coco, "images", source.parent / _FILES[0])
    objects = _by_id(coco, "annotations", source.parent / _FILES[0])
    values: list[tuple[str, Any]] = []
    for key, asked in questions.items():
        place = f"{source}, {key!r}"
        annotation, name = objects.get(key), names.get(key)
        image = images.get(str(annotation.get("image_id"))) if annotation else None
        if annotation is None or image is None or not isinstance(image.get("file_name"), str):
            values.append(
                (place, BenchError(f"{place}: {_FILES[0]} has no annotation with that id, or not its image"))
            )
        elif not isinstance(name, str) or not name.strip():
            values.append((place, BenchError(f"{place}: {_FILES[1]} says {short(name)}: expected the object's class")))
        else:
            shown = {
                "image": f"images/{image['file_name']}",
                "height": image.get("height"),
                "width": image.get("width"),
            }
            value = {"id": key, **shown, "annotation": [{"segmentation": annotation.get("segmentation")}]}
            values.append((place, {**value, "questions": [_recognition(name), *asked]}))
    for key in objects:
        if key not in questions:
            place = f"{source.parent / _FILES[0]}, annotation {key}"
            values.append((place, LeftOutError(f"{place}: there are no questions about it in {source.name}")))
    return values


def _by_id(coco: Mapping[str, Any], key: str, path: Path) -> dict[str, dict[str, Any]]:
    found = coco.get(key)
    if not isinstance(found, list) or not all(isinstance(one, dict) and "id" in one for one in found):
        raise BenchError(f"{path} has {short(found)} under {key!r}: expected COCO's list of objects with ids")
    by_id = {str(one["id"]): one for one in found}
    if len(by_id) < len(found):
        raise BenchError(f"{path} has an id twice under {key!r}: expected ids of their own")
    return by_id


def _recognition(name: str) -> dict[str, Any]:
    question = f"Could the description be one of this, or of something of the same kind: {name.strip()}?"
    return {"kind": "recognition", "question": question, "choices": [["Yes", "correct"], ["No", "incorrect"]]}


def _question(value: Any, common: Mapping[str, Any]) -> JudgeQuestion:
    """Return a question, given in either form."""
    where = common["place"]
    if not isinstance(value, Mapping):
        raise BenchError(f"{where} is {short(value)}: expected an object")
    kind = value.get("kind", value.get("type"))
    if kind not in KINDS:
        raise BenchError(f"{where} is of the kind {short(kind)}: expected one of {', '.join(KINDS)}")
    choices = value.get("choices")
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(_LETTERS):
        raise BenchError(f"{where} has the 'choices' {short(choices)}: expected a list of at least two")
    pairs = [_choice(choice, kind == "recognition", where) for choice in choices]
    options = [f"({letter}) {text}" for letter, (text, _) in zip(_LETTERS, pairs, strict=False)]
    return JudgeQuestion(kind, text_of(value, "question", common), options, [worth for _, worth in pairs])


def _choice(value: Any, recognition: bool, where: str) -> tuple[str, float]:
    pair = (value.get("text"), value.get("score")) if isinstance(value, Mapping) else value
    text, worth = pair if isinstance(pair, (list, tuple)) and len(pair) == 2 else (None, None)
    worth = _WORTH.get(worth) if recognition and isinstance(worth, str) else worth
    in_words = isinstance(text, str) and text.strip() != ""
    if in_words and isinstance(worth, (int, float)) and not isinstance(worth, bool) and -1 <= worth <= 1:
        return str(text).strip(), float(worth)
    raise BenchError(
        f"{where} has the choice {short(value)}: expected a text and its score from -1 to 1, as [text, score] or "
        '{"text": ..., "score": ...}'
    )


# --- scores ----------------------------------------------------------------------------------------------------------


def _row(item: DetailItem, said: str | None, reply: str | None) -> dict[str, Any]:
    """Return the scores of an item."""
    replies = None if said is None else _replies(reply, len(item.questions))
    row: dict[str, Any] = dict.fromkeys(("recognized", "positive", "negative"))
    row |= {"id": item.id, "description": said, "replies": replies, "worth": []}
    if replies is None:
        return row
    row["worth"] = [question.read(one) for question, one in zip(item.questions, replies, strict=True)]
    worths = {kind: [w for q, w in zip(item.questions, row["worth"], strict=True) if q.kind == kind] for kind in KINDS}
    most = 1.0
    if worths["recognition"]:
        (found,) = worths["recognition"]
        if found is None:
            return row
        row["recognized"] = found > 0
        most = 1.0 if found > 0 else 0.0
    for kind in ("positive", "negative"):
        if worths[kind]:
            row[kind] = sum(min(worth or 0.0, most) for worth in worths[kind]) / len(worths[kind])
    return row


def _replies(reply: str | None, count: int) -> list[str] | None:
    """Return the replies to an item's questions from the text that a [`ChatJudge`] keeps."""
    if reply is None or count == 1:
        return None if reply is None else [reply]
    try:
        replies = json.loads(reply)
    except (ValueError, RecursionError):
        replies = None
    return replies if isinstance(replies, list) and [type(one) for one in replies] == [str] * count else [""] * count


def _mean(values: Sequence[float | None]) -> dict[str, Any]:
    found = [value for value in values if value is not None]
    return {"mean": sum(found) / len(found) if found else None, "interval": mean_interval(found)}


def _cells(scores: Mapping[str, Any]) -> list[str]:
    """Return the figures of a result, in the order of `_COLUMNS`."""
    means = [(scores[kind]["mean"], scores[kind]["interval"]) for kind in _COLUMNS[:3]]
    shown = [cell(mean and 100 * mean, ends and [100 * end for end in ends]) for mean, ends in means]
    return [*shown, percent(scores["recognized"])]


def _lacking(scores: Mapping[str, Any]) -> str:
    items = ", ".join(f"items {key.replace('_', ' ')}: {len(scores[key])}" for key in _LACKING)
    return f"replies that name no option: {scores['unclear']} of {scores['questions']}; {items}"
