"""Check a file of training records before it is used, and say what it holds."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from videorefer_plugin.errors import RecordError, VideoReferError
from videorefer_plugin.regions.json_form import json_kinds
from videorefer_plugin.training.record_files import open_record_file
from videorefer_plugin.training.records import (
    KINDS,
    Record,
    check_record,
    read_records,
)
from videorefer_plugin.video import load_image, open_video

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SEGMENTATION_FORMS", "BadRecord", "DataReport", "check_data", "check_media"]

SEGMENTATION_FORMS = ("compressed RLE", "run lengths", "polygons", "null", "missing")
_FRAMES_DECODED = 16  # of every video in a deep check, as many as the published models look at


class BadRecord(NamedTuple):
    """A record that cannot be used.

    Attributes:
        line (`int`): line on which it begins, or row of a Parquet file, from 1.
        reason (`str`): why.
    """

    line: int
    reason: str


@dataclass
class DataReport:
    """What a file of training records holds. All counts but `records` and `bad` are of usable records.

    Attributes:
        path (`str`): the file.
        unit (`str`): what `BadRecord.line` counts, `"line"` or `"row"`.
        deep (`bool`): whether media were decoded and masks drawn.
        interrupted (`bool`): whether the check was broken off; then the counts are of what was seen until then.
        records (`int`): all records, bad ones included.
        kinds (`dict[str, int]`): records about a `video`, an `image`, or neither (`text`).
        with_regions, without_regions (`int`): records with and without objects.
        single_frame, multi_frame (`int`): records with objects, by whether some object is seen in several frames.
        turns (`int`): questions with their answers.
        objects (`int`): objects of all records.
        masks (`int`): frames in which an object is seen, over all objects.
        segmentations (`dict[str, int]`): annotated frames by how the object's shape is stored.
        unknown_keys (`dict[str, int]`): keys that are ignored, and in how many records they are.
        bad ([`BadRecord`] list): records that cannot be used.
    """

    path: str
    unit: str = "line"
    deep: bool = False
    interrupted: bool = False
    records: int = 0
    kinds: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    with_regions: int = 0
    without_regions: int = 0
    single_frame: int = 0
    multi_frame: int = 0
    turns: int = 0
    objects: int = 0
    masks: int = 0
    segmentations: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SEGMENTATION_FORMS, 0))
    unknown_keys: dict[str, int] = field(default_factory=dict)
    bad: list[BadRecord] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {**asdict(self), "bad": [bad._asdict() for bad in self.bad]}

    def table(self) -> "RenderableType":
        """What the file holds and every bad record, to be printed by rich."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        held = Table("", "count", title=Text(f"{self.path}{' (interrupted)' if self.interrupted else ''}"))
        held.columns[1].justify = "right"
        rows: dict[str, int] = {"records": self.records, "bad": len(self.bad)}
        rows |= {f"about {'nothing' if kind == 'text' else kind}": count for kind, count in self.kinds.items()}
        rows |= {
            "with regions": self.with_regions,
            "objects in one frame": self.single_frame,
            "objects in several frames": self.multi_frame,
            "without regions": self.without_regions,
            "turns": self.turns,
            "objects": self.objects,
            "masks": self.masks,
        }
        rows |= {f"stored as {form}": count for form, count in self.segmentations.items()}
        rows |= {f"ignored key {key!r}": count for key, count in sorted(self.unknown_keys.items())}
        for name, count in rows.items():
            held.add_row(Text(name), str(count))
        if not self.bad:
            return held
        bad = Table(self.unit, "reason", title=f"{len(self.bad)} bad record(s)")
        bad.columns[0].justify = "right"
        for line, reason in self.bad:
            bad.add_row(str(line), Text(reason))
        return Group(held, bad)

    def add(self, record: Record) -> None:
        """Count a usable record."""
        self.kinds[record.kind] += 1
        self.turns += sum(turn["role"] == "assistant" for turn in record.conversations)
        for key in record.unknown:
            self.unknown_keys[key] = self.unknown_keys.get(key, 0) + 1
        seen = [len(frames) for frames in record.seen]
        self.objects += len(seen)
        self.masks += sum(seen)
        self.with_regions += bool(seen)
        self.without_regions += not seen
        self.single_frame += max(seen, default=0) == 1
        self.multi_frame += max(seen, default=0) > 1
        forms = Counter(_form(item) for frames in record.annotation or [] for item in frames.values())
        for form, count in forms.items():
            self.segmentations[form] = self.segmentations.get(form, 0) + count


def check_data(
    path: str | os.PathLike,
    media_root: str | os.PathLike | None = None,
    deep: bool = False,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Check a file of training records.

    Args:
        path (`str` or `os.PathLike`): JSON list, JSON lines or Parquet.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative media paths start from; the file's own
            by default.
        deep (`bool`, *optional*, defaults to `False`):
            Also open every video and image, decode the frames that training would look at, and draw every mask.
        progress (*optional*): called after every record with how much of the file was read, and its size.

    Returns:
        [`DataReport`]: what the file holds. If the check is interrupted (Ctrl-C), what was found until then.

    Raises:
        RecordError: the file as a whole cannot be read, for instance since it is no JSON.
        ConfigurationError: it is Parquet, and pyarrow is not installed.
    """
    file = open_record_file(path)
    report = DataReport(str(Path(path)), unit=file.unit, deep=deep)
    try:
        for entry, record in read_records(file, media_root, check_media if deep else check_record):
            report.records += 1
            if isinstance(record, RecordError):
                report.bad.append(BadRecord(entry.line, str(record)))
            else:
                report.add(record)
            if progress is not None:
                progress(entry.done, file.total)
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def check_media(record: Record) -> None:
    """Make sure that a record can be trained on: decode its media and draw its masks.

    Raises:
        RecordError: it cannot; the message is the reason alone, without the place.
    """
    check_record(record)
    if record.visual is None:
        return
    try:
        regions = record.regions()
        annotated = sorted({frame for region in regions for frame in region.frames})
        if record.kind == "image":
            height, width = load_image(record.visual).shape[:2]
        else:
            video = open_video(record.opened)
            height, width = video.height, video.width
            if annotated and annotated[-1] >= video.num_frames:
                raise RecordError(
                    f"it has an object in frame {annotated[-1]}, but {record.visual!r} has {video.num_frames} "
                    "frame(s), numbered from 0"
                )
            wanted = sorted({*annotated, *video.sample(_FRAMES_DECODED)})
            for start in range(0, len(wanted), _FRAMES_DECODED):  # not all at once: an object may be in very many
                video.read(wanted[start : start + _FRAMES_DECODED])
        for number, region in enumerate(regions):
            if not any(bool(np.any(mask)) for _, mask in region.masks(height, width)):
                raise RecordError(f"object {number} has no pixel in any of its {len(region)} frame(s)")
    except RecordError:
        raise
    except VideoReferError as error:
        raise RecordError(str(error)) from error


def _form(item: Any) -> str:
    if isinstance(item, Mapping) and "counts" not in item:
        drawn = next((key for key in json_kinds() if item.get(key) is not None), None)
        if drawn != "segmentation":
            return drawn or ("null" if "segmentation" in item else "missing")
        item = item["segmentation"]
    if isinstance(item, Mapping):
        return "run lengths" if isinstance(item.get("counts"), (list, tuple)) else "compressed RLE"
    return "polygons" if item else "null"
