"""Answers that come word by word."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList, TextIteratorStreamer

__all__ = ["AnswerStream"]


class AnswerStream(Iterator[str]):
    """Pieces of an answer, as they are generated in a thread of their own.

    Closing it, or leaving a `with` block around it, stops the generation.

    Args:
        tokenizer: decodes the answer.
        answer (`Callable`): answers, given the arguments of `generate` that stream and stop.
        stopping (`StoppingCriteriaList`, *optional*): stops the answer as well.

    Attributes:
        text (`str`, *optional*): the whole answer, once generation is over, stopped or not; `None` after an error.
    """

    def __init__(
        self,
        tokenizer: Any,
        answer: Callable[[dict[str, Any]], str],
        stopping: StoppingCriteriaList | None = None,
    ):
        self._pieces = iter(streamer := TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True))
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self.text: str | None = None
        criteria = StoppingCriteriaList([*(stopping or []), _Stop(self._stop)])

        def run() -> None:
            try:
                self.text = answer({"streamer": streamer, "stopping_criteria": criteria})
            except BaseException as error:  # raised again where the pieces are read
                self._error = error
            finally:
                streamer.end()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def __next__(self) -> str:
        try:
            while not (piece := next(self._pieces)):
                pass
            return piece
        except StopIteration:
            self._thread.join()
            if self._error is not None:
                error, self._error = self._error, None
                raise error from None
            raise

    def close(self) -> None:
        """Stop generating, and wait until it has stopped."""
        self._stop.set()
        self._thread.join()

    def __enter__(self) -> "AnswerStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Stop(StoppingCriteria):
    def __init__(self, event: threading.Event):
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._event.is_set(), dtype=torch.bool, device=input_ids.device)
