"""Checks of a model's arguments before its vision tower runs: names, ids, and tensors that belong to ids."""

import difflib
import inspect
import warnings
import weakref
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers.utils import TransformersKwargs

from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import ConfigurationError, PromptError, TensorError
from videorefer_plugin.models.placing import cached_length, given_cache
from videorefer_plugin.object_encoder.checks import whole_numbers

__all__ = ["FORMER", "check_call", "check_ids", "check_labels", "known_names", "unknown_argument", "whole_ids"]

_REGIONS = ("region_masks", "region_frames", "region_lengths", "object_tokens")
_OWN = ("region", "object_token")  # prefixes that no other argument may have
# Names that look like misspellings but are not, and the argument that carries object tokens to the decoder.
_NAMESAKES = {"token_type_ids", "cache_position", "cache", "past_key_values", "inputs", "object_token_scatter"}
FORMER = {"region_clip_frames", "region_pixel_values"}
"""Arguments of an earlier layout, unless a host has them: they are refused, with advice."""

# Configurations of models that have already warned, by identity: a model and its parts share one.
_warned: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()
_NARROW = (torch.int32, torch.int16)  # dtypes that ids are taken in and widened
_USE_OURS = "Use the processor that belongs to this model, and pass all its outputs on."


# --- names -----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def known_names(kind: Any) -> frozenset[str]:
    """Arguments of a model's `forward`."""
    return frozenset(inspect.signature(kind.forward).parameters) | TransformersKwargs.__optional_keys__


def _check_names(model: Any, inputs: Mapping[str, Any]) -> None:
    """Refuse misspelled arguments of this model; all other arguments are passed to the decoder."""
    kind: Any = type(model)
    known = known_names(kind)
    for name in inputs.keys() - known - _NAMESAKES - FORMER:
        if inputs[name] is not None and (name.startswith(_OWN) or _nearest(name, known)):
            raise unknown_argument(type(model).__name__, name, known)


def _nearest(name: str, known: Iterable[str]) -> str | None:
    plain = {one.replace("_", ""): one for one in known}
    close = difflib.get_close_matches(name.replace("_", "").lower(), plain, n=1, cutoff=0.8)
    return plain[close[0]] if close else None


def unknown_argument(owner: str, name: str, known: Iterable[str]) -> ConfigurationError:
    """The error for an argument that is not used, with the nearest one that is."""
    if name == "regions":
        hint = ". Give regions= to the processor, which makes the tensors of them that the model takes."
    else:
        close = _nearest(name, known)
        hint = f"; did you mean {close!r}?" if close else ". Leave it out."
    return ConfigurationError(f"{owner} has no argument {short(name)}{hint}")


# --- tensors ---------------------------------------------------------------------------------------------------------


def check_call(model: Any, input_ids: Any, inputs: Mapping[str, Any], *, generating: bool = False) -> None:
    """Check names, ids, and tensors that have a column for each id.

    Nothing is looked at while a model is compiled or exported.

    Args:
        model (`PreTrainedModel`): the model.
        input_ids (`torch.LongTensor` of shape `(batch, length)`, *optional*): the ids.
        inputs (`Mapping[str, Any]`): the other keyword arguments.
        generating (`bool`, *optional*, defaults to `False`): whether they are those of `generate` or of `forward`.

    Raises:
        TensorError: an argument is not a tensor, or has another shape or dtype, or impossible values.
        PromptError: there are neither ids nor embeddings, or both.
        ConfigurationError: an argument goes by another name.
    """
    if torch.compiler.is_compiling():
        return
    if not generating:
        _check_names(model, inputs)
    embeds, cache = inputs.get("inputs_embeds"), given_cache(inputs)
    if not generating and (input_ids is None) == (embeds is None):
        given = "neither was" if input_ids is None else "both were"
        raise PromptError(f"You must specify exactly one of input_ids or inputs_embeds, but {given} given.")
    if cache is not None and not hasattr(cache, "get_seq_length"):
        raise TensorError(
            f"cache must be a Cache of transformers, such as DynamicCache(), but is a {type(cache).__name__}."
        )
    if input_ids is not None:
        check_ids(input_ids)
        # A host that has seen no processor refuses regions before it meets the id that stands for them.
        if getattr(model, "region_token_id", 0) >= 0 or all(inputs.get(name) is None for name in _REGIONS):
            _check_vocabulary(model, input_ids)
    if embeds is not None:
        _check_embeds(model, embeds)
    run = input_ids if embeds is None else embeds
    if run is None:
        return
    _check_mask(inputs.get("attention_mask"), run, cached_length(cache), generating)
    _check_columns(inputs, run, generating)
    _warn_if_long(model, run, inputs.get("attention_mask"), cached_length(cache))
    keep = inputs.get("logits_to_keep")
    if not (keep is None or isinstance(keep, Tensor) or (isinstance(keep, int) and keep >= 0)):
        raise TensorError(f"logits_to_keep must be a number of positions or a tensor of these, but is {short(keep)}.")


