"""Every way of handing in something unusable ends in an error that says what, where and what to do about it."""

import contextlib
import io
import json
import os
import pickle
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoProcessor, CLIPVisionConfig, SiglipVisionConfig, SiglipVisionModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

import videorefer_plugin as vr
from tests import media
from tests.checkpoints import TOWER, change_json, make_checkpoint, original_state, weights
from tests.conftest import CHECKPOINT
from tests.test_hosts import shared
from videorefer_plugin.asking import read_question

WIDTH, HEIGHT = media.SIZE
FRAMES = 20
FPS = 10
ONE = "<video>\nWhat is <region>?"
TWO = "<video>\nIs <region> near <region>?"
NONE = "<video>\nWhat happens?"


@contextlib.contextmanager
def refused(error: type[vr.VideoReferError], *parts: str) -> Iterator[None]:
    """The block raises exactly this error, and its message has all the parts."""
    with pytest.raises(Exception) as caught:
        yield
    raised = caught.value
    assert type(raised) is error, f"{type(raised).__name__} instead of {error.__name__}: {raised}"
    assert isinstance(raised, vr.VideoReferError)
    assert isinstance(raised, ValueError)
    for part in parts:
        assert part in str(raised), f"{part!r} is not in: {raised}"


def bad(name: str, *values: Any) -> Any:
    return pytest.param(*values, id=name)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Good and bad media files."""
    folder = tmp_path_factory.mktemp("media")
    good = media.write_video(folder / "good.mp4", FRAMES, rate=FPS)
    files = SimpleNamespace(
        good=good,
        other=media.write_video(folder / "other.mp4", 12, rate=FPS),
        single=media.write_video(folder / "single.mp4", 1),
        empty=folder / "empty.mp4",
        text=folder / "text.mp4",
        noise=folder / "noise.mp4",
        page=folder / "page.mp4",
        sound=folder / "sound.m4a",
        headless=media.cut(good, folder / "headless.mp4", 0.5),
        no_images=folder / "no_images",
        no_files=folder / "no_files",
        mixed=media.write_folder(folder / "mixed", ["0.png", "1.png", "2.png"]),
        broken_frame=media.write_folder(folder / "broken", ["0.png", "1.png", "2.png"]),
        missing=folder / "missing.mp4",
        picture=folder / "picture.png",
        broken_picture=folder / "broken.png",
    )
    # The index comes first, so that the start of the file opens and has the frames that it has.
    whole = media.write_video(folder / "whole.mkv", 60, options={"bf": "0", "g": "10"}, size=(160, 96), rate=FPS)
    files.truncated = media.cut(whole, folder / "truncated.mkv", 0.5)
    files.empty.write_bytes(b"")
    files.text.write_text("This is no video.\n" * 50)
    files.noise.write_bytes(np.random.default_rng(0).bytes(5000))
    files.page.write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    with media.av.open(str(files.sound), "w") as container:
        media.write_silence(container)
    files.no_files.mkdir()
    files.no_images.mkdir()
    (files.no_images / "notes.txt").write_text("nothing")
    Image.new("RGB", (10, 10)).save(files.mixed / "1.png")
    media.cut(files.broken_frame / "1.png", files.broken_frame / "1.png", 0.5)
    Image.fromarray(media.numbered_frame(3)).save(files.picture)
    media.cut(files.picture, files.broken_picture, 0.5)
    return files


@pytest.fixture(params=["videorefer", "host"])
def either(request: pytest.FixtureRequest) -> Any:
    """The processor of VideoRefer, and that of a host, which takes the same prompts."""
    return request.getfixturevalue("processor") if request.param == "videorefer" else shared("llava_onevision")[1]


def region(frame: int = 4, box: tuple[float, ...] = (10, 5, 60, 40)) -> vr.Region:
    return vr.Region.from_box(box, frame=frame)


def empty_mask(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.zeros((height, width), dtype=bool)


def region_counts(processor: Any, inputs: Any) -> list[int]:
    return (inputs["input_ids"] == processor.region_token_id).sum(1).tolist()


# --- prompts and regions ---------------------------------------------------------------------------------------------

GOOD_BATCH = [(ONE, 1), (TWO, 2), (ONE, 1)]


def talk(text: str, visual: Any = None) -> list[dict[str, Any]]:
    """A conversation that asks what a prompt asks."""
    visuals = [] if visual is None else [{"type": "video", "video": visual}]
    return [{"role": "user", "content": [*visuals, {"type": "text", "text": text.removeprefix("<video>\n")}]}]


def call_processor(processor: Any, texts: list[str], videos: list[Any], regions: list[Any]) -> Any:
    return processor(text=texts, videos=[video for video in videos if video], regions=regions, return_tensors="pt")


def call_template(processor: Any, texts: list[str], videos: list[Any], regions: list[Any]) -> Any:
    return processor.apply_chat_template(
        [talk(text, video) for text, video in zip(texts, videos, strict=True)],
        regions=regions, tokenize=True, return_dict=True, return_tensors="pt",
    )  # fmt: skip


DOORS = pytest.mark.parametrize("door", [call_processor, call_template], ids=["processor", "chat"])


@pytest.mark.spread(16)
@DOORS
@pytest.mark.parametrize("sample", [0, 1, 2])
@pytest.mark.parametrize(
    ("text", "count"),
    [
        bad("more-placeholders", "<video>\nWhat are <region>, <region> and <region>?", 2),
        bad("fewer-placeholders", ONE, 3),
        bad("no-placeholder", NONE, 1),
        bad("no-regions", ONE, 0),
    ],
)
def test_placeholders_and_regions_of_any_sample(door, sample, text, count, either, clips):
    batch = list(GOOD_BATCH)
    batch[sample] = (text, count)
    regions = [[region(number) for number in range(count)] for _, count in batch]
    expected = (
        f"Sample {sample} has {text.count('<region>')} <region>",
        f"{count} region(s)",
        "Pass one Region for each",
    )
    with refused(vr.PromptError, *expected):
        door(either, [text for text, _ in batch], [clips.good] * 3, regions)


@DOORS
def test_the_good_batch_is_accepted(door, either, clips):
    regions = [[region(number) for number in range(count)] for _, count in GOOD_BATCH]
    inputs = door(either, [text for text, _ in GOOD_BATCH], [clips.good] * 3, regions)
    assert region_counts(either, inputs) == [1, 2, 1]


@DOORS
@pytest.mark.parametrize("sample", [0, 1, 2])
@pytest.mark.parametrize("given", [0, 1])
def test_region_without_anything_to_point_at(door, sample, given, either, clips):
    texts, videos, regions = [ONE] * 3, [clips.good] * 3, [[region()] for _ in range(3)]
    texts[sample], videos[sample], regions[sample] = "What is <region>?", None, [region()] * given
    with refused(
        vr.PromptError, f"Sample {sample} has <region>", "neither <video> nor <image>", "nothing to point at"
    ):
        door(either, texts, videos, regions)


@pytest.mark.parametrize("text", ["<region> and <region> in\n<video>\n?", "<region> in\n<video>\nand <region>?"])
def test_regions_before_the_video_are_assigned_in_order(text, either, clips):
    """The original code gives the first object to the first `<region>` after the video."""
    long = vr.Region(dict.fromkeys((0, 3, 5), (10, 5, 60, 40)))
    short = region(7)
    inputs = either(text=text, videos=clips.good, regions=[long, short], return_tensors="pt")
    assert inputs["region_lengths"].tolist() == [[3, 1]]
    ids = inputs["input_ids"][0]
    runs = [len(run) for run in "".join("R" if one == either.region_token_id else " " for one in ids).split()]
    assert runs == [3, 1]


@pytest.mark.parametrize(
    ("regions", "error", "parts"),
    [
        bad("a-mask", [empty_mask()], vr.RegionError, ["Sample 0", "is a ndarray", "Region.from_mask"]),
        bad("a-box", [[(1, 2, 3, 4)]], vr.RegionError, ["Sample 0", "is a tuple", "Region.from_mask"]),
        bad("a-dict-alone", {"0": {"segmentation": None}}, vr.RegionError, ["Sample 0", "no pixel", "1 frame(s) (0)"]),
        bad("a-wrong-dict", [{"0": {"bbox": [1, 2, 3, 4]}}], vr.RegionError, ["Sample 0", "frame 0", "'bbox'"]),
        bad("a-string", "all of it", vr.RegionError, ["list of Regions", "is a str"]),
        bad("a-number", [3], vr.RegionError, ["Sample 0", "is a int"]),
        bad("two-samples", [[region()], [region()]], vr.RegionError, ["Sample 0", "is a list"]),
    ],
)
def test_what_is_no_region(regions, error, parts, either, clips):
    text = ONE if not isinstance(regions, list) or len(regions) == 1 else TWO
    with refused(error, *parts):
        either(text=text, videos=clips.good, regions=regions)


@pytest.mark.parametrize(
    ("regions", "error", "parts"),
    [
        bad("too-few", [[region()]], vr.PromptError, ["1 item(s) for 2 prompt(s)", "empty where there is none"]),
        bad("too-many", [[], [region()], []], vr.PromptError, ["3 item(s) for 2 prompt(s)"]),
        bad("no-list", [[], 7], vr.RegionError, ["Sample 1", "list of Regions", "int"]),
        bad("no-region", [[], ["dog"]], vr.RegionError, ["Sample 1", "is a str", "Region.from_box"]),
    ],
)
def test_regions_of_a_batch(regions, error, parts, either, clips):
    with refused(error, *parts):
        either(text=[NONE, ONE], videos=[clips.good] * 2, regions=regions)


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        bad(
            "missing-video",
            {"text": [NONE, NONE], "videos": 1},
            ["Sample 1 has <video>", "only 1 video(s)", "Pass one"],
        ),
        bad(
            "second-video-missing",
            {"text": [NONE, "<video><video>"]},
            ["Sample 1 has <video>", "only 2 video(s)", "without the angle brackets"],
        ),
        bad(
            "second-image-missing",
            {"text": [NONE, "<video> <image><image>"], "images": 1},
            ["Sample 1 has <image>", "only 1 image(s)"],
        ),
        bad("no-videos", {"text": [NONE], "videos": 0}, ["Sample 0 has <video>", "only 0 video(s)"]),
        bad(
            "video-too-many",
            {"text": [NONE, NONE], "videos": 3},
            ["3 video(s) were given", "have 2 <video>", "Put one"],
        ),
        bad("video-for-text", {"text": "Hello?", "videos": 1}, ["1 video(s) were given", "have 0 <video>"]),
        bad("missing-image", {"text": ["<image>?", NONE]}, ["Sample 0 has <image>", "only 0 image(s)"]),
        bad("image-too-many", {"text": [NONE], "videos": 1, "images": 1}, ["1 image(s) were given", "have 0 <image>"]),
        bad("image-as-video", {"text": ["<image>?"], "videos": 1}, ["Sample 0 has <image>", "only 0 image(s)"]),
        bad("no-text", {"text": None}, ["text is missing", "list of prompts"]),
        bad("empty-text", {"text": [], "videos": 0}, ["empty list", "at least one prompt"]),
        bad("number", {"text": [NONE, 5]}, ["Sample 1: text must be a string", "is a int"]),
        bad("none-inside", {"text": [None, NONE]}, ["Sample 0: text must be a string", "is a NoneType"]),
        bad("text-is-number", {"text": 5}, ["text must be a string or a list of strings", "is a int"]),
        bad(
            "half-a-character",
            {"text": [NONE, f"{NONE} \ud83d"]},
            ["Sample 1: text cannot be read", "'\\ud83d', a lone surrogate"],
        ),
        bad("sound", {"text": NONE, "audio": np.zeros(100)}, ["does not listen", "leave audio out"]),
    ],
)
def test_prompts_and_visuals(call, parts, either, clips):
    call = dict(call)
    call["videos"] = [clips.good] * call.get("videos", 2)
    call["images"] = [clips.picture] * call.get("images", 0)
    with refused(vr.PromptError, *parts):
        either(**call)


CHAT = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}


def asked(text: str) -> list[dict[str, Any]]:
    return talk(text, np.zeros((4, HEIGHT, WIDTH, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("conversation", "error", "parts"),
    [
        bad("literal-video", asked("Does <video> mean film?"), vr.PromptError,
            ["Sample 0 has <video>", "only 1 video(s)", "without the angle brackets"]),
        bad("literal-image", asked("Is <image> a tag?"), vr.PromptError,
            ["Sample 0 has <image>", "only 0 image(s)", "without the angle brackets"]),
        bad("literal-in-text-only", talk("What does <video> mean?"), vr.PromptError,
            ["Sample 0 has <video>", "only 0 video(s)"]),
        bad("empty", [], vr.PromptError, ["list of messages", "[]"]),
        bad("empty-in-batch", [talk("Hello?"), []], vr.PromptError, ["Sample 1", "list of messages"]),
        bad("none", None, vr.PromptError, ["list of messages", "None"]),
        bad("half-a-character", [talk("Hi."), talk("Hi \ude00.")], vr.PromptError,
            ["Sample 1", "character 3 is '\\ude00', a lone surrogate"]),
        bad("half-a-character-alone", [{"role": "user", "content": "\udfff"}], vr.PromptError, ["lone surrogate"]),
        bad("half-a-character-in-a-role", [{"role": "\ud800", "content": "Hi."}], vr.PromptError,
            ["role", "lone surrogate"]),
        bad("a-string", "What happens?", vr.PromptError, ["list of messages", "'What happens?'", '"role"']),
        bad("strings", ["What happens?"], vr.PromptError, ["list of messages", "'What happens?'"]),
        bad("misspelt-type", [{"role": "user", "content": [{"type": "regoin"}]}], vr.PromptError,
            ["'regoin'", "'text', 'image', 'video', 'region'"]),
        bad("audio", [talk("Hi."), [{"role": "user", "content": [{"type": "audio"}]}]], vr.PromptError,
            ["Sample 1", "'audio'", "'text'"]),
        bad("no-type", [{"role": "user", "content": [{"text": "Hello?"}]}], vr.PromptError, ["None", "'text'"]),
        bad("bare-text", [{"role": "user", "content": ["Hello?"]}], vr.PromptError, ["'Hello?'", "'text'"]),
        bad("region-without-region", [{"role": "user", "content": [{"type": "region"}]}], vr.RegionError,
            ["needs a Region", "NoneType"]),
        bad("region-is-a-box", [{"role": "user", "content": [{"type": "region", "region": (1, 2, 3, 4)}]}],
            vr.RegionError, ["needs a Region", "tuple"]),
    ],
)  # fmt: skip
def test_conversations(conversation, error, parts, either):
    with refused(error, *parts):
        either.apply_chat_template(conversation, **CHAT)


def test_regions_given_both_ways(either, clips):
    conversation = talk("What is this?", clips.good)
    conversation[0]["content"].append({"type": "region", "region": region()})
    for extra in ({"regions": [region()]}, {"processor_kwargs": {"regions": [region()]}}):
        with refused(vr.PromptError, "both as regions= and as content items", "one way"):
            either.apply_chat_template(conversation, **extra, **CHAT)


# --- regions and the frames that they lie on -------------------------------------------------------------------------


@pytest.mark.spread(17)
@pytest.mark.parametrize("sample", [0, 1])
@pytest.mark.parametrize(
    ("make", "error", "parts"),
    [
        bad("mask-size", lambda: vr.Region.from_mask(np.ones((HEIGHT, WIDTH + 4)), frame=3), vr.RegionError,
            ["frame 3", f"{HEIGHT}", f"{WIDTH + 4}"]),
        bad("mask-turned", lambda: vr.Region.from_mask(np.ones((WIDTH, HEIGHT)), frame=3), vr.RegionError,
            ["frame 3", f"{HEIGHT}"]),
        bad("rle-size", lambda: vr.Region.from_rle({"size": [20, 30], "counts": [100, 500]}, frame=2), vr.RegionError,
            ["frame 2", "20", "30", f"{WIDTH}"]),
        bad("frame-beyond", lambda: region(FRAMES), vr.RegionError,
            [f"frame {FRAMES}", f"{FRAMES} frame(s)", "numbered from 0", "good.mp4", "source video"]),
        bad("far-frame", lambda: region(0) | region(900), vr.RegionError, ["frame 900", f"{FRAMES} frame(s)"]),
        bad("time-beyond", lambda: vr.Region.from_box((1, 2, 30, 40), time=99.5), vr.VideoError,
            ["99.5 s", "2.000 s", "good.mp4", "within it"]),
        bad("two-times", lambda: vr.Region(times={1.0: (1, 2, 30, 40), 1.01: (1, 2, 30, 40)}), vr.RegionError,
            ["1.01 s", "both fall on frame 10", "keep one"]),
        bad("time-and-frame", lambda: vr.Region({10: (1, 2, 30, 40)}, times={1.0: (1, 2, 30, 40)}), vr.RegionError,
            ["frame 10 both fall on frame 10"]),
        bad("no-pixel", lambda: vr.Region.from_mask(empty_mask(), frame=5), vr.RegionError,
            ["no pixel in any of its 1 frame(s) (5)", "Mark the object"]),
        bad("all-absent", lambda: vr.Region({1: None, 2: None, 8: empty_mask()}), vr.RegionError,
            ["no pixel in any of its 3 frame(s) (1, 2, 8)", "Mark the object"]),
        bad("polygon-outside", lambda: vr.Region.from_polygon([(200, 200), (300, 200), (300, 300)]), vr.RegionError,
            ["no pixel in any of its 1 frame(s) (0)", f"{HEIGHT}x{WIDTH}", "Mark the object"]),
        bad("box-outside", lambda: region(3, (500, 1, 600, 20)), vr.RegionError, ["frame 3", "500", "outside"]),
        bad("point-outside", lambda: vr.Region.from_points([(5, 4000)], frame=1), vr.RegionError,
            ["frame 1", "4000", "outside"]),
    ],
)  # fmt: skip
def test_region_does_not_fit_its_video(make, error, parts, sample, either, clips):
    regions = [[region()], [region(1), region(2)]]
    regions[sample][-1] = make()
    with refused(error, f"Sample {sample}: region {sample}: ", *parts):
        either(text=[ONE, TWO], videos=[clips.good] * 2, regions=regions)


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        bad("negative-frame", lambda: region(-1), ["frame -1", "negative", "from 0 up"]),
        bad("negative-time", lambda: vr.Region.from_box((1, 2, 3, 4), time=-0.5), ["-0.5", "from 0 up"]),
        bad("nan-time", lambda: vr.Region(times={float("nan"): (1, 2, 3, 4)}), ["nan", "seconds"]),
        bad("fraction-of-a-frame", lambda: region(1.5), ["1.5", "whole numbers"]),
        bad(
            "frame-and-time", lambda: vr.Region.from_box((1, 2, 3, 4), 3, time=1.0), ["frame=3", "time=1.0", "one of"]
        ),
        bad("nothing", lambda: vr.Region({}), ["no shape", "at least one frame"]),
        bad("nan-in-mask", lambda: vr.Region.from_mask(np.full((HEIGHT, WIDTH), np.nan)), ["NaN"]),
        bad("nan-in-box", lambda: region(0, (1, 2, float("nan"), 4)), ["nan"]),
        bad("box-inside-out", lambda: region(0, (50, 2, 10, 40)), ["50", "10"]),
        bad("rle-does-not-add-up", lambda: vr.Region.from_rle({"size": [4, 5], "counts": [3, 4]}), ["20", "7"]),
    ],
)
def test_what_no_region_is_made_of(make, parts):
    with refused(vr.RegionError, *parts):
        make()


def test_a_frame_that_an_image_does_not_have(either, clips):
    text = "<image>\nWhat is <region>?"
    with refused(vr.RegionError, "Sample 1: region 0", "frame 1", "picture.png", "1 frame(s)"):
        either(text=[text] * 2, images=[clips.picture] * 2, regions=[[region(0)], [region(1)]])
    assert either(text=text, images=clips.picture, regions=[region(0)])["region_lengths"].tolist() == [[1]]


@pytest.mark.parametrize(
    "made",
    [
        bad("no-pixel", vr.Region.from_mask(empty_mask(), frame=5)),
        bad("all-absent", vr.Region({1: None, 2: None})),
        bad("polygon-outside", vr.Region.from_polygon([(200, 200), (300, 200), (300, 300)])),
    ],
)
def test_objects_without_a_pixel_are_accepted_as_the_original_does(made, processor, model, clips):
    inputs = processor(text=ONE, videos=clips.good, regions=[made], mask_policy="original", return_tensors="pt")
    assert inputs["region_lengths"].tolist() == [[len(made)]]
    assert not inputs["region_masks"].any()
    with torch.no_grad():
        assert model(**inputs).logits.isfinite().all()


# --- media -----------------------------------------------------------------------------------------------------------


@pytest.mark.spread(16)
@pytest.mark.parametrize("sample", [0, 1])
@pytest.mark.parametrize(
    ("name", "parts"),
    [
        bad("missing", "missing", ["no file or folder", "missing.mp4", "check the path"]),
        bad("empty", "empty", ["empty.mp4", "empty file (0 bytes)"]),
        bad("text", "text", ["text.mp4"]),
        bad("noise", "noise", ["noise.mp4"]),
        bad("web-page", "page", ["page.mp4"]),
        bad("sound-only", "sound", ["sound.m4a"]),
        bad("no-index", "headless", ["headless.mp4"]),
        bad("folder-without-images", "no_images", ["no_images", "holds no images", ".png"]),
        bad("empty-folder", "no_files", ["no_files", "is empty", ".png"]),
        bad("folder-with-two-sizes", "mixed", ["1.png", "10x10", f"{WIDTH}x{HEIGHT}", "one size"]),
        bad("folder-with-broken-frame", "broken_frame", ["1.png", "damaged"]),
        bad("an-image", "picture", ["picture.png", "single image", "load_image"]),
    ],
)
def test_videos_that_cannot_be_read(name, parts, sample, either, clips):
    videos = [clips.good] * 2
    videos[sample] = getattr(clips, name)
    with refused(vr.VideoError, f"Sample {sample}: ", *parts):
        either(text=[NONE] * 2, videos=videos)


def test_truncated_video_says_which_frames_decode(either, clips):
    """What is there can be used; what is not is not made up."""
    with refused(
        vr.VideoError, "Sample 1: ", "truncated.mkv", "59)", "Of its 60 frames, these can: 0 to", "only for those"
    ):
        either(text=[NONE, ONE], videos=[clips.good, clips.truncated], regions=[[], [region(59)]])


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        bad("missing", Path("nowhere.png"), ["'nowhere.png'", "check the path"]),
        bad("broken", "broken_picture", ["broken.png", "damaged"]),
        bad("a-video", "good", ["good.mp4", "cannot be read as an image"]),
        bad("bytes", b"hello", ["bytes object of 5 bytes", "cannot be read as an image"]),
        bad("open-file", io.BytesIO(b"hello"), ["BytesIO", "cannot be read as an image"]),
        bad("grey", np.zeros((HEIGHT, WIDTH, 1), dtype=np.uint8), ["(H, W, 3)", "np.repeat"]),
        bad("with-nan", np.full((HEIGHT, WIDTH, 3), np.nan), ["[0, 1]", "nan"]),
        bad("not-scaled", np.full((HEIGHT, WIDTH, 3), 255.0), ["[0, 1]", "255", "uint8"]),
    ],
)
def test_images_that_cannot_be_read(source, parts, either, clips):
    source = getattr(clips, source) if isinstance(source, str) else source
    with refused(vr.VideoError, "Sample 1: ", *parts):
        either(text=["<image>?"] * 2, images=[clips.picture, source])


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        bad("grey", np.zeros((5, HEIGHT, WIDTH, 1), dtype=np.uint8), ["Sample 0", "(T, H, W, 3)", "np.repeat"]),
        bad("no-frames", np.zeros((0, HEIGHT, WIDTH, 3), dtype=np.uint8), ["Sample 0", "at least one frame"]),
        bad("integers", np.zeros((5, HEIGHT, WIDTH, 3), dtype=np.int64), ["Sample 0", "int64", "uint8"]),
        bad("with-nan", np.full((5, HEIGHT, WIDTH, 3), np.nan), ["Sample 0", "nan", "[0, 1]"]),
        bad("a-number", 7, ["int", "expected a path, bytes"]),
        bad("no-bytes", b"", ["Sample 0", "0 bytes", "empty"]),
        bad("text-in-bytes", b"hello " * 9, ["Sample 0", "bytes object of 54 bytes", "cannot be opened as a video"]),
        bad("text-in-an-open-file", io.BytesIO(b"hello"), ["Sample 0", "BytesIO", "cannot be opened as a video"]),
        bad("a-text-file", io.StringIO("hello"), ["Sample 0", "str instead of bytes", "binary mode"]),
        bad("no-base64", "data:video/mp4;base64,x@", ["Sample 0", "URL of 24 characters", "not valid base64"]),
        bad("file-url", "file:///no/such.mp4", ["Sample 0", "no file or folder at '/no/such.mp4'"]),
        bad(
            "address",
            "http://127.0.0.1:9/a.mp4?key",
            ["Sample 0", "'http://127.0.0.1:9/a.mp4'", "download the file first"],
        ),
        bad("a-dict", {"path": "good.mp4"}, ["dict", "expected a path"]),
        bad(
            "grey-stack", np.zeros((HEIGHT, WIDTH), dtype=np.uint8), ["ndarray of shape", "(frames, height, width, 3)"]
        ),
        bad(
            "unlike-sizes", [np.zeros((5, 6, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)], ["one size", "5x6", "6x5"]
        ),
    ],
)
def test_arrays_that_are_no_video(source, parts, either):
    with refused(vr.VideoError, *parts):
        either(text=NONE, videos=source)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        bad("start-beyond", {"video_start": 50.0}, ["50 s", "2.000 s", "within it"]),
        bad("end-before", {"video_end": -1.0}, ["-1 s", "above 0"]),
        bad("nan", {"video_start": float("nan")}, ["finite number", "nan"]),
        bad("no-frames", {"num_frames": 0}, ["num_frames", "at least 1", "0"]),
        bad("negative-frames", {"num_frames": -3}, ["num_frames", "at least 1", "-3"]),
        bad("half-a-frame", {"num_frames": 2.5}, ["num_frames", "whole number", "2.5"]),
        bad("no-max-frames", {"max_frames": -1}, ["max_frames", "at least 1", "-1"]),
        bad("no-rate", {"fps": 0}, ["fps", "above 0", "0"]),
        bad("rate-in-words", {"fps": "two"}, ["fps", "number", "'two'"]),
    ],
)
def test_sampling_that_takes_nothing(settings, parts, either, clips):
    # What no video could give is refused before any is opened, and so names none.
    sample = [] if {"num_frames", "max_frames"} & settings.keys() else ["Sample 0: "]
    with refused(vr.VideoError, *sample, *parts):
        either(text=NONE, videos=clips.good, **settings)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        bad("one-frame", {"num_frames": 1}, ["Sample 0: ", "1 frame(s)", "no token", "at least 2"]),
        bad("no-max-frames", {"sample_by_second": True, "max_frames": -1}, ["max_frames", "at least 1", "-1"]),
    ],
)
def test_sampling_that_takes_too_little_for_videorefer(settings, parts, processor, clips):
    with refused(vr.VideoError, *parts):
        processor(text=NONE, videos=clips.good, **settings)


def test_start_of_one_video_only(either, clips):
    with refused(vr.VideoError, "video_start has 1 value(s)", "2 video(s)", "one for each"):
        either(text=[NONE] * 2, videos=[clips.good] * 2, video_start=[0.0])


def test_clips_of_one_frame_and_of_unequal_lengths(processor, clips):
    with refused(vr.VideoError, "Sample 1: ", "1 frame(s)", "single.mp4", "at least 2"):
        processor(text=[NONE] * 2, videos=[clips.good, clips.single], do_sample_frames=False)
    inputs = processor(text=[NONE] * 2, videos=[clips.good, clips.other], do_sample_frames=False)
    assert inputs["video_lengths"].tolist() == [20, 12]


def test_an_image_that_is_shown_once_makes_no_token(clips):
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    processor.num_frames = 1
    with refused(vr.ConfigurationError, "Sample 0: ", "1 frame(s)", "num_frames", "at least 2"):
        processor(text="<image>?", images=clips.picture)


# --- settings of the processor ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        bad("misspelt-num-frames", {"num_frame": 4}, ["'num_frame'", "did you mean 'num_frames'?"]),
        bad("misspelt-policy", {"maskpolicy": "keep"}, ["'maskpolicy'", "did you mean 'mask_policy'?"]),
        bad("misspelt-regions", {"region": []}, ["'region'", "did you mean 'regions'?"]),
        bad("misspelt-in-a-group", {"videos_kwargs": {"nun_frames": 4}}, ["'nun_frames'", "'num_frames'"]),
        bad("misspelt-tokenizer", {"paddding": True}, ["'paddding'", "did you mean 'padding'?"]),
        bad("unknown", {"zzzzzz": 1}, ["Processor has no setting 'zzzzzz'"]),
        bad("policy", {"mask_policy": "drop"}, ["mask_policy 'drop'", "'keep', 'original'"]),
    ],
)
def test_settings(settings, parts, either, clips):
    with refused(vr.ConfigurationError, *parts):
        either(text=NONE, videos=clips.good, **settings)
    if "videos_kwargs" not in settings:
        with refused(vr.ConfigurationError, *parts):
            either.apply_chat_template(talk(NONE, clips.good), processor_kwargs=settings, **CHAT)


def test_aspect_ratio(processor, clips):
    with refused(vr.ConfigurationError, "image_aspect_ratio 'anyres'", "'square' and 'pad'"):
        processor(text=NONE, videos=clips.good, image_aspect_ratio="anyres")


@pytest.mark.parametrize("max_length", [8, 20, 30])
@pytest.mark.parametrize("side", ["left", "right"])
def test_truncation_must_leave_placeholders(max_length, side, processor, clips):
    short, long = "Hello?", "Once upon a time " * 20 + ONE + " And then?" * 20
    processor.tokenizer.truncation_side, before = side, processor.tokenizer.truncation_side
    try:
        with refused(vr.PromptError, "Sample 1 needs", "position(s), but", "truncated", "Raise max_length"):
            processor(
                text=[short, long],
                videos=[clips.good],
                regions=[[], [region()]],
                truncation=True,
                max_length=max_length,
            )
    finally:
        processor.tokenizer.truncation_side = before


# --- inputs of the model ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good_inputs(processor: Any, clips: SimpleNamespace) -> dict[str, Any]:
    """Three samples: 1 video with one region of two frames, 1 with two regions, 1 image with one region.

    The frames of the first region are not in the clip; those of the others are.
    """
    regions = [
        [region(2) | region(7)],
        [region(1), region(4)],
        [region(0)],
    ]
    texts = [ONE, TWO, "<image>\nWhat is <region>?"]
    return dict(
        processor(text=texts, videos=[clips.good] * 2, images=[clips.picture], regions=regions, return_tensors="pt")
    )


@pytest.fixture
def tower_runs(model: Any) -> Iterator[list[int]]:
    """Grows with every run of the vision tower."""
    runs: list[int] = []
    tower = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    hook = tower.embeddings.register_forward_hook(lambda module, args, output: runs.append(len(output)))
    yield runs
    hook.remove()


def forward(model: Any, inputs: dict[str, Any]) -> Any:
    with torch.no_grad():
        return model(**inputs)


def generate(model: Any, inputs: dict[str, Any]) -> Any:
    return model.generate(**inputs, max_new_tokens=2, do_sample=False)


MODEL_DOORS = pytest.mark.parametrize("door", [forward, generate])


@MODEL_DOORS
def test_the_good_inputs_run_the_tower(door, good_inputs, model, tower_runs):
    door(model, good_inputs)
    assert tower_runs


def put(value: Any, *index: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.clone()
        tensor[index] = value
        return tensor

    return change


def drop(_: Any) -> None:
    return None


NAN, INFINITY = float("nan"), float("inf")
REGION_TENSORS = ("region_pixel_values", "region_masks", "region_frames", "region_lengths")
CLIPS = ("pixel_values_videos", "video_lengths")

BAD_TENSORS = [
    # visuals
    bad("nan-in-video", {"pixel_values_videos": put(NAN, 1, 3, 0, 5, 5)}, vr.TensorError,
        ["pixel_values_videos holds NaN at index 1"]),
    bad("nan-in-image", {"pixel_values": put(NAN, 0, 2, 0, 0)}, vr.TensorError, ["pixel_values holds NaN at index 0"]),
    bad("infinity-in-video", {"pixel_values_videos": put(INFINITY, 1, 3, 0, 5, 5)}, vr.TensorError,
        ["pixel_values_videos holds infinity at index 1"]),
    bad("infinity-in-image", {"pixel_values": put(-INFINITY, 0, 2, 0, 0)}, vr.TensorError,
        ["pixel_values holds infinity at index 0"]),
    bad("both-in-half-video", {"pixel_values_videos": lambda t: put(INFINITY, 0, 0, 0, 0, 0)(
        put(NAN, 1, 0, 0, 0, 0)(t.half()))}, vr.TensorError,
        ["pixel_values_videos holds NaN and infinity at index 0, 1 of"]),
    bad("image-size", {"pixel_values": lambda t: t[..., :40, :40]}, vr.TensorError,
        ["pixel_values must have shape (num_images, 3, 42, 42)", "(1, 3, 40, 40)"]),
    bad("video-size", {"pixel_values_videos": lambda t: t[..., :36]}, vr.TensorError,
        ["(num_videos, num_frames, 3, 42, 42)", "(2, 8, 3, 42, 36)"]),
    bad("video-without-batch", {"pixel_values_videos": lambda t: t[0]}, vr.TensorError,
        ["(num_videos, num_frames, 3, 42, 42)", "(8, 3, 42, 42)"]),
    bad("channels-last", {"pixel_values_videos": lambda t: t.movedim(2, -1)}, vr.TensorError, ["(2, 8, 42, 42, 3)"]),
    bad("raw-frames", {"pixel_values_videos": lambda t: (t * 255).byte()}, vr.TensorError,
        ["pixel_values_videos", "floating-point", "torch.uint8", "processor"]),
    bad("video-list", {"pixel_values_videos": lambda t: t.tolist()}, vr.TensorError,
        ["pixel_values_videos", "list", "return_tensors='pt'"]),
    bad("one-frame", {"pixel_values_videos": lambda t: t[:, :1], "video_lengths": drop}, vr.TensorError,
        ["(2, 1, 3, 42, 42)", "no token", "at least 2 frames"]),
    bad("video-missing", {"pixel_values_videos": drop}, vr.PromptError,
        ["<video> position(s)", "by sample", "0 video(s)", "all its outputs"]),
    bad("image-missing", {"pixel_values": drop}, vr.PromptError, ["<image> position(s)", "0 image(s)"]),
    bad("video-too-few", dict.fromkeys(CLIPS, lambda t: t[:1]), vr.PromptError, ["<video> position(s)", "1 video(s)"]),
    bad("video-too-many", dict.fromkeys(CLIPS, lambda t: t[[0, 1, 1]]), vr.PromptError, ["3 video(s)", "processor"]),
    bad("fewer-frames", {"pixel_values_videos": lambda t: t[:, :4], "video_lengths": drop}, vr.PromptError,
        ["by sample: [36, 36, 0]", "2 video(s) of 18 token(s)"]),
    bad("one-shorter-clip", {"video_lengths": put(4, 1)}, vr.PromptError,
        ["sample 1 has no whole number of videos", "2 video(s) of 18, 36 token(s)"]),
    bad("one-clip-of-one-frame", {"video_lengths": put(1, 1)}, vr.TensorError, ["no token", "at least 2 frames"]),
    bad("lengths-of-clips-too-few", {"video_lengths": lambda t: t[:1]}, vr.TensorError,
        ["video_lengths must hold one whole number for each of the 2 video(s)", "(1,)"]),
    bad("lengths-of-clips-beyond", {"video_lengths": put(9, 1)}, vr.TensorError,
        ["video_lengths are 8, 9", "room for 1 to 8 frame(s)"]),
    bad("lengths-of-clips-zero", {"video_lengths": put(0, 0)}, vr.TensorError,
        ["video_lengths are 0, 8", "room for 1 to 8 frame(s)"]),
    bad("lengths-of-clips-dtype", {"video_lengths": lambda t: t.float()}, vr.TensorError,
        ["video_lengths must hold one whole number", "torch.float32"]),
    bad("lengths-of-clips-bool", {"video_lengths": lambda t: t.bool()}, vr.TensorError,
        ["video_lengths must hold one whole number", "torch.bool"]),
    bad("lengths-of-clips-list", {"video_lengths": lambda t: t.tolist()}, vr.TensorError,
        ["video_lengths must hold one whole number", "list"]),
    # ids
    bad("ids-list", {"input_ids": lambda t: t.tolist()}, vr.TensorError, ["input_ids", "list", "return_tensors='pt'"]),
    bad("ids-without-batch", {"input_ids": lambda t: t[0]}, vr.TensorError, ["(batch, length)"]),
    bad("ids-cut", {"input_ids": lambda t: t[:, :40], "attention_mask": lambda t: t[:, :40]}, vr.PromptError,
        ["Sample 0 of the batch has 0 <region> position(s)", "by sample: [0, 0, 0]", "become [2] token(s)",
         "all its outputs"]),
    # regions
    *(bad(f"no-{name}", {name: drop}, vr.TensorError,
        [f"{name} is missing", "all outputs"]) for name in REGION_TENSORS),
    *(bad(f"list-{name}", {name: lambda t: t.tolist()}, vr.TensorError, [name, "list", "return_tensors='pt'"])
      for name in REGION_TENSORS),
    *(bad(f"no-row-{name}", {name: lambda t: t[:-1]}, vr.TensorError, ["one row for each sample", f"{name} has 2"])
      for name in REGION_TENSORS),
    bad("nan-in-region-pixels", {"region_pixel_values": put(NAN, 0, 1, 0, 1, 1)}, vr.TensorError,
        ["region_pixel_values hold NaN in row(s) 0"]),
    bad("infinity-in-region-pixels", {"region_pixel_values": put(INFINITY, 0, 1, 0, 1, 1)}, vr.TensorError,
        ["region_pixel_values hold infinity in row(s) 0"]),
    bad("region-pixels-size", {"region_pixel_values": lambda t: t[..., :41]}, vr.TensorError,
        ["region_pixel_values must have shape (batch, max_frames, 3, 42, 42)", "(3, 2, 3, 42, 41)"]),
    bad("region-pixels-ndim", {"region_pixel_values": lambda t: t[0]}, vr.TensorError,
        ["(batch, max_frames, 3", "(2, 3, 42, 42)"]),
    bad("region-pixels-dtype", {"region_pixel_values": lambda t: t.byte()}, vr.TensorError,
        ["floating-point", "torch.uint8"]),
    bad("region-pixels-left-over", {"region_pixel_values": put(1.0, 2, 1)}, vr.TensorError,
        ["Row 2: no mask lies on frame(s) 1 of region_pixel_values", "with zeros"]),
    bad("region-pixels-missing", {"region_pixel_values": lambda t: t[:, :1]}, vr.TensorError,
        ["Row 0", "frame -2 of region_pixel_values", "1 frame(s)"]),
    bad("nan-in-masks", {"region_masks": lambda t: put(NAN, 0, 0, 0, 0)(t.float())}, vr.TensorError,
        ["region_masks hold NaN in row(s) 0"]),
    bad("infinity-in-masks", {"region_masks": lambda t: put(-INFINITY, 1, 1, 0, 0)(t.bfloat16())}, vr.TensorError,
        ["region_masks hold infinity in row(s) 1"]),
    bad("masks-flat", {"region_masks": lambda t: t.flatten(1)}, vr.TensorError, ["region_masks", "(3, 98)"]),
    bad("masks-ndim", {"region_masks": lambda t: t.flatten(2)}, vr.TensorError, ["region_masks", "(3, 2, 49)"]),
    bad("masks-grid", {"region_masks": lambda t: t[:, :, :6]}, vr.TensorError,
        ["(batch, max_masks, 7, 7)", "(3, 2, 6, 7)", "resize_masks"]),
    bad("masks-of-frame-size", {"region_masks": lambda t: torch.ones(3, 2, HEIGHT, WIDTH, dtype=torch.bool)},
        vr.TensorError, ["(batch, max_masks, 7, 7)", f"(3, 2, {HEIGHT}, {WIDTH})"]),
    bad("mask-missing", {"region_masks": lambda t: t[:, :-1]}, vr.TensorError, ["1 region_masks but 2 region_frames"]),
    bad("frames-dtype", {"region_frames": lambda t: t.float()}, vr.TensorError, ["region_frames", "torch.float32"]),
    bad("frames-bool", {"region_frames": lambda t: t.bool()}, vr.TensorError, ["region_frames", "torch.bool"]),
    bad("frames-ndim", {"region_frames": lambda t: t[None]}, vr.TensorError, ["region_frames", "(1, 3, 2)"]),
    bad("frames-flat", {"region_frames": lambda t: t.flatten()}, vr.TensorError,
        ["region_frames", "(6,)", "earlier version"]),
    bad("frames-beyond-the-clip", {"region_frames": put(9, 1, 0)}, vr.TensorError,
        ["region_frames name frame 9 of sample 1", "8 "]),
    bad("frames-beyond-the-image", {"region_frames": put(2, 2, 0)}, vr.TensorError,
        ["region_frames name frame 2 of sample 2", "1 "]),
    bad("frames-beyond-the-pixels", {"region_frames": put(-3, 1, 1)}, vr.TensorError,
        ["Row 1", "frame -3 of region_pixel_values", "2 frame(s)"]),
    bad("frames-unused", {"region_frames": put(-1, 0, 1)}, vr.TensorError,
        ["Row 0: no mask lies on frame(s) 1 of region_pixel_values", "call the processor once"]),
    bad("frames-missing", {"region_frames": put(0, 1, 1)}, vr.TensorError,
        ["Row 1: region_lengths add up to 2 mask(s), but region_frames place 1"]),
    bad("frames-too-many", {"region_frames": put(1, 2, 1)}, vr.TensorError,
        ["Row 2: region_lengths add up to 1 mask(s), but region_frames place 2"]),
    bad("lengths-dtype", {"region_lengths": lambda t: t.double()}, vr.TensorError,
        ["region_lengths", "torch.float64"]),
    bad("lengths-flat", {"region_lengths": lambda t: t.flatten()}, vr.TensorError, ["region_lengths", "(6,)"]),
    bad("lengths-zero", {"region_lengths": put(0, 1, 1)}, vr.TensorError,
        ["Row 1: region_lengths add up to 1 mask(s), but region_frames place 2"]),
    bad("lengths-negative", {"region_lengths": put(-1, 1, 1)}, vr.TensorError, ["fewer than 0", "[1, -1]"]),
    bad("lengths-sum", {"region_lengths": put(3, 0, 0)}, vr.TensorError,
        ["Row 0: region_lengths add up to 3 mask(s), but region_frames place 2"]),
    bad("clip-frames", {"region_clip_frames": lambda _: torch.tensor([0])}, vr.TensorError,
        ["region_clip_frames", "earlier version", "Prepare them again"]),
    # regions and ids
    bad("no-regions", dict.fromkeys(REGION_TENSORS, drop), vr.PromptError,
        ["Sample 0 of the batch has 2 <region> position(s)", "all its outputs"]),
    bad("row-lost", dict.fromkeys(REGION_TENSORS, lambda t: t[1:]), vr.PromptError,
        ["3 sample(s), of which 3 have <region>", "[2, 2, 1]", "2 row(s)"]),
    bad("row-left-over", dict.fromkeys(REGION_TENSORS, lambda t: t[[0, 1, 2, 2]]), vr.PromptError,
        ["3 sample(s)", "4 row(s)"]),
    bad("region-lost", {"region_lengths": put(0, 1, 1), "region_frames": put(0, 1, 1)}, vr.PromptError,
        ["Sample 1 of the batch has 2", "by sample: [2, 2, 1]", "1 region(s) become [1] token(s)"]),
    bad("region-left-over", {"region_lengths": put(1, 2, 1), "region_frames": put(1, 2, 1)}, vr.PromptError,
        ["Sample 2 of the batch has 1", "by sample: [2, 2, 1]", "2 region(s) become [1, 1] token(s)"]),
]  # fmt: skip


@pytest.mark.spread(30)
@MODEL_DOORS
@pytest.mark.parametrize(("changes", "error", "parts"), BAD_TENSORS)
def test_bad_tensors_are_refused_before_the_tower_runs(door, changes, error, parts, good_inputs, model, tower_runs):
    inputs = {**good_inputs, **{name: change(good_inputs.get(name)) for name, change in changes.items()}}
    with refused(error, *parts):
        door(model, {name: value for name, value in inputs.items() if value is not None})
    assert tower_runs == []


@MODEL_DOORS
@pytest.mark.parametrize("sample", [0, 1, 2])
@pytest.mark.parametrize("more", [True, False])
def test_region_ids_of_any_sample(door, sample, more, good_inputs, processor, model, tower_runs):
    ids = good_inputs["input_ids"].clone()
    region_id = processor.region_token_id
    if more:
        ids[sample, -1] = region_id
    else:
        ids[sample, (ids[sample] == region_id).nonzero()[0]] = 5
    found = (ids == region_id).sum(1).tolist()
    has = f"Sample {sample} of the batch has {found[sample]} <region> position(s)"
    with refused(vr.PromptError, has, str(found), f"become {[[2], [1, 1], [1]][sample]} token(s)", "all its outputs"):
        door(model, {**good_inputs, "input_ids": ids})
    assert tower_runs == []


@pytest.fixture(scope="module")
def encoded(shared_model: Any, good_inputs: dict[str, Any]) -> dict[str, Any]:
    with torch.no_grad():
        return {
            "image": shared_model.get_image_features(good_inputs["pixel_values"]),
            "video": shared_model.get_video_features(good_inputs["pixel_values_videos"]),
        }


@MODEL_DOORS
@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("with_regions", [True, False])
def test_pixels_and_encoder_outputs(door, kind, with_regions, good_inputs, encoded, processor, model, tower_runs):
    inputs = dict(good_inputs)
    if not with_regions:
        inputs = {name: value for name, value in inputs.items() if not name.startswith("region_")}
        inputs["input_ids"] = inputs["input_ids"].where(inputs["input_ids"] != processor.region_token_id, 5)
    name = {"image": "pixel_values", "video": "pixel_values_videos"}[kind]
    with refused(vr.PromptError, f"raw pixels ({name}) and mm_encoder_outputs for {kind}s", "Leave one out"):
        door(model, {**inputs, "mm_encoder_outputs": {kind: encoded[kind]}})
    assert tower_runs == []


@MODEL_DOORS
@pytest.mark.parametrize(
    ("outputs", "error", "parts"),
    [
        bad("not-a-dict", torch.zeros(2, 18, 48), vr.TensorError, ["mm_encoder_outputs", "dict", "Tensor"]),
        bad("bare-tensor", {"video": torch.zeros(2, 18, 48)}, vr.TensorError,
            ["mm_encoder_outputs", "'video'", "get_video_features"]),
        bad("unknown-kind", {"vidoe": BaseModelOutputWithPooling(pooler_output=torch.zeros(2, 18, 48))},
            vr.TensorError, ["'vidoe'", "'image' and 'video'"]),
        bad("other-width", {"video": BaseModelOutputWithPooling(pooler_output=torch.zeros(2, 36, 40))},
            vr.TensorError, ["'video'", "(num_videos, num_tokens, 48)", "(2, 36, 40)"]),
        bad("too-few", {"video": BaseModelOutputWithPooling(pooler_output=torch.zeros(1, 18, 48))}, vr.PromptError,
            ["<video> position(s)", "1 video(s)"]),
    ],
)  # fmt: skip
def test_bad_encoder_outputs(door, outputs, error, parts, good_inputs, model, tower_runs):
    inputs = {name: value for name, value in good_inputs.items() if name != "pixel_values_videos"}
    with refused(error, *parts):
        door(model, {**inputs, "mm_encoder_outputs": outputs})
    assert tower_runs == []


@MODEL_DOORS
@pytest.mark.parametrize("names", [("pixel_values",), ("pixel_values_videos",), REGION_TENSORS])
def test_embeddings_instead_of_ids_leave_no_place_for_visuals(door, names, good_inputs, model, tower_runs):
    embeds = torch.zeros(3, 5, 48)
    inputs = {name: good_inputs[name] for name in names}
    with refused(vr.PromptError, "need input_ids", "inputs_embeds", "Pass input_ids"):
        door(model, {"inputs_embeds": embeds, **inputs})
    assert tower_runs == []


def test_exactly_one_of_ids_and_embeddings(model):
    with refused(vr.PromptError, "exactly one of input_ids or inputs_embeds", "neither was given"):
        model()
    with refused(vr.PromptError, "exactly one of input_ids or inputs_embeds", "both were given"):
        model(input_ids=torch.ones(1, 2).long(), inputs_embeds=torch.zeros(1, 2, 48))


@MODEL_DOORS
@pytest.mark.parametrize(
    ("changes", "error", "parts"),
    [
        bad("no-counts", {"object_token_counts": None}, vr.PromptError, ["object_token_counts", "missing"]),
        bad("with-regions", {"regions": True}, vr.PromptError, ["both", "object_tokens", "Leave one out"]),
        bad("width", {"object_tokens": torch.zeros(3, 2, 40)}, vr.TensorError, ["(3, max_tokens, 48)", "(3, 2, 40)"]),
        bad("batch", {"object_tokens": torch.zeros(2, 2, 48)}, vr.TensorError, ["(3, max_tokens, 48)", "(2, 2, 48)"]),
        bad("flat", {"object_tokens": torch.zeros(5, 48)}, vr.TensorError, ["(3, max_tokens, 48)", "(5, 48)"]),
        bad("list", {"object_tokens": [[[0.0] * 48] * 2] * 3}, vr.TensorError, ["object_tokens", "list"]),
        bad("counts-shape", {"object_token_counts": torch.tensor([2, 2])}, vr.TensorError, ["3 sample(s)", "(2,)"]),
        bad("counts-dtype", {"object_token_counts": torch.tensor([2.0, 2, 1])}, vr.TensorError, ["torch.float32"]),
        bad("counts-list", {"object_token_counts": [2, 2, 1]}, vr.TensorError, ["object_token_counts", "list"]),
        bad("more-than-there-are", {"object_tokens": torch.zeros(3, 1, 48)}, vr.PromptError,
            ["Sample 0", "2 object token(s)", "at most 1"]),
        bad("more-than-places", {"object_token_counts": torch.tensor([2, 2, 2])}, vr.PromptError,
            ["Sample 2", "2 object token(s)", "1 <region> position(s)"]),
        bad("negative", {"object_token_counts": torch.tensor([2, -2, 1])}, vr.PromptError, ["Sample 1", "-2 object"]),
    ],
)  # fmt: skip
def test_bad_object_tokens(door, changes, error, parts, good_inputs, model, tower_runs):
    changes = dict(changes)
    inputs = dict(good_inputs)
    if not changes.pop("regions", False):
        inputs = {name: value for name, value in inputs.items() if not name.startswith("region_")}
    inputs |= {"object_tokens": torch.zeros(3, 2, 48), "object_token_counts": torch.tensor([2, 2, 1]), **changes}
    with refused(error, *parts):
        door(model, {name: value for name, value in inputs.items() if value is not None})
    assert tower_runs == []


@MODEL_DOORS
def test_object_tokens_with_bad_pixels(door, good_inputs, model, tower_runs):
    inputs = {name: value for name, value in good_inputs.items() if not name.startswith("region_")}
    inputs |= {"object_tokens": torch.zeros(3, 2, 48), "object_token_counts": torch.tensor([2, 2, 1])}
    inputs["pixel_values_videos"] = put(NAN, 0, 0, 0, 0, 0)(inputs["pixel_values_videos"])
    with refused(vr.TensorError, "pixel_values_videos holds NaN at index 0"):
        door(model, inputs)
    assert tower_runs == []


@pytest.mark.parametrize("training", [True, False])
def test_training_batches_are_checked_as_well(training, good_inputs, model, tower_runs):
    model.train(training)
    inputs = {**good_inputs, "region_masks": good_inputs["region_masks"][:, :, :6]}
    with refused(vr.TensorError, "region_masks"):
        model(**inputs, labels=inputs["input_ids"])
    assert tower_runs == []


@MODEL_DOORS
def test_the_bare_host_checks_too(door, good_inputs, processor, model, tower_runs):
    """Without regions, the same model is a plain VideoLLaMA2."""
    host = vr.VideoLLaMA2ForConditionalGeneration.__new__(vr.VideoLLaMA2ForConditionalGeneration)
    host.__dict__ = model.__dict__
    inputs = {name: value for name, value in good_inputs.items() if not name.startswith("region_")}
    with refused(vr.TensorError, "pixel_values_videos holds NaN at index 1"):
        door(host, {**inputs, "pixel_values_videos": put(NAN, 1, 0, 0, 0, 0)(inputs["pixel_values_videos"])})
    with refused(vr.PromptError, "<video> position(s)", "1 video(s)"):
        door(host, {**inputs, **{name: inputs[name][:1] for name in CLIPS}})
    assert tower_runs == []


# --- configurations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        bad("no-frames", {"num_frames": 0}, ["num_frames must be at least 1", "0"]),
        bad("negative-frames", {"num_frames": -8}, ["num_frames must be at least 1", "-8"]),
        bad("projector", {"projector_type": "mlp2x_gelu"}, ["'mlp2x_gelu'", "'stc_connector_v35', 'stc_connector'"]),
        bad("aspect-ratio", {"image_aspect_ratio": "crop"}, ["'crop'", "'square' and 'pad'"]),
        bad("layer", {"vision_feature_layer": 99}, ["vision_feature_layer 99", "27 layers", "-28 to 27"]),
        bad("tower-type", {"vision_config": {"model_type": "dinov2"}}, ["'dinov2'", "'siglip_vision_model'"]),
        bad("tower-unknown", {"vision_config": {"model_type": "eyes"}}, ["'eyes'", "'siglip_vision_model'"]),
        bad("tower-no-dict", {"vision_config": "siglip"}, ["'siglip'", "dict"]),
        bad("text-unknown", {"text_config": {"model_type": "babble"}}, ["'babble'", "'qwen2'"]),
        bad("encoder-setting", {"object_encoder_config": {"depth": 2}}, ["depth", "projector_depth"]),
        bad("encoder-no-unions", {"object_encoder_config": {"max_tokens_per_region": 0}},
            ["max_tokens_per_region", "positive integer", "0"]),
        bad("encoder-half-depth", {"object_encoder_config": {"projector_depth": 1.5}}, ["projector_depth", "1.5"]),
        bad("encoder-bool", {"object_encoder_config": {"projector_depth": True}}, ["projector_depth", "True"]),
        bad("encoder-vision-width", {"object_encoder_config": {"vision_hidden_size": 7}}, ["is 7", "width 1152"]),
        bad("encoder-text-width", {"object_encoder_config": {"hidden_size": 7}}, ["is 7", "width 3584"]),
        bad("encoder-no-dict", {"object_encoder_config": "pooling"}, ["'pooling'", "dict"]),
        bad("encoder-list", {"object_encoder_config": [1, 2]}, ["[1, 2]", "dict"]),
    ],
)  # fmt: skip
def test_configurations(values, parts):
    with refused(vr.ConfigurationError, *parts):
        vr.VideoReferConfig(**values)


@pytest.mark.parametrize(
    "values",
    [{"vision_hidden_size": 0}, {"hidden_size": -1}, {"max_tokens_per_region": "4"}, {"projector_depth": None}],
)
def test_object_encoder_configurations(values):
    ((name, value),) = values.items()
    with refused(vr.ConfigurationError, f"ObjectEncoderConfig.{name} must be a positive integer", repr(value)):
        vr.ObjectEncoderConfig(**values)


LOADERS = pytest.mark.parametrize(
    "load",
    [AutoConfig.from_pretrained, AutoModel.from_pretrained, vr.VideoReferProcessor.from_pretrained],
    ids=["config", "model", "processor"],
)


@pytest.mark.spread(6)
@LOADERS
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        bad(
            "projector", {"mm_projector_type": "mlp2x_gelu"}, ["mm_projector_type", "'mlp2x_gelu'", "'stc_connector'"]
        ),
        bad("no-projector", {"mm_projector_type": None}, ["mm_projector_type", "'linear'", "'stc_connector'"]),
        bad(
            "region-encoder",
            {"mm_region_encoder_type": "attention"},
            ["mm_region_encoder_type 'attention'", "'pooling'"],
        ),
        bad("feature", {"mm_vision_select_feature": "cls_patch"}, ["mm_vision_select_feature 'cls_patch'", "'patch'"]),
        bad("layer", {"mm_vision_select_layer": -9}, ["vision_feature_layer -9", "hidden states"]),
        bad("no-frames", {"num_frames": 0}, ["num_frames must be at least 1"]),
    ],
)
def test_original_configurations(load, changes, parts, tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", **changes)
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    with refused(vr.ConfigurationError, *parts):
        load(folder)


# --- checkpoints -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def quickly(seconds: float = 5.0) -> Iterator[None]:
    """Nothing in the block waits for a network."""
    before = time.monotonic()
    yield
    assert time.monotonic() - before < seconds


@LOADERS
@pytest.mark.parametrize("name", [TOWER.name, "./towers/siglip", "nobody/siglip-nowhere", "/nowhere/siglip"])
def test_tower_nowhere_to_be_found(load, name, tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", mm_vision_tower=name)
    expected = f"'{name}'", "neither from the working directory", os.getcwd(), "nor on the Hub", "vision_tower="
    with quickly(), refused(vr.CheckpointError, *expected):
        load(folder)


def test_no_look_up_of_what_cannot_be_on_the_hub(tmp_path, monkeypatch):
    """Asking for it would take half a minute wherever the Hub is out of reach, and huggingface_hub is not told so."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *args, **kwargs: pytest.fail(f"looked up {args}"))
    folder = make_checkpoint(tmp_path / "checkpoint")
    with refused(vr.CheckpointError, f"'{TOWER.name}'"):
        AutoConfig.from_pretrained(folder)


