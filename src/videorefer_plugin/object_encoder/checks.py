"""Checks of tensors, among them the search for NaN and infinity, which would spread from one value to every answer."""

from typing import Any

import torch
from torch import Tensor

from videorefer_plugin._text import listed
from videorefer_plugin.errors import TensorError

__all__ = ["FEATURE_VALUES", "MASK_VALUES", "check_finite", "check_tensors", "not_finite", "whole_numbers"]

MASK_VALUES = "a mask is positive where the object is, and zero or less elsewhere"
FEATURE_VALUES = "a vision tower makes neither of sound pixels, so look for where the values come from"


def not_finite(values: Tensor) -> tuple[str, list[int]]:
    """Look for values that are not finite: one pass over the tensor, without a copy, and one synchronization.

    The search is skipped where there are no values: while a model is compiled or exported, and on the device `meta`.

    Args:
        values (`torch.Tensor` of any shape and dtype): what to search.

    Returns:
        `tuple[str, list[int]]`: `"NaN"`, `"infinity"` or `"NaN and infinity"`, with the indices of the first dimension
            at which they were found; `("", [])` if all values are finite.
    """
    if not values.is_floating_point() or values.numel() == 0 or values.is_meta or torch.compiler.is_compiling():
        return "", []
    values = values.detach()
    if values.element_size() == 1:  # float8, which PyTorch does not compare
        values = values.float()
    # NaN is passed on to both ends, and infinity is one of them.
    low, high = torch.aminmax(values)
    if bool(low.isfinite() & high.isfinite()):
        return "", []
    rows = values.reshape(len(values) if values.ndim else 1, -1)
    found = {"NaN": rows.isnan().any(1), "infinity": rows.isinf().any(1)}
    names = [name for name, where in found.items() if bool(where.any())]
    return " and ".join(names), (found["NaN"] | found["infinity"]).nonzero().flatten().tolist()


def check_finite(name: str, values: Tensor, expected: str) -> None:
    """Make sure that a tensor holds neither NaN nor infinity.

    Args:
        name (`str`): of the argument, in the plural, for messages.
        values (`torch.Tensor`): the tensor.
        expected (`str`): what its values are, for messages.

    Raises:
        TensorError: the tensor holds NaN or infinity.
    """
    what, rows = not_finite(values)
    if what:
        raise TensorError(f"{name} hold {what} at index {listed(rows)} of their first dimension; {expected}.")


def whole_numbers(values: Tensor) -> bool:
    """Whether the dtype of a tensor is an integer."""
    return not (values.is_floating_point() or values.is_complex() or values.dtype == torch.bool)


def check_tensors(**given: Any) -> None:
    """Make sure that arguments are tensors of numbers that can be added and compared.

    Raises:
        TensorError: an argument is not a tensor, is complex, or has a floating-point dtype of 8 bits.
    """
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise TensorError(f"{name} must be a torch.Tensor, but is a {type(value).__name__}.")
        if value.is_complex() or (value.is_floating_point() and value.element_size() == 1):
            raise TensorError(
                f"{name} are of dtype {value.dtype}, which cannot be averaged or compared; convert them, for instance "
                "with .to(torch.bfloat16)."
            )
