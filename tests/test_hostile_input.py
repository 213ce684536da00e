"""The matrix of hostile input: at every door, each kind of it has one outcome, an error that says so or a value.

Inputs of a kind are drawn by hypothesis, always the same ones. Every door counts the distinct inputs that it met.
"""

import io
import json
import math
import tempfile
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

import videorefer_plugin as vr
from tests import media
from tests.hostile import LONGEST_MESSAGE, draw, in_time, refuses
from tests.media import write_video
from tests.test_hosts import shared
from tests.test_inputs import talk
from tests.training_data import turns
from videorefer_plugin.bench.items import read_captions, read_questions
from videorefer_plugin.bench.judge_replies import compatible_scores, reply_scores
from videorefer_plugin.bench.letters import strict_letter
from videorefer_plugin.errors import (
    BenchError,
    ConfigurationError,
    PromptError,
    RecordError,
    RegionError,
    TensorError,
    VideoError,
    VideoReferError,
)
from videorefer_plugin.object_encoder import ObjectEncoder, ObjectEncoderConfig
from videorefer_plugin.regions import encode_rle
from videorefer_plugin.regions.text import read_region
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.training.records import check_record, parse_record
from videorefer_plugin.video import sources

HEIGHT, WIDTH, FRAMES = 48, 80, 12
MISSING = "no/such/video.mp4"

# --- shapes in their JSON form, which stands wherever a region may ---------------------------------------------------

x = st.one_of(st.integers(2, WIDTH - 2), st.floats(2, WIDTH - 2))
y = st.one_of(st.integers(2, HEIGHT - 2), st.floats(2, HEIGHT - 2))
point = st.tuples(x, y).map(list)
points = st.lists(point, min_size=3, max_size=6)
share = st.floats(0.01, 0.99)
relative = st.lists(st.tuples(share, share).map(list), min_size=3, max_size=6)
box = st.tuples(x, y, st.integers(1, 40), st.integers(1, 40)).map(lambda b: [b[0], b[1], b[0] + b[2], b[1] + b[3]])
no_corner = st.sampled_from([math.nan, math.inf, -math.inf, None, True, "5", [], {}, 10**400])
no_number = st.one_of(no_corner, st.sampled_from([-(10**30), 1e300]))  # boxes are clipped to the frame
mask = st.binary(min_size=HEIGHT * WIDTH // 8, max_size=HEIGHT * WIDTH // 8).map(
    lambda bits: np.unpackbits(np.frombuffer(bits, np.uint8)).reshape(HEIGHT, WIDTH)
)


