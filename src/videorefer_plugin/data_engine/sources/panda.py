"""The layout `panda-70m`: clips of the downloader of Panda-70M, with or without its tables."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.excluded import youtube_id
from videorefer_plugin.data_engine.sources.folder import VIDEO_SUFFIXES, beside, clips_in, split_by_name
from videorefer_plugin.data_engine.sources.rows import Table, check_column
from videorefer_plugin.data_engine.sources.table import caption_row
from videorefer_plugin.errors import EngineError

__all__ = ["read_panda"]

_LISTS = ("timestamp", "caption", "matching_score")
_DOWNLOADED = re.compile(r"^\d+_(\d{5})$")  # <shard and row>_<clip>
_NUMBERED = re.compile(r"^([\w-]{11})_(\d{1,5})$")


def read_panda(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the clips of Panda-70M.

    `files` names folders that the data set's downloader wrote (`00000/0000012_00003.mp4`, with .txt and .json beside
    it), or tables of the data set (`videoID, url, timestamp, caption, matching_score`). The clips of a table are in
    `media_root`, with the names that the downloader gives them, `<videoID>_<number>.mp4` or
    `<videoID>_<start>_<end>.mp4`.

    Raises:
        EngineError: a file is not such a table or folder, or there is no clip.
    """
    for file in map(Path, settings.files):
        is_table = not file.is_dir()
        if is_table and not file.exists():
            raise EngineError(f"{file} is not there; expected a table of Panda-70M or a folder of its clips.")
        folder = Path(settings.media_root) if is_table and settings.media_root is not None else file
        folder = folder if folder.is_dir() else file.parent
        clips, nameless = split_by_name(clip for clip in clips_in(folder) if clip.suffix.lower() in VIDEO_SUFFIXES)
        if not clips and not nameless:
            raise EngineError(f"{folder} has no clips of Panda-70M; say under source.media_root where they are.")
        yield from nameless
        yield from _from_table(settings, file, folder, clips) if is_table else _from_files(settings, folder, clips)


# --- folders of the downloader ---------------------------------------------------------------------------------------


def _from_files(settings: SourceSettings, folder: Path, clips: list[Path]) -> Iterator[Candidate | LeftOut]:
    for clip in clips:
        said, place = beside(clip)
        origin, number = _origin(clip, said)
        if isinstance(said.get("caption"), str):
            said["caption"] = _unwrapped(said["caption"], place)
        yield _source(settings, clip, folder, place, said, origin, number)


