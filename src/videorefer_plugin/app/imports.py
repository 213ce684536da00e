"""Imports files of a visitor: masklets, a training record, or an item of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from videorefer_plugin._json import read_json
from videorefer_plugin.app.talking import Asked, chip
from videorefer_plugin.app.things import Mark, Thing
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.bench.items import Item, read_descriptions, read_questions
from videorefer_plugin.errors import AppError, VideoReferError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Absent, Region
from videorefer_plugin.segment import Masklet, load_masklets
from videorefer_plugin.training.records import parse_record

__all__ = ["Imported", "import_file"]

_EXPECTED = (
    "expected masklets, as this page or videorefer segment writes them, one record in the form of VideoRefer-700K, or "
    "one item of VideoRefer-Bench-D or -Q"
)


class Imported(NamedTuple):
    """The result of importing a file.

    Attributes:
        said: the message to show.
        question: text for the question box; empty for none.
    """

    said: str
    question: str = ""


def import_file(room: Workspace, path: Path) -> Imported:
    """Import objects, and the conversation about them, from a file. They replace those of the page, which `undo`
    restores.

    Raises:
        AppError: the file is of another kind, or of another video.
    """
    room.opened  # noqa: B018  raises where there is none
    if room.is_busy:
        raise AppError("Something is being done already; wait for it, or stop it, and bring the file along then.")
    try:
        value = read_json(path, AppError)
        if isinstance(value, Mapping) and "annotation" in value and "scores" in value:
            return _masklets(room, path)
        if isinstance(value, list) and len(value) != 1:
            raise AppError(f"{path.name} holds {len(value)} entries; {_EXPECTED}.")
        one = value[0] if isinstance(value, list) else value
        if not isinstance(one, Mapping):
            raise AppError(f"{path.name} holds something else; {_EXPECTED}.")
        if "conversations" in one:
            return _record(room, one)
        if "Question" in one or "caption" in one:
            return _item(room, one)
        raise AppError(f"{path.name} holds something else; {_EXPECTED}.")
    except VideoReferError as error:
        said = str(error).replace(f"{path.parent}/", "").replace(f"{room.place}/", "")
        raise AppError(said if said.startswith(path.name) else f"{path.name} cannot be used here: {said}") from error


def _masklets(room: Workspace, path: Path) -> Imported:
    things = []
    for number, masklet in enumerate(load_masklets(path), 1):
        _check(room, masklet.region, number)
        marks = {
            frame: Mark(
                masklet.region.shape(frame),
                masklet.scores[frame],
                tuple((float(x), float(y)) for x, y in prompt.points),
                prompt.labels,
                prompt.box,
                None if prompt.mask is None else masklet.region.shape(frame),
            )
            for frame, prompt in masklet.prompts.items()
            if frame in masklet.scores
        }
        things.append(Thing(number, masklet.phrase or "", marks, masklet, marks))
    if not things:
        raise AppError("it holds no objects.")
    room.replace_things(tuple(things))
    named = things[0].masklet.video if things[0].masklet else None
    return Imported(f"{len(things)} object(s) are here.{_other(room, named)}")


def _record(room: Workspace, value: Mapping[str, Any]) -> Imported:
    record = parse_record(value, media_root=room.place)
    if record.video is None:
        raise AppError("it is about no video.")
    regions = record.regions()
    numbers = _take(room, regions, [dict(one) for one in record.annotation or []])
    turns, place = [], 0
    said = [turn for turn in record.conversations if turn["role"] != "system"]
    for question, answer in zip(said[::2], said[1::2], strict=True):
        text = question["content"].replace("<video>", "").strip()
        count = text.count(REGION_TOKEN)
        own = slice(place, place + count)
        turns.append(Asked(text, tuple(numbers[own]), tuple(regions[own]), answer["content"]))
        place += count
    room.begin_anew(turns)
    return Imported(
        f"{len(set(numbers))} object(s) and {len(turns)} question(s) are here.{_other(room, record.video)}"
    )


def _item(room: Workspace, value: Mapping[str, Any]) -> Imported:
    assert room.place is not None
    copy = room.place / "imported.json"
    copy.write_text(json.dumps([{**value, "video": room.title}]), encoding="utf-8")
    items: Sequence[Item] = (read_questions if "Question" in value else read_descriptions)(copy, room.place)
    copy.unlink()
    numbers = _take(room, items[0].regions("multi"), items[0].annotation)
    question = items[0].prompt
    for number in numbers:
        question = question.replace(REGION_TOKEN, chip(number), 1)
    right = value.get("Answer", value.get("caption"))
    return Imported(
        f"The question is ready to be asked. The right answer: {right}{_other(room, value['video'])}", question
    )


def _take(room: Workspace, regions: Sequence[Region], annotation: Sequence[Mapping]) -> list[int]:
    """Make objects of regions, which may be in several questions, and return the number of each."""
    things: list[Thing] = []
    numbers: list[int] = []
    for place, region in enumerate(regions):
        first = annotation.index(annotation[place])
        if first < place:
            numbers.append(numbers[first])
            continue
        _check(room, region, place + 1)
        number = len(things) + 1
        video = room.opened
        scores = {frame: 0.0 if isinstance(region.shape(frame), Absent) else 1.0 for frame in region.frames}
        masklet = Masklet(region, scores, {}, "imported", (video.height, video.width), video=room.title)
        marks: dict[int, Mark] = {}
        things.append(Thing(number, "", marks, masklet, marks))
        numbers.append(number)
    room.replace_things(tuple(things))
    return numbers


def _check(room: Workspace, region: Region, number: int) -> None:
    """Refuse an object whose frames are not in the video."""
    video = room.opened
    if region.frames[-1] >= video.num_frames:
        raise AppError(
            f"object {number} has frame {region.frames[-1]}, and {room.title} has {video.num_frames} frames; open "
            "the video of the object first."
        )
    for frame in region.present:
        region.shape(frame).silhouette(video.height, video.width)


def _other(room: Workspace, named: Any) -> str:
    if not named:
        return ""
    name = Path(str(named)).name
    return "" if name == room.title else f" The file is about {name}, and {room.title} is open."
