"""A table of the videos and images of a data set, so that those with kept features need not be opened."""

import json
import logging
import os
import uuid
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.feature_store import text_digest

__all__ = ["VisualTable"]

logger = logging.getLogger(__name__)

_PARTS = ("contents", "shown")


class VisualTable:
    """Digests of the contents of files, and the frames of them that are shown to a model.

    It is in files beside the features. Each file is written completely or not at all, with the entries that the
    process has added since the last one. An unreadable file is ignored with a warning, and its entries are computed
    again.

    Args:
        folder (`Path`): folder of the files.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        self._new: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        self._read: set[str] = set()
        self.load()

    def load(self) -> None:
        """Read the files that other processes have written since."""
        for path in sorted(self._folder.glob("features-visuals-*.json")):
            if path.name in self._read:
                continue
            self._read.add(path.name)
            try:
                parts = json.loads(path.read_text(encoding="utf-8"))
                if not all(isinstance(parts[part], dict) for part in _PARTS):
                    raise ValueError("it is of another kind")
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                logger.warning("%s cannot be used (%s); the file can be deleted.", path, error)
                continue
            for part in _PARTS:
                self._known[part] |= parts[part]

    def save(self) -> None:
        """Write the new entries.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        if not any(self._new.values()):
            return
        path = self._folder / f"features-visuals-{uuid.uuid4().hex}.json"
        try:
            write_whole(path, json.dumps(self._new))
        except OSError as error:
            raise ConfigurationError(
                f"The table of videos cannot be written to {self._folder} ({error}). Make room there, or name "
                "another folder."
            ) from error
        self._read.add(path.name)
        self._new = {part: {} for part in _PARTS}

    def content(self, kind: str, path: str) -> str | None:
        """Return the digest of the content at a path, if it is known for the current file.

        A file counts as unchanged as long as its size and modification time are the same.
        """
        try:
            return self._known["contents"].get(_place(kind, path))
        except OSError:  # opening it raises an error about that
            return None

    def set_content(self, kind: str, path: str, content: str) -> None:
        """Store the digest of the content at a path."""
        self._set("contents", _place(kind, path), content)

    def shown(self, content: str, num_frames: int) -> list[int] | None:
        """Return the shown frames of a video or image of this content, if `num_frames` are sampled."""
        return self._known["shown"].get(f"{content} {num_frames}")

    def set_shown(self, content: str, num_frames: int, frames: list[int]) -> None:
        """Store the shown frames."""
        self._set("shown", f"{content} {num_frames}", frames)

    def _set(self, part: str, key: str, value: Any) -> None:
        if self._known[part].get(key) != value:
            self._known[part][key] = self._new[part][key] = value


def _place(kind: str, path: str) -> str:
    """Return a key of a file or folder that also changes when other contents replace it."""
    says: list[Any] = [kind, os.path.abspath(path), *_state(path)]
    if os.path.isdir(path):
        says.append(
            [[entry.name, *_state(entry.path)] for entry in sorted(os.scandir(path), key=lambda one: one.name)]
        )
    return text_digest(json.dumps(says))


def _state(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns
