"""What happens when something on the page is used."""

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
from videorefer_plugin.app.layout import Layout
from videorefer_plugin.app.shelf import Shelf
from videorefer_plugin.app.showing import Showing, Updates
from videorefer_plugin.app.talking import chip
from videorefer_plugin.app.tasks import TASKS, Task, question_of
from videorefer_plugin.app.workspace import Workspace
from videorefer_plugin.errors import VideoReferError

__all__ = ["Wiring"]

_LOOK_AGAIN = 0.15  # seconds
_KEYS = "() => [sessionStorage.getItem('videorefer') || '', localStorage.getItem('videorefer') || '']"
_KEEP = "(key) => { if (key) { sessionStorage.setItem('videorefer', key); localStorage.setItem('videorefer', key); } }"

Part = Callable[[Workspace], Updates]


class Wiring:
    """Connects the components of the page with the work of visitors, within a `gr.Blocks`.

    Args:
        page ([`Layout`]): the components.
        shelf ([`Shelf`]): the work of visitors.
        examples (`dict[str, Example]`): by name.
    """

    def __init__(self, page: Layout, shelf: Shelf, examples: dict[str, Example]):
        self.page, self.shelf, self.examples = page, shelf, examples
        self.showing = Showing(page)

    def connect(self, blocks: gr.Blocks) -> None:
        """Connect everything."""
        page, show = self.page, self.showing
        loaded = blocks.load(
            self.enter, [page.own_key, page.last_key], [page.key, *show.outputs], js=_KEYS, **_quiet()
        )
        loaded.then(None, page.key, None, js=_KEEP, **_quiet())
        self.watch(loaded)
        blocks.unload(self.leave)

        self.watch(self.on(page.upload.upload, self.open, [page.upload], show.everything, **self.busy()))
        for name, button in page.examples.items():
            self.watch(
                self.on(button.click, functools.partial(self.example, name), [], show.everything, **self.busy())
            )
        page.slider.input(self.look, page.slider, show.outputs, trigger_mode="always_last", **_quiet())
        page.image.select(self.click, [page.mode], show.outputs, trigger_mode="multiple", **self.busy())
        for field in (page.x, page.y):
            field.input(self.aim, [page.x, page.y], show.outputs, trigger_mode="always_last", **_quiet())
        self.on(page.here.click, self.point, [page.mode, page.x, page.y], show.scene, **self.busy())
        for event in (page.find.click, page.words.submit):
            self.on(
                event,
                lambda room, words: _found(room.find(room.frame, words)),
                [page.words],
                show.scene,
                **self.busy(),
            )
        self.on(page.new.click, self.new, [], show.scene)
        self.on(page.undo.click, lambda room: room.undo(), [], show.scene)
        self.on(page.absent.click, lambda room: room.absent(room.frame), [], show.scene)
        self.watch(self.on(page.follow.click, lambda room: _void(room.follow()), [], show.state))
        self.watch(self.on(page.play.click, lambda room: _void(room.play()), [], show.state))
        self.on(page.stop.click, lambda room: room.stop(), [], show.state)
        self._connect_objects()
        self._connect_talk()
        self._connect_files()

    def _connect_objects(self) -> None:
        page, show = self.page, self.showing
        for number, row in page.rows.items():
            self.on(row.select.click, functools.partial(_select, number), [], show.scene)
            self.on(row.hide.click, functools.partial(_hide, number), [], show.scene)
            self.on(row.delete.click, functools.partial(_delete, number), [], show.scene)
            row.ask.click(functools.partial(_insert, number), page.question, page.question, **_quiet())
        self.on(page.name.submit, lambda room, name: room.rename(name), [page.name], show.scene)
        self.on(page.apply.click, self.describe, [page.name, page.start, page.end], show.scene)

    def _connect_talk(self) -> None:
        page, show = self.page, self.showing
        for event in (page.ask.click, page.question.submit):
            self.watch(self.on(event, lambda room, text: _void(room.ask(text)), [page.question], self.asked))
        for task in TASKS:
            self.watch(self.on(page.tasks[task.name].click, functools.partial(self.task, task), [], self.asked))
        self.on(page.back.click, lambda room: room.talk.take_back(), [], show.talk)
        for event in (page.anew.click, page.chat.clear):
            self.on(event, lambda room: room.talk.begin_anew(), [], show.talk)

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
        """Settings of an event that takes a while: the frame shows that something is coming."""
        return {**_quiet(), "show_progress": "minimal", "show_progress_on": self.page.image}

    # --- how handlers are made ------------------------------------------------------------------------------------

    def on(self, event: Any, act: Callable[..., str | None], inputs: list[Any], part: Part, **settings: Any) -> Any:
        """When something is used, act, and show a part of the work; what is wrong is said on the page.

        Args:
            event: of a component.
            act: called with the work and the values of `inputs`; may return what there is to say.
            inputs: components.
            part: what is shown afterwards.
            settings: of the event.
        """

        def handle(request: gr.Request, *values: Any) -> Updates:
            return self.acting(request, lambda room: act(room, *values), part)

        return event(handle, inputs, self.showing.outputs, **{**_quiet(), **settings})

    def acting(
        self, request: gr.Request, act: Callable[[Workspace], str | None], part: Part, is_look: bool = False
    ) -> Updates:
        """Act, and show a part of the work; whoever only looks takes no message away."""
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
        """Behind an event, show how far work is until it is done."""
        event.then(self.watching, None, self.showing.outputs, concurrency_limit=None, **_quiet())

    async def watching(self, request: gr.Request) -> AsyncIterator[Updates]:
        """Show how far work is until it is done."""
        try:
            room = self.shelf.of(request.session_hash)
        except VideoReferError as error:
            yield self.showing.message(str(error), True)
            return
        job, before = room.job, None
        if job is None:
            yield {self.page.told: gr.skip()}  # gradio empties all components if nothing is told
            return
        while not job.is_over:
            if (job.done, job.started, job.is_stopped) != before:
                before = job.done, job.started, job.is_stopped
                talk = self.showing.talk(room) if job.kind == "answer" else {}
                yield {**self.showing.state(room), **talk}
            await asyncio.sleep(_LOOK_AGAIN)
        yield await asyncio.to_thread(self.ended, room, job)

    def ended(self, room: Workspace, job: Any) -> Updates:
        """What is shown at the end of work."""
        show = self.showing
        parts = {"follow": show.scene, "draw": show.film, "answer": show.talk}
        fault = job.fault
        said = (
            show.message(fault, True)
            if fault
            else show.message("Stopped; what was done is kept.")
            if job.is_stopped
            else {}
        )
        note = room.tools.note(room.video) if job.kind == "answer" and not fault else None
        return {**show.state(room), **parts[job.kind](room), **said, **(show.message(note) if note else {})}

    # --- what is done ---------------------------------------------------------------------------------------------

    def enter(self, request: gr.Request, own: str, last: str) -> Updates:
        """The page was loaded."""
        try:
            room = self.shelf.enter(request.session_hash or "", own, last)
        except VideoReferError as error:
            return self.showing.message(str(error), True)
        return {self.page.key: room.key, **self.showing.everything(room), **self.showing.message("")}

    def leave(self, request: gr.Request) -> None:
        """The page was closed."""
        self.shelf.leave(request.session_hash)

    def open(self, room: Workspace, path: str | None) -> str:
        """A video was dropped."""
        if path is not None:
            room.open(Path(path))
        return _opened(room)

    def example(self, name: str, room: Workspace) -> str:
        """An example was chosen."""
        example = self.examples[name]
        room.open(example.make(room.folder))
        return f"{_opened(room)} {example.about}"

    def look(self, request: gr.Request, frame: float) -> Updates:
        """The slider was moved."""

        def act(room: Workspace) -> None:
            room.frame = room.opened._check_indices([int(frame)])[0]

        return self.acting(request, act, self.showing.frame, is_look=True)

    def click(self, request: gr.Request, event: gr.SelectData, mode: str) -> Updates:
        """The frame was clicked."""

        def act(room: Workspace) -> str | None:
            scale = scale_of(room.opened.height, room.opened.width)
            x, y = ((float(side) + 0.5) / scale for side in event.index)
            return self.point(room, mode, min(x, room.opened.width - 0.01), min(y, room.opened.height - 0.01))

        return self.acting(request, act, self.showing.scene)

    def point(self, room: Workspace, mode: str, x: float, y: float) -> str | None:
        """Something was pointed at."""
        if mode == "box":
            room.box(room.frame, x, y)
            return "Now click on the opposite corner." if room.corner else None
        room.point(room.frame, x, y, mode == "on")
        return None

    def aim(self, request: gr.Request, x: float | None, y: float | None) -> Updates:
        """A place was typed: show where it is."""
        part = functools.partial(self.showing.frame, aim=((x or 0) + 0.5, (y or 0) + 0.5))
        return self.acting(request, lambda room: None, part, is_look=True)

    def new(self, room: Workspace) -> str:
        """The next click is on a new object."""
        room.select(None)
        return "The next click is on a new object."

    def describe(self, room: Workspace, name: str, start: float | None, end: float | None) -> None:
        """Name and range of an object were typed."""
        room.rename(name or "")
        room.limit(None if start is None else int(start), None if end is None else int(end))

    def bring(self, request: gr.Request, path: str | None) -> Updates:
        """A file of objects was dropped."""
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
        """One of the paper's tasks was chosen."""
        room.ask(question_of(task, room.things, room.selected, room.tools.is_embedded))

    def asked(self, room: Workspace) -> Updates:
        """What is shown when a question was asked."""
        taken = {self.page.question: ""} if room.is_busy else {}
        return {**self.showing.state(room), **self.showing.talk(room), **taken}


def _quiet() -> dict[str, Any]:
    return {"show_progress": "hidden", "api_visibility": "private"}


def _void(_: Any) -> None:
    return None


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
    """What there is to fill in for a kind of item."""
    return gr.Textbox(visible=kind == "d"), gr.Group(visible=kind == "q")


def _found(count: int) -> str:
    return f"{count} object(s) found."


def _opened(room: Workspace) -> str:
    video = room.opened
    return (
        f"{room.title}: {video.width} x {video.height} pixels, {video.num_frames} frames, {video.duration:.1f} s. "
        "Click on an object."
    )
