"""Conversations as both processors read them: where regions lie, and in what forms messages and visuals are given."""

import base64
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pydantic
import pytest
import torch
from PIL import Image
from transformers.utils.chat_template_utils import Chat

import videorefer_plugin as vr
from tests import media
from tests.test_bad_input import refused
from tests.test_inputs import CHAT, MISSING, door, doors, one_thread  # noqa: F401
from videorefer_plugin.inputs.conversations import as_conversations
from videorefer_plugin.inputs.matching import match_samples
from videorefer_plugin.video.files import FileVideo

TOKENS = {"video": "<video>", "image": "<image>"}
AT_START, BEYOND = vr.Region.from_box((2, 2, 30, 30)), vr.Region.from_box((2, 2, 30, 30), frame=99)
# Takes what it shows out of its place, images before videos, as some hosts' own templates do.
MOVING = (
    "{% for message in messages %}{{ message['role'] }}: {% for kind in ['image', 'video', 'text', 'region'] %}"
    "{% for item in message['content'] if item['type'] == kind %}"
    "{{ item['text'] if kind == 'text' else '<' + kind + '>\n' }}{% endfor %}{% endfor %}\n{% endfor %}"
)


# --- prompts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "named", "expected"),
    [
        ("<video>\n<region>", [None], [0]),
        ("<video>\n<region>", [0], [0]),
        ("<region> before <video>", [None], [0]),
        ("<region><image><region><video><region>", [None] * 3, [0, 0, 1]),
        ("<video>\n<video>\n<region> and <region>", [None, None], [1, 1]),
        ("<video>\n<video>\n<region> and <region>", [0, None], [0, 1]),
        ("<video>\n<video>\n<region> and <region>", [1, 0], [1, 0]),
        ("<video>\n<region>\nYes.\n<image>\n<image>\n<region><region>", [None, 1, None], [0, 1, 2]),
    ],
)
def test_a_region_lies_on_the_visual_that_it_names_or_that_stands_before_it(
    text: str, named: list[int | None], expected: list[int]
) -> None:
    regions = [AT_START.on_visual(visual) for visual in named]
    visuals = {kind: [f"{kind} {number}" for number in range(text.count(token))] for kind, token in TOKENS.items()}
    before = match_samples("<video>", None, "x.mp4", tokens=TOKENS, region_token="<region>")
    assert before[0].region_visuals == []
    for given in (regions, [region.to_json() for region in regions]):
        samples = match_samples(
            ["<video>", text],
            visuals["image"],
            ["x.mp4", *visuals["video"]],
            [[], given],
            tokens=TOKENS,
            region_token="<region>",
        )
        assert [sample.region_visuals for sample in samples] == [[], expected]
        assert samples[1].regions == regions


@pytest.mark.parametrize("visual", [1, 2, 10**400])
def test_a_visual_that_the_prompt_does_not_have(door: Any, visual: int) -> None:  # noqa: F811
    region = AT_START.on_visual(visual)
    with refused(vr.RegionError, "Sample 1: region 1: it lies on visual", "has 1 visual(s), numbered from 0"):
        door(text=["<video>", "<video><region><region>"], videos=[MISSING] * 2, regions=[[], [AT_START, region]])
    conversation = talk("video a", "region", "region")
    with refused(vr.RegionError, "Sample 0: region 1: it lies on visual", "has 1 visual(s)"):
        door.apply_chat_template(fill(conversation, [AT_START, region], MISSING), **CHAT)


# --- conversations ---------------------------------------------------------------------------------------------------


def talk(*content: str, role: str = "user") -> dict[str, Any]:
    """A message of words for content items, such as `"video a"`; whatever is no item is a text."""
    return {"role": role, "content": list(content)}


def fill(message: dict[str, Any], regions: list[vr.Region], folder: Any) -> list[dict[str, Any]]:
    return filled([message], regions, folder)


