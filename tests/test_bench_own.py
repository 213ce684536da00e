"""A benchmark of one's own: the shortest class, registered in one line, is a command, a report and a task."""

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from tests.bench_data import Parrot, change_item, read_items, task_functions, write_benchmark
from videorefer_plugin.bench import benchmark_of, evaluate_questions, find_results, register_benchmark
from videorefer_plugin.bench.benchmarks import registry
from videorefer_plugin.bench.benchmarks.base import Benchmark, Layout, Task
from videorefer_plugin.bench.benchmarks.questions import Questions
from videorefer_plugin.bench.evaluate import evaluate
from videorefer_plugin.bench.judges import RuleJudge
from videorefer_plugin.bench.layouts import layouts
from videorefer_plugin.bench.lmms.documents import documents_of
from videorefer_plugin.bench.lmms.tasks import write_tasks
from videorefer_plugin.bench.reading import Item, text_of
from videorefer_plugin.bench.report import summary, write_report
from videorefer_plugin.bench.tables import cell, label, remarks, table
from videorefer_plugin.cli import app
from videorefer_plugin.errors import BenchError, ConfigurationError

NAME = "words"


@dataclass(frozen=True)
class WordItem(Item):
    caption: str = ""

    @property
    def prompt(self):
        return "Name <region> in one word."


@dataclass(frozen=True)
class Words(Benchmark[WordItem]):
    name: ClassVar[str] = NAME
    title: ClassVar[str] = "Words"
    about: ClassVar[str] = "Words of an answer that the true one has."
    layout: ClassVar[Layout] = Layout("Words", "words.json", (), ".", "nowhere")
    task: ClassVar[Task] = Task("own_words", "OWN_WORDS", {"words": True})

    least: int = field(default=1, metadata={"help": "Letters of the shortest word that counts."})
    case: str = field(default="any", metadata={"help": "Letters compared.", "choices": ("any", "same")})
    leave: tuple[str, ...] = field(default=(), metadata={"help": "A word that does not count."})
    once: bool = field(default=False, metadata={"help": "Count a word once."})

    def item(self, value, common):
        return WordItem(**common, caption=text_of(value, "caption", common))

    def score(self, items, answers, replies):
        shared = [self._words(item.caption) & self._words(answers.get(item.id, "")) for item in items]
        return {"words": sum(map(len, shared)) / len(items)}

    def _words(self, text):
        words = text.split() if self.case == "same" else text.lower().split()
        return {word for word in words if len(word) >= self.least and word not in self.leave}

    def figures(self, scores):
        return {"words": scores["words"]}

    def summary(self, result):
        return [f"words: {cell(result['scores']['words'])}"]

    def section(self, results):
        rows = [[label(result), cell(result["scores"]["words"])] for result in results]
        return [*table(["model", "words"], rows), "", *(line for result in results for line in remarks(result))]


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setattr(registry, "_PATHS", dict(registry._PATHS))
    monkeypatch.setattr(registry, "_LOADED", dict(registry._LOADED))
    register_benchmark(NAME, f"{__name__}:Words")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bench"))


def run(*arguments):
    return CliRunner(env={"COLUMNS": "1000"}).invoke(app, ["bench", *map(str, arguments)])


def test_it_is_a_command_with_its_options(bench, tmp_path):
    listed, said = run("--help").output, run(NAME, "--help").output
    assert f"{NAME} " in listed
    for part in (Words.about, "--least", "--case", "<any|same>", "--leave", "--once", "Letters of the shortest"):
        assert part in said
    arguments = (bench / "bench_d.json", "--model", "embedded", "--out", tmp_path, "--limit", 2)
    options = ("--least", 3, "--case", "same", "--leave", "the", "--leave", "and", "--once", "--max-new-tokens", 4)
    result = run(NAME, *arguments, *options)
    assert result.exit_code == 0, result.output
    assert "Words: checkpoint, regions, single-frame: 2 of 2 items answered" in result.output
    (found,) = find_results([tmp_path])
    assert found["settings"]["options"] == {"least": 3, "case": "same", "leave": ["the", "and"], "once": True}
    assert benchmark_of(NAME).of(found) == Words(3, "same", ("the", "and"), True)
    assert run(NAME, *arguments, "--case", "other").exit_code == 2


def test_it_is_evaluated_reported_and_laid_out(bench, tmp_path):
    plain, long = (evaluate(own, bench / "bench_d.json", Parrot(), tmp_path / "out") for own in (NAME, Words(least=5)))
    assert plain["scores"]["words"] > long["scores"]["words"] > 0
    assert plain["path"] != long["path"]
    assert "words: " in summary(plain)
    text = write_report(find_results([tmp_path / "out"]), tmp_path / "r.md")[0].read_text()
    assert "## Words\n\n| model | words |" in text
    assert layouts()[NAME].file == "words.json"
    assert "videorefer bench words FOLDER/words.json" in run("fetch", "--benchmark", NAME).output


