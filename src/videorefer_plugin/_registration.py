"""Register the model types of this package with the Auto classes of transformers, without importing them.

Importing the Auto classes of transformers takes seconds, and users who import this package only for its regions or
videos should not wait for them. So the registrations wait for the modules that they belong to; and since those are
imported in the middle of many other imports, our classes are only loaded when an Auto class looks for one.
"""

import os
import threading
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any

import wrapt

__all__ = ["register"]

_loading = threading.RLock()
_refused: ContextVar[Exception | None] = ContextVar("why a configuration of ours could not be read", default=None)


def register() -> None:
    """Arrange the registrations. Calling it again changes nothing."""
    auto = "transformers.models.auto"
    wrapt.register_post_import_hook(_register_configs, f"{auto}.configuration_auto")
    wrapt.register_post_import_hook(_register_models, f"{auto}.modeling_auto")
    wrapt.register_post_import_hook(_register_processors, f"{auto}.processing_auto")
    wrapt.register_post_import_hook(_join_in_pipelines, "transformers.pipelines.base")


class _Deferred(dict):
    """The registered classes of one Auto class, completed when they are looked up for the first time."""

    def __init__(self, registered: dict[Any, Any], load: Callable[[], dict[Any, Any]]):
        super().__init__(registered)
        self._load: Callable[[], dict[Any, Any]] | None = load

    def _complete(self) -> None:
        with _loading:
            if self._load is None:
                return
            load, self._load = self._load, None  # loading may look up classes here again
            try:
                for key, value in load().items():
                    self.setdefault(key, value)  # a class that was registered in the meantime takes precedence
            except BaseException:  # for instance KeyboardInterrupt
                self._load = load
                raise

    def __contains__(self, key: Any) -> bool:
        self._complete()
        return super().__contains__(key) or super().__contains__(_counterpart(key))

    def __missing__(self, key: Any) -> Any:
        ours = _counterpart(key)
        if super().__contains__(ours):
            return super().__getitem__(ours)
        raise KeyError(key)


def _counterpart(config_class: Any) -> Any:
    """Return our configuration class for one that the original code registers for its own type, once it is imported.

    The original has no classes for most Auto classes; if it has one, it is used, since it is looked for first.
    """
    if not isinstance(config_class, type) or config_class.__module__.startswith("transformers."):
        return None
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config

    kind = getattr(config_class, "model_type", None)
    ours = (VideoReferConfig, VideoReferVideoLLaMA3Config)
    return next((config for config in ours if kind in config.original_model_types), None)


def _completing(name: str) -> Callable[..., Any]:
    method = getattr(dict, name)

    def complete_and_call(self: _Deferred, *args: Any) -> Any:
        self._complete()
        return method(self, *args)

    return complete_and_call


for _name in ("__getitem__", "__iter__", "__len__", "get", "items", "keys", "values"):
    setattr(_Deferred, _name, _completing(_name))


def _defer(mapping: Any, load: Callable[[], dict[Any, Any]]) -> None:
    mapping._extra_content = _Deferred(mapping._extra_content, load)


def _register_configs(module: Any) -> None:
    _defer(module.CONFIG_MAPPING, _load_configs)
    wrapt.wrap_function_wrapper(module, "AutoConfig.from_pretrained", _fetching)


