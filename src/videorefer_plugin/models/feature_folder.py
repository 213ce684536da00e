"""Features in files of a folder, which processes and runs share."""

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.feature_keys import FeatureKey, text_digest

__all__ = ["FeatureFolder", "remove_features"]

logger = logging.getLogger(__name__)

_LAYOUT = "videorefer-plugin features 1"  # said in each file, so that those of others are told apart


class FeatureFolder:
    """The files of a folder. Each holds features that were written together and made in the same way.

    A file appears whole or not at all, and is never changed. One that turns out to be cut off, or not to be of this
    kind, is left alone with a warning, and what it held counts as not known.

    Args:
        folder (`str` or `os.PathLike`): the folder, which is made if it is not there.

    Raises:
        ConfigurationError: the folder cannot be used, now or later.
    """

    def __init__(self, folder: str | os.PathLike):
        try:
            self.path = Path(folder)
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"Features cannot be kept in {short(folder)} ({error}); expected a folder, or a place "
                "where one can be made."
            ) from error
        self._seen: set[str] = set()  # names of files that were looked into
        self._places: dict[FeatureKey, str] = {}  # the file that each feature lies in

    def known(self, keys: Iterable[FeatureKey]) -> set[FeatureKey]:
        """Which of these features lie in the folder."""
        wanted = set(keys)
        new = wanted - self._places.keys()
        if new:
            self._look(new)
        return wanted & self._places.keys()

    def read(self, keys: Sequence[FeatureKey]) -> dict[FeatureKey, Tensor]:
        """Those of these features that lie in the folder, on the CPU."""
        known = self.known(keys)
        by_file: dict[str, list[FeatureKey]] = {}
        for key in keys:
            if key in known:
                by_file.setdefault(self._places[key], []).append(key)
        found: dict[FeatureKey, Tensor] = {}
        for name, own in by_file.items():
            try:
                with safe_open(self.path / name, "pt") as file:
                    found |= {key: file.get_tensor(_entry(key)) for key in own}
            except (OSError, SafetensorError) as error:
                self._give_up(name, error)
        return found

    def write(self, features: Mapping[FeatureKey, Tensor]) -> None:
        """Write features, those made in the same way into one file.

        Raises:
            ConfigurationError: they cannot be written.
        """
        by_way: dict[str, dict[FeatureKey, Tensor]] = {}
        for key, feature in features.items():
            by_way.setdefault(_way(key), {})[key] = feature
        for way, some in by_way.items():
            entries = {_entry(key): feature.cpu().contiguous() for key, feature in some.items()}
            name = f"features-{way}-{text_digest(' '.join(sorted(entries)))}.safetensors"
            self._save(name, entries, next(iter(some)))
            self._seen.add(name)
            self._places |= dict.fromkeys(some, name)

    def _save(self, name: str, entries: dict[str, Tensor], key: FeatureKey) -> None:
        # Of several processes that write the same, each has a file of its own until it is whole.
        temporary = self.path / f"{name.removesuffix('.safetensors')}-{uuid.uuid4().hex}.part"
        says = {"layout": _LAYOUT, "preprocessing": key.preprocessing, "tower": key.tower}
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            save_file(entries, temporary, says)
            temporary.replace(self.path / name)
        except (OSError, SafetensorError) as error:
            raise ConfigurationError(
                f"Features cannot be written to {self.path} ({error}). Make room there, or name another folder."
            ) from error
        finally:
            with contextlib.suppress(OSError):  # as a rule it has its last name by now
                temporary.unlink()

    def _look(self, keys: Iterable[FeatureKey]) -> None:
        """Look into files that may hold some of these and appeared since the last look."""
        ways = {_way(key): key for key in keys}
        for name in _names(self.path):
            if name in self._seen or name.split("-")[1] not in ways:
                continue
            try:
                with safe_open(self.path / name, "pt") as file:
                    self._note(name, ways[name.split("-")[1]], file)
            except FileNotFoundError:  # removed a moment ago
                continue
            except (OSError, SafetensorError, ValueError) as error:
                self._give_up(name, error)

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
        self._places = {key: place for key, place in self._places.items() if place != name}


def remove_features(folder: str | os.PathLike) -> None:
    """Remove what stores left in a folder."""
    for path in Path(folder).glob("features-*"):
        path.unlink(missing_ok=True)


def _names(folder: Path) -> list[str]:
    """Names of the files in a folder that may hold features."""
    try:
        found = os.listdir(folder)
    except FileNotFoundError:  # removed since; it is made again when something is written
        return []
    except OSError as error:
        raise ConfigurationError(
            f"Features cannot be looked for in {folder} ({error}); see who may read it, or name another folder."
        ) from error
    return sorted(name for name in found if name.startswith("features-") and name.endswith(".safetensors"))


def _way(key: FeatureKey) -> str:
    """A short name for the way a feature is made."""
    return text_digest(json.dumps([key.preprocessing, key.tower]), 8)


def _entry(key: FeatureKey) -> str:
    """What a feature is called in a file of features that were made in the same way."""
    return f"{key.frame} {key.content}"
