"""Answerers for models that take no regions: boxes in words, frames and then a summary; and items about pictures."""

import base64
import io
import json
import re

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
from videorefer_plugin.bench.evaluate import evaluate
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


@pytest.mark.parametrize("box_format", FORMATS)
@pytest.mark.parametrize("size", [(61, 97), (3, 2000), (1080, 1920), (2, 1)])
def test_objects_are_within_their_boxes(box_format, size):
    height, width = size
    steps = {"0-1": 1, "pixels": None}.get(box_format) or (None if box_format == "pixels" else int(box_format[2:]))
    spots = {(0, 0), (height - 1, width - 1), (height // 3, width // 7), (height // 2, width // 2)}
    for top, left in spots:
        mask = np.zeros(size, bool)
        mask[top, left] = True
        x0, y0, x1, y1 = json.loads(re.sub(r"\b0+(?=\d)", "", box_text(Region({0: mask}), 0, size, box_format)))
        across, down = (width, height) if steps is None else (steps, steps)
        assert 0 <= x0 <= left / width * across < (left + 1) / width * across <= x1 <= across
        assert 0 <= y0 <= top / height * down < (top + 1) / height * down <= y1 <= down


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


@pytest.fixture(scope="module")
def folder(bench):
    """Frames of a video of a width and height of their own, and items about objects that are not seen together."""
    root = bench / "frames"
    root.mkdir()
    for number in range(9):
        Image.fromarray(np.full((61, 97, 3), 20 * number, np.uint8)).save(root / f"{number:05d}.png")
    seen = {"every": range(9), "late": [7], "early": [1], "both": [3, 5], "there": [5]}
    shown = {name: {str(at): BOX for at in frames} for name, frames in seen.items()}
    common = {"video": "frames", "height": 61, "width": 97, "frame_idx": "3"}
    question = {"options": ["(A) yes", "(B) no"], "Answer": "(A)", "type": "Basic Questions"}
    for names in CHOSEN:
        asked = " and ".join(f"<object{number}><region>" for number, _ in enumerate(names))
        item = {**common, **question, "annotation": [shown[name] for name in names], "Question": f"Where is {asked}?"}
        (bench / f"{'-'.join(names)}.json").write_text(json.dumps([{**item, "id": "a"}]))
    said = [{"from": "human", "value": "<video>\nHow many cuts are there?"}, {"from": "gpt", "value": "None."}]
    record = {"id": "r", "video": "frames", "conversations": said}
    (bench / "without.json").write_text(json.dumps([record]))
    return bench


BOX = {"segmentation": [[10, 5, 20, 5, 20, 15, 10, 15]]}
CHOSEN = {
    ("every",): [2, 6],
    ("every", "late"): [2, 7],
    ("every", "early", "late"): [1, 7],
    ("both", "there"): [3, 5],
    ("every", "both", "there"): [2, 5],
    ("early", "late", "there"): [1, 5, 7],  # more than were asked for, as models that see all frames at once get
}


def frames_shown(server):
    """Numbers of the frames of `folder` that were sent, one request after the other."""
    return [int(frame[0, 0, 0]) // 20 for request in server.requests for frame in sent(request)[0]]


@pytest.mark.spread(2)
@pytest.mark.parametrize("names", CHOSEN)
def test_every_object_is_on_a_frame(folder, tmp_path, server, names):
    model = FramesThenSummary(FrameEndpoint(chat(server)), num_frames=2)
    evaluate_questions(folder / f"{'-'.join(names)}.json", model, tmp_path, mode="multi")
    assert frames_shown(server) == CHOSEN[names]
    texts = " ".join(sent(request)[1] for request in server.requests)
    assert all(f"Object {number} is outlined" in texts for number, _ in enumerate(names, 1))


@pytest.mark.spread(2)
@pytest.mark.parametrize("mode", ["single", "multi"])
@pytest.mark.parametrize(("num_frames", "expected"), [(1, 1), (3, 3), (16, 9)])
def test_without_objects_frames_of_the_whole_video_are_shown(folder, tmp_path, server, mode, num_frames, expected):
    model = FramesThenSummary(FrameEndpoint(chat(server)), num_frames=num_frames)
    result = evaluate("records", folder / "without.json", model, tmp_path, mode=mode)
    assert result["answered"] == 1
    shown = frames_shown(server)
    assert shown == sorted(set(shown))
    assert len(shown) == expected


@pytest.mark.spread(1)
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("make", [FramesThenSummary, BoxText, lambda seer: MarkedEndpoint(seer.chat)])
def test_one_failure_in_a_batch_costs_its_neighbors_nothing(folder, tmp_path, server, make, workers):
    (item,) = read_items(folder / "both-there.json")
    asked = [{**item, "id": str(at), "Question": f"{item['Question']} Number {at}."} for at in range(4)]
    (folder / "four.json").write_text(json.dumps(asked))

    def reply(messages):
        _, text = sent({"messages": messages})
        return 400 if "Number 2" in text and "frame 1 of 2" not in text else "(A)"

    server.reply = reply
    model = make(FrameEndpoint(ChatEndpoint("m", base_url=server.url, retries=0, timeout=60, workers=workers)))
    result = evaluate_questions(folder / "four.json", model, tmp_path, mode="multi", batch_size=4)
    assert list(result["failed"]) == ["2"]
    paid = len(server.requests)
    assert paid == (11 if isinstance(model, FramesThenSummary) else 4)  # two frames each and their summary
    if isinstance(model, FramesThenSummary):
        assert "frame 2 of 2" in result["failed"]["2"]
    # The next run does what failed.
    server.reply = lambda messages: "(A)"
    again = evaluate_questions(folder / "four.json", model, tmp_path, mode="multi", batch_size=4)
    assert (again["answered"], again["failed"]) == (4, {})


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


@pytest.mark.spread(2)
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
        ({"marks": "box", "max_frames_per_region": 3}, "--marks uses no --max-frames-per-region"),
        ({"answerer": "box-text", "mask_policy": "keep"}, "--answerer box-text uses no --mask-policy"),
        ({"answerer": "frames-then-summary", "mask_policy": "original"}, "summary uses no --mask-policy"),
        ({"answerer": "frames-then-summary", "summary_model": "embedded"}, "--summary-model is 'embedded'"),
    ],
)
def test_settings_that_exclude_each_other(settings, said):
    with pytest.raises(BenchError, match=said.replace("(", r"\(")):
        make_answerer("q", "nowhere/at-all", **settings)


@pytest.mark.parametrize("settings", [{"marks": "box"}, {"answerer": "box-text"}, {"answerer": "frames-then-summary"}])
def test_what_a_benchmark_says_of_regions_refuses_nobody(settings):
    assert "max_frames_per_region" not in make_answerer("captions", str(CHECKPOINT), **settings).settings()
    for given, used in ((None, 16), (4, 4)):
        answerer = make_answerer("captions", str(CHECKPOINT), max_frames_per_region=given)
        assert answerer.settings()["max_frames_per_region"] == used


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


@pytest.mark.spread(1)
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
