"""95 % intervals: Wilson's for shares of right answers and what is made of them, the bootstrap for scores."""

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
    """Wilson's interval of a share; `None` of nothing."""
    from scipy.stats import binomtest

    if not total:
        return None
    interval = binomtest(right, total).proportion_ci(_LEVEL, method="wilson")
    return [float(interval.low), float(interval.high)]


def share_of(group: Collection[bool]) -> dict[str, Any]:
    """How much of a group is right: `right`, `total`, `accuracy` (`None` of nothing) and its `interval`."""
    right, total = sum(group), len(group)
    return {
        "right": right,
        "total": total,
        "accuracy": right / total if total else None,
        "interval": share_interval(right, total),
    }


def mean_of_shares_interval(counts: Sequence[tuple[int, int]]) -> list[float] | None:
    """Interval of the mean of independent shares, from Wilson's of each.

    The distances from each share to the ends of its interval are joined as errors of a sum are (G. Zou and A. Donner,
    Statistics in Medicine 27, 2008). Unlike a bootstrap, it does not shrink to a point where all answers are right.

    Args:
        counts: right and total, of each group.
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
    """Interval of a figure that is made of independent shares in any way; `None` where a share is of nothing.

    Shares are drawn from what is known of them (Jeffreys' posterior), and the figure is made of each draw. Unlike a
    bootstrap, it does not shrink to a point where all answers are right.

    Args:
        counts: right and total, of each group.
        make: takes arrays of equal length, one for each share, and returns the figure of each draw.
    """
    import numpy as np

    if not counts or any(not total for _, total in counts):
        return None
    rng = np.random.default_rng(_SEED)
    shares = [rng.beta(right + 0.5, total - right + 0.5, _DRAWS) for right, total in counts]
    below, above = np.quantile(make(*shares), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return [float(below), float(above)]


def mean_interval(values: Sequence[float]) -> list[float] | None:
    """Bootstrap interval of a mean; `None` of fewer than two values, which tell nothing about their spread."""
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
    """Bootstrap interval of the mean of several means, whose values are drawn in rows; `None` of fewer than two rows.

    Args:
        columns: what each mean is of, in the same order; `None` where a row has no such value.
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
