"""The items of VideoRefer-Bench-Q, VideoRefer-Bench-D and HC-STVG, as they are published.

```json
{"id": 0, "video": "DAVIS/JPEGImages/480p/boat", "Question": "What is <object1><region> doing?",
 "options": ["(A) ...", "(B) ..."], "Answer": "(A) ...", "type": "Basic Questions", "frame_idx": "57",
 "annotation": [{"0": {"segmentation": {...}}, "57": {"segmentation": {...}}}]}
```

Items of Bench-D have a `caption`, what is true of the object, in place of the question. `video` is a file or a folder
of frames. `annotation` has one entry for each `<region>`, in the form of VideoRefer-700K or the JSON form of a region.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from videorefer_plugin._text import listed, short
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.bench.letters import gold_letter, option_letters
from videorefer_plugin.bench.prompts import CAPTION_PROMPT, DESCRIPTION_PROMPT, REGION_TOKEN, question_prompt
from videorefer_plugin.errors import BenchError, RegionError
from videorefer_plugin.regions import Region, frame_of
from videorefer_plugin.training.records import MAX_SIDE, Record

__all__ = [
    "MODES",
    "QUESTION_TYPES",
    "CaptionItem",
    "DescriptionItem",
    "Item",
    "QuestionItem",
    "read_captions",
    "read_descriptions",
    "read_questions",
]

MODES = ("single", "multi")
QUESTION_TYPES = (
    "Basic Questions",
    "Sequential Questions",
    "Relationship Questions",
    "Reasoning Questions",
    "Future Predictions",
)
_LISTED = 5  # problems shown in one message
_FARTHEST = 1e9  # pixels; no box reaches that far


@dataclass(frozen=True)
class Item:
    """One item of a benchmark.

    Attributes:
        id (`str`): its name in answer files: the `id` of the file if every item has one of its own, otherwise the
            place in the file, from 0.
        video (`Path`): video file, or folder of frames.
        annotation (`list[dict]`): for each object, frame (a string of digits) -> `{"segmentation": ...}`, or the JSON
            form of a region.
        frame (`int`, *optional*): the frame whose shapes single-frame mode uses.
        height, width (`int`, *optional*): of the frames that polygons were drawn on; the video's if missing.
        place (`str`): file and line, for messages.
    """

    id: str
    video: Path
    annotation: list[dict[str, Any]]
    frame: int | None = None
    height: int | None = None
    width: int | None = None
    place: str = ""

    @property
    def prompt(self) -> str:
        """What the model is asked, with a `<region>` for each object."""
        raise NotImplementedError

    def regions(self, mode: str) -> list[Region]:
        """The objects of the item.

        Args:
            mode (`str`): `"single"` for their shapes in `frame` alone, `"multi"` for those in all annotated frames.

        Raises:
            BenchError: an annotation is malformed, or single-frame mode lacks its frame.
        """
        try:
            video = os.fspath(self.video)
            shapes = Record(self.id, video, None, [], self.annotation, self.height, self.width).shapes
        except RegionError as error:
            raise BenchError(f"{self.place}: item {self.id!r}: {error}") from error
        if mode == "multi":
            return [Region.from_shapes(own) for own in shapes]
        if self.frame is None:
            raise BenchError(
                f"{self.place}: item {self.id!r} has no frame_idx, which single-frame mode needs: add one, or use "
                "multi-frame mode"
            )
        for number, own in enumerate(shapes):
            if self.frame not in own:
                raise BenchError(
                    f"{self.place}: item {self.id!r}: frame_idx is {self.frame}, but object {number} has no "
                    f"annotation of that frame; it has {listed(sorted(own))}"
                )
        return [Region.from_shapes({self.frame: own[self.frame]}) for own in shapes]


@dataclass(frozen=True)
class QuestionItem(Item):
    """A multiple-choice question of Bench-Q.

    Attributes:
        question (`str`): with a `<region>` for each object.
        options (`list[str]`): such as `"(A) a red car"`.
        answer (`str`): the right one, `"(A) a red car"` or its letter.
        type (`str`): one of `QUESTION_TYPES`.
    """

    question: str = ""
    options: list[str] = field(default_factory=list)
    answer: str = ""
    type: str = ""

    @property
    def prompt(self) -> str:
        """The question with its options, as the benchmark asks it."""
        return question_prompt(self.question, self.options)


@dataclass(frozen=True)
class DescriptionItem(Item):
    """An object to describe, of Bench-D.

    Attributes:
        caption (`str`): a true description, which answers are compared with.
        facts (`dict`, *optional*): in the shapes world, what is true of the object, for its judge.
    """

    caption: str = ""
    facts: dict[str, Any] | None = None

    @property
    def prompt(self) -> str:
        """What the benchmark asks of every object."""
        return DESCRIPTION_PROMPT


@dataclass(frozen=True)
class CaptionItem(Item):
    """A person to caption, of HC-STVG.

    Attributes:
        references (`list[str]`): true captions.
    """

    references: list[str] = field(default_factory=list)

    @property
    def prompt(self) -> str:
        """The question for one sentence."""
        return CAPTION_PROMPT


ItemT = TypeVar("ItemT", bound=Item)


def read_questions(
    path: str | os.PathLike, media_root: str | os.PathLike | None = None, mode: str = "multi"
) -> list[QuestionItem]:
    """Read a file of VideoRefer-Bench-Q.

    Args:
        path: JSON list or JSON lines.
        media_root: folder that `video` starts from; that of the file by default.
        mode (`str`): `"single"` or `"multi"`; what the mode needs is checked, too.

    Raises:
        BenchError: items cannot be used, all named together: video missing, type unknown, options without letters,
            no option with the answer's letter, as many `<region>` as annotations lacking, or no usable `frame_idx`.
    """
    return _read(path, media_root, mode, _question)


def read_descriptions(
    path: str | os.PathLike, media_root: str | os.PathLike | None = None, mode: str = "multi"
) -> list[DescriptionItem]:
    """Read a file of VideoRefer-Bench-D; as [`read_questions`]."""
    return _read(path, media_root, mode, _description)


def read_captions(
    path: str | os.PathLike, media_root: str | os.PathLike | None = None, mode: str = "multi"
) -> list[CaptionItem]:
    """Read captions with boxes: HC-STVG's own file, or records like those of Bench-D.

    HC-STVG maps a video's name to `bbox` (one `[x, y, width, height]` a frame, from `st_frame` on), `img_size` and the
    sentence (`English` or `caption`). In records, `boxes` (frame -> `[x0, y0, x1, y1]`) may stand for `annotation`,
    and `caption` may be a list of several sentences.

    Raises:
        BenchError: as in [`read_questions`], or a box has no area.
    """
    return _read(path, media_root, mode, _caption)


def _read(
    path: str | os.PathLike,
    media_root: str | os.PathLike | None,
    mode: str,
    make: Callable[[Mapping[str, Any], dict[str, Any]], ItemT],
) -> list[ItemT]:
    if mode not in MODES:
        raise BenchError(f"mode is {mode!r}: expected {' or '.join(MODES)}")
    source = Path(path)
    root = Path(media_root) if media_root is not None else source.parent
    values = item_values(source)
    if not values:
        raise BenchError(f"{source} holds no items")
    names = [str(value["id"]) for _, value in values if isinstance(value, Mapping) and _names(value.get("id"))]
    own = len(set(names)) == len(values)
    items: list[ItemT] = []
    problems: list[str] = []
    for number, (place, value) in enumerate(values):
        name = str(value["id"]) if own else str(number)
        try:
            item = make(value, _common(value, name, root, place))
            if item.prompt.count(REGION_TOKEN) != len(item.annotation):
                raise BenchError(
                    f"{place}: item {name!r} asks about {item.prompt.count(REGION_TOKEN)} {REGION_TOKEN}, but has "
                    f"{len(item.annotation)} annotation(s): give one for each"
                )
            item.regions(mode)
        except BenchError as error:
            problems.append(str(error))
        else:
            items.append(item)
    if problems:
        shown = "\n".join(problems[:_LISTED]) + (
            f"\n... and {len(problems) - _LISTED} more" * (len(problems) > _LISTED)
        )
        raise BenchError(f"{len(problems)} of {len(values)} item(s) of {source} cannot be used:\n{shown}")
    return items


def _names(given: Any) -> bool:
    """Whether an item's `id` can be its name."""
    return isinstance(given, (str, int, float)) and not isinstance(given, bool)


