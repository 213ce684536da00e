"""Answerers for models that take no regions: boxes in words, frames and then a summary; and items about pictures."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.bench_data import read_items, write_benchmark
from tests.chat_server import KEY, ChatServer
from tests.conftest import CHECKPOINT
from tests.tiny_hosts import BY_NAME
from videorefer_plugin import Region
from videorefer_plugin.bench import (
    ChatEndpoint,
    MarkedEndpoint,
    MarkedModel,
    RegionModel,
    evaluate_descriptions,
    evaluate_questions,
    read_descriptions,
    read_questions,
)
from videorefer_plugin.bench.answerers import BoxText
from videorefer_plugin.bench.boxes import FORMATS, box_text
from videorefer_plugin.bench.choosing import make_answerer
from videorefer_plugin.bench.frame_by_frame import FramesThenSummary
from videorefer_plugin.bench.prompts import boxed_prompt
from videorefer_plugin.bench.seeing import FrameEndpoint, FrameModel
from videorefer_plugin.errors import BenchError
from videorefer_plugin.video import open_video

SQUARE = {"segmentation": [[8, 16, 24, 16, 24, 48, 8, 48]]}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return write_benchmark(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module")
def pictures(bench):
    """A picture of the world with one object to describe and to ask about."""
    video = open_video(next((bench / "videos").iterdir()))
    Image.fromarray(video.read([2])[0]).save(bench / "picture.png")
    common = {"image": "picture.png", "annotation": [{"0": SQUARE}], "height": 64, "width": 64}
    (bench / "pictures_d.json").write_text(json.dumps([{**common, "caption": "A red star."}]))
    question = {"Question": "What is <object3><region>?", "options": ["(A) a star", "(B) a dot"], "Answer": "(A)"}
    (bench / "pictures_q.json").write_text(json.dumps([{**common, **question, "type": "Basic Questions"}]))
    return bench


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    server.reply = lambda messages: "The answer is (A)."
    yield server
    server.close()


def chat(server, model="sees-frames"):
    return ChatEndpoint(model, base_url=server.url, retries=0, timeout=60)


def sent(request):
    """The pictures and the text of a request."""
    content = request["messages"][-1]["content"]
    if isinstance(content, str):
        return [], content
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    frames = [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))).astype(int) for url in urls]
    return frames, content[-1]["text"]


# --- boxes in words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("box_format", "expected"),
    [
        ("0-1", "[0.125, 0.250, 0.375, 0.750]"),
        ("0-100", "[12, 25, 38, 75]"),
        ("0-999", "[124, 249, 375, 750]"),
        ("0-1000", "[125, 250, 375, 750]"),
        ("pixels", "[8, 16, 24, 48]"),
    ],
)
def test_formats_of_boxes(box_format, expected):
    mask = np.zeros((64, 64), bool)
    mask[16:48, 8:24] = True
    region = Region({4: mask})
    assert box_text(region, 4, (64, 64), box_format) == expected
    assert box_text(region, 5, (64, 64), box_format) is None


def test_a_box_stands_where_the_region_was(bench, tmp_path, server):
    model = BoxText(FrameEndpoint(chat(server)), "pixels", num_frames=4)
    result = evaluate_questions(bench / "bench_q.json", model, tmp_path, limit=1)
    assert result["settings"]["sees"] == "boxes as text: pixels"
    (item,) = read_questions(bench / "bench_q.json", mode="single")[:1]
    (region,) = item.regions("single")
    box = box_text(region, item.frame, (64, 64), "pixels")
    frames, text = sent(server.requests[0])
    assert len(frames) == 4
    assert f"object 1 {box}" in text.splitlines()[-1]
    assert "which is 64 wide and 64 high" in text
    assert "<region>" not in text
    assert " of 4, at " in text


def test_boxes_of_several_frames_are_listed_with_their_times(bench, tmp_path, server):
    evaluate_questions(
        bench / "bench_q.json", BoxText(FrameEndpoint(chat(server)), num_frames=4), tmp_path, mode="multi", limit=1
    )
    _, text = sent(server.requests[0])
    lines = text.splitlines()
    assert "from 0 to 1" in lines[1]
    assert lines[2].startswith("Object 1 is in the boxes [0.")
    assert lines[2].count(" of 4, at ") == lines[2].count("[") > 1
    assert "[" not in lines[-1]


def test_objects_without_a_box_and_names_that_come_again():
    said = boxed_prompt("Is <object2><region> by <region>? (A) <object2> is.", [[("", "[1, 2, 3, 4]")], []], "in px")
    assert said.splitlines() == [
        "Boxes are [left, top, right, bottom], in px.",
        "Object 1 is in the box [1, 2, 3, 4].",
        "Object 2 has no box here.",
        "Is object 1 [1, 2, 3, 4] by object 2? (A) object 1 is.",
    ]


# --- frames, then a summary ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", [False, True])
def test_frames_are_shown_one_by_one_and_summed_up(bench, tmp_path, server, other):
    server.reply = lambda messages: "It is (B)." if isinstance(messages[-1]["content"], str) else "Seen: (A)"
    summary = chat(server, "sums-up") if other else None
    model = FramesThenSummary(FrameEndpoint(chat(server)), summary, style="mask", num_frames=3)
    result = evaluate_questions(bench / "bench_q.json", model, tmp_path, mode="multi", limit=1)
    *looks, merged = server.requests
    assert [len(sent(request)[0]) for request in looks] == [1, 1, 1]
    assert ["frame 1 of 3" in sent(looks[0])[1], "frame 3 of 3" in sent(looks[2])[1]] == [True, True]
    assert all("Object 1 is covered with red" in sent(request)[1] for request in looks)
    _, text = sent(merged)
    assert merged["model"] == ("sums-up" if other else "sees-frames")
    assert text.count("Seen: (A)") == 3
    assert "object 1? (A) " in text
    assert result["scores"]["items"][0]["prediction"] == "It is (B)."
    assert result["settings"]["sees"] == "frames, then a summary (marks: mask)"


def test_one_frame_needs_no_summary(bench, tmp_path, server):
    model = FramesThenSummary(FrameEndpoint(chat(server)), box_format="0-100")
    evaluate_questions(bench / "bench_q.json", model, tmp_path, limit=2)
    assert len(server.requests) == 2
    frames, text = sent(server.requests[0])
    assert len(frames) == 1
    assert "from 0 to 100" in text


@pytest.mark.parametrize(("of_summary", "said"), [(False, "frame 1 of "), (True, "the summary of ")])
def test_a_frame_without_an_answer_fails_its_item_alone(bench, tmp_path, server, of_summary, said):
    asked = []

    def reply(messages):
        summary = isinstance(messages[-1]["content"], str)
        if summary == of_summary and not asked:
            asked.append(messages)
            return 400
        return "(A)"

    server.reply = reply
    one = ChatEndpoint("m", base_url=server.url, retries=0, timeout=60, workers=1)
    model = FramesThenSummary(FrameEndpoint(one))
    result = evaluate_questions(bench / "bench_q.json", model, tmp_path, mode="multi", limit=2)
    assert result["answered"] == 1
    assert said in next(iter(result["failed"].values()))


def test_what_answers_depend_on_is_in_the_settings(server):
    seer, one, other = FrameEndpoint(chat(server)), chat(server, "one"), chat(server, "other")
    models = [
        BoxText(seer),
        BoxText(seer, "pixels"),
        BoxText(seer, num_frames=3),
        FramesThenSummary(seer),
        FramesThenSummary(seer, style="box"),
        FramesThenSummary(seer, box_format="0-1"),
        FramesThenSummary(seer, one),
        FramesThenSummary(seer, other),
        FramesThenSummary(FrameEndpoint(one), other),
        MarkedEndpoint(seer.chat),
    ]
    assert len({json.dumps(model.settings(), sort_keys=True) for model in models}) == len(models)


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl", "smolvlm", "internvl"])
def test_hosts_read_boxes_and_see_single_frames(bench, tmp_path, name):
    row = BY_NAME[name]
    seer = FrameModel(row.model(), processor=row.processor(), max_new_tokens=2)
    for model in (BoxText(seer, num_frames=4), FramesThenSummary(seer, num_frames=2)):
        result = evaluate_questions(bench / "bench_q.json", model, tmp_path, mode="multi", batch_size=2, limit=2)
        assert result["answered"] == 2, result["failed"]


# --- choosing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sees"),
    [
        ({}, "regions"),
        ({"marks": "box"}, "marks: box"),
        ({"answerer": "marks"}, "marks: contour"),
        ({"answerer": "box-text"}, "boxes as text: 0-1"),
        ({"box_format": "0-999"}, "boxes as text: 0-999"),
        ({"answerer": "frames-then-summary"}, "frames, then a summary (marks: contour)"),
        ({"answerer": "frames-then-summary", "marks": "mask"}, "frames, then a summary (marks: mask)"),
        (
            {"answerer": "frames-then-summary", "box_format": "pixels"},
            "frames, then a summary (boxes as text: pixels)",
        ),
    ],
)
def test_who_answers(settings, sees):
    assert make_answerer("q", str(CHECKPOINT), **settings).settings()["sees"] == sees


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"answerer": "oracle"}, "expected one of regions, marks, frames-then-summary, box-text"),
        ({"answerer": "regions", "marks": "box"}, "sees no marks"),
        ({"answerer": "box-text", "marks": "box"}, "sees no marks"),
        ({"answerer": "marks", "box_format": "0-1"}, "has no boxes in words"),
        ({"marks": "box", "box_format": "0-1"}, "exclude each other"),
        ({"answerer": "box-text", "object_encoder": "x"}, "exclude each other"),
        ({"box_format": "0-7"}, f"expected one of {', '.join(FORMATS)}"),
        ({"answerer": "frames-then-summary", "marks": "arrow"}, "expected one of contour, mask, box"),
        ({"summary_model": "m"}, "only --answerer frames-then-summary has a summary"),
        ({"answerer": "frames-then-summary", "summary_endpoint": "openai"}, "no --summary-model"),
        ({"endpoint": "openai"}, "takes no regions"),
    ],
)
def test_settings_that_exclude_each_other(settings, said):
    with pytest.raises(BenchError, match=said.replace("(", r"\(")):
        make_answerer("q", "nowhere/at-all", **settings)


# --- pictures --------------------------------------------------------------------------------------------------------


def test_pictures_are_shown_as_pictures(pictures, tmp_path, server):
    (item,) = read_descriptions(pictures / "pictures_d.json", mode="single")
    assert item.prompt.endswith("in the image.")
    evaluate_descriptions(pictures / "pictures_d.json", MarkedEndpoint(chat(server)), None, tmp_path)
    for model in (BoxText(FrameEndpoint(chat(server))), FramesThenSummary(FrameEndpoint(chat(server)))):
        evaluate_descriptions(pictures / "pictures_d.json", model, None, tmp_path, mode="multi")
    assert [len(sent(request)[0]) for request in server.requests] == [1, 1, 1]
    texts = [sent(request)[1] for request in server.requests]
    assert texts[0].startswith("Object 1 is outlined with red and carries the number 1 in the picture.")
    assert "object 1 [0.125, 0.250, 0.375, 0.750] in the image." in texts[1]
    assert not any("frame " in text for text in (texts[0], texts[2]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_models_with_regions_take_pictures_also_beside_videos(pictures, tmp_path, shared_model, processor, batch_size):
    mixed = [*read_items(pictures / "bench_q.json")[:2], *read_items(pictures / "pictures_q.json")]
    (pictures / "mixed.json").write_text(json.dumps([{**item, "id": str(at)} for at, item in enumerate(mixed)]))
    for model in (
        RegionModel(shared_model, processor=processor, num_frames=4, max_new_tokens=2),
        MarkedModel(shared_model, processor=processor, num_frames=4, max_new_tokens=2),
        BoxText(FrameModel(shared_model, processor=processor, max_new_tokens=2), num_frames=4),
        FramesThenSummary(FrameModel(shared_model, processor=processor, max_new_tokens=2), num_frames=2),
    ):
        for mode in ("single", "multi"):
            result = evaluate_questions(pictures / "mixed.json", model, tmp_path, mode=mode, batch_size=batch_size)
            assert result["answered"] == 3, result["failed"]


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_5_vl"])
def test_hosts_take_pictures(pictures, tmp_path, name):
    row = BY_NAME[name]
    model, processor = row.attached()
    for answerer in (
        RegionModel(model, processor=processor, max_new_tokens=2),
        MarkedModel(row.model(), processor=row.processor(), max_new_tokens=2),
    ):
        result = evaluate_descriptions(pictures / "pictures_d.json", answerer, None, tmp_path)
        assert result["answered"] == 1, result["failed"]
