"""The agents of the data engine that see: Segmentor, Annotator and region captioner."""

import base64
import io
import json
import re
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from tests.chat_server import KEY, ChatServer
from tests.engine_segmenters import ColorFinder, ColorFollower
from tests.media import write_video
from tests.tiny_finders import save_detector, save_sam3, save_sam_hq
from tests.tiny_segmenters import save_tiny_segmenter
from videorefer_plugin.asking import generate, load_model
from videorefer_plugin.bench.answerers import frame_inputs
from videorefer_plugin.data_engine.agents.captioner_model import caption_made
from videorefer_plugin.data_engine.agents.describing import is_refusal, says_not_seen
from videorefer_plugin.data_engine.agents.shown import ShownFrames
from videorefer_plugin.data_engine.agents.static_actions import is_static
from videorefer_plugin.data_engine.items import Drop, Failure, GivenObject, Made, Noun, ObjectItem, Source, VideoItem
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.data_engine.state import State
from videorefer_plugin.errors import ConfigurationError, EngineError, SegmentError
from videorefer_plugin.video import open_video

HERE = "tests.engine_segmenters"
FRAMES, HEIGHT, WIDTH = 12, 64, 96


def picture(*boxes: tuple[str, int, int]) -> np.ndarray:
    """Squares of a color at a column and row on gray."""
    image = Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128))
    colors = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 200, 30)}
    for color, x, y in boxes:
        ImageDraw.Draw(image).rectangle([x, y, x + 15, y + 15], fill=colors[color])
    return np.asarray(image)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A red square that moves right with a blue one below; two red ones; a green one that is there for 3 frames."""
    folder = tmp_path_factory.mktemp("clips")
    frames = {
        "two": [picture(("red", 4 + 4 * n, 6), ("blue", 60 - 3 * n, 40)) for n in range(FRAMES)],
        "twins": [picture(("red", 4, 6 + n), ("red", 70, 20)) for n in range(FRAMES)],
        "short": [picture(*([("green", 40, 20)] if 4 <= n < 7 else [])) for n in range(FRAMES)],
    }
    for name, pictures in frames.items():
        write_video(folder / f"{name}.mp4", pictures)
    Image.fromarray(frames["two"][0]).save(folder / "still.png")
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return {path.stem: str(path) for path in folder.iterdir()}


def video_item(path: str, *nouns: str | Noun, seed: int = 1) -> VideoItem:
    objects = [Noun(noun, noun) if isinstance(noun, str) else noun for noun in nouns]
    kind = "image" if path.endswith(".png") else "video"
    source = Source(Path(path).stem, path, "A caption.", kind)
    return VideoItem(source, seed, tuple(ObjectItem(number, noun) for number, noun in enumerate(objects)))


def segmentor(finder: str = "ColorFinder", follower: str = "ColorFollower", **settings: Any) -> Any:
    finder, follower = (f"{HERE}:{name}" if name[0].isupper() else name for name in (finder, follower))
    return make_agent("segmentor", "masklets", {"finder": finder, "follower": follower, **settings})


def drops(made: Made | Failure) -> list[str]:
    assert isinstance(made, Made), made
    return [one.kind if isinstance(one, Drop) else "" for one in made.objects]


# --- Segmentor -------------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "follower", ["ColorFollower", "classical", "FindsAndFollows"], ids=["own", "classical", "at-once"]
)
def test_a_noun_becomes_a_masklet_in_both_directions(clips: dict[str, str], follower: str) -> None:
    finder = "FindsAndFollows" if follower == "FindsAndFollows" else "ColorFinder"
    agent = segmentor(finder, follower)
    made = agent.run([video_item(clips["two"], "red square", "blue square"), video_item(clips["short"], "green one")])
    assert drops(made[0]) == ["", ""]
    for number, (found, x, y) in enumerate(zip(made[0].objects, (4, 60), (6, 40), strict=True)):
        assert sorted(map(int, found.annotation)) == list(range(FRAMES)), number
        steps = (4, -3)[number]
        for frame in range(FRAMES):
            mask = found.region.mask(frame, HEIGHT, WIDTH)
            truth = np.zeros_like(mask)
            truth[y : y + 16, x + steps * frame : x + steps * frame + 16] = True
            assert (mask & truth).sum() / (mask | truth).sum() > 0.8, (number, frame)
        assert (found.height, found.width) == (HEIGHT, WIDTH)
        assert found.box[0] == pytest.approx(x + steps * found.frame, abs=2)
        assert found.checks["visible"] == 1.0
        assert 0.03 < found.checks["share"] < 0.05


SEVERAL: list[Any] = [
    # nouns, settings, what becomes of them
    pytest.param("twins", [Noun("red square", "left red square")], {}, [""], id="the expression decides"),
    pytest.param("twins", ["red square"], {}, ["ambiguous"], id="the expression says no more"),
    pytest.param("twins", [Noun("red square", "green square")], {}, ["ambiguous"], id="the expression is not found"),
    pytest.param("twins", [Noun("red square", "left red square")], {"margin": 0.9}, ["ambiguous"], id="hardly surer"),
    pytest.param("twins", ["red square"], {"on_several": "drop"}, ["ambiguous"], id="dropped"),
    pytest.param("twins", ["red square"], {"on_several": "best"}, [""], id="the surest"),
    pytest.param("two", ["red square", "green square"], {}, ["", "not_found"], id="not there"),
    pytest.param("two", ["red square"], {"min_score": 0.9}, ["not_found"], id="not sure enough"),
    pytest.param("two", ["!!!", "red square"], {}, ["not_found", ""], id="no words"),
    pytest.param("two", ["red square", "red thing"], {}, ["", "same_object"], id="the same twice"),
    pytest.param("two", ["red square", "red thing"], {"same_overlap": None}, ["", ""], id="the same on purpose"),
    pytest.param("short", ["green square"], {"tries": 12}, [""], id="lost on the way"),
    pytest.param("short", ["green square"], {"tries": 12, "on_lost": "drop"}, ["lost"], id="lost and dropped"),
    pytest.param("short", ["green square"], {"tries": 12, "min_frames": 4}, ["too_short"], id="too short"),
    pytest.param("still", ["red square", "green square"], {"min_frames": 4}, ["", "not_found"], id="image"),
    pytest.param("two", ["red square"], {"min_share": 0.5}, ["small"], id="small"),
    pytest.param("two", ["red square"], {"max_share": 0.01}, ["large"], id="large"),
    pytest.param("two", ["red square"], {"min_mean_score": 0.95}, ["low_score"], id="follower is not sure"),
    pytest.param("two", ["red square"], {"max_jump": 1.5, "min_lowest_score": 0.5}, [""], id="fine"),
]


@pytest.mark.spread(6)
@pytest.mark.parametrize(("clip", "nouns", "settings", "kinds"), SEVERAL)
def test_what_is_left_out_is_said(
    clips: dict[str, str], clip: str, nouns: list[Any], settings: dict[str, Any], kinds: list[str]
) -> None:
    (made,) = segmentor(**settings).run([video_item(clips[clip], *nouns)])
    assert drops(made) == kinds
    for one in made.objects:
        if isinstance(one, Drop):
            assert one.reason.endswith("."), one.reason


def test_of_two_the_same_the_one_that_came_with_masks_stays(clips: dict[str, str]) -> None:
    (made,) = segmentor().run([video_item(clips["two"], "red square")])
    item = video_item(clips["two"], "red square", "red thing")
    given = replace(item.objects[1], found=made.objects[0])
    (made,) = segmentor().run([replace(item, objects=(item.objects[0], given))])
    assert drops(made) == ["same_object", ""]
    assert made.objects[1] == given.found


def test_the_expression_decides_which_of_several_is_meant(clips: dict[str, str]) -> None:
    for side, left in (("left", True), ("right", False)):
        (made,) = segmentor().run([video_item(clips["twins"], Noun("red square", f"{side} red square"))])
        assert (made.objects[0].box[0] < WIDTH / 2) is left
        assert made.objects[0].checks["candidates"] == 2


def test_what_is_known_of_a_lost_object_is_kept(clips: dict[str, str]) -> None:
    (made,) = segmentor(tries=12).run([video_item(clips["short"], "green square")])
    found = made.objects[0]
    assert found.region.present == (4, 5, 6)
    assert any("lost" in note for note in found.notes)


@pytest.mark.parametrize("clip", ["twins", "two"])
def test_things_that_no_masklet_covers_are_noticed(clips: dict[str, str], clip: str) -> None:
    settings = {"checks": ["exhaustiveness"], "on_several": "best"}
    (made,) = segmentor(**settings).run([video_item(clips[clip], "red square")])
    assert made.objects[0].checks["exhaustive"] == {"twins": 0.5, "two": 1.0}[clip]
    (made,) = segmentor(**settings, min_exhaustive=0.8).run([video_item(clips[clip], "red square")])
    assert drops(made) == [{"twins": "not_exhaustive", "two": ""}[clip]]


def test_all_objects_are_followed_in_one_pass_over_the_frames(clips: dict[str, str]) -> None:
    ColorFollower.frames_read = 0
    segmentor().run([video_item(clips["two"], "red square", "blue square")])
    assert ColorFollower.frames_read == FRAMES


def test_chance_depends_on_the_seed_alone(clips: dict[str, str]) -> None:
    items = [video_item(clips["two"], "red square", "blue square", seed=seed) for seed in range(8)]
    together, alone = segmentor().run(items), [segmentor().run([item])[0] for item in reversed(items)][::-1]
    assert together == alone
    assert len({one.objects[0].frame for one in together}) > 2


def test_segmenters_are_loaded_once_and_let_go(clips: dict[str, str]) -> None:
    ColorFinder.loaded = 0
    agent = segmentor()
    for _ in range(2):
        agent.run([video_item(clips["two"], "red square")])
    assert ColorFinder.loaded == 1
    agent.close()
    agent.run([video_item(clips["two"], "red square")])
    assert ColorFinder.loaded == 2


def test_an_unreadable_video_spoils_no_other(clips: dict[str, str]) -> None:
    made = segmentor().run([video_item(clips["broken"], "dog"), video_item(clips["two"], "red square")])
    assert isinstance(made[0], Failure)
    assert made[0].kind == "video"
    assert drops(made[1]) == [""]


CHAINS: list[Any] = [
    pytest.param(
        "grounding-dino", "sam2_video", "bfloat16", marks=pytest.mark.slow, id="grounding-dino, sam-hq, sam2"
    ),
    pytest.param("owlv2", "edgetam_video", "float32", marks=pytest.mark.slow, id="owlv2, sam-hq, edgetam"),
    pytest.param("sam3", "sam3", "float32", id="sam3"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("finder", "follower", "dtype"), CHAINS)
def test_the_real_classes_make_masklets(
    clips: dict[str, str], tmp_path: Path, finder: str, follower: str, dtype: str
) -> None:
    """With random weights they find anything; whatever it is, it is followed, and comes in the one form."""
    settings: dict[str, Any] = {"on_several": "best", "same_overlap": None, "dtype": dtype, "device": "cpu"}
    if finder == "sam3":
        checkpoint = save_sam3(tmp_path / "sam3", score_threshold_detection=0.01, new_det_thresh=0.01)
        settings |= {"finder": "sam3_video", "follower": "sam3_video", "finder_settings": {"checkpoint": checkpoint}}
    else:
        settings["finder"], settings["follower"] = "grounding", follower
        settings["finder_settings"] = {
            "checkpoint": save_detector(finder, tmp_path / "detector"),
            "mask_checkpoint": save_sam_hq(tmp_path / "masks"),
            "threshold": 0.0,
            "text_threshold": 0.0,
        }
        settings["follower_settings"] = {"checkpoint": str(save_tiny_segmenter(follower, tmp_path / "follower"))}
    agent = make_agent("segmentor", "masklets", settings)
    items = [video_item(clips["two"], "dog"), video_item(clips["twins"], "cat", "dog", "bird")]
    items.append(video_item(clips["still"], "dog"))
    made = agent.run(items)
    assert all(isinstance(one, Made) for one in made), made
    assert [len(one.objects) for one in made] == [1, 3, 1]
    assert "" in [kind for one in made for kind in drops(one)], made
    for item, one in zip(items, made, strict=True):
        for found in one.objects:
            if isinstance(found, Drop):
                assert found.kind in ("not_found", "lost", "too_short"), found
                continue
            assert found.region.masks(HEIGHT, WIDTH, found.region.present)
            assert max(found.region.frames) < (1 if item.source.kind == "image" else FRAMES)
            assert json.loads(json.dumps(found.annotation)) == found.annotation
    identity = agent.identity()
    assert json.loads(json.dumps(identity)) == identity
    assert all(identity["finder"]["weights"].values())


BAD_SETTINGS: list[Any] = [
    pytest.param("segmentor", "masklets", {"finder": "classical"}, SegmentError, "cannot find words", id="no finder"),
    pytest.param(
        "segmentor", "masklets", {"finder": "nothing"}, ConfigurationError, "no segmenter 'nothing'", id="name"
    ),
    pytest.param("segmentor", "masklets", {"follower": "sam3_video"}, SegmentError, "cannot follow", id="no follower"),
    pytest.param("segmentor", "masklets", {"finder": "a.b:C"}, ConfigurationError, "cannot be imported", id="import"),
    pytest.param(
        "segmentor", "masklets", {"finder": ".b:C"}, ConfigurationError, "cannot be imported", id="relative import"
    ),
    pytest.param(
        "segmentor", "masklets", {"finder": "pathlib:Path"}, ConfigurationError, "is not a segmenter", id="class"
    ),
    pytest.param("segmentor", "masklets", {"tries": 0}, ConfigurationError, "tries", id="tries"),
    pytest.param("segmentor", "masklets", {"on_several": "all"}, ConfigurationError, "on_several='all'", id="several"),
    pytest.param("segmentor", "masklets", {"on_lost": "warn"}, ConfigurationError, "on_lost", id="lost"),
    pytest.param("segmentor", "masklets", {"margin": 2}, ConfigurationError, "margin=2", id="margin"),
    pytest.param("segmentor", "masklets", {"checks": ["all"]}, ConfigurationError, "checks", id="checks"),
    pytest.param(
        "segmentor", "masklets", {"min_exhaustive": 0.5}, ConfigurationError, "add exhaustiveness", id="check is off"
    ),
    pytest.param("segmentor", "masklets", {"max_jump": 0.5}, ConfigurationError, "max_jump", id="jump"),
    pytest.param("annotator", "model", {"sees": "box"}, ConfigurationError, "sees='box'", id="sees"),
    pytest.param("annotator", "endpoint", {"model": "m", "sees": "box"}, ConfigurationError, "sees='box'", id="seen"),
    pytest.param("annotator", "model", {"dynamic_prompt": "{thing}"}, ConfigurationError, "{thing}", id="field"),
    pytest.param(
        "annotator", "model", {"dynamic_prompt": "{noun"}, ConfigurationError, "cannot be filled", id="brace"
    ),
    *(
        pytest.param("annotator", "model", {"dynamic_prompt": field}, ConfigurationError, "expected a text", id=field)
        for field in ("{noun:{width}}", "{noun:d}", "{noun!x}", "{noun.x}", "{noun[0]}", "{0}", "{}")
    ),
    pytest.param(
        "annotator", "model", {"appearance_prompt": "<region>"}, ConfigurationError, "1 <region>", id="marker"
    ),
    pytest.param(
        "annotator",
        "model",
        {"sees": "region", "dynamic_prompt": "What does it do?"},
        ConfigurationError,
        "0 <region>",
        id="no marker",
    ),
    pytest.param("annotator", "model", {"device": "nope"}, ConfigurationError, "device='nope'", id="device"),
    pytest.param("segmentor", "masklets", {"device": "nope"}, ConfigurationError, "device='nope'", id="devices"),
    pytest.param("annotator", "model", {"dtype": "bf16"}, ConfigurationError, "dtype='bf16'", id="dtype"),
    pytest.param("annotator", "model", {"max_new_tokens": 0}, ConfigurationError, "max_new_tokens", id="tokens"),
    pytest.param("annotator", "model", {"style": "dots"}, ConfigurationError, "style='dots'", id="style"),
    pytest.param("captioner", "model", {"prompt": "What is it?"}, ConfigurationError, "0 <region>", id="caption"),
    pytest.param("captioner", "model", {"frames": "some"}, ConfigurationError, "frames='some'", id="frames"),
    pytest.param(
        "captioner", "endpoint", {"model": "m", "endpoint": None}, ConfigurationError, "endpoint", id="local"
    ),
    pytest.param(
        "captioner", "endpoint", {"model": "m", "shows": "all"}, ConfigurationError, "shows='all'", id="shows"
    ),
]


@pytest.mark.parametrize(("stage", "name", "settings", "error", "said"), BAD_SETTINGS)
def test_settings_of_no_use_are_refused_before_anything_is_loaded(
    stage: str, name: str, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=re.escape(said)):
        make_agent(stage, name, settings)


# --- Annotator and captioner that are loaded here --------------------------------------------------------------------


def found_items(clips: dict[str, str]) -> list[VideoItem]:
    """A batch of a video with one object and one with three, and an image."""
    items = [
        video_item(clips["twins"], "left red square", seed=3),
        video_item(clips["two"], "red square", "blue square", "any square on the left"),
        video_item(clips["still"], "blue square"),
    ]
    made = segmentor(on_several="best", same_overlap=None).run(items)
    return [
        VideoItem(
            item.source, item.seed, tuple(one.having(f) for one, f in zip(item.objects, own.objects, strict=True))
        )
        for item, own in zip(items, made, strict=True)
    ]


HOSTS = ("qwen2_vl", "qwen2_5_vl", "llava_onevision")  # of the first, no session knows


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny hosts of two families, and of one the object encoder."""
    from tests.tiny_hosts import BY_NAME, QWEN2_VL
    from videorefer_plugin.hosts.saving import save_object_encoder

    folder = tmp_path_factory.mktemp("hosts")
    for name in HOSTS:
        row = BY_NAME.get(name, QWEN2_VL)
        row.model().save_pretrained(folder / name)
        row.processor().save_pretrained(folder / name)
    save_object_encoder(row.attached()[0], folder / f"{name}-encoder")
    return {path.name: str(path) for path in folder.iterdir()}


