"""Configurations in the layout of the original code, which are read here and saved in our layout."""

import copy
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videorefer_plugin._places import check_folder_place
from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.models.hub_arguments import fetched_with, fetching, hub_arguments, pinned
from videorefer_plugin.models.local_paths import without_local_path
from videorefer_plugin.models.shims import MODEL_AUTO_MAPS, config_shims, write_shims

__all__ = ["OriginalLayoutMixin"]

if TYPE_CHECKING:
    from transformers.configuration_utils import PreTrainedConfig as _Config
else:
    _Config = object


class OriginalLayoutMixin(_Config):
    """Reading and writing of a configuration with a `vision_tower` and a flat original layout."""

    original_model_types: Any = ()  # values of `model_type` in the original layout

    @classmethod
    def is_original(cls, config_dict: dict[str, Any]) -> bool:
        """Whether a configuration dictionary is in the flat layout of the original code."""
        return config_dict.get("model_type") in cls.original_model_types

    @classmethod
    def translate_layout(
        cls, flat: dict[str, Any], checkpoint: Any, vision_tower: Any, hub: dict[str, Any]
    ) -> dict[str, Any]:
        """Translate the original code's flat configuration into nested ones.

        Args:
            flat (`dict`): the original configuration.
            checkpoint (`str` or `os.PathLike`, *optional*): folder of the checkpoint.
            vision_tower (`str` or `os.PathLike`, *optional*): name or path to use instead of the recorded one.
            hub (`dict`): arguments that say how the checkpoint's files are fetched.

        Raises:
            CheckpointError: the vision tower is nowhere to be found.
            ConfigurationError: a part is not supported.
        """
        raise NotImplementedError

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Build a configuration from a dictionary, in this library's layout or the original one.

        Raises:
            CheckpointError: the vision tower that an original configuration names is nowhere to be found.
            ConfigurationError: a part of the configuration is not supported.
        """
        if kwargs.get("vision_tower") is not None:
            kwargs["vision_tower"] = os.fspath(kwargs["vision_tower"])
        if cls.is_original(config_dict):
            checkpoint = kwargs.get("name_or_path", config_dict.get("name_or_path"))
            config_dict = cls.translate_layout(config_dict, checkpoint, kwargs.get("vision_tower"), fetched_with())
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """Load a configuration, in this library's layout or the original one, from a folder or the Hub."""
        # A tower that an original configuration names by a relative path is looked for beside the checkpoint.
        kwargs.setdefault("name_or_path", os.fspath(pretrained_model_name_or_path))
        hub = pinned(pretrained_model_name_or_path, hub_arguments(kwargs))
        kwargs |= hub
        config_dict, unused = cls.get_config_dict(pretrained_model_name_or_path, **kwargs)
        if cls.is_original(config_dict):  # the framework would warn that the model type differs
            with fetching(hub):
                return cls.from_dict(config_dict, **unused)
        return super().from_pretrained(pretrained_model_name_or_path, **kwargs)

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Save the configuration, and the files with which its folder loads with `trust_remote_code=True`.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        check_folder_place(save_directory, CheckpointError)
        if self.model_type not in MODEL_AUTO_MAPS:  # a derived class brings its own files
            super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)
            return
        # Always written again: the value from a checkpoint may name other files.
        self.auto_map = dict(MODEL_AUTO_MAPS[self.model_type])
        super().save_pretrained(save_directory)
        write_shims(save_directory, config_shims(self.model_type))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)

    def to_json_file(self, json_file_path: str | os.PathLike, use_diff: bool = True) -> None:
        """Write the configuration into a file, without the local folder of the tower."""
        written = copy.copy(self)
        written.vision_tower = without_local_path(self.vision_tower)
        super(OriginalLayoutMixin, written).to_json_file(json_file_path, use_diff=use_diff)

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoConfig") -> None:
        """Do nothing: published checkpoints name this package instead of carrying copies of its files."""
