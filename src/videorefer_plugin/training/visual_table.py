"""What is known of the videos and images of a data set, so that nobody has to open those whose features are kept."""

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
    """Digests of the contents of files, and which frames a model is shown of them.

    It lies in files beside the features. Each is written whole or not at all, with what the process has learnt since
    the last one. A file that cannot be read is left alone with a warning; what it held is found out again.

    Args:
        folder (`Path`): where the files are.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        self._new: dict[str, dict[str, Any]] = {part: {} for part in _PARTS}
        self._read: set[str] = set()
        self.load()

    def load(self) -> None:
        """Read what other processes have written since."""
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
        """Write what is new.

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
                f"What is known of videos cannot be written to {self._folder} ({error}). Make room there, or name "
                "another folder."
            ) from error
        self._read.add(path.name)
        self._new = {part: {} for part in _PARTS}

    def content(self, kind: str, path: str) -> str | None:
        """Digest of what lies at a path, if that is known of the file that lies there now.

        A file is taken for the same as long as its size and the time of its last change are.
        """
        try:
            return self._known["contents"].get(_place(kind, path))
        except OSError:  # it cannot be read, which is said when it is opened
            return None

    def set_content(self, kind: str, path: str, content: str) -> None:
        """Note the digest of what lies at a path."""
        self._set("contents", _place(kind, path), content)

    def shown(self, content: str, num_frames: int) -> list[int] | None:
        """The frames that are shown of a video or image of this content, if so many are sampled."""
        return self._known["shown"].get(f"{content} {num_frames}")

    def set_shown(self, content: str, num_frames: int, frames: list[int]) -> None:
        """Note the frames that are shown."""
        self._set("shown", f"{content} {num_frames}", frames)

    def _set(self, part: str, key: str, value: Any) -> None:
        if self._known[part].get(key) != value:
            self._known[part][key] = self._new[part][key] = value


def _place(kind: str, path: str) -> str:
    """What tells a file, or a folder of them, from all others, and from what lay in the same place before."""
    says: list[Any] = [kind, os.path.abspath(path), *_state(path)]
    if os.path.isdir(path):
        says.append(
            [[entry.name, *_state(entry.path)] for entry in sorted(os.scandir(path), key=lambda one: one.name)]
        )
    return text_digest(json.dumps(says))


def _state(path: str) -> tuple[int, int]:
    state = os.stat(path)
    return state.st_size, state.st_mtime_ns
