"""Image processors of VideoLLaMA2.1: choosing one, and preparing frames for it."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, SiglipImageProcessorPil
from transformers.image_processing_backends import PilBackend

from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.models.videollama2.original import find_vision_tower

__all__ = ["pad_to_square", "pillow_based", "pixel_values", "tower_image_processor"]

# What makes a Pillow-based image processor treat each byte alone, once frames have their size. One that does any of it
# in a way of its own is left to itself.
_STEPS = (
    *("preprocess", "process_image", "_preprocess_image_like_inputs", "_preprocess"),
    *("convert_to_rgb", "resize", "center_crop", "rescale", "normalize"),
)
_KNOWN_SETTINGS = frozenset(
    [
        *("size", "crop_size", "default_to_square", "do_center_crop", "do_convert_rgb", "do_pad", "do_resize"),
        *("resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
    ]
)


def pad_to_square(frames: np.ndarray, color: list[int]) -> np.ndarray:
    """Center frames on a square; the spare row or column goes to the bottom or right.

    Args:
        frames (`np.ndarray` of shape `(num_frames, height, width, 3)`): RGB frames.
        color (`list[int]`): red, green and blue of the border.
    """
    height, width = frames.shape[1:3]
    side = max(height, width)
    square = np.empty((len(frames), side, side, 3), dtype=frames.dtype)
    square[...] = np.asarray(color, dtype=frames.dtype)
    top, left = (side - height) // 2, (side - width) // 2
    square[:, top : top + height, left : left + width] = frames
    return square


def pixel_values(image_processor: Any, frames: np.ndarray, settings: Mapping[str, Any]) -> Tensor:
    """Apply an image processor to frames, bit-exact, and at half the cost for a plain one of Pillow's.

    Such a processor rescales and normalizes each frame in several passes, one of them in double precision. But a byte
    has only 256 values; so their results are computed once for each channel, and frames are only resized and cropped.

    Args:
        image_processor: of transformers.
        frames (`np.ndarray` of shape `(num_frames, height, width, 3)` and dtype `uint8`): RGB frames.
        settings (`Mapping[str, Any]`): settings of the call, instead of the image processor's own.

    Returns:
        `torch.Tensor` of shape `(num_frames, 3, height, width)`, in the size that the image processor gives them.
    """
    if not (len(frames) and _is_plain(image_processor, settings)):
        images = [Image.fromarray(frame) for frame in frames]
        return image_processor(images, return_tensors="pt", **settings)["pixel_values"]
    table = _table(image_processor, settings)
    as_bytes = {**settings, "do_rescale": False, "do_normalize": False, "input_data_format": "channels_last"}
    found = None
    for number, frame in enumerate(frames):  # one by one, so that no more than one is in memory twice
        (resized,) = image_processor([frame], **as_bytes)["pixel_values"]
        if found is None:
            found = np.empty((len(frames), *resized.shape), dtype=table.dtype)
        for channel, values in enumerate(table):
            # With "clip" it writes to where it should at once; every byte is in range anyway.
            np.take(values, resized[channel], out=found[number, channel], mode="clip")
    return torch.from_numpy(found)


def _is_plain(image_processor: Any, settings: Mapping[str, Any]) -> bool:
    """Whether all that an image processor does to frames of their size is to rescale and normalize each byte."""

    def setting(name: str) -> Any:
        return settings[name] if name in settings else getattr(image_processor, name, None)

    methods = [getattr(getattr(image_processor, name, None), "__func__", None) for name in _STEPS]
    return (
        isinstance(image_processor, PilBackend)
        and methods == [getattr(PilBackend, name) for name in _STEPS]
        and settings.keys() <= _KNOWN_SETTINGS
        and bool(setting("do_rescale") or setting("do_normalize"))
        and not setting("do_pad")
    )


def _table(image_processor: Any, settings: Mapping[str, Any]) -> np.ndarray:
    """The results of an image processor for every byte in each channel, of shape `(3, 256)`."""
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    as_it_is = {**settings, "do_resize": False, "do_center_crop": False}
    return image_processor([Image.fromarray(every)], **as_it_is)["pixel_values"][0].reshape(3, 256)


def pillow_based(image_processor: Any) -> Any:
    """Return the Pillow-based image processor with the same settings, if there is one; else the same object."""
    import transformers

    name = type(image_processor).__name__
    pillow = None if name.endswith("Pil") else getattr(transformers, f"{name}Pil", None)
    if pillow is None:
        return image_processor
    values = {k: v for k, v in image_processor.to_dict().items() if not k.endswith("_type")}
    return pillow(**values)


def tower_image_processor(config: VideoLLaMA2Config, checkpoint: str | os.PathLike, hub: dict[str, Any]) -> Any:
    """Return the image processor of the vision tower that an original checkpoint names.

    Args:
        config ([`VideoLLaMA2Config`]): the checkpoint's configuration.
        checkpoint (`str` or `os.PathLike`): its folder or Hub id.
        hub (`dict`): arguments that say how the tower's files are fetched.
    """
    folder = find_vision_tower(str(config.vision_tower), checkpoint)
    try:
        return AutoImageProcessor.from_pretrained(folder or config.vision_tower, backend="pil", **hub)
    except (OSError, ValueError):
        if config.vision_config.model_type != "siglip_vision_model":
            raise
        side = config.vision_config.image_size
        return SiglipImageProcessorPil(size={"height": side, "width": side})
