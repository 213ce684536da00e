"""The tab of the page where people check the decisions of a Reviewer."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from videorefer_plugin.app.checking import Desk
from videorefer_plugin.app.markup import told
from videorefer_plugin.errors import EngineError

__all__ = ["CheckTab"]


class CheckTab:
    """Shows the items of a check one by one, with two buttons.

    Args:
        desk ([`Desk`]): the items.
        folder (`Path`): folder to which pictures and videos are copied, so that the page can show them.
    """

    def __init__(self, desk: Desk, folder: Path):
        self.desk, self.folder = desk, folder
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)

    def build(self) -> None:
        """Make and connect the components, within a `gr.Blocks`."""
        gr.HTML(
            "<h1 class='vr-title'>Check a Reviewer</h1>"
            "<p>Is what the text says of the marked object right? Answers are written into the table of the check at "
            "once. What the Reviewer said is not shown.</p>"
        )
        self.place = gr.State(0)
        self.count = gr.HTML(elem_id="vr-check-count")
        self.film = gr.Video(label="Frames, and the same with the object", interactive=False, elem_id="vr-check-film")
        self.still = gr.Image(label="The picture, and the same with the object", interactive=False, visible=False)
        self.text = gr.HTML(elem_id="vr-check-text")
        with gr.Row():
            right = gr.Button("Right", variant="primary", elem_id="vr-check-right")
            wrong = gr.Button("Wrong", variant="stop", elem_id="vr-check-wrong")
        with gr.Row():
            before = gr.Button("Previous", size="sm", elem_id="vr-check-before")
            unsaid = gr.Button("Take the answer back", size="sm", elem_id="vr-check-unsaid")
            after = gr.Button("Next", size="sm", elem_id="vr-check-after")
        self.fault = gr.HTML()
        outputs = [self.place, self.count, self.film, self.still, self.text, self.fault]
        for button, act in (
            (right, lambda place: self._say(place, True)),
            (wrong, lambda place: self._say(place, False)),
            (unsaid, lambda place: self._unsay(place)),
            (before, lambda place: place - 1),
            (after, lambda place: place + 1),
        ):
            button.click(self._acting(act), self.place, outputs, show_progress="hidden", api_visibility="private")

    @property
    def outputs(self) -> list[Any]:
        """The components that `begin` writes."""
        return [self.place, self.count, self.film, self.still, self.text, self.fault]

    def begin(self) -> dict[Any, Any]:
        """Show the first item without an answer."""
        return self._shown(self.desk.next_open(0))

    def _acting(self, act: Callable[[int], int]) -> Callable[[int], dict[Any, Any]]:
        def handle(place: int) -> dict[Any, Any]:
            try:
                return self._shown(act(place))
            except EngineError as error:
                return {self.fault: told(str(error), True)}

        return handle

    def _say(self, place: int, is_right: bool) -> int:
        self.desk.say(place, is_right)
        return self.desk.next_open(place)

    def _unsay(self, place: int) -> int:
        self.desk.say(place, None)
        return place

    def _shown(self, place: int) -> dict[Any, Any]:
        item = self.desk.shown(place)
        said = {True: "You said: right.", False: "You said: wrong.", None: "There is no answer yet."}[item.said]
        file = None if item.file is None else self._copied(item.file)
        is_film = file is None or file.suffix == ".mp4"
        count = f"Item {item.place + 1} of {len(self.desk)}. {self.desk.done} checked. {said}"
        return {
            self.place: item.place,
            self.count: f"<p role='status'>{count}</p>",
            self.film: gr.Video(str(file) if file and is_film else None, visible=is_film, autoplay=True),
            self.still: gr.Image(None if file is None or is_film else str(file), visible=not is_film),
            self.text: f"<p class='vr-check'>{escape(item.text)}</p>",
            self.fault: told(""),
        }

    def _copied(self, path: Path) -> Path:
        copy = self.folder / path.name
        with self._lock:
            if not copy.exists():
                shutil.copyfile(path, copy)
        return copy
