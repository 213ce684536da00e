"""Videos of benchmarks, which are excluded from data: recognized by their names, and by the look of their frames."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._text import listed, short
from videorefer_plugin.bench.item_files import item_values
from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut, find_media, is_address, make_source
from videorefer_plugin.data_engine.sources.fingerprints import Fingerprint, LookIndex, take_fingerprint
from videorefer_plugin.data_engine.sources.rows import Table, is_separated
from videorefer_plugin.errors import BenchError, EngineError, VideoError

__all__ = ["NO_EXCLUDE", "Excluded", "read_excluded", "youtube_id"]

NO_EXCLUDE = (
    "No benchmark files were given to exclude (source.exclude), so data may be made from videos that models are "
    "tested on: VideoRefer-Bench-D comes from Panda-70M, VideoRefer-Bench-Q from DAVIS and MeViS."
)

_FOLDERS = (
    "",
    "Panda-70M-part",
    "videos",
    "JPEGImages",
)  # folders beside a benchmark's file that paths may be relative to
# Clips of Panda-70M in Bench-D have names such as "rLlzmcp3J6s_0:01:09.633_0:01:14.333"; file systems may not allow
# colons.
_CUT = re.compile(r"^([\w-]{11})_\d+[:_.-]\d\d[:_.-]\d\d(?:\.\d+)?_\d+[:_.-]\d\d[:_.-]\d\d(?:\.\d+)?$")
_NUMBERED = re.compile(r"^([\w-]{11})_\d{1,5}$")


def youtube_id(name: str, numbered: bool = False) -> str | None:
    """Return the id of the video that a clip was cut from, by the clip's name.

    Args:
        name (`str`): name of the clip, without a suffix.
        numbered (`bool`): whether to take "<id>_3", too, although other names have the same form.
    """
    found = _CUT.match(name) or (_NUMBERED.match(name) if numbered else None)
    return found[1] if found else None


@dataclass
class Excluded:
    """The excluded videos of benchmarks.

    Attributes:
        names (`dict[str, str]`): name -> the file that has it.
        origins (`dict[str, str]`): id of the video that a clip was cut from -> the file.
        maybe_origins (`dict[str, str]`): possible ids, if the clip is of Panda-70M -> the file.
        looks ([`LookIndex`]): fingerprints of the videos that were found.
        notes (`list[str]`): notes about the exclusion.
    """

    names: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    maybe_origins: dict[str, str] = field(default_factory=dict)
    looks: LookIndex = field(default_factory=LookIndex)
    notes: list[str] = field(default_factory=list)

    def by_name(self, one: Candidate) -> LeftOut | None:
        """Return the reason to leave out a source for its name, if there is one."""
        own = {_stem(one.source.path), *one.names}
        if not (one.named and one.source.id.isdigit()):  # a row's number is not the name of a video
            own.add(one.source.id)
        origins = {*one.names, *own, *filter(None, (youtube_id(name, numbered=True) for name in own))}
        for names, known in ((own, self.names), (origins, self.origins), (set(one.names), self.maybe_origins)):
            for name in sorted(names & known.keys()):
                return LeftOut("excluded_by_id", one.place, f"{name} is in {known[name]}")
        return None

    def by_frames(self, one: Candidate, found: Fingerprint) -> LeftOut | None:
        """Return the reason to leave out a source for its frames, if there is one."""
        name = self.looks.same_content(found) or self.looks.same_look(found)
        return LeftOut("excluded_by_frames", one.place, f"its frames are those of {name}") if name else None


def read_excluded(settings: SourceSettings) -> Excluded:
    """Read benchmark files, and fingerprint their videos if these are found.

    Raises:
        EngineError: a file cannot be read, or names no videos.
    """
    found = Excluded()
    for file in map(Path, settings.exclude):
        videos = dict.fromkeys(video for _, video in _videos(file, settings))
        if not videos:
            raise EngineError(f"{file}, given to exclude, names no videos.")
        lacking = []
        for video in videos:
            name = _stem(video)
            found.names.setdefault(name, file.name)
            if origin := youtube_id(name):
                found.origins.setdefault(origin, file.name)
            elif origin := youtube_id(name, numbered=True):
                found.maybe_origins.setdefault(origin, file.name)
            if not _look(found.looks, video, file, settings):
                lacking.append(video)
        if lacking:
            found.notes.append(
                f"{len(lacking)} of {len(videos)} videos of {file} were not found or cannot be read, and are excluded "
                f"by their names alone, not by their frames: {listed(lacking)}."
            )
    return found


def _stem(video: str) -> str:
    """Return the name of a video file or a folder of frames, without a suffix."""
    name = video.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return re.sub(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", "", name)


def _videos(file: Path, settings: SourceSettings) -> Iterator[tuple[str, str]]:
    """Yield the videos that a benchmark's file, training records or a table name, with their locations."""
    for place, row in _rows(file):
        names = ("video", "image", settings.columns.get("video", "video"), "videoID")
        video = next((row[name] for name in names if row.get(name)), None) if isinstance(row, dict) else None
        if video is None and isinstance(row, dict) and "conversations" in row:
            continue  # a training record of text alone
        if not isinstance(video, str):
            has = f"has the keys {listed(row, 8)}" if isinstance(row, dict) else f"is {short(row)}"
            raise EngineError(f"{place}, given to exclude, {has}; expected a video in each item.")
        yield place, video


def _rows(file: Path) -> Iterator[tuple[str, Any]]:
    if is_separated(file):
        yield from Table(file).rows()
        return
    try:
        yield from item_values(file)
    except BenchError as error:
        raise EngineError(f"A file given to exclude cannot be used: {error}") from error


def _look(looks: LookIndex, video: str, file: Path, settings: SourceSettings) -> bool:
    """Add the fingerprint of a video; return whether the video was found."""
    roots = [file.parent / folder for folder in _FOLDERS]
    for root in roots + ([Path(settings.media_root)] if settings.media_root is not None else []):
        media = find_media(video, root, "") if not is_address(video) else None
        if isinstance(media, Path):
            try:
                source: Source = make_source(settings, _stem(video), media, {})
                looks.add(take_fingerprint(source), f"{video} of {file.name}")
                return True
            except VideoError:
                continue
    return False
