"""Reading of the sources of a run, without entries that are unusable, foreign, excluded or repeated."""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.items import Source
from videorefer_plugin.data_engine.languages import language_of
from videorefer_plugin.data_engine.recipe import SourceSettings
from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.excluded import NO_EXCLUDE, read_excluded
from videorefer_plugin.data_engine.sources.fingerprints import Fingerprint, LookIndex, take_fingerprint
from videorefer_plugin.data_engine.sources.registry import layouts, make_reader
from videorefer_plugin.errors import EngineError, VideoError

__all__ = ["KINDS", "SourceList", "read_sources"]

KINDS = {
    "no_caption": "have no caption",
    "no_video": "name no video",
    "address": "are addresses, which are not downloaded; download them first",
    "bad_name": "have a name that is not UTF-8, which no record can hold",
    "missing": "name a file that is not there",
    "unreadable": "cannot be read as a video or an image",
    "other_language": "are in another language",
    "low_score": "have a caption that matches too little",
    "no_objects": "have no object with a mask and an expression",
    "no_expression": "have no words",
    "no_mask": "have no mask in any frame",
    "bad_mask": "have masks that cannot be read or do not fit",
    "several_objects": "mean several objects at once",
    "excluded_by_id": "are of a benchmark by their name",
    "excluded_by_frames": "are of a benchmark by their frames",
    "duplicate_video": "are the same file as another one",
    "duplicate_frames": "look like another one",
    "duplicate_caption": "have the caption of another one",
}
"""Kind of a reason in `counts` -> its wording in notes."""

_USERS = {"columns": ("table", "folder"), "min_score": ("panda-70m",)}  # settings that only some layouts use
_BUILT_IN = layouts()  # layouts that are registered later may use all of them
_MOST_THREADS = 8
_TOGETHER = 64  # videos that threads fingerprint before the next ones begin
_MOST_PLACES = 10  # named in one note
_NAME = re.compile(r"[^\w.+=@-]+")
_LONGEST_ID = 200


@dataclass
class SourceList:
    """The sources of a run.

    Attributes:
        sources (`list[Source]`): sources in the order of the files.
        counts (`dict[str, int]`): "read" = "kept" + entries that were left out, by kind, such as "no_caption" or
            "duplicate_video"; in addition, expressions that were left out, such as "several_objects".
        notes (`list[str]`): notes about the sources.
        left_out (`list[LeftOut]`): all entries that were left out, with location and reason.
    """

    sources: list[Source]
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def read_sources(settings: SourceSettings, progress: Callable[[int, int], object] | None = None) -> SourceList:
    """Read the sources of a run.

    Args:
        settings ([`SourceSettings`]): settings of the sources.
        progress (`Callable`, *optional*): called with the number of videos that were read, and their total.

    Raises:
        EngineError: the settings or a file are wrong, two sources have the same id, or nothing is left.
    """
    _check(settings)
    candidates: list[Candidate] = []
    left: list[LeftOut] = []
    for entry in make_reader(settings.layout)(settings):
        if isinstance(entry, LeftOut):
            left.append(entry)
        elif not isinstance(entry, Candidate):
            raise EngineError(
                f"The layout {settings.layout!r} gave {short(entry)}; expected a Candidate or a LeftOut."
            )
        elif (foreign := _foreign(entry, settings.language)) is not None:
            left.append(foreign)
        else:
            candidates.append(entry)
    read = len(candidates) + sum(one.unit == "entry" for one in left)
    notes: list[str] = []
    if not read:
        raise EngineError(
            f"There is nothing in {listed(settings.files)}; expected videos in the layout {settings.layout!r}."
        )
    candidates = _distinct(settings, _name(candidates), left, notes, progress)
    if not candidates:
        first = next(one for one in left if one.unit == "entry")
        raise EngineError(
            f"None of {read} entries of {listed(settings.files)} can be used: {' '.join(_notes(left, read))} "
            f"The first is {first.place}: {first.reason}."
        )
    counts = {"read": read, "kept": len(candidates), **Counter(one.kind for one in left)}
    return SourceList([one.source for one in candidates], counts, notes + _notes(left, read), left)


