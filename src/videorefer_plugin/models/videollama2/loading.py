"""Loading original checkpoints: names of weights, separate vision towers, folders with adapters only."""

import copy
import importlib
import os
import tempfile
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.utils import logging

from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin._text import listed
from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.models.checkpoint_files import MODEL_FILES, check_files, reading_folder
from videorefer_plugin.models.hub_arguments import elsewhere, hub_arguments, in_subfolder, pinned, refetched_with
from videorefer_plugin.models.quantized import check_savable, settle_dtypes
from videorefer_plugin.models.sharded import receives_weights
from videorefer_plugin.models.videollama2.adapters import (
    ADAPTERS,
    adapter_files,
    find_base_model,
    load_adapter_files,
    rename_original,
)
from videorefer_plugin.models.videollama2.original import (
    ORIGINAL_KEY_MAPPING,
    check_model_type,
    find_vision_tower,
    may_be_on_hub,
)
from videorefer_plugin.models.weights import Findings, check_parts, part_names, reading_weights

__all__ = ["OriginalCheckpointMixin", "load_adapter_files", "rename_original"]

if TYPE_CHECKING:
    from transformers import PreTrainedModel as _Model
else:
    _Model = object

logger = logging.get_logger(__name__)

# The checkpoint that is being loaded, and whether weights of another shape are initialized again.
_judging: ContextVar[tuple[Any, bool] | None] = ContextVar("checkpoint that is being loaded", default=None)

# Arguments that are not the configuration's, although it has an attribute with that name or would drop them.
_OF_WEIGHTS = ("dtype", "torch_dtype", "quantization_config", "trust_remote_code")

# Settings of `save_pretrained` for publishing.
_PUBLISHING = ("private", "token", "revision", "card", "tags", "create_pr", "commit_message", "commit_description")


