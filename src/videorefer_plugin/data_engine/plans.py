"""What a run would take, from a few sources that are done for it."""

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
    """What a stage takes for all sources, as the sampled ones had it.

    Attributes:
        stage, backend (`str`): which one, and who does it.
        calls, input_tokens, output_tokens (`float`): of models.
        cost (`float`, *optional*): in the currency of the prices; `None` where the agent asks an endpoint of unknown
            prices.
        hours (`float`): of work, of all workers together.
        gpu_hours (`float`): of them on GPUs.
        uncounted (`float`): calls whose tokens the model's side does not count.
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
    """What a run would take.

    Attributes:
        folder (`str`): of the run, where the sampled sources are done already.
        sources (`int`): that there are.
        sampled (`tuple[str, ...]`): ids of the sources that were done.
        objects (`float`): that may be left at the end of all stages.
        stages (`tuple[StagePlan, ...]`): in order.
        notes (`tuple[str, ...]`): what is to be known about these figures, in sentences.
    """

    folder: str
    sources: int
    sampled: tuple[str, ...]
    objects: float
    stages: tuple[StagePlan, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """All of it, fit for JSON."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages], "notes": list(self.notes)}

    def table(self) -> Any:
        """A table of the stages, for rich."""
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
    """Do some sources, chosen at random by the recipe's seed, and say what all would take.

    They are done one by one in this process, in the folder of the run, which does not do them again.

    Args:
        recipe ([`EngineRecipe`]): of the run.
        sample (`int`): how many sources.
        accept_changes (`bool`): see [`run_engine`].
        progress (`Callable`, *optional*): see [`run_engine`].

    Raises:
        EngineError: as [`run_engine`], or none of the sampled sources could be done.
    """
    if not isinstance(sample, int) or isinstance(sample, bool) or sample < 1:
        raise EngineError(f"The sample is {short(sample)}; expected a number of sources from 1 up.")
    check_kind(ConfigurationError, RECIPE, recipe=recipe)
    seen = _Sampled(recipe.seed, sample)
    run_engine(recipe, accept_changes=accept_changes, progress=progress, choose=seen.choose, finish=seen.look)
    return _plan(recipe, seen)


class _Sampled:
    """The sources that are done for a plan, and what they took."""

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
        "Hours are of one worker, and include the loading of models as often as it is sampled.",
    ]
    if not seen.objects:
        notes.append("No object was left at the end, so that later stages had little to do; sample more sources.")
    notes += [f"A sampled source failed; what it took counts, but it has no objects: {one}" for one in seen.failed]
    return Plan(recipe.output.folder, seen.sources, tuple(seen.ids), times * seen.objects, tuple(stages), tuple(notes))
