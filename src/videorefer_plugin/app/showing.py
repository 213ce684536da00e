"""Shows a visitor's work in the components of the page."""

from __future__ import annotations

from html import escape
from typing import Any

import gradio as gr

from videorefer_plugin.app.drawing import picture
from videorefer_plugin.app.layout import Layout
from videorefer_plugin.app.markup import progress, strip, told
from videorefer_plugin.app.talking import Asked, shown
from videorefer_plugin.app.workspace import Workspace

__all__ = ["Showing"]

Updates = dict[Any, Any]


class Showing:
    """Writes a visitor's work into the components of the page.

    Args:
        page ([`Layout`]): the page.
    """

    def __init__(self, page: Layout):
        self.page = page

    @property
    def outputs(self) -> list[Any]:
        """All components that may be updated."""
        page = self.page
        rows = [part for row in page.rows.values() for part in (row.row, row.select, row.hide)]
        plain = (
            "upload told image slider strip undo absent follow play stop progress film none details name start end "
            "chat question failed ask taken bring"
        )
        return [getattr(page, name) for name in plain.split()] + [*page.examples.values()] + rows

    def everything(self, room: Workspace) -> Updates:
        """Return updates of all components, for a loaded page or another video."""
        page, video = self.page, room.video
        last = 1 if video is None else max(video.num_frames - 1, 1)
        return {
            page.upload: gr.File(None, interactive=True),
            **{button: gr.Button(interactive=True) for button in page.examples.values()},
            page.slider: gr.Slider(
                maximum=last,
                value=room.frame,
                interactive=video is not None and video.num_frames > 1,
                label="Frame" if video is None else f"Frame (0 to {video.num_frames - 1}, {video.fps:.4g} a second)",
            ),
            **self.film(room),
            **self.scene(room),
            **self.talk(room),
        }

    def scene(self, room: Workspace, aim: tuple[float, float] | None = None) -> Updates:
        """Return updates of the frame, the objects in it, and their list."""
        return {**self.frame(room, aim), **self.objects(room), **self.state(room)}

    def frame(self, room: Workspace, aim: tuple[float, float] | None = None) -> Updates:
        """Return updates of the frame and the strip below it."""
        image = None if room.video is None else picture(room, room.frame, aim)
        return {self.page.image: image, self.page.strip: strip(room, room.frame)}

    def objects(self, room: Workspace) -> Updates:
        """Return updates of the list of objects."""
        page = self.page
        updates: Updates = {page.none: gr.HTML(visible=not room.things)}
        by_number = {thing.number: thing for thing in room.things}
        for number, row in page.rows.items():
            thing = by_number.get(number)
            updates[row.row] = gr.Row(visible=thing is not None)
            if thing is not None:
                state = "" if thing.is_current else " · to be followed"
                is_selected = number == room.selected
                updates[row.select] = gr.Button(
                    f"{'▶ ' if is_selected else ''}{number} {thing.called}{state}",
                    variant="primary" if is_selected else "secondary",
                )
                updates[row.hide] = gr.Button("Show" if thing.hidden else "Hide")
        chosen = by_number.get(room.selected or 0)
        updates[page.details] = gr.Row(visible=chosen is not None)
        if chosen is not None and room.video is not None:
            last = room.video.num_frames - 1
            updates[page.name] = chosen.name
            updates[page.start] = chosen.start or 0
            updates[page.end] = last if chosen.end is None else chosen.end
        return updates

    def state(self, room: Workspace) -> Updates:
        """Return updates of the progress, and of the buttons that can be used now."""
        page, busy = self.page, room.is_busy
        return {
            page.progress: progress(room.job),
            page.undo: gr.Button(interactive=room.can_undo),
            page.absent: gr.Button(interactive=room.selected is not None),
            page.stop: gr.Button(interactive=busy),
            page.follow: gr.Button(interactive=bool(room.things) and not busy),
            page.play: gr.Button(interactive=room.video is not None and not busy),
            page.ask: gr.Button(interactive=room.video is not None and not busy),
        }

    def talk(self, room: Workspace) -> Updates:
        """Return updates of the conversation."""
        said: list[dict[str, str]] = []
        pending = [] if room.talk.pending is None else [room.talk.pending]
        for asked in [*room.talk.turns, *pending]:
            said += _messages(asked, asked in pending)
        return {self.page.chat: said}

    def film(self, room: Workspace) -> Updates:
        """Return updates of the video with its objects, if it was drawn."""
        there = room.film is not None and room.film.exists()
        return {self.page.film: gr.Video(str(room.film) if there else None, visible=there), **self.files(room)}

    def files(self, room: Workspace) -> Updates:
        """Return updates of the files to download."""
        there = [str(path) for path in room.taken if path.exists()]
        return {self.page.taken: gr.File(there or None, visible=bool(there)), self.page.bring: None}

    def message(self, text: str, is_fault: bool = False) -> Updates:
        """Return an update of the message about the last action."""
        return {self.page.told: told(text, is_fault)}


def _messages(asked: Asked, is_pending: bool) -> list[dict[str, str]]:
    answer = asked.answer or ("..." if is_pending else "(no answer)")
    # The component renders texts as HTML, even if Markdown is turned off.
    return [{"role": "user", "content": escape(shown(asked))}, {"role": "assistant", "content": escape(answer)}]