def test_it_is_a_task_of_lmms_eval(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("OWN_WORDS", str(bench / "bench_d.json"))
    monkeypatch.setenv("VIDEOREFER_BENCH_OPTIONS", json.dumps({NAME: {"least": 2}}))
    utils = task_functions(write_tasks(tmp_path) / "own_words")
    documents = documents_of(NAME)
    captions = {item["id"]: item["caption"] for item in read_items(bench / "bench_d.json")}
    assert [one["id"] for one in documents] == list(captions)
    cells = [utils.results(one, [captions[one["id"]]])["words"] for one in documents]
    direct = evaluate(Words(least=2), bench / "bench_d.json", Parrot(), tmp_path / "out")
    assert utils.figure_0(cells) == direct["scores"]["words"]
    assert utils.text(documents[0]) == "Name <region> in one word."
    assert len(utils.visual(documents[0])[0].regions) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"least": "three"}, "expected a whole number"),
        ({"least": True}, "expected a whole number"),
        ({"case": "other"}, "expected one of any, same"),
        ({"leave": "the"}, "expected a list"),
        ({"leave": [1]}, "expected a text"),
        ({"once": 1}, "expected true or false"),
        ({"other": 1}, "has no option 'other': it has least, case, leave, once"),
    ],
)
def test_values_that_cannot_be_options(options, said):
    with pytest.raises(BenchError) as caught:
        Words().with_options(options)
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["Words", "", "two words", "../q", "report", "general"])
def test_names_that_cannot_be_those_of_benchmarks(name):
    with pytest.raises(ConfigurationError):
        register_benchmark(name, f"{__name__}:Words")


@pytest.mark.parametrize("path", ["nowhere:Words", f"{__name__}:Other", f"{__name__}:Words", "json:JSONDecoder"])
def test_a_benchmark_that_cannot_be_made_is_said_by_its_command(path):
    register_benchmark("broken", path)
    result = run("broken", "--help")
    assert result.exit_code == 1
    assert "broken" in result.output or path in result.output


@dataclass(frozen=True)
class Clash(Words):
    """Has a field that the command has, too."""

    name: ClassVar[str] = "clash"
    limit: int = 3


def test_a_field_takes_over_no_option_of_the_command_and_hides_no_other_benchmark(bench, tmp_path):
    register_benchmark("clash", f"{__name__}:Clash")
    found = CliRunner().invoke(app, ["bench", "clash", "--help"])
    assert found.exit_code == 1
    assert "has a field 'limit'" in " ".join(found.stderr.split())
    found = CliRunner().invoke(app, ["bench", "--help"], env={"COLUMNS": "200"})
    assert found.exit_code == 0
    assert "has a field 'limit'" in found.stdout
    assert "multiple-choice questions about objects" in found.stdout


@pytest.mark.parametrize("path", [":X", ".a:X", None, "a:b:c", "a b:C", "a.b"])
def test_paths_that_cannot_be_those_of_classes(path):
    with pytest.raises(ConfigurationError, match=r"expected 'package\.module:Class'"):
        register_benchmark("nowhere", path)


def test_options_are_checked_in_python_too(bench, tmp_path):
    with pytest.raises(BenchError, match="--types is 'Color': expected a list"):
        evaluate(Questions(types="Color"), bench / "bench_q.json", Parrot(), tmp_path)


def test_dollars_in_names_are_drawn_as_they_are(bench, tmp_path):
    result = evaluate("q", bench / "bench_q.json", Letters(), tmp_path, name=r"a $\foo$ of $^$")
    assert [path.suffix for path in write_report([result], tmp_path / "r.md")] == [".md", ".png"]


def test_the_command_line_waits_for_no_benchmark():
    code = "import sys; from videorefer_plugin.cli import app; app(['--help'], standalone_mode=False); "
    code += "print([name for name in sys.modules if name == 'torch' or 'plugin.bench.' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- items that cannot be used, and types of one's own ---------------------------------------------------------------


class Letters(Parrot):
    """Answers questions rightly, by a letter alone or in words."""

    def __init__(self, words=False):
        super().__init__()
        self.words, self.asked = words, 0

    def settings(self):
        return {**super().settings(), "words": self.words}

    def answer(self, items, mode):
        self.asked += len(items)
        return [f"The answer is {item.answer[1]}" if self.words else item.answer[1] for item in items]


