"""DLC-Bench: its files as they are published, questions of a judge, and what answers to them are worth."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.chat_server import KEY, ChatServer
from videorefer_plugin.bench import ChatEndpoint, ChatJudge, Shard, find_results, write_report
from videorefer_plugin.bench.benchmarks.registry import benchmark_of
from videorefer_plugin.bench.evaluate import evaluate
from videorefer_plugin.bench.layouts import check_layout
from videorefer_plugin.bench.report import summary
from videorefer_plugin.errors import BenchError
from videorefer_plugin.regions import encode_rle

POSITIVE = {"type": "positive", "question": "Which colour?", "choices": [["Red", 1], ["Blue", -1], ["Not said", 0]]}
NEGATIVE = {"type": "negative", "question": "Does it have a \u5c3e tail?", "choices": [["Yes", -1], ["No", 1]]}
TEXTS = {"7": "a red cube", "8": "a blue ball", "9": "a thing"}


class Captioner:
    """Says of every object what a table has."""

    workers = 1

    def __init__(self, texts=TEXTS, fails=()):
        self.texts, self.fails, self.asked = texts, fails, []

    def settings(self):
        return {"model": "captioner", "sees": "nothing"}

    def answer(self, items, mode):
        self.asked += [item.id for item in items]
        if any(item.id in self.fails for item in items):
            raise KeyboardInterrupt
        return [self.texts[item.id] for item in items]


@pytest.fixture
def folder(tmp_path):
    """The published files: three objects in one picture."""
    root = tmp_path / "dlc"
    (root / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(root / "images" / "a.png")
    mask = np.zeros((8, 12), bool)
    mask[2:5, 3:9] = True
    annotations = [{"id": key, "image_id": 1, "category_id": 1, "segmentation": encode_rle(mask)} for key in (7, 8, 9)]
    images = [{"id": 1, "file_name": "a.png", "height": 8, "width": 12}]
    write(root, "annotations", {"images": images, "annotations": annotations, "categories": []})
    write(root, "class_names", {"7": "cube", "8": "ball", "9": "owl"})
    write(root, "qa", {"7": [POSITIVE, NEGATIVE], "8": [POSITIVE], "9": [POSITIVE, NEGATIVE]})
    return root


def write(root, name, value):
    (root / f"{name}.json").write_text(json.dumps(value))


def change(root, name, edit):
    value = json.loads((root / f"{name}.json").read_text())
    edit(value)
    write(root, name, value)


@pytest.fixture
def judge(monkeypatch):
    """Reads descriptions as one would; of "a thing" it knows no owl."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()

    def reply(messages):
        said = messages[-1]["content"]
        if "same kind" in said:
            return "B" if "a thing" in said else "(A) Yes"
        if "tail" in said:
            return "The answer is B."
        return "(A)" if "a red" in said else "Blue" if "a blue" in said else "A"

    server.reply = reply
    yield server, ChatJudge(ChatEndpoint("a-judge", base_url=server.url), benchmark_of("dlc").judge_prompt)
    server.close()


def test_scores_follow_the_released_rules(folder, tmp_path, judge):
    server, scorer = judge
    result = evaluate("dlc", folder / "qa.json", Captioner(), tmp_path / "out", judge=scorer)
    scores = result["scores"]
    # Red is right and there is no tail: 1 and 1. Blue is wrong: -1. What is not recognized is worth at most 0.
    assert [(row["positive"], row["negative"]) for row in scores["items"]] == [(1, 1), (-1, None), (0, 0)]
    assert scores["positive"]["mean"] == 0
    assert scores["negative"]["mean"] == 0.5
    assert scores["average"]["mean"] == 0.25
    low, high = scores["average"]["interval"]
    assert -1 <= low <= 0.25 <= high <= 1
    assert (scores["recognized"]["right"], scores["recognized"]["total"]) == (2, 3)
    assert scores["questions"] == len(server.requests) == 8  # every question is asked by itself
    assert all("a.png" not in json.dumps(request) for request in server.requests)  # the judge sees no picture
    asked = [request["messages"][-1]["content"] for request in server.requests]
    assert sum("(A) Red\n(B) Blue\n(C) Not said" in one for one in asked) == 3
    assert "average 25.0" in summary(result)
    report = write_report(find_results([tmp_path / "out"]), tmp_path / "report.md")[0].read_text()
    assert "## DLC-Bench" in report
    assert "66.7" in report


def test_replies_that_name_no_option_are_counted_and_named(folder, tmp_path, judge):
    server, scorer = judge
    before = server.reply
    server.reply = lambda said: (
        "I cannot tell." if "ball" in said[-1]["content"] or "tail" in said[-1]["content"] else before(said)
    )
    scores = evaluate("dlc", folder / "qa.json", Captioner(), tmp_path, judge=scorer)["scores"]
    assert scores["unclear"] == 4
    assert scores["not_understood"] == ["8"]  # whether it was recognized is not known
    assert [row["negative"] for row in scores["items"]] == [0, None, 0]


def test_without_a_judge_the_captions_are_kept(folder, tmp_path, judge):
    result = evaluate("dlc", folder / "qa.json", Captioner(), tmp_path)
    assert result["scores"] is None
    assert "not judged yet" in write_report(find_results([tmp_path]), tmp_path / "r.md")[0].read_text()
    again = Captioner(fails=TEXTS)
    assert evaluate("dlc", folder / "qa.json", again, tmp_path, judge=judge[1])["scores"]["average"]["mean"] == 0.25
    assert again.asked == []


