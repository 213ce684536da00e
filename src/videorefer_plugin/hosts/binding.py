"""Binding a host's processor to an object encoder: they must fit, and use the same id for `<region>`."""

import os
from typing import Any

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.hosts.configuration import AttachmentConfig
from videorefer_plugin.hosts.registry import Host, host_of

__all__ = ["add_region_token", "bind_processor", "check_processor"]


def bind_processor(processor: Any, host: Any, **hub: Any) -> AttachmentConfig:
    """Check that a processor fits, add `<region>` to its tokenizer, and store the token's id in the model.

    Args:
        processor (`ProcessorMixin`): the host's processor.
        host: a model with an attached object encoder, an [`AttachmentConfig`], or a folder or Hub id with one.
        hub: with a Hub id, `revision`, `token` and other arguments for fetching files.

    Returns:
        [`AttachmentConfig`]: that of the object encoder.

    Raises:
        ConfigurationError: the processor does not fit the host, or they disagree on the id of `<region>`.
        CheckpointError: the folder has no object encoder.
    """
    config = None
    attachment: Any
    if isinstance(host, AttachmentConfig):
        attachment = host
    elif isinstance(host, (str, os.PathLike)):
        attachment = AttachmentConfig.load(host, **hub)
    else:
        attachment = getattr(host, "object_encoder_attachment", None)
        if attachment is None:
            raise ConfigurationError(
                f"This {type(host).__name__} has no attached object encoder. Call attach_object_encoder(model) or "
                "load_object_encoder(model, folder) first."
            )
        config = host.config
    check_processor(processor, host_of(attachment.host_model_type), config)
    token_id = add_region_token(processor, attachment.region_token)
    if attachment.region_token_id not in (None, token_id):
        raise ConfigurationError(
            f"{attachment.region_token} has id {token_id} in this processor's tokenizer, but the object encoder was "
            f"set up with {attachment.region_token_id}. Use the processor that it was attached with, before other "
            "tokens were added."
        )
    attachment.region_token_id = token_id
    return attachment


def check_processor(processor: Any, host: Host, config: Any = None) -> None:
    """Check that a processor belongs to a host.

    Raises:
        ConfigurationError: it is of another family, its placeholders have other ids, or it crops frames.
    """
    names = {base.__name__ for base in type(processor).__mro__}
    if not names & set(host.processor_names):
        raise ConfigurationError(
            f"A {host.model_type} host needs a {' or '.join(host.processor_names)}, but got a "
            f"{type(processor).__name__}. Load it with AutoProcessor.from_pretrained from where the model came from."
        )
    for kind in ("image", "video") if config is not None else ():
        wanted = getattr(config, f"{kind}_token_id", None)
        given = getattr(processor, f"{kind}_token_id", None)
        if None not in (wanted, given) and wanted != given:
            raise ConfigurationError(
                f"The processor's {kind} placeholder has id {given}, but the model's {wanted}: they come from "
                "different checkpoints. Load the processor from where the model came from."
            )
    video_processor = getattr(processor, "video_processor", None)
    if getattr(video_processor, "do_center_crop", None):
        raise ConfigurationError(
            "The video processor crops frames, so that masks would not lie on what the model sees. Set "
            "processor.video_processor.do_center_crop = False."
        )


def add_region_token(processor: Any, token: str) -> int:
    """Add the placeholder to the processor's tokenizer, unless it has it, and return its id."""
    tokenizer = processor.tokenizer
    if token not in tokenizer.get_vocab():
        tokenizer.add_tokens([token], special_tokens=True)
    return tokenizer.convert_tokens_to_ids(token)
