"""Making of records from the results of agents: questions, answers, and the frames of objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin.data_engine.items import Drop, ObjectItem, Question, Source, seed_of
from videorefer_plugin.data_engine.state import State
from videorefer_plugin.errors import RecordError, RegionError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.training.records import parse_record
from videorefer_plugin.video import sample_frame_indices
from videorefer_plugin.world.records import DETAILED_PROMPTS, SHORT_PROMPT

__all__ = ["LeftOut", "MadeRecord", "limited_annotation", "make_records"]

_RECORDS = "records"  # stands for the stage if an object is only left out here


@dataclass(frozen=True)
class MadeRecord:
    """A record, with the Reviewer's verdict and its provenance.

    Attributes:
        record (`dict`): record in the format of VideoRefer-700K.
        kept (`bool`): whether the Reviewer kept all objects of the record; true without a Reviewer.
        provenance (`dict`): the source, its license and address, the results of each agent for the objects, and the
            seeds.
    """

    record: dict[str, Any]
    kept: bool
    provenance: dict[str, Any]


@dataclass(frozen=True)
class LeftOut:
    """An object, or a question about objects, that did not become a record.

    Attributes:
        source (`str`): id of the source.
        object (`int`): number of the object in the source.
        noun (`str`): noun of the object; empty if the Analyzer dropped it.
        stage (`str`): stage that dropped it; `"records"` if its results are not fit for a record.
        kind, reason (`str`): see [`Drop`]. The kind `"unfinished"` is for unfinished work of a stopped run.
    """

    source: str
    object: int
    noun: str
    stage: str
    kind: str
    reason: str


def limited_annotation(annotation: Mapping[str, Any], most: int) -> dict[str, Any]:
    """Return at most `most` frames of an object, evenly spread over those in which it is seen.

    If there are fewer, frames in which the object is known to be absent follow, up to the limit.
    """
    seen = sorted((frame for frame, one in annotation.items() if _shows(one)), key=int)
    absent = sorted(annotation.keys() - set(seen), key=int)
    chosen = _spread(seen, most)
    chosen += _spread(absent, most - len(chosen))
    return {frame: annotation[frame] for frame in sorted(chosen, key=int)}


def _shows(one: Any) -> bool:
    return not isinstance(one, Mapping) or one.get("segmentation", one) is not None


def _spread(frames: Sequence[str], most: int) -> list[str]:
    if most < 1 or not frames:
        return []
    return [frames[place] for place in sample_frame_indices(len(frames), num_frames=min(most, len(frames)))]


def make_records(state: State, product: str, folder: Path, most: int, seed: int) -> Iterator[MadeRecord | LeftOut]:
    """Make the records of one source.

    Args:
        state ([`State`]): the source, with the results of agents. A source that failed gives no records.
        product (`str`): one of `recipe.PRODUCTS`.
        folder (`Path`): folder of the records. Paths of videos in it are relative to it; all others are absolute.
        most (`int`): most frames of an object.
        seed (`int`): seed of the run, for the choice among phrasings.
    """
    if state.failed is not None:
        return
    maker = _Maker(state, product, folder, most, seed)
    for item, drop in state.outcomes():
        if drop is not None and not item.is_discarded:
            if item.number not in maker.asked:
                yield _left_out(state.source, item, drop[0], drop[1])
        else:
            yield from maker.of(item)


class _Maker:
    """Makes the records of one source."""

    def __init__(self, state: State, product: str, folder: Path, most: int, seed: int):
        self.state, self.source, self.product, self.most, self.seed = state, state.source, product, most, seed
        self.given = "analyzer" not in state.rows
        # An object without a text of the Refiner can still be part of a question about another object.
        self.objects = {
            item.number: item
            for item, drop in state.outcomes()
            if drop is None or drop[0] == "refiner" or item.is_discarded
        }
        self.path = _path_for(state.source.path, folder)
        self._annotations: dict[int, dict[str, Any]] = {}
        self._judged: dict[int, list[tuple[Question, str]]] = {}
        # Questions of another object may be about this one, too; then it is not left out.
        self.asked = {number for item in self.objects.values() for number in self._asked_about(item)}

    def of(self, item: ObjectItem) -> Iterator[MadeRecord | LeftOut]:
        reason = self._unfinished(item)
        if reason:
            yield self._lost(item, "unfinished", reason)
        elif self.product == "qa":
            yield from self._conversations(item)
        else:
            yield self._caption(item)

    def _unfinished(self, item: ObjectItem) -> str:
        if item.found is None:
            return "It has not been looked for yet."
        # The Refiner may not have seen discarded objects.
        refined = self.product == "short" or item.refined is not None or item.is_discarded
        return "" if refined else "The Refiner has not written about it yet."

    # --- captions

    def _caption(self, item: ObjectItem) -> MadeRecord | LeftOut:
        chance = seed_of(self.seed, self.source.id, item.number, "phrasing")
        if self.product == "detailed":
            prompt = DETAILED_PROMPTS[chance % len(DETAILED_PROMPTS)]
            return self._record(item, [(prompt, _detailed(item))], [item.number], not item.is_discarded)
        if not self.given and (item.noun.role != "subject" or not item.noun.singular):
            kind = "plural" if not item.noun.singular else "not_subject"
            return self._lost(item, kind, "The caption is only reused for a single object that is its subject.")
        text = item.noun.expression if self.given else self.source.caption
        return self._record(item, [(SHORT_PROMPT, text)], [item.number], not item.is_discarded)

    # --- questions

    def _conversations(self, item: ObjectItem) -> Iterator[MadeRecord | LeftOut]:
        """Yield one conversation about kept objects, and one about those that the Reviewer discarded.

        Independent questions are a conversation each.
        """
        rounds: dict[bool, list[Question]] = {True: [], False: []}
        for question, fault in self._questions(item):
            if fault:
                yield self._lost(item, "question", f"{fault} The question is: {question.question}")
            else:
                kept = not any(self.objects[number].is_discarded for number in question.objects)
                rounds[kept].append(question)
        if item.number not in self.asked:
            if item.refined is None:
                yield self._lost(item, "discarded", "The Reviewer has discarded it, and nothing was asked about it.")
            elif not item.refined.questions:
                yield self._lost(item, "no_questions", "The Refiner has asked nothing about it.")
        together = item.refined is None or item.refined.conversation
        for kept, questions in rounds.items():
            groups = [questions] if together else [[question] for question in questions]
            for place, group in enumerate(groups):
                if group:
                    turns = [(question.question, question.answer) for question in group]
                    numbers = [number for question in group for number in question.objects]
                    kinds = [question.kind for question in group]
                    yield self._record(item, turns, numbers, kept, kinds, part="" if together else f"/{place}")

    def _questions(self, item: ObjectItem) -> list[tuple[Question, str]]:
        """Return the Refiner's questions about an object, each with the reason why it is unfit for a record."""
        if item.number not in self._judged:
            asked = item.refined.questions if item.refined is not None and self.product == "qa" else ()
            self._judged[item.number] = [(question, self._fault(item, question)) for question in asked]
        return self._judged[item.number]

    def _asked_about(self, item: ObjectItem) -> Iterator[int]:
        for question, fault in self._questions(item):
            yield from question.objects if not fault else ()

    def _fault(self, item: ObjectItem, question: Question) -> str:
        marks = question.question.count(REGION_TOKEN)
        if marks != len(question.objects):
            return f"A question has {marks} {REGION_TOKEN} for {len(question.objects)} object(s)."
        away = [number for number in question.objects if number not in self.objects]
        if away or any(self.objects[number].found is None for number in question.objects):
            return f"A question is about object {away[0] if away else question.objects[0]}, which was left out."
        # A question that is not a valid record alone would make the whole conversation invalid.
        turns = [(question.question, question.answer)]
        return _record_fault(self._value(item, turns, question.objects, "", asks=True))

    # --- common parts

    def _record(
        self,
        item: ObjectItem,
        turns: Sequence[tuple[str, str]],
        numbers: Sequence[int],
        kept: bool,
        kinds: Sequence[str] = (),
        part: str = "",
    ) -> MadeRecord | LeftOut:
        name = f"{self.source.id}/{item.number}/{self.product}{part}{'' if kept or not kinds else '/discarded'}"
        record = self._value(item, turns, numbers, name, asks=bool(kinds))
        fault = _record_fault(record)
        if fault:
            return self._lost(item, "record", fault)
        return MadeRecord(record, kept, self._provenance(name, numbers, kinds))

    def _value(
        self, item: ObjectItem, turns: Sequence[tuple[str, str]], numbers: Sequence[int], name: str, asks: bool
    ) -> dict[str, Any]:
        """Return the record in the format of its file. With `asks`, the question is not changed."""
        medium = self.source.kind
        conversations = []
        for number, (question, answer) in enumerate(turns):
            question = question if asks else question.replace("in the video", f"in the {medium}")
            head = f"<{medium}>\n" if number == 0 else ""
            conversations.append({"from": "human", "value": f"{head}{question.strip()}"})
            conversations.append({"from": "gpt", "value": answer.strip()})
        record: dict[str, Any] = {
            "id": name,
            medium: self.path,
            "conversations": conversations,
            "annotation": [self._annotation(number) for number in numbers],
        }
        found = item.found
        if found is not None and found.height and found.width:
            record |= {"height": found.height, "width": found.width}
        return record

    def _annotation(self, number: int) -> dict[str, Any]:
        if number not in self._annotations:
            found = self.objects[number].found
            assert found is not None  # only called for objects that were found
            self._annotations[number] = limited_annotation(found.annotation, self.most)
        return self._annotations[number]

    def _provenance(self, name: str, numbers: Sequence[int], kinds: Sequence[str]) -> dict[str, Any]:
        source = self.source
        line: dict[str, Any] = {
            "record": name,
            "source": {
                "id": source.id,
                "kind": source.kind,
                "path": self.path,
                "caption": source.caption,
                "license": source.license,
                "address": source.address,
            },
            "seeds": {"run": self.state.seed, "source": seed_of(self.state.seed, source.id)},
            "objects": [_history(self.objects[number]) for number in dict.fromkeys(numbers)],
        }
        return {**line, "questions": list(kinds)} if kinds else line

    def _lost(self, item: ObjectItem, kind: str, reason: str) -> LeftOut:
        return _left_out(self.source, item, _RECORDS, Drop(kind, reason))