VISUAL_MODELS = [
    pytest.param("embedded", "noun", id="own-noun"),
    pytest.param("embedded", "drawn", id="own-drawn", marks=pytest.mark.slow),
    pytest.param("embedded", "region", id="own-region"),
    pytest.param("qwen2_5_vl", "noun", id="host-noun"),
    pytest.param("qwen2_5_vl", "drawn", id="host-drawn", marks=pytest.mark.slow),
    pytest.param("qwen2_vl", "noun", id="other-noun", marks=pytest.mark.slow),
    pytest.param("qwen2_vl", "drawn", id="other-drawn", marks=pytest.mark.slow),
    pytest.param("llava_onevision", "region", id="host-region"),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("name", "sees"), VISUAL_MODELS)
def test_a_model_describes_each_object_of_a_ragged_batch(
    clips: dict[str, str], checkpoints: dict[str, str], name: str, sees: str
) -> None:
    settings: dict[str, Any] = {"checkpoint": checkpoints.get(name, name), "sees": sees, "max_new_tokens": 12}
    if name == "llava_onevision":
        settings["object_encoder"] = checkpoints["llava_onevision-encoder"]
    agent = make_agent("annotator", "model", settings)
    items = [*found_items(clips), video_item(clips["broken"], "dog")]
    made = agent.run(items)
    assert [type(one) for one in made] == [Made, Made, Made, Failure]
    assert [len(one.objects) for one in made[:3]] == [1, 3, 1]
    assert made[3].kind == "video"
    assert made[1].spent.calls == 6
    assert [agent.run([item])[0] for item in items] == made, "a batch says what its items say alone"


