"""A look at training records: sheets of their frames with the objects drawn, and what is said about them."""

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

_FRAMES = 12  # of a record are shown at most
_WIDTH = 900  # of a picture of words, in pixels


@dataclass(frozen=True)
class _Finding:
    """Why a record is looked at: the kind of what was found, why, and in which frames; all empty without."""

    kind: str = ""
    reason: str = ""
    frames: tuple[int, ...] = ()


_REPORT = instances(DataReport, hint="check_data makes one.")


def look_folder(path: str | os.PathLike) -> Path:
    """Where the pictures of a file of records are written, unless another folder is given."""
    check_kind(RecordError, PATH, path=path)
    return Path(f"{os.fspath(path)}.look")


def make_look_folder(path: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path:
    """Make the folder for the pictures of a file of records, if it is not there.

    Raises:
        RecordError: there is no such file.
        ConfigurationError: it cannot be made.
    """
    open_record_file(path)  # leaves no folder beside a file that is not there
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
    """Draw some records of a file that was checked: those that are bad or doubtful first, the rest spread over it.

    Of each one, a picture is written with the frames in which its objects are, filled, outlined and numbered from 1,
    and with its conversation beside them. Its name has the record's number in the file, from 1, and what was found,
    such as `record-000012-jump.png`. What cannot be drawn of a bad record is left out.

    Args:
        report ([`DataReport`]): what [`check_data`] found.
        count (`int`): how many records.
        folder (*optional*): where the pictures go; `FILE.look` beside the file by default. It is made.
        media_root (*optional*): as of [`check_data`].
        seed (`int`, *optional*, defaults to 0): of the choice of the rest.
        progress (*optional*): called after each picture with how many are written, and how many there will be.

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
    """What was found, by the record's number; one of each kind after the other, so that all kinds are seen."""
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
    """The records to show with their numbers, in the order of the file."""
    rest, others = count - len(findings), report.records - len(findings)
    # One of each of as many parts of the same length.
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
    """The video of a record, an image being one of one frame; otherwise why there is none."""
    try:
        if record.image:
            return open_video(load_image(record.image)[None]), ""
        return (open_video(record.opened), "") if record.video else (None, "")
    except VideoReferError as error:
        return None, f"\nThe frames cannot be shown: {error}"


def _within(region: Region, video: Video) -> Region:
    """The region in those frames that the video has."""
    return region.select([frame for frame in region.frames if frame < video.num_frames])


def _numbers(record: Record) -> list[int]:
    """Of each object, its number in the picture, from 1; one that comes again in the conversation keeps its number."""
    different: list[dict[str, Any]] = []
    numbers = []
    for annotation in record.annotation or []:
        if annotation not in different:
            different.append(annotation)
        numbers.append(different.index(annotation) + 1)
    return numbers


def _name(number: int, numbers: Sequence[int]) -> str:
    """What the object of a number is in the record, whose objects are numbered from 0 in messages."""
    return f"is object {listed([place for place, other in enumerate(numbers) if other == number])}"


def _lines(record: Record, numbers: Sequence[int]) -> list[Line]:
    """The conversation, with the objects' numbers in the picture for their placeholders."""
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
    """A picture of words alone."""
    head = write([[(line, INK)] for line in title.splitlines()], _WIDTH)
    return framed(stack([head, picture_lines(lines, _WIDTH)] if lines else [head]))
