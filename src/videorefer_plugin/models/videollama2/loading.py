"""Loading of original checkpoints: their names, towers kept elsewhere, adapter-only folders."""

import json
import os
import pickle
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.utils import logging

from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.models.videollama2.original import ORIGINAL_KEY_MAPPING, find_vision_tower

__all__ = ["OriginalCheckpointMixin", "load_adapter_files", "rename_original"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object

logger = logging.get_logger(__name__)

_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

# Settings of `save_pretrained` that are about publishing.
_PUBLISHING = ("private", "token", "revision", "card", "tags", "create_pr", "commit_message", "commit_description")

# Adapter file of the original training stages -> (marker in its keys, names of the module here, from the outermost
# model on, and what the names behind the marker become).
_ADAPTERS = {
    "mm_projector.bin": ("mm_projector.", "model.connector", "connector"),
    "region_encoder.bin": ("region_encoder.", "object_encoder", "object encoder"),
}


class OriginalCheckpointMixin(_Model):
    """`from_pretrained` and `save_pretrained` for models whose checkpoints may be in the original layout."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *model_args: Any,
        config: PreTrainedConfig | str | os.PathLike | None = None,
        vision_tower: str | os.PathLike | None = None,
        base_model: str | os.PathLike | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint in this library's layout or the original one.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                Folder or Hub id. An original checkpoint may lack the vision tower's weights, and a folder may hold
                nothing but adapters (`mm_projector.bin`, `region_encoder.bin`).
            config (`PreTrainedConfig` or path, *optional*): configuration to use instead of the checkpoint's.
            vision_tower (`str` or `os.PathLike`, *optional*):
                Where the vision tower is, instead of the place that the checkpoint names. A relative name is looked
                for from the working directory, then beside the checkpoint, then on the Hub.
            base_model (`str` or `os.PathLike`, *optional*):
                For a folder of adapters: the checkpoint to put them on, instead of the one that the folder names.
            output_loading_info (`bool`, *optional*): whether to return the loading information as well.
            kwargs: everything else that `PreTrainedModel.from_pretrained` takes.

        Raises:
            CheckpointError: the weights, the vision tower or the base model are missing or unsafe to read.
            ConfigurationError: the checkpoint uses a part that is not supported.
        """
        if not isinstance(config, PreTrainedConfig):
            config, kwargs = cls.config_class.from_pretrained(
                config if config is not None else pretrained_model_name_or_path,
                return_unused_kwargs=True,
                **({} if vision_tower is None else {"vision_tower": os.fspath(vision_tower)}),
                **kwargs,
            )
        elif vision_tower is not None:
            config.vision_tower = os.fspath(vision_tower)

        adapters = _adapter_files(pretrained_model_name_or_path)
        if adapters:
            return cls._from_adapters(
                Path(pretrained_model_name_or_path),
                adapters,
                config,
                base_model,
                *model_args,
                output_loading_info=output_loading_info,
                **kwargs,
            )
        if base_model is not None:
            raise CheckpointError(
                f"base_model= is for folders that hold nothing but adapters ({', '.join(_ADAPTERS)}), "
                f"but {pretrained_model_name_or_path} is not one."
            )
        kwargs["key_mapping"] = {**ORIGINAL_KEY_MAPPING, **(kwargs.get("key_mapping") or {})}
        try:
            model, info = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, config=config, output_loading_info=True, **kwargs
            )
        except pickle.UnpicklingError as error:
            raise CheckpointError(
                f"The weights of {pretrained_model_name_or_path} hold pickled Python objects besides tensors, which "
                "could run code when they are read. Convert the checkpoint to safetensors where you trust it."
            ) from error
        info["missing_keys"] = set(info["missing_keys"]) | getattr(model, "_missing_tower_keys", set())
        model._complete(info, pretrained_model_name_or_path)
        return (model, info) if output_loading_info else model

    @classmethod
    def _from_adapters(
        cls,
        folder: Path,
        adapters: list[Path],
        config: PreTrainedConfig,
        base_model: str | os.PathLike | None,
        *model_args: Any,
        output_loading_info: bool,
        **kwargs: Any,
    ) -> Any:
        base = _find_base_model(folder, base_model)
        try:
            base_vocabulary = AutoConfig.from_pretrained(base).get_text_config().vocab_size
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{folder} holds nothing but adapters ({', '.join(path.name for path in adapters)}), and the base "
                f"model {str(base)!r} cannot be loaded ({error}). Pass base_model= with the checkpoint that they "
                "belong to."
            ) from error
        vocabulary, tower = config.text_config.vocab_size, config.vision_tower
        config.text_config.vocab_size = base_vocabulary
        config.vision_tower = find_vision_tower(tower, folder) or tower
        model, info = cls.from_pretrained(base, *model_args, config=config, output_loading_info=True, **kwargs)
        model.config.vision_tower = tower
        if vocabulary != base_vocabulary:
            model.resize_token_embeddings(vocabulary)
        for path in adapters:
            load_adapter_files(model, path)
        return (model, info) if output_loading_info else model

    def _complete(self, info: dict[str, Any], checkpoint: str | os.PathLike) -> None:
        """Fetch a tower that the checkpoint left out, and say what starts from scratch."""
        missing = {key for key in info["missing_keys"] if "vision_tower." in key}
        if missing:
            _load_vision_tower(self, checkpoint)
            info["missing_keys"] -= missing
        for part in ("connector", "object_encoder"):
            if any(f"{part}." in key for key in info["missing_keys"]):
                logger.warning(
                    "%s has no weights for the %s: it is newly initialised. Train it before you use it.",
                    checkpoint,
                    part.replace("_", " "),
                )

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        # A tower that lives in a folder of its own is loaded right afterwards; a report of missing weights would
        # only alarm.
        super()._adjust_missing_and_unexpected_keys(loading_info)
        missing = {key for key in loading_info.missing_keys if "vision_tower." in key}
        if len(missing) == sum("vision_tower." in name for name in self.state_dict()):
            self._missing_tower_keys = missing
            loading_info.missing_keys = set(loading_info.missing_keys) - missing

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        is_main_process: bool = True,
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        processor: Any = None,
        **kwargs: Any,
    ) -> None:
        """Save in this library's layout, whatever layout the model was loaded from.

        Args:
            save_directory (`str` or `os.PathLike`): folder to save in.
            is_main_process (`bool`, *optional*, defaults to `True`): whether this process writes and uploads.
            push_to_hub (`bool`, *optional*, defaults to `False`): whether to publish the folder too.
            repo_id (`str`, *optional*): where to publish it; by default the folder's name, among your repositories.
            processor (`VideoLLaMA2Processor`, *optional*): published with it; see `push_to_hub`.
            kwargs: what `PreTrainedModel.save_pretrained` and, with `push_to_hub`, `push_to_hub` take.

        Raises:
            PublishError: the folder cannot be published.
        """
        kwargs.setdefault("save_original_format", False)
        publishing = {name: kwargs.pop(name) for name in _PUBLISHING if name in kwargs}
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        if push_to_hub and is_main_process:
            _push_model(self, save_directory, repo_id or Path(save_directory).name, processor, **publishing)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        processor: Any = None,
        max_shard_size: int | str | None = "50GB",
        **kwargs: Any,
    ) -> Any:
        """Publish the model as `videorefer publish` does: weights, processor, `auto_map` and a model card.

        Args:
            repo_id (`str`): repository on the Hub.
            processor (`VideoLLaMA2Processor`, *optional*):
                Published with the model. By default that of the checkpoint the model was loaded from, unless the
                repository has one.
            max_shard_size (`int` or `str`, *optional*, defaults to `"50GB"`): largest size of a weights file.
            kwargs: `private`, `token`, `revision`, `card`, `tags`, `create_pr`, `commit_message` and
                `commit_description`, as [`publish`] takes them.

        Returns:
            `huggingface_hub.CommitInfo`

        Raises:
            PublishError: the model cannot be published; the repository is as it was.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, max_shard_size=max_shard_size)
            return _push_model(self, folder, repo_id, processor, **kwargs)


def _push_model(model: Any, folder: str | os.PathLike, repo_id: str, processor: Any, **kwargs: Any) -> Any:
    # Publishing stands above the models, which therefore do not know of it until somebody asks for it.
    from videorefer_plugin.hub import push_model

    return push_model(model, folder, repo_id, processor=processor, **kwargs).commit


def _adapter_files(folder: str | os.PathLike) -> list[Path]:
    """Adapter files of a local folder that holds no complete weights."""
    path = Path(folder)
    if any((path / name).is_file() for name in _WEIGHT_FILES):
        return []
    return [path / name for name in _ADAPTERS if (path / name).is_file()]


def _find_base_model(folder: Path, base_model: str | os.PathLike | None) -> str | os.PathLike:
    if base_model is not None:
        return base_model
    recorded = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_name_or_path")
    if not recorded:
        raise CheckpointError(
            f"{folder} holds nothing but adapters and does not say what they belong to. "
            "Pass base_model= with the checkpoint that they were trained on."
        )
    candidates = [Path(recorded), folder.parent / recorded]
    return next((path for path in candidates if (path / "config.json").is_file()), recorded)


def load_adapter_files(model: torch.nn.Module, path: str | os.PathLike) -> None:
    """Load the connector or object encoder that an original training stage saved on its own.

    Args:
        model (`torch.nn.Module`): model to load into.
        path (`str` or `os.PathLike`): a `mm_projector.bin` or `region_encoder.bin`.

    Raises:
        CheckpointError: the file is unknown, unsafe or does not fit, or the model has no such part.
    """
    path = Path(path)
    if path.name not in _ADAPTERS:
        raise CheckpointError(f"{path.name} is no adapter file; expected one of {', '.join(_ADAPTERS)}.")
    marker, module_name, label = _ADAPTERS[path.name]
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds pickled Python objects besides tensors, which could run code when they are read. "
            "Convert it to tensors only where you trust it."
        ) from error
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    names = {f"model.{key[key.index(marker) :]}": value for key, value in state.items() if marker in key}
    if not names:
        raise CheckpointError(f"{path} holds no weights of a {label}: none of its keys contains {marker!r}.")
    try:
        module = model.get_submodule(module_name)
    except AttributeError as error:
        raise CheckpointError(f"{type(model).__name__} has no {label} to load {path} into.") from error
    try:
        module.load_state_dict(
            {rename_original(key).removeprefix(f"{module_name}."): value for key, value in names.items()}
        )
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit the {label} of this model: {error}") from error


def rename_original(key: str) -> str:
    """Translate the name of a weight from the original layout to this library's."""
    for pattern, replacement in ORIGINAL_KEY_MAPPING.items():
        key = re.sub(pattern, replacement, key)
    return key


def _load_vision_tower(model: Any, checkpoint: str | os.PathLike) -> None:
    tower = model.base_model.vision_tower
    name = model.config.vision_tower
    if name is None:
        raise CheckpointError(
            f"{checkpoint} holds no weights of a vision tower and names none. "
            "Pass vision_tower= with the folder or Hub id of the tower."
        )
    source = find_vision_tower(name, checkpoint) or name
    try:
        loaded = type(tower).from_pretrained(source, dtype=tower.dtype)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint} holds no weights of its vision tower, and {name!r} was found neither from the working "
            f"directory ({Path.cwd()}), nor beside the checkpoint, nor on the Hub. Pass vision_tower= with the folder "
            "or Hub id of the tower."
        ) from error
    try:
        tower.load_state_dict(loaded.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"The vision tower {source} does not fit {checkpoint}: {error}") from error
    logger.info("Loaded the vision tower from %s.", source)
