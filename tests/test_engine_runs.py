"""Runs of the data engine: done once, whatever stops them, and refused where they cannot be done."""

import io
import json
import os
import re
import resource
import subprocess
import sys
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from tests.chat_server import KEY, ChatServer
from tests.engine import CountingAnnotator, calls, recipe_values, write_table
from tests.engine_kills import finished
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.agent import Agent
from videorefer_plugin.data_engine.folders import RunFolder
from videorefer_plugin.data_engine.items import Spent
from videorefer_plugin.data_engine.plans import plan_engine
from videorefer_plugin.data_engine.recipe import StageSettings, list_engine_recipes, load_engine_recipe, recipe_of
from videorefer_plugin.data_engine.records import read_report
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.data_engine.runs import Interrupted, run_engine
from videorefer_plugin.errors import ConfigurationError, EngineError, VideoReferError
from videorefer_plugin.training.recipe import load_recipe

STAGES = ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner")
CAT = {"noun": "cat", "expression": "a cat", "role": "subject", "singular": True}
NOUNS = json.dumps({"language": "en", "objects": [CAT]})
COUNT = 4  # videos; the caption of v2 names nothing
RESULTS = ("records.json", "provenance.jsonl", "discarded.json", "dropped.jsonl", "failed.jsonl")


class UnfinishedAnnotator(Agent):
    stage = "annotator"

    def run(self, items):
        return []


class NoIdentity(CountingAnnotator):
    def identity(self):
        return {"kinds": {1, 2}}


@pytest.fixture
def desk(tmp_path):
    write_table(tmp_path / "data", COUNT, {2: "Nothing at all."})
    return tmp_path


def values(desk, name="run", **stages):
    """A recipe whose run lies in a folder of its own, with its own log."""
    (desk / name).mkdir(exist_ok=True)
    return recipe_values(desk / name / "out", desk / "data" / "table.json", **stages)


def run(given, **options):
    return run_engine(recipe_of(given), **options)


def folder_of(given):
    return Path(given["output"]["folder"])


def results(folder):
    """The files of results, without what depends on the clock."""
    return {name: (folder / name).read_text().replace(str(folder), "") for name in RESULTS}


def dead(folder):
    return [json.loads(line) for line in (folder / "failed.jsonl").read_text().splitlines()]


@pytest.fixture
def whole(desk):
    """The results of a run that nothing stopped."""
    given = values(desk, "whole")
    report = run(given)
    assert (report.finished, report.failed, report.left) == (COUNT, 0, 0)
    return results(folder_of(given))


def test_a_run_makes_records_and_says_what_became_of_everything(desk):
    given = values(desk)
    report = run(given)
    folder = folder_of(given)
    kept, discarded = (json.loads((folder / name).read_text()) for name in ("records.json", "discarded.json"))
    assert len(kept) + len(discarded) == 2 * (COUNT - 1)  # cats and dogs; ghosts are not there
    assert report.records["records"] == len(kept)
    stages = {one.stage: one for one in report.stages}
    assert tuple(stages) == STAGES
    assert stages["segmentor"].dropped == {"not_found": COUNT - 1}
    assert all(one.done == COUNT and one.failed == one.waiting == 0 for one in report.stages)
    # A caption without nouns costs the Analyzer alone.
    assert Counter(line.split()[0] for line in calls(folder)) == {
        stage: COUNT - (stage != "analyzer") for stage in STAGES
    }
    assert dead(folder) == []
    json.dumps(report.to_dict())


def test_a_finished_run_does_nothing_more(desk):
    given = values(desk)
    run(given)
    before = calls(folder_of(given))
    report = run(given)
    assert calls(folder_of(given)) == before
    assert report.finished == COUNT


# --- whatever stops it -----------------------------------------------------------------------------------------------