def with_one(values: st.SearchStrategy[Any], wrong: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """A flat list in which one value is another."""

    def put(drawn: tuple[Any, Any, int]) -> list[Any]:
        given_, other, place = drawn
        flat = list(np.asarray(given_, dtype=object).ravel())
        flat[place % len(flat)] = other
        return flat

    return st.tuples(values, wrong, st.integers(0, 99)).map(put)


def pairs(flat: list[Any]) -> list[list[Any]]:
    return [flat[place : place + 2] for place in range(0, len(flat), 2)]


def rle_with(**changes: Any) -> dict[str, Any]:
    return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": [10, 20, HEIGHT * WIDTH - 30], **changes}}


WRONG_SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "number of a box": with_one(box, no_corner).map(lambda b: {"box": b}),
    "length of a box": st.lists(x, max_size=9).filter(lambda b: len(b) != 4).map(lambda b: {"box": b}),
    "reversed box": box.map(lambda b: {"box": [b[2], b[3], b[0], b[1]]}),
    "relative box": st.tuples(share, share).map(lambda b: {"box": [0, 0, *b]}),
    "number of points": with_one(points, no_number).map(lambda flat: {"points": pairs(flat)}),
    "relative points": relative.map(lambda given_: {"points": given_}),
    "length of a point": st.lists(x, min_size=3, max_size=5).map(lambda one: {"points": [one, one]}),
    "radius": st.one_of(no_number.filter(lambda n: n is not None), st.floats(-1e6, -0.01)).map(
        lambda radius: {"points": [[9, 9]], "radius": radius}
    ),
    "labels": st.one_of(
        st.lists(st.sampled_from([2, -1, "1", True, 0.5, None]), min_size=2, max_size=2),
        st.lists(st.sampled_from([0, 1]), min_size=3, max_size=5),
    ).map(lambda labels: {"points": [[9, 9], [20, 20]], "labels": labels}),
    "number of a polygon": with_one(points, no_number).map(lambda flat: {"polygon": pairs(flat)}),
    "short polygon": st.lists(point, max_size=2).map(lambda given_: {"polygon": given_}),
    "relative polygon": relative.map(lambda given_: {"polygon": given_}),
    "number of a scribble": with_one(points, no_number).map(lambda flat: {"scribble": pairs(flat)}),
    "width": st.one_of(no_number.filter(lambda n: n is not None), st.floats(-1e6, 0)).map(
        lambda width: {"scribble": [[9, 9], [20, 20]], "width": width}
    ),
    "size of an RLE": st.one_of(
        st.lists(st.one_of(no_number, st.integers(-9, 0), st.floats(1.5, 9)), min_size=2, max_size=2),
        st.lists(st.integers(1, 9), max_size=4).filter(lambda size: len(size) != 2),
        st.tuples(st.integers(20_000, 10**9), st.integers(20_000, 10**9)).map(list),
    ).map(lambda size: rle_with(size=size)),
    "run of an RLE": st.one_of(no_number, st.integers(-99, -1), st.floats(0.1, 9)).map(
        lambda run: rle_with(counts=[10, run, HEIGHT * WIDTH - 10])
    ),
    "sum of an RLE": st.lists(st.integers(1, 99), min_size=1, max_size=9).map(lambda runs: rle_with(counts=runs)),
    "text of an RLE": st.one_of(
        st.text(st.characters(min_codepoint=112), min_size=1, max_size=9),
        st.sampled_from(["", "o", "5\ud800", "0" * 9]),
    ).map(lambda text: rle_with(counts=text)),
    "two shapes": st.tuples(box, points).map(lambda two: {"box": two[0], "points": two[1]}),
    "unknown key": st.tuples(
        st.sampled_from(["bbox", "mask", "Box", "boxes", "point", "segmentatoin", "rle"]), box
    ).map(lambda one: {one[0]: one[1]}),
    "something beside a shape": st.tuples(st.sampled_from(["score", "width", "labels", "id"]), box).map(
        lambda one: {one[0]: 1, "box": one[1]}
    ),
    "no shape": st.one_of(st.text(max_size=9), st.integers(), st.floats(), st.booleans(), box),
}

WRONG_FRAMES = st.sampled_from(
    [
        *("-1", "1.0", "1e3", "one", "", " ", "1 ", "\u0661", "\u00b2", "1_0", "0x1", "9" * 30, "nan", "\ud800"),
        *("time:", "time:-1", "time:nan", "time:inf", "time:1s", "time:1,5", "time:\u0661", "frame:1"),
    ]
)

# What a question, a record and an item of a benchmark hold beside the region.


def record_of(region: Any, folder: Path) -> dict[str, Any]:
    return {
        "video": str(folder / "a.mp4"),
        "conversations": turns("<video>\n<region>?", "It."),
        "annotation": [region],
    }


def item_of(region: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "video": "a.mp4",
        "Question": "What is <object0><region>?",
        "Answer": "(A) A dog",
        "options": ["(A) A dog", "(B) A cat"],
        "type": "Basic Questions",
        "annotation": [region],
    }


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        write_video(Path(name) / "a.mp4", FRAMES, size=(WIDTH, HEIGHT))
        yield Path(name)


