"""The values that callers may give for a region: a `Region`, or its JSON form."""

from collections.abc import Mapping
from typing import Any

from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions.region import Region


def as_region(value: Any) -> Region:
    """Return the region that a value stands for.

    Args:
        value: a `Region`, or a dict as `Region.from_json` takes it.

    Raises:
        RegionError: the value is neither, or malformed.
    """
    if isinstance(value, Region):
        return value
    if isinstance(value, Mapping):
        return Region.from_json(value)
    raise RegionError(
        f"a region must be a Region, but is a {type(value).__name__}. Region.from_mask, Region.from_box and "
        'Region.from_annotation make one; its JSON form, such as {"12": {"box": [10, 20, 60, 80]}}, may stand for it.'
    )


def is_one_region(value: Any) -> bool:
    """Whether a value is one region rather than a list of them."""
    return isinstance(value, (Region, Mapping))