def kill(desk, given, *kills):
    """Start a run several times, each of which is killed at a number of calls; what was finished by then."""
    path = desk / "recipe.json"
    path.write_text(json.dumps(given))
    command = [sys.executable, "-m", "tests.engine_kills", str(path), *map(str, kills)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_kills_lose_and_repeat_nothing_that_was_finished(desk, whole):
    given = values(desk)
    expected = COUNT + 5 * (COUNT - 1)
    # Each start does the call that was interrupted, and is killed in the next one.
    kills = kill(desk, given, *range(1, 2 * expected, 2))
    assert all(one["killed"] for one in kills)
    assert [len(one["finished"]) for one in kills][-1] == 6 * COUNT - 1
    run(given)
    assert results(folder_of(given)) == whole
    assert Counter(calls(folder_of(given))) == dict.fromkeys(calls(folder_of(given)), 2)


@pytest.mark.slow
def test_kills_of_a_run_with_several_processes_lose_and_repeat_nothing_either(desk, whole):
    given = values(desk, annotator={"workers": 2})
    log, before = folder_of(given).parent / "calls.log", 0
    for stop in kill(desk, given, 2 * COUNT + 1):
        assert stop["killed"]
        before = len(log.read_text().splitlines())
        done = set(stop["finished"])
        assert len(done) >= 2 * COUNT  # all of the first two stages
    run(given)
    assert results(folder_of(given)) == whole
    assert not done & set(calls(folder_of(given))[before:])


def cut(folder, target, size):
    """What a run that was killed left behind: the first bytes of what was written to the ledger."""
    (target / "stages").mkdir(parents=True)
    for name in ("run.json", "sources.jsonl"):
        (target / name).write_bytes((folder / name).read_bytes())
    for stage in STAGES:
        for path in (folder / "stages").glob(f"{stage}-*.jsonl"):
            if size > 0:
                (target / "stages" / path.name).write_bytes(path.read_bytes()[:size])
            size -= path.stat().st_size


@pytest.mark.slow
def test_a_ledger_that_ends_anywhere_is_gone_on_with(desk):
    given = values(desk, annotator={"batch_size": 2}, reviewer={"batch_size": 3})
    run(given)
    whole = folder_of(given)
    size = sum(path.stat().st_size for path in (whole / "stages").glob("*.jsonl"))
    for place in [*range(0, size, size // 12), size - 1]:
        other = values(desk, f"cut at {place}", annotator={"batch_size": 2}, reviewer={"batch_size": 3})
        cut(whole, folder_of(other), place)
        done = finished(folder_of(other))
        run(other)
        assert results(folder_of(other)) == results(whole), place
        assert sorted(calls(folder_of(other))) == sorted(set(calls(whole)) - set(done)), place


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "annotator",
    [
        pytest.param({"workers": 3, "backend": "tests.engine:ThreadedAnnotator"}, id="threads"),
        pytest.param({"workers": 2, "batch_size": 2}, id="processes"),
        pytest.param({"batch_size": 3}, id="batches"),
    ],
)
def test_workers_and_batches_change_no_record(desk, whole, annotator):
    given = values(desk, annotator=annotator)
    assert run(given).finished == COUNT
    folder = folder_of(given)
    assert results(folder)["records.json"] == whole["records.json"]
    assert Counter(calls(folder)).most_common(1)[0][1] == 1
    ledgers = list((folder / "stages").glob("annotator-*.jsonl"))
    assert 1 <= len(ledgers) <= annotator.get("workers", 1)


def test_a_limit_takes_the_first_sources_and_can_be_raised(desk, whole):
    given = values(desk)
    report = run(given, limit=2)
    assert (report.sources, report.finished) == (2, 2)
    assert {line.split()[1] for line in calls(folder_of(given))} == {"v0", "v1"}
    run(given)
    assert results(folder_of(given)) == whole


def test_an_interruption_says_where_the_run_stands(desk, whole):
    fixed = desk / "fixed"
    given = values(desk, captioner={"settings": {"bad": {"v1": "interrupt"}, "fixed": str(fixed)}})
    with pytest.raises(Interrupted, match=r"0 of 4 sources are finished, 0 failed, and 4 are left; the same command"):
        run(given)
    assert dead(folder_of(given)) == []
    fixed.touch()
    run(given)
    assert results(folder_of(given))["records.json"] == whole["records.json"]
    assert Counter(calls(folder_of(given))).most_common(2)[1][1] == 1  # only the interrupted call


def test_a_worker_that_is_killed_stops_the_run_with_a_reason(desk):
    given = values(desk, annotator={"workers": 2, "settings": {"bad": {"v1": "kill"}}})
    with pytest.raises(EngineError, match=r"A worker process of the annotator .* has ended unexpectedly.*is kept"):
        run(given)
    given["annotator"]["settings"]["bad"] = {}
    assert run(given).finished == COUNT
    assert Counter(call for call in calls(folder_of(given)) if "annotator" not in call).most_common(1)[0][1] == 1


@pytest.mark.slow
def test_workers_let_go_of_what_they_hold_as_they_end(desk):
    given = values(desk, annotator={"workers": 2, "backend": "tests.engine:ClosedAnnotator"})
    run(given)
    closed = (folder_of(given).parent / "calls.log.closed").read_text().split()
    workers = {path.name.split("-")[-2] for path in (folder_of(given) / "stages").glob("annotator-*.jsonl")}
    assert workers <= set(closed)
    assert not list((folder_of(given) / "stages").glob(".*.lock"))


# --- what fails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 4])
def test_what_fails_is_a_dead_letter_that_can_be_retried_alone(desk, whole, batch_size):
    fixed = desk / "fixed"
    bad = {"settings": {"bad": {"v0": "error", "v3": "failure"}, "fixed": str(fixed)}, "batch_size": batch_size}
    given = values(desk, annotator=bad)
    folder = folder_of(given)
    report = run(given)
    assert (report.finished, report.failed, report.left) == (COUNT - 2, 2, 0)
    first, second = dead(folder)
    assert (first["id"], first["stage"], first["kind"], first["tries"]) == ("v0", "annotator", "unexpected", 1)
    assert "RuntimeError: out of luck" in first["reason"]
    assert "engine.py" in first["reason"]  # where
    assert (second["kind"], second["reason"]) == ("endpoint", "The endpoint is down.")
    before = calls(folder)
    run(given)
    assert calls(folder) == before  # left alone
    assert [one["tries"] for one in dead(folder)] == [1, 1]
    run(given, retry=True)
    assert [one["tries"] for one in dead(folder)] == [2, 2]
    fixed.touch()
    before = calls(folder)
    report = run(given, retry=True)
    assert (report.finished, report.failed) == (COUNT, 0)
    assert {line.split()[1] for line in calls(folder)[len(before) :]} == {"v0", "v3"}
    assert results(folder) == whole


def test_a_retry_does_nothing_else(desk):
    given = values(desk, annotator={"settings": {"bad": {"v0": "failure"}}})
    run(given, limit=1)
    report = run(given, retry=True)
    assert (report.finished, report.failed, report.left) == (0, 1, COUNT - 1)
    assert {line.split()[1] for line in calls(folder_of(given))} == {"v0"}


def test_many_failures_in_a_row_stop_the_run(tmp_path):
    write_table(tmp_path / "data", 12)
    down = {f"v{number}": "failure" for number in range(12)}
    given = values(tmp_path, annotator={"settings": {"bad": down}})
    message = (
        r"8 videos in a row failed at the annotator; the last one, 'v7': The endpoint is down. Finished work is kept"
    )
    with pytest.raises(EngineError, match=message):
        run(given)
    assert [one["id"] for one in dead(folder_of(given))] == [f"v{number}" for number in range(8)]
    # Those that fail again make room for others.
    report = run(given)
    assert (report.failed, report.left) == (12, 0)


def test_videos_without_objects_are_no_success_of_a_stage(tmp_path):
    write_table(tmp_path / "data", 20, dict.fromkeys(range(0, 20, 2), "Nothing at all."))
    down = {f"v{number}": "failure" for number in range(20)}
    with pytest.raises(EngineError, match="8 videos in a row failed at the segmentor; the last one, 'v15'"):
        run(values(tmp_path, segmentor={"settings": {"bad": down}}))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ("fatal", EngineError, "The endpoint refuses the key."),
        ("few", EngineError, r"was given 1 video\(s\) and returned 0 result\(s\); expected one for each"),
    ],
)
def test_what_no_other_video_would_fare_better_with_stops_the_run(desk, how, error, message):
    given = values(desk, annotator={"settings": {"bad": {"v1": how}}})
    with pytest.raises(error, match=message):
        run(given)
    assert dead(folder_of(given)) == []
    given["annotator"]["settings"]["bad"] = {}
    assert run(given).finished == COUNT


