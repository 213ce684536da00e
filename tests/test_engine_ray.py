"""Runs of the data engine on Ray: the same results as on this machine alone, whatever is killed, and no hanging."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import pytest

from tests.engine import calls, recipe_values, write_table
from tests.engine_kills import finished
from videorefer_plugin.data_engine.executors.ray import run_ray
from videorefer_plugin.data_engine.executors.ray_resources import check_cluster
from videorefer_plugin.data_engine.executors.ray_stage import finished_keys, finished_rows
from videorefer_plugin.data_engine.recipe import StageSettings, recipe_of
from videorefer_plugin.data_engine.runs import run_engine
from videorefer_plugin.data_engine.stage import StageSpec
from videorefer_plugin.errors import ConfigurationError, EngineError

STAGES = ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner")
COUNT = 6  # videos; the caption of v2 names nothing
RESULTS = ("records.json", "provenance.jsonl", "discarded.json", "dropped.jsonl", "failed.jsonl")
SECONDS = 300  # that a run of a few videos never needs, also on a busy machine

with_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


# --- what needs no Ray -----------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path):
    write_table(tmp_path / "data", COUNT, {2: "Nothing at all."})
    return tmp_path


def values(desk, name="run", executor="ray", **stages):
    """A recipe whose run lies in a folder of its own, with its own log."""
    (desk / name).mkdir(exist_ok=True)
    given = recipe_values(desk / name / "out", desk / "data" / "table.json", **stages)
    return {**given, "executor": {"kind": executor}}


def folder_of(given):
    return Path(given["output"]["folder"])


def test_without_ray_a_run_is_refused_before_any_work(desk, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    given = values(desk)
    with pytest.raises(ConfigurationError, match=r"pip install 'videorefer-plugin\[ray\]'"):
        run_engine(recipe_of(given))
    assert not folder_of(given).exists()
    assert calls(folder_of(given)) == []


def check(nodes, free=None, **wanted):
    """Check stages, each given as (workers, cpus, gpus), against nodes, each given as (CPUs, GPUs)."""
    specs = [StageSpec(stage, "x", "key", "folder") for stage in wanted]
    settings = {
        stage: StageSettings("x", workers=workers, cpus=cpus, gpus=gpus)
        for stage, (workers, cpus, gpus) in wanted.items()
    }
    have = [{"CPU": float(cpus), "GPU": float(gpus), "memory": 1e9} for cpus, gpus in nodes]
    whole = {unit: sum(node[unit] for node in have) for unit in ("CPU", "GPU")}
    check_cluster(specs, settings, have, whole if free is None else dict(zip(("CPU", "GPU"), free, strict=True)))


@pytest.mark.parametrize(
    ("nodes", "wanted"),
    [
        ([(3, 0)], {"analyzer": (1, 1, 0), "segmentor": (1, 1, 0)}),
        ([(2, 0)], {"analyzer": (10, 0.1, 0)}),  # ten tenths make one
        ([(1, 0)], {"analyzer": (1, 0, 0)}),
        ([(4, 1)], {"segmentor": (2, 1, 0.5), "annotator": (1, 1, 0)}),
        ([(2, 0), (2, 1)], {"segmentor": (1, 2, 1), "analyzer": (1, 1, 0)}),
        ([(4, 2), (4, 2)], {"segmentor": (2, 1, 1), "annotator": (1, 1, 2)}),
    ],
)
def test_what_has_room_on_a_cluster_is_let_through(nodes, wanted):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(nodes, **wanted)


@pytest.mark.parametrize(
    ("nodes", "wanted", "message"),
    [
        (  # Ray would wait for ever for the CPU that reads
            [(2, 0)],
            {"analyzer": (2, 0.5, 0), "segmentor": (1, 0.5, 0)},
            r"take 1.5 CPUs \(analyzer 2 x 0.5 \+ segmentor 1 x 0.5\), and reading takes 1 more; .* has 2 CPUs. Lower",
        ),
        (
            [(8, 1)],
            {"segmentor": (2, 1, 1)},
            r"take 2 GPUs \(segmentor 2 x 1\); the Ray cluster has 1 GPUs. Lower .*gpu",
        ),
        ([(8, 0)], {"segmentor": (1, 1, 0.25)}, r"take 0.25 GPUs .* has 0 GPUs"),
        (
            [(4, 1), (4, 1)],
            {"annotator": (1, 1, 2)},
            r"No node .* a worker of the annotator, which takes 1 CPUs and 2 G",
        ),
        ([(4, 0), (4, 0)], {"annotator": (1, 6, 0)}, r"No node .* which takes 6 CPUs .*4 and 0; 4 and 0"),
        (
            [(3, 0)] * 3,
            {"annotator": (4, 2, 0)},
            r"No node .* a worker of the annotator",
        ),  # 8 of 9 CPUs, but 2 of each 3
        ([(2, 0), (2, 0)], {"annotator": (2, 1.5, 0)}, r"No node .* reading, which takes 1 CPUs"),
    ],
)
def test_what_ray_would_wait_for_without_a_word_is_refused(nodes, wanted, message):
    with pytest.raises(EngineError, match=message):
        check(nodes, **wanted)


def test_a_cluster_that_others_use_is_waited_for_with_a_warning():
    with pytest.warns(UserWarning, match=r"of the 4 CPUs of the Ray cluster, 1 are free now"):
        check([(4, 0)], free=(1, 0), analyzer=(1, 1, 0))


def test_what_a_killed_worker_had_finished_is_found_in_its_ledger(tmp_path):
    spec = StageSpec("annotator", "x", "key", str(tmp_path))

    def line(key, **more):
        return (
            json.dumps({"id": "v", "stage": "annotator", "key": key, "from": "00", **more}, separators=(",", ":"))
            + "\n"
        )

    quoted = '"stage":"annotator","key":"dd","from":"00","objects":'  # inside a text it is escaped
    first = json.dumps({"ledger": {"stage": "annotator"}}) + "\n" + line("aa", objects=[{"made": {"text": quoted}}])
    (tmp_path / "annotator-a.jsonl").write_text(first + line("bb", failed={"kind": "video", "reason": "no"}))
    (tmp_path / "annotator-b.jsonl").write_text(line("cc", objects=[]) + line("ee", objects=[])[:-1])
    (tmp_path / "refiner-c.jsonl").write_text(line("ff", objects=[]))
    assert finished_keys(spec) == {("aa", "00"), ("cc", "00")}
    assert [row["objects"] for row in finished_rows(spec, {("cc", "00"), ("ee", "00")})] == [[]]


# --- on Ray ----------------------------------------------------------------------------------------------------------


def results(folder):
    """The files of results, without what depends on the clock."""
    return {name: (folder / name).read_text().replace(str(folder), "") for name in RESULTS}


@pytest.fixture
def whole(desk):
    """The results of a run on this machine alone that nothing stopped."""
    given = values(desk, "whole", "local")
    assert run_engine(recipe_of(given)).finished == COUNT
    return results(folder_of(given))


def start(desk, given):
    """A process that does the run, whose children can be told by a word in their environment."""
    path = desk / "recipe.json"
    path.write_text(json.dumps(given))
    program = (
        "import json, os, sys; from videorefer_plugin.data_engine.recipe import recipe_of;"
        "from videorefer_plugin.data_engine.runs import run_engine;"
        "os.environ['RUN_PID'] = str(os.getpid());"
        "run_engine(recipe_of(json.load(open(sys.argv[1]))))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.getcwd(), "HF_HUB_OFFLINE": "1", "RUN_WORD": str(desk)},
    )


def processes(desk):
    """What was started for a test and is still there, its driver included."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"RUN_WORD={desk}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
        except OSError:  # it has just ended, or is another user's
            continue
    return found


