"""InternVL: the frames of a video are images to it, frame by frame on a square grid behind a class token."""

import copy
from typing import Any

from torch import Tensor

from videorefer_plugin.hosts.registry import register_host
from videorefer_plugin.hosts.smolvlm import FramesAsImagesHost

__all__ = ["InternVLHost"]


class InternVLHost(FramesAsImagesHost):
    """See [`Host`]."""

    model_type = "internvl"
    processor_names = ("InternVLProcessor",)

    def call_processor(
        self, processor: Any, text: list[str], visuals: dict[str, list[Any]], metadata: list[Any], settings: dict
    ) -> dict[str, Any]:
        """See [`Host.call_processor`]. This processor fails to return where its placeholders are; they are noted."""
        if not settings.get("return_text_replacement_offsets"):
            return super().call_processor(processor, text, visuals, metadata, settings)
        noted: list[Any] = []
        noting = copy.copy(processor)

        def get_text_with_replacements(*args: Any, **kwargs: Any) -> Any:
            expanded, offsets = processor.get_text_with_replacements(*args, **kwargs)
            noted.extend(offsets)
            return expanded, offsets

        noting.get_text_with_replacements = get_text_with_replacements
        others = {name: value for name, value in settings.items() if name != "return_text_replacement_offsets"}
        outputs = super().call_processor(noting, text, visuals, metadata, others)
        return {**outputs, "text_replacement_offsets": noted}

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        layer = config.vision_feature_layer
        features = output.last_hidden_state if layer == -1 else output.hidden_states[layer]
        return features[:, 1:] if config.vision_feature_select_strategy == "default" else features


register_host(InternVLHost())
