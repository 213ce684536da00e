"""lmms-eval: it finds the model and the tasks, and gives the answers and the accuracy of the direct way."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests.bench_data import Parrot, read_items, task_functions, write_benchmark
from tests.conftest import CHECKPOINT
from tests.training_runs import ROOT
from videorefer_plugin.bench import benchmark_of
from videorefer_plugin.bench.evaluate import evaluate
from videorefer_plugin.bench.general import general_command, general_results
from videorefer_plugin.bench.judges import RuleJudge
from videorefer_plugin.bench.lmms.documents import documents_of
from videorefer_plugin.bench.lmms.tasks import write_tasks
from videorefer_plugin.cli import app
from videorefer_plugin.errors import BenchError

needs_lmms = pytest.mark.skipif(importlib.util.find_spec("lmms_eval") is None, reason="lmms-eval is not installed")


def test_the_command_names_model_and_tasks(tmp_path):
    command = general_command(
        "a/model", ["mvbench"], out=tmp_path, model_args={"num_frames": 8, "object_encoder": None}
    )
    options = dict(zip(command[3::2], command[4::2], strict=False))
    assert options["--model"] == "videorefer"
    assert options["--model_args"] == "pretrained=a/model,num_frames=8"
    assert options["--include_path"] == str(tmp_path / "tasks")
    assert (tmp_path / "tasks" / "videorefer_bench_q" / "videorefer_bench_q.yaml").is_file()
    assert options["--tasks"] == "mvbench"
    with pytest.raises(BenchError, match="comma"):
        general_command("a,b", out=tmp_path)


def test_a_dry_run_prints_the_command_with_options_passed_on(tmp_path):
    arguments = ["bench", "general", "--model", "m", "--out", str(tmp_path), "--dry-run", "--verbosity", "DEBUG"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    for part in ("perceptiontest_val_mc,mvbench,videomme,videomme_w_subtitle", "--include_path", "--verbosity DEBUG"):
        assert part in result.output


@pytest.mark.skipif(importlib.util.find_spec("lmms_eval") is not None, reason="lmms-eval is installed")
def test_without_lmms_eval_the_remedy_is_said(tmp_path):
    result = CliRunner().invoke(app, ["bench", "general", "--model", "m", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert "videorefer-plugin[lmms-eval]" in result.output


def test_tasks_and_direct_runs_have_the_same_limit_of_tokens(tmp_path):
    folder = write_tasks(tmp_path)

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: node.value)
    names = {"q": "videorefer_bench_q", "d": "videorefer_bench_d", "captions": "hc_stvg_captions"}
    for benchmark, task in names.items():
        settings = yaml.load((folder / task / f"{task}.yaml").read_text(), Loader)
        assert settings["task"] == task
        assert settings["generation_kwargs"] == {
            "max_new_tokens": benchmark_of(benchmark).max_new_tokens,
            "do_sample": False,
        }
        assert (folder / task / settings["dataset_kwargs"]["data_files"]["test"]).is_file()


@pytest.mark.parametrize(("name", "variable"), [("q", "VIDEOREFER_BENCH_Q"), ("d", "VIDEOREFER_BENCH_D")])
def test_the_figures_of_a_task_are_those_of_a_direct_run(tmp_path, monkeypatch, name, variable):
    data = write_benchmark(tmp_path) / f"bench_{name}.json"
    monkeypatch.setenv(variable, str(data))
    monkeypatch.setenv("VIDEOREFER_JUDGE", "rule")
    benchmark = benchmark_of(name)
    utils = task_functions(write_tasks(tmp_path / "tasks") / benchmark.task.name)
    answers = {one["id"]: one.get("caption", "(A) it is so") for one in read_items(data)}
    cells = [utils.results(document, [answers[document["id"]]]) for document in documents_of(name)]

    class Says(Parrot):
        def answer(self, items, mode):
            return [answers[item.id] for item in items]

    judge = RuleJudge() if benchmark.judges else None
    direct = benchmark.figures(evaluate(name, data, Says(), tmp_path / "out", judge=judge)["scores"])
    for place, figure in enumerate(benchmark.task.figures):
        values = [cell[figure] for cell in cells]
        found = sum(values) / len(values) if benchmark.task.by_item else getattr(utils, f"figure_{place}")(values)
        assert found == pytest.approx(direct[figure]), figure


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "q.json"], "expected NAME=FILE"),
        (["--data", "other=q.json"], "'other' is not a benchmark with a task: expected one of q, d, captions"),
        (["--options", "[1]"], "expected them by benchmark"),
        (["--options", "{"], "no JSON"),
        (["--options", '{"q": {"kinds": []}}'], "has no option 'kinds': it has types"),
        (["--options", '{"other": {}}'], "unknown benchmark 'other'"),
    ],
)
def test_settings_of_tasks_that_are_none(tmp_path, arguments, said):
    command = ["bench", "general", "--model", "m", "--out", str(tmp_path), *arguments]
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, command)
    assert result.exit_code == 1
    assert said in result.stderr


def test_the_embedded_model_is_a_folder_for_lmms_eval(tmp_path):
    arguments = ["bench", "general", "--model", "embedded", "--out", str(tmp_path), "--dry-run"]
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert f"pretrained={vr.tiny_checkpoint()} " in result.output


@needs_lmms
def test_lmms_eval_finds_model_and_tasks_and_answers_with_the_embedded_model(tmp_path):
    data = write_benchmark(tmp_path / "data") / "bench_q.json"
    tasks = write_tasks(tmp_path / "tasks")
    from lmms_eval.models import get_model
    from lmms_eval.tasks import TaskManager

    assert get_model("videorefer").__module__ == "videorefer_plugin.bench.lmms.model"
    named = {benchmark_of(name).task.name for name in ("q", "d", "captions")}
    assert named <= set(TaskManager(include_path=str(tasks), include_defaults=False).all_tasks)
    command = [sys.executable, "-m", "lmms_eval", "--model", "videorefer", "--model_args", "pretrained=embedded"]
    command += ["--tasks", "videorefer_bench_q", "--include_path", str(tasks), "--limit", "3"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    environment["VIDEOREFER_BENCH_Q"] = str(data)
    out = tmp_path / "out"
    done = subprocess.run([*command, "--output_path", str(out)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert set(general_results(out)["videorefer_bench_q"]) >= set(benchmark_of("q").task.figures)


@needs_lmms
@pytest.mark.slow
def test_the_same_answers_and_the_same_accuracy_item_by_item(tmp_path):
    bench = write_benchmark(tmp_path / "data")
    data, out = bench / "bench_q.json", tmp_path / "lmms"
    command = [sys.executable, "-m", "videorefer_plugin.cli", "bench", "general", "--model", str(CHECKPOINT)]
    command += ["--out", str(out), "--tasks", "videorefer_bench_q,videorefer_bench_d", "--batch-size", "3"]
    command += ["--data-q", str(data), "--data-d", str(bench / "bench_d.json"), "--judge", "rule"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    samples = [
        json.loads(line)
        for path in out.rglob("*samples_videorefer_bench_q.jsonl")
        for line in path.open(encoding="utf-8")
    ]
    found = {sample["doc_id"]: sample for sample in samples}

    direct = ["bench", "q", str(data), "--model", str(CHECKPOINT), "--out", str(tmp_path / "direct")]
    result = CliRunner().invoke(app, [*direct, "--batch-size", "3"])
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "direct" / "results").glob("q-*.json")
    scores = json.loads(path.read_text())["scores"]
    assert len(found) == len(scores["items"]) == 10
    for number, row in enumerate(scores["items"]):
        assert found[number]["filtered_resps"] == row["prediction"]
        assert found[number]["accuracy"] == row["correct"]["compatible"]
        assert found[number]["strict_accuracy"] == row["correct"]["strict"]
    results = general_results(out)
    for metric, reader in (("accuracy", "compatible"), ("strict_accuracy", "strict")):
        assert results["videorefer_bench_q"][metric] == scores["tables"][reader]["overall"]["accuracy"]

    arguments = ["bench", "d", str(bench / "bench_d.json"), "--model", str(CHECKPOINT), "--judge", "rule"]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "direct"), "--batch-size", "3"])
    assert result.exit_code == 0, result.output
    (path,) = (tmp_path / "direct" / "results").glob("d-*.json")
    described = json.loads(path.read_text())["scores"]
    for code, cell in described["dimensions"].items():
        assert results["videorefer_bench_d"][code] == pytest.approx(cell["mean"])
    report = CliRunner().invoke(app, ["bench", "report", str(out), "--out", str(tmp_path / "report.md")])
    assert report.exit_code == 0, report.output
    assert "| videorefer_bench_q | accuracy |" in (tmp_path / "report.md").read_text()
