"""The layout of the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from videorefer_plugin.app.limits import MOST_OBJECTS
from videorefer_plugin.app.markup import about
from videorefer_plugin.app.tasks import TASKS
from videorefer_plugin.app.tools import Tools
from videorefer_plugin.inputs.wording import QUESTION_TYPES

__all__ = ["EXPORTS", "MODES", "Layout", "Row"]

EXPORTS = {"masklets": "Masklets", "record": "Training record", "code": "Python code"}
MODES = {"on": "On the object (+)", "off": "Not on it (−)", "box": "Box: two opposite corners"}
_TYPES = ["video", ".mkv", ".gif", ".webp"]


@dataclass
class Row:
    """An object in the list."""

    row: Any
    select: Any
    ask: Any
    hide: Any
    delete: Any


@dataclass
class Layout:
    """The components of the page, made within a `gr.Blocks`."""

    tools: Tools
    rows: dict[int, Row] = field(default_factory=dict)
    tasks: dict[str, Any] = field(default_factory=dict)
    examples: dict[str, Any] = field(default_factory=dict)
    exports: dict[str, Any] = field(default_factory=dict)

    def build(self, examples: list[str]) -> None:
        """Make the components.

        Args:
            examples (`list[str]`): names of examples.
        """
        self.own_key = gr.Textbox(visible=False)
        self.last_key = gr.Textbox(visible=False)
        self.key = gr.Textbox(visible=False)
        self.failed = gr.Textbox(visible=False)  # a question that could not be answered, on its way into its box
        gr.HTML("<h1 class='vr-title'>Click on an object, and talk about it</h1>")
        with gr.Row():
            with gr.Column(scale=3, min_width=420):
                self._video(examples)
                self._frame()
            with gr.Column(scale=2, min_width=360):
                self._objects()
                self._talk()
                self._files()

    def _video(self, examples: list[str]) -> None:
        with gr.Row(equal_height=True):
            megabytes = self.tools.limits.max_megabytes
            self.upload = gr.File(
                label=f"Drop a video here (up to {megabytes} MB and {self.tools.limits.max_seconds} s)",
                file_types=_TYPES,
                height=130,
                elem_id="vr-upload",
                interactive=False,  # until the page is ready
                scale=3,
            )
            with gr.Column(scale=1, min_width=150):
                for name in examples:
                    self.examples[name] = gr.Button(name, size="sm", interactive=False)
        self.told = gr.HTML(elem_id="vr-told")

    def _frame(self) -> None:
        self.image = gr.Image(
            interactive=False,
            type="numpy",
            format="webp",
            label="Frame",
            buttons=["fullscreen"],
            elem_id="vr-frame",
        )
        self.slider = gr.Slider(0, 1, 0, step=1, label="Frame", interactive=False, elem_id="vr-slider", buttons=[])
        self.strip = gr.HTML(elem_id="vr-strip")
        self.mode = gr.Radio(
            [(label, mode) for mode, label in MODES.items()], value="on", label="A click is", elem_id="vr-mode"
        )
        with gr.Row():
            self.new = gr.Button("New object", size="sm", elem_id="vr-new")
            self.undo = gr.Button("Undo", size="sm", interactive=False, elem_id="vr-undo")
            self.absent = gr.Button("Not in this frame", size="sm", interactive=False, elem_id="vr-absent")
        with gr.Row():
            self.follow = gr.Button("Follow objects", variant="primary", elem_id="vr-follow")
            self.play = gr.Button("Play with masks", elem_id="vr-play")
            self.stop = gr.Button("Stop", variant="stop", interactive=False, elem_id="vr-stop")
        self.progress = gr.HTML(elem_id="vr-progress")
        with gr.Accordion("Point without a mouse, or by words", open=False):
            with gr.Row(equal_height=True):
                self.x = gr.Number(0, label="x (pixels)", minimum=0, precision=0, elem_id="vr-x", min_width=90)
                self.y = gr.Number(0, label="y (pixels)", minimum=0, precision=0, elem_id="vr-y", min_width=90)
                self.here = gr.Button("Click there", size="sm", elem_id="vr-here", min_width=110)
            with gr.Row(equal_height=True):
                self.words = gr.Textbox(
                    label="Words for an object in this frame", max_length=200, max_lines=1, elem_id="vr-words", scale=3
                )
                self.find = gr.Button("Find", size="sm", elem_id="vr-find", min_width=110)
        self.film = gr.Video(
            label="Video with objects",
            interactive=False,
            visible=False,
            elem_id="vr-film",
            buttons=["download"],
        )

    def _objects(self) -> None:
        with gr.Group(elem_id="vr-objects"):
            gr.HTML("<h2 class='vr-head'>Objects</h2>")
            self.none = gr.HTML("<p class='vr-empty'>None yet: open a video, and click on something in it.</p>")
            for number in range(1, MOST_OBJECTS + 1):
                with gr.Row(visible=False, elem_classes=["vr-object"], equal_height=True) as row:
                    select = gr.Button("", size="sm", elem_classes=[f"vr-chip-{number}"], scale=4, min_width=100)
                    ask = gr.Button(f"<region{number}>", size="sm", scale=2, min_width=84, elem_id=f"vr-ask-{number}")
                    hide = gr.Button("Hide", size="sm", scale=1, min_width=56, elem_id=f"vr-hide-{number}")
                    delete = gr.Button("Delete", size="sm", scale=1, min_width=62, elem_id=f"vr-delete-{number}")
                self.rows[number] = Row(row, select, ask, hide, delete)
            with gr.Row(visible=False, equal_height=True) as self.details:
                self.name = gr.Textbox(
                    label="Name", max_length=60, max_lines=1, elem_id="vr-name", scale=3, min_width=110
                )
                self.start = gr.Number(label="First frame", precision=0, elem_id="vr-start", min_width=76)
                self.end = gr.Number(label="Last frame", precision=0, elem_id="vr-end", min_width=76)
                self.apply = gr.Button("Set", size="sm", elem_id="vr-apply", min_width=52)

    def _talk(self) -> None:
        self.chat = gr.Chatbot(
            label="Conversation",
            height=330,
            render_markdown=False,
            sanitize_html=True,
            latex_delimiters=[],
            allow_file_downloads=False,
            feedback_options=None,
            buttons=[],
            elem_id="vr-chat",
            placeholder="Ask about objects: click on the tag of one in the list to put it into the question.",
        )
        with gr.Row(elem_classes=["vr-tasks"]):
            for task in TASKS:
                self.tasks[task.name] = gr.Button(task.name, size="sm", min_width=84)
        with gr.Row(equal_height=True):
            self.question = gr.Textbox(
                label="Question (Shift + Enter asks it)",
                placeholder="What is <region1> doing?",
                lines=2,
                max_lines=6,
                max_length=4000,
                elem_id="vr-question",
                scale=4,
            )
            self.ask = gr.Button("Ask", variant="primary", elem_id="vr-ask", min_width=76)
        with gr.Row():
            self.back = gr.Button("Take last question back", size="sm", elem_id="vr-back")
            self.anew = gr.Button("New conversation", size="sm", elem_id="vr-anew")
        with gr.Accordion("What this page can and cannot do", open=self.tools.is_embedded):
            gr.HTML(about(self.tools.about))

    def _files(self) -> None:
        with gr.Accordion("Files: take away, bring along", open=False):
            with gr.Row():
                for name, label in EXPORTS.items():
                    self.exports[name] = gr.Button(label, size="sm", min_width=96, elem_id=f"vr-take-{name}")
            self.taken = gr.File(
                label="Files to download", file_count="multiple", interactive=False, visible=False, elem_id="vr-taken"
            )
            self.bring = gr.File(
                label="Drop masklets, a training record or a benchmark item of this video",
                file_types=[".json"],
                height=130,
                elem_id="vr-bring",
            )
        with gr.Accordion("Make an item of a benchmark", open=False):
            kinds = [("Description (Bench-D)", "d"), ("Question (Bench-Q)", "q")]
            self.kind = gr.Radio(kinds, value="d", label="Item", elem_id="vr-kind")
            self.caption = gr.Textbox(
                label="True description of the selected object", lines=2, max_length=4000, elem_id="vr-caption"
            )
            with gr.Group(visible=False) as self.choice:
                self.item = gr.Textbox(
                    label="Question", placeholder="What is <region1> doing?", max_length=4000, elem_id="vr-item"
                )
                self.options = gr.Textbox(label="Options, one a line", lines=4, max_length=4000, elem_id="vr-options")
                with gr.Row():
                    self.right = gr.Number(1, label="Right option", precision=0, minimum=1, elem_id="vr-right")
                    self.type = gr.Dropdown(list(QUESTION_TYPES), value=QUESTION_TYPES[0], label="Type")
            self.make = gr.Button("Make the item", size="sm", elem_id="vr-make")
