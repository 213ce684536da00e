"""The report of a run of the data engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from videorefer_plugin.data_engine.items import token_words

__all__ = ["EngineReport", "StageReport"]


@dataclass(frozen=True)
class StageReport:
    """One stage of a run.

    Attributes:
        stage, backend (`str`): the stage, and its agent.
        done, failed, waiting (`int`): sources that have passed the stage, failed at it, and wait for it.
        dropped (`dict[str, int]`): kind of drop -> objects (or questions) that were dropped at the stage.
        calls, input_tokens, output_tokens (`int`): calls and tokens of models.
        cost (`float`): cost in the currency of the prices; 0 without prices.
        seconds (`float`): seconds of work, of all workers together.
        uncounted (`int`): calls without a count of tokens by the server.
    """

    stage: str
    backend: str
    done: int
    failed: int
    waiting: int
    dropped: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    uncounted: int = 0


@dataclass(frozen=True)
class EngineReport:
    """The state of a run of the data engine.

    Attributes:
        folder (`str`): folder of the run.
        product (`str`): product of the run.
        sources (`int`): sources of the run, within the limit if there is one.
        finished, failed, left (`int`): sources that are finished, that are dead letters, and all others.
        cost (`float`): cost of the whole run, including earlier starts and unused work.
        outdated (`int`): lines of the ledger that belong to other settings or sources.
        stopped (`str`): why the run stopped early; empty if it did not.
        stages (`tuple[StageReport, ...]`): reports of the stages, in order.
        read (`dict[str, int]`): counts of the entries of the source files, by outcome.
        records (`dict`): counts of the output, as in `report.json`.
        notes (`tuple[str, ...]`): notes about the sources.
    """

    folder: str
    product: str
    sources: int
    finished: int
    failed: int
    left: int
    cost: float = 0.0
    outdated: int = 0
    stopped: str = ""
    stages: tuple[StageReport, ...] = ()
    read: dict[str, int] = field(default_factory=dict)
    records: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages], "notes": list(self.notes)}

    def table(self) -> Any:
        """Return a table of the stages, for rich."""
        from rich import box
        from rich.table import Table

        made = self.records.get("records", 0)
        title = f"{self.folder}: {made} record(s) of {self.finished} finished of {self.sources} source(s)"
        table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        table.add_column("stage", no_wrap=True)
        table.add_column("agent", overflow="fold")
        for heading in ("done", "failed", "dropped", "calls", "tokens", "cost", "seconds"):
            table.add_column(heading, justify="right", no_wrap=heading != "dropped", overflow="fold")
        for one in self.stages:
            counts = (
                f"{one.calls:,}",
                token_words(one.input_tokens + one.output_tokens, one.calls, one.uncounted),
                f"{one.cost:.4g}",
            )
            done = (str(one.done), str(one.failed), dropped_words(one.dropped))
            table.add_row(one.stage, one.backend, *done, *counts, f"{one.seconds:.1f}")
        return table


def dropped_words(dropped: Mapping[str, int]) -> str:
    """Return lines such as "3 not_found" and "1 lost"; "0" if nothing was dropped."""
    return "\n".join(f"{count} {kind}" for kind, count in sorted(dropped.items())) or "0"
