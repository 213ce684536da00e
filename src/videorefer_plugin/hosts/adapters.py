"""Adapters of PEFT, which are loaded together with their base model."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from videorefer_plugin._text import short
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.models.checkpoint_files import ADAPTER_FILES, check_files, reading_folder
from videorefer_plugin.models.hub_arguments import elsewhere, hub_arguments, in_subfolder
from videorefer_plugin.models.weights import Findings

__all__ = ["base_of", "find_adapter", "load_adapter"]

_CONFIG = "adapter_config.json"
# A folder that holds one of these beside an adapter is the base model itself, as in transformers.
_OF_A_MODEL = (
    *("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def find_adapter(name: str | os.PathLike, hub: dict[str, Any]) -> Path | None:
    """Return the configuration of the adapter in a folder or repository; `None` if there is no adapter.

    Args:
        name (`str` or `os.PathLike`): folder or Hub id.
        hub (`dict`): the result of [`hub_arguments`].

    Raises:
        CheckpointError: the configuration is damaged.
    """
    folder = Path(in_subfolder(name, hub))
    if folder.is_dir():
        check_files(folder, [_CONFIG])
        of_a_model = any(os.path.lexists(folder / one) for one in _OF_A_MODEL)
        return folder / _CONFIG if (folder / _CONFIG).is_file() and not of_a_model else None
    from transformers.utils import cached_file

    quietly = dict.fromkeys((f"_raise_exceptions_for_{what}" for what in _FAILURES), False)
    try:
        if cached_file(os.fspath(name), "config.json", **hub, **quietly) is not None:
            return None
        found = cached_file(os.fspath(name), _CONFIG, **hub, **quietly)
    except OSError:  # nothing there, which loading the model reports with the reason
        return None
    return None if found is None else Path(found)


_FAILURES = ("gated_repo", "missing_entries", "connection_errors")


def base_of(config: Path, name: str | os.PathLike) -> str:
    """Return folder or Hub id of the base model of an adapter.

    A relative path is searched for in the working directory, then beside the adapter's folder.

    Args:
        config (`Path`): the adapter's configuration.
        name (`str` or `os.PathLike`): the adapter's folder or Hub id.

    Raises:
        CheckpointError: the configuration names no base model.
    """
    check_files(config.parent, [config.name])
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip() or "\0" in base:
        raise CheckpointError(
            f"{_CONFIG} of {os.fspath(name)!r} says {short(base)} as base_model_name_or_path, which is not a model. "
            "Put the folder or Hub id of the model there that the adapter was trained on."
        )
    beside = config.parent.parent / base
    return str(beside) if not os.path.isdir(base) and beside.is_dir() else base


def load_adapter(name: str | os.PathLike, config: Path, load: Callable[..., Any], **kwargs: Any) -> Any:
    """Load the base of an adapter, and the adapter into its layers. The object encoder beside it is left to the
    caller.

    Args:
        name (`str` or `os.PathLike`): folder or Hub id of the adapter.
        config (`Path`): its configuration.
        load (`Callable`): loads the base, and gives it the object encoder that the adapter was trained with.
        kwargs: arguments of `from_pretrained`. `revision` and `subfolder` are the adapter's.

    Returns:
        `PreTrainedModel`: the base, with the adapter in its layers.

    Raises:
        CheckpointError: the base or the adapter is missing or damaged, or they do not fit each other.
        ConfigurationError: `peft` is not installed.
    """
    try:
        from peft import PeftConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise ConfigurationError(
            f"{os.fspath(name)!r} is an adapter, which needs peft: pip install 'videorefer-plugin[train]'."
        ) from error
    hub = hub_arguments(kwargs)
    folder = config.parent if Path(name).is_dir() else name
    base = base_of(config, name)
    check_files(folder, ADAPTER_FILES, needed=["adapter_model.safetensors"])
    if (inner := find_adapter(base, elsewhere(hub))) is not None:
        raise CheckpointError(
            f"The base model {base!r} that {_CONFIG} of {os.fspath(name)!r} names is an adapter itself ({inner}). "
            "Merge that one into its own base first, save the result, and put its folder there."
        )
    others = {key: value for key, value in kwargs.items() if key not in hub}
    try:
        model = load(base, **others, **elsewhere(hub))
    except CheckpointError as error:
        raise CheckpointError(
            f"{os.fspath(name)!r} holds an adapter, and the base model {base!r} that its {_CONFIG} names cannot be "
            f"loaded: {error} If the base lies elsewhere, put its folder or Hub id there as base_model_name_or_path."
        ) from error
    with reading_folder(folder, ADAPTER_FILES):
        settings = PeftConfig.from_pretrained(os.fspath(folder), **({} if Path(name).is_dir() else hub))
        settings.inference_mode = True
        weights = load_peft_weights(os.fspath(folder), device="cpu", **({} if Path(name).is_dir() else hub))
        _check_rank(name, weights, getattr(settings, "r", None))  # before memory is allocated for it
        wrapped = get_peft_model(model, settings, low_cpu_mem_usage=True)
        own = get_peft_model_state_dict(wrapped, save_embedding_layers=False)
        _check_weights(name, weights, own)
        set_peft_model_state_dict(wrapped, weights, low_cpu_mem_usage=True)
    return wrapped.get_base_model().eval()


def _check_rank(name: str | os.PathLike, weights: dict[str, Any], rank: Any) -> None:
    ranks = [value.shape[0] for key, value in weights.items() if ".lora_A." in key and value.ndim]
    if ranks and isinstance(rank, int) and rank > max(ranks):
        raise CheckpointError(
            f"{_CONFIG} of {os.fspath(name)!r} says r={short(rank)}, but the weights in adapter_model.safetensors are "
            f"of rank {max(ranks)}. Save the adapter again."
        )


def _check_weights(name: str | os.PathLike, found: dict[str, Any], own: dict[str, Any]) -> None:
    shapes = [key for key in found.keys() & own.keys() if found[key].shape != own[key].shape]
    findings = Findings(
        own.keys() - found.keys(),
        [(key, found[key].shape, own[key].shape) for key in shapes],
        found.keys() - own.keys(),
    )
    if any(".object_encoder." in key for key in findings.unexpected):
        raise CheckpointError(
            f"adapter_model.safetensors of {os.fspath(name)!r} holds an object encoder, but neither beside it nor "
            "beside the base model lies one that tells its sizes. Save it too: model.save_object_encoder(folder)."
        )
    if any(findings):
        raise CheckpointError(
            f"The weights in adapter_model.safetensors of {os.fspath(name)!r} are not those that {_CONFIG} describes, "
            f"on the base model that it names. {findings} Save the adapter again, or name the base that it belongs to."
        )
