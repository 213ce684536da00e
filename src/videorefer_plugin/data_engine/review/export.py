"""Export of items that people found right as a file of VideoRefer-Bench-D (paper, section 3.3.1)."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin.bench.items import read_descriptions
from videorefer_plugin.data_engine.review.filling import Checked
from videorefer_plugin.data_engine.review.items import ReviewItem, reviewed_items
from videorefer_plugin.data_engine.review.sheet import text_digest
from videorefer_plugin.errors import BenchError, EngineError

__all__ = ["Exported", "export_bench_d"]


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        count (`int`): number of items in the file.
        left_out (`dict[str, str]`): other right items, which the benchmark cannot hold -> reason.
    """

    count: int
    left_out: dict[str, str]


def export_bench_d(folder: Path, checked: Checked, out: Path, media_root: Path | None = None) -> Exported:
    """Write the items that the Reviewer kept and that people found to be right as a file of Bench-D.

    Paths of videos in the file's folder are relative to it; all others are absolute.

    Args:
        folder (`Path`): folder of the run.
        checked ([`Checked`]): results of the check.
        out (`Path`): path of the file, which appears whole or not at all.
        media_root (`Path`, *optional*): folder that paths of the run's videos are relative to. Default: `folder`.

    Returns:
        [`Exported`]: the number of items, and those that were left out because they do not describe a single object of
            a video.

    Raises:
        EngineError: there is no item to export, an item has changed or is missing, a video is missing, or the file
            cannot be written.
        BenchError: the file would not be accepted by the benchmark.
    """
    folder, out = Path(folder), Path(out)
    wanted = {name for name, kept in checked.kept.items() if kept and checked.true[name]}
    if not wanted:
        raise EngineError("No item was kept and found to be right, so there is nothing to export.")
    items = [item for item in reviewed_items(folder, True) if item.id in wanted]
    texts = checked.sample.texts
    missing = sorted(wanted - {item.id for item in items if text_digest(item.text) == texts[item.id]})
    if missing:
        raise EngineError(
            f"The item {missing[0]!r} was checked, but is no longer in {folder}; the records were written again since "
            "then. Draw items again, or export from a copy of the earlier folder."
        )
    root = Path(media_root or folder)
    left_out = {item.id: fault for item in items if (fault := _fault(item))}
    items = [item for item in items if item.id not in left_out]
    if not items:
        name, fault = next(iter(left_out.items()))
        raise EngineError(
            f"None of the {len(left_out)} item(s) that are kept and right can stand in Bench-D; of {name!r}, {fault}."
        )
    values = [_value(item, root, out.absolute().parent) for item in items]
    text = "[\n" + ",\n".join(json.dumps(value, ensure_ascii=False) for value in values) + "\n]\n"

    def write(name: str) -> None:
        Path(name).write_text(text, encoding="utf-8")
        try:
            read_descriptions(name, mode="single")
        except BenchError as error:
            raise BenchError(str(error).replace(name, str(out))) from error

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, write)
    except OSError as error:
        raise EngineError(f"{out} cannot be written ({error.strerror or error}).") from error
    return Exported(len(items), left_out)


def _fault(item: ReviewItem) -> str:
    """Return why Bench-D cannot hold an item; empty if it can."""
    if "video" not in item.record:
        return "it is about an image, and Bench-D is of videos"
    if len(item.record["annotation"]) != 1 or item.provenance.get("questions"):
        return "it is not a description of a single object; expected a record of the product 'detailed'"
    return ""


def _value(item: ReviewItem, root: Path, place: Path) -> dict[str, Any]:
    record = item.record
    path = os.path.abspath(root / record["video"])
    if not os.path.exists(path):
        raise EngineError(
            f"{item.id!r} needs the video {path}, which is not there, so that nothing is exported. Bring it back, or "
            "say where videos lie by now (--media-root)."
        )
    if Path(path).is_relative_to(place):
        path = os.path.relpath(path, place)
    (annotation,) = record["annotation"]
    size: dict[str, Any] = {name: record[name] for name in ("height", "width") if name in record}
    return {
        "id": item.id,
        "video": path,
        "caption": item.text,
        "frame_idx": _frame(item, annotation),
        "annotation": [annotation],
        **size,
    }


def _frame(item: ReviewItem, annotation: dict[str, Any]) -> str:
    """Return the frame for single-frame mode: the one that the region captioner saw, if the record has it."""
    seen = sorted((frame for frame, one in annotation.items() if one.get("segmentation") is not None), key=int)
    (history,) = item.provenance["objects"]
    shown = str((history.get("captioner") or {}).get("frame"))
    return shown if shown in seen else seen[len(seen) // 2]
