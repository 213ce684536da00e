"""Configuration of VideoRefer-VideoLLaMA3."""

import os
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.models.video_llama_3.configuration_video_llama_3 import VideoLlama3Config

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.original_layout import OriginalLayoutMixin
from videorefer_plugin.models.videorefer_videollama3.original import (
    ORIGINAL_MODEL_TYPES,
    REFUSED_MODEL_TYPES,
    translate_config,
)
from videorefer_plugin.object_encoder import is_encoder_config, read_encoder_config

__all__ = ["VideoReferVideoLLaMA3Config"]


@strict
class VideoReferVideoLLaMA3Config(OriginalLayoutMixin, VideoLlama3Config):
    r"""
    Configuration of a [`VideoReferVideoLLaMA3ForConditionalGeneration`]: that of transformers' VideoLLaMA3, an object
    encoder that looks at crops, and the settings of the processor.

    Args:
        text_config, vision_config (`dict` or `PreTrainedConfig`, *optional*): the language model and the tower.
        object_encoder_config (`dict` or [`CropEncoderConfig`], *optional*):
            Sizes of the object encoder. Widths that are not given follow from the vision tower and language model,
            and the most pixels of a crop from `max_visual_tokens`.
        region_token_id (`int`, *optional*, defaults to 151668): id of object tokens in `input_ids`.
        image_token_id, video_token_id (`int`, *optional*):
            Ids of the tokens of images and of frames. The original code uses the first for both.
        spatial_merge_size (`int`, *optional*, defaults to 2): side of the blocks in which patches are merged.
        max_visual_tokens (`int`, *optional*, defaults to 2369): the most tokens of an image, or of a whole clip.
        vision_tower (`str`, *optional*): path or Hub id of the original vision tower.

    Raises:
        ConfigurationError: the object encoder does not fit the tower or the language model.
    """

    model_type = "videorefer_videollama3"
    original_model_types = (*ORIGINAL_MODEL_TYPES, *REFUSED_MODEL_TYPES)

    object_encoder_config: Any = None
    region_token_id: int = 151668
    image_token_id: int = 151665
    video_token_id: int = 151666
    spatial_merge_size: int = 2
    max_visual_tokens: int = 2369
    vision_tower: str | os.PathLike | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.vision_tower is not None:
            self.vision_tower = os.fspath(self.vision_tower)
        for name in ("spatial_merge_size", "max_visual_tokens"):
            if getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must be at least 1, but {getattr(self, name)} was given.")
        patch = self.vision_config.patch_size
        widths = {"vision_hidden_size": self.vision_config.hidden_size, "hidden_size": self.text_config.hidden_size}
        usual = {"patch_size": patch, "max_crop_pixels": max(self.max_visual_tokens * patch**2, 56 * 56)}
        config = read_encoder_config(self.object_encoder_config, "crop", **widths, **usual)
        if config.kind != "crop":
            raise ConfigurationError(
                f"object_encoder_config is of kind {config.kind!r}, but VideoRefer-VideoLLaMA3 looks at crops. Attach "
                "another object encoder to the bare host with attach_object_encoder."
            )
        for name, wanted in {**widths, "patch_size": patch}.items():
            if getattr(config, name) != wanted:
                raise ConfigurationError(
                    f"object_encoder_config.{name} is {getattr(config, name)}, but the "
                    f"{'language model' if name == 'hidden_size' else 'vision tower'} has {wanted}."
                )
        self.object_encoder_config = config

    def to_dict(self) -> dict[str, Any]:
        """Serialize to plain values."""
        output = super().to_dict()
        if is_encoder_config(self.object_encoder_config):
            output["object_encoder_config"] = self.object_encoder_config.to_dict()
        return output

    @classmethod
    def translate_layout(
        cls, flat: dict[str, Any], checkpoint: Any, vision_tower: Any, hub: dict[str, Any]
    ) -> dict[str, Any]:
        """See `OriginalLayoutMixin.translate_layout`."""
        return translate_config(flat, cls, checkpoint, vision_tower, hub)