@pytest.fixture(scope="module")
def doors(processor: Any, folder: Path) -> dict[str, tuple[Callable[[Any], Any], type[VideoReferError]]]:
    """Each door with the error that it answers wrong regions with. Nothing else of the call is ever looked at."""
    host = shared("llava_onevision")[1]
    files = iter(range(10**9))

    def file(value: Any) -> Path:
        path = folder / f"{next(files)}.json"
        path.write_text(json.dumps(value))
        return path

    def record(region: Any) -> None:
        check_record(parse_record(record_of(region, folder)))

    def chat(region: Any) -> None:
        message = talk(MISSING, {"type": "region", "region": region})
        processor.apply_chat_template(message, tokenize=True, return_dict=True, return_tensors="pt")

    return {
        "Region.from_json": (vr.Region.from_json, RegionError),
        "VideoReferProcessor": (
            lambda region: processor(text="<video>\n<region>", videos=MISSING, regions=[region]),
            RegionError,
        ),
        "RegionProcessor": (
            lambda region: host(text="<video>\n<region>", videos=MISSING, regions=[region]),
            RegionError,
        ),
        "apply_chat_template": (chat, RegionError),
        "ask": (lambda region: vr.ask("no/model", MISSING, "What is <region>?", [region]), RegionError),
        "--region": (lambda region: read_region("region", str(file(region))), RegionError),
        "record": (record, RecordError),
        "bench": (lambda region: read_questions(file([item_of(region)]), folder), BenchError),
    }


DOORS = {
    "Region.from_json": 150,
    "VideoReferProcessor": 150,
    "RegionProcessor": 150,
    "apply_chat_template": 150,
    "ask": 150,
    "--region": 150,
    "record": 150,
    "bench": 150,
}
"""Doors of regions in their JSON form, and the least number of distinct inputs that each of them meets."""


def test_the_matrix_is_large_enough():
    assert sum(DOORS.values()) >= 600


@pytest.mark.spread(2)
@pytest.mark.parametrize("door", DOORS)
def test_wrong_shapes_and_frames_are_refused_at_every_door(door, doors):
    enter, error = doors[door]
    check = refuses(error, enter)
    met = sum(draw(shape.map(lambda one: {"3": one}), check) for shape in WRONG_SHAPES.values())
    met += draw(st.tuples(WRONG_FRAMES, box).map(lambda one: {one[0]: {"box": one[1]}}), check, 30)
    assert met >= DOORS[door]


RIGHT_SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "box": box.map(lambda b: {"box": b}),
    "points": points.map(lambda given_: {"points": given_, "labels": [1] + [0] * (len(given_) - 1)}),
    "disc": st.tuples(point, st.floats(0, 20)).map(lambda one: {"points": [one[0]], "radius": one[1]}),
    "polygon": points.map(lambda given_: {"polygon": [*given_, [2, 2], [70, 3], [70, 40]]}),
    "scribble": st.tuples(points, st.floats(1, 9)).map(lambda one: {"scribble": one[0], "width": one[1]}),
    "segmentation": mask.filter(np.any).map(lambda m: {"segmentation": encode_rle(m)}),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("kind", RIGHT_SHAPES)
def test_right_shapes_are_the_same_region_at_every_door(kind, folder):
    def check(shape: Any) -> None:
        region = vr.Region.from_json({"3": shape})
        expected = region.mask(3, HEIGHT, WIDTH)
        assert expected.any()
        path = folder / "right.json"
        path.write_text(json.dumps([item_of({"3": shape})]))
        (item,) = read_questions(path, folder)
        path.write_text(json.dumps({"3": shape}))
        record = parse_record(record_of({"3": shape}, folder))
        check_record(record)
        for same in (
            vr.Region.from_json(region.to_json()),
            vr.Region.from_annotation({"3": shape}),
            read_region("region", str(path)),
            item.regions("multi")[0],
            record.regions()[0],
        ):
            np.testing.assert_array_equal(same.mask(3, HEIGHT, WIDTH), expected)

    assert draw(RIGHT_SHAPES[kind], check) >= 6


# --- masks -----------------------------------------------------------------------------------------------------------

