"""Loading and saving processors, also for original checkpoints."""

import inspect
import os
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer
from transformers.processing_utils import ProcessorMixin

from videorefer_plugin._places import check_folder_place
from videorefer_plugin._text import short
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.models.checkpoint_files import PROCESSOR_FILES, check_files, reading_folder
from videorefer_plugin.models.hub_arguments import elsewhere, hub_arguments, in_subfolder, pinned
from videorefer_plugin.models.shims import PROCESSOR_AUTO_MAPS, processor_shims, write_shims
from videorefer_plugin.models.videollama2.configuration import PROJECTOR_TYPES, VideoLLaMA2Config
from videorefer_plugin.models.videollama2.images import tower_image_processor
from videorefer_plugin.object_encoder.grids import MASK_POLICIES
from videorefer_plugin.video.sampling import MAX_SAMPLED_FRAMES

__all__ = ["ProcessorFiles"]

# Settings in processor_config.json -> what they may be.
_CHOICES: dict[str, Any] = {
    "projector_type": tuple(PROJECTOR_TYPES),
    "image_aspect_ratio": ("square", "pad"),
    "mask_policy": MASK_POLICIES,
    "padding_side": ("left", "right"),
}
_COUNTS = {
    "num_frames": MAX_SAMPLED_FRAMES,
    "patch_size": 1 << 16,
    "max_tokens_per_region": 1 << 30,
    "max_frames_per_region": 1 << 30,
    "max_frames": MAX_SAMPLED_FRAMES,
    "max_visual_tokens": 1 << 30,
    "spatial_merge_size": 1 << 10,
}
_TOKENS = ("image_token", "video_token", "region_token", "frame_token", "object_token")
_BYTES = 256  # of which the tokens of these models consist


