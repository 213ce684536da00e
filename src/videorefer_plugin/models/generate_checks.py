"""Checks of the arguments of `generate`, before any frame is decoded or encoded."""

import copy
import inspect
from collections.abc import Mapping
from functools import lru_cache
from numbers import Real
from typing import Any

from transformers import GenerationConfig
from transformers.generation import GenerationMixin, LogitsProcessorList, StoppingCriteriaList

from videorefer_plugin._kinds import FUNCTION, MODEL, check_kind, lists
from videorefer_plugin._text import short
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.inputs.matching import check_at_least_one
from videorefer_plugin.models.call_checks import FORMER, check_call, known_names, unknown_argument, whole_ids

__all__ = ["check_generate", "checked_prompt"]

_OF_GENERATE = {
    *inspect.signature(GenerationMixin.generate).parameters,
    *vars(GenerationConfig()),
    *("tokenizer", "assistant_tokenizer", "trust_remote_code", "use_model_defaults", "mm_token_type_ids"),
    *("cache", "past_key_values", "cache_params"),  # names of one thing
}
_COUNTS = ("max_new_tokens", "num_beams", "num_return_sequences", "prompt_lookup_num_tokens")
# What transformers compares or counts with, and some of it only when it samples or has generated something.
_NUMBERS = (
    *("temperature", "top_k", "top_p", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("repetition_penalty", "encoder_repetition_penalty", "length_penalty", "penalty_alpha", "guidance_scale"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "min_length", "min_new_tokens", "max_length"),
    *("max_time", "pad_token_id", "bos_token_id", "max_cache_len", "num_beam_groups"),
)
_SHARES = ("top_p", "top_h", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")  # one beyond 1 is left out silently
_KINDS = {
    "assistant_model": MODEL,
    "logits_processor": lists(FUNCTION, "LogitsProcessors"),
    "stopping_criteria": lists(FUNCTION, "StoppingCriteria"),
    "prefix_allowed_tokens_fn": FUNCTION,
}
_OF_MODES = {"streamer", "assistant_model", "tokenizer", "assistant_tokenizer"}
_HARMLESS = {"max_new_tokens", "do_sample", "use_cache"}  # not worth the milliseconds that it takes to judge others
_SETTINGS = {name for name in vars(GenerationConfig()) if not name.startswith("_")} - {"transformers_version"}


@lru_cache(maxsize=64)
def _generate_names(kind: Any) -> frozenset[str]:
    """Arguments of a model's `generate`."""
    prepared = inspect.signature(kind.prepare_inputs_for_generation).parameters
    return (known_names(kind) | _OF_GENERATE | FORMER).union(prepared) - {"self", "kwargs"}


def check_generate(model: Any, arguments: Mapping[str, Any]) -> None:
    """Check arguments of `generate` before anything is computed: their names and their values.

    Args:
        model (`PreTrainedModel`): the model that generates; for a PEFT model, its base model is used.
        arguments (`Mapping[str, Any]`): keyword arguments of `generate`.

    Raises:
        ConfigurationError: an argument is unknown (the message names the nearest one), a count is not a whole number
            of at least 1, `generation_config` or `streamer` has the wrong type, or transformers refuses a value (the
            message ends with its reason).
    """
    inside = getattr(model, "get_base_model", None)
    model = model if inside is None else inside()
    config = arguments.get("generation_config")
    if config is not None and not isinstance(config, GenerationConfig):
        raise ConfigurationError(
            f"generation_config must be a GenerationConfig, but is a {type(config).__name__}. Write "
            "GenerationConfig(**settings), or pass the settings on their own."
        )
    for name in _COUNTS:
        if arguments.get(name) is not None:
            check_at_least_one(arguments[name], name)
    streamer = arguments.get("streamer")
    if streamer is not None and not (hasattr(streamer, "put") and hasattr(streamer, "end")):
        raise ConfigurationError(
            f"streamer must have the methods put and end, as a TextStreamer has, but is a {type(streamer).__name__}."
        )
    if arguments.get("custom_generate") is not None:  # which may take more
        return
    _check_names(model, arguments)
    _check_values(model, arguments)


def checked_prompt(model: Any, inputs: Any, arguments: dict[str, Any], placed: str) -> tuple[Any, Any]:
    """Check the arguments of `generate`, and convert ids of small integer dtypes to int64.

    Args:
        model (`PreTrainedModel`): the model that generates.
        inputs (`torch.LongTensor`, *optional*): the positional argument.
        arguments (`dict[str, Any]`): keyword arguments of `generate`, whose `input_ids` are replaced.
        placed (`str`): the argument that says that the model which this one drafts for has checked them.

    Returns:
        `tuple`: the ids, and the positional argument; either may be `None`.

    Raises:
        ConfigurationError: as [`check_generate`].
        PromptError, TensorError: as [`check_call`].
    """
    input_ids = inputs if inputs is not None else arguments.get("input_ids")
    check_generate(model, arguments)
    if arguments.get(placed) is None:
        check_call(model, input_ids, arguments, generating=True)
    whole = whole_ids(input_ids)
    if whole is not input_ids and inputs is None:
        arguments["input_ids"] = whole
    return whole, None if inputs is None else whole


def _check_names(model: Any, arguments: Mapping[str, Any]) -> None:
    kind: Any = type(model)
    known = _generate_names(kind)
    others = {name: value for name, value in arguments.items() if value is not None and name not in known}
    if not others:
        return
    try:
        model._validate_model_kwargs(dict(others))
    except ValueError as error:
        unknown = [name for name in others if repr(name) in str(error)] or list(others)
        raise unknown_argument(f"{type(model).__name__}.generate()", unknown[0], known) from error


def _check_values(model: Any, arguments: Mapping[str, Any]) -> None:
    """Have transformers judge settings as `generate` does, which would do so when much was computed."""
    given = {name: arguments[name] for name in arguments.keys() & _SETTINGS if arguments[name] is not None}
    for name in _NUMBERS:
        value = given.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ConfigurationError(f"{name} must be a number, but is {short(value)}.")
        if name in _SHARES and not 0 <= value <= 1:  # type: ignore[operator]
            raise ConfigurationError(f"{name} must be a number from 0 to 1, but is {short(value)}.")
    more = {name: arguments[name] for name in _KINDS if arguments.get(name) is not None}
    for name, value in more.items():
        check_kind(ConfigurationError, _KINDS[name], **{name: value})
    if not given.keys() - _HARMLESS and not more and arguments.get("generation_config") is None:
        return
    try:
        config, _ = model._prepare_generation_config(copy.deepcopy(arguments.get("generation_config")), **given)
        _have_judged(model, config, arguments)
    except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError) as error:
        said = ", ".join(f"{name}={short(given[name])}" for name in sorted(given.keys() - _HARMLESS))
        raise ConfigurationError(
            f"generate cannot take {said or 'what it was given'}. {str(error).strip().rstrip('.')}."
        ) from error


def _have_judged(model: Any, config: GenerationConfig, arguments: Mapping[str, Any]) -> None:
    """Do what `generate` does before it generates, as far as it does not depend on ids."""
    model._prepare_special_tokens(config, kwargs_has_attention_mask=True, device="cpu")
    size = model.config.get_text_config().vocab_size
    for name in ("forced_bos_token_id", "forced_eos_token_id"):
        wanted = getattr(config, name, None)
        wanted = [wanted] if isinstance(wanted, int) else wanted or ()
        if not all(isinstance(one, int) and 0 <= one < size for one in wanted):
            raise ValueError(f"{name} must be among the {size} ids of the model")
    mode = config.get_generation_mode(arguments.get("assistant_model"))
    if arguments.get("custom_generate") is None:
        model._get_deprecated_gen_repo(mode, bool(arguments.get("trust_remote_code")), None)
    model._validate_generation_mode(mode, config, {name: arguments[name] for name in arguments.keys() & _OF_MODES})
    model._get_logits_processor(
        config, input_ids_seq_length=1, logits_processor=LogitsProcessorList(), device="cpu", model_kwargs={}
    )
    model._get_stopping_criteria(config, StoppingCriteriaList(), tokenizer=arguments.get("tokenizer"))
