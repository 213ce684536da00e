"""Messages with frames, in the form that endpoints take."""

import base64
import io
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from videorefer_plugin.chat.base import Message

__all__ = ["encode_frame", "picture_message"]


def encode_frame(frame: NDArray[np.uint8]) -> str:
    """Return a frame as the `data:` URL of a JPEG of high quality."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, "jpeg", quality=92, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def picture_message(frames: Iterable[NDArray[np.uint8]], text: str) -> Message:
    """Return a user message with frames, in order, and a text behind them.

    Args:
        frames: uint8 (height, width, 3) each.
        text (`str`): the text, such as a question about the frames.
    """
    pictures = [{"type": "image_url", "image_url": {"url": encode_frame(frame)}} for frame in frames]
    return {"role": "user", "content": [*pictures, {"type": "text", "text": text}]}
