"""Answers in pieces, word by word."""

import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

__all__ = ["AnswerStream"]


class AnswerStream(Iterator[str]):
    """Iterates over the pieces of an answer while a thread of its own generates them.

    Generation stops when the stream is closed, by `close` or a `with` block, or when no one holds it any more.

    Args:
        tokenizer: decodes the answer.
        answer (`Callable`): generates the answer, given the arguments of `generate` for streaming and stopping.
        stopping (`StoppingCriteriaList`, *optional*): further criteria that stop the answer.
    """

    def __init__(
        self,
        tokenizer: Any,
        answer: Callable[[dict[str, Any]], str],
        stopping: StoppingCriteriaList | None = None,
    ):
        self._work = _Work(tokenizer, answer, stopping)
        self._pieces: Iterator[str] | None = iter(self._work.streamer)
        # The thread holds its work, not this object, so that the object can be deleted meanwhile.
        self._thread = threading.Thread(target=self._work.run, daemon=True)
        self._forgotten = weakref.finalize(self, self._work.stop.set)
        self._thread.start()

    @property
    def text(self) -> str | None:
        """The whole answer, once generation has ended or was stopped; `None` before that, and after an error."""
        return self._work.text

    def __next__(self) -> str:
        while self._pieces is not None:
            piece = next(self._pieces, None)
            if piece:
                return piece
            if piece is None:
                self._pieces = None
                self._thread.join()
                if self._work.error is not None:
                    raise self._work.error from None
        raise StopIteration

    def close(self) -> None:
        """Stop the generation, and wait until it has stopped."""
        self._work.stop.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def __enter__(self) -> "AnswerStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Work:
    """The work of a stream's thread, and its result."""

    def __init__(self, tokenizer: Any, answer: Callable[[dict[str, Any]], str], stopping: StoppingCriteriaList | None):
        self.streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        self.stop = threading.Event()
        self.text: str | None = None
        self.error: BaseException | None = None
        self._answer = answer
        self._stopping = StoppingCriteriaList([*(stopping or []), _Stop(self.stop)])

    def run(self) -> None:
        """Generate the answer. An error is kept, and raised again where the pieces are read."""
        try:
            self.text = self._answer({"streamer": self.streamer, "stopping_criteria": self._stopping})
        except BaseException as error:
            self.error = error
        finally:
            self.streamer.end()


class _Stop(StoppingCriteria):
    def __init__(self, event: threading.Event):
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._event.is_set(), dtype=torch.bool, device=input_ids.device)
