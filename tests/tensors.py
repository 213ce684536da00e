"""Counting what tensors hold."""

import contextlib
import gc
from collections.abc import Callable, Iterator

import torch

__all__ = ["only_new_tensors"]


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

    try:
        yield count
    finally:
        gc.unfreeze()
