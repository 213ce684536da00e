"""What a run of the data engine hands over: records that training reads, and for each where it comes from."""

import dataclasses
import json
import subprocess
import sys
import textwrap

import pytest

from tests.engine_states import FRAMES, dropped, found, masks, recipe, reviewed, source, state
from videorefer_plugin.data_engine.items import Failure, GivenObject, Noun, Question, Refined, Source, Spent
from videorefer_plugin.data_engine.records import write_records
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.training.check import check_data
from videorefer_plugin.training.record_files import open_record_file


def read(path):
    """The records of a file, each of which training accepts."""
    report = check_data(path, deep=True)
    assert not report.bad
    assert not report.warnings
    return [entry.value for entry in open_record_file(path).scan()]


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def qa(folder, questions, *, more=(), given=2):
    """A video with given objects, about the first of which questions were made."""
    objects = tuple(GivenObject(f"the square {n}", masks(4 + 20 * n)) for n in range(given))
    of = source(folder, caption="", objects=objects, license="cc-by-4.0")
    return state(of, {"refiner": [Refined(questions=tuple(questions)), *more]})


ABOUT_ONE = Question("basic", "What color is <region>?", "Red.", (0,))
ABOUT_TWO = Question("reasoning", "Why does <region> follow <region>?", "It is pulled.", (1, 0))


# --- products --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_detailed_descriptions_of_what_the_reviewer_kept(tmp_path, form):
    made = reviewed(source(tmp_path), [True, False, True])
    counts = write_records([made], tmp_path, recipe(tmp_path, format=form))
    kept, discarded = read(tmp_path / f"records.{form}"), read(tmp_path / f"discarded.{form}")
    assert [record["id"] for record in kept] == ["clip/0/detailed", "clip/2/detailed"]
    assert [record["id"] for record in discarded] == ["clip/1/detailed"]
    assert kept[0]["video"] == "videos/clip.mp4"
    assert (kept[0]["height"], kept[0]["width"]) == (48, 80)
    question, answer = kept[0]["conversations"]
    assert question["value"].startswith("<video>\nPlease ")
    assert question["value"].count("<region>") == 1
    assert answer["value"] == "The square 0 moves to the right."
    assert (counts.records, counts.discarded) == (2, 1)
    assert counts.retained == pytest.approx(2 / 3)
    assert not list(tmp_path.glob(".*"))


def test_short_captions_reuse_the_caption(tmp_path):
    nouns = [Noun("square"), Noun("ball", role="other"), Noun("dogs", singular=False), Noun("cat")]
    made = state(
        source(tmp_path),
        {"analyzer": nouns, "segmentor": [found(), found(), found(), dropped("ambiguous")]},
    )
    counts = write_records([made], tmp_path, recipe(tmp_path, "short"))
    (record,) = read(tmp_path / "records.json")
    assert [turn["value"] for turn in record["conversations"]] == [
        "<video>\nPlease describe the object <region> in the video in brief.",
        "A red square moves beside a ball.",
    ]
    assert counts.dropped == {"records": {"not_subject": 1, "plural": 1}, "segmentor": {"ambiguous": 1}}
    assert [line["kind"] for line in lines(tmp_path / "dropped.jsonl")] == ["not_subject", "plural", "ambiguous"]
    assert counts.retained is None


def test_given_objects_of_images_have_their_expressions(tmp_path):
    from PIL import Image

    Image.new("RGB", (80, 48)).save(tmp_path / "one.png")
    given = (GivenObject("the left man", masks(frames=[0])),)
    of = Source("refcoco-1", str(tmp_path / "one.png"), "Two men.", "image", given)
    write_records([state(of, {})], tmp_path, recipe(tmp_path, "short"))
    (record,) = read(tmp_path / "records.json")
    assert record["image"] == "one.png"
    assert [turn["value"] for turn in record["conversations"]] == [
        "<image>\nPlease describe the object <region> in the image in brief.",
        "the left man",
    ]
    assert list(record["annotation"][0]) == ["0"]


