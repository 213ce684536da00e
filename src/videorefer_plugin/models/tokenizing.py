"""A lock, so that one thread at a time uses a tokenizer."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["answers_of", "one_at_a_time"]


class _Turn:
    lock = threading.RLock()


def _renew() -> None:
    _Turn.lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # a thread that had its turn does not live on in a worker of a loader
    os.register_at_fork(after_in_child=_renew)


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Keep other threads from tokenizing in the meantime.

    A tokenizer keeps the padding and truncation of its last call, and sets them again before it encodes: two threads
    with different settings would get each other's. The block takes no time compared to a model.
    """
    with _Turn.lock:
        yield


def answers_of(processor: Any, ids: Any) -> list[str]:
    """Return the generated ids as text.

    Args:
        processor: has the tokenizer.
        ids (`torch.LongTensor` of shape `(batch, length)`, or a list of tensors): ids without those of prompts.
    """
    with one_at_a_time():
        return [text.strip() for text in processor.batch_decode(ids, skip_special_tokens=True)]
