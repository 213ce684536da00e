"""Patches for the original `videollama2` package (https://github.com/DAMO-NLP-SG/VideoLLaMA2) on transformers 5."""

from typing import TYPE_CHECKING, Any

from . import (
    cache_name,
    deepspeed_import,
    flash_attention,
    layernorm_layers,
    regions,
    trainer_signatures,
    transformers_cache,
)

__all__ = ["PATCHES", "original_inputs"]

# In the order in which they are applied.
PATCHES = (
    transformers_cache.PATCH,
    layernorm_layers.PATCH,
    flash_attention.PATCH,
    trainer_signatures.PATCH,
    deepspeed_import.PATCH,
    regions.PATCH,
    cache_name.PATCH,
)

if TYPE_CHECKING:
    from .inputs import original_inputs


def __getattr__(name: str) -> Any:
    if name == "original_inputs":  # not above: it needs torch, which applying patches does not
        from .inputs import original_inputs

        return original_inputs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
