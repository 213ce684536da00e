"""Which models a session takes, and with what it shows them a visual."""

import uuid
from typing import Any

from torch import nn

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.feature_store import FeatureStore, preprocessing_digest, tower_revision
from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration
from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
from videorefer_plugin.session.own import OwnVisuals
from videorefer_plugin.session.prompts import Computed, Visuals
from videorefer_plugin.video import Video

__all__ = ["make_visuals", "plain_model", "weights_version"]


def plain_model(model: Any) -> Any:
    """The model inside a PEFT model, whose adapters lie in its layers; any other model as it is.

    Raises:
        ConfigurationError: the PEFT model changes the prompt instead.
    """
    inside = getattr(model, "get_base_model", None)
    if inside is None:
        return model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ConfigurationError(
            "A session does not take PEFT models that learn prompts: what they prepend is not seen."
        )
    return inside()


def weights_version(model: nn.Module) -> int:
    """A number that changes when weights are changed in place, replaced or moved."""
    return hash(tuple((id(each), each._version, each.device) for each in model.parameters()))


def make_visuals(
    model: Any,
    processor: Any,
    kind: str,
    video: Video,
    store: FeatureStore,
    own_store: bool,
    settings: dict[str, Any],
    computed: Computed,
) -> Visuals:
    """How a session shows its visual to a model.

    Raises:
        ConfigurationError: model and processor are not of this library, or do not belong together.
    """
    if isinstance(model, VideoLLaMA2ForConditionalGeneration) and isinstance(processor, VideoLLaMA2Processor):
        if own_store:  # nobody else looks into it
            keys = ("", "", uuid.uuid4().hex)
        else:
            tower = tower_revision(model.model.vision_tower, model.config.vision_feature_layer)
            keys = (video.digest(), preprocessing_digest(processor), tower)
        return OwnVisuals(model, processor, kind, video, store, keys, settings, computed)
    raise ConfigurationError(
        f"A session takes a VideoRefer or VideoLLaMA2 model with its processor, or a host with an attached object "
        f"encoder and its RegionProcessor, but got {type(model).__name__} and {type(processor).__name__}."
    )