def _fetching(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Tell configurations how their files are fetched, which AutoConfig does not pass on."""
    from videorefer_plugin.errors import VideoReferError
    from videorefer_plugin.models.hub_arguments import fetching, hub_arguments

    try:
        with fetching(hub_arguments(kwargs)):
            return wrapped(*args, **kwargs)
    except VideoReferError as error:
        _refused.set(error)
        raise


def _naming_files(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Name the damaged file of one of our checkpoints, which transformers reads before it knows the model type."""
    from videorefer_plugin.models.checkpoint_files import MODEL_FILES, reading_folder

    name = args[0] if args else kwargs.get("pretrained_model_name_or_path")
    with reading_folder(name, MODEL_FILES, given=kwargs, only_ours=True):
        return wrapped(*args, **kwargs)


def _whole_processor(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Refuse the tokenizer that AutoProcessor returns silently if it cannot load one of our processors.

    It takes a `ValueError` of a configuration, which all errors of this library are, for a reason to look for
    something else.
    """
    from transformers.processing_utils import ProcessorMixin

    from videorefer_plugin.errors import CheckpointError
    from videorefer_plugin.models.checkpoint_files import PROCESSOR_FILES, check_files, reading_folder, speaks_of_us

    name = args[0] if args else kwargs.get("pretrained_model_name_or_path")
    token = _refused.set(None)
    try:
        with reading_folder(name, ("config.json", *PROCESSOR_FILES), given=kwargs, only_ours=True):
            found = wrapped(*args, **kwargs)
        refused = _refused.get()
    finally:
        _refused.reset(token)
    if isinstance(found[0] if isinstance(found, tuple) else found, ProcessorMixin):
        return found
    if refused is not None:
        raise refused
    if not isinstance(name, (str, os.PathLike)) or not os.path.isdir(name):
        return found
    check_files(name, ["config.json", "processor_config.json"])
    if speaks_of_us(name):
        raise CheckpointError(
            f"The folder {os.fspath(name)!r} has no processor, only a {type(found).__name__}: processor_config.json "
            "is missing or names no processor_class, and config.json is missing or of an unknown model_type. Save the "
            "processor again, or load the files with AutoTokenizer."
        )
    return found


def _join_in_pipelines(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "pad_collate_fn", _joining)


def _joining(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let pipelines join samples with regions as this library does; all other samples are joined as usual."""
    from videorefer_plugin.models.batches import collates_prepared

    tokenizer = args[0] if args else kwargs.get("tokenizer")
    return collates_prepared(wrapped(*args, **kwargs), getattr(tokenizer, "pad_token_id", None))


def _load_configs() -> dict[str, Any]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config

    ours = (VideoLLaMA2Config, VideoReferConfig, VideoReferVideoLLaMA3Config)
    configs = {config.model_type: config for config in ours}
    for config in ours[1:]:  # classes whose `from_dict` translates these
        configs |= dict.fromkeys(config.original_model_types, config)
    return configs


def _register_models(module: Any) -> None:
    generative = (module.AutoModelForImageTextToText, module.AutoModelForMultimodalLM, module.AutoModelForCausalLM)
    for auto in (module.AutoModel, *generative):
        _defer(auto._model_mapping, partial(_load_models, bare_host=auto is module.AutoModel))
        wrapt.wrap_function_wrapper(module, f"{auto.__name__}.from_pretrained", _naming_files)


def _load_models(bare_host: bool) -> dict[Any, Any]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration, VideoLLaMA2Model
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
    from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config
    from videorefer_plugin.models.videorefer_videollama3.modeling import VideoReferVideoLLaMA3ForConditionalGeneration

    host = VideoLLaMA2Model if bare_host else VideoLLaMA2ForConditionalGeneration
    return {
        VideoLLaMA2Config: host,
        VideoReferConfig: VideoReferForConditionalGeneration,
        VideoReferVideoLLaMA3Config: VideoReferVideoLLaMA3ForConditionalGeneration,
    }


def _register_processors(module: Any) -> None:
    _defer(module.PROCESSOR_MAPPING, _load_processors)
    wrapt.wrap_function_wrapper(module, "AutoProcessor.from_pretrained", _whole_processor)


def _load_processors() -> dict[Any, Any]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
    from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config
    from videorefer_plugin.models.videorefer_videollama3.processing import VideoReferVideoLLaMA3Processor

    return {
        VideoLLaMA2Config: VideoLLaMA2Processor,
        VideoReferConfig: VideoReferProcessor,
        VideoReferVideoLLaMA3Config: VideoReferVideoLLaMA3Processor,
    }
