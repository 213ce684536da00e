"""Runs of the data engine that go on: what was made belongs together, whatever was lost or done twice meanwhile."""

import json
from collections import Counter
from pathlib import Path

import pytest

from tests.engine import CountingAnalyzer, CountingAnnotator, calls, recipe_values, write_table
from videorefer_plugin.data_engine.items import Description, Drop, Failure, Made, Noun, RegionCaption, Spent
from videorefer_plugin.data_engine.recipe import recipe_of
from videorefer_plugin.data_engine.runs import Interrupted, run_engine
from videorefer_plugin.errors import EngineError

COUNT = 3
STAGES = ("analyzer", "segmentor", "annotator", "captioner", "reviewer", "refiner")
BEHIND = STAGES[1:]


class ForgetfulAnalyzer(CountingAnalyzer):
    """Finds other nouns whenever it is asked, as an LLM may: those in the file `<log>.nouns`."""

    def objects(self, item):
        return tuple(Noun(word, f"the {word}") for word in Path(f"{self.log}.nouns").read_text().split())


@pytest.fixture
def desk(tmp_path):
    write_table(tmp_path / "data", COUNT)
    return tmp_path


def values(desk, name="run", **stages):
    (desk / name).mkdir(exist_ok=True)
    analyzer = {"backend": "tests.test_engine_resuming:ForgetfulAnalyzer"}
    return recipe_values(desk / name / "out", desk / "data" / "table.json", **{"analyzer": analyzer, **stages})


def run(given, nouns="cats dogs", **options):
    Path(f"{given['analyzer']['settings']['log']}.nouns").write_text(nouns)
    return run_engine(recipe_of(given), **options)


def folder_of(given):
    return Path(given["output"]["folder"])


def ledger(given, stage):
    """The file that a stage was written to, and its lines."""
    (path,) = (folder_of(given) / "stages").glob(f"{stage}-*.jsonl")
    return path, path.read_text().splitlines(keepends=True)


def lose(given, stage, name):
    """Lose the line of a stage about a source, as a power cut or somebody who deletes it may."""
    path, lines = ledger(given, stage)
    path.write_text("".join(line for line in lines if json.loads(line).get("id") != name))


def provenance(given):
    """All objects that records were made of, kept or discarded."""
    files = [folder_of(given) / name for name in ("provenance.jsonl", "discarded_provenance.jsonl")]
    return [one for path in files for line in path.read_text().splitlines() for one in json.loads(line)["objects"]]


def again(given, before):
    """What was done since, by stage, and about which sources."""
    lines = [line.split() for line in calls(folder_of(given))[before:]]
    return Counter(stage for stage, _ in lines), {name for _, name in lines}