def all_end(desk):
    limit = time.monotonic() + SECONDS  # Ray takes its time on a busy machine
    while processes(desk) and time.monotonic() < limit:
        time.sleep(0.5)
    return processes(desk) == []


@with_ray
@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [{}, {"annotator": {"workers": 2, "batch_size": 2, "cpus": 0.5}, "refiner": {"batch_size": 4, "cpus": 0}}],
    ids=["one-by-one", "batches"],
)
def test_records_are_those_of_the_local_executor(desk, whole, stages):
    given = values(desk, **stages)
    process = start(desk, given)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert results(folder_of(given)) == whole
    done = Counter(calls(folder_of(given)))
    assert len(done) == sum(done.values()) == COUNT + 5 * (COUNT - 1)
    # Ray says next to nothing, and leaves nothing behind.
    assert out == ""
    assert len(err.splitlines()) <= 3
    assert {path.suffix for path in (folder_of(given) / "stages").iterdir()} == {".jsonl"}
    assert all_end(desk)


@with_ray
@pytest.mark.slow
def test_kills_of_the_driver_lose_and_repeat_nothing_that_was_finished(desk, whole):
    given = values(desk)
    before = 0
    for kill_at in (4, 20):
        for stage in STAGES:
            given[stage]["settings"]["kill_at"] = kill_at
        had = set(finished(folder_of(given)))
        process = start(desk, given)
        _, err = process.communicate(timeout=SECONDS)
        assert process.returncode == -9, err
        assert all_end(desk)  # the cluster has died with its driver
        log = calls(folder_of(given))
        assert not had & set(log[before:])
        before = len(log)
        assert had <= set(finished(folder_of(given)))
    for stage in STAGES:
        del given[stage]["settings"]["kill_at"]
    had = set(finished(folder_of(given)))
    assert 0 < len(had) < COUNT + 5 * (COUNT - 1)
    process = start(desk, given)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert not had & set(calls(folder_of(given))[before:])
    assert results(folder_of(given)) == whole


