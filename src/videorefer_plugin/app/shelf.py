"""The work of all visitors, by key, with limits of number and age."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from pathlib import Path

from videorefer_plugin.app.tools import Tools
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.errors import AppError

__all__ = ["Shelf"]


class Shelf:
    """The work of all visitors.

    Each open page is a seat. Its work has a secret key, which the browser keeps, so that a page that is loaded or
    opened again continues with the same work. Work that no page shows is kept for a while, without cached values.

    Args:
        folder (`Path`): folder of the visitors' files, with a folder for each visitor.
        tools ([`Tools`]): the shared model and segmenters.
    """

    def __init__(self, folder: Path, tools: Tools):
        self.folder = folder
        self.tools = tools
        self._rooms: dict[str, Workspace] = {}
        self._seats: dict[str, str] = {}
        self._used: dict[str, float] = {}
        self._lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)

    def enter(self, seat: str, own: str = "", last: str = "") -> Workspace:
        """Give a page its work.

        Args:
            seat (`str`): name of the page, which is new each time that it is loaded.
            own (`str`): key that this tab of the browser had before it was loaded again.
            last (`str`): last key of the browser, in any tab; it is used if no page shows that work now.

        Raises:
            AppError: there are too many visitors.
        """
        with self._lock:
            self.sweep()
            held = set(self._seats.values())
            key = own if own in self._rooms else last if last in self._rooms and last not in held else None
            if key is None:
                self._make_room(held)
                key = secrets.token_urlsafe(24)
                self._rooms[key] = Workspace(key, self.folder / secrets.token_hex(8), self.tools)
            self._seats[seat] = key
            self._used[key] = time.monotonic()
            return self._rooms[key]

    def of(self, seat: str | None) -> Workspace:
        """Return the work that a page shows.

        Raises:
            AppError: the page has no work, since the server was restarted, or the work was dropped after a while.
        """
        with self._lock:
            key = self._seats.get(seat or "")
            if key is None or key not in self._rooms:
                raise AppError("This page was opened too long ago, and its work is no longer there. Load it again.")
            self._used[key] = time.monotonic()
            return self._rooms[key]

    def leave(self, seat: str | None) -> None:
        """Release the seat of a page that is closed, or is being loaded again."""
        with self._lock:
            key = self._seats.pop(seat or "", None)
            if key is not None and key in self._rooms and key not in self._seats.values():
                self._used[key] = time.monotonic()
                self._rooms[key].rest()

    def sweep(self) -> None:
        """Drop work that no page has shown for long."""
        with self._lock:
            held = set(self._seats.values())
            for key in self._long_unused():
                if key not in held:
                    self._forget(key)

    def close(self) -> None:
        """Drop all work, and delete all files."""
        with self._lock:
            rooms = list(self._rooms.values())
            self._rooms.clear()
        for room in rooms:
            room.stop()
        for room in rooms:
            room.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_room(self, held: set[str]) -> None:
        while len(self._rooms) >= self.tools.limits.max_visitors:
            # Pages that were left open and are no longer used make room as well.
            free = [key for key in self._rooms if key not in held] or self._long_unused()
            if not free:
                raise AppError(
                    f"{len(self._rooms)} visitors are here already, which is all that this page takes; come later."
                )
            self._forget(min(free, key=lambda key: self._used[key]))

    def _long_unused(self) -> list[str]:
        oldest = time.monotonic() - 60 * self.tools.limits.keep_minutes
        return [key for key, used in self._used.items() if used < oldest]

    def _forget(self, key: str) -> None:
        self._used.pop(key, None)
        room = self._rooms.pop(key, None)
        if room is not None:  # its job ends at the next frame, and other visitors do not wait for it
            threading.Thread(target=room.remove, daemon=True).start()
