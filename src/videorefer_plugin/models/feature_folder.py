"""Features in the files of a folder, which several processes and runs can share."""

import contextlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videorefer_plugin._files import write_whole
from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.feature_keys import FeatureKey, text_digest

__all__ = ["FeatureFolder", "remove_features"]

logger = logging.getLogger(__name__)

_LAYOUT = "videorefer-plugin features 1"  # said in each file, so that those of others are told apart
# Of features that are written together, so many go into a file; more than these are not lost.
_AT_ONCE = 2048
_BYTES_AT_ONCE = 1 << 26
_NAME = re.compile(r"features-[0-9a-f]{16}-[0-9a-f]{32}\.safetensors")
_TICK = 2_000_000_000  # nanoseconds within which a folder may change without another time


class FeatureFolder:
    """The files of a folder. Each holds features that were written together and computed in the same way.

    A file appears whole or not at all, and is never changed. One that turns out to be cut off, or not to be of this
    kind, is left alone with a warning, and what it held counts as not known.

    Args:
        folder (`str` or `os.PathLike`): the folder, which is made if it is not there.

    Raises:
        ConfigurationError: the folder cannot be used, now or later.
    """

    def __init__(self, folder: str | os.PathLike):
        try:
            check_kind(ConfigurationError, PATH, folder=folder)
            self.path = Path(folder)
            if not os.path.isdir(folder):  # one that holds all features may be read-only
                check_folder_place(folder, ConfigurationError)
                with writing(folder, ConfigurationError):
                    self.path.mkdir(parents=True, exist_ok=True)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"Features cannot be kept in {short(folder)}. {error} Expected is a folder, or a path at which one "
                "can be created."
            ) from error
        self._seen: set[str] = set()  # names of files that were looked into
        self._places: dict[FeatureKey, str] = {}  # the file that each feature lies in
        self._listing: list[str] = []  # names of files that may hold features
        self._listed: int | None = None  # time of the folder's last change that the listing includes
        self._pending: dict[FeatureKey, Tensor] = {}  # features that will be written together
        self._pending_bytes = 0
        self._together = 0  # number of active `together` blocks

    def known(self, keys: Iterable[FeatureKey]) -> set[FeatureKey]:
        """Return which of these features are in the folder."""
        wanted = set(keys)
        pending = wanted & self._pending.keys()
        new = wanted - pending - self._places.keys()
        if new:
            self._look(new)
        return pending | (wanted & self._places.keys())

    def read(self, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Read those of these features that are in the folder, to the CPU."""
        known = self.known(keys)
        found = {key: self._pending[key] for key in keys if key in self._pending}
        by_file: dict[str, list[FeatureKey]] = {}
        for key in keys:
            if key in known and key not in found:
                by_file.setdefault(self._places[key], []).append(key)
        for name, own in by_file.items():
            try:
                with safe_open(self.path / name, "pt") as file:
                    found |= {key: file.get_tensor(_entry(key)) for key in own}
            except FileNotFoundError:
                logger.warning("%s is gone. What it held is computed again.", self.path / name)
                self._forget(name)
                self._seen.discard(name)
            except (OSError, SafetensorError) as error:
                self._give_up(name, error)
        return found

    def write(self, features: Mapping[FeatureKey, Tensor]) -> None:
        """Write features; those computed in the same way go into one file.

        Raises:
            ConfigurationError: they cannot be written.
        """
        for key, feature in features.items():
            self._pending[key] = feature.cpu().contiguous()
            self._pending_bytes += feature.nbytes
        if not self._together or len(self._pending) >= _AT_ONCE or self._pending_bytes >= _BYTES_AT_ONCE:
            self._flush()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Within this block, features are written many at a time, and the rest at its end."""
        self._together += 1
        try:
            yield
        finally:
            self._together -= 1
            if not self._together:
                self._flush()

    def _flush(self) -> None:
        features, self._pending, self._pending_bytes = self._pending, {}, 0
        by_way: dict[str, dict[FeatureKey, Tensor]] = {}
        for key, feature in features.items():
            by_way.setdefault(_way(key), {})[key] = feature
        for way, some in by_way.items():
            entries = _apart({_entry(key): feature for key, feature in some.items()})
            name = f"features-{way}-{text_digest(' '.join(sorted(entries)))}.safetensors"
            self._save(name, entries, next(iter(some)))
            self._seen.add(name)
            self._places |= dict.fromkeys(some, name)

    def _save(self, name: str, entries: dict[str, Tensor], key: FeatureKey) -> None:
        says = {"layout": _LAYOUT, "preprocessing": key.preprocessing, "tower": key.tower}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_whole(self.path / name, lambda temporary: save_file(entries, temporary, says))
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(
                f"Features cannot be written to {self.path} ({error}). Make room there, or name another folder."
            ) from error

    def _look(self, keys: Iterable[FeatureKey]) -> None:
        """Look into files that may hold some of these and appeared since the last look."""
        ways = {_way(key): key for key in keys}
        for name in self._names():
            if name in self._seen or name.split("-")[1] not in ways:
                continue
            try:
                with safe_open(self.path / name, "pt") as file:
                    self._note(name, ways[name.split("-")[1]], file)
            except FileNotFoundError:  # removed a moment ago
                continue
            except (OSError, SafetensorError, ValueError) as error:
                self._give_up(name, error)

    def _names(self) -> list[str]:
        """Names of the files that may hold features."""
        started = time.time_ns()
        try:
            changed = os.stat(self.path).st_mtime_ns
            if self._listed != changed:
                self._listing = sorted(name for name in os.listdir(self.path) if _NAME.fullmatch(name))
                self._listed = changed if started - changed > _TICK else None
        except FileNotFoundError:  # removed since; it is made again when something is written
            return []
        except OSError as error:
            raise ConfigurationError(
                f"Features cannot be looked for in {self.path} ({error}); see who may read it, or name another folder."
            ) from error
        return self._listing

    def _note(self, name: str, like: FeatureKey, file: Any) -> None:
        says = file.metadata() or {}
        wanted = (_LAYOUT, like.preprocessing, like.tower)
        if (says.get("layout"), says.get("preprocessing"), says.get("tower")) != wanted:
            raise ValueError("what it says of itself does not fit its name")
        entries = [entry.split(" ", 1) for entry in file.keys()]  # noqa: SIM118 - no mapping
        self._places |= {like._replace(content=content, frame=int(frame)): name for frame, content in entries}
        self._seen.add(name)

    def _give_up(self, name: str, error: Exception) -> None:
        logger.warning(
            "%s cannot be used (%s). What it held is computed again; the file can be deleted.", self.path / name, error
        )
        self._seen.add(name)
        self._forget(name)

    def _forget(self, name: str) -> None:
        self._places = {key: place for key, place in self._places.items() if place != name}


def remove_features(folder: str | os.PathLike) -> None:
    """Remove the files of interrupted stores from a folder."""
    for path in Path(folder).glob("features-*"):
        path.unlink(missing_ok=True)


def _apart(entries: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, none in the memory of another one, which files do not take."""
    taken: set[int] = set()
    for name, feature in entries.items():
        if feature.data_ptr() in taken:
            entries[name] = feature.clone()
        taken.add(feature.data_ptr())
    return entries


def _way(key: FeatureKey) -> str:
    """A short name for the way a feature is made."""
    return text_digest(json.dumps([key.preprocessing, key.tower]), 8)


def _entry(key: FeatureKey) -> str:
    """What a feature is called in a file of features that were made in the same way."""
    return f"{key.frame} {key.content}"