def check_ids(input_ids: Any) -> None:
    """Check that ids are whole numbers, with a row for each sample.

    Raises:
        TensorError: they are not.
    """
    if not isinstance(input_ids, Tensor) or input_ids.ndim != 2:
        given = f"shape {tuple(input_ids.shape)}" if isinstance(input_ids, Tensor) else type(input_ids).__name__
    elif input_ids.dtype not in (torch.int64, *_NARROW):
        given = f"dtype {input_ids.dtype}"
    else:
        return
    raise TensorError(
        f"input_ids must be a tensor of shape (batch, length) and dtype torch.int64, but have {given}. Call the "
        "processor with return_tensors='pt'."
    )


def whole_ids(input_ids: Any) -> Any:
    """Ids of small integer dtypes as int64, since some models compute wrong positions with others."""
    return input_ids.long() if isinstance(input_ids, Tensor) and input_ids.dtype in _NARROW else input_ids


def _check_vocabulary(model: Any, input_ids: Tensor) -> None:
    if input_ids.numel() == 0 or input_ids.is_meta:
        return
    table = model.get_input_embeddings()
    size = getattr(table, "num_embeddings", None) or model.config.get_text_config().vocab_size
    low, high = torch.aminmax(input_ids)
    if bool((low >= 0) & (high < size)):
        return
    # Placeholders may lie beyond the embeddings, since their embeddings are replaced.
    wrong = ((input_ids < 0) | (input_ids >= size)) & ~torch.isin(input_ids, _placeholders(model, input_ids))
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise TensorError(
            f"Sample {row} has id {int(input_ids[row, column])} at position {column}, but the model knows {size} ids, "
            "numbered from 0. Use the tokenizer of the processor that belongs to this model."
        )


def _placeholders(model: Any, input_ids: Tensor) -> Tensor:
    known = [value for name, value in vars(model.config).items() if name.endswith(("_token_id", "_token_index"))]
    known.append(getattr(model, "region_token_id", None))
    return input_ids.new_tensor([one for one in known if type(one) is int and one >= 0])


def _check_embeds(model: Any, embeds: Any) -> None:
    width = model.config.get_text_config().hidden_size
    fits = isinstance(embeds, Tensor) and embeds.ndim == 3 and embeds.shape[2] == width
    if not fits or not embeds.is_floating_point():
        given = (
            f"have shape {tuple(embeds.shape)} and dtype {embeds.dtype}"
            if isinstance(embeds, Tensor)
            else f"are a {type(embeds).__name__}"
        )
        raise TensorError(
            f"inputs_embeds must be a floating-point tensor of shape (batch, length, {width}), but {given}."
        )


def _check_mask(mask: Any, run: Tensor, past: int, generating: bool) -> None:
    if mask is None:
        return
    batch, length = run.shape[:2]
    if not isinstance(mask, Tensor):
        # A decoder takes masks of layers by name as well, and those of flex attention.
        if not generating and (isinstance(mask, Mapping) or hasattr(mask, "kv_num_blocks")):
            return
        given = f"is a {type(mask).__name__}"
    elif mask.ndim == 4 and not generating and (mask.is_floating_point() or mask.dtype == torch.bool):
        return
    elif mask.ndim != 2 or mask.is_complex():
        given = f"has shape {tuple(mask.shape)} and dtype {mask.dtype}"
    elif len(mask) != batch or mask.shape[1] < length or (not past and mask.shape[1] != length):
        given = f"has shape {tuple(mask.shape)}"
    elif not mask.is_meta and bool(((mask != 0) & (mask != 1)).any()):
        rows = ((mask != 0) & (mask != 1)).any(dim=1).nonzero().flatten().tolist()
        given = f"holds other values in row(s) {listed(rows)}"
    else:
        return
    columns = f"{length}" if not past else f"{length}, or {past + length} with those in the cache"
    raise TensorError(
        f"attention_mask must hold 1 for real positions and 0 for padding, of {batch} sample(s) and {columns} "
        f"column(s), but {given}. {_USE_OURS}"
    )


