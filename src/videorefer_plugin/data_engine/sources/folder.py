"""The layout `folder`: clips with their captions beside them, or with one table of captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_json, read_text
from videorefer_plugin._text import listed, short, text_fault
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.rows import Table, check_column
from videorefer_plugin.data_engine.sources.table import caption_row, column_names
from videorefer_plugin.errors import EngineError
from videorefer_plugin.video import IMAGE_SUFFIXES

__all__ = ["VIDEO_SUFFIXES", "beside", "clips_in", "read_folder", "split_by_name"]

VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".ogv", ".3gp", ".gif"}
)
"""The suffixes of video files, in lower case."""

_TABLES = tuple(f"captions{suffix}" for suffix in (".json", ".jsonl", ".csv", ".tsv", ".parquet"))


def read_folder(settings: SourceSettings) -> Iterator[Candidate | LeftOut]:
    """Read the clips of folders and their subfolders.

    The caption of `clip.mp4` is in `clip.txt`, or under "caption" in `clip.json`, which may also have "license",
    "address" (or "url") and "language"; or in `captions.csv` (.json, .jsonl, .tsv, .parquet) of the folder, in which
    `video` is a path relative to the folder. A folder of frames is a clip if its caption is beside it. Clips whose
    names are not UTF-8 are left out.

    Raises:
        EngineError: the folder does not exist or has no clips, or a file of captions cannot be read.
    """
    for folder in map(Path, settings.files):
        if not folder.is_dir():
            what = "a file" if folder.exists() else "not there"
            raise EngineError(f"{folder} is {what}; expected a folder of clips. For a table, use the layout 'table'.")
        clips, nameless = split_by_name(clips_in(folder))
        if not clips and not nameless:
            kinds = listed(sorted(VIDEO_SUFFIXES), 20)
            raise EngineError(f"{folder} has no clips, also not in folders within it; expected files such as {kinds}.")
        tables = [folder / name for name in _TABLES if (folder / name).is_file()]
        if len(tables) > 1:
            raise EngineError(f"{folder} has {listed(path.name for path in tables)}; keep one file of captions.")
        yield from nameless
        yield from _from_table(settings, folder, tables[0], clips) if tables else _from_files(settings, folder, clips)


def clips_in(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield videos, images and captioned folders of frames below a folder, in the order of their names.

    Links are followed, but not into a folder that contains them (`above`).
    """
    try:
        above = (*above, folder.resolve())
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise EngineError(f"{folder} cannot be read: {error.strerror or error}.") from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if any((folder / f"{entry.name}{suffix}").is_file() for suffix in (".txt", ".json")):
                yield entry
            elif entry.resolve() not in above:
                yield from clips_in(entry, above)
        elif entry.suffix.lower() in VIDEO_SUFFIXES or entry.suffix.lower() in IMAGE_SUFFIXES:
            yield entry


def split_by_name(clips: Iterable[Path]) -> tuple[list[Path], list[LeftOut]]:
    """Return the clips that a record can name, and those whose names are not UTF-8, which Linux allows."""
    good, bad = [], []
    for clip in clips:
        if text_fault(str(clip)):
            bad.append(LeftOut("bad_name", ascii(str(clip))[1:-1], "the name is not UTF-8; rename it"))
        else:
            good.append(clip)
    return good, bad


def beside(clip: Path) -> tuple[dict[str, Any], str]:
    """Return the values in the files beside a clip, and the name of the file with its caption.

    Raises:
        EngineError: a file cannot be read.
    """
    stem = clip.name if clip.is_dir() else clip.stem
    text, values = clip.with_name(f"{stem}.txt"), clip.with_name(f"{stem}.json")
    said: dict[str, Any] = {}
    place = text
    if values.is_file():
        found = read_json(values, EngineError, constants=True)
        if not isinstance(found, dict):
            raise EngineError(f"{values} is {short(found)}; expected an object with the key 'caption'.")
        said, place = found, values
    if text.is_file() and (caption := read_text(text, EngineError).strip()):
        said, place = {**said, "caption": caption}, text
    return said, str(place)


def _from_files(settings: SourceSettings, folder: Path, clips: list[Path]) -> Iterator[Candidate | LeftOut]:
    names = column_names(settings)
    for clip in clips:
        said, place = beside(clip)
        values = {wanted: said.get(name) for wanted, name in names.items() if wanted not in ("video", "id")}
        values["address"] = values["address"] or said.get("url")
        relative = clip.relative_to(folder)
        yield _named(caption_row(settings, {**values, "video": str(relative)}, folder, place), relative)


def _from_table(
    settings: SourceSettings, folder: Path, path: Path, clips: list[Path]
) -> Iterator[Candidate | LeftOut]:
    names, table, listed_clips = column_names(settings), Table(path), set[str]()
    for place, row in table.rows():
        values = {wanted: row.get(name) for wanted, name in names.items()}
        one = caption_row(settings, values, folder, place)
        if isinstance(values["video"], str):
            listed_clips.add(str(folder / values["video"]))
            if isinstance(one, Candidate) and not one.named:
                one = _named(one, Path(values["video"]))
        yield one
    for wanted in ("video", "caption", *settings.columns):
        check_column(table, wanted, names[wanted])
    for clip in clips:
        if str(clip) not in listed_clips:
            yield LeftOut("no_caption", str(clip), f"{path.name} has no row for it")


def _named(one: Candidate | LeftOut, relative: Path) -> Candidate | LeftOut:
    """Return the entry with its path within the folder as the id."""
    if isinstance(one, LeftOut) or relative.is_absolute():
        return one
    name = "_".join(relative.with_suffix("").parts if Path(one.source.path).is_file() else relative.parts)
    return replace(one, source=replace(one.source, id=name))
