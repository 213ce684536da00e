"""Table 8 and equations 3 to 6 of the paper (appendix C.1): the accuracy of the Reviewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from videorefer_plugin.bench.statistics import made_of_shares_interval, share_interval

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["PAPER", "ReviewTable"]

PAPER = {"accuracy": 0.76, "precision": 0.88, "recall": 0.71, "f1": 0.79}
"""The figures of the paper's Reviewer, from 100 kept and 100 discarded items."""


@dataclass
class ReviewTable:
    """The results of a check by people.

    The paper's figures are those of the sample, with equal weights of kept and discarded items. The weighted figures
    use the shares of kept and discarded items among all: they are estimates for the whole run.

    Attributes:
        tp, fp (`int`): kept items that are right, and that are wrong.
        fn, tn (`int`): discarded items that are right, and that are wrong.
        unchecked (`dict[str, int]`): `"kept"` and `"discarded"` -> items that were drawn and not checked.
        population (`dict[str, int]`): `"kept"` and `"discarded"` -> all items of the run.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0
    unchecked: dict[str, int] = field(default_factory=lambda: {"kept": 0, "discarded": 0})
    population: dict[str, int] = field(default_factory=lambda: {"kept": 0, "discarded": 0})

    def add(self, kept: bool, true: bool | None) -> None:
        """Count an item."""
        if true is None:
            self.unchecked["kept" if kept else "discarded"] += 1
        elif kept:
            self.tp, self.fp = self.tp + true, self.fp + (not true)
        else:
            self.fn, self.tn = self.fn + true, self.tn + (not true)

    @property
    def retained(self) -> float | None:
        """The share of all items that the Reviewer kept."""
        total = sum(self.population.values())
        return self.population["kept"] / total if total else None

    @property
    def sample(self) -> dict[str, dict[str, Any]]:
        """The figures of the sample, as in the paper: name -> `value` and its 95 % `interval`."""
        checked = self.tp + self.fp + self.fn + self.tn
        return self._figures((self.tp + self.fp) / checked if checked else None)

    @property
    def weighted(self) -> dict[str, dict[str, Any]]:
        """The same figures, estimated for all items of the run."""
        return self._figures(self.retained)

    def _figures(self, kept: float | None) -> dict[str, dict[str, Any]]:
        """Return the figures for a share of kept items; `None` for figures without checked items."""
        share = 0.0 if kept is None else kept
        of_kept, of_discarded = (self.tp, self.tp + self.fp), (self.fn, self.fn + self.tn)
        figures: dict[str, tuple[list[tuple[int, int]], Callable[..., Any]]] = {
            "accuracy": (
                [of_kept, of_discarded],
                lambda right, missed: share * right + (1 - share) * (1 - missed),
            ),
            "precision": ([of_kept], lambda right: right),
            "recall": (
                [of_kept, of_discarded],
                lambda right, missed: _ratio(share * right, (1 - share) * missed),
            ),
            "f1": (
                [of_kept, of_discarded],
                lambda right, missed: _f1(right, _ratio(share * right, (1 - share) * missed)),
            ),
        }
        return {name: _figure([] if kept is None else counts, make) for name, (counts, make) in figures.items()}

    def to_json(self) -> dict[str, Any]:
        """Return everything, with the paper's figures, in the form of JSON."""
        figures = {"sample": self.sample, "weighted": self.weighted, "paper": PAPER}
        return {**asdict(self), "retained": self.retained, **figures}

    def table(self) -> RenderableType:
        """Return both tables, for rich."""
        from rich.console import Group
        from rich.table import Table

        checked = Table("", "true", "false", "not checked", "of", title="Items that were checked (Table 8)")
        checked.add_row("kept", *map(str, (self.tp, self.fp, self.unchecked["kept"], self.population["kept"])))
        checked.add_row(
            "discarded", *map(str, (self.fn, self.tn, self.unchecked["discarded"], self.population["discarded"]))
        )
        share = "" if self.retained is None else f", of which {100 * self.retained:.1f} % are kept"
        figures = Table("", "of the sample", f"of all items{share}", "paper, of its sample", title="The Reviewer")
        for name, quoted in PAPER.items():
            figures.add_row(name, _cell(self.sample[name]), _cell(self.weighted[name]), f"{quoted:.2f}")
        return Group(checked, figures)


def _figure(counts: list[tuple[int, int]], make: Callable[..., Any]) -> dict[str, Any]:
    known = bool(counts) and all(total for _, total in counts)
    value = make(*(right / total for right, total in counts)) if known else None
    if value is None:
        return {"value": None, "interval": None}
    interval = share_interval(*counts[0]) if len(counts) == 1 else made_of_shares_interval(counts, make)
    low, high = interval or (value, value)
    # If all or none are right, all draws are on one side of the value, which the interval must still contain.
    return {"value": value, "interval": [min(low, value), max(high, value)]}


def _ratio(some: Any, rest: Any) -> Any:
    """Return the share of `some` among both; `None` if both are 0."""
    whole = some + rest
    return None if isinstance(whole, float) and not whole else some / whole


def _f1(precision: Any, recall: Any) -> Any:
    if recall is None:
        return None
    both = precision + recall
    return 0.0 if isinstance(both, float) and not both else 2 * precision * recall / both


def _cell(figure: dict[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    low, high = figure["interval"]
    return f"{figure['value']:.2f} ({low:.2f}-{high:.2f})"
