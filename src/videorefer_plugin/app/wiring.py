"""Connects events of the page with actions."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import gradio as gr

from videorefer_plugin.app.drawing import scale_of
from videorefer_plugin.app.examples import Example
from videorefer_plugin.app.exports import BenchForm, export_code, export_item, export_masklets, export_record
from videorefer_plugin.app.imports import import_file
from videorefer_plugin.app.jobs import Job
from videorefer_plugin.app.layout import Layout
from videorefer_plugin.app.shelf import Shelf
from videorefer_plugin.app.showing import Showing, Updates
from videorefer_plugin.app.talking import chip
from videorefer_plugin.app.tasks import TASKS, Task, question_of
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.errors import VideoReferError

__all__ = ["Wiring"]

_LOOK_AGAIN = 0.15  # seconds
# Actions on objects run in the order of their events: "New object" before the click after it.
_IN_ORDER = {"concurrency_id": "objects", "concurrency_limit": 1}
_KEYS = "() => [sessionStorage.getItem('videorefer') || '', localStorage.getItem('videorefer') || '']"
# Gradio gives no accessible names to the button around the frame, and to its empty state.
_NAMES = """() => {
  const frame = '#vr-frame .image-container > button', empty = '#vr-frame .empty';
  const name = () => {
    for (const part of document.querySelectorAll(frame)) part.ariaLabel = 'The frame: click on an object in it';
    for (const part of document.querySelectorAll(empty)) part.role = 'img', part.ariaLabel = 'No video is open';
  };
  new MutationObserver(name).observe(document.body, { childList: true, subtree: true });
  name();
}"""
# A question that could not be answered is restored, unless another one was typed meanwhile.
_PUT_BACK = "(failed, typed) => ['', typed.trim() ? typed : failed]"
_KEEP = "(key) => { if (key) { sessionStorage.setItem('videorefer', key); localStorage.setItem('videorefer', key); } }"

Part = Callable[[Workspace], Updates]


class Wiring:
    """Connects the components of the page with the work of visitors, within a `gr.Blocks`.

    Args:
        page ([`Layout`]): the components.
        shelf ([`Shelf`]): the work of visitors.
        examples (`dict[str, Example]`): the examples by name.
    """

    def __init__(self, page: Layout, shelf: Shelf, examples: dict[str, Example]):
        self.page, self.shelf, self.examples = page, shelf, examples
        self.showing = Showing(page)

    def connect(self, blocks: gr.Blocks) -> None:
        """Connect all components."""
        page, show = self.page, self.showing
        loaded = blocks.load(
            self.enter, [page.own_key, page.last_key], [page.key, *show.outputs], js=_KEYS, **_quiet()
        )
        loaded.then(None, page.key, None, js=_KEEP, **_quiet())
        self.watch(loaded)
        blocks.unload(self.leave)
        blocks.load(None, None, None, js=_NAMES, **_quiet())

        self.watch(self.on(page.upload.upload, self.open, [page.upload], show.everything, **self.busy()))
        for name, button in page.examples.items():
            self.watch(
                self.on(button.click, functools.partial(self.example, name), [], show.everything, **self.busy())
            )
        page.slider.input(self.look, page.slider, show.outputs, trigger_mode="always_last", **_quiet())
        page.image.select(
            self.click, [page.mode, page.slider], show.outputs, trigger_mode="multiple", **self.busy(), **_IN_ORDER
        )
        for field in (page.x, page.y):
            field.input(self.aim, [page.x, page.y], show.outputs, trigger_mode="always_last", **_quiet())
        here = [page.slider, page.mode, page.x, page.y]
        self.on(page.here.click, self.point, here, show.scene, **self.busy(), **_IN_ORDER)
        for event in (page.find.click, page.words.submit):
            self.on(
                event,
                lambda room, frame, words: _found(room.find(_at(room, frame), words)),
                [page.slider, page.words],
                show.scene,
                **self.busy(),
                **_IN_ORDER,
            )
        self.on(page.new.click, self.new, [], show.scene, **_IN_ORDER)
        self.on(page.undo.click, lambda room: room.undo(), [], show.scene, **_IN_ORDER)
        self.on(
            page.absent.click,
            lambda room, frame: room.absent(_at(room, frame)),
            [page.slider],
            show.scene,
            **_IN_ORDER,
        )
        self.watch(self.on(page.follow.click, lambda room: _void(room.follow()), [], show.state, **_IN_ORDER))
        self.watch(self.on(page.play.click, lambda room: _void(room.play()), [], show.state))
        self.on(page.stop.click, lambda room: room.stop(), [], show.state)
        self._connect_objects()
        self._connect_talk()
        self._connect_files()

    def _connect_objects(self) -> None:
        page, show = self.page, self.showing
        for number, row in page.rows.items():
            self.on(row.select.click, functools.partial(_select, number), [], show.scene, **_IN_ORDER)
            self.on(row.hide.click, functools.partial(_hide, number), [], show.scene, **_IN_ORDER)
            self.on(row.delete.click, functools.partial(_delete, number), [], show.scene, **_IN_ORDER)
            row.ask.click(functools.partial(_insert, number), page.question, page.question, **_quiet())
        self.on(page.name.submit, lambda room, name: room.rename(name), [page.name], show.scene, **_IN_ORDER)
        self.on(page.apply.click, self.describe, [page.name, page.start, page.end], show.scene, **_IN_ORDER)

    def _connect_talk(self) -> None:
        page, show = self.page, self.showing
        for event in (page.ask.click, page.question.submit):
            self.watch(event(self.ask, page.question, show.outputs, **_quiet()))
        for task in TASKS:
            self.watch(self.on(page.tasks[task.name].click, functools.partial(self.task, task), [], self.asked))
        self.on(page.back.click, lambda room: room.take_back(), [], show.talk)
        for event in (page.anew.click, page.chat.clear):
            self.on(event, lambda room: room.begin_anew(), [], show.talk)

    def _connect_files(self) -> None:
        page, show = self.page, self.showing
        makers = {"masklets": export_masklets, "record": export_record, "code": export_code}
        for name, make in makers.items():
            self.on(page.exports[name].click, functools.partial(_export, make), [], show.files)
        page.kind.change(_choose, page.kind, [page.caption, page.choice], **_quiet())
        form = [page.kind, page.caption, page.item, page.options, page.right, page.type]
        self.on(page.make.click, _export_item, form, show.files)
        page.bring.upload(self.bring, page.bring, show.outputs, **_quiet())

    def busy(self) -> dict[str, Any]:
        """Settings of an event that takes a while, for which the frame shows a progress."""
        return {**_quiet(), "show_progress": "minimal", "show_progress_on": self.page.image}

    # --- making handlers ------------------------------------------------------------------------------------------

    def on(self, event: Any, act: Callable[..., str | None], inputs: list[Any], part: Part, **settings: Any) -> Any:
        """Connect an event with an action, after which a part of the work is shown. The page shows errors.

        Args:
            event: event of a component.
            act: function of the work and the values of `inputs`, which may return a message.
            inputs: components whose values `act` gets.
            part: the part of the work that is shown afterwards.
            settings: settings of the event.
        """

        def handle(request: gr.Request, *values: Any) -> Updates:
            return self.acting(request, lambda room: act(room, *values), part)

        return event(handle, inputs, self.showing.outputs, **{**_quiet(), **settings})

    def acting(
        self, request: gr.Request, act: Callable[[Workspace], str | None], part: Part, is_look: bool = False
    ) -> Updates:
        """Act, and show a part of the work. Actions that only look leave the message unchanged."""
        try:
            room = self.shelf.of(request.session_hash)
        except VideoReferError as error:
            return self.showing.message(str(error), True)
        try:
            said = act(room)
        except (VideoReferError, OSError) as error:
            return {**part(room), **self.showing.message(str(error), True)}
        return {**part(room), **({} if is_look else self.showing.message(said or ""))}

    def watch(self, event: Any) -> None:
        """After an event, show the progress of work until it is done."""
        page = self.page
        watched = event.then(self.watching, None, self.showing.outputs, concurrency_limit=None, **_quiet())
        back = [page.failed, page.question]
        watched.then(None, back, back, js=_PUT_BACK, **_quiet())

    async def watching(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show the progress of work until it is done."""
        try:
            room = self.shelf.of(request.session_hash)
        except VideoReferError as error:
            yield self.showing.message(str(error), True)
            return
        job, before = room.job, None
        if job is None:
            yield {self.page.told: gr.skip()}  # gradio empties all components without an update
            return
        while not job.is_over:
            if (job.done, job.started, job.is_stopped) != before:
                before = job.done, job.started, job.is_stopped
                talk = self.showing.talk(room) if job.kind == "answer" else {}
                yield {**self.showing.state(room), **talk}
            await asyncio.sleep(_LOOK_AGAIN)
        yield await asyncio.to_thread(self.ended, room, job)
        if not job.is_told:  # only once, and not again after a reload of the page
            job.is_told = True
            yield self.said(room, job)

    def ended(self, room: Workspace, job: Job) -> Updates:
        """Return the updates at the end of work."""
        show = self.showing
        parts = {"follow": show.scene, "draw": show.film, "answer": show.talk}
        lost = job.kind == "answer" and not job.is_told and (job.error is not None or not job.started)
        return {**show.state(room), **parts[job.kind](room), **({self.page.failed: room.talk.typed} if lost else {})}

    def said(self, room: Workspace, job: Job) -> Updates:
        """Return the message at the end of work. Bugs of the program are raised."""
        if fault := job.fault:
            return self.showing.message(fault, True)
        if job.kind == "answer" and (note := room.tools.note(room.video)):
            return self.showing.message(note)
        if job.is_stopped:
            return self.showing.message("Stopped; the finished part is kept.")
        done = {
            "follow": "Done. Move the slider to look at the masks. Where one is wrong, click there and follow again.",
            "draw": "The video with its masks is below the buttons.",
        }
        return self.showing.message(done[job.kind]) if job.kind in done else {self.page.told: gr.skip()}

    # --- actions --------------------------------------------------------------------------------------------------

    def enter(self, request: gr.Request, own: str, last: str) -> Updates:
        """Handle a loaded page."""
        try:
            room = self.shelf.enter(request.session_hash or "", own, last)
        except VideoReferError as error:
            return self.showing.message(str(error), True)
        return {self.page.key: room.key, **self.showing.everything(room), **self.showing.message("")}

    def leave(self, request: gr.Request) -> None:
        """Handle a closed page."""
        self.shelf.leave(request.session_hash)

    def open(self, room: Workspace, path: str | None) -> str:
        """Open a video that was dropped."""
        if path is not None:
            room.open(Path(path))
        return _opened(room)

    def example(self, name: str, room: Workspace) -> str:
        """Open an example."""
        example = self.examples[name]
        room.open(example.make(room.folder))
        return f"{_opened(room)} {example.about}"

    def look(self, request: gr.Request, frame: float) -> Updates:
        """Show the frame of the slider."""

        def act(room: Workspace) -> None:
            _at(room, frame)

        return self.acting(request, act, self.showing.frame, is_look=True)

    def click(self, request: gr.Request, event: gr.SelectData, mode: str, frame: float) -> Updates:
        """Handle a click on the frame."""

        def act(room: Workspace) -> str | None:
            scale = scale_of(room.opened.height, room.opened.width)
            x, y = ((float(side) + 0.5) / scale for side in event.index)
            return self.point(room, frame, mode, min(x, room.opened.width - 0.01), min(y, room.opened.height - 0.01))

        return self.acting(request, act, self.showing.scene)

    def point(self, room: Workspace, frame: float, mode: str, x: float, y: float) -> str | None:
        """Add a point or a corner of a box."""
        before = len(room.things)
        if mode == "box":
            room.box(_at(room, frame), x, y)
            if room.corner:
                return "Now click on the opposite corner."
        else:
            room.point(_at(room, frame), x, y, mode == "on")
        return _marked(room.selected) if len(room.things) > before else None

    def aim(self, request: gr.Request, x: float | None, y: float | None) -> Updates:
        """Show the position that was typed."""
        part = functools.partial(self.showing.frame, aim=((x or 0) + 0.5, (y or 0) + 0.5))
        return self.acting(request, lambda room: None, part, is_look=True)

    def absent(self, room: Workspace, frame: float) -> None:
        """Mark the selected object as absent from the frame."""
        room.absent(_at(room, frame))

    def new(self, room: Workspace) -> str:
        """Deselect, so that the next click is on a new object."""
        room.select(None)
        return "The next click is on a new object."

    def describe(self, room: Workspace, name: str, start: float | None, end: float | None) -> None:
        """Set the typed name and range of an object."""
        room.rename(name or "")
        room.limit(None if start is None else int(start), None if end is None else int(end))

    def bring(self, request: gr.Request, path: str | None) -> Updates:
        """Import a file of objects that was dropped."""
        question = ""

        def act(room: Workspace) -> str:
            nonlocal question
            said, question = import_file(room, Path(path or ""))
            return said

        def part(room: Workspace) -> Updates:
            asked = {self.page.question: question} if question else {}
            return {**self.showing.scene(room), **self.showing.talk(room), **self.showing.files(room), **asked}

        return self.acting(request, act, part)

    def task(self, task: Task, room: Workspace) -> None:
        """Ask the question of a task."""
        room.ask(question_of(task, room.things, room.selected, room.tools.is_embedded))

    def ask(self, request: gr.Request, text: str) -> Updates:
        """Ask a typed question, which stays in its box if it cannot be asked."""
        taken: Updates = {}

        def act(room: Workspace) -> None:
            room.ask(text)
            taken[self.page.question] = ""

        return self.acting(request, act, lambda room: {**self.asked(room), **taken})

    def asked(self, room: Workspace) -> Updates:
        """Return the updates after a question was asked."""
        return {**self.showing.state(room), **self.showing.talk(room)}


