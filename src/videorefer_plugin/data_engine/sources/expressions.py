"""Common parts of layouts with masks and expressions: reading of JSON files, and making of sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_json
from videorefer_plugin._text import listed, short, size_words
from videorefer_plugin.data_engine.items import GivenObject
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut, check_text, make_source
from videorefer_plugin.errors import EngineError, RegionError, VideoError
from videorefer_plugin.regions import Region
from videorefer_plugin.video.animations import looks_like_picture
from videorefer_plugin.video.images import image_size
from videorefer_plugin.video.opening import folder_images
from videorefer_plugin.video.sources import Stored

__all__ = ["Annotation", "Expression", "MetaVideo", "frame_places", "give_objects", "read_meta", "read_object"]

_META = "meta_expressions.json"

Annotation = dict[str, Any]
"""Frame -> {"segmentation": ...}, as in [`GivenObject`]."""


@dataclass(frozen=True)
class Expression:
    """An expression for an object, or several.

    Attributes:
        place (`str`): location of the expression.
        text (`str`): the words.
        value (`dict`): its entry in the file.
    """

    place: str
    text: str
    value: Mapping[str, Any]


@dataclass(frozen=True)
class MetaVideo:
    """A video of a `meta_expressions.json`.

    Attributes:
        name, place (`str`): name and location of the video.
        folder (`Path`): folder of its frames.
        frames (`list[str]`): names of the annotated frames, without a suffix.
        expressions (`list[Expression]`): expressions for its objects.
    """

    name: str
    place: str
    folder: Path
    frames: list[str]
    expressions: list[Expression]


def read_object(path: Path) -> dict[str, Any]:
    """Read the object of a JSON file.

    Raises:
        EngineError: the file cannot be read, or holds another value.
    """
    found = read_json(path, EngineError)
    if not isinstance(found, dict):
        raise EngineError(f"{path} is {short(found)}; expected an object.")
    return found


def read_meta(settings: SourceSettings, given: str) -> tuple[Path, Iterator[MetaVideo]]:
    """Return the folder of a split, and the videos of its `meta_expressions.json`.

    Args:
        settings ([`SourceSettings`]): settings, whose `media_root` may be the folder that holds `JPEGImages`.
        given (`str`): folder of a split, or its file.

    Raises:
        EngineError: the file is missing, or does not have this form.
    """
    path = Path(given)
    if path.is_dir():
        tried = [
            path / "meta_expressions.json",
            path.parent / "meta_expressions" / path.name / "meta_expressions.json",
        ]
        file = next((one for one in tried if one.is_file()), None)
        if file is None:
            raise EngineError(f"{path} has no meta_expressions.json; looked for {listed(tried)}.")
        roots = [path]
    elif path.is_file():
        file, roots = path, [path.parent, path.parent.parent.parent / path.parent.name]
    else:
        raise EngineError(f"{path} is not there; expected the folder of a split with its meta_expressions.json.")
    roots = [Path(settings.media_root)] if settings.media_root is not None else roots
    root = next((one for one in roots if (one / "JPEGImages").is_dir()), None)
    if root is None:
        raise EngineError(f"{listed(roots)} has no folder JPEGImages; say under source.media_root where it is.")
    videos = read_object(file).get("videos")
    if not isinstance(videos, dict) or not videos:
        raise EngineError(f"{file}: 'videos' is {short(videos)}; expected an object with the videos.")
    return root, (_meta_video(root, f"{file}, {short(name)}", name, value) for name, value in videos.items())


def _meta_video(root: Path, place: str, name: str, value: Any) -> MetaVideo:
    frames = value.get("frames") if isinstance(value, dict) else None
    said = value.get("expressions") if isinstance(value, dict) else None
    if not isinstance(frames, list) or not all(isinstance(frame, str) for frame in frames):
        raise EngineError(f"{place}: 'frames' is {short(frames)}; expected a list of their names.")
    if not isinstance(said, dict) or not all(isinstance(one, dict) for one in said.values()):
        raise EngineError(f"{place}: 'expressions' is {short(said)}; expected an object with the expressions.")
    if "/" in name or "\\" in name or name in ("", ".", ".."):
        raise EngineError(f"{place}: the video's name is not the name of a folder.")
    expressions = []
    for key, one in said.items():
        where = f"{place}, expression {short(key)}"
        expressions.append(Expression(where, check_text(one.get("exp"), "the expression", where), one))
    return MetaVideo(name, place, root / "JPEGImages" / name, frames, expressions)


def frame_places(video: MetaVideo) -> dict[str, int] | LeftOut:
    """Return name -> number of each annotated frame, which is its position among the images of the folder."""
    try:
        images = folder_images(video.folder)
    except OSError:
        return LeftOut("missing", video.place, f"there is no folder {video.folder}")
    places = {Path(image).stem: place for place, image in enumerate(images)}
    lacking = [frame for frame in video.frames if frame not in places]
    if lacking:
        return LeftOut("missing", video.place, f"{video.folder} lacks the frames {listed(lacking)}")
    return {frame: places[frame] for frame in video.frames}


def give_objects(
    settings: SourceSettings,
    name: str,
    media: Path,
    place: str,
    objects: Iterable[tuple[Expression, Annotation | LeftOut]],
    **given: Any,
) -> Iterator[Candidate | LeftOut]:
    """Yield the source of a video or an image with its objects, and the expressions that are left out.

    Args:
        settings, name, media, place: see [`make_source`].
        objects: expressions, each with the masks of its object, or the reason why there are none.
        **given: further values of the source.
    """
    kept: dict[tuple[str, int], GivenObject] = {}
    try:
        size = _size_of(media)
    except VideoError as error:
        yield LeftOut("unreadable", place, str(error))
        return
    for expression, annotation in objects:
        reason = _unusable(expression, annotation, size)
        if reason is None and isinstance(annotation, dict):
            # Equal words for the same masks are used once; `id` because equal masks are one object here.
            kept.setdefault((expression.text.casefold(), id(annotation)), GivenObject(expression.text, annotation))
        elif reason is not None:
            yield reason
    if not kept:
        yield LeftOut("no_objects", place, "none of its expressions can be used")
        return
    found = tuple(kept.values())
    sizes = (one for given_object in found for one in _sizes(given_object.annotation))
    drawn_on = (given.get("height"), given.get("width"))
    height, width = next(sizes, drawn_on if None not in drawn_on else size or drawn_on)
    more = {**given, "objects": found, "height": height, "width": width}
    yield Candidate(place, make_source(settings, name, media, more), names=(name,))


def _size_of(media: Path) -> tuple[int, int] | None:
    """Return height and width of an image or of the frames in a folder; `None` for a video, which is not opened."""
    images = folder_images(media) if media.is_dir() else [str(media)] if looks_like_picture(media) else []
    return image_size(Stored(images[0], repr(images[0])), repr(images[0])) if images else None


def _sizes(annotation: Annotation) -> Iterator[tuple[int, int]]:
    """Yield height and width of the masks that have a size."""
    masks = (one["segmentation"] for one in annotation.values())
    return (tuple(mask["size"]) for mask in masks if isinstance(mask, dict))


def _unusable(
    expression: Expression, annotation: Annotation | LeftOut, size: tuple[int, int] | None
) -> LeftOut | None:
    """Return the reason to leave out an expression, if there is one."""
    if isinstance(annotation, LeftOut):
        return annotation
    if not expression.text:
        return LeftOut("no_expression", expression.place, "the expression is empty", "expression")
    if not any(one["segmentation"] for one in annotation.values()):
        return LeftOut("no_mask", expression.place, "its object has no mask", "expression")
    try:
        Region.from_annotation(annotation)
    except RegionError as error:
        return LeftOut("bad_mask", expression.place, str(error), "expression")
    other = next((one for one in _sizes(annotation) if one != size), None) if size is not None else None
    if size is not None and other is not None:
        reason = f"its masks are of {size_words(*other)}, and the frames of {size_words(*size)}"
        return LeftOut("bad_mask", expression.place, reason, "expression")
    return None
