"""What agents with weights share: loading them, letting go of them, and doing videos one after the other."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import Failure, Made, VideoItem
from videorefer_plugin.errors import CheckpointError, ConfigurationError, EngineError, VideoReferError
from videorefer_plugin.inputs.clips import open_image
from videorefer_plugin.video import Video, open_video

__all__ = ["check_choice", "check_share", "each", "free_memory", "loads", "open_source"]


@contextmanager
def loads(what: str) -> Iterator[None]:
    """A block that loads weights; what fails there fails for every video, so that the run stops.

    Raises:
        EngineError: they cannot be loaded.
    """
    try:
        yield
    except (CheckpointError, ConfigurationError, ImportError) as error:
        raise EngineError(f"{what} cannot be loaded: {error}") from error


def free_memory() -> None:
    """Give back memory of weights that nothing refers to any more, also that of a GPU."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def each(items: Sequence[VideoItem], work: Callable[[VideoItem], Made | Failure]) -> list[Made | Failure]:
    """Work on videos one after the other; one that cannot be read spoils no other."""
    results: list[Made | Failure] = []
    for item in items:
        try:
            results.append(work(item))
        except EngineError:
            raise
        except VideoReferError as error:
            results.append(Failure.of(error))
    return results


def open_source(item: VideoItem) -> Video:
    """The video of a source; an image is a video of one frame.

    Raises:
        VideoError: it cannot be read.
    """
    source = item.source
    return open_image(source.path) if source.kind == "image" else open_video(source.path)


def check_choice(stage: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Refuse a setting that is none of the words for it."""
    if value not in choices:
        raise ConfigurationError(f"The {stage} has {name}={short(value)}; expected one of {', '.join(choices)}.")


def check_share(stage: str, name: str, value: Any, *, optional: bool = False) -> None:
    """Refuse a setting that is no number from 0 to 1."""
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        also = ", or null" if optional else ""
        raise ConfigurationError(f"The {stage} has {name}={short(value)}; expected a number from 0 to 1{also}.")
