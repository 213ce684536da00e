"""Any file of training records as a benchmark: which questions it has, and how answers to them are compared."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.chat_server import KEY, ChatServer
from tests.conftest import CHECKPOINT
from videorefer_plugin.bench import ChatEndpoint, ChatJudge, RegionModel, Shard, find_results, write_report
from videorefer_plugin.bench.benchmarks.records import Records
from videorefer_plugin.bench.evaluate import evaluate
from videorefer_plugin.bench.report import summary
from videorefer_plugin.errors import BenchError
from videorefer_plugin.world.dataset import write_dataset

BOX = {"0": {"box": [1, 1, 5, 5]}}
LATER = {"0": None, "2": {"box": [1, 1, 5, 5]}}
CHOICE = "What does <region> do? (A) it runs (B) it sits (C) it sleeps. Answer with the option's letter."


class Answers:
    """Says what a table has about a question, and nothing about others."""

    workers = 1

    def __init__(self, said=None):
        self.said, self.asked = said or {}, []

    def settings(self):
        return {"model": "answers", "sees": "nothing"}

    def answer(self, items, mode):
        self.asked += [item.prompt for item in items]
        return [self.said.get(item.question, "") for item in items]


def record(*turns, **values):
    said = [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]
    return {"video": "clip", "conversations": said, **values}


def about(question, answer, **values):
    return record(f"<video>\n{question}", answer, annotation=[BOX] * question.count("<region>"), **values)


@pytest.fixture
def write(tmp_path):
    (tmp_path / "clip").mkdir()
    for number in range(3):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "clip" / f"{number}.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")

    def write(*records):
        path = tmp_path / "records.json"
        path.write_text(json.dumps(records))
        return path

    return write


def shares(result, reader):
    read = result["scores"]["tables"][reader]
    return {group: (share["right"], share["total"]) for group, share in read["groups"].items()}


# --- which questions -------------------------------------------------------------------------------------------------


def test_every_answer_is_an_item_and_questions_without_objects_have_what_was_said_before(write):
    path = write(
        record(
            "<video>\nWhat is <region>?",
            "A cat beside <region>.",
            "What colour is it?",
            "Black.",
            "And [<region>], what is it?",
            "A dog.",
            id="r",
            annotation=[BOX, LATER, {"1": {"box": [0, 0, 2, 2]}}],
        )
    )
    first, second, third = Records().read(path).items
    assert [item.id for item in (first, second, third)] == ["r", "r#2", "r#3"]
    assert first.prompt == "What is <region>?"
    assert second.prompt == "What is <region>?\nA cat beside <region>.\nWhat colour is it?"
    assert third.prompt == "And [<region>], what is it?"
    assert [len(item.annotation) for item in (first, second, third)] == [1, 2, 1]
    assert third.regions("multi")[0].frames == (1,)
    # In single-frame mode, the first frame in which all objects are seen.
    (item,) = Records().read(write(about("<region>?", "x", id="r") | {"annotation": [LATER]}), mode="single").items
    assert item.regions("single")[0].frames == (2,)


def test_pictures_system_messages_and_no_object(write):
    segmentation = {"segmentation": [[0, 0, 4, 0, 4, 4]]}
    picture = {"image": "a.png", "annotation": [segmentation], "id": "p", "height": 8, "width": 8}
    turns = [{"from": "human", "value": "<image>\n<region>?"}, {"from": "gpt", "value": "a cat"}]
    plain = about("What happens? 什么?", "nothing", id="v")
    plain["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    image, video = Records().read(write({**picture, "conversations": turns}, plain), mode="single").items
    assert (image.kind, image.prompt, image.regions("single")[0].frames) == ("image", "<region>?", (0,))
    assert (video.kind, video.prompt, video.regions("single")) == ("video", "Be brief.\nWhat happens? 什么?", [])


def test_what_is_no_question_is_left_out_and_named(write, tmp_path):
    text = {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hello"}]}
    path = write(text, record("<video>", "A cat runs."), about("<region>?", "a cat"))
    result = evaluate("records", path, Answers(), tmp_path / "out")
    assert result["items"] == 1
    assert sorted(why.split(": ")[1] for why in result["skipped"].values()) == [
        "it is about neither video nor image",
        "there are no words in its question",
    ]
    assert (
        "neither video nor image" in write_report(find_results([tmp_path / "out"]), tmp_path / "r.md")[0].read_text()
    )
    with pytest.raises(BenchError, match="holds no items, but 1 other"):
        Records().read(write(text))


def test_ids_that_are_there_twice_are_numbered(write):
    path = write(*(record("<video>\n1", "2", "3", "4", id="same") for _ in range(2)))
    assert [item.id for item in Records().read(path).items] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (
            about("<region>?", "x") | {"annotation": [{"0": {"segmentation": {"size": [8, 8], "counts": "?"}}}]},
            "object 0",
        ),
        (about("<region>?", "x") | {"annotation": []}, "1 <region>, but its annotation has 0"),
        (about("?", "x") | {"video": "gone"}, "needs the video 'gone'"),
        (about("?", "x") | {"conversations": []}, "no conversations"),
        (record("What?", "x"), "0 <video>"),
        ([], "a record is a JSON object"),
    ],
)
def test_records_that_cannot_be_used(write, bad, words):
    path = write(about("<region>?", "a", id="good"), bad)
    with pytest.raises(BenchError, match=words):
        Records().read(path)
    read = Records().read(path, on_bad_item="skip")
    assert len(read.items) == len(read.skipped) == 1


# --- how answers are compared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("true", "said", "right"),
    [
        ("A red car.", "a  RED car", True),
        ("ＡＢＣ", "abc!", True),
        ("是。", "是", True),
        ("Yes", "<think>maybe</think>yes.", True),
        ("3.5", "35", False),
        ("A red car.", "It is a red car.", False),
        ("A red car.", "", False),
    ],
)
def test_texts_are_compared_but_for_case_space_and_last_marks(write, tmp_path, true, said, right):
    result = evaluate("records", write(about("<region>?", true)), Answers({"<region>?": said}), tmp_path / "out")
    assert shares(result, "exact") == {"exact": (int(right), 1)}


def test_options_are_found_in_the_question_and_read_by_both_readers(write, tmp_path):
    other = CHOICE.replace("it sleeps", "it eats")
    path = write(
        about(CHOICE, "B", id=1),
        about(other, "(C) it eats", id=2, type="Doing"),
        about("Is <region> a cat?", "Yes", id=3),
        about("What (B) is <region>?", "a cat", id=4),  # no options
    )
    said = {CHOICE: "The answer is B.", other: "it eats", "Is <region> a cat?": "yes"}
    result = evaluate("records", path, Answers(said), tmp_path)
    assert result["scores"]["compared"] == {"exact": 2, "choice": 2}
    assert shares(result, "strict") == {"Doing": (1, 1), "choice": (1, 1), "exact": (1, 2)}
    # The released script takes the first letters of these answers, T and i.
    assert shares(result, "compatible") == {"Doing": (0, 1), "choice": (0, 1), "exact": (1, 2)}
    assert "strict: 75.0" in summary(result)
    with pytest.raises(BenchError, match=r"its question has no '\(A\) ... \(B\) ...'"):
        Records(compare="choice").read(path)
    assert len(Records(compare="choice").read(path, on_bad_item="skip").items) == 2
    with pytest.raises(BenchError, match=r"names none of \(A\) it runs, \(B\) it sits, \(C\) it sleeps"):
        Records(compare="choice").read(write(about(CHOICE, "it flies")))
    assert evaluate(Records(compare="exact"), write(about(CHOICE, "B")), Answers(), tmp_path)["scores"][
        "compared"
    ] == {"exact": 1}


def test_a_judge_says_whether_answers_are_right(write, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    replies = {"one": "(A) right", "two": "wrong", "three": "Perhaps."}
    server.reply = lambda said: next(reply for word, reply in replies.items() if word in said[-1]["content"])
    judge = ChatJudge(ChatEndpoint("a-judge", base_url=server.url), Records.judge_prompt)
    path = write(*(about(f"<region> {word}?", f"true {word}", id=word) for word in replies))
    benchmark = Records(compare="judge")
    assert evaluate(benchmark, path, Answers(), tmp_path)["scores"] is None
    assert "not judged yet" in write_report(find_results([tmp_path]), tmp_path / "r.md")[0].read_text()
    result = evaluate(benchmark, path, Answers(), tmp_path, judge=judge)
    server.close()
    assert shares(result, "judge") == {"judge": (1, 2)}
    assert result["scores"]["unclear"] == ["three"]
    assert len(find_results([tmp_path])) == 2
    with pytest.raises(BenchError, match="scored without a judge"):
        evaluate("records", path, Answers(), tmp_path, judge=judge)


def test_an_unknown_comparison():
    with pytest.raises(BenchError, match="compare is 'fuzzy': expected one of auto, exact, choice, judge"):
        Records(compare="fuzzy")


def test_answers_are_kept_and_shared(write, tmp_path):
    path = write(*(about(f"<region> {number}?", "x", id=number) for number in range(4)))
    first, second, whole = Answers(), Answers(), Answers()
    assert evaluate("records", path, first, tmp_path, limit=2)["items"] == 2
    assert evaluate("records", path, second, tmp_path, shard=Shard(1, 2))["answered"] == 3
    result = evaluate("records", path, whole, tmp_path)
    assert (len(first.asked), second.asked, whole.asked) == (2, ["<region> 3?"], ["<region> 2?"])
    assert result["answered"] == 4


@pytest.mark.parametrize(
    "edit",
    [
        lambda result: result["scores"]["tables"]["exact"]["overall"].update(right=1),
        lambda result: result["scores"].update(tables={}),
        lambda result: result["scores"].pop("missing"),
    ],
)
def test_an_edited_result_is_an_error(write, tmp_path, edit):
    path = Path(evaluate("records", write(about("<region>?", "x")), Answers(), tmp_path / "out")["path"])
    result = json.loads(path.read_text())
    edit(result)
    path.write_text(json.dumps(result))
    with pytest.raises(BenchError, match="not a result as `videorefer bench` writes it"):
        find_results([tmp_path / "out"])


def test_a_model_answers_records_of_the_shapes_world(tmp_path):
    write_dataset(tmp_path, 1, 0, 0)
    records = [one for one in json.loads((tmp_path / "train_stage2.json").read_text()) if "video" in one]
    (tmp_path / "videos.json").write_text(json.dumps(records))
    model = RegionModel(str(CHECKPOINT), max_new_tokens=4)
    result = evaluate("records", tmp_path / "videos.json", model, tmp_path / "out", batch_size=4)
    assert result["answered"] == result["items"] > 1