def filled(conversation: list[dict[str, Any]], regions: list[Any], folder: Any) -> list[dict[str, Any]]:
    """The conversation with its visuals and regions; `<region>` in a text takes none."""
    left = iter(regions)

    def item(words: str) -> dict[str, Any]:
        kind, _, name = words.partition(" ")
        if kind == "region":
            return {"type": "region", "region": next(left)}
        if kind in ("video", "image"):
            return {"type": kind, kind: f"{folder}/{name}.{'mp4' if kind == 'video' else 'png'}"}
        return {"type": "text", "text": words}

    return [{**one, "content": [item(words) for words in one["content"]]} for one in conversation]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("visuals")
    for number, name in enumerate("ab"):
        media.write_video(folder / f"{name}.mp4", 4 + number)
    for number, name in enumerate("cd"):
        Image.fromarray(media.numbered_frame(number)).save(folder / f"{name}.png")
    return folder


def lying(door: Any, ask: Callable[[list[Any]], Any], regions: int) -> list[str]:  # noqa: F811
    """Names of the visuals that regions lie on, each of which is told by an error about that region alone."""
    found = []
    for number in range(regions):
        given = [BEYOND if one == number else AT_START for one in range(regions)]
        with pytest.raises(vr.RegionError, match="it lies on frame 99") as caught:
            ask(given)
        found += re.findall(r"([abcd])\.(?:mp4|png)' has \d+ frame", str(caught.value))
    return found


