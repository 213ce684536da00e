"""Reports: every figure is somebody's, and the paper's are marked as such."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.bench_data import Parrot, write_benchmark
from videorefer_plugin.bench import RuleJudge, evaluate_descriptions, evaluate_questions, find_results, write_report
from videorefer_plugin.bench.paper import BENCH_D, BENCH_Q, CAPTIONS, GENERAL
from videorefer_plugin.bench.report import summary
from videorefer_plugin.cli import app
from videorefer_plugin.errors import BenchError


class Knows(Parrot):
    """Answers every question rightly, but in two ways that only one reader understands."""

    def answer(self, items, mode):
        return [f"the answer is {item.answer[1]}" for item in items]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    bench = write_benchmark(folder / "data")
    for mode in ("single", "multi"):
        evaluate_questions(bench / "bench_q.json", Knows(), folder / "out", mode=mode, name="Knows it")
    evaluate_descriptions(bench / "bench_d.json", Parrot(), RuleJudge(), folder / "out", mode="multi")
    return folder / "out"


def cells(text, start):
    """The table rows that begin so."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(f"| {start}")]


@pytest.fixture(scope="module")
def report(out):
    return write_report(find_results([out]), out / "r" / "report.md")


@pytest.mark.slow
def test_report(report):
    text, picture = report[0].read_text(), report[1]
    strict = [row for row in cells(text, "Knows it") if row[1] == "strict"]
    assert len(strict) == 2
    assert all(cell.startswith("100.0 (") for row in strict for cell in row[2:])
    assert "the two readers differ on 10" in text
    (described,) = cells(text, "parrot")
    assert described[1:3] == ["rules of the shapes world", "5.00 (5.00-5.00)"]
    assert f"prompt {RuleJudge().settings()['prompt_hash']}" in text
    assert f"![results]({picture.name})" in text
    pixels = np.asarray(Image.open(picture).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_the_papers_rows_are_marked_and_quoted_rightly(report):
    text = report[0].read_text()
    assert "quoted from arXiv 2501.00599" in text
    assert cells(text, "*paper*: VideoRefer-7B, single-frame")[0][2:8] == [
        "75.4",
        "68.6",
        "59.3",
        "89.4",
        "78.1",
        "71.9",
    ]
    # Descriptions were made in multi-frame mode, so these rows are the paper's of that mode.
    (row,) = [row for row in cells(text, "*paper*: VideoRefer-7B, multi-frame") if row[1] == "GPT-4o"]
    assert row[2:7] == ["4.44", "3.27", "3.10", "3.04", "3.46"]
    for line in text.splitlines():
        if re.match(r"\| .*(Qwen2-VL|GPT-4o|VideoRefer-7B)", line):
            assert line.startswith("| *paper*: ")


def test_the_papers_averages_follow_from_its_figures():
    """A slip of the pen in copying would show. The averages of Bench-Q are over questions, so they lie in between."""
    for row in BENCH_D:
        mean = sum(row.values[code] for code in ("SC", "AD", "TD", "HD")) / 4
        assert row.values["average"] == pytest.approx(mean, abs=0.011), row
    for row in BENCH_Q:
        kinds = [value for kind, value in row.values.items() if kind != "overall"]
        assert min(kinds) < row.values["overall"] or row.mode == "multi"
    assert len(CAPTIONS) == 3
    assert len(GENERAL) == 4


def test_incomplete_results_say_so(out, tmp_path):
    (result,) = [r for r in find_results([out]) if r["benchmark"] == "q" and r["settings"]["mode"] == "single"]
    result |= {"answered": 7, "failed": {"x/1": "it broke"}}
    text = write_report([result], tmp_path / "report.md")[0].read_text()
    assert "7 of 10 items answered" in summary(result)
    assert "**incomplete**, 7 of 10 items answered" in text
    assert "item x/1 failed: it broke" in text


def test_command_line(out, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["bench", "report", str(out)])
    assert result.exit_code == 0, result.output
    assert result.output.split() == ["report.md", "report.png"]
    empty = CliRunner().invoke(app, ["bench", "report", str(tmp_path)])
    assert empty.exit_code == 1
    assert "has no results" in " ".join(empty.output.split())


def test_files_that_are_no_results(tmp_path):
    for text in ("{}", "[]", "junk", json.dumps({"benchmark": "z"})):
        (tmp_path / "r.json").write_text(text)
        with pytest.raises(BenchError, match=r"r\.json is (not a|a) result"):
            find_results([tmp_path / "r.json"])


def test_fetch_says_what_belongs_where_and_downloads_nothing(tmp_path):
    said = CliRunner().invoke(app, ["bench", "fetch"])
    assert said.exit_code == 0
    for part in ("VideoRefer-Bench-Q.json", "DAVIS/JPEGImages/480p", "Panda-70M-part", "HC-STVG"):
        assert part in said.output
    checked = CliRunner().invoke(app, ["bench", "fetch", str(tmp_path), "--benchmark", "d"])
    assert checked.exit_code == 1
    assert "missing: VideoRefer-Bench-D.json" in checked.output
    assert not list(Path(tmp_path).iterdir())
