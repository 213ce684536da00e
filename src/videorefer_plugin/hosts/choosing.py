"""Choosing the object encoder of a host."""

from typing import Any

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.hosts.registry import Host, host_of, supported_hosts
from videorefer_plugin.object_encoder import is_encoder_config, read_encoder_config

__all__ = ["encoder_config"]


def encoder_config(host: Host, model: Any, config: Any, encoder: str | None, widths: dict[str, int]) -> Any:
    """Return the requested configuration, if the host supports such an object encoder."""
    patch_size = getattr(model.config.vision_config, "patch_size", None)
    if config is not None and not is_encoder_config(config):
        raise ConfigurationError(
            f"config must be an ObjectEncoderConfig or a CropEncoderConfig, but is a {type(config).__name__}."
        )
    kind = encoder or (config.kind if config is not None else "pooled")
    if config is None:
        patch = {"patch_size": patch_size} if kind == "crop" and host.takes_crops else {}
        config = read_encoder_config({"kind": kind, **widths, **patch})
    if config.kind != kind:
        raise ConfigurationError(
            f"encoder={kind!r} was asked for, but config is a {type(config).__name__}, of kind {config.kind!r}. Leave "
            "one of them out."
        )
    if kind == "crop" and not host.takes_crops:
        able = [name for name in supported_hosts() if host_of(name).takes_crops]
        raise ConfigurationError(
            f"The vision tower of {host.model_type} hosts does not take single crops; hosts whose tower does: "
            f"{', '.join(able)}. Use encoder='pooled' here."
        )
    if kind == "crop" and config.patch_size != patch_size:
        raise ConfigurationError(
            f"config.patch_size is {config.patch_size}, but the tower's patches are {patch_size} pixels "
            f"wide. Set CropEncoderConfig(patch_size={patch_size})."
        )
    return config
