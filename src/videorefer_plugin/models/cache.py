"""The key-value cache, which transformers names `cache` since 5.24 and named `past_key_values` before."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils.deprecation import deprecate_kwarg

__all__ = ["CACHE", "takes_cache"]

_NEW, _OLD = "cache", "past_key_values"

# What the installed transformers calls it, in arguments and outputs alike.
CACHE = _NEW if any(field.name == _NEW for field in fields(BaseModelOutputWithPast)) else _OLD


def takes_cache(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Let a `forward` with the argument `cache` take it as `past_key_values` as well.

    Where transformers has deprecated the old name, so does this; before, it is the one that the signature shows.
    """
    if CACHE == _NEW:
        return deprecate_kwarg(_OLD, version="5.40.0", new_name=_NEW)(forward)

    @functools.wraps(forward)
    def forward_with_old_name(*args: Any, **kwargs: Any) -> Any:
        if _OLD not in kwargs:
            return forward(*args, **kwargs)
        return forward(*args, **{_NEW: kwargs.pop(_OLD)}, **kwargs)

    # generate looks at the signature to tell which arguments a model takes.
    signature = inspect.signature(forward)
    parameters = [each.replace(name=_OLD) if each.name == _NEW else each for each in signature.parameters.values()]
    forward_with_old_name.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return forward_with_old_name
