"""Files of training records (the format of VideoRefer-700K) as benchmarks with an item for every answer.

Each answer of a record is one item. Its id is that of the record, from the second answer on with a number, as in
`7#2`. The first question, and each question with a `<region>`, is asked alone. A further question without a region is
asked after the conversation before it, with the true answers. A system message comes before every question. Records of
text alone, and answers to empty questions, are left out, and the result names them.

Items are grouped by the record's `type`, if it has one, and otherwise by the way in which answers are compared:

- `exact`: as text, without regard to case, white space, and punctuation at the end;
- `choice`: by the option that they name, out of those in the question, `(A) ... (B) ...`, as in Bench-Q;
- `judge`: by a chat model that sees question and true answer, and decides whether the answer agrees with it.

`auto` compares by option if the question has options and the true answer names one of them, and otherwise as text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from videorefer_plugin._text import listed
from videorefer_plugin.bench import checks
from videorefer_plugin.bench.benchmarks.base import Benchmark, Task
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.bench.judge_prompts import JudgePrompt
from videorefer_plugin.bench.letters import compatible_letter, option_letters, strict_letter
from videorefer_plugin.bench.reading import Item, LeftOutError, place_of
from videorefer_plugin.bench.said import check_said
from videorefer_plugin.bench.statistics import share_of
from videorefer_plugin.bench.tables import LISTED, Result, judged_by, label, percent, remarks, table
from videorefer_plugin.chat.reasoning import without_reasoning
from videorefer_plugin.errors import BenchError, RecordError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.training.records import Record, parse_record

__all__ = ["RecordItem", "Records"]

COMPARISONS = ("auto", "exact", "choice", "judge")
_OPTION = re.compile(r"(?:^|(?<=\s))(?=\(\s*[A-Za-z]\s*\)\s*\S)")
_INSTRUCTION = re.compile(r"\.?\s*(?:\n.*|(?:please\s+)?(?:answer|reply|respond)\s+with\s.*)", re.I | re.S)
_VERDICTS = ("(A) right", "(B) wrong")


@dataclass(frozen=True)
class RecordItem(Item):
    """A question of a record.

    Attributes:
        asked (`str`): the prompt: the question, for some items after the conversation before it.
        question (`str`): the question alone.
        answer (`str`): the true answer.
        compare (`str`): the comparison of answers with it: `"exact"`, `"choice"` or `"judge"`.
        options (`tuple[str, ...]`): the options of the question, such as `"(A) a red car"`, if answers are compared by
            option.
        type (`str`): group of the item.
    """

    asked: str = ""
    question: str = ""
    answer: str = ""
    compare: str = "exact"
    options: tuple[str, ...] = ()
    type: str = ""

    @property
    def prompt(self) -> str:
        """See [`Item`]."""
        return self.asked

    @property
    def letter(self) -> str | None:
        """The letter of the right option."""
        return strict_letter(self.answer, self.options) if self.options else None


JUDGE_PROMPT = JudgePrompt(
    "You check an answer to a question about a video or a picture that you do not see, by a reference that is true. "
    "The answer is right if it says what the reference says, in whatever words, and nothing that contradicts it. "
    "Otherwise it is wrong. Reply with one of these two, and nothing else:\n" + "\n".join(_VERDICTS),
    "Question:\n{question}\n\nReference:\n{reference}\n\nAnswer to check:\n{answer}",
    lambda item, said: {"question": item.question, "reference": item.answer, "answer": said},
)

_TABLE = checks.object_of(groups=checks.map_of(checks.share), overall=checks.share)
_NAMES = checks.list_of(checks.text)
_LISTS = ("missing", "unclear", "not_judged")


@dataclass(frozen=True)
class Records(Benchmark[RecordItem]):
    """The benchmark of training records; see the module."""

    name: ClassVar[str] = "records"
    title: ClassVar[str] = "Records"
    about: ClassVar[str] = (
        "A file of training records: exact match, multiple choice, or a judge, for every answer in it."
    )
    mode: ClassVar[str] = "multi"
    task: ClassVar[Task] = Task("videorefer_records", "VIDEOREFER_RECORDS", {"accuracy": True})
    judges: ClassVar[tuple[str, ...]] = ("endpoint", "local", "none")
    judge_prompt: ClassVar[JudgePrompt] = JUDGE_PROMPT

    compare: str = field(
        default="auto",
        metadata={"help": "Comparison of answers: auto, exact, choice or judge.", "choices": COMPARISONS},
    )

    def __post_init__(self) -> None:
        if self.compare not in COMPARISONS:
            raise BenchError(f"compare is {self.compare!r}: expected one of {', '.join(COMPARISONS)}")

    def needs_judge(self) -> bool:
        """See [`Benchmark`]."""
        return self.compare == "judge"

    def values(self, source: Path) -> list[tuple[str, Any]]:
        """Return one value for each answer; see [`Benchmark`]."""
        return [one for place, value in item_values(source, keep_bad=True) for one in _questions(value, place)]

    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> RecordItem:
        """See [`Benchmark`]."""
        question, answer = value["question"], value["answer"]
        options = _options(question)
        named = strict_letter(answer, options) if options else None
        compare = self.compare
        if compare == "choice" and named is None:
            raise BenchError(
                f"{place_of(common)} cannot be compared by option: "
                + (
                    f"its answer names none of {', '.join(options)}"
                    if options
                    else "its question has no '(A) ... (B) ...'"
                )
            )
        if compare == "auto":
            compare = "exact" if named is None else "choice"
        if common["frame"] is None:
            common = {**common, "frame": _first_frame(Item(**common))}
        kind = value["type"] if isinstance(value["type"], str) and value["type"].strip() else compare
        return RecordItem(
            **common,
            asked=value["asked"],
            question=question,
            answer=answer,
            compare=compare,
            options=options if compare == "choice" else (),
            type=kind,
        )

    def score(
        self, items: Sequence[RecordItem], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """Score right answers by group.

        A question without an answer counts as wrong. Answers without an understandable judgment do not count; the
        scores list them.
        """
        check_said("answers", answers, (item.id for item in items))
        check_said("replies", replies, (item.id for item in items))
        rows = [_row(item, answers.get(item.id), replies.get(item.id)) for item in items]
        readers = list(dict.fromkeys(reader for row in rows for reader in row["right"]))
        if "strict" in readers:  # both readers of options; items that are compared as text count in either
            readers = ["strict", "compatible"]
        counts = {kind: sum(item.compare == kind for item in items) for kind in COMPARISONS[1:]}
        said = [row for row in rows if row["prediction"] is not None]
        return {
            "items": rows,
            "compared": {kind: count for kind, count in counts.items() if count},
            "tables": {reader: _table(rows, reader) for reader in readers},
            "missing": [row["id"] for row in rows if row["prediction"] is None],
            "unclear": [row["id"] for row in said if row["unclear"]],
            "not_judged": [row["id"] for row in said if row["compare"] == "judge" and row["reply"] is None],
        }

    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the accuracy over items, by the strict reader for options."""
        return {"accuracy": next(iter(scores["tables"].values()))["overall"]["accuracy"]}

    def summary(self, result: Result) -> list[str]:
        """See [`Benchmark`]."""
        lines = []
        for reader, read in result["scores"]["tables"].items():
            lines.append(f"{reader}: {percent(read['overall'])} % over items")
            lines += [f"  {group}: {percent(share)}" for group, share in read["groups"].items()]
        return [*lines, _said(result)]

    def section(self, results: Sequence[Result]) -> list[str]:
        """See [`Benchmark`]."""
        found = [result for result in results if result["scores"] is not None]
        tables = [table for result in found for table in result["scores"]["tables"].values()]
        groups = list(dict.fromkeys(group for one in tables for group in one["groups"]))
        rows, notes = [], []
        for result in results:
            notes += remarks(result)
            if result["scores"] is None:
                notes.append(f"- {label(result)}: {result['answered']} answers, not judged yet.")
                continue
            for reader, read in result["scores"]["tables"].items():
                cells = [percent(read["groups"][group]) if group in read["groups"] else "-" for group in groups]
                rows.append(
                    [label(result), result["settings"]["file"]["name"], reader, *cells, percent(read["overall"])]
                )
            judged = f"{judged_by(result)}; " if result.get("judge") else ""
            notes.append(f"- {label(result)}: {judged}{_said(result)}.")
            for words, key in (
                ("name no option, or judgments not understood", "unclear"),
                ("not judged", "not_judged"),
            ):
                if result["scores"][key]:
                    notes.append(f"- {label(result)}: answers {words}: {listed(result['scores'][key], LISTED)}.")
        said = "Accuracy in per cent with Wilson's 95 % intervals. Figures of different files cannot be compared."
        return [*table(["model", "file", "answers read", *groups, "over items"], rows), "", said, "", *notes]

    def check_scores(self, value: Any, where: str) -> None:
        """See [`Benchmark`]."""
        tables = checks.map_of(_TABLE)
        checks.object_of(compared=checks.map_of(checks.count), tables=tables, **dict.fromkeys(_LISTS, _NAMES))(
            value, where
        )
        if not value["tables"]:
            raise checks.WrongValueError(f"{where}.tables is empty: expected one at least")


