"""95 % intervals: Wilson's for shares of right answers and figures made of them, the bootstrap for scores."""

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

__all__ = [
    "made_of_shares_interval",
    "mean_interval",
    "mean_of_means_interval",
    "mean_of_shares_interval",
    "share_interval",
    "share_of",
]

_LEVEL = 0.95
_RESAMPLES = 2000
_DRAWS = 20_000
_SEED = 0  # the same scores always give the same interval


def share_interval(right: int, total: int) -> list[float] | None:
    """Return Wilson's interval of a share; `None` for an empty group."""
    from scipy.stats import binomtest

    if not total:
        return None
    interval = binomtest(right, total).proportion_ci(_LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]


def share_of(group: Collection[bool]) -> dict[str, Any]:
    """Return the share of right ones in a group: `right`, `total`, `accuracy` (`None` if empty) and its `interval`."""
    right, total = sum(group), len(group)
    return {
        "right": right,
        "total": total,
        "accuracy": right / total if total else None,
        "interval": share_interval(right, total),
    }


def mean_of_shares_interval(counts: Sequence[tuple[int, int]]) -> list[float] | None:
    """Return the interval of the mean of independent shares, from Wilson's of each.

    The distances from each share to the ends of its interval are combined like errors of a sum (G. Zou and A. Donner,
    Statistics in Medicine 27, 2008). Unlike a bootstrap, the interval does not shrink to a point if all answers are
    right.

    Args:
        counts: right and total of each group.
    """
    if not counts or any(not total for _, total in counts):
        return None
    shares = [right / total for right, total in counts]
    intervals = [share_interval(right, total) or [0.0, 1.0] for right, total in counts]
    mean = sum(shares) / len(shares)
    below, above = (
        math.sqrt(sum((share - interval[end]) ** 2 for share, interval in zip(shares, intervals, strict=True)))
        for end in (0, 1)
    )
    return [max(mean - below / len(shares), 0.0), min(mean + above / len(shares), 1.0)]


def made_of_shares_interval(counts: Sequence[tuple[int, int]], make: Callable[..., Any]) -> list[float] | None:
    """Return the interval of a figure that is any function of independent shares; `None` if a group is empty.

    Shares are drawn from Jeffreys' posterior, and the figure is computed for each draw. Unlike a bootstrap, the
    interval does not shrink to a point if all answers are right.

    Args:
        counts: right and total of each group.
        make: function from arrays of equal length, one for each share, to the figure of each draw.
    """
    import numpy as np

    if not counts or any(not total for _, total in counts):
        return None
    rng = np.random.default_rng(_SEED)
    shares = [rng.beta(right + 0.5, total - right + 0.5, _DRAWS) for right, total in counts]
    below, above = np.quantile(make(*shares), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [float(below), float(above)]


def mean_interval(values: Sequence[float]) -> list[float] | None:
    """Return the bootstrap interval of a mean; `None` for fewer than two values."""
    import numpy as np
    from scipy.stats import bootstrap

    if len(values) < 2:
        return None
    result = bootstrap(
        (np.asarray(values, dtype=float),),
        np.mean,
        n_resamples=_RESAMPLES,
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]


def mean_of_means_interval(columns: Sequence[Sequence[float | None]]) -> list[float] | None:
    """Return the bootstrap interval of the mean of several means, with values drawn in rows; `None` below two rows.

    Args:
        columns: values of each mean, in the same order; `None` if a row has no such value.
    """
    import numpy as np
    from scipy.stats import bootstrap

    def mean(*drawn: Any, axis: int) -> Any:
        counts = [np.sum(~np.isnan(values), axis=axis) for values in drawn]
        sums = [np.nansum(values, axis=axis) for values in drawn]
        return sum(total / np.maximum(count, 1) for total, count in zip(sums, counts, strict=True)) / len(drawn)

    arrays = np.asarray(columns, dtype=float)
    arrays = arrays[:, ~np.isnan(arrays).all(axis=0)]
    if arrays.shape[1] < 2:
        return None
    result = bootstrap(
        tuple(arrays),
        mean,
        n_resamples=_RESAMPLES,
        batch=100,
        paired=True,
        confidence_level=_LEVEL,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    return [float(result.confidence_interval.low), float(result.confidence_interval.high)]