def test_a_stopped_run_goes_on_and_processes_share_items(folder, tmp_path, judge):
    with pytest.raises(KeyboardInterrupt):
        evaluate("dlc", folder / "qa.json", Captioner(fails=("9",)), tmp_path)
    rest = Captioner()
    evaluate("dlc", folder / "qa.json", rest, tmp_path, shard=Shard(0, 2))
    assert rest.asked == ["9"]
    assert evaluate("dlc", folder / "qa.json", Captioner(), tmp_path, limit=2)["items"] == 2
    # Answers belong to all of the files.
    change(folder, "annotations", lambda value: value.update(info="new"))
    fresh = Captioner()
    evaluate("dlc", folder / "qa.json", fresh, tmp_path)
    assert fresh.asked == ["7", "8", "9"]


def test_items_of_ones_own_have_the_questions_with_them(folder, tmp_path, judge):
    segmentation = json.loads((folder / "annotations.json").read_text())["annotations"][0]["segmentation"]
    choices = [{"text": "Red", "score": 1}, {"text": "Blue", "score": -0.5}]
    item = {
        "id": "8",
        "image": "images/a.png",
        "annotation": [{"segmentation": segmentation}],
        "questions": [{"kind": "positive", "question": "Which colour?", "choices": choices}],
    }
    (folder / "own.json").write_text(json.dumps([item]))
    result = evaluate("dlc", folder / "own.json", Captioner(), tmp_path, judge=judge[1])
    assert result["scores"]["positive"]["mean"] == -0.5
    assert result["scores"]["average"]["mean"] is None
    assert result["scores"]["recognized"]["total"] == 0
    assert find_results([tmp_path])


def test_the_prompt_asks_about_one_object_of_a_picture(folder):
    item = benchmark_of("dlc").read(folder / "qa.json").items[0]
    assert item.kind == "image"
    assert item.prompt.count("<region>") == 1
    assert "image" in item.prompt
    assert item.regions("single")[0].frames == (0,)


@pytest.mark.parametrize(
    ("name", "edit", "words"),
    [
        (
            "annotations",
            lambda v: v["annotations"][0].update(segmentation={"size": [8, 12], "counts": "?"}),
            "item '7'",
        ),
        ("annotations", lambda v: v["annotations"].pop(0), "no annotation with that id"),
        ("annotations", lambda v: v["annotations"].append(dict(v["annotations"][0])), "an id twice"),
        ("annotations", lambda v: v["images"].clear(), "not its image"),
        ("annotations", lambda v: v.pop("annotations"), "COCO's list of objects with ids"),
        ("annotations", lambda v: v["images"][0].update(file_name="b.png"), "'images/b.png', which is not in"),
        ("class_names", lambda v: v.pop("7"), "class_names.json says None"),
        ("qa", lambda v: v["7"].clear(), "one that is positive or negative"),
        ("qa", lambda v: v["7"][0].update(type="neutral"), "of the kind 'neutral'"),
        ("qa", lambda v: v["7"][0].update(choices=["Red", "Blue"]), r"choice 'Red': expected a text and its score"),
        ("qa", lambda v: v["7"][0].update(choices=[["Red", 1], ["Blue", -2]]), r"score from -1 to 1"),
        ("qa", lambda v: v["7"][0].update(choices=[["Red", 1]]), "at least two"),
        ("qa", lambda v: v["7"][0].update(question=" "), "needs a text under 'question'"),
        ("qa", lambda v: v["7"].append("?"), "expected an object"),
    ],
)
def test_files_that_cannot_be_used_are_named(folder, name, edit, words):
    change(folder, name, edit)
    with pytest.raises(BenchError, match=words):
        benchmark_of("dlc").read(folder / "qa.json")
    assert not check_layout(folder, ["dlc"])[0].complete


def test_bad_items_can_be_left_out_and_objects_without_questions_are_named(folder):
    assert check_layout(folder, ["dlc"])[0].items == 3
    change(folder, "qa", lambda value: value.pop("9"))
    change(folder, "class_names", lambda value: value.pop("7"))
    read = benchmark_of("dlc").read(folder / "qa.json", on_bad_item="skip")
    assert [item.id for item in read.items] == ["8"]
    assert len(read.skipped) == 2
    assert any("no questions about it" in why for why in read.skipped.values())


@pytest.mark.parametrize(
    ("name", "words"), [("annotations", "give the file with the questions"), ("none", "cannot be")]
)
def test_another_file_than_that_of_the_questions(folder, name, words):
    with pytest.raises(BenchError, match=words):
        benchmark_of("dlc").read(folder / f"{name}.json")


@pytest.mark.parametrize("missing", ["annotations.json", "class_names.json"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(BenchError, match=missing):
        benchmark_of("dlc").read(folder / "qa.json")


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "edit",
    [
        lambda scores: scores["average"].update(mean=0.9),
        lambda scores: scores["positive"].update(mean="0.9"),
        lambda scores: scores["recognized"].update(right=3),
        lambda scores: scores.pop("not_judged"),
    ],
)
def test_an_edited_result_is_an_error(folder, tmp_path, judge, edit):
    path = Path(evaluate("dlc", folder / "qa.json", Captioner(), tmp_path, judge=judge[1])["path"])
    result = json.loads(path.read_text())
    edit(result["scores"])
    path.write_text(json.dumps(result))
    with pytest.raises(BenchError, match="not a result as `videorefer bench` writes it"):
        find_results([tmp_path])