def _common(value: Any, name: str, root: Path, place: str) -> dict[str, Any]:
    """What all items have in common."""

    def wrong(reason: str) -> BenchError:
        return BenchError(f"{place}: item {name!r} {reason}")

    if not isinstance(value, Mapping):
        raise BenchError(f"{place}: an item is a JSON object, but this is a {type(value).__name__}")
    if value.get("id") is not None and not _names(value["id"]):
        raise wrong(f"has {short(value['id'])} as its id: expected a text or a number")
    video = value.get("video")
    if not isinstance(video, str) or not video:
        raise wrong(f"has no video: expected a path, but its 'video' is {short(video)}")
    path = root / video
    if not os.path.exists(path):  # unlike the method of a path, it also takes names that no file can have
        raise wrong(f"needs the video {video!r}, which is not in {root}: see `videorefer bench fetch`")
    annotation = value.get("annotation")
    if annotation is not None and (
        not isinstance(annotation, list) or not all(isinstance(frames, dict) and frames for frames in annotation)
    ):
        raise wrong("needs an 'annotation' with a dict of frames for each object")
    try:
        frame = None if value.get("frame_idx") is None else frame_of(value["frame_idx"])
    except RegionError:
        raise wrong(f"has frame_idx {short(value['frame_idx'])}: expected the number of a frame") from None
    sides = {key: value.get(key) for key in ("height", "width")}
    for key, side in sides.items():
        whole = isinstance(side, (int, float)) and not isinstance(side, bool) and side // 1 == side
        if side is not None and not (whole and 1 <= side <= MAX_SIDE):
            raise wrong(f"has {key} {short(side)}: expected a whole number of pixels from 1 to {MAX_SIDE}")
    return {
        "id": name,
        "video": path,
        "annotation": annotation or [],
        "frame": frame,
        **{key: None if side is None else int(side) for key, side in sides.items()},
        "place": place,
    }