def test_replies_that_were_paid_for_are_kept_when_the_account_is_empty(desk, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    left = [NOUNS, NOUNS, "Sorry?", 402]
    server.reply = lambda messages: left.pop(0) if len(left) > 1 else left[0]
    given = values(desk, analyzer={"backend": "chat", "batch_size": COUNT})
    given["analyzer"]["settings"] = {"model": "m", "endpoint": server.url, "workers": 1, "prices": [1e4, 0]}
    try:
        with pytest.raises(EngineError, match="nothing left to spend"):
            run(given)
        assert finished(folder_of(given)) == ["analyzer v0", "analyzer v1"]
        assert dead(folder_of(given)) == []
        left[:] = [NOUNS]
        report = run(given)
    finally:
        server.close()
    assert (report.finished, len(server.requests)) == (COUNT, 4 + 2)  # the first two videos are not asked about again
    assert report.cost == 2 + 1 + 2  # what was no JSON had to be paid for, too


@pytest.mark.parametrize(
    ("how", "kind", "reason"),
    [
        ("half failed", "reply", r"It says \\ud83d\."),
        ("half made", "unexpected", "cannot be written as JSON: .*surrogates not allowed"),
    ],
)
def test_half_a_character_is_a_dead_letter_with_its_cost(desk, how, kind, reason):
    settings = {"cost": 0.5, "bad": {"v1": how}, "fixed": str(desk / "fixed")}
    given = values(desk, annotator={"settings": settings})
    report = run(given)
    assert (report.failed, report.cost) == (1, 0.5 * (COUNT - 1))
    (letter,) = dead(folder_of(given))
    assert letter["kind"] == kind
    assert re.search(reason, letter["reason"])
    (desk / "fixed").touch()
    assert run(given, retry=True).finished == COUNT  # what was written can be read


def test_a_reply_with_half_a_character_is_asked_for_again(desk, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    left = ["half \ud83d", NOUNS.replace("a cat", "\\ud83d"), NOUNS]
    server.reply = lambda messages: left.pop(0) if len(left) > 1 else left[0]
    given = values(desk, analyzer={"backend": "chat", "settings": {}})
    given["analyzer"]["settings"] = {"model": "m", "endpoint": server.url, "prices": [1e4, 0]}
    try:
        report = run(given, limit=2)
        assert (report.finished, report.failed, report.cost) == (1, 1, 3)
        (letter,) = dead(folder_of(given))
        assert "half a character" in letter["reason"] or "half of a character" in letter["reason"]
        assert run(given, limit=2, retry=True).finished == 2
    finally:
        server.close()


def test_an_agent_that_cannot_be_made_in_a_worker_stops_the_run_with_its_results_written(desk):
    bad = {"settings": {"bad": {"v0": "failure"}}}
    given = values(desk, segmentor=bad, annotator={"backend": "tests.engine:OnlyHere", "workers": 2})
    with pytest.raises(ConfigurationError, match="cannot be made with its settings: RuntimeError: there is no GPU"):
        run(given)
    assert [one["id"] for one in dead(folder_of(given))] == ["v0"]


def test_a_full_disk_stops_the_run_with_a_reason(desk):
    given = values(desk, captioner={"settings": {"bad": {"v1": "full"}, "fixed": str(desk / "fixed")}})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(EngineError, match=r"Finished work cannot be written: .*start the same run again"):
            run(given)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    (desk / "fixed").touch()
    assert run(given).finished == COUNT


# --- sources that have not what a recipe begins with -----------------------------------------------------------------

CAPTION, MASK = {"caption": "Here are cats."}, {"caption": "", "given": ["the cat"]}
WITHOUT = r"none of 2 source\(s\) gives any\. Take sources with masks"


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("product", "analyzer", "rows", "records", "said"),
    [
        ("short", True, [CAPTION, CAPTION], 2, None),
        ("short", True, [CAPTION, MASK], 1, "1 of 2 .* are not used.*; 1 of them have no caption"),
        ("short", True, [CAPTION | {"given": ["a"]}] * 2, 2, r"2 of 2 source\(s\) give objects .* are not used"),
        ("short", True, [MASK, MASK], None, r"2 of 2 source\(s\) have none, .* analyzer=null segmentor=null"),
        ("short", False, [MASK, MASK], 2, None),
        ("short", False, [MASK, CAPTION], 1, r"1 of 2 source\(s\) give no objects"),
        ("short", False, [CAPTION, CAPTION], None, WITHOUT),
        ("qa", False, [CAPTION, CAPTION], None, WITHOUT),
        ("detailed", True, [MASK, MASK], None, "analyzer=null"),
    ],
)
def test_what_sources_give_is_used_or_said(tmp_path, product, analyzer, rows, records, said):
    table = write_table(tmp_path / "data", 2)
    given = values(tmp_path, annotator={}) | {"product": product}
    keep = {"short": STAGES[:2] if analyzer else (), "qa": ("annotator", "refiner"), "detailed": STAGES}[product]
    given |= dict.fromkeys(stage for stage in STAGES if stage not in keep)
    given["source"]["layout"] = "tests.engine:read_given"
    table.write_text(json.dumps([old | new for old, new in zip(json.loads(table.read_text()), rows, strict=True)]))
    if records is None:
        with pytest.raises(EngineError, match=said):
            run(given)
        assert calls(folder_of(given)) == []
        return
    for report in (run(given), run(given)):
        assert report.records["records"] == records
        notes = [note for note in report.notes if "source(s) give" in note]
        assert len(notes) == bool(said)
        assert re.search(said or "", " ".join(notes))


# --- costs and plans -------------------------------------------------------------------------------------------------


def test_a_highest_cost_counts_the_whole_run(desk):
    priced = {"settings": {"cost": 0.5, "prices": [1, 1]}}
    given = values(desk, annotator=priced)
    report = run(given, max_cost=1)
    assert report.cost == 1.0
    assert (report.left, "at most 1 was allowed" in report.stopped) == (COUNT, True)
    assert run(given, max_cost=1).cost == 1.0  # nothing is left of it
    report = run(given, max_cost=100)
    assert (report.finished, report.cost, report.stopped) == (COUNT, 0.5 * (COUNT - 1), "")


def test_the_report_has_what_everything_took(desk):
    priced = {"cost": 0.5, "prices": [1, 1], "bad": {"v1": "failure"}, "fixed": str(desk / "fixed")}
    given = values(desk, annotator={"settings": priced})
    stages = {one.stage: one for one in run(given, max_cost=1).stages}  # stopped before any video is finished
    assert (stages["annotator"].calls, stages["annotator"].cost) == (2, 1.0)
    run(given)
    (desk / "fixed").touch()
    report = run(given, retry=True)
    stages = {one.stage: one for one in report.stages}
    assert (stages["annotator"].calls, stages["annotator"].cost) == (COUNT, 0.5 * COUNT)  # the failure had its price
    assert report.cost == report.records["spent"]["annotator"]["cost"] == 0.5 * COUNT
    assert json.loads((folder_of(given) / "report.json").read_text())["spent"] == report.records["spent"]


def test_an_interruption_says_what_was_spent_by_all_workers(tmp_path):
    write_table(tmp_path / "data", 8)
    settings = {"cost": 1.0, "seconds": 0.05, "bad": {"v2": "interrupt"}}
    annotator = {"backend": "tests.engine:ThreadedAnnotator", "workers": 3, "settings": settings}
    given = values(tmp_path, annotator=annotator)
    with pytest.raises(Interrupted) as caught:
        run(given)
    done = sum(line.startswith("annotator") for line in finished(folder_of(given)))
    assert done >= 2
    assert caught.value.report.cost == done


def test_nothing_that_waits_for_a_worker_is_begun_once_the_cost_is_too_high(tmp_path):
    write_table(tmp_path / "data", 40)
    settings = {"cost": 1.0, "prices": [1, 1], "seconds": 0.05}
    annotator = {"backend": "tests.engine:ThreadedAnnotator", "workers": 4, "settings": settings}
    report = run(values(tmp_path, annotator=annotator), max_cost=1)
    assert 1 <= report.cost <= 4 + 1  # what each worker was about
    assert f"The run has cost {report.cost:.4g}, and at most 1" in report.stopped


@pytest.mark.parametrize(
    ("settings", "unknown"),
    [
        ({"endpoint": "http://localhost:1/v1"}, True),
        ({"endpoint": "http://localhost:1/v1", "prices": [1, 1]}, False),
        ({}, False),
    ],
)
@pytest.mark.parametrize("backend", ["endpoint", "tests.engine:CountingAnnotator"])
def test_a_price_is_known_or_not(settings, unknown, backend):
    known = bool(settings.get("prices"))
    assert StageSettings(backend, settings).is_unpriced == (unknown or (backend == "endpoint" and not known))


def test_a_plan_counts_what_failed_sources_took(desk):
    bad = {"cost": 0.5, "prices": [1, 1], "bad": {"v1": "failure"}}
    plan = plan_engine(recipe_of(values(desk, annotator={"settings": bad})), sample=COUNT)
    assert {one.stage: one for one in plan.stages}["annotator"].cost == 0.5 * 3 * COUNT / (COUNT - 1)
    assert any("A sampled source failed; its cost counts" in note for note in plan.notes)


def test_tokens_that_nobody_counts_are_unknown_in_plans_and_in_reports(desk):
    everyone = [f"v{number}" for number in range(COUNT)]
    stages = {"annotator": {"settings": {"silent": everyone}}, "captioner": {"settings": {"silent": ["v0"]}}}
    given = values(desk, **stages)
    plan = plan_engine(recipe_of(given), sample=COUNT)
    console = Console(width=200, file=io.StringIO())
    console.print(plan.table())
    rows = {line.split()[1]: line for line in console.file.getvalue().splitlines() if len(line.split()) > 2}
    assert rows["annotator"].count("unknown") == 2
    assert rows["captioner"].count(" + unknown") == 2
    assert "unknown" not in rows["analyzer"]
    run(given)
    spent = read_report(folder_of(given)).spent
    assert (spent["annotator"].uncounted, spent["annotator"].input_tokens) == (spent["annotator"].calls, 0)
    assert spent["captioner"].uncounted == 1
    assert spent["captioner"].input_tokens == 100 * (spent["captioner"].calls - 1)


def test_a_plan_does_one_source_that_the_run_does_not_do_again(desk):
    given = values(desk, annotator={"settings": {"cost": 0.5, "prices": [1, 1]}, "gpus": 0.5})
    given["seed"] = 1
    plan = plan_engine(recipe_of(given))
    assert (plan.sources, len(plan.sampled)) == (COUNT, 1)
    stages = {one.stage: one for one in plan.stages}
    assert (stages["annotator"].calls, stages["annotator"].input_tokens) == (COUNT, 100 * COUNT)
    assert stages["annotator"].cost == 0.5 * COUNT
    assert stages["annotator"].gpu_hours == stages["annotator"].hours / 2
    assert stages["analyzer"].gpu_hours == 0
    assert any("may be unlike the others" in note for note in plan.notes)
    run(given)
    assert Counter(calls(folder_of(given))).most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "The limit is 0; expected a number of sources from 1 up"),
        ({"max_cost": -1}, "The highest cost is -1; expected a number above 0"),
        ({"max_cost": float("nan")}, "expected a number above 0"),
        ({"max_cost": 3}, "the cost of analyzer, segmentor, annotator, captioner, reviewer, ... is not known"),
    ],
)
def test_limits_that_cannot_be_held_are_refused_first(desk, options, message):
    given = values(desk)
    with pytest.raises(EngineError, match=message):
        run(given, **options)
    assert not folder_of(given).exists()