several = mask.map(lambda m: np.where(np.arange(WIDTH) < 20, 2, 1) * m)
MASKS: dict[str, tuple[st.SearchStrategy[Any], Any]] = {
    # what is given -> what counts, or None where it must be refused
    "bool": (mask.map(lambda m: m.astype(bool)), lambda m: m),
    "0 and 255": (mask.map(lambda m: m * 255), lambda m: m > 0),
    "0.0 and 1.0": (mask.map(lambda m: m.astype(np.float32)), lambda m: m > 0),
    "logits": (mask.map(lambda m: (m - 0.5) * 7), lambda m: m > 0),
    "tensor": (mask.map(torch.from_numpy), lambda m: m.numpy() > 0),
    "probabilities": (mask.map(lambda m: m * 0.9 + 0.05), None),
    "label map": (several.filter(lambda m: len(np.unique(m)) == 3), None),
    "NaN": (mask.map(lambda m: np.where(m, np.nan, 0)), None),
    "stack": (mask.map(lambda m: m[None]), None),
    "text": (mask.map(lambda m: m.astype(str)), None),
    "complex": (mask.map(lambda m: m * 1j), None),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_count_as_they_say_or_are_refused(kind):
    values, counts = MASKS[kind]

    def check(value: Any) -> None:
        for make in (vr.Region.from_mask, lambda given_: vr.Region({0: given_})):
            if counts is None:
                refuses(RegionError, make)(value)
            else:
                np.testing.assert_array_equal(make(value).mask(0, HEIGHT, WIDTH), counts(value))

    assert draw(values.filter(lambda m: bool((np.asarray(m) != 0).any())), check) >= 6


@pytest.mark.parametrize(
    ("values", "options", "counts"),
    [
        (MASKS["probabilities"][0], {"threshold": 0.5}, lambda m: m > 0.5),
        (several, {"label": 2}, lambda m: m == 2),
        (several, {"threshold": 1}, lambda m: m > 1),
    ],
)
def test_masks_count_as_they_are_told(values, options, counts):
    def check(value: Any) -> None:
        region = vr.Region.from_mask(value, **options)
        np.testing.assert_array_equal(region.mask(0, HEIGHT, WIDTH), counts(value))

    draw(values.filter(lambda m: bool(counts(m).any())), check)


# --- texts, numbers, files -------------------------------------------------------------------------------------------

half = st.tuples(st.text(max_size=9), st.integers(0xD800, 0xDFFF).map(chr), st.text(max_size=9)).map("".join)
half = half.filter(lambda text: any("\ud800" <= letter <= "\udfff" for letter in text))


@pytest.mark.parametrize("door", ["call", "host", "chat", "ask", "record", "bench"])
def test_half_characters_are_refused(door, processor, folder):
    host = shared("llava_onevision")[1]

    def record(text: str) -> None:
        check_record(parse_record({"conversations": turns(text, "Yes.")}))

    def bench(text: str) -> None:
        path = folder / "half.json"
        path.write_text(json.dumps([{**item_of({"3": {"box": [1, 2, 30, 40]}}), "Question": text + "<region>"}]))
        read_questions(path, folder)

    enter: dict[str, tuple[Callable[[str], Any], type[VideoReferError]]] = {
        "call": (lambda text: processor(text=text), PromptError),
        "host": (lambda text: host(text=text), PromptError),
        "chat": (
            lambda text: processor.apply_chat_template(talk(MISSING, {"type": "text", "text": text})),
            PromptError,
        ),
        "ask": (lambda text: vr.ask("no/model", MISSING, text), PromptError),
        "record": (record, RecordError),
        "bench": (bench, BenchError),
    }
    call, error = enter[door]
    assert draw(half, refuses(error, call)) >= 6


too_many = st.one_of(st.integers(5000, 10**18), st.sampled_from([10**400, 10**5000]))
no_count = st.one_of(st.integers(-(10**30), 0), st.booleans(), st.floats(), st.sampled_from(["8", [8], {}]))


@pytest.mark.parametrize("door", ["sample", "call", "host"])
def test_numbers_of_frames_are_bounded(door, processor, folder):
    host = shared("llava_onevision")[1]
    video = vr.open_video(folder / "a.mp4")
    enter: Callable[[Any], Any] = {
        "sample": video.sample,
        "call": lambda number: processor(text="<video>\n", videos=MISSING, num_frames=number),
        "host": lambda number: host(text="<video>\n", videos=MISSING, num_frames=number),
    }[door]
    assert draw(st.one_of(too_many, no_count), refuses(VideoError, enter), 30) >= 20


NUMBERS = {
    "train.max_steps": ["-5", ".nan", "1.5", "'3'", "true", "[3]"],
    "train.epochs": ["-1", ".nan", ".inf", "true", "'one'"],
    "train.learning_rate": ["-1", ".nan", ".inf", "'1e-3x'", "true"],
    "train.batch_size": ["0", "-2", "1.5", ".nan", "true", "100000000000000000000"],
    "train.seed": ["-1", "1.5", ".nan", "100000000000000000000", "true"],
    "train.scheduler": ["cosin", "3", "[]"],
    "train.optimizer": ["adamm", "3", "[]"],
    "train.parts": ["[]", "[nothing]", "projector"],
    "data.workers": ["-1", "1.5", ".nan", "true"],
}


@pytest.mark.spread(13)
@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in NUMBERS.items() for value in values])
def test_numbers_of_recipes_are_refused_when_read(field, value):
    refuses(ConfigurationError, lambda override: load_recipe("videollama2.1-7b/stage1", [override]))(
        f"{field}={value}"
    )