@with_ray
@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced_and_repeats_one_batch(desk, whole):
    """v3 kills its annotator until a file is there, which the test writes after the first time."""
    given = values(desk, annotator={"settings": {"bad": {"v3": "kill"}, "fixed": str(desk / "fixed")}})
    process = start(desk, given)
    limit = time.monotonic() + SECONDS
    while "annotator v3" not in calls(folder_of(given)) and time.monotonic() < limit:
        time.sleep(0.05)
    (desk / "fixed").touch()
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert results(folder_of(given)) == whole
    repeated = {name: times for name, times in Counter(calls(folder_of(given))).items() if times > 1}
    assert repeated == {"annotator v3": 2}


@with_ray
@pytest.mark.slow
def test_a_video_that_no_worker_survives_is_a_dead_letter(desk):
    given = values(desk, annotator={"settings": {"bad": {"v3": "kill"}}})
    process = start(desk, given)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    (dead,) = [json.loads(line) for line in (folder_of(given) / "failed.jsonl").read_text().splitlines()]
    assert (dead["id"], dead["stage"], dead["kind"]) == ("v3", "annotator", "worker")
    assert "3 workers died" in dead["reason"]
    repeated = {name: times for name, times in Counter(calls(folder_of(given))).items() if times > 1}
    assert repeated == {"annotator v3": 3}


@pytest.fixture(scope="module")
def cluster():
    """A connection that this process has already, which runs use and leave as it is."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["PYTHONPATH"] = os.getcwd()
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "settings", "error", "message"),
    [
        ("annotator", {"bad": {"v3": "fatal"}}, EngineError, "The endpoint refuses the key."),
        ("segmentor", {"bad": {"v1": "few"}}, EngineError, "was given 1 video(s) and returned 0 result(s)"),
    ],
)
def test_what_no_other_video_would_fare_better_with_stops_the_run(cluster, desk, stage, settings, error, message):
    given = values(desk, **{stage: {"settings": settings}})
    with pytest.raises(error) as raised:
        run_engine(recipe_of(given))
    assert type(raised.value) is error
    assert message in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1
    assert cluster.is_initialized()
    given[stage]["settings"]["fixed"] = str(desk / "data")
    assert run_engine(recipe_of(given)).finished == COUNT


@pytest.mark.slow
def test_an_agent_that_workers_cannot_make_is_said_as_here(cluster, tmp_path):
    specs = [StageSpec("analyzer", "no.such.module:Class", "key", str(tmp_path / "stages"))]
    with pytest.raises(ConfigurationError, match=r"'no.such.module:Class' cannot be imported"):
        run_ray(specs, {"analyzer": StageSettings("x")}, _states(3), print, lambda: False)


@pytest.mark.slow
def test_a_highest_cost_stops_it_before_all_is_done(cluster, tmp_path):
    write_table(tmp_path / "data", 40)
    dear = {stage: {"settings": {"cost": 1.0, "prices": [1, 1], "seconds": 0.2}} for stage in STAGES}
    given = values(tmp_path, **dear)
    report = run_engine(recipe_of(given), max_cost=20)
    assert "at most 20 was allowed" in report.stopped
    assert report.left > 0
    done = finished(folder_of(given))
    assert sorted(done) == sorted(calls(folder_of(given)))  # what was begun was finished
    assert 20 <= report.cost == len(done) < 240


@pytest.mark.slow
def test_more_than_the_cluster_has_is_refused_at_once(cluster, desk):
    given = values(desk, annotator={"workers": 3})
    with pytest.raises(EngineError, match=r"annotator 3 x 1 .* the Ray cluster has 8 CPUs. Lower workers or cpus"):
        run_engine(recipe_of(given))
    assert calls(folder_of(given)) == []


@with_ray
@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_named(desk):
    given = values(desk)
    given["executor"]["address"] = "127.0.0.1:1"
    process = start(desk, given)
    _, err = process.communicate(timeout=SECONDS)
    assert "EngineError: No Ray cluster answers at '127.0.0.1:1'" in err


def _states(count):
    from videorefer_plugin.data_engine.items import Source
    from videorefer_plugin.data_engine.state import State

    return [State(Source(f"v{number}", f"v{number}.mp4", "Cats."), 0, {}, number) for number in range(count)]