# --- folders ---------------------------------------------------------------------------------------------------------


def test_changed_settings_are_named_and_can_be_accepted(desk):
    given = values(desk)
    run(given)
    before = calls(folder_of(given))
    changed = values(desk, captioner={"settings": {"version": 2}})
    with pytest.raises(
        EngineError, match=r"holds a run that differs: captioner\.version was 1 and is 2\. .*--accept-ch"
    ):
        run(changed)
    assert calls(folder_of(given)) == before
    report = run(changed, accept_changes=True)
    assert report.finished == COUNT
    again = Counter(line.split()[0] for line in calls(folder_of(given))[len(before) :])
    assert again == dict.fromkeys(("captioner", "reviewer", "refiner"), COUNT - 1)
    assert report.outdated == 3 * COUNT
    run(changed)  # from now on, that is what the run is


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 5}, "seed was 0 and is 5"),
        ({"product": "short", "annotator": None, "captioner": None, "reviewer": None, "refiner": None}, "product was"),
    ],
)
def test_other_changes_are_named_too(desk, change, message):
    given = values(desk)
    run(given)
    with pytest.raises(EngineError, match=message):
        run({**given, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"executor": {"kind": "local"}, "description": "another one"},
        {"annotator": {"workers": 2, "batch_size": 2, "gpus": 0.5}},
    ],
)
def test_what_no_result_depends_on_may_change(desk, change):
    given = values(desk)
    run(given)
    before = calls(folder_of(given))
    for name, section in change.items():
        given[name] = {**given[name], **section} if isinstance(given.get(name), dict) else section
    run(given)
    assert calls(folder_of(given)) == before


