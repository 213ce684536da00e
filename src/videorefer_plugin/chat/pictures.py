"""Frames in messages, as endpoints take them."""

import base64
import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.chat.base import Message

__all__ = ["encode_frame", "picture_message"]


def encode_frame(frame: NDArray[np.uint8]) -> str:
    """A frame as a `data:` address of a JPEG of high quality, which endpoints take."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "jpeg", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def picture_message(frames: Iterable[NDArray[np.uint8]], text: str) -> Message:
    """Frames, in order, and a text behind them as one message of a user.

    Args:
        frames: uint8 (height, width, 3) each.
        text (`str`): what is said about them.
    """
    pictures = [{"type": "image_url", "image_url": {"url": encode_frame(frame)}} for frame in frames]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}
