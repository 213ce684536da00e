"""Keys and values of a prompt's first positions, computed once and continued by many prompts."""

import copy
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

__all__ = [
    "cache_bytes",
    "can_crop",
    "common_length",
    "crop",
    "new_cache",
    "num_copies",
    "repeated",
    "sees_positions",
    "uses_cache",
]

# With any of these arguments or settings, `generate` may tell where in a prompt its padding stands.
_ARGUMENTS = ("logits_processor", "stopping_criteria", "prefix_allowed_tokens_fn", "negative_prompt_ids")
_SETTINGS = (
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "guidance_scale", "sequence_bias"),
    *("watermarking_config", "prefill_chunk_size"),
)


def new_cache(model: Any) -> Cache:
    """An empty cache for a model's decoder."""
    return DynamicCache(config=model.config.get_text_config(decoder=True))


def cache_bytes(cache: Cache) -> int:
    """Bytes of the keys and values in a cache."""
    held = [getattr(layer, name, None) for layer in cache.layers for name in ("keys", "values")]
    return sum(value.numel() * value.element_size() for value in held if isinstance(value, Tensor))


def can_crop(cache: Cache) -> bool:
    """Whether the last positions of a cache can be removed; layers with a window have dropped the positions before."""
    return not any(getattr(layer, "is_sliding", False) or not hasattr(layer, "crop") for layer in cache.layers)


def crop(cache: Cache, length: int) -> None:
    """Keep the first `length` positions of a cache."""
    surplus = int(cache.get_seq_length()) - length
    if surplus > 0:
        cache.crop(-surplus)  # a positive number means other things in different releases of transformers


def uses_cache(config: Any, inputs: dict[str, Any]) -> bool:
    """Whether `generate` uses a cache, according to its arguments and its configuration."""
    return bool(inputs.get("use_cache", config.use_cache))


def sees_positions(config: Any, inputs: dict[str, Any]) -> bool:
    """Whether `generate` may find the padding of a prompt, according to its arguments and its configuration."""
    settings = (inputs.get(name, getattr(config, name, None)) for name in _SETTINGS)
    return any(inputs.get(name) for name in _ARGUMENTS) or any(settings)


def num_copies(config: Any, inputs: dict[str, Any]) -> int:
    """The number of rows into which `generate` expands a sample, from its arguments and its configuration."""
    return max(inputs.get(name, getattr(config, name, None)) or 1 for name in ("num_beams", "num_return_sequences"))


def repeated(cache: Cache, length: int, times: int = 1) -> Cache:
    """A copy of the first `length` positions of a cache of one sample, for a batch of `times` samples."""
    cache = copy.deepcopy(cache)
    crop(cache, length)
    if times > 1:
        cache.batch_repeat_interleave(times)
    return cache


def common_length(first: Tensor, second: Tensor) -> int:
    """Return how many leading rows of two tensors are equal.

    Args:
        first, second (`torch.Tensor` of shape `(length, ...)`): ids, or vectors; their lengths may differ.
    """
    shorter = min(len(first), len(second))
    if first is second:
        return shorter
    differs = first[:shorter] != second[:shorter].to(first.device)
    places = differs.reshape(shorter, -1).any(dim=1).nonzero() if shorter else torch.empty(0)
    return int(places[0]) if len(places) else shorter