def test_a_changed_table_is_named_and_can_be_accepted(desk):
    given = values(desk)
    run(given)
    before = calls(folder_of(given))
    write_table(desk / "data", COUNT + 1, {2: "Nothing at all.", 3: "Only birds."})
    message = r"1 source\(s\) are new \(v4\); 1 source\(s\) are changed \(v3\)"
    with pytest.raises(EngineError, match=message):
        run(given)
    report = run(given, accept_changes=True)
    assert report.finished == COUNT + 1
    assert {line.split()[1] for line in calls(folder_of(given))[len(before) :]} == {"v3", "v4"}


def test_a_table_that_says_the_same_is_no_change(desk):
    given = values(desk)
    run(given)
    table = desk / "data" / "table.json"
    table.write_text(json.dumps(json.loads(table.read_text()), indent=4))
    before = calls(folder_of(given))
    run(given)
    assert calls(folder_of(given)) == before


def test_a_folder_is_used_by_one_run_at_a_time(desk):
    given = values(desk)
    with RunFolder(folder_of(given)).held(), pytest.raises(EngineError, match="Another process works in"):
        run(given)
    assert run(given).finished == COUNT


def fill(folder, name, text):
    folder.mkdir(parents=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder: fill(folder, "thesis.tex", "mine"), r"is not empty and is not of a run: it holds thesis\.tex"),
        (lambda folder: fill(folder, "run.json", "{"), r"run\.json, line 1: no JSON"),
        (
            lambda folder: fill(folder, "run.json", "[]"),
            r"run\.json holds \[\]; expected the object of a run of the data engine",
        ),
        (lambda folder: (folder.parent.mkdir(exist_ok=True), folder.write_text("a file")), "cannot be written"),
    ],
    ids=["foreign", "damaged", "something else", "a file"],
)
def test_folders_that_are_none_of_a_run_are_refused(desk, prepare, message):
    given = values(desk)
    prepare(folder_of(given))
    with pytest.raises(EngineError, match=message):
        run(given)
    assert calls(folder_of(given)) == []


