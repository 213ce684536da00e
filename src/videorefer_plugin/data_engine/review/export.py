"""A file of VideoRefer-Bench-D from items that people found to be right (paper, section 3.3.1)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin.bench.items import read_descriptions
from videorefer_plugin.data_engine.review.filling import Checked
from videorefer_plugin.data_engine.review.items import ReviewItem, reviewed_items
from videorefer_plugin.errors import EngineError

__all__ = ["export_bench_d"]


def export_bench_d(folder: Path, checked: Checked, out: Path, media_root: Path | None = None) -> int:
    """Write the items that the Reviewer kept and that people found to be right as a file of Bench-D.

    Paths of videos start from the folder of the file where they lie in it, and are whole otherwise.

    Args:
        folder (`Path`): of the run.
        checked ([`Checked`]): what people found.
        out (`Path`): of the file, which appears whole or not at all.
        media_root (`Path`, *optional*): folder that paths of the run's videos start from; `folder` by default.

    Returns:
        `int`: how many items it has.

    Raises:
        EngineError: no item was found to be right, one is no longer there or describes no single object of a video,
            or the file cannot be written.
        BenchError: the file would not be accepted by the benchmark, such as where a video is missing.
    """
    folder, out = Path(folder), Path(out)
    wanted = {name for name, kept in checked.kept.items() if kept and checked.true[name]}
    if not wanted:
        raise EngineError("No item was kept and found to be right, so there is nothing to export.")
    items = [item for item in reviewed_items(folder, True) if item.id in wanted]
    missing = sorted(wanted - {item.id for item in items})
    if missing:
        raise EngineError(
            f"The item {missing[0]!r} was checked, but is no longer in {folder}; the records were written anew since "
            "then. Draw items again, or export from a copy of the folder as it was."
        )
    root = Path(media_root or folder)
    values = [_value(item, root, out.absolute().parent) for item in items]
    text = "[\n" + ",\n".join(json.dumps(value, ensure_ascii=False) for value in values) + "\n]\n"

    def write(name: str) -> None:
        Path(name).write_text(text, encoding="utf-8")
        read_descriptions(name, mode="single")

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(out, write)
    except OSError as error:
        raise EngineError(f"{out} cannot be written ({error.strerror or error}).") from error
    return len(items)


def _value(item: ReviewItem, root: Path, place: Path) -> dict[str, Any]:
    record = item.record
    if "video" not in record or len(record["annotation"]) != 1 or item.provenance.get("questions"):
        raise EngineError(
            f"{item.id!r} is no description of a single object of a video; expected records of the product 'detailed'."
        )
    path = os.path.abspath(root / record["video"])
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
    """The frame for single-frame mode: the one that the region captioner saw, if the record has it."""
    seen = sorted((frame for frame, one in annotation.items() if one.get("segmentation") is not None), key=int)
    (history,) = item.provenance["objects"]
    shown = str((history.get("captioner") or {}).get("frame"))
    return shown if shown in seen else seen[len(seen) // 2]
