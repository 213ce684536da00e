"""PerceptionLM: a timm tower, frame by frame on a square grid, with or without a class token."""

from typing import Any

from torch import Tensor

from videorefer_plugin.hosts.registry import Host, register_host

__all__ = ["PerceptionLMHost"]


class PerceptionLMHost(Host):
    """See [`Host`]. Images are cut into tiles, so regions are placed on videos only."""

    model_type = "perception_lm"
    processor_names = ("PerceptionLMProcessor",)
    encoders = {  # noqa: RUF012 - read only
        "video": ("pixel_values_videos", "get_image_features"),
        "image": ("pixel_values", "get_image_features"),
    }

    def vision_width(self, config: Any) -> int:
        """See [`Host.vision_width`]."""
        return config.vision_config.model_args["embed_dim"]

    def feature_layer(self, config: Any) -> int | list[int] | None:
        """See [`Host.feature_layer`]."""
        return None

    def patch_size(self, model: Any) -> int:
        """See [`Host.patch_size`]. The configuration only names the tower's architecture."""
        tower: Any = self.tower(model)
        return tower.timm_model.patch_embed.patch_size[0]

    def select_features(self, config: Any, output: Any) -> Tensor:
        """See [`Host.select_features`]."""
        features = output.last_hidden_state
        return features[:, 1:] if config.vision_use_cls_token else features


register_host(PerceptionLMHost())