def test_a_damaged_ledger_names_the_line(desk):
    given = values(desk)
    run(given)
    (path,) = (folder_of(given) / "stages").glob("annotator-*.jsonl")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:2], b'{"id": 3}', *lines[3:]]))
    with pytest.raises(EngineError, match=r"Line 3 of .*annotator-.*jsonl is damaged.*Delete that line"):
        run(given)
    path.write_bytes(b"\n".join([*lines[:2], *lines[3:]]))
    before = calls(folder_of(given))
    run(given)
    assert calls(folder_of(given))[len(before) :] == ["annotator v1"]


@pytest.mark.spread(2)
@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize(
    "harm",
    [lambda lines: lines[1:], lambda lines: [], lambda lines: [lines[0][:9], *lines[1:]], None],
    ids=["a line lost", "emptied", "a line cut", "deleted"],
)
def test_a_snapshot_that_was_harmed_is_written_anew(desk, harm, retry):
    given = values(desk)
    run(given)
    snapshot, before = folder_of(given) / "sources.jsonl", calls(folder_of(given))
    whole = snapshot.read_text()
    if harm is None:
        snapshot.unlink()
    else:
        snapshot.write_text("\n".join(harm(whole.splitlines())))
    assert run(given, retry=retry).finished == COUNT
    assert snapshot.read_text() == whole
    assert calls(folder_of(given)) == before


def test_a_snapshot_that_was_harmed_hides_no_change(desk):
    given = values(desk)
    run(given)
    (folder_of(given) / "sources.jsonl").unlink()
    write_table(desk / "data", COUNT + 1)
    with pytest.raises(EngineError, match=r"a run that differs: the sources are others.*--accept-changes"):
        run(given)
    assert run(given, accept_changes=True).finished == COUNT + 1


def test_a_run_from_before_tokens_could_be_unknown_goes_on(desk):
    given = values(desk)
    run(given)
    expected, before = results(folder_of(given)), calls(folder_of(given))
    report = json.loads((folder_of(given) / "report.json").read_text())
    for path in [*(folder_of(given) / "stages").glob("*.jsonl"), folder_of(given) / "report.json"]:
        text = path.read_text()
        assert '"uncounted"' in text
        path.write_text(re.sub(r',\s*"uncounted": ?0', "", text))
        assert '"uncounted"' not in path.read_text()
    assert read_report(folder_of(given)).spent["captioner"] == Spent(**report["spent"]["captioner"])
    (folder_of(given) / "records.json").unlink()
    run(given)
    assert results(folder_of(given)) == expected
    assert calls(folder_of(given)) == before
    assert json.loads((folder_of(given) / "report.json").read_text())["spent"] == report["spent"]


# --- the command line ------------------------------------------------------------------------------------------------


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture
def written(desk):
    given = values(desk, annotator={"settings": {"bad": {"v0": "failure"}, "fixed": str(desk / "fixed")}})
    path = desk / "recipe.yaml"
    path.write_text(yaml.safe_dump(given))
    return path, folder_of(given)


