"""Load a saved object encoder onto a host."""

import functools
import os
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor, ProcessorMixin

from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.hosts.adapters import base_of, find_adapter, load_adapter
from videorefer_plugin.hosts.attach import AttachedRegionMixin, attach_object_encoder, detach_object_encoder
from videorefer_plugin.hosts.binding import bind_processor
from videorefer_plugin.hosts.configuration import CONFIG_NAME, WEIGHTS_NAME, AttachmentConfig, find_files
from videorefer_plugin.hosts.processing import RegionProcessor
from videorefer_plugin.hosts.saving import attachment_of, same_towers
from videorefer_plugin.inputs.matching import take_settings
from videorefer_plugin.models.checkpoint_files import MODEL_FILES, PROCESSOR_FILES, check_files, reading_folder
from videorefer_plugin.models.hub_arguments import HUB_ARGUMENTS, elsewhere, hub_arguments, in_subfolder, pinned
from videorefer_plugin.models.quantized import settle_dtypes
from videorefer_plugin.models.videollama2.loading import OriginalCheckpointMixin
from videorefer_plugin.models.videorefer.regions import RegionMixin
from videorefer_plugin.models.videorefer_videollama3.lora import is_lora_output
from videorefer_plugin.models.videorefer_videollama3.modeling import VideoReferVideoLLaMA3ForConditionalGeneration
from videorefer_plugin.models.weights import load_pretrained, load_whole_state

__all__ = [
    "load_checkpoint",
    "load_object_encoder",
    "load_processor",
    "own_object_encoder",
    "processor_of",
    "with_regions",
]

# A processor begins with one of these.
_PROCESSOR = ("processor_config.json", "preprocessor_config.json")


def load_checkpoint(name: str | os.PathLike, **kwargs: Any) -> Any:
    """Load a model that can answer, of this library or a host, and refuse one with missing weights.

    Args:
        name (`str` or `os.PathLike`): folder or Hub id; also of a PEFT adapter, whose base is loaded with it.
        kwargs: arguments of `AutoModelForImageTextToText.from_pretrained`.

    Returns:
        `PreTrainedModel`

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or lacks weights. In this library's models, a part that is
            entirely missing is newly initialized, with a warning.
        ConfigurationError: a package that its quantization needs is missing.
    """
    check_kind(ConfigurationError, PATH, name=name)
    hub = hub_arguments(kwargs)
    folder = in_subfolder(name, hub)
    check_files(folder, MODEL_FILES)
    if is_lora_output(folder):  # of the original code, whose folder names its base
        return VideoReferVideoLLaMA3ForConditionalGeneration.from_pretrained(name, **kwargs)
    if (adapter := find_adapter(name, hub)) is not None:
        return load_adapter(name, adapter, functools.partial(_load_base, name, hub), **kwargs)
    # An adapter is looked for first, and without these in the default cache and on the Hub alone.
    kwargs = {"adapter_kwargs": hub, **kwargs}
    with reading_folder(folder, MODEL_FILES, given=kwargs):
        model, lacking = load_pretrained(AutoModelForImageTextToText, name, **kwargs)
    if lacking.missing and not isinstance(model, OriginalCheckpointMixin):  # their parts are checked as they load
        raise CheckpointError(
            f"The weights of {os.fspath(name)!r} are incomplete, so the model would answer with random ones. "
            f"{lacking} Fetch or save the checkpoint again."
        )
    settle_dtypes(model)
    return model


def _load_base(adapter: str | os.PathLike, hub: dict[str, Any], base: str, **kwargs: Any) -> Any:
    """Load the base of an adapter, with the object encoder beside the adapter, or else beside the base."""
    model = load_checkpoint(base, **kwargs)
    found = own_object_encoder(adapter, hub)
    if found is None and not isinstance(model, RegionMixin):
        found = own_object_encoder(base, hub_arguments(dict(kwargs)))
    if found is not None:
        place, fetched = found
        load_object_encoder(model, place, **fetched)
    return model


def load_object_encoder(
    model: Any, folder_or_id: str | os.PathLike, *, processor: Any = None, **hub_kwargs: Any
) -> Any:
    """Load a saved object encoder onto a host, attaching it if the host has none yet.

    Args:
        model (`PreTrainedModel`): a model of the kind that the object encoder was trained for.
        folder_or_id (`str` or `os.PathLike`): folder or Hub id with the files of `save_object_encoder`.
        processor (`ProcessorMixin`, *optional*): the host's processor, as in [`attach_object_encoder`].
        hub_kwargs:
            How files are fetched from the Hub, as `from_pretrained` takes it: `revision`, `subfolder`, `token`,
            `cache_dir`, `local_files_only`, `force_download`, `proxies`.

    Returns:
        `PreTrainedModel`: the same object.

    Raises:
        CheckpointError: files are missing or damaged, or belong to another host.
        ConfigurationError: widths do not fit, the model is not supported, or an argument is unknown.
    """
    check_kind(ConfigurationError, PATH, folder_or_id=folder_or_id)
    take_settings(hub_kwargs, (), HUB_ARGUMENTS, "load_object_encoder")
    hub = pinned(folder_or_id, hub_arguments(hub_kwargs))
    check_files(in_subfolder(folder_or_id, hub), [CONFIG_NAME, WEIGHTS_NAME])
    saved = AttachmentConfig.load(folder_or_id, **hub)
    weights = find_files(folder_or_id, WEIGHTS_NAME, **hub)[0]
    model_type = getattr(getattr(model, "config", None), "model_type", None)
    if not same_towers(saved.host_model_type, model_type):
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
    refusal = f"The weights in {str(weights)!r} are not those that {CONFIG_NAME} beside them describes"
    try:
        load_whole_state(model.object_encoder, state, refusal)
    except CheckpointError:
        if not attached:
            detach_object_encoder(model)
        raise
    if attached and processor is not None:
        bind_processor(processor, model)
    if isinstance(model, AttachedRegionMixin) and model.object_encoder_attachment.region_token_id is None:
        model.object_encoder_attachment.region_token_id = saved.region_token_id
    return model


