"""Loads the models and processors of backends."""

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


_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  # smaller dtypes are for storage only


def load_part(kind: Any, name: Any, what: str, device: Any = None, dtype: Any = None, **kwargs: Any) -> Any:
    """Load a model for a segmenter, and refuse checkpoints with missing weights.

    Args:
        kind: an Auto class or the class of a model.
        name (`str` or `os.PathLike`): folder or Hub id.
        what (`str`): name of the model in messages, such as "the detector".
        device (*optional*): device of the model; by default a GPU if there is one.
        dtype (*optional*): dtype of the weights; by default that of the checkpoint.
        kwargs: further arguments of `from_pretrained`.

    Returns:
        `PreTrainedModel`: the model, ready for inference.

    Raises:
        ConfigurationError: there is no such device or dtype, or the name is not a path or Hub id.
        CheckpointError: the checkpoint cannot be loaded, is of another kind, or lacks weights.
    """
    check_name(name, what)
    where = read_device(device)
    kwargs |= {} if dtype is None else {"dtype": _read_dtype(dtype)}
    model, lacking = load_pretrained(kind, name, **kwargs)
    if lacking.missing:
        raise CheckpointError(
            f"{os.fspath(name)!r} does not have all weights of {what}, which would run with random ones. "
            f"{lacking} Give a checkpoint of this kind, or fetch or save it again."
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
            "folder or Hub id of a whole checkpoint of this kind, or fetch or save it again, with its processor."
        ) from error
    if isinstance(processor, kind) or hasattr(processor, "image_processor"):
        return processor
    raise CheckpointError(
        f"{os.fspath(name)!r} has a {type(processor).__name__} but no processor of {what}. "
        "Fetch or save the checkpoint again, with its processor."
    )


def prepare(processor: Any, frame: NDArray[np.uint8], what: str, **given: Any) -> Any:
    """Run an image processor on a frame, whose channels come last however few pixels it has.

    Raises:
        SegmentError: the frame is so thin that nothing of it is left at the model's input size.
    """
    try:
        return processor(images=frame, return_tensors="pt", input_data_format="channels_last", **given)
    except (ValueError, RuntimeError) as error:
        raise SegmentError(
            f"A frame of {size_words(*frame.shape[:2])} cannot be prepared for {what}: {str(error).rstrip('.')}. "
            "Nothing is left of very thin frames when they are scaled; give frames that are less thin."
        ) from error


def read_device(device: Any) -> torch.device:
    """Return the requested device; by default a GPU if there is one.

    Raises:
        ConfigurationError: this machine has no such device.
    """
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        wanted = torch.device(device)
        torch.zeros(1, device=wanted).tolist()  # a device like 'meta' takes tensors, but computes nothing
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
    """Check that a value can name a checkpoint.

    Raises:
        ConfigurationError: the value is neither a path nor a Hub id.
    """
    if not isinstance(name, (str, os.PathLike)) or not os.fspath(name):
        raise ConfigurationError(
            f"The checkpoint of {what} is {short(name)}; expected a folder or an id on the Hub, such as "
            "'IDEA-Research/grounding-dino-tiny'."
        )
