"""A conversation about the video of a session."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from videorefer_plugin._kinds import check_kind, methods
from videorefer_plugin.errors import ConfigurationError, SessionError
from videorefer_plugin.regions import Region
from videorefer_plugin.session.prefixes import Prefix
from videorefer_plugin.session.prompts import Prepared
from videorefer_plugin.session.streaming import AnswerStream

__all__ = ["SessionChat", "Turn"]


@dataclass(frozen=True)
class Turn:
    """A question and its answer.

    Attributes:
        question (`str`): the question, with one `<region>` for each region.
        regions (`tuple[Region, ...]`): its regions.
        answer (`str`): the answer.
    """

    question: str
    regions: tuple[Region, ...]
    answer: str


class Converses(Protocol):
    """What a conversation needs of its session."""

    processor: Any

    def answering(self) -> AbstractContextManager[None]:
        """Keep other threads out."""
        ...

    def checked(self, generate_kwargs: dict[str, Any], streams: bool = False) -> dict[str, Any]:
        """Arguments of `generate`."""
        ...

    def opened(self, part: AnswerStream) -> AnswerStream:
        """Note a stream."""
        ...

    def prepare_turn(self, turns: Sequence[Turn], question: str, regions: Any) -> tuple[list[Region], Prepared]:
        """The regions of a question, and the question after what was said before it, ready to run."""
        ...

    def converse(self, prompt: Prepared, kept: Prefix | None, settings: dict[str, Any]) -> tuple[str, Prefix | None]:
        """Answer a conversation, and keep it."""
        ...

    def trim(self) -> None:
        """Drop what is too much."""
        ...


_SESSION = methods("a VideoSession", "answering", "prepare_turn", hint="VideoSession.chat() begins a conversation.")


class SessionChat:
    """A conversation about the video of a session, made by [`VideoSession.chat`]; a session can have several.

    Every question is asked with all that was said before it. What the model has run of the conversation is kept, so
    that only new positions are run.

    Attributes:
        history (`tuple[Turn, ...]`): what was said so far.
    """

    def __init__(self, session: Converses, history: Sequence[Turn] = ()):
        check_kind(ConfigurationError, _SESSION, session=session)
        self._session = session
        self._turns = list(history)
        self._kept: Prefix | None = None

    @property
    def history(self) -> tuple[Turn, ...]:
        """What was said so far."""
        return tuple(self._turns)

    def ask(self, question: str, regions: Sequence[Region] = (), **generate_kwargs: Any) -> str:
        """Ask the next question.

        The arguments and errors are those of [`VideoSession.ask`]. After an error the conversation is as before.

        Returns:
            `str`: the answer.
        """
        with self._session.answering():
            settings = self._session.checked(generate_kwargs)  # before anything is computed
            given, prompt = self._session.prepare_turn(self._turns, question, regions)
            return self._answer(question, given, prompt, settings)

    def stream(self, question: str, regions: Sequence[Region] = (), **generate_kwargs: Any) -> AnswerStream:
        """Ask the next question; the answer comes in pieces.

        The turn counts once the pieces have been read to their end, or the stream was closed: then the answer is what
        was said until then.

        Returns:
            `AnswerStream`: an iterator of `str`.

        Raises:
            SessionError: the conversation went on before the pieces were read; raised by the first piece.
        """
        with self._session.answering():
            settings = self._session.checked(generate_kwargs, streams=True)
            given, prompt = self._session.prepare_turn(self._turns, question, regions)
            asked_at = len(self._turns)

        def answer(streaming: dict[str, Any]) -> str:
            with self._session.answering():
                if len(self._turns) != asked_at:
                    raise SessionError(
                        "The conversation went on while this question waited to be answered. Ask it again."
                    )
                return self._answer(question, given, prompt, {**settings, **streaming})

        tokenizer = self._session.processor.tokenizer
        return self._session.opened(AnswerStream(tokenizer, answer, settings.pop("stopping_criteria", None)))

    def undo(self) -> Turn:
        """Take the last question and its answer back.

        Returns:
            [`Turn`]: what was taken back.

        Raises:
            SessionError: nothing was said yet.
        """
        with self._session.answering():
            if not self._turns:
                raise SessionError("Nothing was said in this conversation yet, so there is nothing to take back.")
            return self._turns.pop()

    def memory(self) -> int:
        """Bytes of what is kept of the conversation."""
        return 0 if self._kept is None else self._kept.memory()

    def forget(self) -> bool:
        """Drop what is kept of the conversation, not what was said; `False` if there is nothing."""
        known, self._kept = self._kept, None
        return known is not None

    def _answer(self, question: str, given: list[Region], prompt: Prepared, generate_kwargs: dict[str, Any]) -> str:
        kept, self._kept = self._kept, None  # whose cache is changed, also by a call that fails
        answer, self._kept = self._session.converse(prompt, kept, generate_kwargs)
        self._turns.append(Turn(question, tuple(given), answer))
        self._session.trim()
        return answer
