"""LLaVA-OneVision: frame by frame on a square grid; the features are hidden states of a chosen layer."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from videorefer_plugin.hosts.grids import VisualGrid
from videorefer_plugin.hosts.registry import Host, Visual, register_host

__all__ = ["LlavaOnevisionHost", "select_layer"]


def select_layer(config: Any, output: Any) -> Tensor:
    """Features at `config.vision_feature_layer`, without the class token where the host leaves it out."""
    import torch

    layers = config.vision_feature_layer
    if isinstance(layers, int):
        features = output.hidden_states[layers]
    else:
        features = torch.cat([output.hidden_states[layer] for layer in layers], dim=-1)
    return features[:, 1:] if config.vision_feature_select_strategy == "default" else features


class LlavaOnevisionHost(Host):
    """See [`Host`]. An image's regions lie on its first tile, which shows all of it."""

    model_type = "llava_onevision"
    processor_names = ("LlavaOnevisionProcessor",)

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        return select_layer(config, output)

    def locate(
        self, processor: Any, outputs: dict[str, Any], visuals: Sequence[Visual], patch_size: int
    ) -> list[VisualGrid | None]:
        """See [`Host.locate`]."""
        from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

        grids = super().locate(processor, outputs, visuals, patch_size)
        row = sum(visual.num_frames for visual in visuals if visual.kind == "video")
        images = [place for place, visual in enumerate(visuals) if visual.kind == "image"]
        for number, place in enumerate(images):
            height, width = outputs["pixel_values"].shape[-2:]
            grids[place] = VisualGrid(row, (height // patch_size, width // patch_size))
            # The host cuts an image into tiles only if it is the only one of its prompt.
            alone = sum(visuals[other].sample == visuals[place].sample for other in images) == 1
            pinpoints = processor.image_processor.image_grid_pinpoints
            row += image_size_to_num_patches(outputs["image_sizes"][number], pinpoints, height) if alone else 1
        return grids


register_host(LlavaOnevisionHost())