def _record_fault(record: dict[str, Any]) -> str:
    """Return why a value is not a record; empty if it is one."""
    try:
        # Media are not looked for: moved videos do not make the work on them invalid.
        seen = parse_record(record).seen
        if not all(seen):
            raise RecordError("an object of it is seen in no frame")
    except (RecordError, RegionError) as error:
        return f"It would make no record: {error}."
    return ""


def _detailed(item: ObjectItem) -> str:
    """Return the target description; for a discarded object also one that the Refiner has not seen."""
    if item.refined is not None and item.refined.description:
        return item.refined.description
    return item.description.text if item.is_discarded and item.description is not None else ""


def _left_out(source: Source, item: ObjectItem, stage: str, drop: Drop) -> LeftOut:
    return LeftOut(source.id, item.number, item.noun.text, stage, drop.kind, drop.reason)


def _history(item: ObjectItem) -> dict[str, Any]:
    """Return the results of each agent for an object, without its masks, which are in the record."""
    history: dict[str, Any] = {"number": item.number, "analyzer": asdict(item.noun)}
    if item.found is not None:
        found = asdict(item.found)
        scores = found.pop("scores")
        found.pop("annotation")
        mean = round(sum(scores.values()) / len(scores), 4) if scores else None
        history["segmentor"] = {**found, "mean_score": mean}
    made = {
        "annotator": item.description,
        "captioner": item.caption,
        "reviewer": item.verdict,
        "refiner": item.refined,
    }
    return history | {stage: asdict(one) for stage, one in made.items() if one is not None}


def _path_for(path: str, folder: Path) -> str:
    whole, root = os.path.abspath(path), os.path.abspath(folder)
    return os.path.relpath(whole, root) if Path(whole).is_relative_to(root) else whole
