"""Counting what tensors hold, and threads that use one model."""

import contextlib
import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

__all__ = ["only_new_tensors", "side_by_side"]


@contextlib.contextmanager
def only_new_tensors() -> Iterator[Callable[[], int]]:
    """Counts the bytes of those tensors that there are now and were not before."""
    gc.collect()
    gc.freeze()

    def count() -> int:
        gc.collect()
        tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
        storages = [each.untyped_storage() for each in tensors]
        return sum({each.data_ptr(): each.nbytes() for each in storages}.values())

    yield count


def side_by_side(part: str, calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """What calls return that run in a thread each, and wait for each other whenever a part of that class has run."""
    barrier = Barrier(len(calls))

    def meet(module: Any, *_: Any) -> None:
        if type(module).__name__ == part:
            barrier.wait(60)

    hook = register_module_forward_hook(meet)
    try:
        with ThreadPoolExecutor(len(calls)) as threads:
            return [each.result() for each in [threads.submit(call) for call in calls]]
    finally:
        hook.remove()