def _quiet() -> dict[str, Any]:
    return {"show_progress": "hidden", "api_visibility": "private"}


def _void(_: Any) -> None:
    return None


def _at(room: Workspace, frame: float) -> int:
    """Use the frame that a page shows, since another page of the visitor may show another one."""
    room.frame = int(room.opened._check_indices([int(frame)])[0])
    return room.frame


def _marked(number: int | None) -> str:
    return f"This is object {number}. Click on it again to correct its mask, then follow it, or ask about it."


def _select(number: int, room: Workspace) -> None:
    room.select(number)


def _hide(number: int, room: Workspace) -> None:
    room.hide(number)


def _delete(number: int, room: Workspace) -> None:
    room.delete(number)


def _insert(number: int, text: str) -> str:
    return f"{text} {chip(number)} ".lstrip() if text and not text.endswith(" ") else f"{text}{chip(number)} "


def _export(make: Callable[[Workspace], list[Path]], room: Workspace) -> str:
    room.taken = make(room)
    return "Ready to download: " + ", ".join(path.name for path in room.taken)


def _export_item(
    room: Workspace, kind: str, caption: str, question: str, options: str, right: float | None, type_: str
) -> str:
    form = BenchForm(kind, caption or "", question or "", tuple((options or "").splitlines()), int(right or 0), type_)
    return _export(lambda own: export_item(own, form), room)


def _choose(kind: str) -> tuple[Any, Any]:
    """Show the inputs for a kind of item."""
    return gr.Textbox(visible=kind == "d"), gr.Group(visible=kind == "q")


def _found(count: int) -> str:
    return f"{count} object(s) found."


def _opened(room: Workspace) -> str:
    video = room.opened
    return (
        f"{room.title}: {video.width} x {video.height} pixels, {video.num_frames} frames, {video.duration:.1f} s. "
        "Click on an object."
    )
