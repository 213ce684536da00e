"""A conversation about objects of a visitor."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from videorefer_plugin.app.jobs import Job
from videorefer_plugin.app.things import Thing
from videorefer_plugin.app.tools import Tools
from videorefer_plugin.errors import AppError
from videorefer_plugin.inputs.questions import check_question
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Region
from videorefer_plugin.session import SessionChat, Turn, VideoSession
from videorefer_plugin.video import Video

__all__ = ["CHIP", "Asked", "Talk", "chip", "no_video", "shown"]

CHIP = re.compile(r"<region\s*([0-9]{0,3})>")
"""An object in a typed question, with its number or without."""
_LONGEST = 4000  # characters of a question


@dataclass(frozen=True)
class Asked:
    """A question, and its answer if it has one.

    Attributes:
        question (`str`): the question, with `<region>` for each object.
        numbers (`tuple[int, ...]`): numbers of the objects, in the order of the question.
        regions (`tuple[Region, ...]`): regions of the objects when the question was asked.
        answer (`str`): the answer so far.
    """

    question: str
    numbers: tuple[int, ...]
    regions: tuple[Region, ...]
    answer: str = ""

    @property
    def turn(self) -> Turn:
        """Return the question and answer as a turn of a session."""
        return Turn(self.question, self.regions, self.answer)


class Talk:
    """A conversation about a video, and the session that answers.

    Attributes:
        turns (`list[Asked]`): the answered questions.
        pending ([`Asked`], *optional*): the question that is being answered.
        first_token (`float`, *optional*): seconds between the last question and the first piece of its answer.
        typed (`str`): the last question as it was typed, to restore it after an error.
    """

    def __init__(self, tools: Tools, video: Video | None = None):
        self.turns: list[Asked] = []
        self.pending: Asked | None = None
        self.first_token: float | None = None
        self.typed = ""
        self._tools = tools
        self._video = video
        self._session: VideoSession | None = None
        self._chat: SessionChat | None = None
        self._lock = threading.Lock()

    def read(self, text: str, things: Sequence[Thing], selected: int | None) -> Asked:
        """Read a typed question, in which `<region2>` is object 2, and `<region>` the selected object.

        Raises:
            AppError: the question is empty or too long, or an object does not exist or is visible in no frame.
            PromptError: the question is not a usable text.
        """
        text = text.strip()
        if not text:
            raise AppError("The question is empty; type one, or click on one of the tasks.")
        if len(text) > _LONGEST:
            raise AppError(f"The question is {len(text)} characters long; at most {_LONGEST} are taken.")
        by_number = {thing.number: thing for thing in things}
        numbers = []
        for match in CHIP.finditer(text):
            number = int(match[1]) if match[1] else selected
            if number is None:
                raise AppError(
                    f"{match[0]} means the object that is selected, but none is. Select one, or click on its chip, "
                    "which writes its number, such as <region1>."
                )
            if number not in by_number:
                raise AppError(f"The question is about object {number}, which is not there; point at it first.")
            numbers.append(number)
        question = CHIP.sub(REGION_TOKEN, text)
        tokens = [getattr(self._tools.processor, f"{kind}_token", None) for kind in ("video", "image")]
        check_question(question, [token for token in tokens if isinstance(token, str)])
        return Asked(question, tuple(numbers), tuple(by_number[number].region() for number in numbers))

    def answer(self, asked: Asked, job: Job) -> None:
        """Answer a question, piece by piece. If the job is stopped, the answer is the text until then."""
        started = time.monotonic()
        self.pending, self.first_token = asked, None
        try:
            stream = self._chatting().stream(
                asked.question, asked.regions, max_new_tokens=self._tools.limits.max_new_tokens
            )
            said = ""
            with stream:
                for piece in stream:
                    if self.first_token is None:
                        self.first_token = time.monotonic() - started
                    said += piece
                    self.pending = Asked(asked.question, asked.numbers, asked.regions, said)
                    job.tell(len(said), 0)
                    if job.is_stopped:
                        break
            self.turns.append(Asked(asked.question, asked.numbers, asked.regions, (stream.text or said).strip()))
        finally:
            self.pending = None

    def take_back(self) -> None:
        """Remove the last question and its answer.

        Raises:
            AppError: there is no question.
        """
        if not self.turns:
            raise AppError("There is no question to take back.")
        self.turns.pop()
        self._chat = None

    def begin_anew(self, turns: Sequence[Asked] = ()) -> None:
        """Start a new conversation, or continue another one."""
        self.turns, self._chat = list(turns), None

    def rest(self) -> None:
        """Drop cached values, which can be computed again."""
        with self._lock:
            if self._session is not None:
                self._session.close()
            self._session, self._chat = None, None

    def _chatting(self) -> SessionChat:
        with self._lock:
            if self._video is None:
                raise no_video()
            if self._session is None:
                self._session = VideoSession(self._tools.model, self._tools.processor, self._video)
                self._chat = None
            if self._chat is None:
                self._chat = self._session.chat([asked.turn for asked in self.turns])
            return self._chat


def no_video() -> AppError:
    """Return the error for actions that need a video."""
    return AppError("No video is open; drop one into the page, or take an example.")


def chip(number: int) -> str:
    """Return the tag of an object in a typed question."""
    return f"<region{number}>"


def shown(asked: Asked) -> str:
    """Return a question with the numbers of its objects, as it was typed."""
    text = asked.question.replace(f"[{REGION_TOKEN}]", REGION_TOKEN)
    for number in asked.numbers:
        text = text.replace(REGION_TOKEN, chip(number), 1)
    return text
