"""Separating the videos and images of a batch, in any nesting."""

from collections.abc import Callable
from typing import Any

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video import Video
from videorefer_plugin.video.animations import looks_like_picture
from videorefer_plugin.video.sources import is_stored

__all__ = ["flatten_images", "flatten_videos", "is_frame", "is_picture"]


def flatten_videos(videos: Any) -> list[Any]:
    """List the videos of a batch: one video, a list of them, or a list for each sample.

    A list of images (PIL images, arrays; paths, addresses or bytes of images) is one video. An animated WebP or PNG is
    a video itself.

    Raises:
        VideoError: a value in it is not a video.
    """
    return _flatten(videos, _is_video, "a path, bytes, an array (frames, height, width, 3), or a list of images")


def flatten_images(images: Any) -> list[Any]:
    """List the images of a batch: one image, a list of them, or a list for each sample.

    Raises:
        VideoError: a value in it is not an image.
    """
    return _flatten(images, _is_image, "a path, bytes, a PIL image, or an array (height, width, 3)")


def _flatten(value: Any, is_one: Callable[[Any], bool], expected: str) -> list[Any]:
    if value is None:
        return []
    if is_one(value):
        return [value]
    if isinstance(value, (list, tuple)):
        return [one for item in value for one in _flatten(item, is_one, expected)]
    if getattr(value, "ndim", 0) in (4, 5):  # a stack of videos or images
        return [one for item in value for one in _flatten(item, is_one, expected)]
    shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
    raise VideoError(f"Cannot use a {type(value).__name__}{shape} here; expected {expected}.")


def _is_video(value: Any) -> bool:
    if isinstance(value, Video) or is_stored(value) or getattr(value, "ndim", None) == 4:
        return True
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(is_frame(item) for item in value)


def is_frame(value: Any) -> bool:
    """Whether this is one picture, in memory or stored; an animation does not count."""
    return looks_like_picture(value) if is_stored(value) else is_picture(value)


def _is_image(value: Any) -> bool:
    return isinstance(value, Video) or is_stored(value) or is_picture(value)


def is_picture(value: Any) -> bool:
    """Whether this is one picture in memory: a PIL image, or an array of shape `(height, width, 3)`."""
    return getattr(value, "ndim", None) == 3 or (hasattr(value, "mode") and hasattr(value, "convert"))