def test_answers_are_those_of_the_model_asked_plainly(clips: dict[str, str], checkpoints: dict[str, str]) -> None:
    """A session gives what transformers gives, also to a host that has no object encoder of its own."""
    item = video_item(clips["two"], "red square")
    prompt = "What does the {noun} do?"
    settings = {"num_frames": 4, "max_new_tokens": 12, "dynamic_prompt": prompt, "appearance_prompt": prompt}
    agent = make_agent("annotator", "model", {"checkpoint": checkpoints["qwen2_5_vl"], **settings})
    (made,) = agent.run([item])
    model, processor = load_model(checkpoints["qwen2_5_vl"])
    shown = ShownFrames.of(open_video(clips["two"]), 4)
    inputs = frame_inputs(model, processor, ["What does the red square do?"], [shown.pictures], [dict(shown.metadata)])
    (expected,) = generate(model, processor, inputs, max_new_tokens=12)
    assert made.objects[0].appearance == " ".join(expected.split())


@pytest.mark.spread(2)
@pytest.mark.parametrize("frames", ["one", "all"])
@pytest.mark.parametrize("name", ["embedded", "llava_onevision"])
def test_a_model_describes_masks_without_being_told_the_noun(
    clips: dict[str, str], checkpoints: dict[str, str], name: str, frames: str
) -> None:
    settings: dict[str, Any] = {"checkpoint": checkpoints.get(name, name), "frames": frames, "max_new_tokens": 12}
    if name != "embedded":
        settings["object_encoder"] = checkpoints[f"{name}-encoder"]
    agent = make_agent("captioner", "model", settings)
    items = found_items(clips)
    made = agent.run([*items, video_item(clips["broken"], "dog")])
    assert [type(one) for one in made] == [Made, Made, Made, Failure]
    assert [len(one.objects) for one in made[:3]] == [1, 3, 1]
    for item, one in zip(items, made, strict=False):
        assert [caption.frame for caption in one.objects] == [own.found.frame for own in item.objects]
    others = [replace(one, noun=Noun("something else")) for one in items[1].objects]
    assert agent.run([replace(items[1], objects=tuple(others))]) == [made[1]]