@pytest.mark.spread(2)
@pytest.mark.parametrize("nouns", ["dogs cats", "dogs", "dogs cats birds", "dogs cats ghosts", "birds cats"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_that_says_something_else_when_it_is_done_again_has_later_stages_done_again(desk, nouns, workers):
    given = values(desk, annotator={"workers": workers})
    run(given)
    lose(given, "analyzer", "v1")
    before = len(calls(folder_of(given)))
    report = run(given, nouns)
    assert (report.finished, report.failed, report.left) == (COUNT, 0, 0)
    assert again(given, before) == (dict.fromkeys(STAGES, 1), {"v1"})
    for one in provenance(given):
        noun = one["analyzer"]["text"]
        assert one["annotator"]["dynamic"] == f"{noun} move."
        assert one["captioner"]["text"] == f"some {noun}"
    assert report.outdated == len(BEHIND)
    before = len(calls(folder_of(given)))
    assert run(given).finished == COUNT
    assert len(calls(folder_of(given))) == before


def test_a_stage_that_says_the_same_when_it_is_done_again_is_all_that_is_done(desk):
    given = values(desk)
    run(given)
    for stage in STAGES:
        lose(given, stage, "v1")
        before = len(calls(folder_of(given)))
        report = run(given)
        assert (report.finished, report.outdated) == (COUNT, 0)
        assert again(given, before) == ({stage: 1}, {"v1"})
        paths = (folder_of(given) / "stages").glob(f"{stage}-*.jsonl")
        text = "".join(path.read_text() for path in paths)  # the next loss is to find a single file
        for path in (folder_of(given) / "stages").glob(f"{stage}-*.jsonl"):
            path.unlink()
        (folder_of(given) / "stages" / f"{stage}-all.jsonl").write_text(text)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["analyzer-a.jsonl", "analyzer-zz.jsonl"], ids=["read first", "read last"])
@pytest.mark.parametrize("nouns", ["dogs cats", "dogs", "dogs cats birds"])
def test_of_two_results_that_one_counts_which_later_stages_worked_on(desk, name, nouns):
    given, other = values(desk), values(desk, "other")
    run(given)
    run(other, nouns)
    before, was = len(calls(folder_of(given))), provenance(given)
    _, lines = ledger(other, "analyzer")  # of the same work, as one that nobody waited for any more may write them
    (folder_of(given) / "stages" / name).write_text("".join(lines))
    report = run(given)
    assert (report.finished, report.outdated) == (COUNT, COUNT)
    assert len(calls(folder_of(given))) == before
    assert provenance(given) == was


def test_a_failure_about_what_was_made_anew_is_none(desk):
    given = values(desk, captioner={"settings": {"bad": {"v1": "failure"}, "fixed": str(desk / "fixed")}})
    assert run(given).failed == 1
    lose(given, "analyzer", "v1")
    (desk / "fixed").touch()
    before = len(calls(folder_of(given)))
    report = run(given, "birds")
    assert (report.finished, report.failed) == (COUNT, 0)
    assert again(given, before) == (dict.fromkeys(STAGES, 1), {"v1"})


def test_a_retry_goes_on_with_what_was_made_before(desk):
    given = values(desk, captioner={"settings": {"bad": {"v1": "failure"}, "fixed": str(desk / "fixed")}})
    run(given)
    assert run(given, retry=True).failed == 1
    (desk / "fixed").touch()
    before = len(calls(folder_of(given)))
    report = run(given, "birds", retry=True)
    assert (report.finished, report.failed, report.outdated) == (COUNT, 0, 0)
    assert again(given, before) == (dict.fromkeys(STAGES[3:], 1), {"v1"})


# --- sources ---------------------------------------------------------------------------------------------------------


def change(desk, **columns):
    """Change what the table says of `v1`."""
    path = desk / "data" / "table.json"
    rows = json.loads(path.read_text())
    rows[1].update(columns)
    path.write_text(json.dumps(rows))


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("columns", "made_again"),
    [
        ({"license": "cc-by-4.0"}, False),
        ({"url": "https://example.org/v1"}, False),
        ({"license": "cc-by-4.0", "language": "en"}, False),
        ({"caption": "Here are birds."}, True),
        ({"video": "v0.mp4"}, True),
    ],
)
def test_only_what_agents_work_on_has_them_work_again(desk, columns, made_again):
    given = values(desk)
    given["source"]["columns"] = {"license": "license", "address": "url", "language": "language"}
    change(desk, license="unknown", url="https://example.org", language="en-US")
    run(given)
    change(desk, **columns)
    with pytest.raises(EngineError, match=r"1 source\(s\) are changed \(v1\).*--accept-changes"):
        run(given)
    before = len(calls(folder_of(given)))
    report = run(given, accept_changes=True)
    assert report.finished == COUNT
    assert again(given, before) == ((dict.fromkeys(STAGES, 1), {"v1"}) if made_again else ({}, set()))
    told = [json.loads(line)["source"] for line in (folder_of(given) / "provenance.jsonl").read_text().splitlines()]
    assert {one["license"] for one in told if one["id"] == "v1"} <= {columns.get("license", "unknown")}
    run(given)
    assert run(given).finished == COUNT


def rewrite(path, change):
    """Change the lines of a file; without any, the file is removed."""
    lines = change(path.read_text().splitlines(keepends=True))
    path.unlink()
    if lines:
        path.write_text("".join(lines))


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:1] + lines[2:],
        lambda lines: lines[::-1],
        lambda lines: [lines[0], "\0" * 40 + "\n", *lines[2:]],
        lambda lines: [*lines[:-1], lines[-1][:20]],
        lambda lines: [line.replace("cats", "birds") for line in lines],
        lambda lines: [],
    ],
    ids=["a line deleted", "another order", "zeros", "torn", "edited", "file deleted"],
)
@pytest.mark.parametrize("retry", [False, True])
def test_a_snapshot_of_sources_that_is_not_as_it_was_is_written_anew(desk, change, retry):
    given = values(desk)
    run(given)
    snapshot, was = folder_of(given) / "sources.jsonl", (folder_of(given) / "sources.jsonl").read_text()
    before = len(calls(folder_of(given)))
    rewrite(snapshot, change)
    report = run(given, retry=retry)
    assert (report.sources, report.finished, report.outdated) == (COUNT, COUNT, 0)
    assert snapshot.read_text() == was
    assert len(calls(folder_of(given))) == before


def test_a_lost_snapshot_does_not_hide_that_sources_have_changed(desk):
    given = values(desk)
    run(given)
    (folder_of(given) / "sources.jsonl").unlink()
    change(desk, caption="Here are birds.")
    with pytest.raises(EngineError, match=r"holds a run that differs: the sources are others.*--accept-changes"):
        run(given)
    assert run(given, accept_changes=True).finished == COUNT


@pytest.mark.spread(2)
@pytest.mark.parametrize("stage", STAGES[:4])
def test_a_lost_line_of_a_source_that_failed_is_no_error(desk, stage):
    given = values(desk, captioner={"settings": {"bad": {"v1": "failure"}}})
    run(given)
    lose(given, stage, "v1")
    report = run(given)
    assert (report.finished, report.failed, report.left) == (COUNT - 1, 1, 0)
    (line,) = (folder_of(given) / "failed.jsonl").read_text().splitlines()
    assert (json.loads(line)["id"], json.loads(line)["stage"]) == ("v1", "captioner")


