"""Configuration of VideoRefer."""

from typing import Any

from huggingface_hub.dataclasses import strict

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
from videorefer_plugin.object_encoder.configuration import ObjectEncoderConfig

__all__ = ["VideoReferConfig"]


@strict
class VideoReferConfig(VideoLLaMA2Config):
    r"""
    Configuration of a [`VideoReferForConditionalGeneration`]: that of the host, an object encoder, and the id of
    `<region>`. The defaults are those of VideoRefer-7B.

    Args:
        object_encoder_config (`dict` or [`ObjectEncoderConfig`], *optional*):
            Sizes of the object encoder. Widths that are not given follow from the vision tower and language model.
        region_token_id (`int`, *optional*, defaults to 151646):
            Id of object tokens in `input_ids`.

    The other arguments and the errors are those of [`VideoLLaMA2Config`].
    """

    model_type = "videorefer"

    object_encoder_config: Any = None
    region_token_id: int = 151646

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        widths = {
            "vision_hidden_size": self.vision_config.hidden_size,
            "hidden_size": self.text_config.hidden_size,
        }
        if not isinstance(self.object_encoder_config, (ObjectEncoderConfig, dict, type(None))):
            raise ConfigurationError(
                "object_encoder_config must be a dict or an ObjectEncoderConfig, but is a "
                f"{type(self.object_encoder_config).__name__}: {self.object_encoder_config!r}."
            )
        if not isinstance(self.object_encoder_config, ObjectEncoderConfig):
            self.object_encoder_config = ObjectEncoderConfig.from_dict(
                {**widths, **(self.object_encoder_config or {})}
            )
        for name, width in widths.items():
            if getattr(self.object_encoder_config, name) != width:
                raise ConfigurationError(
                    f"object_encoder_config.{name} is {getattr(self.object_encoder_config, name)}, but the "
                    f"{'vision tower' if name == 'vision_hidden_size' else 'language model'} has width {width}."
                )

    def to_dict(self) -> dict[str, Any]:
        """Serialize to plain values."""
        output = super().to_dict()
        if isinstance(self.object_encoder_config, ObjectEncoderConfig):
            output["object_encoder_config"] = self.object_encoder_config.to_dict()
        return output

    @classmethod
    def translate_original(cls, flat: dict[str, Any], nested: dict[str, Any]) -> dict[str, Any]:
        """Add the object encoder's part to a configuration translated from the original layout.

        Raises:
            ConfigurationError: the region encoder is of an unknown type.
        """
        kind = flat.get("mm_region_encoder_type") or "pooling"
        if kind != "pooling":
            raise ConfigurationError(f"Unknown mm_region_encoder_type {kind!r}; only 'pooling' is supported.")
        return {**nested, "region_token_id": nested["image_token_id"] - 1}