def _origin(clip: Path, said: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the id of the video that a clip was cut from, and the number of the clip."""
    video = said.get("videoID") or said.get("url")
    origin = video if isinstance(video, str) and video == said.get("videoID") else _of_address(video)
    downloaded, numbered = _DOWNLOADED.match(clip.stem), _NUMBERED.match(clip.stem)
    if downloaded:
        return origin, str(int(downloaded[1]))
    if numbered:
        return origin or numbered[1], str(int(numbered[2]))
    return origin or youtube_id(clip.stem), None


def _of_address(url: Any) -> str | None:
    """Return the id in an address of YouTube."""
    if not isinstance(url, str):
        return None
    try:
        parts = urlparse(url)
    except ValueError:
        return None
    found = parse_qs(parts.query).get("v") or [parts.path.rsplit("/", 1)[-1]]
    return found[0] if re.fullmatch(r"[\w-]{11}", found[0]) else None


def _unwrapped(caption: str, place: str) -> str:
    """Return the caption of a clip, which some versions of the downloader write as a list of one."""
    if not (caption.startswith("[") and caption.endswith("]")):
        return caption
    found = _literal(caption, "caption", place)
    return found[0] if len(found) == 1 and isinstance(found[0], str) else caption


def _source(
    settings: SourceSettings,
    clip: Path,
    folder: Path,
    place: str,
    said: Mapping[str, Any],
    origin: str | None,
    number: str | None,
) -> Candidate | LeftOut:
    values = {
        "video": str(clip.relative_to(folder)),
        "caption": said.get("caption"),
        "address": said.get("url"),
        "license": said.get("license"),
    }
    one = caption_row(settings, values, folder, place)
    if isinstance(one, LeftOut):
        return one
    score = _number(said.get("matching_score"), place)
    if settings.min_score is not None:
        if score is None:
            return LeftOut("low_score", place, "it has no matching score")
        if score < settings.min_score:
            return LeftOut("low_score", place, f"the matching score is {score:g}")
    name = f"{origin}_{number}" if origin and number is not None else clip.stem
    names = (origin,) if origin else ()
    return replace(one, source=replace(one.source, id=name), names=names)


def _number(value: Any, place: str) -> float | None:
    """Return a score; `None` if there is none, or if it is "nan"."""
    if value is None:
        return None
    try:
        if isinstance(value, str) and value.strip().startswith(("[", "(")):
            (value,) = ast.literal_eval(value.strip())  # a list of one
        score = float(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError) as error:
        raise EngineError(f"{place}: the matching score is {short(value)}; expected a number.") from error
    return None if math.isnan(score) else score


# --- tables ----------------------------------------------------------------------------------------------------------


def _from_table(
    settings: SourceSettings, file: Path, folder: Path, clips: list[Path]
) -> Iterator[Candidate | LeftOut]:
    """Yield the existing clips with their values in the table. Clips that were not downloaded are ignored."""
    by_origin: dict[str, dict[str, Path]] = {}
    by_row: dict[int, dict[str, Path]] = {}
    unknown: list[Path] = []
    for clip in clips:
        origin, key = _origin(clip, beside(clip)[0])
        if origin:
            by_origin.setdefault(origin, {})[key if key is not None else clip.stem] = clip
        elif key is not None:
            by_row.setdefault(int(clip.stem.split("_")[0]), {})[key] = clip
        else:
            unknown.append(clip)
    table = Table(file)
    for number, (place, row) in enumerate(table.rows()):
        origin = str(row.get("videoID") or _of_address(row.get("url")) or "")
        found = by_origin.pop(origin, None) or by_row.pop(number, None)
        if found:
            yield from _clips(settings, folder, place, row, origin, found)
    for wanted in ("videoID", "caption", "timestamp"):
        check_column(table, wanted, wanted)
    left = unknown + [clip for some in (*by_origin.values(), *by_row.values()) for clip in some.values()]
    if len(left) == len(clips):
        raise EngineError(
            f"None of {len(clips)} clips in {folder} is in {file}; expected names as the downloader of Panda-70M "
            f"gives them, or <videoID>_<number>.mp4, such as of {listed((clip.name for clip in clips), 3)}."
        )
    for clip in left:
        yield LeftOut("no_caption", str(clip), f"{file.name} has no row for it")


def _clips(
    settings: SourceSettings, folder: Path, place: str, row: Mapping[str, Any], origin: str, found: Mapping[str, Path]
) -> Iterator[Candidate | LeftOut]:
    """Yield the clips of one video, whose captions and scores are in lists."""
    lists = {name: _literal(row[name], name, place) for name in _LISTS if row.get(name) is not None}
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise EngineError(f"{place}: the lists are of different lengths ({lengths}); expected a value for each clip.")
    for key, clip in found.items():
        number = int(key) if key.isdigit() else _by_time(clip.stem, lists.get("timestamp", []))
        if number is None or number >= len(lists.get("caption", ())):
            yield LeftOut("no_caption", str(clip), f"{place} has no such clip")
            continue
        said = {name: values[number] for name, values in lists.items() if name != "timestamp"}
        yield _source(settings, clip, folder, place, {**said, "url": row.get("url")}, origin, str(number))


def _by_time(stem: str, times: list[Any]) -> int | None:
    """Return the index of a clip whose file name ends with its times, with any characters for the colons."""
    digits = re.findall(r"\d+", stem[12:])
    return next((place for place, span in enumerate(times) if re.findall(r"\d+", str(span)) == digits), None)


def _literal(value: Any, name: str, place: str) -> list[Any]:
    """Read a list in Python's notation."""
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise EngineError(f"{place}: {name} is {short(value)}; expected a list, such as ['a', 'b'].") from error
    if not isinstance(value, (list, tuple)):
        raise EngineError(f"{place}: {name} is {short(value)}; expected a list with a value for each clip.")
    return list(value)