class ProcessorFiles(ProcessorMixin):
    """The part of [`VideoLLaMA2Processor`] that loads and saves."""

    config_class = VideoLLaMA2Config

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike,
        vision_tower: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> Any:
        """Load a processor, in this library's layout or for an original checkpoint.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`): folder or Hub id.
            vision_tower (`str` or `os.PathLike`, *optional*):
                For an original checkpoint: the vision tower, instead of the one that the checkpoint names.
            kwargs:
                Everything else that `ProcessorMixin.from_pretrained` takes. `revision` and `subfolder` are the
                checkpoint's; the other arguments that say how files are fetched count for the tower's as well.

        Raises:
            CheckpointError: a file is damaged, or the vision tower that an original checkpoint names is nowhere to be
                found.
        """
        hub = pinned(pretrained_model_name_or_path, hub_arguments(kwargs))
        kwargs |= hub
        folder = in_subfolder(pretrained_model_name_or_path, hub)
        check_files(folder, PROCESSOR_FILES)
        with reading_folder(folder, ("config.json", *PROCESSOR_FILES), given=kwargs):
            if not (Path(folder) / "processor_config.json").is_file():
                check_files(folder, ["config.json"])
                try:
                    config_dict, _ = cls.config_class.get_config_dict(pretrained_model_name_or_path, **kwargs)
                except OSError:
                    config_dict = {}
                if cls.config_class.is_original(config_dict):
                    return cls._from_original(pretrained_model_name_or_path, vision_tower, **kwargs)
            found = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        processor = found[0] if isinstance(found, tuple) else found  # with return_unused_kwargs
        _check_vocabulary(pretrained_model_name_or_path, processor.tokenizer)
        return found

    @classmethod
    def _from_original(
        cls, checkpoint: str | os.PathLike, vision_tower: str | os.PathLike | None, **kwargs: Any
    ) -> Any:
        tower = {} if vision_tower is None else {"vision_tower": os.fspath(vision_tower)}
        hub = hub_arguments(kwargs)
        config = cls.config_class.from_pretrained(checkpoint, **tower, **hub)
        settings = {name: kwargs.pop(name) for name in list(kwargs) if name in cls._init_settings()}
        tokenizer = AutoTokenizer.from_pretrained(checkpoint, **kwargs)
        _check_vocabulary(checkpoint, tokenizer)
        image_processor = cls._image_processor_of(config, in_subfolder(checkpoint, hub), elsewhere(hub))
        processor = cls(image_processor, tokenizer, **{**cls._settings_from_config(config), **settings})
        cls._check_ids(processor, config)
        return processor

    @classmethod
    def _image_processor_of(cls, config: Any, folder: str, hub: dict[str, Any]) -> Any:
        return tower_image_processor(config, folder, hub)

    @classmethod
    def _check_ids(cls, processor: Any, config: Any) -> None:
        """Whatever is to be checked of a processor that was made for an original checkpoint."""

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Make a processor from the content of `processor_config.json`.

        Raises:
            ConfigurationError: a setting has a value that no call could use.
        """
        for name, value in processor_dict.items():
            if value is not None and (wanted := _unfit(name, value)):
                raise ConfigurationError(
                    f"processor_config.json says {short(value)} as {name}, which must be {wanted}. Fix it, or save "
                    "the processor again."
                )
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @classmethod
    def _init_settings(cls) -> set[str]:
        return set(inspect.signature(cls.__init__).parameters) - {"self", "image_processor", "tokenizer", "kwargs"}

    @classmethod
    def _settings_from_config(cls, config: VideoLLaMA2Config) -> dict[str, Any]:
        return {
            "num_frames": config.num_frames,
            "image_aspect_ratio": config.image_aspect_ratio,
            "patch_size": config.vision_config.patch_size,
            "projector_type": config.projector_type,
        }

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any) -> Any:
        """Save the processor, and the files with which its folder loads with `trust_remote_code=True`.

        Raises:
            CheckpointError: the folder cannot be written.
        """
        check_folder_place(save_directory, CheckpointError)
        if self.config_class.model_type not in PROCESSOR_AUTO_MAPS:  # a class derived elsewhere brings its own files
            return super().save_pretrained(os.fspath(save_directory), push_to_hub=push_to_hub, **kwargs)
        # Only while saving, since a loaded processor has no such attribute either.
        self.auto_map = dict(PROCESSOR_AUTO_MAPS[self.config_class.model_type])
        try:
            files = super().save_pretrained(os.fspath(save_directory))
        finally:
            del self.auto_map
        write_shims(save_directory, processor_shims(self.config_class.model_type))
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        return files

    @classmethod
    def register_for_auto_class(cls, auto_class: Any = "AutoProcessor") -> None:
        """Do nothing: published checkpoints name this package instead of carrying copies of its files."""


def _unfit(name: str, value: Any) -> str:
    """What a setting must be instead; empty if it can be what it is, or is none of these."""
    if name in _CHOICES:
        return "" if isinstance(value, str) and value in _CHOICES[name] else " or ".join(map(repr, _CHOICES[name]))
    if name in _COUNTS:
        whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _COUNTS[name]
        return "" if whole else f"a whole number from 1 to {_COUNTS[name]:,}"
    return "" if name not in _TOKENS or isinstance(value, str) else "the text of a token"


def _check_vocabulary(source: str | os.PathLike, tokenizer: Any) -> None:
    """Refuse an empty tokenizer, which transformers makes if it does not find the files."""
    if len(tokenizer.get_vocab()) < _BYTES:
        raise CheckpointError(
            f"{os.fspath(source)!r} has no vocabulary: tokenizer.json (or vocab.json with merges.txt) is missing or "
            f"holds only {len(tokenizer.get_vocab())} tokens. Fetch or save the tokenizer again."
        )
    lacking = os.path.isdir(source) and not os.path.lexists(os.path.join(source, "tokenizer_config.json"))
    if lacking and tokenizer.pad_token is None:
        raise CheckpointError(
            f"{os.fspath(source)!r} has no tokenizer_config.json, so its tokenizer does not know how to pad prompts. "
            "Fetch or save the tokenizer again."
        )
