"""Image processors of VideoLLaMA2.1: which one to use, and what comes before it."""

import os
from typing import Any

import numpy as np
from transformers import AutoImageProcessor, SiglipImageProcessorPil

from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.models.videollama2.original import find_vision_tower

__all__ = ["pad_to_square", "pillow_based", "tower_image_processor"]


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


def pillow_based(image_processor: Any) -> Any:
    """The Pillow-based image processor with the same settings, where transformers has one; else the same object."""
    import transformers

    name = type(image_processor).__name__
    pillow = None if name.endswith("Pil") else getattr(transformers, f"{name}Pil", None)
    if pillow is None:
        return image_processor
    values = {k: v for k, v in image_processor.to_dict().items() if not k.endswith("_type")}
    return pillow(**values)


def tower_image_processor(config: VideoLLaMA2Config, checkpoint: str | os.PathLike, hub: dict[str, Any]) -> Any:
    """The image processor of the vision tower that an original checkpoint names.

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
