"""Black visuals for processes whose batch has none, while other processes have some."""

from typing import Any

import numpy as np
from torch import Tensor

from videorefer_plugin.hosts import RegionProcessor

__all__ = ["blank_visuals"]

_SIDE = 64  # pixels; processors resize it for their host
_FRAMES = 4


def blank_visuals(processor: RegionProcessor) -> dict[str, dict[str, Tensor]]:
    """Make the smallest visual of each kind that a host takes.

    Args:
        processor ([`RegionProcessor`]): the host's processor.

    Returns:
        `dict[str, dict[str, torch.Tensor]]`: for each of the host's `encoders` its arguments: pixels, and inputs that
        belong to them.
    """
    black = np.zeros((_FRAMES, _SIDE, _SIDE, 3), dtype=np.uint8)
    shown: dict[str, dict[str, Any]] = {
        "video": {"text": processor.video_token, "videos": [black]},
        "image": {"text": processor.image_token, "images": [black[0]]},
    }
    words = {*processor.tokenizer.model_input_names, "input_ids", "attention_mask", "mm_token_type_ids"}
    blank = {}
    for kind in processor.host.encoders:
        made = processor(**shown[kind], return_tensors="pt")
        blank[kind] = {name: value for name, value in made.items() if name not in words and isinstance(value, Tensor)}
    return blank