class OriginalCheckpointMixin(_Model):
    """`from_pretrained` and `save_pretrained` for models whose checkpoints may be in the original layout."""

    # Patterns of names in the original layout, and their replacements.
    original_key_mapping = ORIGINAL_KEY_MAPPING
    # File of an adapter, and the module that it holds.
    adapter_modules = {"mm_projector.bin": "model.connector", "region_encoder.bin": "object_encoder"}  # noqa: RUF012

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        config: PreTrainedConfig | str | os.PathLike | None = None,
        vision_tower: str | os.PathLike | None = None,
        base_model: str | os.PathLike | None = None,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load a checkpoint in this library's layout or the original one.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`, *optional*):
                Folder or Hub id. An original checkpoint may lack the vision tower's weights, and a folder may hold
                nothing but adapters (`mm_projector.bin`, `region_encoder.bin`). `None` with `config=` and
                `state_dict=`, the weights.
            config (`PreTrainedConfig` or path, *optional*): configuration to use instead of the checkpoint's.
            vision_tower (`str` or `os.PathLike`, *optional*):
                The vision tower, instead of the one that the checkpoint names. A relative path is searched
                for in the working directory, then beside the checkpoint, then on the Hub.
            base_model (`str` or `os.PathLike`, *optional*):
                For a folder of adapters: the checkpoint to put them on, instead of the one that the folder names.
            output_loading_info (`bool`, *optional*): whether to return the loading information as well.
            kwargs:
                Further arguments of `PreTrainedModel.from_pretrained`. `revision` and `subfolder` are the
                checkpoint's, or for a folder of adapters the base model's; the other arguments for fetching files
                from the Hub apply to every file that is read.

        Raises:
            CheckpointError: the weights, the vision tower or the base model are missing or unsafe to read, or a part
                of the model is partly missing. One that is entirely missing is newly initialized, with a warning.
            ConfigurationError: the checkpoint uses a part that is not supported.
        """
        if pretrained_model_name_or_path is None:
            _check_in_memory(cls.__name__, config, kwargs.get("state_dict"))
        else:
            kwargs |= pinned(pretrained_model_name_or_path, hub_arguments(kwargs))
        folder = in_subfolder(pretrained_model_name_or_path or "", hub_arguments(kwargs))
        if config is None:
            check_model_type(cls.config_class, folder)
        check_files(folder, MODEL_FILES)
        with reading_folder(folder, MODEL_FILES, given=kwargs):
            model, info = cls._load(
                pretrained_model_name_or_path,
                *model_args,
                config=config,
                vision_tower=vision_tower,
                base_model=base_model,
                **kwargs,
            )
        for part, names in part_names(model).items():
            if names and names <= info["missing_keys"]:
                logger.warning(
                    "%s has no weights for the %s: it is newly initialized. Train it before you use it.",
                    pretrained_model_name_or_path or "state_dict",
                    part.replace("_", " "),
                )
        return (model, info) if output_loading_info else model

    @classmethod
    def _load(
        cls,
        pretrained_model_name_or_path: str | os.PathLike | None,
        *model_args: Any,
        config: PreTrainedConfig | str | os.PathLike | None = None,
        vision_tower: str | os.PathLike | None = None,
        base_model: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> tuple[Any, dict[str, Any]]:
        hub = hub_arguments(kwargs)
        source = "state_dict" if pretrained_model_name_or_path is None else pretrained_model_name_or_path
        folder = in_subfolder(source, hub)
        config, kwargs = cls._load_config(
            config if config is not None else pretrained_model_name_or_path, vision_tower, kwargs
        )
        adapters = [] if pretrained_model_name_or_path is None else adapter_files(folder)
        if adapters:
            return cls._load_adapters(Path(folder), adapters, config, base_model, *model_args, **kwargs)
        if base_model is not None:
            raise CheckpointError(
                f"base_model= is for folders that hold nothing but adapters ({', '.join(ADAPTERS)}), "
                f"but {source} is not one."
            )
        kwargs["key_mapping"] = {**cls.original_key_mapping, **(kwargs.get("key_mapping") or {})}
        # Weights of other shapes are judged together with those that are missing.
        ignored = kwargs.pop("ignore_mismatched_sizes", False)
        token = _judging.set((source, ignored))
        try:
            with reading_weights(source):
                model, info = super().from_pretrained(
                    pretrained_model_name_or_path,
                    *model_args,
                    config=config,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                    **kwargs,
                )
        finally:
            _judging.reset(token)
        settle_dtypes(model)
        model._fetched_with = refetched_with(hub)
        findings = model.__dict__.pop("_findings", Findings(()))
        parts = part_names(model)
        info["missing_keys"] = set(info["missing_keys"]) | set(findings.missing)
        tower = parts["vision_tower"]
        if tower and tower <= info["missing_keys"]:
            if not receives_weights():
                _load_vision_tower(model, folder, elsewhere(hub))
            info["missing_keys"] -= tower
        return model, info

    @classmethod
    def _load_config(cls, source: Any, vision_tower: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The configuration, and the arguments that are left for the weights: those of the Hub are for both."""
        tower = {} if vision_tower is None else {"vision_tower": os.fspath(vision_tower)}
        if isinstance(source, PreTrainedConfig):
            if cls.config_class.is_original({"model_type": source.model_type}):  # the original's own class
                flat = {**source.to_dict(), "model_type": source.model_type}
                return cls.config_class.from_dict(flat, name_or_path=source.name_or_path, **tower), kwargs
            if not tower:
                return source, kwargs
            config = copy.deepcopy(source)  # the caller's is not changed
            config.vision_tower = tower["vision_tower"]
            return config, kwargs
        hub = hub_arguments(kwargs)
        of_weights = {name: kwargs[name] for name in _OF_WEIGHTS if name in kwargs}
        others = {name: value for name, value in kwargs.items() if name not in {*hub, *of_weights}}
        config, unused = cls.config_class.from_pretrained(source, return_unused_kwargs=True, **tower, **hub, **others)
        return config, {**unused, **hub, **of_weights}

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
        base = find_base_model(folder, base_model)
        kwargs.pop("subfolder", None)  # of the adapters, which are in a local folder; the revision is the base's
        kwargs |= pinned(base, hub_arguments(kwargs))
        try:
            if not Path(base).exists() and not may_be_on_hub(base):
                raise FileNotFoundError("there is no such folder, and ids on the Hub have the form owner/name")
            base_vocabulary = AutoConfig.from_pretrained(base, **hub_arguments(kwargs)).get_text_config().vocab_size
        except (OSError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{folder} holds nothing but adapters ({', '.join(path.name for path in adapters)}), and the base "
                f"model {str(base)!r} cannot be loaded ({error}). Pass base_model= with the checkpoint that they "
                "belong to."
            ) from error
        vocabulary, tower = config.text_config.vocab_size, config.vision_tower
        config.text_config.vocab_size = base_vocabulary
        config.vision_tower = find_vision_tower(tower, folder) or tower
        try:
            model, info = cls._load(base, *model_args, config=config, **kwargs)
        except CheckpointError as error:
            raise CheckpointError(
                f"{folder} holds nothing but adapters, and the base model {str(base)!r} cannot be loaded: {error} "
                "Pass base_model= with the checkpoint that they belong to."
            ) from error
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
            info["missing_keys"] -= part_names(model)[ADAPTERS[path.name][1]]
        return model, info

    def mark_tied_weights_as_initialized(self, loading_info: Any) -> None:
        """Also check the loaded names before memory is allocated for missing weights: a wrong size may be huge."""
        super().mark_tied_weights_as_initialized(loading_info)
        if (judging := _judging.get()) is not None:
            found = copy.copy(loading_info)  # the next method makes new sets
            super()._adjust_missing_and_unexpected_keys(found)
            findings = Findings(set(found.missing_keys), set(found.mismatched_keys), set(found.unexpected_keys))
            check_parts(judging[0], part_names(self), findings, ignore_mismatched_sizes=judging[1])

    def _adjust_missing_and_unexpected_keys(self, loading_info: Any) -> None:
        super()._adjust_missing_and_unexpected_keys(loading_info)
        missing = set(loading_info.missing_keys)
        # Recorded here, since the returned information may be about an adapter in the same folder.
        self._findings = Findings(missing, set(loading_info.mismatched_keys), set(loading_info.unexpected_keys))
        # A part that is entirely missing is loaded from elsewhere right afterwards, or reported in one line; the
        # long report of missing weights would only alarm.
        whole = [names for names in part_names(self).values() if names <= missing]
        loading_info.missing_keys = missing.difference(*whole)

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
        """Save in this library's layout, even if the model was loaded from another one.

        Args:
            save_directory (`str` or `os.PathLike`): folder to save in.
            is_main_process (`bool`, *optional*, defaults to `True`): whether this process writes and uploads.
            push_to_hub (`bool`, *optional*, defaults to `False`): whether to publish the folder too.
            repo_id (`str`, *optional*): where to publish it; by default the folder's name, among your repositories.
            processor (`VideoLLaMA2Processor`, *optional*): published with it; see `push_to_hub`.
            kwargs: what `PreTrainedModel.save_pretrained` and, with `push_to_hub`, `push_to_hub` take.

        Raises:
            CheckpointError: the folder cannot be written, or the weights are packed and cannot be saved.
            PublishError: the folder cannot be published.
        """
        kwargs.setdefault("save_original_format", False)
        publishing = {name: kwargs.pop(name) for name in _PUBLISHING if name in kwargs}
        check_folder_place(save_directory, CheckpointError)
        check_savable(self, kwargs.get("state_dict"))
        with writing(save_directory, CheckpointError, also=(SafetensorError,)):
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