def test_run_retry_and_plan_on_the_command_line(desk, written):
    path, folder = written
    planned = invoke("plan", path, "--json", "seed=4")
    assert planned.exit_code == 0, planned.output
    assert json.loads(planned.stdout)["sources"] == COUNT
    done = invoke("run", path, "seed=4")
    assert done.exit_code == 0, done.output
    assert "1 source(s) failed" in done.output
    (desk / "fixed").touch()
    again = invoke("retry", folder, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["finished"] == COUNT
    assert Counter(calls(folder)).most_common(2)[1][1] == 1
    assert "had failed" not in again.output
    third = invoke("retry", folder)
    assert third.exit_code == 0, third.output
    assert f"No source of {folder} had failed" in " ".join(third.output.split()).replace("- ", "-")


def test_what_is_wrong_is_said_and_exits_with_1(desk, written):
    path, folder = written
    for arguments, message in [
        (
            ("run", path, "annotator.batchsize=3"),
            "Unknown setting annotator.batchsize; did you mean annotator.batch_size?",
        ),
        (("run", "engine/detailled"), "did you mean 'engine/detailed'?"),
        (("run", path, "--max-cost", "1"), "is not known. Give it prices"),
        (("retry", folder), "holds no run.json"),
        (("plan", path, "source.files=[none.json]"), "none.json"),
        (("run", path, "benchmark.json"), "Cannot read the override 'benchmark.json'"),
    ]:
        result = invoke(*arguments)
        assert result.exit_code == 1, result.output
        assert message in result.output.replace("\n", " ").replace("  ", " ")


@pytest.mark.parametrize(("how", "code"), [("interrupt", 130), ("terminate", 143)])
def test_an_interruption_exits_with_its_number_and_the_run_goes_on(desk, how, code):
    whole = values(desk, "whole")
    run(whole)
    bad = {"bad": {"v1": how}, "fixed": str(desk / "fixed")}
    given = values(desk, annotator={"settings": bad})
    (desk / "recipe.yaml").write_text(yaml.safe_dump(given))
    result = invoke("run", desk / "recipe.yaml")
    assert result.exit_code == code
    assert "Interrupted. 0 of 4 sources are finished" in result.output
    (desk / "fixed").touch()
    before = calls(folder_of(given))
    result = invoke("run", desk / "recipe.yaml")
    assert result.exit_code == 0, result.output
    found, expected = results(folder_of(given)), results(folder_of(whole))
    assert all(found[name] == expected[name] for name in RESULTS if name != "provenance.jsonl")  # names the settings
    kept = Counter(before)["analyzer v0"]
    assert Counter(calls(folder_of(given)))["analyzer v0"] == kept == 1


def test_options_of_the_run_go_into_the_recipe(desk, written):
    path, _ = written
    shown = invoke("run", path, "--show", "--out", "elsewhere", "--exclude", "a.json", "--exclude", "b.json")
    assert shown.exit_code == 0, shown.output
    recipe = yaml.safe_load(shown.stdout)
    assert recipe["output"]["folder"] == "elsewhere"
    assert recipe["source"]["exclude"] == ["a.json", "b.json"]


def test_recipes_and_agents_are_listed():
    assert "engine/detailed" in invoke("list").stdout.splitlines()
    assert "refiner: chat" in invoke("agents").stdout
    assert not any(
        name.startswith("engine/") for name in CliRunner().invoke(app, ["train", "list"]).stdout.splitlines()
    )
    wrong = CliRunner().invoke(app, ["train", "run", "engine/detailed"])
    assert wrong.exit_code == 1
    assert "is for `videorefer data run`" in wrong.output.replace("\n", " ")


# --- recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.spread(5)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sed": 3}, "Unknown setting sed; did you mean seed?"),
        ({"annotator": {"backnd": "model"}}, r"Unknown setting annotator\.backnd; did you mean annotator\.backend\?"),
        ({"source": {"file": "a"}}, r"Unknown setting source\.file; did you mean source\.files\?"),
        ({"seed": "one"}, "seed"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": 2.5}, "seed"),
        ({"product": "long"}, "product must be one of 'short', 'detailed', 'qa', but is 'long'"),
        ({"annotator": None}, "'detailed' needs these stages: .*annotator missing"),
        ({"product": "short"}, "'short' needs these stages: analyzer, segmentor or none; .*refiner not used"),
        ({"product": "qa"}, "'qa' needs these stages: annotator, refiner; .*analyzer, segmentor.* not used"),
        ({"annotator": {"workers": 0}}, r"annotator\.workers must be a whole number \(int\) of at least 1"),
        ({"annotator": {"batch_size": 0}}, r"annotator\.batch_size must be"),
        ({"annotator": {"gpus": -1}}, r"annotator\.gpus must be"),
        ({"annotator": {"cpus": float("nan")}}, r"annotator\.cpus must be"),
        ({"annotator": {"backend": "modell"}}, r"annotator\.backend is 'modell'; expected one of .*model"),
        ({"annotator": {"backend": "tests.engine:CountingRefiner"}}, "is no annotator"),
        ({"annotator": {"backend": "tests.engine:Missing"}}, "cannot be imported"),
        (
            {"annotator": {"backend": ".engine:CountingAnnotator"}},
            r"cannot be imported from \.engine:CountingAnnotator",
        ),
        ({"annotator": {"backend": ":"}}, "cannot be imported from :"),
        ({"annotator": {"backend": "tests.engine:"}}, "cannot be imported"),
        ({"annotator": {"backend": "videorefer_plugin.data_engine.agent:Agent"}}, "Agent is no annotator"),
        (
            {"annotator": {"backend": "tests.test_engine_runs:UnfinishedAnnotator"}},
            "is not finished: it lacks identity",
        ),
        ({"annotator": {"backend": "tests.test_engine_runs:NoIdentity"}}, r"in JSON .*\(identity\): TypeError: .*set"),
        (
            {"annotator": {"settings": {"log": "calls.log", "bad": 3}}},
            r"The annotator '.*' cannot be made with its settings: TypeError: .*engine\.py",
        ),
        ({"annotator": {"settings": {"self": 1}}}, "has no setting 'self'; known are log"),
        ({"annotator": {"settings": {"verzion": 1}}}, "has no setting 'verzion'; did you mean version"),
        ({"annotator": 3}, "annotator is a section of settings, but 3 was given"),
        ({"source": None}, "source is a section of settings, but None was given"),
        ({"source": {"files": {"a": "b"}}}, r"source\.files must be a list, but is {'a': 'b'}"),
        ({"source": {"columns": ["video"]}}, r"source\.columns must be settings by name, but is \['video'\]"),
        ({"name": None}, "name cannot be null"),
        ({"name": "${name}"}, "name: Recursive"),
        ({"description": "???"}, "description is still to be given"),
        ({"executor": {"address": "auto"}}, "executor.address is 'auto', but executor.kind is 'local'"),
        ({"executor": {"kind": "slurm"}}, r"executor\.kind must be one of 'local', 'ray', but is 'slurm'"),
        ({"output": {"format": "csv"}}, r"output\.format must be one of"),
        ({"output": {"folder": " "}}, r"output\.folder is empty"),
        ({"source": {"files": [""]}}, r"source\.files\[0\] is empty"),
        ({"name": "${nothing}"}, "name: .*nothing"),
        ({"name": "half \ud800"}, "name is .* lone surrogate"),
    ],
)
def test_recipes_that_cannot_be_run_are_refused_before_anything(desk, change, message):
    given = values(desk)
    for name, value in change.items():
        given[name] = (
            {**given[name], **value} if isinstance(value, dict) and isinstance(given.get(name), dict) else value
        )
    with pytest.raises(VideoReferError, match=message):
        run(given)
    assert not (desk / "run" / "out").exists()


