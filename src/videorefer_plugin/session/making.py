"""Decides which models a session takes, and how it shows them a visual."""

import uuid
from typing import Any

from torch import nn

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.hosts.attach import AttachedRegionMixin
from videorefer_plugin.hosts.processing import RegionProcessor
from videorefer_plugin.models.feature_keys import adapters_in_use
from videorefer_plugin.models.feature_store import FeatureStore
from videorefer_plugin.models.generate_checks import check_generate
from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration
from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
from videorefer_plugin.models.videorefer_videollama3.modeling import VideoReferVideoLLaMA3ForConditionalGeneration
from videorefer_plugin.models.videorefer_videollama3.processing import VideoReferVideoLLaMA3Processor
from videorefer_plugin.session.crops import CropVisuals
from videorefer_plugin.session.host_choices import host_revision
from videorefer_plugin.session.hosts import HostVisuals
from videorefer_plugin.session.own import OwnVisuals
from videorefer_plugin.session.prompts import Computed, Visuals
from videorefer_plugin.video import Video

__all__ = [
    "check_settings",
    "check_takes",
    "generate_settings",
    "make_visuals",
    "plain_model",
    "takes",
    "weights_version",
]

# Arguments of `generate` that a session sets itself.
_TAKEN = (
    *("inputs", "input_ids", "inputs_embeds", "attention_mask", "position_ids", "cache", "past_key_values"),
    *("object_tokens", "object_token_counts", "mm_encoder_outputs", "pixel_values", "pixel_values_videos"),
)

# Arguments of the processor that a session sets itself.
_GIVEN = ("text", "videos", "images", "audio", "regions", "return_tensors", "padding", "padding_side")


def plain_model(model: Any) -> Any:
    """Return the model inside a PEFT model, whose adapters lie in its layers, or any other model as it is.

    Raises:
        ConfigurationError: the PEFT model changes the prompt instead of layers.
    """
    inside = getattr(model, "get_base_model", None)
    if inside is None:
        return model
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        raise ConfigurationError(
            "A session does not take PEFT models that learn prompts, since it cannot see what they prepend."
        )
    return inside()


def takes(model: Any, processor: Any) -> bool:
    """Tell whether a session takes a model with its processor."""
    if getattr(getattr(model, "active_peft_config", None), "is_prompt_learning", False):
        return False
    model = plain_model(model)
    return _is_own(model, processor) or _is_attached(model, processor) or _is_cropping(model, processor)


def check_takes(model: Any, processor: Any) -> None:
    """Check that a session takes a model with its processor. PEFT models are unwrapped before.

    Raises:
        ConfigurationError: model and processor are not of this library, or do not belong together.
    """
    if not (_is_own(model, processor) or _is_attached(model, processor) or _is_cropping(model, processor)):
        raise ConfigurationError(
            f"A session takes a VideoRefer or VideoLLaMA2 model with its processor, or a host with an attached object "
            f"encoder and its RegionProcessor, but got {type(model).__name__} and {type(processor).__name__}."
        )


def _is_own(model: Any, processor: Any) -> bool:
    return isinstance(model, VideoLLaMA2ForConditionalGeneration) and isinstance(processor, VideoLLaMA2Processor)


def _is_cropping(model: Any, processor: Any) -> bool:
    return isinstance(model, VideoReferVideoLLaMA3ForConditionalGeneration) and isinstance(
        processor, VideoReferVideoLLaMA3Processor
    )


def _is_attached(model: Any, processor: Any) -> bool:
    return isinstance(model, AttachedRegionMixin) and isinstance(processor, RegionProcessor)


def weights_version(model: nn.Module) -> int:
    """Return a number that changes when weights are modified, replaced or moved, or other adapters are active.

    Changes through `.data` are not noticed, since torch does not count them.
    """
    counted = [(each, -1 if each.is_inference() else each._version) for each in model.parameters()]
    weights = tuple((id(each), version, each.device, each.dtype) for each, version in counted)
    return hash((weights, str(adapters_in_use(model))))


def check_settings(settings: dict[str, Any]) -> None:
    """Refuse settings of the processor that a session sets itself.

    Raises:
        ConfigurationError: such a setting is given.
    """
    given = [name for name in settings if name in _GIVEN]
    if given:
        raise ConfigurationError(f"A session sets {given[0]} of the processor itself. Leave it out.")


def generate_settings(model: Any, generate_kwargs: dict[str, Any], streams: bool = False) -> dict[str, Any]:
    """Check the arguments of `generate`, and add the defaults of a session.

    Args:
        model: the model.
        generate_kwargs (`dict`): the caller's arguments of `generate`.
        streams (`bool`, *optional*, defaults to `False`): whether the answer comes in pieces.

    Raises:
        ConfigurationError: a session or `generate` does not take an argument.
    """
    settings = {"max_new_tokens": 256, "do_sample": False, **generate_kwargs}
    taken = [name for name in settings if name in _TAKEN or name.startswith("region_")]
    if taken:
        raise ConfigurationError(f"A session sets {taken[0]} of generate itself. Leave it out.")
    if "streamer" in settings:
        raise ConfigurationError("For an answer in pieces, use the session's stream() instead of streamer=.")
    check_generate(model, settings)
    known = settings.get("generation_config") or model.generation_config
    several = settings.get("num_return_sequences", getattr(known, "num_return_sequences", None)) or 1
    if several != 1:
        raise ConfigurationError(
            f"A question has one answer here, but num_return_sequences is {several}. Ask it several times instead."
        )
    beams = settings.get("num_beams", getattr(known, "num_beams", None)) or 1
    if streams and beams != 1:
        raise ConfigurationError(
            f"An answer of {beams} beams is known at its end only. Use ask() instead of stream(), or num_beams=1."
        )
    return settings


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
    """Make the object with which a session shows its visual to a model.

    Raises:
        ConfigurationError: see [`check_takes`].
    """
    check_takes(model, processor)
    if _is_own(model, processor):
        return OwnVisuals(model, processor, kind, video, store, not own_store, settings, computed)
    if _is_cropping(model, processor):
        return CropVisuals(model, processor, kind, video, settings, computed)
    # A session starts again when weights change, so that a store of its own needs no more than a name.
    revision = uuid.uuid4().hex if own_store else host_revision(model)
    return HostVisuals(model, processor, kind, video, store, revision, settings, computed)
