"""Captions of people: those of HC-STVG, or of your own boxes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from videorefer_plugin._text import short
from videorefer_plugin.bench import checks, paper
from videorefer_plugin.bench.benchmarks.base import Benchmark, Layout, Task
from videorefer_plugin.bench.captions import METRICS, score_captions
from videorefer_plugin.bench.prompts import CAPTION_PROMPT
from videorefer_plugin.bench.reading import Item, place_of
from videorefer_plugin.bench.tables import Result, cell, label, remarks, table
from videorefer_plugin.errors import BenchError, RegionError
from videorefer_plugin.regions import frame_of

__all__ = ["CaptionItem", "Captions", "read_captions"]

_TASK_METRICS = {"BLEU_4": "BLEU@4", "METEOR": "METEOR", "ROUGE_L": "ROUGE-L", "CIDEr": "CIDEr", "SPICE": "SPICE"}
_FARTHEST = 1e9  # pixels; no box reaches that far


@dataclass(frozen=True)
class CaptionItem(Item):
    """A person to caption, of HC-STVG.

    Attributes:
        references (`list[str]`): true captions.
    """

    references: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """The question, which asks for one sentence."""
        return CAPTION_PROMPT


def _of_metrics(value: Any, where: str) -> None:
    checks.map_of(checks.number())(value, where)
    unknown = set(value) - set(METRICS)
    if unknown:
        raise checks.WrongValueError(f"{where} has the unknown metric {short(min(unknown))}")


_SCORES = checks.object_of(
    scores=_of_metrics,
    missing=checks.map_of(checks.text),
    tokenizer=checks.text,
    empty=checks.list_of(checks.text),
)


@dataclass(frozen=True)
class Captions(Benchmark[CaptionItem]):
    """The benchmark of the metrics BLEU@4, METEOR, ROUGE-L, CIDEr and SPICE."""

    name: ClassVar[str] = "captions"
    title: ClassVar[str] = "Captions"
    about: ClassVar[str] = "Captions of HC-STVG, or of your own boxes: BLEU@4, METEOR, ROUGE-L, CIDEr and SPICE."
    mode: ClassVar[str] = "multi"
    max_new_tokens: ClassVar[int] = 128
    max_frames_per_region: ClassVar[int] = 16
    layout: ClassVar[Layout] = Layout(
        "HC-STVG: captions of people",
        "test.json",
        ("videos",),
        "videos",
        "annotations and videos: the HC-STVG data set, from its authors",
    )
    task: ClassVar[Task] = Task("hc_stvg_captions", "VIDEOREFER_CAPTIONS", dict.fromkeys(_TASK_METRICS, True))

    def item(self, value: Mapping[str, Any], common: dict[str, Any]) -> CaptionItem:
        """See [`Benchmark`]."""
        where = place_of(common)
        given = value.get("English") or value.get("caption")
        references = [given] if isinstance(given, str) else given
        if not isinstance(references, list) or not references or not all(isinstance(r, str) and r for r in references):
            raise BenchError(
                f"{where} needs a sentence, or a list of sentences, under 'caption', but has {short(given)}"
            )
        if not common["annotation"]:
            boxes = _hc_stvg_boxes(value, where) if "bbox" in value else value.get("boxes")
            if not isinstance(boxes, Mapping) or not boxes:
                raise BenchError(
                    f"{where} needs 'annotation', 'boxes' (frame -> [x0, y0, x1, y1]), or HC-STVG's 'bbox'"
                )
            common = {**common, "annotation": [_box_annotation(boxes, where)]}
        if common["frame"] is None:
            frames = Item(**common).regions("multi")[0].frames
            common = {**common, "frame": frames[len(frames) // 2]}
        return CaptionItem(**common, references=references)

    def score(
        self, items: Sequence[CaptionItem], answers: Mapping[str, str], replies: Mapping[str, str | None]
    ) -> dict[str, Any]:
        """See [`score_captions`]."""
        return score_captions({item.id: item.references for item in items}, answers).to_dict()

    def figures(self, scores: Mapping[str, Any]) -> dict[str, float | None]:
        """Return the metrics under their names in lmms-eval."""
        return {name: scores["scores"].get(metric) for name, metric in _TASK_METRICS.items()}

    def summary(self, result: Result) -> list[str]:
        """See [`Benchmark`]."""
        scores = result["scores"]
        lines = [f"{metric}: {cell(value)}" for metric, value in scores["scores"].items()]
        return lines + [f"no {metric}: {reason}" for metric, reason in scores["missing"].items()]

    def section(self, results: Sequence[Result]) -> list[str]:
        """See [`Benchmark`]."""
        rows, notes = [], []
        for result in results:
            scores = result["scores"]
            rows.append([label(result), *(cell(scores["scores"].get(metric)) for metric in METRICS)])
            notes += remarks(result)
            notes += [f"- {label(result)}: no {metric}: {reason}." for metric, reason in scores["missing"].items()]
            if scores["tokenizer"] != "PTB":
                notes.append(
                    f"- {label(result)}: cut into words without the PTB tokenizer, which needs Java; not comparable "
                    "with published figures."
                )
            if scores["empty"]:
                notes.append(f"- {label(result)}: {len(scores['empty'])} empty captions, scored as such.")
        for row in paper.CAPTIONS:
            rows.append([f"*paper*: {row.name}", *(cell(row.values[metric]) for metric in METRICS)])
        return [
            *table(["model", *METRICS], rows),
            "",
            "The paper's figures are on the test set of HC-STVG.",
            "",
            *notes,
        ]

    def check_scores(self, value: Any, where: str) -> None:
        """See [`Benchmark`]."""
        _SCORES(value, where)


def read_captions(
    path: str | os.PathLike, media_root: str | os.PathLike | None = None, mode: str = "multi"
) -> list[CaptionItem]:
    """Read captions with boxes: HC-STVG's own file, or records like those of Bench-D.

    HC-STVG maps a video's name to `bbox` (one `[x, y, width, height]` per frame, from `st_frame` on), `img_size` and
    the sentence (`English` or `caption`). Records may have `boxes` (frame -> `[x0, y0, x1, y1]`) instead of
    `annotation`, and a list of several sentences as `caption`.

    Raises:
        BenchError: see [`read_questions`]; or a box has no area.
    """
    return Captions().read(path, media_root, mode).items


def _hc_stvg_boxes(value: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    boxes, first = value["bbox"], value.get("st_frame")
    if not isinstance(boxes, list) or not isinstance(first, int) or isinstance(first, bool) or first < 0:
        raise BenchError(f"{where} needs 'bbox', a list of [x, y, width, height], and 'st_frame', a frame number")
    if not all(isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) for box in boxes):
        raise BenchError(f"{where} has a 'bbox' that is not [x, y, width, height]")
    return {str(first + number): [x, y, x + w, y + h] for number, (x, y, w, h) in enumerate(boxes)}


def _box_annotation(boxes: Mapping[str, Sequence[float]], where: str) -> dict[str, Any]:
    """Return boxes as polygons, which is the form of annotations."""
    annotation = {}
    for frame, box in boxes.items():
        try:
            frame_of(frame)
        except RegionError:
            raise BenchError(f"{where} has a box of {short(frame)}: expected the number of a frame") from None
        if not isinstance(box, Sequence) or len(box) != 4 or not all(map(_is_number, box)):
            raise BenchError(f"{where} has {short(box)} as the box of frame {frame}: expected [x0, y0, x1, y1]")
        x0, y0, x1, y1 = map(float, box)
        if not (x0 < x1 and y0 < y1):
            raise BenchError(f"{where} has a box without area in frame {frame}: {list(box)}")
        annotation[str(frame)] = {"segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]]}
    return annotation


def _is_number(side: Any) -> bool:
    return isinstance(side, (int, float)) and not isinstance(side, bool) and abs(side) < _FARTHEST
