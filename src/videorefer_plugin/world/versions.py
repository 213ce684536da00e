"""What a data set is a function of, which versions of that there are, and which one a folder holds."""

from __future__ import annotations

import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_object, write_json
from videorefer_plugin.errors import ConfigurationError

__all__ = ["NEWEST", "VERSION", "VERSIONS", "Settings", "check_version", "claim", "read_settings", "seed_of"]

VERSIONS = (5, 6, 7)  # of what a seed stands for, as far as they can be rendered
NEWEST = VERSIONS[-1]  # which new models learn from
VERSION = 6  # by default: the newest that the packaged model answers questions about
# Until version 5, the chance of a stage's records came from its index in this list. Stages that are not in it have
# chance of their names in every version, so that none of them changes what others have.
_PLACES_OF_5 = (
    "stage0_tower",
    "stage0_language",
    "stage1",
    "stage2",
    "stage2_5",
    "stage3",
    "stage3_facts",
    "stage2_objects",
    "stage1_named",
    "stage3_more",
)
_NOTE = "world.json"  # says what a data set is a function of


@dataclass(frozen=True)
class Settings:
    """What a data set is a function of, but for the number of its clips."""

    seed: int
    size: int
    frames: int
    version: int = VERSION


def read_settings(root: str | os.PathLike) -> dict[str, Any] | None:
    """What the data set in a folder is a function of, by the names of [`Settings`]; None if there is no data set.

    Raises:
        ConfigurationError: that cannot be read.
    """
    note = Path(root) / _NOTE
    if not os.path.lexists(note):
        return None
    try:
        return read_object(note, ConfigurationError)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{note} does not say what data set {root} holds, so choose another folder. {error}"
        ) from error


def check_version(root: str | os.PathLike, version: int) -> None:
    """Make sure that there is such a version, and that a folder holds no data set of another one.

    Raises:
        ConfigurationError: there is not, or it does.
    """
    if type(version) is not int or version not in VERSIONS:
        known = f"{', '.join(map(str, VERSIONS[:-1]))} or {VERSIONS[-1]}"
        raise ConfigurationError(f"The data version is {version!r}: expected {known}.")
    found = read_settings(root)
    if found is None or found.get("version") == version:
        return
    remedy = "choose another folder"
    if found.get("version") in VERSIONS:
        remedy += (
            f", or go on with it by `--data-version {found['version']}` (in Python, `version={found['version']}`)"
        )
    raise ConfigurationError(
        f"{root} holds a data set of version {found.get('version')!r}, but version {version} was asked for: {remedy}."
    )


def claim(root: Path, settings: Settings) -> None:
    """Make a folder the data set's own.

    Raises:
        ConfigurationError: it holds another one, or cannot be written.
    """
    found = read_settings(root)
    differs = found is not None and {**found, "version": None} != {**asdict(settings), "version": None}
    if not differs:
        check_version(root, settings.version)
    if found not in (None, asdict(settings)):
        raise ConfigurationError(
            f"{root} holds a data set of other settings ({found}), not {asdict(settings)}: choose another folder, "
            "or the same settings to go on with it"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        write_json(root / _NOTE, asdict(settings))
    except OSError as error:
        said = error.strerror or str(error)
        raise ConfigurationError(f"{root} cannot be written: {said}. Choose another folder.") from error


def seed_of(records: str, version: int) -> int:
    """What tells the chance of a stage's records from that of others."""
    if version == 5 and records in _PLACES_OF_5:
        return _PLACES_OF_5.index(records)
    return zlib.crc32(records.encode())
