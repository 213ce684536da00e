"""Reading the sources of a run: what a layout gives, without what is unusable, foreign, excluded or there twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.registry import make_reader
from videorefer_plugin.errors import EngineError

__all__ = ["KINDS", "SourceList", "read_sources"]

KINDS = {
    "no_caption": "have no caption",
    "no_video": "name no video",
    "address": "are addresses, which are not downloaded; download them first",
    "missing": "name a file that is not there",
    "unreadable": "cannot be read as a video or an image",
    "other_language": "are in another language",
}
"""Why something is left out, as `counts` has it -> how notes say it."""

_MOST_PLACES = 10  # named in one note
_NAME = re.compile(r"[^\w.+=@-]+")
_LONGEST_ID = 200


@dataclass
class SourceList:
    """What data is made from.

    Attributes:
        sources (`list[Source]`): in the order of the files.
        counts (`dict[str, int]`): "read" = "kept" + what was left out, by kind, such as "no_caption" or
            "duplicate_video".
        notes (`list[str]`): what is to be known about it, in sentences.
        left_out (`list[LeftOut]`): everything that was left out, with its place and the reason.
    """

    sources: list[Source]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def read_sources(settings: SourceSettings, progress: Callable[[int, int], object] | None = None) -> SourceList:
    """Read the sources of a run.

    Args:
        settings ([`SourceSettings`]): where they are.
        progress (`Callable`, *optional*): called with how many of how many videos have been looked at.

    Raises:
        EngineError: the settings or a file are wrong, two sources have the same id, or nothing is left.
    """
    _check(settings)
    candidates: list[Candidate] = []
    left: list[LeftOut] = []
    for entry in make_reader(settings.layout)(settings):
        if isinstance(entry, LeftOut):
            left.append(entry)
        elif (foreign := _foreign(entry, settings.language)) is not None:
            left.append(foreign)
        else:
            candidates.append(entry)
    read = len(candidates) + len(left)
    if not read:
        raise EngineError(
            f"There is nothing in {listed(settings.files)}; expected videos in the layout {settings.layout!r}."
        )
    candidates = _name(candidates)
    if not candidates:
        first = left[0]
        raise EngineError(
            f"None of {read} entries of {listed(settings.files)} can be used: {' '.join(_notes(left, read))} "
            f"The first is {first.place}: {first.reason}."
        )
    counts = {"read": read, "kept": len(candidates), **Counter(one.kind for one in left)}
    return SourceList([one.source for one in candidates], counts, _notes(left, read), left)


def _check(settings: SourceSettings) -> None:
    if isinstance(settings.files, str) or not settings.files:
        raise EngineError(f"source.files is {short(settings.files)}; expected a list of files or folders.")


def _foreign(entry: Candidate, language: str) -> LeftOut | None:
    """Why a caption is left out for its language; what is not known to be foreign passes."""
    there = entry.source.language
    if there is None or not language or _language(there) == _language(language):
        return None
    return LeftOut("other_language", entry.place, f"the caption is in {there!r}, and {language!r} is wanted")


_LANGUAGES = {"english": "en", "eng": "en", "chinese": "zh", "zho": "zh", "chi": "zh", "german": "de", "deu": "de",
              "ger": "de", "french": "fr", "fra": "fr", "fre": "fr", "spanish": "es", "spa": "es"}  # fmt: skip


def _language(code: str) -> str:
    """The language of a code without its country: "en" of "en-US" or "English"."""
    bare = re.split(r"[-_]", code.strip().lower())[0]
    return _LANGUAGES.get(bare, bare)


def _name(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The same with ids that are unique: given ones stay as they are, others get a number where they are taken.

    Raises:
        EngineError: two given ids are the same, or one cannot be the name of a file.
    """
    places: dict[str, str] = {}
    for one in candidates:
        if one.named:
            name = one.source.id
            if not _is_safe(name):
                raise EngineError(
                    f"{one.place}: the id {short(name)} cannot be used, since files of the run are named after it; "
                    f"expected at most {_LONGEST_ID} letters, digits, spaces and signs, with no slash, backslash or "
                    "control character, and not a dot first."
                )
            if name in places:
                raise EngineError(
                    f"{places[name]} and {one.place} both have the id {short(name)}; give each source its own."
                )
            places[name] = one.place
    taken, last, named = set(places), Counter[str](), []
    for one in candidates:
        if not one.named:
            name = base = (_NAME.sub("_", one.source.id).lstrip(".") or "video")[: _LONGEST_ID - 10]
            while name in taken:
                last[base] += 1
                name = f"{base}-{last[base] + 1}"
            taken.add(name)
            one = replace(one, source=replace(one.source, id=name))
        named.append(one)
    return named


def _is_safe(name: str) -> bool:
    return len(name) <= _LONGEST_ID and name.isprintable() and not name.startswith(".") and not set(name) & set("/\\")


def _notes(left: Iterable[LeftOut], read: int) -> list[str]:
    """What was left out, in a sentence for each kind."""
    places: dict[str, list[str]] = {}
    for one in left:
        places.setdefault(one.kind, []).append(one.place)
    return [
        f"{len(found)} of {read} entries {KINDS.get(kind, kind)}, and were left out: {listed(found, _MOST_PLACES)}."
        for kind, found in places.items()
    ]
