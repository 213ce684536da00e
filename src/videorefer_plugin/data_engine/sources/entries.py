"""The outputs of layouts: sources with their locations, or reasons why there is none at a location."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._addresses import without_secrets
from videorefer_plugin._text import short, text_fault
from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.errors import EngineError
from videorefer_plugin.video.animations import looks_like_picture

__all__ = ["Candidate", "LeftOut", "check_text", "find_media", "is_address", "make_source"]

_ADDRESSES = ("http://", "https://", "s3://", "gs://", "hf://", "ftp://")


@dataclass(frozen=True)
class Candidate:
    """A source that was read.

    Attributes:
        place (`str`): location, such as "captions.csv, line 3".
        source ([`Source`]): the source; its id is a proposal unless `named`.
        named (`bool`): whether the id was given, rather than taken from a file's name.
        names (`tuple[str, ...]`): other names of its video, such as that in its original data set.
    """

    place: str
    source: Source
    named: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class LeftOut:
    """The reason why an entry is not used as a source.

    Attributes:
        kind (`str`): kind for counts, such as "no_caption" or "duplicate_video".
        place (`str`): location of the entry.
        reason (`str`): reason in a few words.
        unit (`str`): "entry", or "expression" for one of a source that is kept with its others.
    """

    kind: str
    place: str
    reason: str
    unit: str = "entry"


def is_address(path: str) -> bool:
    """Return whether a path is an address, which the engine does not download."""
    return path.lower().startswith(_ADDRESSES)


def check_text(value: Any, what: str, place: str) -> str:
    """Return a text of a row without surrounding space; empty if there is none.

    Raises:
        EngineError: the value has another type, or cannot be written to a file.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise EngineError(f"{place}: {what} is {short(value)}; expected a text.")
    fault = text_fault(value) or ("it holds a NUL character." if "\0" in value else "")
    if fault:
        raise EngineError(f"{place}: {what} cannot be used: {fault}")
    return value.strip()


def find_media(path: str, root: Path, place: str) -> Path | LeftOut:
    """Return the file or folder of frames at a relative or absolute path, or why there is none."""
    if not path:
        return LeftOut("no_video", place, "no video is named")
    if is_address(path):
        return LeftOut("address", place, f"{short(path)} is an address, which is not downloaded")
    found = root / path
    try:
        if found.is_file():
            return found if found.stat().st_size else LeftOut("unreadable", place, f"{found} is an empty file")
        return found if found.is_dir() else LeftOut("missing", place, f"there is no {found}")
    except OSError as error:
        return LeftOut("missing", place, f"{short(path)} cannot be looked up ({error.strerror or error})")


def make_source(settings: SourceSettings, name: str, path: Path, given: Mapping[str, Any]) -> Source:
    """Return a source of these values, with the settings' license and address as defaults."""
    return Source(
        **{
            "id": name,
            "path": os.path.abspath(path),  # agents may run elsewhere; links are not resolved
            "kind": "image" if path.is_file() and looks_like_picture(path) else "video",
            **given,
            "license": given.get("license") or settings.license,
            "address": without_secrets(given.get("address") or settings.address),
        }
    )
