"""Benchmark files: the published formats are read, and what cannot be used is named before anything runs."""

import json

import pytest

from tests import media
from tests.bench_data import as_frame_folders, change_item, read_items, write_benchmark
from videorefer_plugin.bench import read_captions, read_descriptions, read_questions
from videorefer_plugin.bench.layouts import check_layout, layouts
from videorefer_plugin.errors import BenchError
from videorefer_plugin.inputs.wording import description_prompt


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bench"))


def test_questions_as_published(bench):
    items = read_questions(bench / "bench_q.json", mode="single")
    records = read_items(bench / "bench_q.json")
    assert [item.id for item in items] == [record["id"] for record in records]
    for item, record in zip(items, records, strict=True):
        assert item.prompt == (
            f"{record['Question']} {' '.join(record['options'])}. "
            "Answer with the option's letter from the given choices directly."
        )
        assert item.video.is_file()
        assert [region.frames for region in item.regions("single")] == [(int(record["frame_idx"]),)] * len(
            record["annotation"]
        )
        for region, frames in zip(item.regions("multi"), record["annotation"], strict=True):
            assert region.frames == tuple(sorted(map(int, frames)))


def test_published_questions_name_objects_before_their_regions(bench, tmp_path):
    path = change_item(bench / "bench_q.json", tmp_path / "q.json", Question="What is <object3><region> not wearing?")
    prompt = read_questions(path, bench)[0].prompt
    assert prompt.startswith("What is <object3>[<region>] not wearing? (A)")


def test_items_without_ids_of_their_own_are_numbered(bench, tmp_path):
    items = [{**item, "id": 7} for item in read_items(bench / "bench_q.json")]
    (tmp_path / "q.json").write_text(json.dumps(items))
    assert [item.id for item in read_questions(tmp_path / "q.json", bench)] == [str(n) for n in range(len(items))]


def test_descriptions_and_folders_of_frames(bench, tmp_path):
    folder = as_frame_folders(bench, tmp_path / "frames")
    items = read_descriptions(folder / "bench_d.json", mode="single")
    assert all(item.video.is_dir() for item in items)
    assert {item.prompt for item in items} == {description_prompt()}
    assert items[0].caption == read_items(bench / "bench_d.json")[0]["caption"]


def test_items_take_the_json_form_of_regions(bench, tmp_path):
    shapes = {"time:0": {"box": [4, 4, 24, 24]}, "3": {"points": [[14, 14], [1, 1]], "labels": [1, 0]}}
    path = change_item(bench / "bench_d.json", tmp_path / "d.json", annotation=[shapes], frame_idx="0")
    item = read_descriptions(path, bench, mode="single")[0]
    assert [region.frames for region in item.regions("single")] == [(0,)]
    (region,) = item.regions("multi")
    assert region.order == (3, 0)
    assert region.mask(0, 64, 64).sum() == 20 * 20
    wrong = change_item(bench / "bench_d.json", tmp_path / "w.json", annotation=[{"3": {"box": [1, 2]}}])
    with pytest.raises(BenchError, match="object 0: frame 3: a box takes four numbers"):
        read_descriptions(wrong, bench)
    captions = change_item(wrong, tmp_path / "c.json", annotation=[{"third": {"box": [1, 2, 3, 4]}}], frame_idx=None)
    with pytest.raises(BenchError, match="'third' is not a frame"):
        read_captions(captions, bench)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"video": "gone.mp4"}, "needs the video 'gone.mp4'"),
        ({"video": None}, "has no video"),
        ({"type": "Odd Questions"}, "unknown type 'Odd Questions'"),
        ({"options": ["red", "blue"]}, "options without letters"),
        ({"options": []}, "needs a list of 'options'"),
        ({"Answer": "(Z) purple"}, "whose letter none of its options has"),
        ({"frame_idx": None}, "has no frame_idx, which single-frame mode needs"),
        ({"frame_idx": "9999"}, "has no annotation of that frame"),
        ({"frame_idx": "second"}, "expected the number of a frame"),
        ({"frame_idx": "\u0663"}, "expected the number of a frame"),
        ({"frame_idx": True}, "expected the number of a frame"),
        ({"frame_idx": 3.0}, "expected the number of a frame"),
        ({"height": True}, "has height True"),
        ({"height": 48.5}, "has height 48.5: expected a whole number of pixels from 1 to 32768"),
        ({"width": 40000}, "has width 40000: expected a whole number of pixels from 1 to 32768"),
        ({"width": 0}, "has width 0"),
        ({"height": 32768, "width": 32768}, "a frame of 32768x32768"),
        ({"annotation": []}, "annotation(s): give one for each"),
        ({"annotation": [{"3": {"segmentation": {"size": [4, 4], "counts": "?"}}}] * 2}, "annotation(s)"),
        ({"Question": "What is this?"}, "asks about 0 <region>"),
        ({"height": "tall"}, "has height 'tall'"),
    ],
)
def test_unusable_items_are_named(bench, tmp_path, changes, said):
    path = change_item(bench / "bench_q.json", tmp_path / "q.json", 1, **changes)
    name = read_items(bench / "bench_q.json")[1]["id"]
    with pytest.raises(BenchError) as caught:
        read_questions(path, bench, "single")
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert "1 of 10 item(s)" in str(caught.value)