@pytest.mark.parametrize("how", ["fatal", "interrupt"])
def test_lost_lines_do_not_hide_why_a_run_stops(desk, how):
    given = values(desk, captioner={"settings": {"bad": {"v1": "failure"}}})
    run(given)
    lose(given, "segmentor", "v0")
    lose(given, "segmentor", "v1")
    given["segmentor"]["settings"]["bad"] = {"v0": how}
    with pytest.raises(EngineError if how == "fatal" else Interrupted, match=r"refuses the key|and 2 are left"):
        run(given)


# --- what is no result -----------------------------------------------------------------------------------------------


class WrongAnnotator(CountingAnnotator):
    """Makes what its setting `wrong` names of the objects of `v1`."""

    def __init__(self, log, wrong):
        super().__init__(log)
        self.wrong = wrong

    def run(self, items):
        made = super().run(items)
        return [WRONG[self.wrong] if item.source.id == "v1" else one for item, one in zip(items, made, strict=True)]


WRONG = {
    "nothing": Made((None, None)),
    "a text": Made(("a", "b")),
    "of another stage": Made((RegionCaption("a", 0), RegionCaption("b", 0))),
    "too few": Made((Description("a", "b"),)),
    "no reason": Failure("endpoint", ValueError("down")),
    "no description": Made((Description(None, "a"), Description("a", "b"))),
    "a number": Made((Description("a", "b", (3,)), Description("a", "b"))),
    "a drop without a reason": Made((Drop("static", None), Drop("static", "It stands."))),
    "no spent": Made((Description("a", "b"), Description("a", "b")), None),
    "a price as text": Made((Description("a", "b"), Description("a", "b")), Spent(cost="0.5")),
    "no JSON": Made((Description("a", "b"), Description("a", {1}))),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("nothing", r"annotator '.*' returned a Made of a NoneType for 'v1'; expected Description or Drop"),
        ("a text", "returned a Made of a str for 'v1'; expected Description or Drop"),
        ("of another stage", "returned a Made of a RegionCaption"),
        ("too few", r"was given 2 object\(s\) of 'v1' and returned 1"),
        ("no reason", "returned a Failure of a ValueError for 'v1'; expected texts"),
    ],
)
def test_an_agent_that_makes_something_else_stops_the_run(desk, wrong, message):
    given = values(desk)
    given["annotator"] |= {"backend": "tests.test_engine_resuming:WrongAnnotator"}
    given["annotator"]["settings"]["wrong"] = wrong
    with pytest.raises(EngineError, match=message):
        run(given)
    given["annotator"] = values(desk)["annotator"]
    assert run(given, accept_changes=True).finished == COUNT


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ("no description", "is not as expected: Description.dynamic is None; expected str"),
        ("a number", "Description.filtered is 3; expected str"),
        ("a drop without a reason", "Drop.reason is None; expected str"),
        ("no spent", "cannot be written as JSON"),
        ("a price as text", "Spent.cost is '0.5'; expected float"),
        ("no JSON", "cannot be written as JSON"),
    ],
)
def test_a_result_that_could_not_be_read_back_is_a_failure(desk, wrong, reason):
    given = values(desk)
    given["annotator"] |= {"backend": "tests.test_engine_resuming:WrongAnnotator"}
    given["annotator"]["settings"]["wrong"] = wrong
    for _ in range(2):
        report = run(given)
        assert (report.finished, report.failed) == (COUNT - 1, 1)
    (line,) = (folder_of(given) / "failed.jsonl").read_text().splitlines()
    assert reason in json.loads(line)["reason"]


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("stage", "old", "new"),
    [
        ("annotator", '"dynamic":', '"static":'),
        ("annotator", '"made":', '"drop":'),
        ("annotator", '"filtered":[]', '"filtered":"none"'),
        ("analyzer", '"singular":true', '"singular":"yes"'),
        ("segmentor", '"box":[', '"box":["left",'),
        ("refiner", '"questions":[]', '"questions":[{"kind":"basic"}]'),
        ("reviewer", '"calls":', '"called":'),
    ],
)
def test_a_line_that_is_not_what_its_stage_makes_is_named(desk, stage, old, new):
    given = values(desk)
    run(given)
    path, lines = ledger(given, stage)
    place = next(place for place, line in enumerate(lines, 1) if old in line)
    path.write_text("".join(lines).replace(old, new, 1))
    with pytest.raises(EngineError, match=rf"Line {place} of .*{stage}-.*jsonl is damaged: .*Delete that line"):
        run(given)
    path.write_text("".join(line for number, line in enumerate(lines, 1) if number != place))
    assert run(given).finished == COUNT
