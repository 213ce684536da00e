"""Load a saved object encoder onto a host."""

import os
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.hosts.attach import AttachedRegionMixin, attach_object_encoder, detach_object_encoder
from videorefer_plugin.hosts.binding import bind_processor
from videorefer_plugin.hosts.configuration import CONFIG_NAME, WEIGHTS_NAME, AttachmentConfig, find_files
from videorefer_plugin.hosts.saving import attachment_of
from videorefer_plugin.models.videorefer.regions import RegionMixin

__all__ = ["load_object_encoder"]


def load_object_encoder(model: Any, folder_or_id: str | os.PathLike, *, processor: Any = None) -> Any:
    """Load a saved object encoder onto a host, attaching it if the host has none yet.

    Args:
        model (`PreTrainedModel`): a model of the kind that the object encoder was trained for.
        folder_or_id (`str` or `os.PathLike`): folder or Hub id with what `save_object_encoder` wrote.
        processor (`ProcessorMixin`, *optional*): the host's processor, as in [`attach_object_encoder`].

    Returns:
        `PreTrainedModel`: the same object.

    Raises:
        CheckpointError: files are missing or damaged, or belong to another host.
        ConfigurationError: widths do not fit, or the model is not supported.
    """
    saved = AttachmentConfig.load(folder_or_id)
    weights = find_files(folder_or_id, WEIGHTS_NAME)[0]
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if saved.host_model_type != model_type:
        raise CheckpointError(
            f"The object encoder in {os.fspath(folder_or_id)!r} was trained for a {saved.host_model_type!r} host"
            f"{f' ({saved.base_model_name_or_path})' if saved.base_model_name_or_path else ''}, but this model is "
            f"{f'of type {model_type!r}' if model_type else f'a {type(model).__name__}'}. Features of different "
            "towers do not mix; train one for this host."
        )
    attached = isinstance(model, RegionMixin)
    if attached and attachment_of(model).object_encoder != saved.object_encoder:
        raise ConfigurationError(
            f"The model's object encoder has {attachment_of(model).object_encoder}, but the saved one "
            f"{saved.object_encoder}. Take the model's off with detach_object_encoder first."
        )
    try:
        state = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{str(weights)!r} cannot be read: {error}. Save the object encoder again.") from error
    if not attached:
        attach_object_encoder(model, saved.object_encoder, processor=processor)
    try:
        model.object_encoder.load_state_dict(state)
    except RuntimeError as error:
        if not attached:
            detach_object_encoder(model)
        raise CheckpointError(
            f"The weights in {str(weights)!r} are not those that {CONFIG_NAME} beside them speaks of: {error}"
        ) from error
    if attached and processor is not None:
        bind_processor(processor, model)
    if isinstance(model, AttachedRegionMixin) and model.object_encoder_attachment.region_token_id is None:
        model.object_encoder_attachment.region_token_id = saved.region_token_id
    return model