def test_questions_become_one_conversation_with_each_region_in_order(tmp_path):
    other = Refined(questions=(Question("future", "What will <region> do?", "Stop.", (1,)),))
    write_records([qa(tmp_path, [ABOUT_ONE, ABOUT_TWO], more=[other])], tmp_path, recipe(tmp_path, "qa"))
    first, second = read(tmp_path / "records.json")
    assert [turn["from"] for turn in first["conversations"]] == ["human", "gpt"] * 2
    assert first["conversations"][0]["value"] == "<video>\nWhat color is <region>?"
    left, right = masks(4)["0"], masks(24)["0"]
    assert [one["0"] for one in first["annotation"]] == [left, right, left]
    assert second["id"] == "clip/1/qa"
    first_line, second_line = lines(tmp_path / "provenance.jsonl")
    assert first_line["questions"] == ["basic", "reasoning"]
    assert [one["number"] for one in first_line["objects"]] == [0, 1]
    assert second_line["questions"] == ["future"]


def test_questions_that_do_not_know_of_each_other_are_a_record_each(tmp_path):
    of = source(tmp_path, caption="", objects=tuple(GivenObject(f"square {n}", masks(4 + 20 * n)) for n in range(2)))
    asked = state(of, {"refiner": [Refined(questions=(ABOUT_ONE, ABOUT_TWO), conversation=False), dropped("none")]})
    write_records([asked], tmp_path, recipe(tmp_path, "qa"))
    records = read(tmp_path / "records.json")
    assert [record["id"] for record in records] == ["clip/0/qa/0", "clip/0/qa/1"]
    assert [len(record["conversations"]) for record in records] == [2, 2]
    assert records[1]["conversations"][0]["value"].startswith("<video>\nWhy")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (dataclasses.replace(ABOUT_TWO, objects=(0,)), "2 <region> for 1 object"),
        (dataclasses.replace(ABOUT_ONE, objects=(9,)), "object 9, which was left out"),
        (dataclasses.replace(ABOUT_ONE, answer=" "), "It would make no record"),
        (dataclasses.replace(ABOUT_ONE, answer="A <region>."), "It would make no record"),
        (dataclasses.replace(ABOUT_ONE, question="<video> What is <region>?"), "It would make no record"),
        (dataclasses.replace(ABOUT_ONE, question="Half \ud83d of <region>?"), "It would make no record"),
    ],
)
def test_questions_that_fit_no_objects_are_counted(tmp_path, question, reason):
    counts = write_records([qa(tmp_path, [question, ABOUT_ONE], given=1)], tmp_path, recipe(tmp_path, "qa"))
    (record,) = read(tmp_path / "records.json")
    assert len(record["conversations"]) == 2
    assert counts.dropped == {"records": {"question": 1}}
    assert reason in lines(tmp_path / "dropped.jsonl")[0]["reason"]


def test_a_question_about_what_is_seen_nowhere_does_not_spoil_the_others(tmp_path):
    objects = GivenObject("the square", masks()), GivenObject("the ghost", masks(frames=(), absent=range(FRAMES)))
    asked = {"refiner": [Refined(questions=(ABOUT_ONE, ABOUT_TWO)), Refined(questions=(ABOUT_ONE,))]}
    counts = write_records([state(source(tmp_path, objects=objects), asked)], tmp_path, recipe(tmp_path, "qa"))
    first, _ = read(tmp_path / "records.json")
    assert [turn["value"] for turn in first["conversations"][1::2]] == ["Red."]
    assert counts.dropped == {"records": {"question": 1}}


@pytest.mark.parametrize("other", [Refined(), dropped("none")], ids=["no questions", "dropped"])
@pytest.mark.parametrize(
    ("asked", "lost"),
    [((ABOUT_ONE, ABOUT_TWO), 0), ((ABOUT_ONE,), 1), ((dataclasses.replace(ABOUT_TWO, answer=""), ABOUT_ONE), 2)],
    ids=["asked about", "not asked about", "asked in vain"],
)
def test_objects_in_questions_of_others_are_not_left_out(tmp_path, other, asked, lost):
    counts = write_records([qa(tmp_path, asked, more=[other])], tmp_path, recipe(tmp_path, "qa"))
    assert counts.records == 1
    assert sum(count for kinds in counts.dropped.values() for count in kinds.values()) == lost


