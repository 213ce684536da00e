"""The check of the decisions of the data engine's Reviewer (appendix C.1 of the paper), with two buttons."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from videorefer_plugin.data_engine.review import Drawn, read_drawn, write_answer
from videorefer_plugin.errors import EngineError

__all__ = ["Desk", "Shown"]


@dataclass(frozen=True)
class Shown:
    """An item of the check.

    Attributes:
        place (`int`): index of the item, from 0.
        text (`str`): text of the record.
        file (`Path`, *optional*): a video or picture of the item.
        said (`bool`, *optional*): the answer about it.
    """

    place: int
    text: str
    file: Path | None
    said: bool | None


class Desk:
    """The items of a check, on which several people may work together.

    Args:
        folder (`Path`): folder of a run whose check was drawn (`videorefer data review FOLDER`).

    Raises:
        EngineError: no check was drawn, or its table cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._lock = threading.Lock()
        self._drawn: Drawn = read_drawn(self.folder)

    def __len__(self) -> int:
        return len(self._drawn.names)

    @property
    def done(self) -> int:
        """Number of items with an answer."""
        return sum(said is not None for said in self._drawn.answers.values())

    def shown(self, place: int) -> Shown:
        """Return an item; indices beyond either end wrap around."""
        place = place % len(self)
        name = self._drawn.names[place]
        return Shown(place, self._drawn.texts[name], self._drawn.files.get(name), self._drawn.answers[name])

    def next_open(self, place: int) -> int:
        """Return the first index from `place` on without an answer; `place` itself if there is none."""
        for step in range(len(self)):
            if self._drawn.answers[self._drawn.names[(place + step) % len(self)]] is None:
                return (place + step) % len(self)
        return place

    def say(self, place: int, is_right: bool | None) -> None:
        """Write an answer into the table.

        Raises:
            EngineError: the table cannot be written, or was replaced by another one.
        """
        with self._lock:
            if not 0 <= place < len(self):
                raise EngineError(f"There is no item {place + 1}; expected 1 to {len(self)}.")
            write_answer(self.folder, self._drawn.names[place], is_right)
            self._drawn = read_drawn(self.folder)
