"""Loading the models and processors that backends are made of."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from videorefer_plugin._text import short, size_words
from videorefer_plugin.errors import CheckpointError, ConfigurationError, SegmentError
from videorefer_plugin.models.weights import load_pretrained

__all__ = ["check_name", "load_part", "load_part_processor", "prepare", "read_device"]


_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # smaller ones are only stored


def load_part(kind: Any, name: Any, what: str, device: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Load a model that a segmenter needs, and refuse one with weights missing.

    Args:
        kind: an Auto class or the class of a model.
        name (`str` or `os.PathLike`): folder or Hub id.
        what (`str`): what it is, such as "the detector", for messages.
        device (*optional*): where it runs; a GPU if there is one, by default.
        dtype (*optional*): of its weights; that of the checkpoint by default.
        kwargs: what else `from_pretrained` takes.

    Returns:
        `PreTrainedModel`: ready for inference.

    Raises:
        ConfigurationError: there is no such device or dtype, or the name is none.
        CheckpointError: the checkpoint cannot be loaded, is of another kind, or lacks weights.
    """
    check_name(name, what)
    where = read_device(device)
    kwargs |= {} if dtype is None else {"dtype": _read_dtype(dtype)}
    model, lacking = load_pretrained(kind, name, **kwargs)
    if lacking.missing:
        raise CheckpointError(
            f"The weights of {os.fspath(name)!r} are not all of those of {what}, so it would run with random ones. "
            f"{lacking} Give a checkpoint of this kind, or fetch or save it anew."
        )
    return model.to(where).eval()


def load_part_processor(kind: Any, name: Any, what: str, **kwargs: Any) -> Any:
    """Load the processor that belongs to a model of [`load_part`].

    Raises:
        ConfigurationError: the name is none.
        CheckpointError: there is no such processor.
    """
    check_name(name, what)
    try:
        processor = kind.from_pretrained(name, **kwargs)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"The processor of {what} cannot be loaded from {os.fspath(name)!r}: {str(error).rstrip('.')}. Give the "
            "folder or Hub id of a whole checkpoint of this kind, or fetch or save it anew, with its processor."
        ) from error
    if isinstance(processor, kind) or hasattr(processor, "image_processor"):
        return processor
    raise CheckpointError(
        f"{os.fspath(name)!r} has a {type(processor).__name__} but no processor of {what}. "
        "Fetch or save the checkpoint anew, with its processor."
    )


def prepare(processor: Any, frame: NDArray[np.uint8], what: str, **given: Any) -> Any:
    """What a processor of images makes of a frame, whose channels come last however few pixels it has.

    Raises:
        SegmentError: the frame is so thin that nothing of it is left in the size that the model takes.
    """
    try:
        return processor(images=frame, return_tensors="pt", input_data_format="channels_last", **given)
    except (ValueError, RuntimeError) as error:
        raise SegmentError(
            f"A frame of {size_words(*frame.shape[:2])} cannot be prepared for {what}: {str(error).rstrip('.')}. "
            "Nothing is left of very thin frames when they are scaled; give frames that are less thin."
        ) from error


def read_device(device: Any) -> torch.device:
    """The device that was asked for; a GPU if there is one, by default.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
        torch.zeros(1, device=wanted).tolist()  # one like 'meta' takes tensors, but computes nothing
    except (RuntimeError, TypeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigurationError(
            f"The device {short(device)} cannot be used ({reason}); expected one of this machine, such as 'cpu' or "
            "'cuda'."
        ) from error
    return wanted


def _read_dtype(dtype: Any) -> Any:
    wanted = getattr(torch, dtype.removeprefix("torch."), dtype) if isinstance(dtype, str) else dtype
    if wanted == "auto" or wanted in _DTYPES:
        return wanted
    raise ConfigurationError(
        f"The dtype is {short(dtype)}; expected 'auto' or one that models compute in, such as 'bfloat16' or "
        "torch.float32."
    )


def check_name(name: Any, what: str) -> None:
    """Refuse what names no checkpoint.

    Raises:
        ConfigurationError: it is neither a path nor an id.
    """
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ConfigurationError(
            f"The checkpoint of {what} is {short(name)}; expected a folder or an id on the Hub, such as "
            "'IDEA-Research/grounding-dino-tiny'."
        )
