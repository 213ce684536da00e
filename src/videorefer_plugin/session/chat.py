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
    """The methods of a session that a conversation calls."""

    processor: Any

    def answering(self) -> AbstractContextManager[None]:
        """Return a context in which no other thread answers."""
        ...

    def checked(self, generate_kwargs: dict[str, Any], streams: bool = False) -> dict[str, Any]:
        """Check and complete the arguments of `generate`."""
        ...

    def opened(self, part: AnswerStream) -> AnswerStream:
        """Note a stream, which the session ends when it is closed."""
        ...

    def prepare_turn(self, turns: Sequence[Turn], question: str, regions: Any) -> tuple[list[Region], Prepared]:
        """Return the regions of a question, and the conversation up to this question, ready to run."""
        ...

    def converse(self, prompt: Prepared, kept: Prefix | None, settings: dict[str, Any]) -> tuple[str, Prefix | None]:
        """Answer a conversation, and return its cache for the next turn."""
        ...

    def trim(self) -> None:
        """Drop cached values until no more is kept than the session's `max_bytes`."""
        ...


_SESSION = methods("a VideoSession", "answering", "prepare_turn", hint="VideoSession.chat() begins a conversation.")


class SessionChat:
    """A conversation about the video of a session, made by [`VideoSession.chat`]; a session can have several.

    Every question is asked with all turns before it. The keys and values of the conversation are kept, so that the
    language model runs new positions only.

    Attributes:
        history (`tuple[Turn, ...]`): the turns so far.
    """

    def __init__(self, session: Converses, history: Sequence[Turn] = ()):
        check_kind(ConfigurationError, _SESSION, session=session)
        self._session = session
        self._turns = list(history)
        self._kept: Prefix | None = None

    @property
    def history(self) -> tuple[Turn, ...]:
        """The turns so far."""
        return tuple(self._turns)

    def ask(self, question: str, regions: Sequence[Region] = (), **generate_kwargs: Any) -> str:
        """Ask the next question.

        The arguments and errors are those of [`VideoSession.ask`]. An error leaves the conversation unchanged.

        Returns:
            `str`: the answer.
        """
        with self._session.answering():
            settings = self._session.checked(generate_kwargs)  # before anything is computed
            given, prompt = self._session.prepare_turn(self._turns, question, regions)
            return self._answer(question, given, prompt, settings)

    def stream(self, question: str, regions: Sequence[Region] = (), **generate_kwargs: Any) -> AnswerStream:
        """Ask the next question, and return an iterator over the pieces of the answer.

        The turn is added to the history when the pieces have been read to their end, or when the stream is closed. In
        the second case, the answer is the text until then.

        Returns:
            `AnswerStream`: an iterator of `str`.

        Raises:
            SessionError: another question was asked before the first piece was read; that read raises it.
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
        """Remove the last question and its answer from the conversation.

        Returns:
            [`Turn`]: the turn that was removed.

        Raises:
            SessionError: the conversation has no turn yet.
        """
        with self._session.answering():
            if not self._turns:
                raise SessionError("This conversation has no turn yet, so there is nothing to take back.")
            return self._turns.pop()

    def memory(self) -> int:
        """Return the bytes of the conversation's cache."""
        return 0 if self._kept is None else self._kept.memory()

    def forget(self) -> bool:
        """Drop the conversation's cache, but not its turns; returns `False` if there is no cache."""
        known, self._kept = self._kept, None
        return known is not None

    def _answer(self, question: str, given: list[Region], prompt: Prepared, generate_kwargs: dict[str, Any]) -> str:
        kept, self._kept = self._kept, None  # whose cache is changed, also by a call that fails
        answer, self._kept = self._session.converse(prompt, kept, generate_kwargs)
        self._turns.append(Turn(question, tuple(given), answer))
        self._session.trim()
        return answer
