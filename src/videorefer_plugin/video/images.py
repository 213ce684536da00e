"""Loading single images, from files or from arrays."""

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.regions.reading import MAX_PIXELS
from videorefer_plugin.video.sources import Stored, is_stored, stored

__all__ = [
    "CARD_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MAX_FRAME_PIXELS",
    "as_array",
    "channels_last",
    "check_size",
    "check_values",
    "image_size",
    "is_pil",
    "load_image",
    "load_named_image",
    "to_uint8",
]

MAX_FRAME_PIXELS = 1 << 26
"""The most pixels of a frame of a video file, 8192 x 8192: twice as many as 8K has. Decoders keep several frames."""

_COMMON_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})

IMAGE_SUFFIXES = _COMMON_SUFFIXES | {".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"}
"""The endings of image files, in lower case."""

CARD_SUFFIXES = _COMMON_SUFFIXES | {".gif", ".svg"}
"""The endings of pictures on a page, in lower case: browsers show drawings, but not every kind of image."""


def load_image(source: Any) -> np.ndarray:
    """Loads one image.

    Args:
        source: A path to an image file, a `file://` or `data:` URL, the bytes of a file, a binary file object (read
            from its position), a PIL image, or an array or tensor of shape `(H, W, 3)` or `(3, H, W)`, `uint8`, or
            floating point in [0, 1]. Orientation metadata (EXIF) is applied. Transparency is dropped. Of an
            animation, the first frame is taken.

    Returns:
        `np.ndarray`: `uint8` RGB of shape `(H, W, 3)`.

    Raises:
        VideoError: If the source is missing, is not an image, or cannot be decoded.
    """
    if is_stored(source):
        source = stored(source)
    return load_named_image(source, source.name if isinstance(source, Stored) else f"the {type(source).__name__}")


def load_named_image(source: Any, label: str) -> np.ndarray:
    """Loads one image as [`load_image`] does; messages name it `label`.

    Sources that can be read are given as a [`Stored`].
    """
    from PIL import ImageOps

    if isinstance(source, Stored) or is_pil(source):
        with _opened_image(source, label) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    array = as_array(source)
    if array is None:
        raise VideoError(
            f"An image was expected for {label} (a path, bytes, a PIL image, or an (H, W, 3) array), but a "
            f"{type(source).__name__} was given."
        )
    array = channels_last(array, label, per_frame=True)
    if 0 in array.shape:
        raise VideoError(f"{label} has no pixels (shape {array.shape}).")
    check_values(array, label)
    return to_uint8(array)


def image_size(source: Any, label: str) -> tuple[int, int]:
    """Height and width of an image, without decoding it if it is a file."""
    if isinstance(source, Stored) or is_pil(source):
        with _opened_image(source, label) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)  # orientations with the sides swapped
            return (width, height) if turned else (height, width)
    return load_named_image(source, label).shape[:2]


@contextlib.contextmanager
def _opened_image(source: Any, label: str) -> Iterator[Any]:
    """Opens a source, which may be a PIL image already; errors of the reader become a `VideoError` with its name."""
    from PIL import Image

    if isinstance(source, Stored):
        if source.is_address:
            raise VideoError(f"{label} is an address; download the image first and pass the file's path.")
        if isinstance(source.place, str) and not os.path.isfile(source.place):
            raise VideoError(f"{label}: the image file does not exist; check the path.")
    try:
        with contextlib.nullcontext(source) if is_pil(source) else Image.open(_for_pillow(source)) as image:
            check_size(image.height, image.width, label)
            if image.mode in ("F", "I") or image.mode.startswith("I;"):
                raise VideoError(
                    f"{label} has {image.mode!r} pixels (more than 8 bits), which would be clipped; "
                    "scale it to 8 bits first."
                )
            yield image
    except (VideoError, MemoryError):
        raise
    except Image.DecompressionBombError as error:  # judged by the header, before any pixel is read
        raise VideoError(
            f"{label} is larger than Pillow reads: {error} Scale it down; if you trust the file, raise "
            "PIL.Image.MAX_IMAGE_PIXELS."
        ) from error
    except Image.UnidentifiedImageError as error:
        raise VideoError(
            f"{label} cannot be read as an image (in no format that Pillow knows); it may be damaged or not an image."
        ) from error
    except Exception as error:  # image readers raise almost anything on damaged files
        raise VideoError(
            f"{label} cannot be read as an image ({error}); it may be damaged or not an image."
        ) from error


def _for_pillow(source: Stored) -> str | io.BytesIO:
    return io.BytesIO(source.place) if isinstance(source.place, bytes) else source.place


def check_size(height: int, width: int, label: str, most: int = MAX_PIXELS) -> None:
    """Refuses images and frames with too many pixels."""
    if height * width > most:
        raise VideoError(
            f"{label} claims to be {width}x{height} (width x height), but at most {most} pixels can be "
            "handled; scale it down first."
        )


def is_pil(source: Any) -> bool:
    """Whether this is a PIL image."""
    from PIL import Image

    return isinstance(source, Image.Image)


def as_array(source: Any) -> np.ndarray | None:
    """An array or tensor as a NumPy array (sharing memory where possible), anything else as `None`."""
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a torch tensor
        tensor = source.detach().cpu()
        try:
            return tensor.numpy()
        except TypeError:  # bfloat16
            return tensor.float().numpy()
    if hasattr(source, "__array__") and hasattr(source, "shape"):
        return np.asarray(source)
    return None


def channels_last(array: np.ndarray, label: str, per_frame: bool) -> np.ndarray:
    """A view with the three colors last, `(H, W, 3)` where `per_frame`, else `(T, H, W, 3)`."""
    shape, axes = array.shape, 3 if per_frame else 4
    expected = "(H, W, 3)" if per_frame else "(T, H, W, 3)"
    if len(shape) == axes and shape[-1] == 3:
        return array
    if len(shape) == axes and shape[-3] == 3:
        return np.moveaxis(array, -3, -1)
    if not per_frame and len(shape) == 3 and shape[-1] == 3:
        advice = "this looks like one image: use load_image, or pass [image]."
    elif len(shape) == axes - 1:
        advice = "gray frames become RGB with np.repeat(array[..., None], 3, axis=-1)."
    elif len(shape) == axes and 1 in (shape[-1], shape[-3]):
        advice = f"gray frames become RGB with np.repeat(array, 3, axis={-1 if shape[-1] == 1 else -3})."
    elif len(shape) == axes and shape[-1] == 4:
        advice = "drop the transparency with array[..., :3]."
    else:
        advice = "reshape it first."
    raise VideoError(f"RGB of shape {expected} was expected for {label}, but its shape is {shape}; {advice}")


def check_values(array: np.ndarray, label: str) -> None:
    """Refuses pixels that are neither `uint8` nor floating point in [0, 1]."""
    if array.dtype == np.uint8:
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise VideoError(
            f"Pixels must be uint8 (0 to 255) or floating point in [0, 1], but {label} is {array.dtype}; "
            "convert with array.astype(np.uint8) if its values are 0 to 255."
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise VideoError(
            f"Floating-point pixels must lie in [0, 1], but {label} goes from {low:g} to {high:g}; "
            "scale it, or convert 0-to-255 values with array.astype(np.uint8)."
        )


def to_uint8(array: np.ndarray) -> np.ndarray:
    """Checked pixels as contiguous `uint8`."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.round(array.astype(np.float32) * 255).astype(np.uint8)
