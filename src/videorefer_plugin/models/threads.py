"""The number of PyTorch threads for a model that is too small for several."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from videorefer_plugin.embedded import is_tiny_checkpoint

__all__ = ["threads_for"]

_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def threads_for(model: Any) -> Iterator[None]:
    """Run the embedded model on one thread, and every other model on as many as there are.

    The operations of the embedded model are so short that threads wait for each other longer than they calculate, and
    on a busy machine many times as long. A choice of the user counts: of the environment (`OMP_NUM_THREADS`), or by
    `torch.set_num_threads`, which can be told if it is another number than PyTorch's own. Afterwards, PyTorch has as
    many threads as before.

    Args:
        model: the model that is run.
    """
    before = torch.get_num_threads()
    if before == 1 or _chosen(before) or not is_tiny_checkpoint(getattr(model, "name_or_path", "")):
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _chosen(threads: int) -> bool:
    """Whether the user has chosen this number of threads."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # PyTorch takes the cores, each of which may be two processors.
    return any(os.environ.get(name) for name in _VARIABLES) or threads not in (processors, processors // 2)
