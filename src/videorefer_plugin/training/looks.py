"""Draws training records: sheets of their frames with the objects, and their conversations."""

import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from videorefer_plugin._files import write_whole
from videorefer_plugin._kinds import INTEGER, PATH, check_kind, instances
from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin._text import listed
from videorefer_plugin.errors import ConfigurationError, RecordError, VideoReferError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.pictures import Line, contact_sheet
from videorefer_plugin.pictures.answers import picture_lines
from videorefer_plugin.pictures.sheets import INK, framed, stack, write
from videorefer_plugin.regions import Region
from videorefer_plugin.training.check import DataReport
from videorefer_plugin.training.record_files import Entry, open_record_file
from videorefer_plugin.training.records import Record, parse_record
from videorefer_plugin.video import Video, load_image, open_video

__all__ = ["look_folder", "make_look_folder", "show_records"]

_FRAMES = 12  # largest number of frames of a record
_WIDTH = 900  # of a picture of words, in pixels


@dataclass(frozen=True)
class _Finding:
    """The reason for showing a record: the kind of fault, its reason and frames; empty for records without faults."""

    kind: str = ""
    reason: str = ""
    frames: tuple[int, ...] = ()


_REPORT = instances(DataReport, hint="check_data makes one.")


def look_folder(path: str | os.PathLike) -> Path:
    """Return the default folder for the pictures of a file of records."""
    check_kind(RecordError, PATH, path=path)
    return Path(f"{os.fspath(path)}.look")


