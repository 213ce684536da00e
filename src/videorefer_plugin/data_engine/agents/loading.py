"""Common parts of agents: loading and release of weights, and work on the videos of a batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, cast

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.agent import BatchInterrupted, BatchResult, BatchStoppedError
from videorefer_plugin.data_engine.items import Failure, Made, VideoItem
from videorefer_plugin.errors import CheckpointError, ConfigurationError, EngineError
from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.video import Video, open_video

__all__ = ["check_choice", "check_device", "check_share", "each", "free_memory", "loads", "open_source"]


@contextmanager
def loads(what: str) -> Iterator[None]:
    """Open a block that loads weights. An error in it concerns every video, so that the run stops.

    Raises:
        EngineError: the weights cannot be loaded.
    """
    try:
        yield
    except (CheckpointError, ConfigurationError, ImportError) as error:
        raise EngineError(f"{what} cannot be loaded: {error}") from error


def free_memory() -> None:
    """Free the memory of weights without references, also on a GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def each(
    items: Sequence[VideoItem], work: Callable[[VideoItem], Made | Failure], workers: int = 1
) -> list[Made | Failure]:
    """Work on videos with concurrent workers. The failure of one video does not affect others.

    Raises:
        BatchStoppedError: an error concerns all videos. It has the results so far.
        BatchInterrupted: the user stopped the work. It has the results so far.
    """
    there: list[BatchResult] = [None] * len(items)

    def do(place: int) -> None:
        try:
            there[place] = work(items[place])
        except (BatchStoppedError, BatchInterrupted) as error:
            there[place] = next(iter(error.results), None)
            raise
        except EngineError:
            raise
        except Exception as error:
            there[place] = Failure.of(error)

    try:
        _do_all(do, len(items), min(workers, len(items)))
    except KeyboardInterrupt as error:
        raise BatchInterrupted(there) from error
    except EngineError as error:
        raise BatchStoppedError(str(error), there) from error
    return cast("list[Made | Failure]", there)


def _do_all(do: Callable[[int], None], count: int, workers: int) -> None:
    """Call a function with each number. After an error, calls in progress are finished, and no others begin."""
    if workers <= 1:
        for place in range(count):
            do(place)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        futures = [pool.submit(do, place) for place in range(count)]
        wait(futures, return_when=FIRST_EXCEPTION)
    finally:
        pool.shutdown(cancel_futures=True)
    for future in futures:
        if not future.cancelled():
            future.result()


def open_source(item: VideoItem) -> Video:
    """Return the video of a source; an image is a video of one frame.

    Raises:
        VideoError: the video cannot be read.
    """
    source = item.source
    return open_image(source.path) if source.kind == "image" else open_video(source.path)


def check_choice(stage: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a setting with an unknown value."""
    if value not in choices:
        raise ConfigurationError(f"The {stage} has {name}={short(value)}; expected one of {', '.join(choices)}.")


def check_device(stage: str, device: Any) -> None:
    """Refuse an invalid device. Whether this machine has the device shows when it is used."""
    import torch

    try:
        if device is not None:
            torch.device(device)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"The {stage} has device={short(device)}; expected the name of one, such as 'cpu', 'cuda' or 'cuda:0'."
        ) from error


def check_share(stage: str, name: str, value: Any, *, optional: bool = False) -> None:
    """Refuse a setting that is not a number from 0 to 1."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        also = ", or null" if optional else ""
        raise ConfigurationError(f"The {stage} has {name}={short(value)}; expected a number from 0 to 1{also}.")
