"""`forward` of a host with regions, whose signature lists the arguments of the host and those for regions."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

__all__ = ["region_forward"]


def region_forward(
    mixin: Any, host_class: Any, before: str | None = None, fields: tuple[str, ...] | None = None
) -> Callable[..., Any]:
    """Make `forward` of a class with a mixin and a host; this is the only list of the host's arguments.

    `generate` and `Trainer` read the signature to find the arguments of a model.

    Args:
        mixin (`type`): a [`RegionMixin`], whose `forward` is run, with arguments by name.
        host_class (`type`): whose arguments are taken, also by place.
        before (`str`, *optional*):
            The host's argument in front of which those of regions stand; by default they are taken by name only.
        fields (`tuple[str, ...]`, *optional*):
            Names of the tensors of regions, after `region_`; those of the mixin by default.
    """
    signature = _merged(inspect.signature(host_class.forward), fields or mixin._region_fields, before)
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, one in signature.parameters.items() if one.kind in by_place][1:]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        called = f"{type(self).__name__}.forward()"
        if len(args) > len(names):
            raise TypeError(f"{called} takes {len(names) + 1} positional arguments but {len(args) + 1} were given")
        for name, value in zip(names, args, strict=False):
            if name in kwargs:
                raise TypeError(f"{called} got multiple values for argument {name!r}")
            kwargs[name] = value
        return mixin.forward(self, **kwargs)

    forward.__signature__ = signature  # type: ignore[attr-defined]
    forward.__doc__ = host_class.forward.__doc__
    return forward


def _merged(signature: inspect.Signature, fields: tuple[str, ...], before: str | None) -> inspect.Signature:
    regions = [f"region_{field}" for field in fields]
    kind = inspect.Parameter.KEYWORD_ONLY if before is None else inspect.Parameter.POSITIONAL_OR_KEYWORD
    added = [
        inspect.Parameter(name, kind, default=None, annotation=Tensor | None)
        for name in (*regions, "object_tokens", "object_token_counts")
    ]
    given = list(signature.parameters.values())
    variable = [parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in given]
    place = [*signature.parameters].index(before) if before is not None else len(given) - sum(variable)
    return signature.replace(parameters=[*given[:place], *added, *given[place:]])
