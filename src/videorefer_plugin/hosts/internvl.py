"""InternVL: the frames of a video are images to it, frame by frame on a square grid behind a class token."""

from typing import Any

from torch import Tensor

from videorefer_plugin.hosts.registry import register_host
from videorefer_plugin.hosts.smolvlm import FramesAsImagesHost

__all__ = ["InternVLHost"]


class InternVLHost(FramesAsImagesHost):
    """See [`Host`]."""

    model_type = "internvl"
    processor_names = ("InternVLProcessor",)

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        layer = config.vision_feature_layer
        features = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        return features[:, 1:] if config.vision_feature_select_strategy == "default" else features


register_host(InternVLHost())