# --- questions of records --------------------------------------------------------------------------------------------


def _questions(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the questions of a record, each as the value of an item, or errors that say why there is none."""
    if isinstance(value, BenchError):  # a line that cannot be read
        yield place, value
        return
    try:
        record = parse_record(value)
    except RecordError as error:
        yield place, BenchError(f"{place}: {error}")
        return
    if record.visual is None:
        yield place, LeftOutError(f"{place}: it is about neither video nor image")
        return
    turns = [
        {**turn, "content": turn["content"].replace(f"<{record.kind}>", "").strip()} for turn in record.conversations
    ]
    system = [turns.pop(0)["content"]] if turns[0]["role"] == "system" else []
    shared = {key: value.get(key) for key in (record.kind, "height", "width", "frame_idx", "type")}
    for start in range(0, len(turns), 2):
        where = place if len(turns) == 2 else f"{place}, answer {start // 2 + 1}"
        question, answer = (turn["content"] for turn in turns[start : start + 2])
        if not question:
            yield where, LeftOutError(f"{where}: there are no words in its question")
            continue
        alone = start == 0 or REGION_TOKEN in question
        before = [] if alone else [turn["content"] for turn in turns[:start]]
        named = {} if record.id is None else {"id": record.id if start == 0 else f"{record.id}#{start // 2 + 1}"}
        asked = {"question": question, "answer": answer, "asked": "\n".join([*system, *before, question])}
        yield where, {**shared, **named, **asked, "annotation": _objects(record, turns, start, alone)}


def _objects(record: Record, turns: Sequence[Mapping[str, str]], start: int, alone: bool) -> list[dict[str, Any]]:
    """Return the objects of a question, and of the conversation before it unless the question is asked alone."""
    first = sum(turn["content"].count(REGION_TOKEN) for turn in turns[:start])
    last = first + turns[start]["content"].count(REGION_TOKEN)
    return (record.annotation or [])[first if alone else 0 : last]


def _first_frame(item: Item) -> int | None:
    """Return the first frame in which all objects can be seen, for single-frame mode; any if there are no objects."""
    seen = [set(region.present) for region in item.regions("multi")]
    return min(set.intersection(*seen), default=None) if seen else 0


def _options(question: str) -> tuple[str, ...]:
    """Return the lettered options in a question, from (A) on; none if there are fewer than two."""
    starts = [match.start() for match in _OPTION.finditer(question)]
    parts = [question[start:end].strip() for start, end in pairwise([*starts, None])]
    letters = option_letters(parts) if parts else None
    if letters is None or len(letters) < 2 or letters != [chr(ord("A") + place) for place in range(len(letters))]:
        return ()
    return (*parts[:-1], _INSTRUCTION.sub("", parts[-1]))


# --- scores ----------------------------------------------------------------------------------------------------------


def _row(item: RecordItem, said: str | None, reply: str | None) -> dict[str, Any]:
    """Return whether an answer is right, by each reader; `None` if that is not known."""
    right: dict[str, bool | None]
    unclear = False
    if item.compare == "judge":
        verdict = None if said is None or reply is None else strict_letter(reply, _VERDICTS)
        unclear = reply is not None and verdict is None
        right = {"judge": False if said is None else None if verdict is None else verdict == "A"}
    elif item.compare == "choice":
        letters = [
            None if said is None else read
            for read in (strict_letter(said or "", item.options), compatible_letter(said or ""))
        ]
        unclear = letters[0] is None
        right = {
            reader: letter is not None and letter.upper() == item.letter
            for reader, letter in zip(("strict", "compatible"), letters, strict=True)
        }
    else:
        right = {"exact": said is not None and _normal(without_reasoning(said) or "") == _normal(item.answer)}
    keys = {"id": item.id, "type": item.type, "compare": item.compare, "answer": item.answer}
    return {**keys, "prediction": said, "reply": reply, "right": right, "unclear": unclear}


def _normal(text: str) -> str:
    """Return the form of a text that is compared."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return words.rstrip(" .!?。！？") or words  # an answer of punctuation alone is not empty


def _table(rows: Sequence[Mapping[str, Any]], reader: str) -> dict[str, Any]:
    groups: dict[str, list[bool]] = {}
    for row in rows:
        right = row["right"].get(reader, row["right"].get("exact"))
        if right is not None:
            groups.setdefault(row["type"], []).append(right)
    shares = {group: share_of(groups[group]) for group in sorted(groups)}
    return {"groups": shares, "overall": share_of([right for group in groups.values() for right in group])}


def _said(result: Result) -> str:
    """Return a sentence about the comparisons and the missing answers."""
    scores = result["scores"]
    compared = ", ".join(f"{count} by {kind}" for kind, count in scores["compared"].items())
    return (
        f"compared: {compared or 'none'}; without an answer, and wrong: {len(scores['missing'])}; answers that name "
        f"no option, or judgments not understood: {len(scores['unclear'])}; not judged: {len(scores['not_judged'])}"
    )