@pytest.mark.parametrize("kind", ["features", "masks", "both"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stops_at_the_object_encoder(kind, value):
    encoder = ObjectEncoder(ObjectEncoderConfig(8, 12, max_tokens_per_region=2))

    def check(place: tuple[int, int, int]) -> None:
        features, masks = torch.ones(2, 3, 5, 8), torch.ones(3, 3, 5)
        if kind != "masks":
            features[place[0] % 2, place[1], place[2], 1] = value
        if kind != "features":
            masks[place] = value
        refuses(TensorError, lambda _: encoder(features, masks, torch.tensor([0, 1, 1]), torch.tensor([1, 2])))(place)

    assert draw(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 4)), check) >= 6


# --- replies ---------------------------------------------------------------------------------------------------------

space = st.text(" \t\n\r\x0b\x0c\u00a0\u3000", min_size=1, max_size=4)


def test_any_white_space_may_stand_in_a_score():
    def check(given_: tuple[list[str], float]) -> None:
        (first, second), score = given_
        found = compatible_scores(f"1.{first}Subject Correspondence:{second}{score}")
        assert found == {"Subject Correspondence": score}

    assert draw(st.tuples(st.lists(space, min_size=2, max_size=2), st.sampled_from([0.0, 2.5, 5.0])), check, 40) >= 30


thought = st.text("ABCD. is\n", max_size=30)


def test_thoughts_are_no_answers():
    def check(given_: tuple[str, str]) -> None:
        thinking, letter = given_
        assert strict_letter(f"<think>{thinking}</think>{letter}") == letter
        assert strict_letter(f"<think>{thinking}</think>The answer is ({letter}).") == letter
        assert strict_letter(f"<think>{thinking} {letter}") is None
        assert reply_scores(f"<think>{thinking} SC: 1</think> SC: 4") == {"SC": 4.0}

    assert draw(st.tuples(thought, st.sampled_from("ABCD")), check, 30) >= 20


# --- files that are torn or edited -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", [read_questions, read_captions])
def test_torn_benchmarks_are_refused(reader, folder):
    item = {**item_of({"3": {"box": [1, 2, 30, 40]}}), "caption": "A dog runs."}
    text = json.dumps([item, {**item, "id": "2"}], indent=1)

    def check(length: int) -> None:
        path = folder / "torn.json"
        path.write_text(text[:length])
        refuses(BenchError, lambda _: reader(path, folder))(length)

    assert draw(st.integers(0, len(text) - 1), check, 20) >= 15


def test_torn_videos_give_their_own_frames_or_an_error(folder):
    """Bytes of a film are overwritten; what can still be read is the picture that was there before."""
    original = (folder / "a.mp4").read_bytes()
    frames = vr.open_video(folder / "a.mp4").read(range(FRAMES)).astype(int)

    def check(damage: tuple[float, int]) -> None:
        place, length = int(damage[0] * len(original)), damage[1]
        path = folder / "torn.mp4"
        path.write_bytes(original[:place] + bytes(length) + original[place + length :])
        for number in range(FRAMES):
            try:
                found = vr.open_video(path).read([number])[0].astype(int)
            except VideoError:
                continue
            assert found.shape == frames[number].shape
            apart = np.abs(frames - found).mean(axis=(1, 2, 3))
            assert apart[number] <= apart.min() + 1, f"frame {number} shows frame {int(apart.argmin())}"

    assert draw(st.tuples(st.floats(0, 1), st.sampled_from([1, 16, 200, 4000])), check, 12) >= 8


