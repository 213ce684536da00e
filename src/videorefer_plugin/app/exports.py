"""Exports the work of a visitor as files that the commands of this library accept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin.app.talking import CHIP, Asked
from videorefer_plugin.app.things import Thing
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.bench.items import read_descriptions, read_questions
from videorefer_plugin.errors import AppError, VideoReferError
from videorefer_plugin.inputs.questions import without_placeholders
from videorefer_plugin.inputs.wording import QUESTION_TYPES, REGION_TOKEN
from videorefer_plugin.regions import Region
from videorefer_plugin.segment import save_masklets
from videorefer_plugin.training.check import check_data

__all__ = ["BenchForm", "export_code", "export_item", "export_masklets", "export_record"]

_PLACEHOLDERS = ("<video>", "<image>", REGION_TOKEN)


@dataclass(frozen=True)
class BenchForm:
    """A visitor's entries for an item of a benchmark.

    Attributes:
        kind (`str`): `"d"` for a description, `"q"` for a question.
        caption (`str`): a true description of the selected object.
        question (`str`): the typed question, with `<region1>` for object 1.
        options (`tuple[str, ...]`): the options, without letters.
        right (`int`): number of the right option, from 1.
        type (`str`): one of `QUESTION_TYPES`.
    """

    kind: str
    caption: str = ""
    question: str = ""
    options: tuple[str, ...] = ()
    right: int = 1
    type: str = QUESTION_TYPES[0]


def export_masklets(room: Workspace) -> list[Path]:
    """Export all objects in the form of VideoRefer-700K, with scores and prompts; see [`save_masklets`].

    Raises:
        AppError: there are no objects, or one is visible in no frame.
    """
    path = _place(room) / "masklets.json"
    _require_objects(room)
    video, cutter = room.opened, room.tools.segmenter
    backends = sorted({thing.masklet.backend for thing in room.things if thing.masklet} or {cutter.name})
    settings = cutter.settings if backends == [cutter.name] else {}
    save_masklets(
        path,
        [
            thing.as_masklet(video.height, video.width, " and ".join(backends), settings, room.title)
            for thing in room.things
        ],
    )
    return [path]


def export_record(room: Workspace) -> list[Path]:
    """Export the conversation as a record of VideoRefer-700K that `videorefer train check` accepts.

    Raises:
        AppError: no question was asked yet, or the record would not be usable.
    """
    turns = _require_turns(room)
    conversations = []
    for number, asked in enumerate(turns):
        question = asked.question if number else f"<video>\n{asked.question}"
        answer = without_placeholders(asked.answer, _PLACEHOLDERS)
        conversations += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    record = {
        "id": Path(room.title).stem,
        "video": room.title,
        **_size(room),
        "conversations": conversations,
        "annotation": [_annotation(room, region) for asked in turns for region in asked.regions],
    }
    path = _write(room, "record.json", [record])
    report = check_data(path, media_root=_place(room))
    if report.bad:
        raise AppError(f"The conversation cannot be a training record: {report.bad[0].reason}.")
    return [path]


def export_item(room: Workspace, form: BenchForm) -> list[Path]:
    """Export an item of VideoRefer-Bench-D or -Q, which `videorefer bench` reads.

    Raises:
        AppError: an entry is missing, or the item would not be accepted.
    """
    things, value = _description(room, form) if form.kind == "d" else _question(room, form)
    item = {
        "id": f"{Path(room.title).stem}-{form.kind}",
        "video": room.title,
        **value,
        "frame_idx": str(_shared_frame(room, things)),
        "annotation": [_annotation(room, thing.region()) for thing in things],
        **_size(room),
    }
    path = _write(room, f"bench_{form.kind}.json", [item])
    reader = read_descriptions if form.kind == "d" else read_questions
    try:
        for mode in ("single", "multi"):
            reader(path, _place(room), mode)
    except VideoReferError as error:
        path.unlink()
        raise AppError(f"The item would not be accepted: {error}".replace(f"{path.parent}/", "")) from error
    return [path]


def export_code(room: Workspace) -> list[Path]:
    """Export a program that asks the same questions about the same objects, and the objects.

    Raises:
        AppError: nothing was asked yet.
    """
    turns = _require_turns(room)
    regions: list[Region] = []
    asked = []
    for turn in turns:
        places = []
        for region in turn.regions:
            if region not in regions:
                regions.append(region)
            places.append(regions.index(region))
        asked.append(f"    ({turn.question!r}, {places!r}),")
    tools = room.tools
    given = "".join(f", {name}={value!r}" for name, value in tools.loading.items())
    model = "videorefer_plugin.tiny_checkpoint()" if tools.model_name == "embedded" else repr(tools.model_name)
    text = _CODE.format(
        model=model,
        video=room.title,
        given=given,
        asked="\n".join(asked),
        max_new_tokens=tools.limits.max_new_tokens,
    )
    script = _place(room) / "ask.py"
    write_whole(script, text)
    return [script, _write(room, "regions.json", [region.to_json() for region in regions])]


_CODE = '''"""Ask the questions of `videorefer app` again. {video} and regions.json are beside this file."""

import json
from pathlib import Path

import videorefer_plugin
from videorefer_plugin.asking import load_model

HERE = Path(__file__).parent
ASKED = [  # questions, and for each <region> its index in regions.json
{asked}
]

model, processor = load_model({model}{given})
regions = [videorefer_plugin.Region.from_json(one) for one in json.loads((HERE / "regions.json").read_text())]
with videorefer_plugin.VideoSession(model, processor, HERE / {video!r}) as session:
    chat = session.chat()
    for question, objects in ASKED:
        print(chat.ask(question, [regions[number] for number in objects], max_new_tokens={max_new_tokens}))
'''


def _description(room: Workspace, form: BenchForm) -> tuple[list[Thing], dict[str, Any]]:
    if not form.caption.strip():
        raise AppError("There is no description; type a true one of the object.")
    _require_objects(room)
    if room.selected is None:
        raise AppError("No object is selected; choose the one of the list that the description is about.")
    return [room.thing(room.selected)], {"caption": form.caption.strip()}


def _question(room: Workspace, form: BenchForm) -> tuple[list[Thing], dict[str, Any]]:
    asked = room.talk.read(form.question, room.things, room.selected)
    options = [option for option in map(str.strip, form.options) if option]
    if not 2 <= len(options) <= 26:
        raise AppError(f"There are {len(options)} options; type 2 or more, each in a line of its own.")
    if not 1 <= form.right <= len(options):
        raise AppError(f"The right option is {form.right}, but there are {len(options)} options.")
    lettered = [f"({chr(ord('A') + place)}) {option}" for place, option in enumerate(options)]
    value = {
        "Question": CHIP.sub(f"[{REGION_TOKEN}]", form.question.strip()),
        "options": lettered,
        "Answer": lettered[form.right - 1],
        "type": form.type,
    }
    return [room.thing(number) for number in asked.numbers], value


def _shared_frame(room: Workspace, things: Sequence[Thing]) -> int:
    """Return a frame in which all objects are visible, preferably the current one."""
    if not things:
        raise AppError("The question is about no object; put one into it, such as <region1>.")
    shared = set.intersection(*(set(thing.region().present) for thing in things))
    if not shared:
        raise AppError("In no frame are all objects of the question seen; follow them through the video first.")
    return room.frame if room.frame in shared else min(shared)


def _annotation(room: Workspace, region: Region) -> dict[str, Any]:
    return region.to_annotation(room.opened.height, room.opened.width)


def _size(room: Workspace) -> dict[str, int]:
    return {"height": room.opened.height, "width": room.opened.width}


def _place(room: Workspace) -> Path:
    room.opened  # noqa: B018  raises where there is none
    assert room.place is not None
    return room.place


def _require_objects(room: Workspace) -> None:
    if not room.things:
        raise AppError("There is no object yet; click on one first.")


def _require_turns(room: Workspace) -> list[Asked]:
    _place(room)
    turns = [asked for asked in room.talk.turns if asked.answer]
    if not turns:
        raise AppError("Nothing was asked and answered yet; ask something first.")
    return turns


def _write(room: Workspace, name: str, value: Any) -> Path:
    path = _place(room) / name
    write_whole(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")
    return path
