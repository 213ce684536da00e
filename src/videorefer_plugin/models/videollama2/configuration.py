"""Configuration of the VideoLLaMA2.1 host."""

import os
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING, AutoConfig

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.original_layout import OriginalLayoutMixin
from videorefer_plugin.models.videollama2.original import ORIGINAL_MODEL_TYPES, translate_config
from videorefer_plugin.video.sampling import MAX_SAMPLED_FRAMES

__all__ = ["PROJECTOR_TYPES", "VideoLLaMA2Config", "count_visual_tokens"]

PROJECTOR_TYPES = {"stc_connector_v35": 0, "stc_connector": 1}  # name -> padding of the strided convolution

_MOST_LAYERS = 10_000  # of a part; each is built before its weights are read

# SigLIP so400m/14-384 and Qwen2-7B, the parts of the published models.
_DEFAULT_VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
_DEFAULT_TEXT = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    "bos_token_id": 151643,
    "eos_token_id": 151645,
}


def count_visual_tokens(num_frames: int, grid: tuple[int, int], projector_type: str) -> int:
    """Number of tokens that the connector makes of a clip.

    The connector halves time, height and width; without padding it drops an odd last frame, row or column.

    Args:
        num_frames (`int`): frames of the clip.
        grid (`tuple[int, int]`): rows and columns of the vision tower's feature grid.
        projector_type (`str`): one of `PROJECTOR_TYPES`.
    """
    padding = PROJECTOR_TYPES[projector_type]
    frames, rows, columns = ((size + 2 * padding - 2) // 2 + 1 for size in (num_frames, *grid))
    return max(frames, 0) * rows * columns


@strict
class VideoLLaMA2Config(OriginalLayoutMixin, PreTrainedConfig):
    r"""
    Configuration of a [`VideoLLaMA2ForConditionalGeneration`]. The defaults are those of VideoLLaMA2.1-7B-16F.

    Args:
        text_config (`dict` or `PreTrainedConfig`, *optional*):
            Configuration of the language model; Qwen2-7B by default.
        vision_config (`dict` or `PreTrainedConfig`, *optional*):
            Configuration of the vision tower, SigLIP or CLIP; SigLIP so400m/14-384 by default.
        projector_type (`str`, *optional*, defaults to `"stc_connector_v35"`):
            The connector: `"stc_connector_v35"` (2.1) or `"stc_connector"` (2.0, with padding).
        vision_feature_layer (`int`, *optional*, defaults to -2):
            Index of the tower's hidden state that is used, without the tower's last normalization.
        num_frames (`int`, *optional*, defaults to 16):
            Frames sampled from a video. An image is repeated that many times.
        image_aspect_ratio (`str`, *optional*, defaults to `"square"`):
            `"square"` resizes frames to a square, `"pad"` centers them on one first.
        image_token_id, video_token_id (`int`, *optional*):
            Ids of visual tokens in `input_ids`. They may lie beyond the vocabulary, since these positions
            never reach the embedding table.
        vision_tower (`str`, *optional*):
            Path or Hub id of the original vision tower. Needed only to load original checkpoints that lack the
            tower's weights. Of a local path, only the folder's name is saved.

    Raises:
        ConfigurationError: a projector type, aspect ratio or tower is not supported.
    """

    model_type = "videollama2"
    original_model_types = ORIGINAL_MODEL_TYPES
    sub_configs = {"text_config": AutoConfig, "vision_config": AutoConfig}  # noqa: RUF012 - the framework's own form
    attribute_map = {"image_token_index": "image_token_id", "video_token_index": "video_token_id"}  # noqa: RUF012

    text_config: Any = None
    vision_config: Any = None
    projector_type: str = "stc_connector_v35"
    vision_feature_layer: int = -2
    num_frames: int = 16
    image_aspect_ratio: str = "square"
    image_token_id: int = 151647
    video_token_id: int = 151648
    vision_tower: str | os.PathLike | None = None
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.text_config = _sub_config(self.text_config, _DEFAULT_TEXT)
        self.vision_config = _sub_config(self.vision_config, _DEFAULT_VISION)
        if self.vision_tower is not None:
            self.vision_tower = os.fspath(self.vision_tower)
        if self.projector_type not in PROJECTOR_TYPES:
            raise ConfigurationError(
                f"Unknown projector_type (mm_projector_type) {self.projector_type!r}; "
                f"supported are {', '.join(map(repr, PROJECTOR_TYPES))}."
            )
        if self.image_aspect_ratio not in ("square", "pad"):
            raise ConfigurationError(
                f"Unknown image_aspect_ratio {self.image_aspect_ratio!r}; supported are 'square' and 'pad'."
            )
        if not 1 <= self.num_frames <= MAX_SAMPLED_FRAMES:
            raise ConfigurationError(
                f"num_frames must be at least 1 and at most {MAX_SAMPLED_FRAMES}, but {self.num_frames} was given."
            )
        if self.vision_config.model_type not in ("siglip_vision_model", "clip_vision_model"):
            raise ConfigurationError(
                f"Unsupported vision tower of model type {self.vision_config.model_type!r}; "
                "supported are 'siglip_vision_model' and 'clip_vision_model'."
            )
        layers = self.vision_config.num_hidden_layers
        if not -layers - 1 <= self.vision_feature_layer <= layers:
            raise ConfigurationError(
                f"vision_feature_layer {self.vision_feature_layer} does not exist: the vision tower has {layers} "
                f"layers, hence hidden states {-layers - 1} to {layers}."
            )
        super().__post_init__(**kwargs)

    @property
    def grid_size(self) -> tuple[int, int]:
        """Rows and columns of the vision tower's feature grid."""
        side = self.vision_config.image_size // self.vision_config.patch_size
        return side, side

    @classmethod
    def translate_layout(
        cls, flat: dict[str, Any], checkpoint: Any, vision_tower: Any, hub: dict[str, Any]
    ) -> dict[str, Any]:
        """See `OriginalLayoutMixin.translate_layout`."""
        return translate_config(flat, target=cls, checkpoint=checkpoint, vision_tower=vision_tower, hub=hub)


def _sub_config(value: Any, default: dict[str, Any]) -> PreTrainedConfig:
    """Complete the configuration of a part: none given, a dictionary, or already a configuration."""
    if isinstance(value, PreTrainedConfig):
        return value
    if value is not None and not isinstance(value, dict):
        raise ConfigurationError(
            f"The configuration of a part must be a dict or a PreTrainedConfig, but is a {type(value).__name__}: "
            f"{value!r}."
        )
    value = dict(default if value is None else value)
    kind = value.pop("model_type", default["model_type"])
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        raise ConfigurationError(f"Unknown model type {kind!r} of a part; the default is {default['model_type']!r}.")
    layers = value.get("num_hidden_layers")
    if isinstance(layers, int) and not 0 <= layers <= _MOST_LAYERS:
        raise ConfigurationError(
            f"num_hidden_layers of a {kind!r} part is {short(layers)}, but must be from 0 to {_MOST_LAYERS:,}."
        )
    return AutoConfig.for_model(kind, **value)
