"""The kinds of object encoders: the configuration class and the module class of each."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.object_encoder.configuration import ObjectEncoderConfig
from videorefer_plugin.object_encoder.crop_configuration import CropEncoderConfig
from videorefer_plugin.object_encoder.crop_module import CropEncoder
from videorefer_plugin.object_encoder.module import ObjectEncoder

__all__ = ["build_encoder", "encoder_kinds", "is_encoder_config", "read_encoder_config", "register_encoder"]

_KINDS: dict[str, tuple[Any, type[nn.Module]]] = {}


def register_encoder(config_class: Any, module_class: type[nn.Module]) -> None:
    """Register an object encoder under `config_class.kind`.

    A configuration is a dataclass with `kind`, `to_dict`, `from_dict`, `count_tokens` and `placeholder`; a module is
    built from one, and returns an [`ObjectEncoderOutput`].

    Raises:
        ConfigurationError: the kind is taken, or the configuration lacks a part.
    """
    parts = ("kind", "to_dict", "from_dict", "count_tokens", "placeholder")
    missing = [name for name in parts if not hasattr(config_class, name)]
    if missing:
        raise ConfigurationError(f"{config_class.__name__} has no {', '.join(missing)}, which object encoders need.")
    if config_class.kind in _KINDS:
        raise ConfigurationError(f"There is an object encoder of kind {config_class.kind!r} already.")
    _KINDS[config_class.kind] = config_class, module_class


def encoder_kinds() -> tuple[str, ...]:
    """Return the registered kinds."""
    return tuple(_KINDS)


def is_encoder_config(value: Any) -> bool:
    """Whether a value is the configuration of an object encoder of any kind."""
    return isinstance(value, tuple(config for config, _ in _KINDS.values()))


def read_encoder_config(values: Any, default: str = "pooled", **widths: int) -> Any:
    """Read the configuration of an object encoder; its `kind` selects the class.

    Args:
        values (`dict`, configuration or `None`): the settings; a configuration is returned unchanged.
        default (`str`, *optional*, defaults to `"pooled"`): the kind to use if none is named.
        widths (`int`): values to use where the settings have none.

    Raises:
        ConfigurationError: the kind or a value is unknown.
    """
    if is_encoder_config(values):
        return values
    if values is not None and not isinstance(values, Mapping):
        raise ConfigurationError(
            f"Settings of an object encoder must be a dict or a configuration, but are a {type(values).__name__}: "
            f"{short(values)}."
        )
    values = dict(values or {})
    return encoder_class(values.pop("kind", default))[0].from_dict({**widths, **values})


def build_encoder(config: Any) -> nn.Module:
    """Build the object encoder of a configuration.

    Raises:
        ConfigurationError: `config` is not the configuration of an object encoder.
    """
    if not is_encoder_config(config):
        raise ConfigurationError(
            f"An object encoder is built of an ObjectEncoderConfig or a CropEncoderConfig, but {short(config)} was "
            "given."
        )
    return encoder_class(config.kind)[1](config)


def encoder_class(kind: Any) -> tuple[Any, Any]:
    """Return the configuration class and the module class of a kind.

    Raises:
        ConfigurationError: the kind is unknown.
    """
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigurationError(
            f"Unknown kind of object encoder {short(kind)}; known are {', '.join(map(repr, _KINDS))}."
        )
    return _KINDS[kind]


register_encoder(ObjectEncoderConfig, ObjectEncoder)
register_encoder(CropEncoderConfig, CropEncoder)