ANSWER = talk("Yes.", role="assistant")
LAYOUTS: dict[str, tuple[list[dict[str, Any]], str]] = {
    "in one message": ([talk("video a", "region", "video b", "region")], "ab"),
    "after both": ([talk("video a", "video b", "region", "region")], "bb"),
    "before all": ([talk("Is ", "region", "video a", "video b", "region")], "ab"),
    "image and video": ([talk("video a", "region", "image c", "region")], "ac"),
    "videos between images": ([talk("image c", "region", "video a", "region", "image d", "region")], "cad"),
    "in a later turn": ([talk("video a", "region"), ANSWER, talk("image c", "region"), ANSWER, talk("region")], "acc"),
    "of the answer": (
        [
            talk("video a"),
            talk("region", role="assistant"),
            talk("video b", "region"),
            talk("region", role="assistant"),
        ],
        "abb",
    ),
    "the same twice": ([talk("video a", "region", "video b", "region", "video a", "region")], "aba"),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("template", [None, MOVING], ids=["own template", "moving template"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_region_lies_on_the_visual_before_it_in_the_conversation(
    door: Any,  # noqa: F811
    name: str,
    template: str | None,
    folder: Path,
) -> None:
    layout, expected = LAYOUTS[name]
    plain = {**CHAT, "chat_template": template}
    assert lying(
        door, lambda given: door.apply_chat_template(filled(layout, given, folder), **plain), len(expected)
    ) == list(expected)
    # The same with <region> in the texts, in a batch.
    texts = [{**one, "content": [words.replace("region", "<region>") for words in one["content"]]} for one in layout]
    batch = [filled([talk("image d", "<region>")], [], folder), filled(texts, [], folder)]

    def beside(given: list[Any]) -> None:
        door.apply_chat_template(batch, regions=[[AT_START], given], **plain)

    assert lying(door, beside, len(expected)) == list(expected)
    # A region that names its visual counts in the order of the conversation.
    visuals = [words[-1] for one in layout for words in one["content"] if words.startswith(("video", "image"))]
    for number, visual in enumerate(visuals):

        def chosen(given: list[Any], number: int = number) -> None:
            placed = [region.on_visual(number) for region in given]
            door.apply_chat_template(filled(layout, placed, folder), **plain)

        assert lying(door, chosen, len(expected)) == [visual] * len(expected)


def test_several_visuals_stay_in_their_places_among_the_words(processor: Any) -> None:
    conversation = filled([talk("image c", "One.", "video a", "image d"), ANSWER, talk("Two.", "video b")], [], ".")
    assert processor.apply_chat_template(conversation) == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<image>\nOne.<video>\n<image>\n<|im_end|>\n<|im_start|>assistant\nYes.<|im_end|>\n"
        "<|im_start|>user\nTwo.<video>\n<|im_end|>\n"
    )


def test_regions_lie_on_the_same_visuals_whether_a_prompt_is_made_at_once_or_in_two_steps(
    processor: Any, folder: Path
) -> None:
    parts = [talk("video a", "region", "video b", "region"), ANSWER, talk("x", "region", "video a", "region")]
    conversation = filled(parts, [AT_START] * 4, folder)
    at_once = processor.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt")
    text = processor.apply_chat_template(conversation)
    videos = [item["video"] for turn in conversation for item in turn["content"] if item["type"] == "video"]
    regions = [item["region"] for turn in conversation for item in turn["content"] if item["type"] == "region"]
    again = processor(text=text, videos=videos, regions=regions, return_tensors="pt")
    assert torch.equal(again["input_ids"], at_once["input_ids"])
    assert torch.equal(again["region_frames"], at_once["region_frames"])


def test_masks_lie_on_the_frames_of_their_visuals(processor: Any, folder: Path) -> None:
    conversation = filled(
        [talk("image c", "region", "video a", "region", "video b", "region")], [AT_START] * 3, folder
    )
    inputs = processor.apply_chat_template(conversation, **CHAT, return_tensors="pt", do_sample_frames=False)
    # Frames of the videos count first, from 1, then the images.
    assert inputs["region_frames"].tolist() == [[4 + 5 + 1, 1, 4 + 1]]


# --- forms of messages and content items -----------------------------------------------------------------------------


@dataclasses.dataclass
class Said:
    role: str
    content: Any
    name: str | None = None


class SaidModel(pydantic.BaseModel):
    role: str
    content: Any
    refusal: str | None = None


class Talk(pydantic.BaseModel):
    messages: list[SaidModel]


class SaidTuple(NamedTuple):
    role: str
    content: Any


@dataclasses.dataclass
class Part:
    type: str
    text: str | None = None
    image: Any = None
    video_url: Any = None


class PartModel(pydantic.BaseModel):
    type: str
    text: str | None = None
    image_url: Any = None


class Address(pydantic.BaseModel):
    url: str
    detail: str = "auto"


PICTURE = media.numbered_frame(3)


def png() -> bytes:
    written = io.BytesIO()
    Image.fromarray(PICTURE).save(written, "PNG")
    return written.getvalue()


BASE64 = base64.b64encode(png()).decode()
DATA_URL = f"data:image/png;base64,{BASE64}"
TEXT = {"type": "text", "text": "What is it?"}


def question(*content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


PLAIN = {"type": "image", "image": Image.fromarray(PICTURE)}
# Conversations about one picture, of the path of its file.
FORMS: dict[str, Callable[[str], Any]] = {
    "array": lambda path: question({"type": "image", "image": PICTURE}, TEXT),
    "image": lambda path: question({"type": "image", "image": path}, TEXT),
    "url": lambda path: question({"type": "image", "url": path}, TEXT),
    "path": lambda path: question({"type": "image", "path": Path(path)}, TEXT),
    "image_url": lambda path: question({"type": "image_url", "image_url": {"url": path, "detail": "low"}}, TEXT),
    "image_url as text": lambda path: question({"type": "image_url", "image_url": path}, TEXT),
    "keys of others": lambda path: question(
        {**PLAIN, "text": None, "video": None, "url": None}, {**TEXT, "image": None, "image_url": None}
    ),
    "tuples": lambda path: tuple({**one, "content": tuple(one["content"])} for one in question(PLAIN, TEXT)),
    "dataclass": lambda path: [Said("user", [PLAIN, TEXT])],
    "dataclass of items": lambda path: [Said("user", [Part("image", image=path), Part("text", "What is it?")])],
    "pydantic": lambda path: [SaidModel(role="user", content=[PLAIN, TEXT])],
    "pydantic of items": lambda path: [
        SaidModel(
            role="user",
            content=[
                PartModel(type="image_url", image_url=Address(url=path)),
                PartModel(type="text", text="What is it?"),
            ],
        )
    ],
    "other objects": lambda path: [SimpleNamespace(role="user", content=[PLAIN, TEXT])],
    "named tuple": lambda path: [SaidTuple("user", [PLAIN, TEXT])],
    "chat": lambda path: Chat(question(PLAIN, TEXT)),
    "pydantic of messages": lambda path: Talk(messages=[SaidModel(role="user", content=[PLAIN, TEXT])]),
    "chat of objects": lambda path: SimpleNamespace(messages=[Said("user", [PLAIN, TEXT])]),
}
STORED: dict[str, Callable[[str], Any]] = {
    "base64": lambda path: question({"type": "image", "base64": BASE64}, TEXT),
    "base64 in lines": lambda path: question({"type": "image", "base64": base64.encodebytes(png()).decode()}, TEXT),
    "base64 as bytes": lambda path: question({"type": "image", "base64": BASE64.encode()}, TEXT),
    "bytes as base64": lambda path: question({"type": "image", "base64": png()}, TEXT),
    "base64 without a word": lambda path: question({"type": "image", "image": BASE64}, TEXT),
    "base64 in lines without a word": lambda path: question(
        {"type": "image", "image": base64.encodebytes(png()).decode()}, TEXT
    ),
    "base64 as address": lambda path: question({"type": "image", "url": BASE64}, TEXT),
    "bytes": lambda path: question({"type": "image", "image": png()}, TEXT),
    "data:": lambda path: question({"type": "image", "image": DATA_URL}, TEXT),
    "data: as base64": lambda path: question({"type": "image", "base64": DATA_URL}, TEXT),
    "data: as url": lambda path: question({"type": "image", "url": DATA_URL}, TEXT),
    "image_url of data:": lambda path: question({"type": "image_url", "image_url": {"url": DATA_URL}}, TEXT),
    "file:": lambda path: question({"type": "image_url", "image_url": f"file://{path}"}, TEXT),
}
VIDEO_FORMS: dict[str, Callable[[str], Any]] = {
    "path": lambda path: {"type": "video", "path": path},
    "url": lambda path: {"type": "video", "url": path},
    "video_url": lambda path: {"type": "video_url", "video_url": {"url": path}},
    "video_url as text": lambda path: {"type": "video_url", "video_url": path},
    "dataclass": lambda path: Part("video_url", video_url=Address(url=path)),
}
STORED_VIDEO_FORMS: dict[str, Callable[[str], Any]] = {
    "base64": lambda path: {"type": "video", "base64": base64.b64encode(Path(path).read_bytes()).decode()},
    "bytes": lambda path: {"type": "video", "video": Path(path).read_bytes()},
    "video_url of data:": lambda path: {
        "type": "video_url",
        "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(Path(path).read_bytes()).decode()}"},
    },
    "file:": lambda path: {"type": "video", "url": f"file://{path}"},
}


def same(found: Any, expected: Any) -> None:
    assert set(found) == set(expected)
    for name in expected:
        assert torch.equal(torch.as_tensor(found[name]), torch.as_tensor(expected[name])), name


@pytest.mark.spread(20)
@pytest.mark.parametrize("name", [*FORMS, *STORED])
def test_a_picture_may_be_given_in_every_form(door: Any, name: str, folder: Path) -> None:  # noqa: F811
    path = folder / "picture.png"
    path.write_bytes(png())
    settings = {**CHAT, "return_tensors": "pt", "add_generation_prompt": True}
    expected = door.apply_chat_template(question(PLAIN, TEXT), **settings)
    conversation = {**FORMS, **STORED}[name](str(path))
    same(door.apply_chat_template(conversation, **settings), expected)
    said = door.apply_chat_template(conversation, tokenize=False)
    assert said == door.apply_chat_template(question(PLAIN, TEXT), tokenize=False)
    both = door.apply_chat_template([conversation, question(PLAIN, TEXT)], **settings)
    assert torch.equal(both["input_ids"][0], both["input_ids"][1])
    assert len(both["input_ids"]) == 2


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", [*VIDEO_FORMS, *STORED_VIDEO_FORMS])
def test_a_video_may_be_given_in_every_form(door: Any, name: str, folder: Path) -> None:  # noqa: F811
    settings = {**CHAT, "return_tensors": "pt"}
    path = str(folder / "a.mp4")
    region = {"type": "region", "region": AT_START}
    expected = door.apply_chat_template(question({"type": "video", "video": path}, TEXT, region), **settings)
    item = {**VIDEO_FORMS, **STORED_VIDEO_FORMS}[name](path)
    same(door.apply_chat_template(question(item, TEXT, region), **settings), expected)


def test_given_messages_are_left_as_they_were(door: Any) -> None:  # noqa: F811
    given = question({"type": "image", "base64": BASE64, "path": None}, TEXT)
    door.apply_chat_template(given, tokenize=False)
    assert given == question({"type": "image", "base64": BASE64, "path": None}, TEXT)
    assert as_conversations(given) == as_conversations(as_conversations(given)[0][0])


def test_base64_of_several_prompts_is_opened_once(door: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    opened, make = [], FileVideo.__init__

    def opening(self: FileVideo, *args: Any) -> None:
        opened.append(args)
        make(self, *args)

    monkeypatch.setattr(FileVideo, "__init__", opening)
    payload = base64.b64encode((folder / "a.mp4").read_bytes()).decode()
    asked = [question({"type": "video", "base64": payload}, TEXT) for _ in range(3)]
    assert len(door.apply_chat_template(asked, **CHAT)["input_ids"]) == 3
    assert len(opened) == 1


def test_text_is_made_without_visuals(door: Any) -> None:  # noqa: F811
    bare = question({"type": "image"}, TEXT, {"type": "video"}, {"type": "image_url"})
    said = door.apply_chat_template(bare, tokenize=False)
    assert (said.count("<image>"), said.count("<video>")) == (2, 1)
    with refused(vr.PromptError, 'of type "image" needs an image under "image"', "has none"):
        door.apply_chat_template(bare, **CHAT)


# --- what is refused -------------------------------------------------------------------------------------------------

BAD_ITEMS: dict[str, tuple[Any, list[str]]] = {
    "no image": ({"type": "image"}, ["needs an image", '"url", "path" or "base64"', "has none"]),
    "no video": ({"type": "video", "video": None}, ["needs a video", "has none"]),
    "no address": ({"type": "image_url"}, ['"image_url" needs an image', "has none"]),
    "twice": ({"type": "image", "image": "a.png", "url": "b.png"}, ["names its image 2 times", "'image', 'url'"]),
    "twice the same": ({"type": "video", "path": "a.mp4", "url": "a.mp4"}, ["names its video 2 times"]),
    "thrice": (
        {"type": "image_url", "image_url": "a.png", "url": "a.png", "base64": "AAAA"},
        ["names its image 3 times"],
    ),
    "both kinds": ({"type": "image", "image": "a.png", "video": "a.mp4"}, ["2 times", "'image', 'video'"]),
    "the other kind": ({"type": "image", "video": "a.mp4"}, ["needs an image", "has 'video'"]),
    "the other address": ({"type": "video", "image_url": "a.mp4"}, ["needs a video", "has 'image_url'"]),
    "address without url": ({"type": "image_url", "image_url": {"uri": "a.png"}}, ["needs an address", "has a dict"]),
    "address is a number": ({"type": "video_url", "video_url": 5}, ["needs an address", '{"url": ...}', "a int"]),
    "url is a number": ({"type": "image_url", "image_url": {"url": 5}}, ["needs an address", "has a dict"]),
    "base64 is a number": ({"type": "image", "base64": 5}, ['a string under "base64"', "int"]),
    "image in a text": ({**TEXT, "image": "a.png"}, ['"image" beside its text', "two items"]),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_content_items_that_are_none(door: Any, name: str) -> None:  # noqa: F811
    item, parts = BAD_ITEMS[name]
    with refused(vr.PromptError, "Sample 1: message 0: content item", "of type", *parts):
        door.apply_chat_template([question(TEXT), question(item)], **CHAT)


@pytest.mark.parametrize("payload", [BASE64[:41], f"{BASE64[:40]}Ä", BASE64[:40] + "====AAAA", "?"])
@pytest.mark.parametrize("kind", ["image", "video"])
def test_base64_that_is_none(door: Any, kind: str, payload: str) -> None:  # noqa: F811
    with refused(vr.VideoError, "Sample 1", "not valid base64"):
        door.apply_chat_template([question(TEXT), question({"type": kind, "base64": payload})], **CHAT)


def test_conversations_that_are_none_say_which_message(door: Any) -> None:  # noqa: F811
    for wrong, said in ((5, "its message 1 is 5"), ([], "its message 1 is []"), (Said, "its message 1 is a type")):
        with refused(vr.PromptError, "list of messages", said):
            door.apply_chat_template([*question(TEXT), wrong], **CHAT)
    with refused(vr.PromptError, "list of messages", "is a dict"):
        door.apply_chat_template(question(TEXT)[0], **CHAT)
    with refused(vr.PromptError, 'string under "role"', "has 'rol', 'content'"):
        door.apply_chat_template([{"rol": "user", "content": "Hi."}], **CHAT)


# --- no message shows what is long -----------------------------------------------------------------------------------

LONG = base64.b64encode(np.random.default_rng(0).bytes(750_000)).decode()
LONG_URL = f"data:image/png;base64,{LONG}"
NO_IMAGE = base64.b64encode(b"no image at all " * 50_000).decode()


def content(*items: Any) -> Callable[[Any], Any]:
    return lambda door: door.apply_chat_template(question(*items), **CHAT)  # noqa: F811


def messages(*said: Any) -> Callable[[Any], Any]:
    return lambda door: door.apply_chat_template(list(said), **CHAT)  # noqa: F811


def call(**given: Any) -> Callable[[Any], Any]:
    return lambda door: door(**given)  # noqa: F811


IMAGE = {"type": "image", "image": PICTURE}
PAYLOADS: dict[str, Callable[[Any], Any]] = {
    "misspelt type": content({"type": "img", "image": LONG_URL}),
    "type is the payload": content({"type": LONG, "image": 5}),
    "type is an item": content({"type": {"image_url": LONG_URL}}),
    "no type": content({"image_url": {"url": LONG_URL}}),
    "bare item": content(LONG_URL),
    "bare bytes": content(LONG.encode()),
    "items in items": content([{"type": "image", "image": LONG_URL}]),
    "twice": content({"type": "image", "image": LONG_URL, "base64": LONG}),
    "the other kind": content({"type": "video", "image": LONG_URL}),
    "in a text": content({**TEXT, "image": LONG_URL}),
    "text is an item": content({"type": "text", "text": {"image_url": LONG_URL}}),
    "address in an address": content({"type": "image_url", "image_url": {"url": {"url": LONG_URL}}}),
    "address under another name": content({"type": "image_url", "image_url": {LONG_URL: LONG}}),
    "cut off": content({"type": "image", "base64": LONG[:-1]}),
    "damaged": content({"type": "image", "base64": "ä" + LONG}),
    "no image in base64": content({"type": "image", "base64": NO_IMAGE}),
    "no image in data:": content({"type": "image", "url": f"data:image/png;base64,{NO_IMAGE}"}),
    "no image in bytes": content({"type": "image", "image": NO_IMAGE.encode()}),
    "no video in base64": content({"type": "video", "base64": NO_IMAGE}),
    "no video in data:": content({"type": "video_url", "video_url": f"data:video/mp4;base64,{NO_IMAGE}"}),
    "no base64 in data:": content({"type": "image", "url": f"data:image/png;base64,?{LONG}"}),
    "text as image": content({"type": "image", "image": "word " * 200_000}),
    "base64 as video": content({"type": "video", "video": LONG}),
    "base64 as path": content({"type": "video", "path": LONG}),
    "region of data:": content(IMAGE, {"type": "region", "region": LONG_URL}),
    "region of a payload": content(IMAGE, {"type": "region", "region": {"0": {"box": LONG_URL}}}),
    "region key": content(IMAGE, {"type": "region", "region": {LONG: None}}),
    "region visual": content(IMAGE, {"type": "region", "region": {"0": None, "visual": LONG}}),
    "content is bytes": messages({"role": "user", "content": LONG.encode()}),
    "content is an item": messages({"role": "user", "content": {"type": "image", "image": LONG_URL}}),
    "content is an address": messages({"role": "user", "content": SimpleNamespace(url=LONG_URL)}),
    "role is the payload": messages({"role": {"x": LONG_URL}, "content": "Hi."}),
    "no role": messages({LONG: "user", "content": [{"type": "image", "image": LONG_URL}]}),
    "message is the payload": messages(*question(TEXT), LONG_URL),
    "messages are payloads": messages([LONG_URL] * 3, [LONG_URL]),
    "message of another kind": messages(*question(TEXT), [{"type": "image", "image": LONG_URL}]),
    "conversation is the payload": lambda door: door.apply_chat_template(LONG_URL, **CHAT),  # noqa: F811
    "conversation is a message": lambda door: door.apply_chat_template(question(IMAGE)[0], **CHAT),  # noqa: F811
    "half a character": content({"type": "text", "text": LONG + "\ud800"}),
    "images=": call(text="<image>", images=[NO_IMAGE]),
    "images= of data:": call(text="<image>", images=[f"data:image/png;base64,{NO_IMAGE}"]),
    "images= of bytes": call(text="<image>", images=[NO_IMAGE.encode()]),
    "images= of dicts": call(text="<image>", images=[{"url": LONG_URL}]),
    "videos=": call(text="<video>", videos=[LONG]),
    "videos= of data:": call(text="<video>", videos=[f"data:video/mp4;base64,{NO_IMAGE}"]),
    "videos= of bytes": call(text="<video>", videos=[NO_IMAGE.encode()]),
    "videos= of dicts": call(text="<video>", videos=[{"url": LONG_URL}]),
    "videos= of pictures": call(text="<video>", videos=[[{"url": LONG_URL}]]),
    "too many images": call(text="Hello.", images=[LONG_URL]),
    "regions=": call(text="<image><region>", images=[PICTURE], regions=[LONG_URL]),
    "regions= of a payload": call(text="<image><region>", images=[PICTURE], regions=LONG_URL),
    "text is bytes": call(text=[LONG.encode()], images=[PICTURE]),
    "text without a visual": call(text=f"<region> {LONG}", regions=[AT_START]),
    "mask_policy": call(text="<image>", images=[PICTURE], mask_policy=LONG),
    "num_frames": call(text="<video>", videos=[MISSING], num_frames=LONG),
    "fps": call(text="<video>", videos=[np.zeros((4, 16, 16, 3), np.uint8)], fps=LONG),
    "setting": call(text="<image>", images=[PICTURE], **{LONG: 1}),
    "metadata": call(text="<video>", videos=[MISSING], video_metadata=[{"frames_indices": LONG}]),
    "a setting twice": lambda door: door.apply_chat_template(  # noqa: F811
        question(TEXT), processor_kwargs={LONG: 1}, **CHAT
    ),
}


@pytest.mark.spread(30)
@pytest.mark.parametrize("name", PAYLOADS)
def test_no_message_shows_a_payload(door: Any, name: str) -> None:  # noqa: F811
    with pytest.raises(vr.VideoReferError) as caught:
        PAYLOADS[name](door)
    said = str(caught.value)
    assert len(said) < 600, said[:200]
    for payload in (LONG, NO_IMAGE, "word " * 200_000):
        assert not any(payload[start : start + 24] in said for start in (0, 12, 24, len(payload) - 24)), said