def test_sides_may_be_whole_floats(bench, tmp_path):
    path = change_item(bench / "bench_q.json", tmp_path / "q.json", height=64.0, width=32768)
    item = read_questions(path, bench, "multi")[0]
    assert (item.height, item.width, type(item.height)) == (64, 32768, int)


def test_frame_idx_is_not_needed_in_multi_frame_mode(bench, tmp_path):
    path = change_item(bench / "bench_q.json", tmp_path / "q.json", frame_idx=None)
    assert len(read_questions(path, bench, "multi")) == 10


def test_all_unusable_items_are_counted(bench, tmp_path):
    items = [{**item, "type": "?"} for item in read_items(bench / "bench_q.json")]
    (tmp_path / "q.json").write_text(json.dumps(items))
    with pytest.raises(BenchError, match=r"10 of 10 item\(s\).*\n.*\n.*\n.*\n.*\n.*\n\.\.\. and 5 more"):
        read_questions(tmp_path / "q.json", bench)


@pytest.mark.parametrize("text", ["", "[]", "[1, 2]", "{broken", "nothing"])
def test_files_that_are_no_benchmark(tmp_path, text):
    (tmp_path / "q.json").write_text(text)
    with pytest.raises(BenchError, match=r"q\.json"):
        read_questions(tmp_path / "q.json")


def test_no_file(tmp_path):
    with pytest.raises(BenchError, match=r"q\.json is not there"):
        read_questions(tmp_path / "q.json")


# --- captions --------------------------------------------------------------------------------------------------------


def test_hc_stvg_as_published(tmp_path):
    media.write_video(tmp_path / "7_x.mp4", 6)
    record = {"bbox": [[10, 5, 20, 30], [12, 5, 20, 30]], "img_size": [48, 80, 3], "img_num": 6, "st_frame": 3}
    (tmp_path / "test.json").write_text(json.dumps({"7_x.mp4": {**record, "English": "The man waves."}}))
    (item,) = read_captions(tmp_path / "test.json")
    (region,) = item.regions("multi")
    assert item.references == ["The man waves."]
    assert region.frames == (3, 4)
    mask = region.mask(4, 48, 80)
    assert mask.sum() == 20 * 30
    assert mask[5:35, 12:32].all()
    assert len(item.regions("single")[0].frames) == 1


def test_records_with_boxes_and_several_captions(tmp_path):
    media.write_video(tmp_path / "a.mp4", 3)
    record = {"id": 4, "video": "a.mp4", "boxes": {"2": [1, 2, 11, 12]}, "caption": ["One.", "Two."]}
    (tmp_path / "captions.jsonl").write_text(json.dumps(record) + "\n")
    (item,) = read_captions(tmp_path / "captions.jsonl")
    assert (item.id, item.references) == ("4", ["One.", "Two."])
    assert item.regions("multi")[0].mask(2, 48, 80).sum() == 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"caption": []}, "needs a sentence"),
        ({"boxes": {"2": [5, 5, 5, 9]}}, "box without area"),
        ({"boxes": {"2": [5, 5]}}, "expected [x0, y0, x1, y1]"),
        ({"boxes": {}}, "needs 'annotation', 'boxes'"),
        ({"boxes": {"\u0662": [1, 2, 11, 12]}}, "the number of a frame"),
        ({"boxes": {"two": [1, 2, 11, 12]}}, "the number of a frame"),
        ({"annotation": [{"two": None}]}, "not a frame"),
    ],
)
def test_unusable_captions_are_named(tmp_path, changes, said):
    media.write_video(tmp_path / "a.mp4", 3)
    record = {"id": 4, "video": "a.mp4", "boxes": {"2": [1, 2, 11, 12]}, "caption": "One.", **changes}
    (tmp_path / "captions.json").write_text(json.dumps([record]))
    with pytest.raises(BenchError) as caught:
        read_captions(tmp_path / "captions.json")
    assert said in str(caught.value)


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_layouts_are_checked(bench, tmp_path):
    (found,) = check_layout(tmp_path, ["q"])
    assert found.missing == ["VideoRefer-Bench-Q.json", "DAVIS/JPEGImages/480p", "MeViS/valid_u/JPEGImages"]
    assert not found.complete
    for media_folder in layouts()["q"].media:
        (tmp_path / media_folder).mkdir(parents=True)
    items = [{**item, "video": str(bench / item["video"])} for item in read_items(bench / "bench_q.json")]
    (tmp_path / "VideoRefer-Bench-Q.json").write_text(json.dumps(items))
    (found,) = check_layout(tmp_path, ["q"])
    assert found.complete
    assert found.items == 10
    change_item(tmp_path / "VideoRefer-Bench-Q.json", tmp_path / "VideoRefer-Bench-Q.json", video="gone")
    (found,) = check_layout(tmp_path, ["q"])
    assert "needs the video 'gone'" in found.describe()
    with pytest.raises(BenchError, match="unknown benchmark 'z'"):
        check_layout(tmp_path, ["z"])
