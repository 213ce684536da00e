"""Reading of the items of a benchmark in the published format.

```json
{"id": 0, "video": "DAVIS/JPEGImages/480p/boat", "frame_idx": "57",
 "annotation": [{"0": {"segmentation": {...}}, "57": {"segmentation": {...}}}]}
```

`video` is a file or a folder of frames; an item about a picture has an `image` instead. `annotation` has one entry for
each `<region>`, in the form of VideoRefer-700K or the JSON form of a region. Further keys depend on the benchmark; see
`bench.benchmarks`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin._text import listed, short
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.errors import BenchError, RegionError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Region, frame_of
from videorefer_plugin.training.records import MAX_SIDE, Record

__all__ = ["MODES", "ON_BAD_ITEM", "Item", "LeftOutError", "Reading", "place_of", "read_items", "text_of"]

MODES = ("single", "multi")
ON_BAD_ITEM = ("error", "skip")
_LISTED = 5  # problems shown in one message


@dataclass(frozen=True)
class Item:
    """One item of a benchmark.

    Attributes:
        id (`str`): its name in answer files: the `id` in the file if all items have different ones, otherwise the
            position in the file, from 0.
        video (`Path`): video file, folder of frames, or picture.
        annotation (`list[dict]`): for each object, frame (a string of digits) -> `{"segmentation": ...}`, or the JSON
            form of a region.
        frame (`int`, *optional*): frame whose shapes single-frame mode uses.
        height, width (`int`, *optional*): size of the frames that polygons were drawn on. Default: the video's.
        place (`str`): file and line, for messages.
        kind (`str`): `"video"`, or `"image"` for a picture.
    """

    id: str
    video: Path
    annotation: list[dict[str, Any]]
    frame: int | None = None
    height: int | None = None
    width: int | None = None
    place: str = ""
    kind: str = "video"

    @property
    def prompt(self) -> str:
        """The prompt, with a `<region>` for each object."""
        raise NotImplementedError

    def regions(self, mode: str) -> list[Region]:
        """Return the objects of the item.

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


ItemT = TypeVar("ItemT", bound=Item)


class LeftOutError(BenchError):
    """An entry of a file that is not an item of the benchmark, and no error. Results name it among those left out."""


@dataclass(frozen=True)
class Reading(Generic[ItemT]):
    """The items of a benchmark's file.

    Attributes:
        items (`list`): usable items.
        skipped (`dict[str, str]`): file and line of each other item -> why it cannot be used.
        others (`list[str]`): ids of the other items.
    """

    items: list[ItemT]
    skipped: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


def read_items(
    path: str | os.PathLike,
    media_root: str | os.PathLike | None,
    mode: str,
    make: Callable[[Mapping[str, Any], dict[str, Any]], ItemT],
    on_bad_item: str = "error",
    values_of: Callable[[Path], list[tuple[str, Any]]] | None = None,
) -> Reading[ItemT]:
    """Read the items of a file.

    Args:
        path: JSON list, JSON lines, or Parquet.
        media_root: folder that `video` is relative to. Default: the file's folder.
        mode (`str`): `"single"` or `"multi"`. The requirements of the mode are checked, too.
        make: function from an item's values and its common fields to the item.
        on_bad_item (`str`): `"error"`, or `"skip"` to leave out items that cannot be used.
        values_of: function from the file to locations and values, from which items are made; a value may be an error
            that says why there is no item. Default: the file's own values.

    Raises:
        BenchError: the file cannot be read, some items cannot be used (the message lists all of them), or none can.
    """
    for name, value, known in (("mode", mode, MODES), ("on_bad_item", on_bad_item, ON_BAD_ITEM)):
        if value not in known:
            raise BenchError(f"{name} is {value!r}: expected {' or '.join(known)}")
    check_kind(BenchError, PATH, path=path)
    check_kind(BenchError, PATH, optional=True, media_root=media_root)
    source = Path(path)
    root = Path(media_root) if media_root is not None else source.parent
    values = item_values(source, keep_bad=True) if values_of is None else values_of(source)
    if not values:
        raise BenchError(f"{source} holds no items")
    names = [str(value["id"]) for _, value in values if isinstance(value, Mapping) and _names(value.get("id"))]
    own = len(set(names)) == sum(not isinstance(value, BenchError) for _, value in values)
    items: list[ItemT] = []
    problems: dict[str, str] = {}
    left_out: dict[str, str] = {}
    others: list[str] = []
    for number, (place, value) in enumerate(values):
        name = str(value["id"]) if own and isinstance(value, Mapping) else str(number)
        try:
            if isinstance(value, BenchError):
                raise value
            items.append(_item(value, name, root, place, mode, make))
        except BenchError as error:
            where = f"{place}, item {name!r}" if place in problems or place in left_out else place
            (left_out if isinstance(error, LeftOutError) else problems)[where] = str(error)
            others.append(name)
    if not items and not problems:
        raise BenchError(f"{source} holds no items, but {len(left_out)} other(s): {next(iter(left_out.values()))}")
    if problems and (on_bad_item == "error" or not items):
        shown = "\n".join([*problems.values()][:_LISTED]) + (
            f"\n... and {len(problems) - _LISTED} more" * (len(problems) > _LISTED)
        )
        raise BenchError(f"{len(problems)} of {len(values)} item(s) of {source} cannot be used:\n{shown}")
    return Reading(items, {**left_out, **problems}, others)


