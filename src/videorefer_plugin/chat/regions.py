"""Messages with a video and regions, as `videorefer serve` takes them."""

import base64
import mimetypes
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from videorefer_plugin.chat.base import Message
from videorefer_plugin.errors import PromptError, VideoError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.regions import Region

__all__ = ["file_address", "region_message", "visual_settings"]


def region_message(kind: str, path: str | os.PathLike, question: str, regions: Sequence[Region]) -> Message:
    """Return a question about objects in a video or image as a user message.

    Args:
        kind (`str`): `"video"` or `"image"`.
        path (`str` or `os.PathLike`): path of the file, whose contents become part of the message.
        question (`str`): the question, with one `<region>` for each region.
        regions (`Sequence[Region]`): the regions, in the order of the question.

    Raises:
        PromptError: question and regions do not match.
        VideoError: the file cannot be read, or is a folder.
    """
    first, *rest = question.split(REGION_TOKEN)
    if len(rest) != len(regions):
        raise PromptError(
            f"The question has {len(rest)} {REGION_TOKEN}, but {len(regions)} region(s) were given. Write one for "
            "each."
        )
    name = f"{kind}_url"
    content: list[dict[str, Any]] = [{"type": name, name: {"url": file_address(path)}}, _text(first)]
    for region, words in zip(regions, rest, strict=True):
        content += [{"type": "region", "region": region.to_json()}, _text(words)]
    return {"role": "user", "content": [part for part in content if part.get("text") != ""]}


def visual_settings(**settings: Any) -> dict[str, Any]:
    """Return settings of the processor as a field of requests; those that are `None` are left to the server."""
    given = {name: value for name, value in settings.items() if value is not None}
    return {"mm_processor_kwargs": given} if given else {}


def file_address(path: str | os.PathLike) -> str:
    """Return the contents of a file as a `data:` URL.

    Raises:
        VideoError: the file cannot be read, or is a folder.
    """
    path = os.fspath(path)
    try:
        found = os.stat(path)
        if os.path.isdir(path):
            raise VideoError(
                f"{path!r} is a folder of frames, which cannot be sent to a server. Make a video file of it."
            )
        return _encoded(path, found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise VideoError(f"{path!r} cannot be read ({error.strerror or error}). Check the path.") from error


@lru_cache(maxsize=2)  # since many questions about one file follow each other
def _encoded(path: str, size: int, changed: int) -> str:
    kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
    with open(path, "rb") as file:
        return f"data:{kind};base64,{base64.b64encode(file.read()).decode()}"


def _text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
