"""The vision tower, run as VideoLLaMA2.1 does: up to a layer, one grid of features for each frame."""

from typing import Any

from torch import Tensor, nn

from videorefer_plugin._kinds import check_kind, instances, methods
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.gradients import no_grad_if_frozen
from videorefer_plugin.models.videollama2.checks import check_pixels

__all__ = ["as_grids", "frame_features", "run_tower"]


_CONFIG = methods("the configuration of a VideoLLaMA2 or VideoRefer model", "vision_config", "vision_feature_layer")


def frame_features(vision_tower: nn.Module, config: Any, pixel_values: Tensor) -> Tensor:
    """Encode frames one by one with a vision tower.

    The features are the hidden states at `config.vision_feature_layer`, without the tower's last normalization and
    without a class token. Layers above that one are not run.

    Args:
        vision_tower (`nn.Module`): a SigLIP or CLIP vision model of transformers.
        config ([`VideoLLaMA2Config`]): says which layer to take, and how large the grid is.
        pixel_values (`torch.Tensor` of shape `(num_frames, 3, image_size, image_size)`): preprocessed frames.

    Returns:
        `torch.Tensor` of shape `(num_frames, grid_height, grid_width, vision_hidden_size)`.

    Raises:
        ConfigurationError: the tower, or its configuration, is missing.
        TensorError: the pixel values have another shape, or are not floating-point numbers.
    """
    check_kind(ConfigurationError, instances(nn.Module), vision_tower=vision_tower)
    check_kind(ConfigurationError, _CONFIG, config=config)
    check_pixels(config, "pixel_values", pixel_values, ("num_frames",), values=False)
    return as_grids(config, run_tower(vision_tower, config, pixel_values)[-1])


def run_tower(
    vision_tower: nn.Module, config: Any, pixel_values: Tensor, every_layer: bool = False
) -> tuple[Tensor, ...]:
    """Hidden states of the tower up to `config.vision_feature_layer`: the last one, or all of them."""
    tower: Any = getattr(vision_tower, "vision_model", vision_tower)
    layers = tower.encoder.layers
    depth = config.vision_feature_layer % (len(layers) + 1)
    with no_grad_if_frozen(tower.parameters(), pixel_values):
        hidden = tower.embeddings(pixel_values.to(tower.embeddings.patch_embedding.weight.dtype))
        if hasattr(tower, "pre_layrnorm"):  # CLIP's own spelling
            hidden = tower.pre_layrnorm(hidden)
        states: tuple[Tensor, ...] = (hidden,)
        for layer in layers[:depth]:
            hidden = layer(hidden, attention_mask=None)
            states = (*states, hidden) if every_layer else (hidden,)
    return states


def as_grids(config: Any, hidden: Tensor) -> Tensor:
    """Lay hidden states out as grids, without a class token."""
    rows, columns = config.grid_size
    return hidden[:, hidden.shape[1] - rows * columns :].unflatten(1, (rows, columns))