@pytest.mark.slow
def test_a_model_is_loaded_once_and_let_go(clips: dict[str, str]) -> None:
    agent = make_agent("annotator", "model", {"max_new_tokens": 4, "dtype": "bfloat16", "device": "cpu"})
    item = video_item(clips["two"], "red square")
    agent.run([item])
    model = weakref.ref(agent._model.load()[0])
    assert model().dtype == torch.bfloat16
    agent.run([item])
    assert agent._model.load()[0] is model()
    agent.close()
    assert model() is None
    assert isinstance(agent.run([item])[0], Made)


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("stage", "settings", "said"),
    [
        pytest.param("annotator", {"checkpoint": "/nowhere"}, "no checkpoint", id="no checkpoint"),
        pytest.param("annotator", {"device": "cuda:99"}, "cannot be used", id="no device"),
        pytest.param("annotator", {"checkpoint": "qwen2_5_vl", "sees": "region"}, "takes no regions", id="no regions"),
        pytest.param("captioner", {"checkpoint": "qwen2_vl"}, "takes no regions", id="captioner without regions"),
    ],
)
def test_a_model_that_cannot_be_used_stops_the_run(
    clips: dict[str, str], checkpoints: dict[str, str], stage: str, settings: dict[str, Any], said: str
) -> None:
    if "checkpoint" in settings:
        settings = {**settings, "checkpoint": checkpoints.get(settings["checkpoint"], settings["checkpoint"])}
    with pytest.raises(EngineError, match=said):
        make_agent(stage, "model", settings).run(found_items(clips)[:1])