# --- what records hold -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "most", "frames"),
    [
        ({"frames": range(FRAMES)}, 32, list(range(FRAMES))),
        ({"frames": range(FRAMES)}, 1, [6]),
        ({"frames": [2, 3], "absent": [0, 1, 7, 8]}, 3, [2, 3, 7]),
        ({"frames": [2, 3], "absent": [0, 1]}, 32, [0, 1, 2, 3]),
    ],
)
def test_frames_are_limited_to_those_that_say_the_most(tmp_path, given, most, frames):
    made = state(source(tmp_path), {"analyzer": [Noun("square")], "segmentor": [found(**given)]})
    write_records([made], tmp_path, recipe(tmp_path, "short", frames=most))
    (record,) = read(tmp_path / "records.json")
    assert sorted(map(int, record["annotation"][0])) == frames


@pytest.mark.parametrize(
    "text",
    ["", "A <region> in it.", "Half \ud83d of a smile.", "<video>", "   "],
    ids=["empty", "region", "half", "video", "blank"],
)
def test_texts_that_make_no_record_are_counted(tmp_path, text):
    made = reviewed(source(tmp_path), [True, True], [text, "Fine."])
    counts = write_records([made], tmp_path, recipe(tmp_path))
    assert [record["id"] for record in read(tmp_path / "records.json")] == ["clip/1/detailed"]
    assert counts.dropped["records"] == {"record": 1}


def test_what_is_seen_nowhere_makes_no_record(tmp_path):
    nowhere = found(frames=(), absent=range(FRAMES))
    made = state(source(tmp_path), {"analyzer": [Noun("square")], "segmentor": [nowhere]})
    counts = write_records([made], tmp_path, recipe(tmp_path, "short"))
    assert read(tmp_path / "records.json") == []
    assert counts.dropped == {"records": {"record": 1}}


def test_videos_outside_of_the_folder_have_their_whole_path(tmp_path):
    made = reviewed(source(tmp_path), [True])
    write_records([made], tmp_path / "run", recipe(tmp_path))
    (record,) = read(tmp_path / "run" / "records.json")
    assert record["video"] == str(tmp_path / "videos" / "clip.mp4")


# --- provenance and counts -------------------------------------------------------------------------------------------


def test_each_record_says_where_it_comes_from(tmp_path):
    keys = {
        "analyzer": "a1",
        "segmentor": "s1",
        "annotator": "n1",
        "captioner": "c1",
        "reviewer": "r1",
        "refiner": "f1",
    }
    (tmp_path / "run.json").write_text(json.dumps({"keys": keys}))
    of = source(tmp_path, license="cc-by-4.0", address="https://example.org/clip")
    write_records([reviewed(of, [False, True])], tmp_path, recipe(tmp_path))
    (kept,), (discarded,) = lines(tmp_path / "provenance.jsonl"), lines(tmp_path / "discarded_provenance.jsonl")
    assert (kept["record"], discarded["record"]) == ("clip/1/detailed", "clip/0/detailed")
    assert kept["source"]["license"] == "cc-by-4.0"
    assert kept["source"]["address"] == "https://example.org/clip"
    assert kept["agents"]["refiner"] == {"backend": "my-refiner", "identity": "f1"}
    assert kept["seeds"]["run"] == 7
    (history,) = kept["objects"]
    assert history["reviewer"] == {"same": True, "reason": "reason 1", "score": 0.5}
    assert history["captioner"]["text"] == "a square, seen as 1"
    assert history["annotator"]["appearance"] == "The square 1 moves to the right."
    assert history["segmentor"]["checks"] == {"quality": 0.8}
    assert history["segmentor"]["mean_score"] == 0.75
    assert "annotation" not in history["segmentor"]


