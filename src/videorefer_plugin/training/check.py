"""Checks a file of training records before training, and reports its contents."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from videorefer_plugin._kinds import FUNCTION, PATH, check_kind
from videorefer_plugin.errors import ConfigurationError, RecordError, VideoReferError
from videorefer_plugin.regions.json_form import json_kinds
from videorefer_plugin.training.record_files import open_record_file
from videorefer_plugin.training.record_names import record_name
from videorefer_plugin.training.records import (
    KINDS,
    Record,
    check_record,
    read_records,
)
from videorefer_plugin.training.suspicious import Media, Suspicion, numbering_hint, suspicions
from videorefer_plugin.video import load_image, open_video

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["SEGMENTATION_FORMS", "BadRecord", "DataReport", "Doubtful", "Warned", "check_data", "check_media"]

SEGMENTATION_FORMS = ("compressed RLE", "run lengths", "polygons", "null", "missing")
_EXAMPLES = 100  # that are kept of each kind of warning
_EXAMPLES_PRINTED = 3
_FRAMES_DECODED = 16  # of every video in a deep check, as many as the published models take


class BadRecord(NamedTuple):
    """A record that cannot be used.

    Attributes:
        line (`int`): line on which the record begins, or row of a Parquet file, from 1.
        reason (`str`): why.
        number (`int`): number of the record in the file, from 1; a file may have many records on one line.
        id (`str`, *optional*): the record's id in the file, if it has one.
    """

    line: int
    reason: str
    number: int = 0
    id: str | None = None


class Doubtful(NamedTuple):
    """A usable record in which masks and frames do not seem to belong together.

    Attributes:
        line (`int`): line on which the record begins, or row of a Parquet file, from 1.
        reason (`str`): why.
        number (`int`): number of the record in the file, from 1; a file may have many records on one line.
        frames (`tuple[int, ...]`): the frames to look at.
        id (`str`, *optional*): the record's id in the file, if it has one.
    """

    line: int
    reason: str
    number: int = 0
    frames: tuple[int, ...] = ()
    id: str | None = None


@dataclass
class Warned:
    """The warnings of one kind.

    Attributes:
        records (`int`): number of records with such warnings.
        examples ([`Doubtful`] list): the first of these records, at most 100.
    """

    records: int = 0
    examples: list[Doubtful] = field(default_factory=list)


@dataclass
class DataReport:
    """The contents of a file of training records. All counts except `records` and `bad` are of usable records.

    Attributes:
        path (`str`): the file.
        unit (`str`): unit of `BadRecord.line`, `"line"` or `"row"`.
        deep (`bool`): whether media were decoded and masks drawn.
        interrupted (`bool`): whether the check was interrupted, so that the counts are of the records until then.
        records (`int`): all records, bad ones included.
        kinds (`dict[str, int]`): records about a `video`, an `image`, or neither (`text`).
        with_regions, without_regions (`int`): records with and without objects.
        single_frame, multi_frame (`int`): records with objects, by whether an object is visible in several frames.
        turns (`int`): questions with their answers.
        objects (`int`): objects of all records.
        masks (`int`): frames in which an object is visible, summed over all objects.
        segmentations (`dict[str, int]`): annotated frames by how the object's shape is stored.
        unknown_keys (`dict[str, int]`): keys that are ignored, and the number of records that have them.
        bad ([`BadRecord`] list): records that cannot be used.
        warnings (`dict[str, Warned]`): usable records in which masks and frames do not seem to belong together, by the
            kind of suspicion: `size`, `aspect`, `rate`, `jump` or `vanish`.
        shown (`list[str]`): paths of the pictures of records that were written.
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
    warnings: dict[str, Warned] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a `dict` for JSON."""
        warnings = {
            kind: {"records": warned.records, "examples": [example._asdict() for example in warned.examples]}
            for kind, warned in self.warnings.items()
        }
        return {**asdict(self), "bad": [bad._asdict() for bad in self.bad], "warnings": warnings}

    def table(self) -> "RenderableType":
        """Return a rich table of the contents, every bad record, and examples of doubtful records."""
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
        tables = [held]
        if self.bad:
            places = _Places(self.unit, self.bad)
            bad = Table(*places.names, "reason", title=f"{len(self.bad)} bad record(s)")
            for one in self.bad:
                bad.add_row(*places.of(one), Text(one.reason))
            tables.append(bad)
        if self.warnings:
            printed = {kind: warned.examples[:_EXAMPLES_PRINTED] for kind, warned in self.warnings.items()}
            places = _Places(self.unit, [example for examples in printed.values() for example in examples])
            doubtful = Table("warning", "records", *places.names, "for example", title="Masks and frames to look at")
            doubtful.columns[1].justify = "right"
            for kind, examples in printed.items():
                for row, example in enumerate(examples):
                    first = ("", "") if row else (kind, str(self.warnings[kind].records))
                    doubtful.add_row(*first, *places.of(example), Text(example.reason))
            tables.append(doubtful)
        return Group(*tables)

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

    def warn(self, line: int, found: Sequence[Suspicion], name: str | None = None) -> None:
        """Count the suspicions about the usable record that was read last."""
        for kind, reason, frames in found:
            warned = self.warnings.setdefault(kind, Warned())
            warned.records += 1
            if len(warned.examples) < _EXAMPLES:
                warned.examples.append(Doubtful(line, reason, self.records, frames, name))


class _Places:
    """Columns of a table that identify a record: its line, and further columns where the line is not enough."""

    def __init__(self, unit: str, records: Sequence[BadRecord | Doubtful]):
        from rich.table import Column

        self.has_numbers = any(one.number != one.line for one in records)
        self.has_ids = any(one.id is not None for one in records)
        names = [unit, *(["record"] if self.has_numbers else []), *(["id"] if self.has_ids else [])]
        self.names = [Column(name, justify="left" if name == "id" else "right") for name in names]

    def of(self, one: BadRecord | Doubtful) -> list["RenderableType"]:
        """Return the cells of a record."""
        from rich.text import Text

        numbers = [str(one.number)] if self.has_numbers else []
        return [str(one.line), *numbers, *([Text(one.id or "")] if self.has_ids else [])]


def check_data(
    path: str | os.PathLike,
    media_root: str | os.PathLike | None = None,
    deep: bool = False,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Check a file of training records, and warn of records whose masks and frames do not seem to belong together.

    A record with warnings is still usable. Warnings about masks that jump, vanish in single frames, have several sizes
    or seem to be of sampled frames need the records only, so that files of millions of masks are checked quickly. With
    `deep`, records are also compared with the media: masks of other proportions than the frames, and frames beyond the
    end of the video, are errors; masks of another scale, and frames that seem to be counted at another rate, are
    warnings. `suspicious.py` has a table of all warnings.

    Args:
        path (`str` or `os.PathLike`): JSON list, JSON lines or Parquet.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative media paths start from; the file's own
            by default.
        deep (`bool`, *optional*, defaults to `False`):
            Also open every video and image, decode the frames that training would use, and draw every mask.
        progress (*optional*): called after every record with the amount of the file that was read, and the file's
            size.

    Returns:
        [`DataReport`]: the contents of the file. If the check is interrupted (Ctrl-C), the contents until then.

    Raises:
        RecordError: the file as a whole cannot be read, for instance because it is not JSON.
        ConfigurationError: the file is Parquet, and pyarrow is not installed; or `progress` is not a function.
    """
    file = open_record_file(path)
    check_kind(RecordError, PATH, optional=True, media_root=media_root)
    check_kind(ConfigurationError, FUNCTION, optional=True, progress=progress)
    report = DataReport(str(Path(path)), unit=file.unit, deep=deep)
    found: list[Suspicion] = []

    def check(record: Record) -> None:
        if deep:
            found[:] = suspicions(record, check_media(record))
        else:
            check_record(record)
            found[:] = suspicions(record)

    try:
        for entry, record in read_records(file, media_root, check):
            report.records += 1
            if isinstance(record, RecordError):
                report.bad.append(BadRecord(entry.line, str(record), report.records, record_name(entry.value)))
            else:
                report.add(record)
                report.warn(entry.line, found, record.id)
            if progress is not None:
                progress(entry.done, file.total)
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def check_media(record: Record) -> Media | None:
    """Check that a record can be trained on, by decoding its media and drawing its masks.

    Returns:
        [`Media`], *optional*: the properties of its video or image, if it has one.

    Raises:
        RecordError: the record is not usable. The message has the reason only, not the file and line.
    """
    check_record(record)
    if record.visual is None:
        return None
    try:
        regions = record.regions()
        annotated = sorted({frame for region in regions for frame in region.frames})
        if record.kind == "image":
            media = Media(1, *load_image(record.visual).shape[:2])
        else:
            video = open_video(record.opened)
            media = Media(video.num_frames, video.height, video.width, None if video.is_rate_assumed else video.fps)
            if annotated and annotated[-1] >= video.num_frames:
                raise RecordError(
                    f"it has an object in frame {annotated[-1]}, but {record.visual!r} has {video.num_frames} "
                    f"frame(s), numbered from 0{numbering_hint(annotated, media)}"
                )
            wanted = sorted({*annotated, *video.sample(_FRAMES_DECODED)})
            for start in range(0, len(wanted), _FRAMES_DECODED):  # an object may be in very many frames
                video.read(wanted[start : start + _FRAMES_DECODED])
        for number, region in enumerate(regions):
            if not any(bool(np.any(mask)) for _, mask in region.masks(media.height, media.width)):
                raise RecordError(f"object {number} has no pixel in any of its {len(region)} frame(s)")
    except RecordError:
        raise
    except VideoReferError as error:
        raise RecordError(str(error)) from error
    return media


def _form(item: Any) -> str:
    if isinstance(item, Mapping) and "counts" not in item:
        drawn = next((key for key in json_kinds() if item.get(key) is not None), None)
        if drawn != "segmentation":
            return drawn or ("null" if "segmentation" in item else "missing")
        item = item["segmentation"]
    if isinstance(item, Mapping):
        return "run lengths" if isinstance(item.get("counts"), (list, tuple)) else "compressed RLE"
    return "polygons" if item else "null"