@LOADERS
def test_tower_that_is_not_named(load, tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", mm_vision_tower=None)
    with refused(vr.CheckpointError, str(folder), "mm_vision_tower", "vision_tower="):
        load(folder)


def without_tower() -> dict[str, torch.Tensor]:
    return {name: value for name, value in weights().items() if "vision_tower" not in name}


def test_tower_nowhere_to_be_found_for_weights(tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", without_tower())
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    config = AutoConfig.from_pretrained(folder)
    shutil.rmtree(tmp_path / TOWER.name)
    with quickly(), refused(vr.CheckpointError, str(folder), f"'{TOWER.name}'", "neither", "vision_tower="):
        AutoModel.from_pretrained(folder, config=config)
    config.vision_tower = "nobody/siglip-nowhere"
    with quickly(), refused(vr.CheckpointError, str(folder), "'nobody/siglip-nowhere'", "vision_tower="):
        AutoModel.from_pretrained(folder, config=config)
    config.vision_tower = None
    with refused(vr.CheckpointError, str(folder), "names none", "vision_tower="):
        AutoModel.from_pretrained(folder, config=config)


def test_tower_folder_without_weights(tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", without_tower())
    shutil.copytree(TOWER, tmp_path / TOWER.name, ignore=shutil.ignore_patterns("*.safetensors"))
    with refused(vr.CheckpointError, str(tmp_path / TOWER.name), "model.safetensors"):
        AutoModel.from_pretrained(folder)


def make_tower(folder: Path, **values: Any) -> Path:
    sizes = SiglipVisionConfig.from_pretrained(TOWER).to_dict()
    SiglipVisionModel(SiglipVisionConfig(**{**sizes, **values})).save_pretrained(folder)
    shutil.copy(TOWER / "preprocessor_config.json", folder)
    return folder


@LOADERS
def test_tower_of_another_width(load, tmp_path):
    tower = make_tower(tmp_path / "wide", hidden_size=64)
    folder = make_checkpoint(tmp_path / "checkpoint", without_tower())
    with refused(vr.CheckpointError, "width 32 (mm_hidden_size)", f"{str(tower)!r} has width 64", "vision_tower="):
        load(folder, vision_tower=tower)


def test_tower_that_does_not_fit_the_configuration(tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", without_tower())
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    config = AutoConfig.from_pretrained(folder)
    tower = make_tower(tmp_path / "other", intermediate_size=40)
    with refused(vr.CheckpointError, str(tower), "does not fit", str(folder)):
        AutoModel.from_pretrained(folder, config=config, vision_tower=tower)


@LOADERS
def test_tower_of_another_kind(load, tmp_path):
    tower = make_tower(tmp_path / "dino")
    change_json(tower / "config.json", {"model_type": "dinov2"})
    folder = make_checkpoint(tmp_path / "checkpoint", mm_vision_tower=str(tower))
    with refused(vr.ConfigurationError, repr(str(tower)), "'dinov2'", "SigLIP and CLIP"):
        load(folder)


def test_complete_checkpoint_with_the_configuration_of_another_tower(tmp_path):
    """The weights are there, and of another shape."""
    clip = CLIPVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
                            image_size=42, patch_size=6)  # fmt: skip
    clip.save_pretrained(tmp_path / "clip")
    folder = make_checkpoint(tmp_path / "checkpoint", mm_vision_tower=str(tmp_path / "clip"))
    with refused(vr.CheckpointError, str(folder), "do not fit"):
        AutoModel.from_pretrained(folder)


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("name", "content"),
    [
        bad("no-weights", None, b""),
        bad("truncated-safetensors", "model.safetensors", 0.4),
        bad("empty-safetensors", "model.safetensors", b""),
        bad("truncated-bin", "pytorch_model.bin", 0.4),
        bad("lfs-pointer-bin", "pytorch_model.bin", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        bad("lfs-pointer-safetensors", "model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha\n"),
        bad("web-page", "pytorch_model.bin", b"<!DOCTYPE html><html>Not found</html>"),
        bad("empty-bin", "pytorch_model.bin", b""),
    ],
)
def test_missing_and_damaged_weights(name, content, tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", safetensors=name != "pytorch_model.bin")
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    if name is None:
        (folder / "model.safetensors").unlink()
    elif isinstance(content, float):
        media.cut(folder / name, folder / name, content)
    else:
        (folder / name).write_bytes(content)
    with refused(vr.CheckpointError, str(folder), "weights"):
        AutoModel.from_pretrained(folder)


class Attack:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_the_attack_works_where_nobody_guards_against_it(tmp_path):
    torch.save({"a": Attack(tmp_path / "torch")}, tmp_path / "file.bin")
    torch.load(tmp_path / "file.bin", weights_only=False)
    assert (tmp_path / "torch").exists()
    pickle.loads(pickle.dumps(Attack(tmp_path / "pickle")))
    assert (tmp_path / "pickle").exists()


SAVERS = pytest.mark.parametrize("save", ["zip", "old", "pickle"])


def save_unsafe(save: str, state: dict[str, Any], path: Path) -> None:
    if save == "pickle":
        path.write_bytes(pickle.dumps(state))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=save == "zip")


@pytest.mark.spread(2)
@SAVERS
@pytest.mark.parametrize("name", ["pytorch_model.bin", "region_encoder.bin", "mm_projector.bin", "tower"])
def test_pickled_code_does_not_run(name, save, tmp_path):
    attack, loaded = tmp_path / "attacked", tmp_path / "checkpoint"
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    base = make_checkpoint(tmp_path / "base", without_tower())
    extra = {}
    if name == "tower":
        unsafe, loaded = tmp_path / TOWER.name / "pytorch_model.bin", base
        (tmp_path / TOWER.name / "model.safetensors").unlink()
    else:
        loaded.mkdir()
        shutil.copy(base / "config.json", loaded)
        unsafe = loaded / name
        extra = {} if name == "pytorch_model.bin" else {"base_model": base}
    marker = {"region_encoder.bin": "model.region_encoder.x", "mm_projector.bin": "model.mm_projector.x"}
    save_unsafe(save, {marker.get(name, "lm_head.weight"): Attack(attack)}, unsafe)
    with refused(vr.CheckpointError, str(unsafe.parent), "pickled Python objects", "safetensors"):
        AutoModel.from_pretrained(loaded, **extra)
    assert not attack.exists()


@SAVERS
def test_pickled_code_in_one_shard_of_many_does_not_run(save, tmp_path):
    folder = make_checkpoint(tmp_path / "checkpoint", files=3, safetensors=False)
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    save_unsafe(save, {"lm_head.weight": Attack(tmp_path / "attacked")}, folder / "pytorch_model-00002-of-00003.bin")
    with refused(vr.CheckpointError, str(folder), "pickled Python objects"):
        AutoModel.from_pretrained(folder)
    assert not (tmp_path / "attacked").exists()


# --- adapters --------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    """A folder of adapters whose base is not recorded, beside a tower and a base."""
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    make_checkpoint(tmp_path / "base")
    folder = tmp_path / "adapters"
    folder.mkdir()
    shutil.copy(CHECKPOINT / "config.json", folder)
    change_json(folder / "config.json", {"_name_or_path": None})
    save_adapters(folder)
    return folder


def save_adapters(folder: Path, **changes: Any) -> None:
    state = {**weights(), **changes}
    for marker in ("mm_projector", "region_encoder"):
        torch.save({name: value for name, value in state.items() if marker in name}, folder / f"{marker}.bin")


def test_the_good_adapters_load(adapters):
    model = AutoModel.from_pretrained(adapters, base_model=adapters.parent / "base")
    assert original_state(model).keys() == weights().keys()


@pytest.mark.parametrize("with_base", [True, False])
def test_adapters_without_a_base(with_base, adapters):
    if with_base:
        change_json(adapters / "config.json", {"_name_or_path": "stage2_5"})
    expected = ["'stage2_5'", "cannot be loaded"] if with_base else ["does not say what they belong to"]
    with quickly(), refused(vr.CheckpointError, str(adapters), "nothing but adapters", *expected, "base_model="):
        AutoModel.from_pretrained(adapters)


@pytest.mark.parametrize("base", ["gone", "./gone", "nobody/gone", "/gone/for/ever"])
def test_adapters_with_a_base_that_is_gone(base, adapters):
    with quickly(), refused(vr.CheckpointError, str(adapters), f"{base!r} cannot be loaded", "base_model="):
        AutoModel.from_pretrained(adapters, base_model=base)


def test_adapters_on_something_that_is_no_language_model(adapters):
    with refused(vr.CheckpointError, str(adapters), repr(str(adapters.parent / TOWER.name)), "base_model="):
        AutoModel.from_pretrained(adapters, base_model=adapters.parent / TOWER.name)


def test_base_of_a_folder_that_is_complete(adapters):
    base = adapters.parent / "base"
    with refused(vr.CheckpointError, "base_model= is for folders", f"{base} is not one"):
        AutoModel.from_pretrained(base, base_model=base)


NAMES = {
    "region_encoder.bin": ("model.region_encoder.feat_linear.0.weight", "object encoder"),
    "mm_projector.bin": ("model.mm_projector.readout.0.weight", "connector"),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("file", list(NAMES))
@pytest.mark.parametrize(
    "how", ["shape", "missing", "unexpected", "other-part", "list", "nested", "truncated", "empty"]
)
def test_adapters_that_do_not_fit(how, file, adapters):
    name, label = NAMES[file]
    path = adapters / file
    state = torch.load(path)
    expected = [str(path)]
    if how == "shape":
        torch.save({**state, name: torch.zeros(7, 7)}, path)
        expected += ["does not fit", label, "7"]
    elif how == "missing":
        torch.save({key: value for key, value in state.items() if key != name}, path)
        expected += ["does not fit", label, "Missing"]
    elif how == "unexpected":
        torch.save({**state, name.replace("weight", "scale"): torch.zeros(7)}, path)
        expected += ["does not fit", label, "Unexpected"]
    elif how == "other-part":
        torch.save({"lm_head.weight": torch.zeros(3)}, path)
        expected += [f"no weights of a {label}", file.removesuffix(".bin")]
    elif how == "list":
        torch.save(list(state.values()), path)
        expected += ["dict of tensors", "it is a list"]
    elif how == "nested":
        torch.save({"state_dict": state}, path)
        expected += ["dict of tensors", "state_dict is a dict"]
    elif how == "truncated":
        media.cut(path, path, 0.5)
    else:
        path.write_bytes(b"")
    with refused(vr.CheckpointError, *expected):
        AutoModel.from_pretrained(adapters, base_model=adapters.parent / "base")


# --- ask -------------------------------------------------------------------------------------------------------------


def test_ask_about_a_video_or_an_image(model, clips):
    with refused(vr.PromptError, "either a video or an image", "both were given"):
        vr.ask(model, clips.good, "What?", image=clips.picture)
    with refused(vr.PromptError, "either a video or an image", "neither was given"):
        vr.ask(model, None, "What?")


@pytest.mark.parametrize(
    ("question", "regions", "error", "parts"),
    [
        bad("no-region", "What is <region>?", [], vr.PromptError, ["has 1 <region>", "0 region(s)"]),
        bad("no-placeholder", "What is it?", [region()], vr.PromptError, ["has 0 <region>", "1 region(s)"]),
        bad("literal-video", "What is <video>?", [], vr.PromptError, ["only 1 video(s)", "angle brackets"]),
        bad("frame-beyond", "What is <region>?", [region(99)], vr.RegionError, ["frame 99", f"{FRAMES} frame(s)"]),
        bad(
            "another-visual",
            "What is <region>?",
            [region().on_visual(1)],
            vr.RegionError,
            ["region 0: it lies on visual 1", "has 1 visual(s)"],
        ),
        bad("a-mask", "What is <region>?", [empty_mask()], vr.RegionError, ["ndarray", "Region.from_mask"]),
        bad("no-question", None, [], vr.PromptError, ["question must be a string", "NoneType"]),
        bad(
            "half-a-character",
            "What \ud800?",
            [],
            vr.PromptError,
            ["question cannot be read", "character 5 is '\\ud800', a lone surrogate"],
        ),
        bad("questions", ["What?", "Who?"], [], vr.PromptError, ["question must be a string", "list"]),
    ],
)
def test_ask_what_cannot_be_answered(question, regions, error, parts, model, clips, tower_runs):
    with refused(error, *parts):
        vr.ask(model, clips.good, question, regions)
    assert tower_runs == []


def test_a_question_that_cannot_be_read_is_refused_before_anything_is_loaded(clips):
    with refused(vr.PromptError, "question cannot be read"):
        vr.ask("no/model", clips.missing, "What \ud800?")
    for number in (0, -1, 2.5, float("nan"), "8", True):
        with refused(vr.ConfigurationError, "max_new_tokens must be a whole number of at least 1", repr(number)):
            vr.ask("no/model", clips.missing, "What?", max_new_tokens=number)
    with refused(vr.PromptError, "question cannot be read"):
        read_question(clips.missing, "What \udcff?", [])


def test_a_region_of_another_visual_is_refused_before_anything_is_loaded(clips, tmp_path):
    path = tmp_path / "region.json"
    path.write_text(json.dumps(region().on_visual(1).to_json()))
    with refused(vr.RegionError, "--region", "it lies on visual 1", "has 1 visual(s)"):
        read_question(clips.good, "What is <region>?", [("region", str(path))])
    with refused(vr.RegionError, "region 0: it lies on visual 1"):
        vr.ask("no/such/model", clips.good, "What is <region>?", [region().on_visual(1)])


def test_ask_about_what_cannot_be_read(model, clips, tower_runs):
    with refused(vr.VideoError, "empty.mp4", "0 bytes"):
        vr.ask(model, clips.empty, "What happens?")
    with refused(vr.VideoError, "broken.png", "damaged"):
        vr.ask(model, None, "What happens?", image=clips.broken_picture)
    with refused(vr.VideoError, "bytes object of 5 bytes", "cannot be opened as a video"):
        vr.ask(model, b"hello", "What happens?")
    assert tower_runs == []


def test_ask_a_model_that_is_not_there(tmp_path, clips):
    for name in (tmp_path / "nowhere", tmp_path):
        with quickly(), refused(vr.CheckpointError, str(name)):
            vr.ask(name, clips.good, "What happens?")
    folder = make_checkpoint(tmp_path / "checkpoint")
    with quickly(), refused(vr.CheckpointError, f"'{TOWER.name}'", "vision_tower="):
        vr.ask(folder, clips.good, "What happens?")


def test_ask_a_model_without_a_processor(model, tmp_path, clips):
    fresh = vr.VideoReferForConditionalGeneration(model.config)
    fresh.name_or_path, before = "", fresh.name_or_path
    assert before == str(CHECKPOINT)
    with refused(vr.ConfigurationError, "does not say where it came from", "processor="):
        vr.ask(fresh, clips.good, "What happens?")
    folder = make_checkpoint(tmp_path / "checkpoint")
    moved = AutoModel.from_pretrained(folder, vision_tower=TOWER)
    with refused(vr.CheckpointError, f"'{TOWER.name}'", "processor cannot be loaded", "pass processor="):
        vr.ask(moved, clips.good, "What happens?")
    for nothing in (None, 5, b"x", object()):
        named = "None" if nothing is None else type(nothing).__name__
        with quickly(), refused(vr.ConfigurationError, "must be a model", named):
            vr.ask(nothing, clips.good, "What happens?")