def make_look_folder(path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """Make the folder for the pictures of a file of records, if it does not exist.

    Raises:
        RecordError: there is no such file of records.
        ConfigurationError: the folder cannot be made.
    """
    open_record_file(path)  # first, so that no folder is made for a missing file
    made = look_folder(path) if folder is None else Path(folder)
    check_folder_place(made if folder is None else folder, ConfigurationError)
    with writing(made, ConfigurationError):
        made.mkdir(parents=True, exist_ok=True)
    return made


def show_records(
    report: DataReport,
    count: int,
    folder: str | os.PathLike | None = None,
    media_root: str | os.PathLike | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Draw some records of a checked file: first bad and doubtful ones, then others spread over the file.

    For each record, a picture is written with the frames of its objects, which are filled, outlined and numbered from
    1, and with its conversation beside them. The file name has the record's number in the file, from 1, and the kind
    of fault, such as `record-000012-jump.png`. Parts of a bad record that cannot be drawn are left out.

    Args:
        report ([`DataReport`]): the report of [`check_data`].
        count (`int`): number of records.
        folder (*optional*): folder of the pictures, which is made if needed; by default `FILE.look` beside the file.
        media_root (*optional*): see [`check_data`].
        seed (`int`, *optional*, defaults to 0): seed for the choice of the other records.
        progress (*optional*): called after each picture with the numbers of pictures written and of all pictures.

    Returns:
        `list[Path]`: the pictures, in the order of the file.

    Raises:
        ConfigurationError: the folder cannot be written.
        RecordError: the file was changed after it was checked.
    """
    check_kind(ConfigurationError, _REPORT, report=report)
    check_kind(ConfigurationError, INTEGER, count=count)
    made = make_look_folder(report.path, folder)
    count = min(count, report.records)
    findings = _findings(report, count)
    written: list[Path] = []
    for number, entry, finding in _chosen(report, findings, count, seed):
        picture = _picture(number, entry, report, finding, media_root)
        kind = f"-{finding.kind}" if finding.kind else ""
        path = made / f"record-{number:06}{kind}.png"
        try:
            write_whole(path, functools.partial(picture.save, format="PNG"))
        except OSError as error:
            raise ConfigurationError(f"{str(path)!r} cannot be written ({error}); choose another folder.") from error
        written.append(path)
        report.shown.append(str(path))
        if progress is not None:
            progress(len(written), count)
    return written


def _findings(report: DataReport, count: int) -> dict[int, _Finding]:
    """Return findings by the record's number, alternating between kinds so that all kinds are shown."""
    kinds = [[(bad.number, _Finding("bad", bad.reason)) for bad in report.bad[:count]]]
    for kind, warned in report.warnings.items():
        kinds.append([(one.number, _Finding(kind, one.reason, one.frames)) for one in warned.examples])
    in_turn = (one for ones in itertools.zip_longest(*kinds) for one in ones if one is not None)
    chosen: dict[int, _Finding] = {}
    for number, finding in in_turn:
        if len(chosen) == count:
            break
        chosen.setdefault(number, finding)
    return chosen


def _chosen(
    report: DataReport, findings: dict[int, _Finding], count: int, seed: int
) -> Iterator[tuple[int, Entry, _Finding]]:
    """Return the records to show with their numbers, in the order of the file."""
    rest, others = count - len(findings), report.records - len(findings)
    # The file is divided into parts of equal length, with one record of each.
    chance = np.random.default_rng(seed).random(rest)
    spread = {int((part + chance[part]) * others / rest) for part in range(rest)}
    passed = 0
    for number, entry in enumerate(open_record_file(report.path).scan(), 1):
        if not count:
            return
        finding = findings.get(number)
        if finding is None:
            passed += 1
        if finding is not None or passed - 1 in spread:
            count -= 1
            yield number, entry, finding or _Finding()


# --- one picture -----------------------------------------------------------------------------------------------------


def _picture(
    number: int, entry: Entry, report: DataReport, finding: _Finding, media_root: str | os.PathLike | None
) -> Any:
    title = f"{report.path}, {report.unit} {entry.line}, record {number}"
    found = f"\n{finding.kind}: {finding.reason}" if finding.kind else ""
    try:
        if entry.reason:
            raise RecordError(entry.reason)
        record = parse_record(entry.value, report.path, entry.line, media_root)
    except RecordError:
        return _words(title + found, [])
    title += f", {record.id}" if record.id else ""
    numbers = _numbers(record)
    lines = _lines(record, numbers)
    video, without = _video(record)
    if video is None:
        return _words(title + found + without, lines)
    shown = [numbers.index(number) for number in range(1, max(numbers, default=0) + 1)]
    names = [_name(numbers[place], numbers) for place in shown] if finding.kind else []
    try:
        regions = record.regions()
        return contact_sheet(
            video,
            [_within(regions[place], video) for place in shown],
            most=_FRAMES,
            frames=finding.frames,
            names=names,
            title=title + found,
            lines=lines,
        )
    except VideoReferError as error:
        without = f"\nThe objects cannot be drawn: {error}"
    try:
        return contact_sheet(video, [], most=_FRAMES, title=title + found + without, lines=lines)
    except VideoReferError as error:
        return _words(f"{title}{found}\nThe frames cannot be shown: {error}", lines)


def _video(record: Record) -> tuple[Video | None, str]:
    """Return the video of a record (of one frame for an image), or the reason why there is none."""
    try:
        if record.image:
            return open_video(load_image(record.image)[None]), ""
        return (open_video(record.opened), "") if record.video else (None, "")
    except VideoReferError as error:
        return None, f"\nThe frames cannot be shown: {error}"


def _within(region: Region, video: Video) -> Region:
    """Return the region in those frames that the video has."""
    return region.select([frame for frame in region.frames if frame < video.num_frames])


def _numbers(record: Record) -> list[int]:
    """Return the number of each object in the picture, from 1; an object that comes again keeps its number."""
    different: list[dict[str, Any]] = []
    numbers = []
    for annotation in record.annotation or []:
        if annotation not in different:
            different.append(annotation)
        numbers.append(different.index(annotation) + 1)
    return numbers


def _name(number: int, numbers: Sequence[int]) -> str:
    """Return the name of a picture's object in messages, where a record's objects are numbered from 0."""
    return f"is object {listed([place for place, other in enumerate(numbers) if other == number])}"


def _lines(record: Record, numbers: Sequence[int]) -> list[Line]:
    """Return the conversation, with the numbers of objects in the picture instead of placeholders."""
    left = iter(numbers)
    said: list[tuple[str, tuple[int, ...]]] = []
    for turn in record.conversations:
        text = turn["content"].replace(f"[{REGION_TOKEN}]", REGION_TOKEN)
        text = text.replace(f"<{record.kind}>", " ") if record.visual else text
        parts = text.split(REGION_TOKEN)
        own = [next(left) for _ in parts[1:]]
        text = parts[0] + "".join(f"[{number}]{part}" for number, part in zip(own, parts[1:], strict=True))
        said.append((text.strip(), tuple(number - 1 for number in own)))
    if record.conversations[0]["role"] == "system":
        said.insert(1, ("", ()))
    pairs = zip(said[::2], said[1::2], strict=True)
    return [
        Line(question or f"(the {record.kind} alone)", answer, objects) for (question, objects), (answer, _) in pairs
    ]


def _words(title: str, lines: Sequence[Line]) -> Any:
    """Return a picture of words only."""
    head = write([[(line, INK)] for line in title.splitlines()], _WIDTH)
    return framed(stack([head, picture_lines(lines, _WIDTH)] if lines else [head]))