def _check(settings: SourceSettings) -> None:
    for name, given, most in (("files", settings.files, "files or folders"), ("exclude", settings.exclude, "files")):
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        if not is_list or not all(isinstance(one, str) and one and "\0" not in one for one in given):
            raise EngineError(f"source.{name} is {short(given)}; expected a list of {most}.")
    if not settings.files:
        raise EngineError("source.files is empty; expected a list of files or folders.")
    missing = [one for one in settings.exclude if not os.path.isfile(one)]
    if missing:
        raise EngineError(f"source.exclude has {short(missing[0])}, which is not there; expected files of benchmarks.")
    if settings.media_root is not None and not os.path.isdir(settings.media_root):
        raise EngineError(f"source.media_root is {short(settings.media_root)}, which is not a folder.")
    score = settings.min_score
    is_number = isinstance(score, (int, float)) and not isinstance(score, bool) and math.isfinite(score)
    if score is not None and not is_number:
        raise EngineError(f"source.min_score is {short(score)}; expected a number.")
    for name, users in _USERS.items():
        if getattr(settings, name) not in (None, {}) and settings.layout in _BUILT_IN and settings.layout not in users:
            raise EngineError(
                f"source.{name} has no effect in the layout {settings.layout!r}, only in {listed(users)}; remove it."
            )


def _foreign(entry: Candidate, language: str | None) -> LeftOut | None:
    """Return the reason to leave out a caption for its language. Captions in an unknown language pass."""
    there = entry.source.language
    if there is None or not language or language_of(there) == language_of(language):
        return None
    return LeftOut("other_language", entry.place, f"the caption is in {there!r}, and {language!r} is wanted")


def _distinct(
    settings: SourceSettings,
    candidates: Sequence[Candidate],
    left: list[LeftOut],
    notes: list[str],
    progress: Callable[[int, int], object] | None,
) -> list[Candidate]:
    """Yield the candidates that are not excluded, without repeated ones; the first of several is kept."""
    excluded = read_excluded(settings)
    notes.extend(excluded.notes if settings.exclude else [NO_EXCLUDE])
    unnamed = []
    for one in candidates:
        reason = excluded.by_name(one)
        if reason is None:
            unnamed.append(one)
        else:
            left.append(reason)
    if not settings.deduplicate and not settings.exclude:
        return unnamed
    kept: list[Candidate] = []
    looks, captions = LookIndex(), dict[str, str]()
    for done, (one, found) in enumerate(_looked_at(unnamed), 1):
        reason = found if isinstance(found, LeftOut) else excluded.by_frames(one, found)
        if reason is None and settings.deduplicate and isinstance(found, Fingerprint):
            reason = _repeated(one, found, looks, captions)
        if reason is None:
            kept.append(one)
        else:
            left.append(reason)
        if progress is not None:
            progress(done, len(unnamed))
    return kept


def _looked_at(candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Fingerprint | LeftOut]]:
    """Yield candidates in order, each with its fingerprint or the reason why there is none; in stoppable steps."""
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(candidates), _TOGETHER):
            some = candidates[start : start + _TOGETHER]
            yield from zip(some, pool.map(_look, some), strict=True)


def _look(one: Candidate) -> Fingerprint | LeftOut:
    try:
        return take_fingerprint(one.source)
    except VideoError as error:
        return LeftOut("unreadable", one.place, str(error))


def _repeated(one: Candidate, found: Fingerprint, looks: LookIndex, captions: dict[str, str]) -> LeftOut | None:
    """Return the reason to leave out a source that repeats an earlier one; otherwise remember it."""
    words = _words(one.source.caption)
    for kind, kept in (
        ("duplicate_video", looks.same_content(found)),
        ("duplicate_frames", looks.same_look(found)),
        ("duplicate_caption", captions.get(words)),
    ):
        if kept is not None:
            return LeftOut(kind, one.place, f"{kept} was kept")
    looks.add(found, one.place)
    if words:
        captions[words] = one.place
    return None


def _words(caption: str) -> str:
    """Return the words of a caption without case and punctuation. Combining vowel signs are part of words."""
    folded = unicodedata.normalize("NFKC", caption).casefold()
    kept = (one if one == "_" or unicodedata.category(one)[0] in "LMN" else " " for one in folded)
    return " ".join("".join(kept).split())


def _name(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates with unique ids. Given ids are not changed; others get a number if they are taken.

    Raises:
        EngineError: two given ids are equal, or an id cannot be the name of a file.
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
    """Return a sentence for each kind of entries that were left out."""
    places: dict[tuple[str, str], list[str]] = {}
    for one in left:
        places.setdefault((one.unit, one.kind), []).append(f"{one.place} ({one.reason})")
    return [
        f"{len(found)} {'expression(s)' if unit == 'expression' else f'of {read} entries'} "
        f"{KINDS.get(kind, kind)}, and were left out: {listed(found, _MOST_PLACES)}."
        for (unit, kind), found in places.items()
    ]
