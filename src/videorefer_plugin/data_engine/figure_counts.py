"""Counts for pictures of records and benchmark files, in one pass over the records."""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.errors import EngineError, VideoReferError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.training.record_files import open_record_file
from videorefer_plugin.training.records import media_path, parse_record
from videorefer_plugin.video import open_video

__all__ = ["OBJECT_TYPES", "BenchCounts", "RecordFigures", "bench_counts", "is_bench", "record_counts"]

OBJECT_TYPES = (
    "short captions",
    "detailed captions",
    "basic questions",
    "reasoning questions",
    "future predictions",
    "questions with options",
    "other questions",
)
"""The types of turns about objects. The first five are those of VideoRefer-700K."""

_KINDS = {"basic": "basic questions", "reasoning": "reasoning questions", "future": "future predictions"}
_ORIGINS = {"records": "provenance.jsonl", "discarded": "discarded_provenance.jsonl"}
_OPTIONS = re.compile(r"\(A\).*\(B\)", re.DOTALL)
_WORD = re.compile(r"\w+(?:['’-]\w+)*")
_OPENED = 300  # videos that are opened for their duration
_LONGEST = 500  # words, frames or objects; larger numbers count as this


@dataclass
class RecordFigures:
    """The counts of some files of records.

    Attributes:
        name (`str`): name of the files as a group.
        records, bad (`int`): all records, and bad ones, which are not counted any further.
        media (`Counter`): kind of record, such as "video, with objects" -> records.
        types (`Counter`): type, one of `OBJECT_TYPES` -> turns about objects.
        words (`dict[str, Counter]`): type -> words of an answer -> turns.
        frames (`Counter`): frames in which an object is given -> objects.
        objects (`Counter`): different objects of a record -> records with objects.
        nouns (`Counter`): noun of an object -> objects; only for records with their provenance.
        seconds (`list[float]`): durations of some of the videos.
        videos (`int`): number of different videos.
    """

    name: str
    records: int = 0
    bad: int = 0
    media: Counter[str] = field(default_factory=Counter)
    types: Counter[str] = field(default_factory=Counter)
    words: dict[str, Counter[int]] = field(default_factory=dict)
    frames: Counter[int] = field(default_factory=Counter)
    objects: Counter[int] = field(default_factory=Counter)
    nouns: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    videos: int = 0

    def add(self, value: Any, origin: Mapping[str, Any] | None) -> None:
        """Count a record, with its line of the provenance if there is one."""
        self.records += 1
        try:
            record = parse_record(value)
        except VideoReferError:
            self.bad += 1
            return
        annotations = record.annotation or []
        self.media[f"{record.kind}, {'with' if annotations else 'without'} objects"] += 1
        if not annotations:
            return
        different = [one for place, one in enumerate(annotations) if one not in annotations[:place]]
        self.objects[min(len(different), _LONGEST)] += 1
        for annotation in different:
            seen = [one for one in annotation.values() if not _is_absent(one)]
            self.frames[min(len(seen), _LONGEST)] += 1
        origin = origin or {}
        kinds = iter(_entries(origin.get("questions"), str))
        turns = [turn for turn in record.conversations if turn["role"] != "system"]
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            kind = _type(question["content"], next(kinds, ""))
            self.types[kind] += 1
            self.words.setdefault(kind, Counter())[_words(answer["content"])] += 1
        for item in _entries(origin.get("objects"), dict):
            (said,) = _entries([item.get("analyzer")], dict) or [{}]
            noun = str(said.get("text") or "").strip().lower()
            if noun:
                self.nouns[noun] += 1


@dataclass
class BenchCounts:
    """The counts of a benchmark file.

    Attributes:
        name (`str`): name of the file.
        kind (`str`): `"q"` or `"d"`.
        items (`int`): number of items.
        videos (`int`): number of different videos.
        types (`Counter`): type of question -> items.
        words (`Counter`): words of the question or caption -> items.
        options (`Counter`): options of a question -> items.
        objects (`Counter`): objects of an item -> items.
        frames (`Counter`): frames in which an object is given -> objects.
    """

    name: str
    kind: str
    items: int = 0
    videos: int = 0
    types: Counter[str] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    options: Counter[int] = field(default_factory=Counter)
    objects: Counter[int] = field(default_factory=Counter)
    frames: Counter[int] = field(default_factory=Counter)


def is_bench(path: Path) -> bool:
    """Return whether a file holds items of a benchmark, and not training records.

    Raises:
        RecordError: the file cannot be read.
    """
    first = next(open_record_file(path).scan(), None)
    value = first.value if first is not None else None
    return isinstance(value, Mapping) and "conversations" not in value and bool({"Question", "caption"} & value.keys())


