"""The agents of the data engine that see: Segmentor, Annotator and region captioner."""

import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.chat_server import KEY, ChatServer
from tests.engine_segmenters import ColorFinder, ColorFollower
from tests.media import write_video
from videorefer_plugin.data_engine.items import Drop, Failure, Made, Noun, ObjectItem, Source, VideoItem
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.errors import ConfigurationError, EngineError, SegmentError

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


@pytest.mark.parametrize(("clip", "nouns", "settings", "kinds"), SEVERAL)
def test_what_is_left_out_is_said(
    clips: dict[str, str], clip: str, nouns: list[Any], settings: dict[str, Any], kinds: list[str]
) -> None:
    (made,) = segmentor(**settings).run([video_item(clips[clip], *nouns)])
    assert drops(made) == kinds
    for one in made.objects:
        if isinstance(one, Drop):
            assert one.reason.endswith("."), one.reason


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


BAD_SETTINGS: list[Any] = [
    pytest.param("segmentor", "masklets", {"finder": "classical"}, SegmentError, "cannot find words", id="no finder"),
    pytest.param(
        "segmentor", "masklets", {"finder": "nothing"}, ConfigurationError, "no segmenter 'nothing'", id="name"
    ),
    pytest.param("segmentor", "masklets", {"follower": "sam3_video"}, SegmentError, "cannot follow", id="no follower"),
    pytest.param("segmentor", "masklets", {"finder": "a.b:C"}, ConfigurationError, "cannot be imported", id="import"),
    pytest.param(
        "segmentor", "masklets", {"finder": "pathlib:Path"}, ConfigurationError, "is no segmenter", id="class"
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
    pytest.param("annotator", "endpoint", {"model": "m", "sees": "region"}, ConfigurationError, "sees", id="region"),
    pytest.param("annotator", "model", {"dynamic_prompt": "{thing}"}, ConfigurationError, "{thing}", id="field"),
    pytest.param("annotator", "model", {"dynamic_prompt": "{noun"}, ConfigurationError, "cannot be read", id="brace"),
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


HOSTS = ("qwen2_5_vl", "llava_onevision")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Tiny hosts of two families, and of one the object encoder."""
    from tests.tiny_hosts import BY_NAME
    from videorefer_plugin.hosts.saving import save_object_encoder

    folder = tmp_path_factory.mktemp("hosts")
    for name in HOSTS:
        row = BY_NAME[name]
        row.model().save_pretrained(folder / name)
        row.processor().save_pretrained(folder / name)
    save_object_encoder(row.attached()[0], folder / f"{name}-encoder")
    return {path.name: str(path) for path in folder.iterdir()}


VISUAL_MODELS = [
    pytest.param("embedded", "noun", id="own-noun"),
    pytest.param("embedded", "drawn", id="own-drawn"),
    pytest.param("embedded", "region", id="own-region"),
    pytest.param("qwen2_5_vl", "noun", id="host-noun"),
    pytest.param("qwen2_5_vl", "drawn", id="host-drawn"),
    pytest.param("llava_onevision", "region", id="host-region"),
]


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
    print(made)
    assert [type(one) for one in made] == [Made, Made, Made, Failure]
    assert [len(one.objects) for one in made[:3]] == [1, 3, 1]
    assert made[3].kind == "video"
    assert made[1].spent.calls == 6
    assert [agent.run([item])[0] for item in items] == made, "a batch says what its items say alone"


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