def giant_webp(side: int, frames: int = 1, animated: bool = True) -> bytes:
    """A WebP of a few bytes a frame that says to be this large."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + len(content).to_bytes(4, "little") + content

    head = bytes([2 * animated, 0, 0, 0]) + (side - 1).to_bytes(3, "little") * 2
    pixel = media.animation([np.zeros((1, 1, 3), np.uint8)])[12:]
    frame = chunk(b"ANMF", bytes(12) + b"\x28\0\0\0" + pixel)
    body = b"WEBP" + chunk(b"VP8X", head) + (chunk(b"ANIM", bytes(6)) + frame * frames if animated else pixel)
    return chunk(b"RIFF", body)


class Endless(io.RawIOBase):
    """A stream that never ends."""

    def read(self, size: int = -1) -> bytes:
        return bytes(size)


MEGABYTE = 1 << 20
# Name -> (who reads it, what is given, made before memory is counted, and the most MB that it may take; what is said)
BOMBS: dict[str, tuple[Callable[[Any], Any], Callable[[], Any], int, str]] = {
    "giant WebP": (vr.open_video, lambda: giant_webp(1 << 24), 1, "at most 67108864 pixels"),
    "giant WebP as an image": (vr.load_image, lambda: giant_webp(1 << 24), 1, "cannot be read|larger"),
    "giant still WebP": (vr.load_image, lambda: giant_webp(60_000, animated=False), 1, "cannot be read|larger"),
    "many frames": (lambda data: vr.open_video(data).sample(30_000), lambda: giant_webp(8, 20_000), 4, "num_frames"),
    "base64": (vr.open_video, lambda: "data:;base64," + "secreT+/" * MEGABYTE, 8, "cannot be opened"),
    "wrong base64": (vr.open_video, lambda: "data:;base64," + "secreT+/" * MEGABYTE + "@", 8, "not valid base64"),
    "escapes": (vr.open_video, lambda: "data:," + "%41" * (MEGABYTE // 2), 7, "cannot be opened"),
    "much base64": (vr.open_video, lambda: "data:;base64," + "A" * (200 * MEGABYTE), 1, "has more than 104857600"),
    "base64 without more": (vr.open_video, lambda: "secreT+/" * MEGABYTE, 1, "not a path"),
    "bytes": (vr.open_video, lambda: bytes(8 * MEGABYTE), 1, "cannot be opened"),
    "endless stream": (vr.open_video, Endless, 115, "has more than 104857600 bytes.*give the path"),
    "endless image": (vr.load_image, Endless, 115, "has more than 104857600 bytes.*give the path"),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", BOMBS)
def test_bytes_and_addresses_take_no_more_memory_than_they_hold(name, monkeypatch):
    door, make, most, message = BOMBS[name]
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 100 * MEGABYTE)  # so that reaching it takes no second
    given_ = make()
    with pytest.raises(VideoError):  # what is loaded on the way is not counted
        door(b"hello")
    tracemalloc.start()
    try:
        with in_time(), pytest.raises(VideoError, match=message) as caught:
            door(given_)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < most * MEGABYTE
    assert len(str(caught.value)) < LONGEST_MESSAGE
    assert "secreT" not in str(caught.value)


def test_a_file_on_a_disk_that_is_too_long_is_not_read():
    with tempfile.TemporaryFile() as file:
        file.truncate(sources.MAX_STREAM_BYTES + 1)
        with pytest.raises(VideoError, match="too many to hold in memory"):
            vr.open_video(file)
        assert file.tell() == 0


def test_coordinates_on_the_first_pixel_warn_but_count():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        region = vr.Region.from_box((0, 0, 1, 1))
    assert len(caught) == 1
    assert region.mask(0, HEIGHT, WIDTH).sum() == 1
