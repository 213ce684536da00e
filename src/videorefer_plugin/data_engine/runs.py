"""Runs of the data engine: every stage of every source is done once, also after interruptions."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from videorefer_plugin._kinds import FUNCTION, check_kind
from videorefer_plugin._places import check_folder_place
from videorefer_plugin._text import listed, short
from videorefer_plugin.data_engine.executors.local import AHEAD, run_local
from videorefer_plugin.data_engine.executors.ray import check_ray, run_ray
from videorefer_plugin.data_engine.folders import (
    RunFolder,
    changed_settings,
    changed_sources,
    files_digest,
    read_summary,
    refuse_changes,
)
from videorefer_plugin.data_engine.items import Spent
from videorefer_plugin.data_engine.ledgers import RunLedger, Waiting
from videorefer_plugin.data_engine.recipe import RECIPE, EngineRecipe
from videorefer_plugin.data_engine.records import write_records
from videorefer_plugin.data_engine.registry import identity_of, make_agent
from videorefer_plugin.data_engine.reports import EngineReport, StageReport
from videorefer_plugin.data_engine.sources import read_sources
from videorefer_plugin.data_engine.stage import StageSpec
from videorefer_plugin.data_engine.state import State, stage_keys
from videorefer_plugin.errors import ConfigurationError, EngineError, VideoReferError

__all__ = ["Interrupted", "Progress", "run_engine"]

Progress = Callable[[str, int, int], Any]
"""Called with a stage (or "sources", while they are read), the amount done and the total."""

IN_A_ROW = 8
"""The number of failures in a row at a stage after which a run stops, since the next video would fail, too."""


class Interrupted(KeyboardInterrupt):
    """An interruption of a run by the user. The message describes the state of the run.

    Attributes:
        report ([`EngineReport`]): state of the run.
    """

    def __init__(self, report: EngineReport):
        said = "Nothing is done yet; the same command starts again."
        if report.sources:
            said = (
                f"{report.finished} of {report.sources} sources are finished, {report.failed} failed, and "
                f"{report.left} are left; the same command goes on from here."
            )
        super().__init__(said)
        self.report = report


def run_engine(
    recipe: EngineRecipe,
    *,
    limit: int | None = None,
    max_cost: float | None = None,
    retry: bool = False,
    accept_changes: bool = False,
    progress: Progress | None = None,
    choose: Callable[[RunLedger], list[int]] | None = None,
    finish: Callable[[RunLedger], object] | None = None,
) -> EngineReport:
    """Do a run, or continue it.

    All files are in the folder `recipe.output.folder`. The results of agents are written at once, a line for each
    stage of each source, so that no finished work is lost or done again, however a run ends. Records are written at
    the end, and for the finished sources when a run is stopped.

    Args:
        recipe ([`EngineRecipe`]): recipe of the run.
        limit (`int`, *optional*): number of sources to work on, from the first.
        max_cost (`float`, *optional*): stop between batches once the whole run, including earlier starts, has cost
            this much. Agents behind an endpoint need `prices` for it.
        retry (`bool`): work only on the sources that failed. Without it, they are skipped.
        accept_changes (`bool`): continue a folder with other sources or settings, and keep the work that does not
            depend on them.
        progress (`Callable`, *optional*): called with a stage, the amount done and the total.
        choose (`Callable`, *optional*): returns the numbers of the sources to work on. Default: all. They are done one
            by one in this process, which suits a few sources.
        finish (`Callable`, *optional*): called with the ledger at the end.

    Returns:
        [`EngineReport`]: the state of the run.

    Raises:
        Interrupted: the user stopped the run, which can be continued.
        EngineError: the folder belongs to another run or cannot be used, the sources cannot be read, or the work
            cannot continue. Finished work is kept.
        ConfigurationError: an agent's settings are wrong.
    """
    check_kind(ConfigurationError, RECIPE, recipe=recipe)
    check_kind(ConfigurationError, FUNCTION, optional=True, progress=progress)
    tell = progress or (lambda *_: None)
    recipe.check()
    _check_limits(recipe, limit, max_cost)
    check_folder_place(recipe.output.folder, EngineError)
    if recipe.executor.kind == "ray":
        check_ray()
    identities = _identities(recipe)
    keys = stage_keys(list(identities.items()))
    folder = RunFolder(Path(recipe.output.folder))
    with folder.held():
        before = folder.read()
        changes = changed_settings(before, recipe, identities) if before is not None else []
        if changes and not accept_changes:
            raise refuse_changes(folder.path, changes)
        try:
            read = _read(folder, recipe, before, accept_changes, retry, tell)
        except KeyboardInterrupt:
            raise Interrupted(EngineReport(str(folder.path), recipe.product, 0, 0, 0, 0)) from None
        ledger = RunLedger(folder.sources, folder.stages, recipe.seed, keys, limit)
        try:
            notes = _check_inputs(recipe, ledger)
            folder.write_run(recipe, identities, keys, read)
            run = _Run(recipe, folder, ledger, keys, read, tell, max_cost, notes)
            report = run.do(choose(ledger) if choose else None, retry)
            if finish is not None:
                finish(ledger)
            return report
        finally:
            ledger.close()


def _check_limits(recipe: EngineRecipe, limit: int | None, max_cost: float | None) -> None:
    if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        raise EngineError(f"The limit is {short(limit)}; expected a number of sources from 1 up.")
    if max_cost is None:
        return
    if isinstance(max_cost, bool) or not isinstance(max_cost, (int, float)) or not 0 < max_cost < math.inf:
        raise EngineError(f"The highest cost is {short(max_cost)}; expected a number above 0.")
    stages = recipe.stages()
    priced = any(one.settings.get("prices") for one in stages.values())
    unknown = [stage for stage, one in stages.items() if one.is_unpriced] or list(stages) * (not priced)
    if unknown or not stages:
        raise EngineError(
            f"A highest cost was given, but the cost of {listed(unknown) or 'this run'} is not known. Give it prices, "
            f"such as {(unknown or ['refiner'])[0]}.settings.prices=[2.5, 10], of a million tokens read and written, "
            "or leave the highest cost out."
        )


def _check_inputs(recipe: EngineRecipe, ledger: RunLedger) -> list[str]:
    """Return notes about sources that lack the inputs of the first stage.

    Raises:
        EngineError: all sources lack them.
    """
    count, given = ledger.size, ledger.given
    if recipe.analyzer is None:
        if not given:
            raise EngineError(
                f"Without an analyzer, a run is about the objects that its sources give, but none of {count} "
                "source(s) gives any. Take sources with masks, such as source.layout=refcoco, or a recipe with an "
                "analyzer and a segmentor, such as engine/detailed, which find the objects of a caption."
            )
        few = f"{count - given} of {count} source(s) give no objects, and are not used."
        return [few] * (given < count)
    if ledger.only_given == count:
        raise EngineError(
            f"The analyzer reads captions, but {count} of {count} source(s) have none, and give objects with masks "
            "instead, which it would not use. Leave it out, and the segmentor too: analyzer=null segmentor=null."
        )
    unused = f"{given} of {count} source(s) give objects with masks, which are not used, since there is an analyzer"
    without = f"; {ledger.only_given} of them have no caption for it" * bool(ledger.only_given)
    return [f"{unused}{without}. Without analyzer and segmentor, a run is about these objects."] * bool(given)


def _identities(recipe: EngineRecipe) -> dict[str, dict[str, Any]]:
    """Return the identities of the agents by stage. Making the agents also checks their settings."""
    found = {}
    for stage, settings in recipe.stages().items():
        agent = make_agent(stage, settings.backend, settings.settings)
        try:
            found[stage] = {"backend": settings.backend, **identity_of(agent, settings.backend)}
        finally:
            agent.close()
    return found


def _read(
    folder: RunFolder,
    recipe: EngineRecipe,
    before: Mapping[str, Any] | None,
    accept_changes: bool,
    retry: bool,
    tell: Progress,
) -> dict[str, Any]:
    """Make sure that the snapshot of the sources is current, and return the entry of `run.json` about them."""
    read = dict(before["read"]) if before is not None else {}
    whole = before is not None and folder.sources_digest() == read.get("sources")
    if retry and whole:
        return read  # the dead letters refer to the snapshot
    files = files_digest(recipe.source)
    if whole and read.get("files") == files:
        return read
    found = read_sources(recipe.source, lambda done, total: tell("sources", done, total))
    double = [name for name, count in Counter(source.id for source in found.sources).items() if count > 1]
    if double:
        raise EngineError(f"Several sources have the same id: {listed(double)}. Give each its own.")
    if not found.sources:
        raise EngineError(f"There are no sources in {listed(recipe.source.files)}. {' '.join(found.notes)}".strip())
    now = read_summary(found, files)
    if before is not None and not accept_changes and now["sources"] != read.get("sources"):
        raise refuse_changes(folder.path, changed_sources(folder.sources, found.sources))
    folder.write_sources(found.sources)  # also if lines of it were lost or changed
    return now


@dataclass
class _Run:
    """A run in progress. It passes the reports of executors to the ledger's index, the progress and the limits."""

    recipe: EngineRecipe
    folder: RunFolder
    ledger: RunLedger
    keys: Mapping[str, str]
    read: Mapping[str, Any]
    tell: Progress
    max_cost: float | None
    notes: Sequence[str] = ()
    cost: float = 0.0
    too_much: bool = False
    in_a_row: Counter[str] = field(default_factory=Counter)

    def do(self, numbers: list[int] | None, retry: bool) -> EngineReport:
        """Work on the unfinished sources among these, and write the records."""
        few = numbers is not None
        self.cost = self.ledger.cost
        if retry:
            failed = self.ledger.failed()
            numbers = [number for number in failed if numbers is None or number in set(numbers)]
            self.ledger.forget_failures(numbers)
        for stage in self.ledger.stages:
            self._tell(stage)
        try:
            self._execute(Waiting(self.ledger, numbers), few)
        except VideoReferError:
            with suppress(VideoReferError):  # the first error has the cause
                self._finish()
            raise
        except KeyboardInterrupt:
            raise Interrupted(self._finish()) from None
        return self._finish()

    def _execute(self, waiting: Waiting, few: bool) -> None:
        settings = self.recipe.stages()
        specs = [
            StageSpec(stage, one.backend, self.keys[stage], str(self.folder.stages), dict(one.settings))
            for stage, one in settings.items()
        ]
        if not specs:
            return
        if few:
            alone = {stage: replace(one, workers=1, batch_size=1) for stage, one in settings.items()}
            run_local(specs, alone, waiting, self.on_done, self.should_stop)
        elif self.recipe.executor.kind == "ray":
            address = self.recipe.executor.address
            run_ray(specs, settings, waiting, self.on_done, self.should_stop, address=address)
        else:
            # With a highest cost, no batch waits for a worker.
            ahead = AHEAD if self.max_cost is None else 1
            run_local(specs, settings, waiting, self.on_done, self.should_stop, ahead=ahead)

    def on_done(self, state: State) -> None:
        """Record that a source has passed a stage.

        Raises:
            EngineError: too many sources have failed in a row.
        """
        for row in self.ledger.note(state):
            stage = row["stage"]
            self.cost += row["spent"]["cost"]
            if "failed" in row:
                self.in_a_row[stage] += 1
            elif row["objects"] or stage == "analyzer":  # without objects, the agent was not called
                self.in_a_row[stage] = 0
            self._tell(stage)
            if self.in_a_row[stage] >= IN_A_ROW:
                raise EngineError(
                    f"{IN_A_ROW} videos in a row failed at the {stage}; the last one, {row['id']!r}: "
                    f"{row['failed']['reason']} Finished work is kept. If only these videos are bad, start the "
                    "same run again, which skips them; otherwise correct the cause and retry them (data retry)."
                )

    def should_stop(self) -> bool:
        """Return whether the run must stop before the next batch."""
        self.too_much = self.max_cost is not None and self.cost >= self.max_cost
        return self.too_much

    @property
    def _stopped(self) -> str:
        """Why the run stops early, if it does."""
        if self.max_cost is None or not self.too_much:
            return ""
        return (
            f"The run has cost {self.cost:.4g}, and at most {self.max_cost:.4g} was allowed. Finished work is "
            "kept; with a higher --max-cost, the same command goes on."
        )

    def _tell(self, stage: str) -> None:
        total = self.ledger.size
        for name, one in self.ledger.stages.items():
            if name == stage:
                self.tell(stage, one.done, total)
                return
            total -= one.failures

    def _finish(self) -> EngineReport:
        """Write the dead letters, and the records of all finished sources."""
        self.ledger.refresh()
        self.ledger.remember_failures()
        self.cost = self.ledger.cost  # also of work that executors did not report
        self.folder.write(self.folder.failed, map(self._dead_letter, sorted(self.ledger.failed())))
        ledger = self.ledger
        spent = {stage: took for stage, took in ledger.spent.items() if stage in ledger.stages}
        seconds = {stage: took for stage, took in ledger.seconds.items() if stage in ledger.stages}
        counts = write_records(ledger.settled(), self.folder.path, self.recipe, spent, seconds)
        return self._report(counts)

    def _dead_letter(self, number: int) -> str:
        state = self.ledger.state(number)
        assert state.failed is not None
        stage, failure = state.failed
        said = {"id": state.source.id, "stage": stage, "kind": failure.kind, "reason": failure.reason}
        return json.dumps({**said, "tries": self.ledger.tries.get(number, 1), "path": state.source.path}) + "\n"

    def _report(self, counts: Any) -> EngineReport:
        ledger, stages, left = self.ledger, [], self.ledger.size
        for name, one in ledger.stages.items():
            spent = counts.spent.get(name, Spent())
            backend, dropped = self.recipe.stages()[name].backend, dict(counts.dropped.get(name, {}))
            done, failures = one.done - one.failures, one.failures
            took = (
                spent.calls,
                spent.input_tokens,
                spent.output_tokens,
                spent.cost,
                counts.seconds.get(name, 0.0),
                spent.uncounted,
            )
            stages.append(StageReport(name, backend, done, failures, left - one.done, dropped, *took))
            left = done
        failed = sum(one.failures for one in ledger.stages.values())
        return EngineReport(
            str(self.folder.path),
            self.recipe.product,
            ledger.size,
            left,
            failed,
            ledger.size - left - failed,
            self.cost,
            ledger.outdated,
            self._stopped if ledger.size > left + failed else "",
            tuple(stages),
            dict(self.read.get("counts", {})),
            counts.to_json(),
            (*self.read.get("notes", ()), *self.notes),
        )
