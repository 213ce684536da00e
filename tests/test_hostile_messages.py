"""Hostile chat messages: each is refused with its turn and item named, or read as transformers' own processors do."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from tests.hostile import in_time, refuses
from tests.test_hosts import shared
from tests.tiny_hosts import tokenizer
from videorefer_plugin.errors import ConfigurationError, PromptError, RegionError

MISSING = "no/such/video.mp4"
TEXT = {"type": "text", "text": "What?"}
VIDEO = {"type": "video", "video": MISSING}
REGION = vr.Region.from_box((2, 2, 9, 9), frame=0)


def said(content: Any, role: Any = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


class Silent:
    role = "user"
    content = None


# What is no conversation at all, or holds what is no message.
NO_CONVERSATIONS: dict[str, Any] = {
    **{f"{value!r}": value for value in (None, "hi", "", b"hi", 3, 0, 1.5, True, [], (), {}, [[]], [()])},
    "nan": float("nan"),
    "dict": said("hi"),
    "set": {1},
    "generator": (one for one in [said("hi")]),
    "range": range(3),
    "array": np.array(["hi"]),
    "tensor": torch.zeros(3),
    "type": dict,
    "function": print,
    "map": map(str, [1]),
    "class": Silent,
    "strings": ["hi", "you"],
    "bytes in a list": [b"hi"],
    "numbers in a list": [1, 2],
    "None in a list": [None],
    "None after a message": [said("hi"), None],
    "string after a message": [said("hi"), "you"],
    "list after a message": [said("hi"), [said("hi")]],
    "message after a conversation": [[said("hi")], said("hi")],
    "None after a conversation": [[said("hi")], None],
    "string after a conversation": [[said("hi")], "x"],
    "empty after a conversation": [[said("hi")], []],
    "too deep": [[[said("hi")]]],
    "pairs": [("user", "hi")],
    "dict of messages": {"messages": [said("hi")]},
}

# Role or content of a message.
MESSAGES: dict[str, Any] = {
    **{f"role {role!r}": said("hi", role) for role in (None, 3, 0, True, b"user", [], ["user"], {}, 1.5, object)},
    **{f"role {role!r}": said("hi", role) for role in ("", " ", "\n", "\ud800", "User", "USER", " user", "user\n")},
    **{f"role {role!r}": said("hi", role) for role in ("System", "sytem", "assistent", "Assistant", "usr", "users")},
    **{f"role {role!r}": said("hi", role) for role in ("human", "gpt", "Human", "bot", "Tool", "asistant")},
    **{f"content {one!r}": said(one) for one in (None, 3, 0, 1.5, True, b"hi", b"", {}, {1}, range(2))},
    "content dict": said(TEXT),
    "content tensor": said(torch.zeros(2)),
    "content array": said(np.zeros(2)),
    "content generator": said(one for one in [TEXT]),
    "content type": said(str),
    "content object": Silent(),
    "half a character": said("\ud800"),
    "half a character in an item": said([{"type": "text", "text": "a\udfff"}]),
    "no role": {"content": "hi"},
    "nothing": {},
    "role only": {"role": "user"},
    "system only": {"role": "system"},
    "assistant says None": said(None, "assistant"),
    "contents": {"role": "user", "contents": "hi"},
    "text": {"role": "user", "text": "hi"},
    "of LLaVA": {"from": "human", "value": "hi"},
    "value": {"role": "user", "value": "hi"},
    "parts": {"role": "user", "parts": [TEXT]},
    "Content": {"role": "user", "Content": "hi"},
}

# Content items.
ITEMS: dict[str, Any] = {
    **{f"{type(one).__name__} {one}": one for one in (None, "hi", "", b"hi", 3, 1.5, True, {}, (), {1}, range(2))},
    "list": [TEXT],
    "nested": [[TEXT]],
    "region itself": REGION,
    "array": np.zeros((2, 4, 4, 3), np.uint8),
    **{
        f"type {kind!r}": {"type": kind, "text": "hi"}
        for kind in (None, 3, [], {}, "", "Text", "txt", "input_text", "audio", "regoin", "Region", "regions")
    },
    **{f"type {kind!r} alone": {"type": kind} for kind in ("vidoe", "Video", "videos", "file", "\ud800", b"text")},
    "no type": {"text": "hi"},
    "no type, a video": {"video": MISSING},
    "Type": {"Type": "text", "text": "hi"},
    **{f"text {text!r}": {"type": "text", "text": text} for text in (None, 3, 1.5, True, b"a", ["a"], {}, {"v": "a"})},
    "text missing": {"type": "text"},
    "text misspelt": {"type": "text", "txt": "hi"},
    "text as content": {"type": "text", "content": "hi"},
    "text and video": {**TEXT, "video": MISSING},
    "text and image_url": {**TEXT, "image_url": "a.png"},
    "text and region": {**TEXT, "region": REGION},
    "video None": {"type": "video", "video": None},
    "video missing": {"type": "video"},
    "video misspelt": {"type": "video", "vidoe": MISSING},
    "video as image": {"type": "video", "image": "a.png"},
    "video twice": {"type": "video", "video": MISSING, "path": MISSING},
    "video_url a number": {"type": "video_url", "video_url": 3},
    "video_url empty": {"type": "video_url", "video_url": {}},
    "image None": {"type": "image", "image": None},
    "image misspelt": {"type": "image", "iamge": "a.png"},
    "base64 a number": {"type": "video", "base64": 3},
    **{
        f"{name} beside a video": {**VIDEO, name: 2}
        for name in ("fps", "num_frames", "nframes", "max_pixels", "video_start", "max_frames", "min_pixels", "end")
    },
    **{
        f"{name} beside a region": {"type": "region", "region": REGION, name: 2}
        for name in ("frame", "frames", "box", "visual", "text", "label", "video", "mask_policy")
    },
}

# Regions as content items, beside a video that is never opened.
REGIONS: dict[str, Any] = {
    **{f"{one!r}": one for one in (None, 3, 1.5, "box", b"box", True, [], [1, 2, 3, 4], (), {1})},
    "list of regions": [REGION],
    "type": vr.Region,
    "array": np.ones((4, 4), bool),
    "empty": {},
    "box": {"box": [1, 2, 3, 4]},
    "misspelt": {"0": {"bxo": [1, 2, 3, 4]}},
}

# Keyword arguments of a call that nobody reads, and what is meant.
SETTINGS: dict[str, str | None] = {
    "num_frame": "num_frames",
    "numframes": "num_frames",
    "max_frame": "max_frames",
    "region": "regions",
    "Regions": "regions",
    "mask_polcy": "mask_policy",
    "max_frames_per_regions": "max_frames_per_region",
    "video_starts": "video_start",
    "video_ends": "video_end",
    "return_tensor": "return_tensors",
    "do_sample_frame": "do_sample_frames",
    "paddings": "padding",
    "max_lenght": "max_length",
    "truncate": None,
    "xyz": None,
}

WRONG_VALUES: dict[str, dict[str, Any]] = {
    f"{name}={value!r}": {name: value}
    for name, values in {
        "mask_policy": ["Keep", "", 3, True, [], b"keep"],
        "max_frames_per_region": [0, -1, 1.5, True, "3", []],
    }.items()
    for value in values
}


@pytest.fixture(scope="module", params=["videorefer", "llava_onevision"])
def door(request: Any) -> Any:
    """Both kinds of processors."""
    return AutoProcessor.from_pretrained(CHECKPOINT) if request.param == "videorefer" else shared(request.param)[1]


def chat(door: Any, conversation: Any, **settings: Any) -> Any:
    return door.apply_chat_template(conversation, tokenize=True, return_dict=True, return_tensors="pt", **settings)


def test_the_matrix_is_large_enough():
    assert sum(map(len, (NO_CONVERSATIONS, MESSAGES, ITEMS, REGIONS, SETTINGS, WRONG_VALUES))) >= 190


def test_what_is_no_conversation(door):
    for conversation in NO_CONVERSATIONS.values():
        refuses(PromptError, lambda given: chat(door, given))(conversation)


def test_messages_that_are_none_are_named(door):
    for message in MESSAGES.values():
        for conversation, place in (
            ([message], "Message 0"),
            ([said("hi"), said("ho", "assistant"), message], "Message 2"),
            ([[said("hi")], [said("hi"), message]], "Sample 1: message 1"),
        ):
            with in_time(), pytest.raises(PromptError, match=f"^{place}\\b"):
                chat(door, conversation)
            if message is not MESSAGES["content generator"]:  # which can be looked at once
                with pytest.raises(PromptError, match=f"^{place}\\b"):
                    door.apply_chat_template(conversation, tokenize=False)


def test_content_items_that_are_none_are_named(door):
    for item in ITEMS.values():
        for conversation, place in (
            ([said([item])], "Message 0: content item 0"),
            ([said("hi"), said([TEXT, VIDEO, item])], "Message 1: content item 2"),
            ([[said([TEXT])], [said([TEXT, item])]], "Sample 1: message 0: content item 1"),
        ):
            with in_time(), pytest.raises(PromptError, match=f"^{place}\\b"):
                chat(door, conversation)


def test_regions_that_are_none(door):
    for region in REGIONS.values():
        refuses(RegionError, lambda given: chat(door, [said([VIDEO, {"type": "region", "region": given}])]))(region)
    with pytest.raises(RegionError, match=r"^Message 1: content item 1"):
        chat(door, [said("hi"), said([VIDEO, {"type": "region", "region": 3}])])


def test_settings_that_nobody_reads(door):
    for name, meant in SETTINGS.items():
        expected = f"{name!r}; did you mean '{meant}'" if meant else name
        with in_time(), pytest.raises(ConfigurationError, match=expected):
            door(text="<video>", videos=MISSING, **{name: 1})
        with pytest.raises(ConfigurationError, match=name):
            chat(door, [said([VIDEO, TEXT])], **{name: 1})


def test_settings_of_regions_with_wrong_values(door):
    for given in WRONG_VALUES.values():
        refuses(ConfigurationError, lambda wrong: door(text="<video>", videos=MISSING, **wrong))(given)


# What transformers' own processors take: turns of any order, other roles, and keys that a template may look at.
LEGAL: dict[str, Any] = {
    "one turn": [said("hi")],
    "empty text": [said("")],
    "tool": [said("hi"), said("42", "tool")],
    "function": [said("hi"), said("42", "function")],
    "developer": [said("be short", "developer"), said("hi")],
    "a role of its own": [said("hi"), said("ho", "model")],
    "two systems": [said("a", "system"), said("b", "system"), said("c")],
    "late system": [said("c"), said("a", "system")],
    "system alone": [said("a", "system")],
    "assistant first": [said("a", "assistant"), said("b")],
    "assistant last": [said("a"), said("b", "assistant")],
    "two users": [said("a"), said("b")],
    "other keys": [{**said("hi"), "name": "Ann", "id": 3}],
    "calls a tool": [said("hi"), {"role": "assistant", "content": "", "tool_calls": [{"type": "function"}]}],
    "tuple": (said("hi"), said("ho", "assistant")),
    "several": [[said("hi")], [said("be short", "system"), said("ho")]],
    "text items": [said([TEXT])],
    "several items": [said([TEXT, TEXT]), said([TEXT], "assistant")],
    "other keys of an item": [said([{**TEXT, "cache_control": {"type": "ephemeral"}}])],
}


@pytest.mark.spread(6)
@pytest.mark.parametrize("name", LEGAL)
def test_legal_conversations_become_what_transformers_makes_of_them(name):
    own = AutoProcessor.from_pretrained(CHECKPOINT)
    bare = tokenizer()
    bare.chat_template = own.chat_template
    given = list(LEGAL[name]) if isinstance(LEGAL[name], tuple) else LEGAL[name]
    expected = bare.apply_chat_template(given, tokenize=False, add_generation_prompt=True)
    assert own.apply_chat_template(LEGAL[name], tokenize=False, add_generation_prompt=True) == expected
    host = shared("llava_onevision")[1]
    for conversation, expected in (
        (LEGAL[name], host.processor.apply_chat_template(given, tokenize=False, chat_template=own.chat_template)),
    ):
        said_by_host = host.apply_chat_template(conversation, tokenize=False, chat_template=own.chat_template)
        assert said_by_host == expected


def test_a_call_without_content_is_a_message():
    own = AutoProcessor.from_pretrained(CHECKPOINT)
    called = {"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}
    assert own.apply_chat_template([said("hi"), called], tokenize=False).count("assistant\n") == 1