def _item(
    value: Any,
    name: str,
    root: Path,
    place: str,
    mode: str,
    make: Callable[[Mapping[str, Any], dict[str, Any]], ItemT],
) -> ItemT:
    item = make(value, _common(value, name, root, place))
    if item.prompt.count(REGION_TOKEN) != len(item.annotation):
        raise BenchError(
            f"{place}: item {name!r} asks about {item.prompt.count(REGION_TOKEN)} {REGION_TOKEN}, but has "
            f"{len(item.annotation)} annotation(s): give one for each"
        )
    item.regions(mode)
    return item


def _names(given: Any) -> bool:
    """Return whether an item's `id` can be its name."""
    return isinstance(given, (str, int, float)) and not isinstance(given, bool)


def _common(value: Any, name: str, root: Path, place: str) -> dict[str, Any]:
    """Return the common fields of all items."""

    def wrong(reason: str) -> BenchError:
        return BenchError(f"{place}: item {name!r} {reason}")

    if not isinstance(value, Mapping):
        raise BenchError(f"{place}: an item is a JSON object, but this is a {type(value).__name__}")
    if value.get("id") is not None and not _names(value["id"]):
        raise wrong(f"has {short(value['id'])} as its id: expected a text or a number")
    kind = "image" if value.get("video") is None and value.get("image") is not None else "video"
    video = value.get(kind)
    if not isinstance(video, str) or not video:
        raise wrong(f"has no {kind}: expected a path, but its {kind!r} is {short(video)}")
    path = root / video
    if not os.path.exists(path):  # unlike the method of a path, it also takes names that no file can have
        raise wrong(f"needs the {kind} {video!r}, which is not in {root}: see `videorefer bench fetch`")
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
        "annotation": [_of_picture(frames) if kind == "image" else frames for frames in annotation or []],
        "frame": 0 if frame is None and kind == "image" else frame,
        **{key: None if side is None else int(side) for key, side in sides.items()},
        "place": place,
        "kind": kind,
    }


def _of_picture(frames: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the annotation of an object in a picture, which may be a segmentation alone, as in training records."""
    return {"0": frames} if "segmentation" in frames or "counts" in frames else frames


def place_of(common: Mapping[str, Any]) -> str:
    """Return file, line and name of an item, for messages."""
    return f"{common['place']}: item {common['id']!r}"


def text_of(value: Mapping[str, Any], key: str, common: Mapping[str, Any]) -> str:
    """Return a text that an item must have.

    Raises:
        BenchError: the text is missing.
    """
    text = value.get(key)
    if not isinstance(text, str) or not text.strip():
        raise BenchError(f"{place_of(common)} needs a text under {key!r}, but has {short(text)}")
    return text