def own_object_encoder(name: str | os.PathLike, hub: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return the location of the object encoder that a host was saved with; `None` if it was saved without one.

    Args:
        name (`str` or `os.PathLike`): folder or Hub id of the host.
        hub (`dict`): the result of [`hub_arguments`].

    Returns:
        `tuple` or `None`: folder or Hub id, and the hub arguments with which its files are fetched.

    Raises:
        CheckpointError: the folder has its weights without their configuration.
    """
    folder = in_subfolder(name, hub)
    if os.path.isdir(folder):
        if os.path.lexists(os.path.join(folder, CONFIG_NAME)):
            return folder, {}
        if os.path.lexists(os.path.join(folder, WEIGHTS_NAME)):
            raise CheckpointError(
                f"{os.fspath(folder)!r} holds {WEIGHTS_NAME}, but {CONFIG_NAME} is missing, without which the model "
                "would not take regions. Fetch or save the object encoder again, or remove its weights."
            )
        return None
    from transformers.utils import cached_file

    # Without a connection, the cached files of the host count, which may be those of a bare one.
    quietly = dict.fromkeys(
        (f"_raise_exceptions_for_{what}" for what in ("missing_entries", "connection_errors")), False
    )
    found = cached_file(os.fspath(name), CONFIG_NAME, **hub, **quietly)
    return None if found is None else (os.fspath(name), hub)


def with_regions(processor: Any, model: Any) -> Any:
    """Return the processor of a loaded model: a host's own is wrapped if an object encoder is attached to it."""
    attached = isinstance(model, AttachedRegionMixin) and not isinstance(processor, RegionProcessor)
    return RegionProcessor(processor, model) if attached else processor


def load_processor(name: str, **hub: Any) -> Any:
    """Load a processor with `AutoProcessor`, and refuse a mere tokenizer.

    Args:
        name (`str`): folder or Hub id; for an adapter without a processor, its base's is loaded.
        hub: arguments for fetching files, as in `from_pretrained`.

    Raises:
        CheckpointError: one of its files is damaged.
        ConfigurationError: there is no processor.
    """
    if not name:
        raise _no_processor("The model does not say where it came from")
    folder = in_subfolder(name, hub)
    check_files(folder, PROCESSOR_FILES)
    has_own = is_lora_output(folder) or _has_processor(name, hub)
    if not has_own and (adapter := find_adapter(name, hub)) is not None:
        return load_processor(base_of(adapter, name), **elsewhere(hub))
    try:
        with reading_folder(folder, ("config.json", *PROCESSOR_FILES), given=hub):
            processor = AutoProcessor.from_pretrained(name, **hub)
    except CheckpointError:
        raise
    except OSError as error:
        raise _no_processor(f"{name!r} has no processor that can be loaded") from error
    # If the Auto class cannot load a processor, it may return a mere tokenizer.
    if not isinstance(processor, ProcessorMixin):
        raise _no_processor(f"{name!r} has no processor that can be loaded")
    return processor


def processor_of(model: Any) -> Any:
    """Return the processor of the checkpoint that a model was loaded from.

    Raises:
        CheckpointError: it cannot be loaded.
        ConfigurationError: there is none, or `model` is not a model.
    """
    if not isinstance(name := getattr(model, "name_or_path", None), str):
        raise ConfigurationError(f"model must be a model, a folder or a Hub id, but is a {type(model).__name__}.")
    try:
        return load_processor(name, **getattr(model, "_fetched_with", {}))
    except CheckpointError as error:
        raise CheckpointError(f"The model's processor cannot be loaded: {error} Or pass processor=.") from error


def _has_processor(name: str, hub: dict[str, Any]) -> bool:
    folder = in_subfolder(name, hub)
    if os.path.isdir(folder):
        return any(os.path.lexists(os.path.join(folder, one)) for one in _PROCESSOR)
    from transformers.utils import cached_file

    return any(cached_file(name, one, **hub, _raise_exceptions_for_missing_entries=False) for one in _PROCESSOR)


def _no_processor(what: str) -> ConfigurationError:
    return ConfigurationError(f"{what}. Pass processor=, for instance VideoReferProcessor.from_pretrained(...).")