def test_an_object_that_is_to_be_shown_needs_masks(clips: dict[str, str]) -> None:
    with pytest.raises(EngineError, match="has no masks"):
        make_agent("annotator", "model", {"sees": "drawn"}).run([video_item(clips["two"], "red square")])


def test_given_objects_are_seen_with_their_expression(clips: dict[str, str]) -> None:
    """As in the product qa: masks and a short expression come with the video, with polygons too, and no box."""
    annotation = {"2": {"segmentation": [[12, 6, 28, 6, 28, 22, 12, 22]]}, "3": {"segmentation": None}}
    source = Source("given", clips["two"], "", objects=(GivenObject("the red one", annotation),), height=64, width=96)
    item = State(source, 0).item
    for settings in ({"sees": "drawn"}, {"sees": "region"}, {"sees": "noun"}):
        (made,) = make_agent("annotator", "model", {"max_new_tokens": 8, **settings}).run([item])
        assert drops(made) == [""]
    (made,) = make_agent("captioner", "model", {"max_new_tokens": 8}).run([item])
    assert made.objects[0].frame == 2


@pytest.mark.spread(2)
@pytest.mark.parametrize(("sees", "clip", "settings"), [
    ("noun", "one", {}), ("drawn", "one", {}), ("region", "one", {}), ("region", "one", {"num_frames": 1}),
    ("noun", "two", {"num_frames": 1}), ("drawn", "two", {"num_frames": 1}),
])  # fmt: skip
def test_a_single_frame_is_enough(clips: dict[str, str], tmp_path: Path, sees: str, clip: str, settings: Any) -> None:
    write_video(tmp_path / "one.mp4", [picture(("red", 4, 6))])
    paths = {**clips, "one": str(tmp_path / "one.mp4")}
    given = GivenObject("the red one", {"0": {"segmentation": [[4, 6, 20, 6, 20, 22, 4, 22]]}})
    item = State(Source("given", paths[clip], "", objects=(given,), height=64, width=96), 0).item
    (made,) = make_agent("annotator", "model", {"max_new_tokens": 4, "sees": sees, **settings}).run([item])
    assert drops(made) == [""]