def _check_columns(inputs: Mapping[str, Any], run: Tensor, generating: bool) -> None:
    """Check tensors of whole numbers with one for each column."""
    batch, length = run.shape[:2]
    for name in ("position_ids", "mm_token_type_ids", "token_type_ids"):
        value = inputs.get(name)
        if value is None:
            continue
        positions = name == "position_ids"
        rows = (1, batch) if positions else (batch,)  # positions may be those of all samples, and of several kinds
        if (
            not isinstance(value, Tensor)
            or not whole_numbers(value)
            or value.ndim not in ((2, 3) if positions else (2,))
            or value.shape[-2] not in rows
            or (value.shape[-1] < length if generating or not positions else value.shape[-1] != length)
        ):
            given = f"are a {type(value).__name__}"
            if isinstance(value, Tensor):
                given = f"have shape {tuple(value.shape)} and dtype {value.dtype}"
            raise TensorError(
                f"{name} must be whole numbers of shape ({batch}, {length}), one for each id, but {given}. {_USE_OURS}"
            )


def _warn_if_long(model: Any, run: Tensor, mask: Any, past: int) -> None:
    """Say once a model that prompts are longer than what it was made for."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    length = past + run.shape[1]
    if not isinstance(most, int) or length <= most or id(model.config) in _warned:
        return
    if isinstance(mask, Tensor) and mask.ndim == 2 and not mask.is_meta:
        length = int(mask.sum(dim=1).max())  # padding takes no positions
    if length > most:
        _warned[id(model.config)] = model.config
        warnings.warn(
            f"The prompt has {length} positions, but this {type(model).__name__} was made for {most} "
            "(max_position_embeddings). It answers, but may miss much. Show fewer frames (num_frames=), point at "
            "fewer regions, or limit their frames (max_frames_per_region=). Each model warns once.",
            stacklevel=4,
        )


def check_labels(model: Any, labels: Any, run: Any, ignored: int = -100) -> None:
    """Check labels, since an invalid id would put a GPU into an unrecoverable state.

    Args:
        model (`PreTrainedModel`): the model.
        labels (`torch.LongTensor` of shape `(batch, length)`, *optional*): the labels.
        run (`torch.Tensor` of shape `(batch, length)` or `(batch, length, hidden_size)`): ids or embeddings.
        ignored (`int`, *optional*, defaults to -100): the label of positions that are not learned.

    Raises:
        TensorError: they are not whole numbers of that shape, or some are neither ids nor ignored.
    """
    if labels is None or torch.compiler.is_compiling():
        return
    shape = tuple(run.shape[:2]) if isinstance(run, Tensor) else None
    if not isinstance(labels, Tensor) or not whole_numbers(labels) or tuple(labels.shape) != shape:
        given = f"are a {type(labels).__name__}"
        if isinstance(labels, Tensor):
            given = f"have shape {tuple(labels.shape)} and dtype {labels.dtype}"
        raise TensorError(
            f"labels must be whole numbers of shape {shape}, one for each id, with {ignored} where nothing is to be "
            f"learned, but {given}."
        )
    if labels.numel() == 0 or labels.is_meta:
        return
    size = model.config.get_text_config().vocab_size
    wrong = ((labels < 0) | (labels >= size)) & (labels != ignored)
    if bool(wrong.any()):
        wrong &= ~torch.isin(labels, _placeholders(model, labels))
        for row, column in wrong.nonzero()[:1].tolist():
            raise TensorError(
                f"Sample {row} has label {int(labels[row, column])} at position {column}, but the model knows {size} "
                f"ids, numbered from 0, and {ignored} where nothing is to be learned."
            )
