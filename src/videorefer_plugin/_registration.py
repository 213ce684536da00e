"""Register the model types of this package with the Auto classes of transformers, without importing them.

Importing transformers' Auto classes takes seconds, and whoever imports this package for its regions or videos alone
should not wait for them. So the registrations wait for the modules that they belong to; and since those are imported
in the middle of many other imports, our classes are only loaded when an Auto class looks for one.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import wrapt

__all__ = ["register"]

_loading = threading.RLock()


def register() -> None:
    """Arrange for the registrations. Calling it again changes nothing."""
    auto = "transformers.models.auto"
    wrapt.register_post_import_hook(_register_configs, f"{auto}.configuration_auto")
    wrapt.register_post_import_hook(_register_models, f"{auto}.modeling_auto")
    wrapt.register_post_import_hook(_register_processors, f"{auto}.processing_auto")
    wrapt.register_post_import_hook(_join_in_pipelines, "transformers.pipelines.base")


class _Deferred(dict):
    """The registered classes of one Auto class, completed when somebody looks at them for the first time."""

    def __init__(self, registered: dict[Any, Any], load: Callable[[], dict[Any, Any]]):
        super().__init__(registered)
        self._load: Callable[[], dict[Any, Any]] | None = load

    def _complete(self) -> None:
        with _loading:
            if self._load is None:
                return
            load, self._load = self._load, None  # loading may look here again
            try:
                for key, value in load().items():
                    self.setdefault(key, value)  # what was registered in the meantime counts
            except BaseException:  # such as an impatient Ctrl-C
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
    """Our configuration class for one that the original code registers for its own type, once it is imported.

    The original has no classes for most Auto classes; those that it has count, since they are looked for first.
    """
    if not isinstance(config_class, type) or config_class.__module__.startswith("transformers."):
        return None
    from videorefer_plugin.models.videollama2.original import ORIGINAL_MODEL_TYPES
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig

    return VideoReferConfig if getattr(config_class, "model_type", None) in ORIGINAL_MODEL_TYPES else None


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
    """Let configurations know how their files are fetched, which AutoConfig keeps to itself."""
    from videorefer_plugin.models.hub_arguments import fetching, hub_arguments

    with fetching(hub_arguments(kwargs)):
        return wrapped(*args, **kwargs)


def _join_in_pipelines(module: Any) -> None:
    wrapt.wrap_function_wrapper(module, "pad_collate_fn", _joining)


def _joining(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Let pipelines join samples with regions as this library does; all others they join as before."""
    from videorefer_plugin.models.batches import collates_prepared

    tokenizer = args[0] if args else kwargs.get("tokenizer")
    return collates_prepared(wrapped(*args, **kwargs), getattr(tokenizer, "pad_token_id", None))


def _load_configs() -> dict[str, Any]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.original import ORIGINAL_MODEL_TYPES
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig

    configs = {config.model_type: config for config in (VideoLLaMA2Config, VideoReferConfig)}
    return {**configs, **dict.fromkeys(ORIGINAL_MODEL_TYPES, VideoReferConfig)}  # `from_dict` translates these


def _register_models(module: Any) -> None:
    generative = (module.AutoModelForImageTextToText, module.AutoModelForMultimodalLM, module.AutoModelForCausalLM)
    for auto in (module.AutoModel, *generative):
        _defer(auto._model_mapping, partial(_load_models, bare_host=auto is module.AutoModel))


def _load_models(bare_host: bool) -> dict[Any, Any]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration, VideoLLaMA2Model
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration

    host = VideoLLaMA2Model if bare_host else VideoLLaMA2ForConditionalGeneration
    return {VideoLLaMA2Config: host, VideoReferConfig: VideoReferForConditionalGeneration}


def _register_processors(module: Any) -> None:
    _defer(module.PROCESSOR_MAPPING, _load_processors)


def _load_processors() -> dict[Any, Any]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer.processing import VideoReferProcessor

    return {VideoLLaMA2Config: VideoLLaMA2Processor, VideoReferConfig: VideoReferProcessor}
