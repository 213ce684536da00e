"""The check of what a Reviewer of the data engine kept and discarded (appendix C.1 of the paper), with two buttons."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from videorefer_plugin.data_engine.review import Drawn, read_drawn, write_answer
from videorefer_plugin.errors import EngineError

__all__ = ["Desk", "Shown"]


@dataclass(frozen=True)
class Shown:
    """An item to look at.

    Attributes:
        place (`int`): from 0.
        text (`str`): what the record says.
        file (`Path`, *optional*): what is to be seen of it, a video or a picture.
        said (`bool`, *optional*): what was said of it.
    """

    place: int
    text: str
    file: Path | None
    said: bool | None


class Desk:
    """The items of a check, which several people may go through together.

    Args:
        folder (`Path`): of a run whose check was drawn (`videorefer data review FOLDER`).

    Raises:
        EngineError: nothing was drawn, or its table cannot be read.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self._lock = threading.Lock()
        self._drawn: Drawn = read_drawn(self.folder)

    def __len__(self) -> int:
        return len(self._drawn.names)

    @property
    def done(self) -> int:
        """How many items something was said of."""
        return sum(said is not None for said in self._drawn.answers.values())

    def shown(self, place: int) -> Shown:
        """An item; places beyond either end are those of the last and the first."""
        place = place % len(self)
        name = self._drawn.names[place]
        return Shown(place, self._drawn.texts[name], self._drawn.files.get(name), self._drawn.answers[name])

    def next_open(self, place: int) -> int:
        """The first item from a place on of which nothing was said; the place itself if there is none."""
        for step in range(len(self)):
            if self._drawn.answers[self._drawn.names[(place + step) % len(self)]] is None:
                return (place + step) % len(self)
        return place

    def say(self, place: int, is_right: bool | None) -> None:
        """Write an answer into the table.

        Raises:
            EngineError: it cannot be written, or another table lies there by now.
        """
        with self._lock:
            if not 0 <= place < len(self):
                raise EngineError(f"There is no item {place + 1}; expected 1 to {len(self)}.")
            write_answer(self.folder, self._drawn.names[place], is_right)
            self._drawn = read_drawn(self.folder)