def record_counts(name: str, paths: list[Path], media_root: Path | None = None, seed: int = 0) -> RecordFigures:
    """Count the contents of files of records. Media are only needed for durations.

    Args:
        name (`str`): name of the files as a group.
        paths (`list[Path]`): paths of the files. A `provenance.jsonl` beside `records.json` is used, too.
        media_root (`Path`, *optional*): folder that paths of videos are relative to. Default: each file's folder.
        seed (`int`): seed of the choice of videos to open.

    Raises:
        EngineError: there is no usable record.
        RecordError: a file cannot be read.
    """
    counts = RecordFigures(name)
    videos: dict[str, None] = {}
    for path in paths:
        for value, origin in _with_origin(path):
            counts.add(value, origin)
            video = value.get("video") if isinstance(value, Mapping) else None
            if isinstance(video, str) and video.strip():
                videos[media_path(video, "video", str(path), media_root)] = None
    if counts.records == counts.bad:
        raise EngineError(
            f"{name} holds no record that can be used, of {counts.records}; see videorefer train check {paths[0]}."
        )
    counts.videos = len(videos)
    there = [video for video in random.Random(seed).sample(sorted(videos), len(videos)) if os.path.exists(video)]
    for video in there[:_OPENED]:
        try:
            opened = open_video(video)
        except VideoReferError:
            continue  # `train check` reports it
        counts.seconds.append(opened.num_frames / opened.fps)
    return counts


def bench_counts(path: Path) -> BenchCounts:
    """Count the contents of a benchmark file; its videos are not needed.

    Raises:
        BenchError: the file cannot be read.
        EngineError: an item is invalid.
    """
    items = item_values(path)
    asks = any(isinstance(value, Mapping) and "Question" in value for _, value in items)
    counts = BenchCounts(path.name, "q" if asks else "d")
    videos = set()
    for place, value in items:
        annotation = value.get("annotation") if isinstance(value, Mapping) else None
        text = value.get("Question" if counts.kind == "q" else "caption") if isinstance(value, Mapping) else None
        if not isinstance(text, str) or not isinstance(annotation, list):
            needed = "Question" if counts.kind == "q" else "caption"
            raise EngineError(
                f"{place} is not an item of this benchmark; expected one with {needed!r} and 'annotation'."
            )
        counts.items += 1
        videos.add(str(value.get("video")))
        counts.words[_words(text.replace(REGION_TOKEN, " "))] += 1
        counts.objects[min(len(annotation), _LONGEST)] += 1
        for frames in annotation:
            given = frames.values() if isinstance(frames, Mapping) else ()
            counts.frames[min(sum(not _is_absent(one) for one in given), _LONGEST)] += 1
        if counts.kind == "q":
            counts.types[str(value.get("type"))] += 1
            options = value.get("options") or []
            if not isinstance(options, list):
                raise EngineError(f"{place} has options that are not a list, but {short(options)}.")
            counts.options[len(options)] += 1
    counts.videos = len(videos)
    return counts


def _with_origin(path: Path) -> Iterator[tuple[Any, Mapping[str, Any] | None]]:
    """Yield records with their lines of the provenance, as long as these belong to them."""
    beside = path.with_name(_ORIGINS[path.stem]) if path.stem in _ORIGINS else None
    with ExitStack() as stack:
        lines = stack.enter_context(open(beside, encoding="utf-8")) if beside and beside.is_file() else None
        for entry in open_record_file(path).scan():
            try:
                origin = json.loads(lines.readline()) if lines else None
            except (ValueError, RecursionError):
                origin = None
            name = entry.value.get("id") if isinstance(entry.value, Mapping) else None
            fits = isinstance(origin, Mapping) and isinstance(name, str) and origin.get("record") == name
            yield entry.value, origin if fits else None


def _entries(values: Any, kind: type) -> list[Any]:
    """Return the entries of a type in a list; an empty list if the value is not a list."""
    return [value for value in values if isinstance(value, kind)] if isinstance(values, list) else []


def _type(question: str, kind: str) -> str:
    said = question.lower()
    if kind in _KINDS:
        return _KINDS[kind]
    if _OPTIONS.search(question):
        return "questions with options"
    if "descri" in said and "detail" in said:
        return "detailed captions"
    if "descri" in said and ("in brief" in said or "brief" in said or "short" in said):
        return "short captions"
    return "other questions"


def _words(text: str) -> int:
    return min(len(_WORD.findall(text)), _LONGEST)


def _is_absent(one: Any) -> bool:
    return one is None or (isinstance(one, Mapping) and one.get("segmentation", one) is None)