def _check_in_memory(name: str, config: Any, state: Any) -> None:
    """Check the arguments that replace a checkpoint's files."""
    if not isinstance(config, PreTrainedConfig) or not isinstance(state, Mapping):
        given = f"a {type(config).__name__} and a {type(state).__name__}"
        raise CheckpointError(
            f"{name}.from_pretrained(None) needs the configuration as config= and the weights as state_dict=, a "
            f"PreTrainedConfig and a dict of tensors, but got {given}. Pass both, or the folder or Hub id of a "
            "checkpoint."
        )


def _push_model(model: Any, folder: str | os.PathLike, repo_id: str, processor: Any, **kwargs: Any) -> Any:
    # Publishing needs the models, so it is imported only when it is used.
    hub = importlib.import_module("videorefer_plugin.hub")
    return hub.push_model(model, folder, repo_id, processor=processor, **kwargs).commit


def _load_vision_tower(model: Any, checkpoint: str, hub: dict[str, Any]) -> None:
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
        with reading_weights(source):
            loaded, info = type(tower).from_pretrained(
                source, dtype=tower.dtype, ignore_mismatched_sizes=True, output_loading_info=True, **hub
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
            f"The vision tower {source} lacks weights, or has them in another shape ({listed(lacking)})."
        )
    try:
        tower.load_state_dict(loaded.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"The vision tower {source} does not fit {checkpoint}: {error}") from error
    logger.info("Loaded the vision tower from %s.", source)
