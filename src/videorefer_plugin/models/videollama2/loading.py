"""Loading of original checkpoints: their names, towers kept elsewhere, adapter-only folders."""

import contextlib
import importlib
import json
import os
import pickle
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.utils import logging

from videorefer_plugin.errors import CheckpointError, VideoReferError
from videorefer_plugin.models.videollama2.original import ORIGINAL_KEY_MAPPING, find_vision_tower, may_be_on_hub

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
        model, info = cls._load(
            pretrained_model_name_or_path,
            *model_args,
            config=config,
            vision_tower=vision_tower,
            base_model=base_model,
            **kwargs,
        )
        for part, names in model._parts().items():
            if names and names <= info["missing_keys"]:
                logger.warning(
                    "%s has no weights for the %s: it is newly initialised. Train it before you use it.",
                    pretrained_model_name_or_path,
                    part.replace("_", " "),
                )
        return (model, info) if output_loading_info else model

    @classmethod
    def _load(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        *model_args: Any,
        config: PreTrainedConfig | str | os.PathLike | None = None,
        vision_tower: str | os.PathLike | None = None,
        base_model: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
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
            folder = Path(pretrained_model_name_or_path)
            return cls._load_adapters(folder, adapters, config, base_model, *model_args, **kwargs)
        if base_model is not None:
            raise CheckpointError(
                f"base_model= is for folders that hold nothing but adapters ({', '.join(_ADAPTERS)}), "
                f"but {pretrained_model_name_or_path} is not one."
            )
        kwargs["key_mapping"] = {**ORIGINAL_KEY_MAPPING, **(kwargs.get("key_mapping") or {})}
        with _reading_weights(pretrained_model_name_or_path):
            model, info = super().from_pretrained(
                pretrained_model_name_or_path, *model_args, config=config, output_loading_info=True, **kwargs
            )
        info["missing_keys"] = set(info["missing_keys"]) | getattr(model, "_missing_parts", set())
        tower = model._parts()["vision_tower"]
        if tower <= info["missing_keys"]:
            _load_vision_tower(model, pretrained_model_name_or_path)
            info["missing_keys"] -= tower
        return model, info

    @classmethod
    def _load_adapters(
        cls,
        folder: Path,
        adapters: list[Path],
        config: PreTrainedConfig,
        base_model: str | os.PathLike | None,
        *model_args: Any,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        base = _find_base_model(folder, base_model)
        try:
            if not Path(base).exists() and not may_be_on_hub(base):
                raise FileNotFoundError("there is no such folder, and ids on the Hub have the form owner/name")
            base_vocabulary = AutoConfig.from_pretrained(base).get_text_config().vocab_size
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{folder} holds nothing but adapters ({', '.join(path.name for path in adapters)}), and the base "
                f"model {str(base)!r} cannot be loaded ({error}). Pass base_model= with the checkpoint that they "
                "belong to."
            ) from error
        vocabulary, tower = config.text_config.vocab_size, config.vision_tower
        config.text_config.vocab_size = base_vocabulary
        config.vision_tower = find_vision_tower(tower, folder) or tower
        model, info = cls._load(base, *model_args, config=config, **kwargs)
        lost = sorted(key for key in info["missing_keys"] if "language_model." in key)
        if lost:
            raise CheckpointError(
                f"{folder} holds nothing but adapters, and the base model {str(base)!r} lacks {len(lost)} weight(s) "
                f"of the language model, such as {lost[0]}. Pass base_model= with the checkpoint that they belong to."
            )
        model.config.vision_tower = tower
        if vocabulary != base_vocabulary:
            model.resize_token_embeddings(vocabulary)
        for path in adapters:
            load_adapter_files(model, path)
            info["missing_keys"] -= model._parts()[_ADAPTERS[path.name][1].rpartition(".")[2]]
        return model, info

    def _parts(self) -> dict[str, set[str]]:
        """Names of the weights of each part that a checkpoint may lack."""
        parts = ("vision_tower", "connector", "object_encoder")
        return {part: {name for name in self.state_dict() if f"{part}." in name} for part in parts}

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        # A part that is missing altogether is loaded from elsewhere right afterwards, or warned of in one line; the
        # long report of missing weights would only alarm.
        super()._adjust_missing_and_unexpected_keys(loading_info)
        missing = set(loading_info.missing_keys)
        self._missing_parts = {name for names in self._parts().values() if names <= missing for name in names}
        loading_info.missing_keys = missing - self._missing_parts

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
    # Publishing needs the models, so this door to it is opened only when somebody asks for it.
    hub = importlib.import_module("videorefer_plugin.hub")
    return hub.push_model(model, folder, repo_id, processor=processor, **kwargs).commit


@contextlib.contextmanager
def _reading_weights(source: str | os.PathLike) -> Iterator[None]:
    """Turn the many errors of missing, damaged and unsafe weights into one."""
    try:
        yield
    except VideoReferError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The weights of {source} are damaged, or hold pickled Python objects besides tensors, which could run "
            "code when they are read. Fetch them anew, or convert them to safetensors where you trust them."
        ) from error
    except (OSError, EOFError, SafetensorError) as error:
        reason = str(error) or "the file ends too early"
        raise CheckpointError(f"The weights of {source} are missing or damaged: {reason}") from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" in str(error):  # the report that it speaks of says which
            raise CheckpointError(f"The weights of {source} do not fit its configuration: {error}") from error
        if "PytorchStreamReader" not in str(error):
            raise
        raise CheckpointError(f"The weights of {source} are damaged: {error}") from error


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
        with _reading_weights(path):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    odd = {"it": state} if not isinstance(state, dict) else state
    odd = {key: type(value).__name__ for key, value in odd.items() if not isinstance(value, torch.Tensor)}
    if odd:
        name, kind = next(iter(odd.items()))
        raise CheckpointError(f"{path} must hold a dict of tensors, but {name} is a {kind}.")
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
    source = find_vision_tower(name, checkpoint)
    if source is None and not may_be_on_hub(name):
        raise CheckpointError(
            f"{checkpoint} holds no weights of its vision tower, and {name!r} was found neither from the working "
            f"directory ({Path.cwd()}), nor beside the checkpoint, nor on the Hub (as owner/name). Pass vision_tower= "
            "with the folder or Hub id of the tower."
        )
    source = source or name
    verbosity = logging.get_verbosity()
    logging.set_verbosity(max(verbosity, logging.ERROR))  # it would report that a SigLIP's text part is not used
    try:
        with _reading_weights(source):
            loaded, info = type(tower).from_pretrained(
                source, dtype=tower.dtype, ignore_mismatched_sizes=True, output_loading_info=True
            )
    except ValueError as error:
        raise CheckpointError(
            f"{checkpoint} holds no weights of its vision tower, and those of {source!r} cannot be loaded: {error} "
            "Pass vision_tower= with the folder or Hub id of the tower."
        ) from error
    finally:
        logging.set_verbosity(verbosity)
    lacking = sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])})
    if lacking:
        raise CheckpointError(
            f"The vision tower {source} lacks weights, or has them in another shape: {', '.join(lacking[:5])}"
            f"{', ...' if len(lacking) > 5 else '.'}"
        )
    try:
        tower.load_state_dict(loaded.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"The vision tower {source} does not fit {checkpoint}: {error}") from error
    logger.info("Loaded the vision tower from %s.", source)
