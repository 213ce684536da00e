"""Records in the format of VideoRefer-700K: one conversation about a video, an image or nothing, and its objects.

```json
{"id": 7, "video": "clips/dog.mp4", "height": 360, "width": 640,
 "conversations": [{"from": "human", "value": "<video>\\nWhat is <region> doing?"}, {"from": "gpt", "value": "..."}],
 "annotation": [{"12": {"segmentation": {"size": [360, 640], "counts": "..."}}, "40": {"segmentation": null}}]}
```

`annotation` has one entry for each `<region>`: frame of the video -> segmentation, which is a COCO RLE (compressed or
a list of run lengths), a list of polygons, or null if the object is not visible. It may also have other shapes in the
JSON form of a region, such as `{"12": {"box": [10, 20, 60, 80]}, "time:1.5": {"points": [[30, 40]]}}`. The video is
opened to find the frame of a time.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from videorefer_plugin._text import cut, short, text_fault
from videorefer_plugin.errors import RecordError, RegionError, VideoReferError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Absent, Region, Shape, is_place, read_annotation
from videorefer_plugin.training.drawn import Drawn
from videorefer_plugin.training.record_files import Entry, RecordFile
from videorefer_plugin.training.record_names import BadRecordError, record_name, record_place
from videorefer_plugin.video import Video, open_video

__all__ = [
    "KINDS",
    "Record",
    "check_record",
    "frames_with_object",
    "media_path",
    "parse_record",
    "read_entry",
    "read_records",
    "require_media",
]

KINDS = ("video", "image", "text")

_KEYS = frozenset({"id", "video", "image", "conversations", "annotation", "height", "width"})
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_LONGEST_PATH = 500  # characters of it in a message
MAX_SIDE = 1 << 15  # pixels of one side of a frame; the area has the usual bound of frames


@dataclass(frozen=True)
class Record:
    """One training record.

    Attributes:
        id (`str`, *optional*): id of the record, which need not be unique.
        video, image (`str`, *optional*): path of the record's visual; at most one of the two is set.
        conversations (`list[dict[str, str]]`): turns `{"role": ..., "content": ...}`, an optional system message and
            then user and assistant in turn, with the placeholders as in the file.
        annotation (`list[dict]`, *optional*): for each object, frame (a string of digits) -> `{"segmentation": ...}`,
            or the JSON form of a region.
        height, width (`int`, *optional*): size of the frames on which polygons were drawn, in pixels; by default that
            of the video.
        source (`str`): the record's file.
        line (`int`): line on which the record begins, or row of a Parquet file, from 1.
        number (`int`): number of the record in the file, from 1; 0 if it is not known.
        unknown (`tuple[str, ...]`): keys of the record that are ignored.
    """

    id: str | None
    video: str | None
    image: str | None
    conversations: list[dict[str, str]]
    annotation: list[dict[str, Any]] | None = None
    height: int | None = None
    width: int | None = None
    source: str = ""
    line: int = 0
    unknown: tuple[str, ...] = ()
    number: int = 0

    @property
    def kind(self) -> str:
        """Kind of the visual: `"video"`, `"image"`, or `"text"` without one."""
        return "video" if self.video else "image" if self.image else "text"

    @property
    def visual(self) -> str | None:
        """Path of the video or image."""
        return self.video or self.image

    @property
    def opened(self) -> Video | str | None:
        """The video, if it was opened for times of the annotation, so that it is not opened again; else its path."""
        return self.__dict__.get("_opened", self.visual)

    @property
    def place(self) -> str:
        """File and line of the record, for messages."""
        unit = "row" if self.source.endswith(".parquet") else "line"
        return record_place(self.source, unit, self.line, self.number, self.id)

    @property
    def messages(self) -> list[dict[str, str]]:
        """Return the turns, with the visual's placeholder at the start of its message, on a line of its own.

        The original code trains with this position, whatever the position in the file.
        """
        token = f"<{self.kind}>"
        moved = []
        for turn in self.conversations:
            content = turn["content"]
            if self.visual and token in content:
                content = f"{token}\n{content.replace(token, '').strip()}".strip()
            moved.append({"role": turn["role"], "content": content})
        return moved

    def regions(self) -> list[Region]:
        """Make a region of each object in all its frames. For fewer frames, use `shapes`.

        Raises:
            RegionError: an annotation is malformed. The message names the object and frame.
        """
        return [Region.from_shapes(shapes) for shapes in self.shapes]

    @cached_property
    def shapes(self) -> list[dict[int, Shape]]:
        """For each object, shapes by frame, in the annotation's order; read at the first access.

        Masks stay in their stored form; empty masks count as absence.

        Raises:
            RegionError: an annotation is malformed, or the video does not have its times. The message names object and
                frame.
        """
        objects = []
        for number, frames in enumerate(self.annotation or []):
            try:
                given = read_annotation(frames, lambda seconds: self._opened.frame_at(seconds))
                if not given:
                    Region.from_shapes(given)  # raises an error of its own
                drawn = {frame: Drawn(shape, self.height, self.width) for frame, shape in given.items()}
                objects.append({frame: shape.unless_blank() for frame, shape in drawn.items()})
            except VideoReferError as error:
                raise RegionError(f"object {number}: {error}") from error
        return objects

    @cached_property
    def _opened(self) -> Video:
        return open_video(self.video)

    @cached_property
    def seen(self) -> list[tuple[int, ...]]:
        """Return for each object the frames in which it is visible, in order of time.

        Raises:
            RegionError: an annotation is malformed. The message names the object and frame.
        """
        return [
            tuple(sorted(frame for frame, shape in shapes.items() if not isinstance(shape, Absent)))
            for shapes in self.shapes
        ]


def frames_with_object(region: Region) -> tuple[int, ...]:
    """Return the frames in which a region of a record is visible, in order of time."""
    return region.present


# --- reading ---------------------------------------------------------------------------------------------------------


def read_records(
    file: RecordFile,
    media_root: str | os.PathLike | None = None,
    check: Callable[[Record], None] | None = None,
) -> Iterator[tuple[Entry, Record | RecordError]]:
    """Yield every record of a file in order, or the error of an unusable record.

    Args:
        file ([`RecordFile`]): the file.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative paths start from; by default that of the
            file.
        check (*optional*): function that checks a parsed record; [`check_record`] by default.

    Raises:
        RecordError: the file as a whole cannot be read.
    """
    for entry in file.scan():
        yield entry, read_entry(entry, str(file.path), media_root, check)


def read_entry(
    entry: Entry,
    source: str,
    media_root: str | os.PathLike | None = None,
    check: Callable[[Record], None] | None = None,
) -> Record | RecordError:
    """Return the record of an entry of a file, or the error of an unusable one; see [`read_records`]."""
    try:
        if entry.reason:
            raise RecordError(entry.reason)
        record = parse_record(entry.value, source, entry.line, media_root)
        (check or check_record)(record)
    except RecordError as error:
        return BadRecordError(str(error), record_name(entry.value))
    return record


def parse_record(
    value: Any,
    source: str = "",
    line: int = 0,
    media_root: str | os.PathLike | None = None,
    number: int = 0,
) -> Record:
    """Make a record from its JSON value, and check all of it except masks and media.

    Args:
        value (`dict`): the record, as decoded from JSON.
        source (`str`, *optional*): the record's file.
        line (`int`, *optional*): line of that file on which the record begins, from 1.
        media_root (`str` or `os.PathLike`, *optional*): folder that relative paths start from; that of `source` by
            default.
        number (`int`, *optional*): number of the record in the file, from 1.

    Raises:
        RecordError: the record is malformed. The message has the reason only, not the file and line.
    """
    if not isinstance(value, Mapping):
        raise RecordError(f"a record is a JSON object, but this is {short(value)}")
    value = {key: item for key, item in value.items() if item is not None}
    media = {kind: media_path(value[kind], kind, source, media_root) for kind in ("video", "image") if kind in value}
    if len(media) > 1:
        raise RecordError("it has both a video and an image; a record is about one of them")
    kind = next(iter(media), "text")
    conversations = _conversations(value)
    _check_placeholder(conversations, kind)
    annotation = _annotation(value.get("annotation", []), kind)
    marks = sum(turn["content"].count(REGION_TOKEN) for turn in conversations)
    if marks != len(annotation):
        raise RecordError(
            f"its turns have {marks} {REGION_TOKEN}, but its annotation has {len(annotation)} object(s); expected one "
            f"object for each {REGION_TOKEN}, in order"
        )
    if annotation and kind == "text":
        raise RecordError("it has objects, but neither video nor image that they could be in")
    name = str(value["id"]) if "id" in value else None
    _check_text(name or "", "id")
    return Record(
        id=name,
        video=media.get("video"),
        image=media.get("image"),
        conversations=conversations,
        annotation=annotation or None,
        height=_side(value, "height"),
        width=_side(value, "width"),
        source=source,
        line=line,
        unknown=tuple(key for key in value if key not in _KEYS),
        number=number,
    )


def check_record(record: Record) -> None:
    """Check that the media of a record exist, and that its masks are valid.

    A video is opened only if its objects are given at times, to find their frames; nothing is decoded.

    Raises:
        RecordError: a check fails. The message has the reason only, not the file and line.
    """
    if record.visual:
        require_media(record.kind, record.visual)
    try:
        seen = record.seen
    except RegionError as error:
        raise RecordError(str(error)) from error
    for number, (frames, shapes) in enumerate(zip(seen, record.shapes, strict=True)):
        if not frames:
            raise RecordError(
                f"object {number} has no pixel in any of its {len(shapes)} frame(s); expected at least one frame in "
                "which it can be seen"
            )


def require_media(kind: str, path: str) -> None:
    """Check that the video or image of a record exists.

    Raises:
        RecordError: the file does not exist. The message has the reason only, not the file and line.
    """
    if not os.path.exists(path):
        raise RecordError(
            f"its {kind} is not there: {cut(path, _LONGEST_PATH)!r}. Check the path, or say where the media are "
            "(media_root)"
        )


def media_path(name: Any, kind: str, source: str, media_root: str | os.PathLike | None) -> str:
    """Return the path of the video or image that a record names.

    Names may be absolute or lead out of the folder (`../`): training and its check read any path that a record names.
    For records of unknown origin, see `video.sources.inside`.

    Raises:
        RecordError: the name is not a path. The message has the reason only, not the file and line.
    """
    if not isinstance(name, str) or not name.strip():
        raise RecordError(f"its {kind} is {short(name)}; expected a path")
    root = Path(source).parent if media_root is None else Path(media_root)
    return os.path.join(root, name)


def _conversations(value: Mapping[str, Any]) -> list[dict[str, str]]:
    given = value.get("conversations")
    if not isinstance(given, (list, tuple)) or not given:
        raise RecordError(f'it has no conversations ({short(given)}); expected a list of {{"from", "value"}}')
    turns = []
    for number, turn in enumerate(given):
        role = turn.get("from", turn.get("role")) if isinstance(turn, Mapping) else None
        content = turn.get("value", turn.get("content")) if isinstance(turn, Mapping) else None
        if not isinstance(role, str) or role not in _ROLES:
            raise RecordError(f"turn {number} is from {short(role)}; expected 'human' or 'gpt'")
        if not isinstance(content, str) or not content.strip():
            raise RecordError(f"turn {number} says {short(content)}; expected text")
        _check_text(content, f"turn {number}")
        turns.append({"role": _ROLES[role], "content": content})
    spoken = [turn["role"] for turn in turns if turn is not turns[0] or turn["role"] != "system"]
    if not spoken or spoken != ["user", "assistant"] * (len(spoken) // 2):
        raise RecordError(
            f"the turns are from {', '.join(turn['role'] for turn in turns)}; expected user and assistant in turn "
            "('human' and 'gpt'), ending with an answer"
        )
    return turns


def _check_text(text: str, what: str) -> None:
    if fault := text_fault(text):
        raise RecordError(f"its {what} cannot be read: {fault}. Take it out, or write the file again from its source")


def _check_placeholder(turns: list[dict[str, str]], kind: str) -> None:
    for name in ("video", "image"):
        wanted = int(name == kind)
        found = sum(turn["content"].count(f"<{name}>") for turn in turns)
        if found != wanted:
            about = "neither video nor image" if kind == "text" else f"one {kind}"
            raise RecordError(f"its turns have {found} <{name}>, but it is about {about}; expected {wanted}")
        if wanted and not any(f"<{name}>" in turn["content"] for turn in turns if turn["role"] == "user"):
            raise RecordError(f"<{name}> is not in a question; expected it at the start of the first one")


def _annotation(given: Any, kind: str) -> list[dict[str, Any]]:
    if not isinstance(given, (list, tuple)):
        raise RecordError(f"its annotation is {short(given)}; expected a list with one entry for each object")
    objects = []
    for number, frames in enumerate(given):
        if not isinstance(frames, Mapping) or not frames:
            raise RecordError(f"object {number} is {short(frames)}; expected frame -> segmentation")
        if kind == "image" and ("segmentation" in frames or "counts" in frames):
            frames = {"0": frames}
        outer, inner = next(iter(frames.items()))
        # In some released records, the object's frames are one level deeper, inside another frame.
        deeper = len(frames) == 1 and _is_frame(outer) and isinstance(inner, Mapping)
        if deeper and inner and all(map(_is_frame, inner)):
            frames = inner
        strange = [key for key in frames if not _is_frame(key) and not is_place(key)]
        if strange:
            raise RecordError(f"object {number} has frame {strange[0]!r}; expected numbers of frames, from 0")
        if kind == "image" and [key for key in frames if not _is_frame(key) or int(key)]:
            raise RecordError(f"object {number} has frames {short(list(frames))}; an image has only frame 0")
        objects.append(dict(frames))
    return objects


def _is_frame(key: Any) -> bool:
    return isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 19


def _side(value: Mapping[str, Any], name: str) -> int | None:
    side = value.get(name)
    if side is None:
        return None
    if isinstance(side, bool) or not isinstance(side, (int, float)) or side // 1 != side or not 0 < side <= MAX_SIDE:
        raise RecordError(f"its {name} is {short(side)}; expected a number of pixels from 1 to {MAX_SIDE}")
    return int(side)