def test_items_that_cannot_be_used_are_left_out_counted_and_share_the_answers_of_others(bench, tmp_path):
    media = tmp_path / "media"
    data = tmp_path / "q.json"
    items = read_items(bench / "bench_q.json")
    data.write_text(json.dumps(items))
    media.mkdir()
    for video in {item["video"] for item in items}:
        (media / video).parent.mkdir(parents=True, exist_ok=True)
        (media / video).write_bytes((bench / video).read_bytes())
    one = items[0]["video"]
    bad = [item["id"] for item in items if item["video"] == one]
    (media / one).rename(tmp_path / "away")
    with pytest.raises(BenchError, match=rf"{len(bad)} of 10 item\(s\)"):
        evaluate_questions(data, Letters(), tmp_path / "out", media_root=media)
    part = evaluate_questions(data, Letters(), tmp_path / "out", media_root=media, on_bad_item="skip")
    assert (part["items"], len(part["skipped"])) == (10 - len(bad), len(bad))
    assert f"do not count: {len(bad)}" in summary(part)
    assert "not used" in write_report([part], tmp_path / "r.md")[0].read_text()
    (tmp_path / "away").rename(media / one)
    rest = Letters()
    assert evaluate_questions(data, rest, tmp_path / "out", media_root=media)["items"] == 10
    assert rest.asked == len(bad)
    (media / one).unlink()  # answers to what is left out now are no damage
    again = Letters()
    evaluate_questions(data, again, tmp_path / "out", media_root=media, on_bad_item="skip")
    assert again.asked == 0


def test_the_command_says_what_it_left_out_and_ends_well(bench, tmp_path):
    data = change_item(bench / "bench_q.json", tmp_path / "q.json", 1, video="gone.mp4")
    arguments = (data, "--model", "embedded", "--out", tmp_path, "--media-root", bench, "--max-new-tokens", 1)
    assert run("q", *arguments).exit_code == 1
    result = run("q", *arguments, "--on-bad-item", "skip", "--batch-size", 5)
    assert result.exit_code == 0, result.output
    assert "1 item(s) left out:" in result.stderr
    assert "needs the video 'gone.mp4'" in result.stderr
    items = [{**item, "video": "gone.mp4"} for item in read_items(data)]
    data.write_text(json.dumps(items))
    assert run("q", *arguments, "--on-bad-item", "skip").exit_code == 1


def test_items_that_the_judge_cannot_use_are_left_out_too(bench, tmp_path):
    data = change_item(bench / "bench_d.json", tmp_path / "d.json", 1, facts=None)
    settings = {"judge": RuleJudge(), "media_root": bench}
    with pytest.raises(BenchError, match="has no facts"):
        evaluate("d", data, Parrot(), tmp_path / "out", **settings)
    result = evaluate("d", data, Parrot(), tmp_path / "out", on_bad_item="skip", **settings)
    assert (result["items"], len(result["skipped"])) == (4, 1)


def test_types_of_ones_own_are_further_columns(bench, tmp_path):
    data = tmp_path / "q.json"
    own = ("Small | large", "Colour")
    records = read_items(bench / "bench_q.json")
    data.write_text(json.dumps([{**item, "type": own[place % 2]} for place, item in enumerate(records)]))
    with pytest.raises(BenchError, match="types of your own, each given with --types"):
        evaluate_questions(data, Letters(), tmp_path / "out", media_root=bench)
    result = evaluate(Questions(types=own), data, Letters(), tmp_path / "out", media_root=bench)
    assert list(result["scores"]["tables"]["strict"]["types"]) == list(own)
    plain = evaluate_questions(bench / "bench_q.json", Letters(), tmp_path / "out")
    text = write_report(find_results([tmp_path / "out"]), tmp_path / "r.md")[0].read_text()
    assert r"| Future Predictions | Small \| large | Colour | over items |" in text
    assert "100.0" in summary(result)
    assert len(plain["scores"]["tables"]["strict"]["types"]) == 5


@pytest.mark.parametrize(("words", "first"), [(False, "compatible"), (True, "strict")])
def test_the_reader_whose_figure_means_something_comes_first(bench, tmp_path, words, first):
    result = evaluate_questions(bench / "bench_q.json", Letters(words), tmp_path / "out")
    text = write_report([result], tmp_path / "r.md")[0].read_text()
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| parrot")]
    assert rows[0] == first
    assert ("means nothing" in rows[1]) is ("**the strict figures count here.**" in text) is words
    assert summary(result).splitlines()[1].strip().startswith(first)


# --- folders without results -----------------------------------------------------------------------------------------


def test_a_report_is_written_of_those_that_have_results_and_names_the_others(bench, tmp_path):
    evaluate_questions(bench / "bench_q.json", Letters(), tmp_path / "runs" / "one")
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "answers-0.jsonl").touch()
    out = tmp_path / "report.md"
    for folder in ("one", "one/results"):
        result = run("report", tmp_path / "runs" / folder, "--out", out)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
    deeper = run("report", tmp_path / "runs", "--out", out)
    assert deeper.exit_code == 0
    assert "no results of its own: those in its one are reported" in deeper.stderr
    out.unlink()
    some = run("report", *(tmp_path / name for name in ("runs/one", "empty", "begun", "gone")), "--out", out)
    assert some.exit_code == 1
    for said in ("empty has no results (it is empty)", "begun has no results, but answers", "it is not there"):
        assert said in some.stderr
    assert "## VideoRefer-Bench-Q" in out.read_text()
    out.unlink()
    assert run("report", tmp_path / "empty", tmp_path / "begun", "--out", out).exit_code == 1
    assert not out.exists()