def test_everything_is_counted(tmp_path):
    of = source(tmp_path)
    states = [
        reviewed(of, [True, False]),
        state(source(tmp_path, "broken"), {"analyzer": Failure("endpoint", "Nobody answered.", Spent(3, 1, 1, 0.5))}),
        state(source(tmp_path, "nothing"), {"analyzer": [dropped("plural")], "segmentor": []}),
        state(source(tmp_path, "stopped"), {"analyzer": [Noun("square")]}),
    ]
    counts = write_records(states, tmp_path, recipe(tmp_path))
    report = json.loads((tmp_path / "report.json").read_text())
    assert report == counts.to_json()
    assert (report["sources"], report["objects"], report["records"], report["discarded"]) == (4, 4, 1, 1)
    assert report["failed"] == {"analyzer": {"endpoint": 1}}
    assert report["dropped"] == {"analyzer": {"plural": 1}, "records": {"unfinished": 1}}
    assert report["spent"]["analyzer"] == {
        "calls": 6,
        "input_tokens": 301,
        "output_tokens": 31,
        "cost": 2.0,
        "uncounted": 0,
    }
    assert report["retained"] == 0.5
    assert report["licenses"] == {"unknown": 1}


def test_the_share_that_the_reviewer_kept_is_of_its_verdicts(tmp_path):
    """Whatever the Refiner and the records leave out afterwards."""
    made = reviewed(source(tmp_path), [True, True, True, False], ["Fine.", "", "Gone.", "Other."])
    made.rows["refiner"]["objects"] = [
        one if n != 2 else {"drop": dataclasses.asdict(dropped())}
        for n, one in enumerate(made.rows["refiner"]["objects"])
    ]
    failed = reviewed(source(tmp_path, "failed"), [True])
    failed.rows["refiner"] = state(failed.source, {"refiner": Failure("endpoint", "Down.")}).rows["refiner"]
    counts = write_records([made, failed], tmp_path, recipe(tmp_path))
    assert (counts.records, counts.discarded) == (1, 1)
    assert counts.verdicts == {"kept": 4, "discarded": 1}
    assert counts.retained == pytest.approx(4 / 5)


def test_another_format_leaves_no_older_records_behind(tmp_path):
    for form, other in (("json", "parquet"), ("parquet", "json")):
        write_records([reviewed(source(tmp_path), [True])], tmp_path, recipe(tmp_path, format=form))
        assert (tmp_path / f"records.{form}").exists()
        assert not (tmp_path / f"records.{other}").exists()


def test_a_run_that_breaks_off_leaves_the_files_as_they_were(tmp_path):
    write_records([reviewed(source(tmp_path), [True])], tmp_path, recipe(tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}

    def broken():
        yield reviewed(source(tmp_path), [False])
        raise EngineError("The ledger is damaged.")

    with pytest.raises(EngineError, match="damaged"):
        write_records(broken(), tmp_path, recipe(tmp_path))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("output", "product", "said"),
    [
        ({"format": "csv"}, "detailed", "output.format is 'csv'"),
        ({"frames": 0}, "detailed", "output.frames is 0"),
        ({}, "long", "product is 'long'"),
    ],
)
def test_settings_that_nobody_understands(tmp_path, output, product, said):
    asked = dataclasses.replace(recipe(tmp_path, **output), product=product)
    with pytest.raises(ConfigurationError, match=said):
        write_records([], tmp_path, asked)
    assert not list(tmp_path.iterdir())


def test_folders_that_cannot_be_written(tmp_path):
    (tmp_path / "run").write_text("no folder")
    with pytest.raises(EngineError, match="cannot be written"):
        write_records([], tmp_path / "run", recipe(tmp_path))


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    """Ten times the sources take no more memory."""
    code = """
        import sys, tracemalloc
        from pathlib import Path
        from tests.engine_states import recipe, reviewed, source
        from videorefer_plugin.data_engine.records import write_records
        folder = Path(sys.argv[1])
        def states(count):
            for number in range(count):
                yield reviewed(source(folder, str(number)), [True, False])
        peaks = []
        for count in (30, 300):
            tracemalloc.start()
            write_records(states(count), folder, recipe(folder))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 2 * peaks[0] + 1_000_000, peaks
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], check=True)
