"""`forward` of a host with regions, whose signature says what the host takes and how regions are given."""

import inspect
from collections.abc import Callable
from typing import Any

from videorefer_plugin.models.videorefer.region_inputs import RegionInputs

__all__ = ["region_forward"]


def region_forward(mixin: Any, host_class: Any) -> Callable[..., Any]:
    """`forward` of a class that is made of a mixin and a host; the host's arguments are said nowhere else.

    `generate` and `Trainer` look at the signature to tell which arguments a model takes.

    Args:
        mixin (`type`): a [`RegionMixin`], whose `forward` is run, with arguments by name.
        host_class (`type`): whose arguments are taken, also by place.
    """
    signature = inspect.signature(host_class.forward)
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, one in signature.parameters.items() if one.kind in by_place][1:]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) > len(names):
            raise TypeError(f"forward() takes {len(names)} arguments by place, but {len(args)} were given")
        for name, value in zip(names, args, strict=False):
            if name in kwargs:
                raise TypeError(f"forward() got multiple values for argument {name!r}")
            kwargs[name] = value
        return mixin.forward(self, **kwargs)

    forward.__signature__ = _merged(signature, mixin._regions_with_pixels)  # type: ignore[attr-defined]
    forward.__doc__ = host_class.forward.__doc__
    return forward


def _merged(signature: inspect.Signature, with_pixels: bool) -> inspect.Signature:
    regions = [f"region_{field}" for field in RegionInputs._fields if with_pixels or field != "pixel_values"]
    names = [*regions, "object_tokens", "object_token_counts"]
    given = list(signature.parameters.values())
    variable = [parameter for parameter in given if parameter.kind is inspect.Parameter.VAR_KEYWORD]
    added = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in names]
    return signature.replace(parameters=[*(one for one in given if one not in variable), *added, *variable])