UNFIT: list[Any] = [
    pytest.param({"2": {"segmentation": None}}, id="visible nowhere"),
    pytest.param({"40": {"segmentation": [[12, 6, 28, 6, 28, 22, 12, 22]]}}, id="behind the end"),
    pytest.param({"2": {"segmentation": {"size": [10, 10], "counts": [50, 50]}}}, id="another size"),
    pytest.param({"2": {"segmentation": {"size": [64, 96], "counts": [64 * 96]}}}, id="no pixel"),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize("annotation", UNFIT)
@pytest.mark.parametrize(
    ("stage", "name"), [(s, n) for s in ("annotator", "captioner") for n in ("model", "endpoint")]
)
def test_a_mask_that_does_not_fit_spoils_no_other(
    clips: dict[str, str], server: ChatServer, annotation: dict[str, Any], stage: str, name: str
) -> None:
    good = {"2": {"segmentation": [[12, 6, 28, 6, 28, 22, 12, 22]]}}
    objects = (GivenObject("the odd one", annotation), GivenObject("the red one", good))
    item = State(Source("given", clips["two"], objects=objects, height=64, width=96), 0).item
    sees = {"sees": "drawn"} if stage == "annotator" else {}
    if name == "endpoint":
        agent = endpoint(stage, server, **sees)
    else:
        agent = make_agent(stage, name, {"max_new_tokens": 8, **sees})
    (made,) = agent.run([item])
    assert drops(made) == ["unfit_mask", ""]
    (made,) = agent.run([replace(item, objects=item.objects[:1])])
    assert drops(made) == ["unfit_mask"]


# --- endpoints -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = ChatServer()
    server.reply = lambda messages: "It moves to the right."
    yield server
    server.close()


def text_of(messages: list[dict[str, Any]]) -> str:
    return messages[-1]["content"][-1]["text"]


def pictures_of(request: dict[str, Any]) -> list[np.ndarray]:
    """The pictures that an endpoint was sent."""
    content = request["messages"][-1]["content"]
    urls = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for url in urls]


def endpoint(stage: str, server: ChatServer, **settings: Any) -> Any:
    return make_agent(
        stage, "endpoint", {"model": "seer", "endpoint": server.url, "retries": 1, "timeout": 5.0, **settings}
    )


ENDPOINTS = [
    pytest.param("annotator", {"sees": "noun"}, id="annotator-noun"),
    pytest.param("annotator", {"sees": "drawn"}, id="annotator-drawn"),
    pytest.param("captioner", {"shows": "drawn"}, id="captioner-drawn"),
    pytest.param("captioner", {"shows": "crop"}, id="captioner-crop"),
    pytest.param("captioner", {"shows": "both"}, id="captioner-both"),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("stage", "settings"), ENDPOINTS)
def test_an_endpoint_is_shown_what_it_describes(
    clips: dict[str, str], server: ChatServer, stage: str, settings: dict[str, Any]
) -> None:
    agent = endpoint(stage, server, workers=1, **settings)
    items = [*found_items(clips), video_item(clips["broken"], "dog")]
    made = agent.run(items)
    assert [type(one) for one in made] == [Made, Made, Made, Failure]
    assert [len(one.objects) for one in made[:3]] == [1, 3, 1]
    calls = 2 if stage == "annotator" else 1
    assert [one.spent.calls for one in made] == [calls, 3 * calls, calls, 0]
    assert made[1].spent.input_tokens == 300 * calls
    first, last = pictures_of(server.requests[0]), pictures_of(server.requests[-1])
    assert (len(first), len(last)) == {
        "noun": (12, 1), "drawn": (12, 1) if stage == "annotator" else (1, 1), "crop": (1, 1), "both": (2, 2)
    }[settings.get("sees") or settings["shows"]]  # fmt: skip
    if settings.get("shows") == "crop":
        assert first[0].shape[0] < HEIGHT
        assert first[0].shape[1] < WIDTH
    if stage == "captioner":
        assert "square" not in str([text_of(one["messages"]) for one in server.requests]), "it is not told the noun"


REPLIES: list[Any] = [
    pytest.param("I'm sorry, but I can't help with that.", "refused", id="refusal"),
    pytest.param("", "reply", id="empty"),
    pytest.param(429, "endpoint", id="too-many"),
    pytest.param(500, "endpoint", id="broken"),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("reply", "kind"), REPLIES)
@pytest.mark.parametrize("stage", ["annotator", "captioner"])
def test_an_endpoint_that_misbehaves_is_counted(
    clips: dict[str, str], server: ChatServer, stage: str, reply: str | int, kind: str
) -> None:
    """The second video gets what it asked for; of the first, what went wrong is known."""
    items = found_items(clips)[:2]
    bad = pictures_of_first(items[0])
    server.reply = lambda messages: reply if bad(messages) else "It moves to the right."
    made = endpoint(stage, server).run(items)
    assert isinstance(made[1], Made)
    assert drops(made[1]) == ["", "", ""]
    if kind == "refused":
        assert drops(made[0]) == ["refused"]
    else:
        assert isinstance(made[0], Failure)
        assert made[0].kind == kind


