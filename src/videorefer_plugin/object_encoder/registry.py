"""The kinds of object encoders: what a configuration that names its kind is read as, and built into."""

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
    """Make an object encoder known under `config_class.kind`.

    A configuration is a dataclass with `kind`, `to_dict`, `from_dict`, `count_tokens` and `placeholder`; a module is
    made of one, and returns an [`ObjectEncoderOutput`].

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
    """The kinds that there are."""
    return tuple(_KINDS)


def is_encoder_config(value: Any) -> bool:
    """Whether a value is the configuration of an object encoder of any kind."""
    return isinstance(value, tuple(config for config, _ in _KINDS.values()))


def read_encoder_config(values: Any, default: str = "pooled", **widths: int) -> Any:
    """Read the configuration of an object encoder; `kind` among its values says which.

    Args:
        values (`dict`, configuration or `None`): what was given; a configuration is returned as it is.
        default (`str`, *optional*, defaults to `"pooled"`): the kind where none is named.
        widths (`int`): values that count where others are not given.

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
    """The object encoder of a configuration.

    Raises:
        ConfigurationError: it is no configuration of an object encoder.
    """
    if not is_encoder_config(config):
        raise ConfigurationError(
            f"An object encoder is built of an ObjectEncoderConfig or a CropEncoderConfig, but {short(config)} was "
            "given."
        )
    return encoder_class(config.kind)[1](config)


def encoder_class(kind: Any) -> tuple[Any, Any]:
    """Classes of configuration and module of a kind.

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