def test_values_may_refer_to_others(desk):
    given = values(desk)
    given["name"] = "a ${product} run"
    assert recipe_of(given).name == "a detailed run"
    recipe = recipe_of(given)
    assert recipe_of(recipe.to_dict()) == recipe


@pytest.mark.spread(2)
@pytest.mark.parametrize("text", ["costs \\${5} a piece", "\\${a", "a \\\\\\${b} \\\\", "$5 and {6}"])
def test_what_refers_to_nothing_stays_what_it_is(desk, text):
    given = values(desk)
    given["description"] = text
    recipe = recipe_of(given)
    assert recipe_of(recipe.to_dict()) == recipe
    run(given)
    again = RunFolder(folder_of(given)).recipe()
    assert again.description == recipe.description
    assert run_engine(again, retry=True).finished == COUNT


@pytest.mark.parametrize("opening", ["[{}]", "{{" + ", ".join(f"k{number}: {{}}" for number in range(9)) + "}}"])
def test_lists_of_lists_that_no_memory_holds_are_refused(tmp_path, opening):
    lines = ["a0: &a0 [x, x, x]"]
    for number in range(1, 10):
        one = opening.replace("[{}]", "[" + ", ".join(["{}"] * 9) + "]")
        lines.append(f"a{number}: &a{number} " + one.format(*[f"*a{number - 1}"] * 9))
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))
    for load in (load_engine_recipe, load_recipe):
        with pytest.raises(ConfigurationError, match="holds more than 100,000 values"):
            load(path)
    with pytest.raises(ConfigurationError, match="holds more than 100,000 values"):
        load_engine_recipe("engine/short", ["analyzer.settings=&a [*a]"])


def test_lists_and_settings_that_hold_nothing_are_as_if_left_out(desk):
    given = values(desk)
    given["source"] |= {"exclude": None, "columns": None, "language": None}
    assert recipe_of(given).source.exclude == []
    given["source"]["files"] = given["source"]["files"][0]
    assert run(given).finished == COUNT


def test_keys_that_stand_twice_are_refused(tmp_path):
    (tmp_path / "twice.yaml").write_text("seed: 1\nseed: 2\n")
    with pytest.raises(ConfigurationError, match="'seed' stands twice"):
        load_engine_recipe(tmp_path / "twice.yaml")


@pytest.mark.parametrize("name", list_engine_recipes())
def test_recipes_that_come_with_the_package_can_be_read(name, monkeypatch):
    text = (resources.files("videorefer_plugin.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
    header = "".join(line for line in text.splitlines(keepends=True) if line.startswith("#"))
    assert f"videorefer data run {name}" in header or "videorefer data demo" in header
    override = re.search(r"for instance (\S+=\S+?)[. ]*(?:$|\n| )", header)
    recipe = load_engine_recipe(name, [override[1].rstrip(".")] if override else [])
    assert recipe.name == name
    assert recipe.description
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for stage, settings in recipe.stages().items():  # settings are those that the agent takes
        assert make_agent(stage, settings.backend, settings.settings).stage == stage


def test_the_agents_of_the_paper_are_a_recipe():
    stages = load_engine_recipe("engine/detailed").stages()
    assert "Qwen2-7B-Instruct" in stages["analyzer"].settings["model"]
    assert "InternVL" in stages["annotator"].settings["checkpoint"]
    assert (stages["segmentor"].settings["finder"], stages["segmentor"].settings["follower"]) == (
        "grounding",
        "sam2_video",
    )
    assert "Qwen2-7B-Instruct" in stages["reviewer"].settings["model"]
    assert stages["refiner"].settings["model"] == "gpt-4o"