def pictures_of_first(item: VideoItem) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether a request is about this video, which has no blue in it."""

    def is_about(messages: list[dict[str, Any]]) -> bool:
        frames = pictures_of({"messages": messages})
        return not any((frame[..., 2].astype(int) - frame[..., 0] > 100).any() for frame in frames)

    return is_about


def test_a_wrong_key_stops_the_run(clips: dict[str, str], server: ChatServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    with pytest.raises(EngineError, match="refuses the key"):
        endpoint("annotator", server).run(found_items(clips))


# --- what is made of answers -----------------------------------------------------------------------------------------

STATIC = """
The man is standing on the street, wearing a red hat.
The dog is visible in the video.
The woman sits on a bench with a book in her hand.
It remains still throughout the video.
The car does not move.
There is no visible movement of the car.
The cat stays in place and does not perform any actions.
The bus is parked at the side of the road.
The building is located in the background.
The girl is wearing a blue dress and a white hat.
The red car appears in the center of the frame.
The man is seated at a table, looking at the camera.
The statue stands in the middle of the square, surrounded by trees.
He has a light jacket and is at rest.
The object is being displayed on the table.
The lamp is hanging from the ceiling.
The man is wearing a black jacket, blue jeans and white sneakers.
The woman has long hair and glasses.
The dog is lying on the grass, and its ears are up.
The table is covered with plates, cups and flowers.
The car has tinted windows and black wheels.
The man, who is standing behind two tourists, wears a cap.
"""
DYNAMIC = """
The man stands still before he crosses the street.
The dog runs to the left.
The man is standing and waving his hand.
The car is being towed away.
The woman stands up and leaves.
The red circle moves right, then it stops.
The cat is lying down on the mat while its tail wags.
The clown juggles.
The bird appears and flies away.
The player is holding a racket and swings it.
The ball is kicked by the boy.
She looks around.
The man is not moving at first, then he starts walking.
The leaves are swaying in the wind.
The man, who is wearing a white hat, chops onions.
A chef wearing an apron kneads the dough.
The car is parked and its lights flash.
The boxer, wearing gloves, dodges a blow.
The man wearing a helmet hammers a nail.
The kid, in a red shirt that has stripes, skids across the ice.
The man is kneeling and plants a tree.
The flag is attached to a pole and flutters in the wind.
The girl wearing a hat stumbles.
The train is shown as it departs.
The man who is wearing a cap whispers to her.
The lion, which is lying in the shade, roars.
She is in a blue dress and she curtsied.
Der Mann steht auf der Straße.
"""


@pytest.mark.parametrize("sentence", STATIC.strip().splitlines())
def test_being_there_is_no_action(sentence: str) -> None:
    assert is_static(sentence)


@pytest.mark.parametrize("sentence", DYNAMIC.strip().splitlines())
def test_what_happens_is_an_action(sentence: str) -> None:
    assert not is_static(sentence)


NOT_SEEN = """
car|There is no driver inside the car.|
man|There are no people near the man.|
flag|There is no wind moving the flag.|
man|There is no one behind the man.|
dog|There is no leash attached to the dog.|
dog|There is no other dog near the dog that runs.|
man|I cannot see the man clearly, but he is walking.|
man|The video does not show the man until he enters from the left.|
man|We don't see the man at first; he enters later.|
man|No man is faster than him.|
car|There is no movement of the car.|
man|No person is visible.|yes
person|No person is visible|yes
man|There are no people in the video.|yes
dog|The video contains no dog.|yes
dog|I see no dog here.|yes
red car|There is no red car in the video, but there is a blue one.|yes
man in red|There isn't a man in red.|yes
dog|There is no such object in the image.|yes
dog|There is no visible dog in this video.|yes
children|There are no children in this clip.|yes
dog|I could not find the dog in any of the frames.|yes
"""
REFUSED = """
I can't see any movement of the dog; it lies still.|
I cannot see any actions in this image, since it is a single picture.|
I can't determine the brand, but the car is red with black wheels.|
Unfortunately, I only see the man from behind; he wears a coat.|
I can't describe the brand, but the car is red.|
I cannot provide its exact color; it is dark.|
As an AI, I see a red car.|
The man follows the rules of the game.|
The man is sorry.|
I am not comfortable describing people.|yes
My guidelines do not allow this.|yes
This goes against my guidelines.|yes
I can't help with that.|yes
I'm sorry, but I can't assist with that request.|yes
Unfortunately, I cannot describe people in videos.|yes
I am unable to provide a description of this person.|yes
I'm not able to identify people, but I can help with something else.|yes
As an AI language model, I cannot watch videos.|yes
"""


@pytest.mark.parametrize("line", NOT_SEEN.strip().splitlines())
def test_whether_an_object_is_said_not_to_be_there(line: str) -> None:
    noun, answer, expected = line.split("|")
    assert says_not_seen(answer, noun) is bool(expected)


@pytest.mark.parametrize("line", REFUSED.strip().splitlines())
def test_whether_an_answer_is_a_refusal(line: str) -> None:
    answer, expected = line.split("|")
    assert is_refusal(answer) is bool(expected)
    assert isinstance(caption_made(answer, 3), Drop) is bool(expected)


SORRY = "I'm sorry, but I can't help with that."
ANSWERS: list[Any] = [
    # about actions, about looks, settings, what becomes of them
    pytest.param("It runs.", "It is red.", {}, ("It runs.", "It is red.", ()), id="both"),
    pytest.param(
        "The dog is visible. It runs left.\nIt wears a collar.",
        "It is  red.",
        {},
        ("It runs left.", "It is red.", ("The dog is visible.", "It wears a collar.")),
        id="filtered",
    ),
    pytest.param("The dog sits.", "It is red.", {}, ("", "It is red.", ("The dog sits.",)), id="static is kept"),
    pytest.param("The dog sits.", "It is red.", {"drop_static": True}, "static", id="static is dropped"),
    pytest.param("It runs.", "It is red.", {"drop_static": True}, ("It runs.", "It is red.", ()), id="not static"),
    pytest.param(SORRY, "It is red.", {}, "refused", id="first refused"),
    pytest.param("It runs.", SORRY, {}, "refused", id="second refused"),
    pytest.param("There is no dog in the video.", "It is red.", {}, "not_seen", id="not seen"),
    pytest.param("I cannot see any dogs in this clip.", "It is red.", {}, "not_seen", id="cannot see"),
    pytest.param("Sorry, but there's no dog here.", "It is red.", {}, "not_seen", id="sorry, not seen"),
    pytest.param("The dog is not present.", "It is red.", {}, "not_seen", id="not present"),
    pytest.param(
        "There is no movement of the dog.", "Red.", {}, ("", "Red.", ("There is no movement of the dog.",)), id="still"
    ),
    pytest.param(
        "There is no other dog near the dog that runs.", "Red.", {},
        ("There is no other dog near the dog that runs.", "Red.", ()), id="no other"
    ),
]  # fmt: skip


@pytest.mark.spread(2)
@pytest.mark.parametrize(("dynamic", "appearance", "settings", "expected"), ANSWERS)
def test_answers_become_a_description(
    clips: dict[str, str], server: ChatServer, dynamic: str, appearance: str, settings: dict[str, Any], expected: Any
) -> None:
    server.reply = lambda messages: dynamic if "actions" in text_of(messages) else appearance
    (made,) = endpoint("annotator", server, **settings).run([video_item(clips["still"], "brown dog")])
    (one,) = made.objects
    if isinstance(expected, str):
        assert one.kind == expected
    else:
        assert (one.dynamic, one.appearance, one.filtered) == expected


def test_both_questions_speak_of_the_object(clips: dict[str, str], server: ChatServer) -> None:
    noun = Noun("red car", "a red car with a <video> trailer")
    endpoint("annotator", server).run([video_item(clips["two"], noun)])
    endpoint("annotator", server, dynamic_prompt="{noun} {visual}", appearance_prompt="{expression}").run(
        [video_item(clips["still"], noun)]
    )
    first, second, third, fourth = (text_of(request["messages"]) for request in server.requests)
    for text in (first, second):
        assert "the red car" in text
        assert "a red car with a < video> trailer" in text
    assert (third, fourth) == ("red car image", "a red car with a < video> trailer")


def test_an_expression_keeps_one_article(clips: dict[str, str], server: ChatServer) -> None:
    """What comes with masks is named by its expression, which may begin with an article and go on behind the noun."""
    server.reply = lambda messages: "There is no man in the video."
    (made,) = endpoint("annotator", server).run([video_item(clips["two"], "the man in red")])
    assert "at the man in red, in this video" in text_of(server.requests[0]["messages"])
    assert drops(made) == ["not_seen"]


@pytest.mark.parametrize(
    ("stage", "name", "settings", "other"),
    [
        ("annotator", "model", {}, {"dynamic_prompt": "What does the {noun} do?"}),
        ("annotator", "model", {}, {"sees": "drawn"}),
        ("annotator", "model", {}, {"dtype": "bfloat16"}),
        ("annotator", "model", {}, {"num_frames": 4}),
        ("captioner", "model", {}, {"frames": "all"}),
        ("captioner", "model", {}, {"prompt": "What is <region>?"}),
        ("segmentor", "masklets", {"finder": f"{HERE}:ColorFinder", "follower": "classical"}, {"tries": 5}),
        (
            "segmentor",
            "masklets",
            {"finder": f"{HERE}:ColorFinder", "follower": "classical"},
            {"follower_settings": {"side": 300}},
        ),
    ],
)
def test_an_identity_is_of_what_results_depend_on(
    stage: str, name: str, settings: dict[str, Any], other: dict[str, Any]
) -> None:
    identity = make_agent(stage, name, settings).identity()
    assert identity == make_agent(stage, name, settings).identity()
    assert identity != make_agent(stage, name, {**settings, **other}).identity()
    assert identity == make_agent(stage, name, {**settings, "device": "cpu"}).identity()
    assert json.loads(json.dumps(identity)) == identity
