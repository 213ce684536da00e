"""Estimates of the cost of a run, from a few sources that are done for them."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from videorefer_plugin._kinds import check_kind
from videorefer_plugin._text import short
from videorefer_plugin.data_engine.items import seed_of, token_words
from videorefer_plugin.data_engine.ledgers import RunLedger
from videorefer_plugin.data_engine.recipe import RECIPE, EngineRecipe
from videorefer_plugin.data_engine.runs import Progress, run_engine
from videorefer_plugin.errors import ConfigurationError, EngineError

__all__ = ["Plan", "StagePlan", "plan_engine"]


_SPENT = ("calls", "input_tokens", "output_tokens", "cost", "uncounted")


@dataclass(frozen=True)
class StagePlan:
    """The estimated cost of a stage for all sources.

    Attributes:
        stage, backend (`str`): the stage, and its agent.
        calls, input_tokens, output_tokens (`float`): calls and tokens of models.
        cost (`float`, *optional*): cost in the currency of the prices; `None` if the prices of an endpoint are
            unknown.
        hours (`float`): hours of work, of all workers together.
        gpu_hours (`float`): hours on GPUs among these.
        uncounted (`float`): calls without a count of tokens by the server.
    """

    stage: str
    backend: str
    calls: float
    input_tokens: float
    output_tokens: float
    cost: float | None
    hours: float
    gpu_hours: float
    uncounted: float = 0.0


@dataclass(frozen=True)
class Plan:
    """The estimated cost of a run.

    Attributes:
        folder (`str`): folder of the run, in which the sampled sources are done.
        sources (`int`): number of all sources.
        sampled (`tuple[str, ...]`): ids of the sampled sources.
        objects (`float`): estimated number of objects at the end of all stages.
        stages (`tuple[StagePlan, ...]`): estimates by stage, in order.
        notes (`tuple[str, ...]`): notes about these figures.
    """

    folder: str
    sources: int
    sampled: tuple[str, ...]
    objects: float
    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything in the form of JSON."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages], "notes": list(self.notes)}

    def table(self) -> Any:
        """Return a table of the stages, for rich."""
        from rich.table import Table

        table = Table(
            title=f"{self.sources} source(s), {self.objects:,.0f} object(s) kept: estimated from {len(self.sampled)}"
        )
        for heading in ("stage", "agent"):
            table.add_column(heading)
        for heading in ("calls", "tokens in", "tokens out", "price", "hours", "GPU hours"):
            table.add_column(heading, justify="right")
        for one in self.stages:
            tokens = [token_words(count, one.calls, one.uncounted) for count in (one.input_tokens, one.output_tokens)]
            price = "unknown" if one.cost is None else f"{one.cost:.4g}"
            hours = (f"{one.hours:.3g}", f"{one.gpu_hours:.3g}")
            table.add_row(one.stage, one.backend, f"{one.calls:,.0f}", *tokens, price, *hours)
        known = [one.cost for one in self.stages if one.cost is not None]
        table.add_section()
        calls, read, written, _, uncounted = (sum(getattr(one, name) or 0 for one in self.stages) for name in _SPENT)
        sums = (f"{calls:,.0f}", *(token_words(tokens, calls, uncounted) for tokens in (read, written)))
        price = f"{sum(known):.4g}" + " + unknown" * (len(known) < len(self.stages))
        time = [sum(getattr(one, name) for one in self.stages) for name in ("hours", "gpu_hours")]
        table.add_row("all", "", *sums, price, *(f"{one:.3g}" for one in time))
        return table


def plan_engine(
    recipe: EngineRecipe, *, sample: int = 1, accept_changes: bool = False, progress: Progress | None = None
) -> Plan:
    """Run some sources, chosen at random by the recipe's seed, and estimate the cost of all.

    They run one by one in this process, in the folder of the run, which later uses their results.

    Args:
        recipe ([`EngineRecipe`]): recipe of the run.
        sample (`int`): number of sources to run.
        accept_changes (`bool`): see [`run_engine`].
        progress (`Callable`, *optional*): see [`run_engine`].

    Raises:
        EngineError: see [`run_engine`]; or all sampled sources failed.
    """
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 1:
        raise EngineError(f"The sample is {short(sample)}; expected a number of sources from 1 up.")
    check_kind(ConfigurationError, RECIPE, recipe=recipe)
    seen = _Sampled(recipe.seed, sample)
    run_engine(recipe, accept_changes=accept_changes, progress=progress, choose=seen.choose, finish=seen.look)
    return _plan(recipe, seen)


class _Sampled:
    """The sources that were run for a plan, and their cost."""

    def __init__(self, seed: int, sample: int):
        self.seed, self.sample = seed, sample
        self.numbers: list[int] = []
        self.sources = 0
        self.ids: list[str] = []
        self.failed: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.objects = 0

    def choose(self, ledger: RunLedger) -> list[int]:
        self.sources = ledger.size
        chance = random.Random(seed_of(self.seed, "plan"))
        self.numbers = sorted(chance.sample(range(ledger.size), min(self.sample, ledger.size)))
        return self.numbers

    def look(self, ledger: RunLedger) -> None:
        for number in self.numbers:
            state = ledger.state(number)
            self.ids.append(state.source.id)
            self.rows += state.rows.values()
            if state.failed is not None:
                self.failed.append(f"{state.source.id!r} at the {state.failed[0]}: {state.failed[1].reason}")
                continue
            self.objects += len(state.item.objects)


def _plan(recipe: EngineRecipe, seen: _Sampled) -> Plan:
    done = len(seen.ids) - len(seen.failed)
    if not done:
        raise EngineError(
            f"Nothing can be estimated, since none of {len(seen.ids)} sampled source(s) could be done; the first is "
            f"{seen.failed[0]} Correct that and retry it (data retry), or sample more sources (--sample)."
        )
    times, stages = seen.sources / done, []
    for stage, settings in recipe.stages().items():
        rows = [row for row in seen.rows if row["stage"] == stage]
        calls, read, written, cost, uncounted = (
            times * sum(row["spent"].get(name, 0) for row in rows) for name in _SPENT
        )
        hours = times * sum(row["seconds"] for row in rows) / 3600
        price = None if settings.is_unpriced else cost
        stages.append(
            StagePlan(stage, settings.backend, calls, read, written, price, hours, hours * settings.gpus, uncounted)
        )
    notes = [
        f"These figures are of {done} source(s) of {seen.sources}, which may be unlike the others; sample more "
        "(--sample) for better ones.",
        "Hours are those of one worker, and include the loading of models as often as it is sampled.",
    ]
    if not seen.objects:
        notes.append("No object was left at the end, so that later stages had little to do; sample more sources.")
    notes += [f"A sampled source failed; its cost counts, but it has no objects: {one}" for one in seen.failed]
    return Plan(recipe.output.folder, seen.sources, tuple(seen.ids), times * seen.objects, tuple(stages), tuple(notes))