def _text(value: Mapping[str, Any], key: str, common: dict[str, Any]) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not text.strip():
        raise BenchError(f"{common['place']}: item {common['id']!r} needs a text under {key!r}, but has {short(text)}")
    return text


def _question(value: Mapping[str, Any], common: dict[str, Any]) -> QuestionItem:
    where = f"{common['place']}: item {common['id']!r}"
    options = value.get("options")
    if not isinstance(options, list) or not options or not all(isinstance(option, str) for option in options):
        raise BenchError(f"{where} needs a list of 'options', but has {short(options)}")
    letters = option_letters(options)
    if letters is None:
        raise BenchError(
            f"{where} has options without letters of their own ({short(options)}): write them as '(A) ...'"
        )
    answer = _text(value, "Answer", common)
    if gold_letter(answer) not in letters:
        raise BenchError(
            f"{where} has the answer {answer!r}, whose letter none of its options has ({', '.join(letters)})"
        )
    kind = _text(value, "type", common)
    if kind not in QUESTION_TYPES:
        raise BenchError(f"{where} is of the unknown type {kind!r}: expected one of {', '.join(QUESTION_TYPES)}")
    return QuestionItem(**common, question=_text(value, "Question", common), options=options, answer=answer, type=kind)


def _description(value: Mapping[str, Any], common: dict[str, Any]) -> DescriptionItem:
    facts = value.get("facts")
    if facts is not None and not isinstance(facts, dict):
        raise BenchError(f"{common['place']}: item {common['id']!r} has {short(facts)} as its facts: expected a dict")
    return DescriptionItem(**common, caption=_text(value, "caption", common), facts=facts)


def _caption(value: Mapping[str, Any], common: dict[str, Any]) -> CaptionItem:
    where = f"{common['place']}: item {common['id']!r}"
    given = value.get("English") or value.get("caption")
    references = [given] if isinstance(given, str) else given
    if not isinstance(references, list) or not references or not all(isinstance(r, str) and r for r in references):
        raise BenchError(f"{where} needs a sentence, or a list of sentences, under 'caption', but has {short(given)}")
    if not common["annotation"]:
        boxes = _hc_stvg_boxes(value, where) if "bbox" in value else value.get("boxes")
        if not isinstance(boxes, Mapping) or not boxes:
            raise BenchError(f"{where} needs 'annotation', 'boxes' (frame -> [x0, y0, x1, y1]), or HC-STVG's 'bbox'")
        common = {**common, "annotation": [_box_annotation(boxes, where)]}
    if common["frame"] is None:
        frames = Item(**common).regions("multi")[0].frames
        common = {**common, "frame": frames[len(frames) // 2]}
    return CaptionItem(**common, references=references)


def _hc_stvg_boxes(value: Mapping[str, Any], where: str) -> dict[str, list[float]]:
    boxes, first = value["bbox"], value.get("st_frame")
    if not isinstance(boxes, list) or not isinstance(first, int) or isinstance(first, bool) or first < 0:
        raise BenchError(f"{where} needs 'bbox', a list of [x, y, width, height], and 'st_frame', a frame number")
    if not all(isinstance(box, list) and len(box) == 4 and all(map(_is_number, box)) for box in boxes):
        raise BenchError(f"{where} has a 'bbox' that is not [x, y, width, height]")
    return {str(first + number): [x, y, x + w, y + h] for number, (x, y, w, h) in enumerate(boxes)}


def _box_annotation(boxes: Mapping[str, Sequence[float]], where: str) -> dict[str, Any]:
    """Boxes as polygons, the form that annotations have."""
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


def shown(names: Iterable[str], limit: int = _LISTED) -> str:
    """Some of many names, for messages."""
    names = list(names)
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
