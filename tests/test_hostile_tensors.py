"""Hostile tensors and arguments of models, own and attached: refused before the vision tower runs, or counted."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoProcessor

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from tests.hostile import LONGEST_MESSAGE, in_time
from tests.test_hosts import shared
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.errors import ConfigurationError, PromptError, TensorError, VideoReferError

Inputs = dict[str, Any]
BOX = (2, 2, 12, 12)


@contextmanager
def before_the_tower(model: Any, kind: str = "") -> Iterator[None]:
    ran: list[Any] = []
    handle = model.get_vision_tower().register_forward_pre_hook(lambda *_: ran.append(1))
    try:
        yield
    finally:
        handle.remove()
    # How many rows of features a host makes of its visuals is known from these.
    assert not ran or kind == "frames beyond", kind


def put(ids: Any, value: int) -> Any:
    ids = ids.clone()
    ids[0, -1] = value
    return ids


def with_value(pixels: Any, value: float) -> Any:
    pixels = pixels.clone()
    pixels.view(-1)[3] = value
    return pixels


# Kind -> (which of the inputs, what becomes of it); `forward` and `generate` both refuse it.
NO_TENSORS: dict[str, Callable[[Any], Any]] = {
    "list": lambda tensor: tensor.tolist(),
    "array": lambda tensor: tensor.numpy(),
    "text": lambda _: "x",
    "number": lambda _: 3,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "another dimension": lambda tensor: tensor[None],
    "a dimension less": lambda tensor: tensor[0],
}
EACH = ("input_ids", "attention_mask", "region_masks", "region_frames", "region_lengths")
CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{f"{name}: {kind}": (name, change) for name in EACH for kind, change in NO_TENSORS.items()},
    **{
        f"pixel_values_videos: {kind}": ("pixel_values_videos", change)
        for kind, change in NO_TENSORS.items()
        if "dimension" not in kind  # which hosts count in ways of their own
    },
    "pixels are whole": ("pixel_values_videos", lambda tensor: tensor.long()),
    "pixels are boolean": ("pixel_values_videos", lambda tensor: tensor > 0),
    "no pixels": ("pixel_values_videos", lambda tensor: tensor[:0]),
    "NaN in pixels": ("pixel_values_videos", lambda tensor: with_value(tensor, float("nan"))),
    "infinity in pixels": ("pixel_values_videos", lambda tensor: with_value(tensor, float("-inf"))),
    **{f"id {value}": ("input_ids", lambda ids, value=value: put(ids, value)) for value in (-1, -200, 10**6, 10**12)},
    "float ids": ("input_ids", lambda ids: ids.float()),
    "half ids": ("input_ids", lambda ids: ids.half()),
    "boolean ids": ("input_ids", lambda ids: ids.bool()),
    "no ids": ("input_ids", lambda ids: ids[:, :0]),
    "ids of one sample": ("input_ids", lambda ids: ids[:1]),
    "ids of four samples": ("input_ids", lambda ids: ids.repeat(2, 1)),
    "mask is short": ("attention_mask", lambda mask: mask[:, :-1]),
    "mask is long": ("attention_mask", lambda mask: torch.cat([mask, mask[:, :1]], dim=1)),
    "mask of one sample": ("attention_mask", lambda mask: mask[:1]),
    "mask of three samples": ("attention_mask", lambda mask: mask[[0, 1, 0]]),
    "empty mask": ("attention_mask", lambda mask: mask[:0]),
    "mask of NaN": ("attention_mask", lambda mask: mask * float("nan")),
    "mask of 2": ("attention_mask", lambda mask: mask * 2),
    "mask of -1": ("attention_mask", lambda mask: -mask),
    "mask of shares": ("attention_mask", lambda mask: mask * 0.5),
    "mask of long": ("attention_mask", lambda mask: mask[:, None, None]),
    "region masks of NaN": ("region_masks", lambda masks: masks * float("nan")),
    "region masks of infinity": ("region_masks", lambda masks: masks + float("inf")),
    "region masks of one sample": ("region_masks", lambda masks: masks[:1]),
    "fewer region masks": ("region_masks", lambda masks: masks[:, :-1]),
    "more region masks": ("region_masks", lambda masks: masks.repeat(1, 2, 1, 1)),
    "frames beyond": ("region_frames", lambda frames: frames * 99),
    "frames below": ("region_frames", lambda frames: -frames),
    "no frames": ("region_frames", lambda frames: frames * 0),
    "float frames": ("region_frames", lambda frames: frames.float()),
    "boolean frames": ("region_frames", lambda frames: frames.bool()),
    "frames of one sample": ("region_frames", lambda frames: frames[:1]),
    "lengths of nothing": ("region_lengths", lambda lengths: lengths * 0),
    "lengths below 0": ("region_lengths", lambda lengths: -lengths),
    "lengths too large": ("region_lengths", lambda lengths: lengths * 7),
    "float lengths": ("region_lengths", lambda lengths: lengths.float()),
    "lengths of four samples": ("region_lengths", lambda lengths: lengths.repeat(2, 1)),
}

LEFT_OUT = ("input_ids", "region_masks", "region_frames", "region_lengths")
MISSPELT = {
    "region_mask": "region_masks",
    "regions_masks": "region_masks",
    "region_frame": "region_frames",
    "region_length": "region_lengths",
    "regionmasks": "region_masks",
    "Region_masks": "region_masks",
    "inputids": "input_ids",
    "input_id": "input_ids",
    "attention_masks": "attention_mask",
    "attentionmask": "attention_mask",
    "atention_mask": "attention_mask",
    "pixel_value_videos": "pixel_values_videos",
    "pixel_values_video": "pixel_values_videos",
    "pixelvaluesvideos": "pixel_values_videos",
}

# Arguments of `forward` alone.
FORWARD: dict[str, Callable[[Inputs], Inputs]] = {
    "short labels": lambda inputs: {"labels": inputs["input_ids"][:, :-1]},
    "float labels": lambda inputs: {"labels": inputs["input_ids"].float()},
    "large labels": lambda inputs: {"labels": inputs["input_ids"] * 0 + 10**6},
    "negative labels": lambda inputs: {"labels": inputs["input_ids"] * 0 - 1},
    "listed labels": lambda inputs: {"labels": inputs["input_ids"].tolist()},
    "labels of one sample": lambda inputs: {"labels": inputs["input_ids"][:1]},
    "flat labels": lambda inputs: {"labels": inputs["input_ids"].flatten()},
    "lebels": lambda inputs: {"lebels": inputs["input_ids"]},
    "short positions": lambda inputs: {"position_ids": inputs["input_ids"][:, :-1] * 0},
    "float positions": lambda inputs: {"position_ids": inputs["input_ids"] * 0.0},
    "listed positions": lambda inputs: {"position_ids": [0, 1]},
    "embeddings as well": lambda inputs: {"inputs_embeds": torch.zeros(*inputs["input_ids"].shape, 32)},
    "logits_to_keep below 0": lambda _: {"logits_to_keep": -1},
    "logits_to_keep as text": lambda _: {"logits_to_keep": "x"},
    "regions": lambda _: {"regions": [vr.Region.from_box(BOX)]},
    "no regions": lambda _: {"regions": []},
    "region_boxes": lambda _: {"region_boxes": torch.zeros(1, 4)},
    "region": lambda _: {"region": "x"},
    "object_token": lambda _: {"object_token": torch.zeros(1, 1, 1)},
    "output_attention": lambda _: {"output_attention": True},
    "past": lambda _: {"past_key_values": "x"},
    "encoded": lambda _: {"mm_encoder_outputs": "x"},
}

# Arguments of `generate` alone.
GENERATE: dict[str, Inputs] = {
    f"{name}={value!r}": {name: value}
    for name, values in {
        "max_new_tokens": [0, -1, "5", 1.5, True, [], {}],
        "num_beams": [0, -1, "2", 1.5, True],
        "num_return_sequences": [0, -1, "2", 1.5],
        "max_new_token": [5],
        "max_tokens": [5],
        "temprature": [0.5],
        "do_samples": [True],
        "num_beam": [2],
        "topk": [2],
        "stop": ["x"],
        "foo": [1, "x"],
        "dtype": ["nope"],
        "device": ["cpu"],
        "regions": [[], [1]],
        "region_box": [(1, 2, 3, 4)],
        "generation_config": ["x", 3, ["x"], {"max_new_tokens": 3}],
        "streamer": [3, "x", print],
        "past_key_values": ["x", 3],
        # What transformers judges itself.
        "temperature": ["hot", [], -1.0],
        "top_k": ["x", 1.5, -1],
        "top_p": ["x", 7, -1.0],
        "min_p": ["x", 7],
        "typical_p": ["x", 7],
        "repetition_penalty": ["x", -1],
        "no_repeat_ngram_size": ["x", 1.5],
        "length_penalty": ["x"],
        "bad_words_ids": ["x", 5, [5], [["x"]]],
        "sequence_bias": ["x", 5],
        "eos_token_id": ["x", ["x"]],
        "pad_token_id": ["x"],
        "suppress_tokens": ["x", 5],
        "forced_eos_token_id": ["x", 10**9],
        "min_new_tokens": ["x"],
        "max_length": ["x"],
        "max_time": ["x"],
        "stop_strings": [5, "x"],
        "early_stopping": ["x"],
        "cache_implementation": ["x", 5],
        "logits_processor": ["x", 5, [5]],
        "stopping_criteria": ["x", 5, [5]],
        "prefix_allowed_tokens_fn": ["x", 5],
        "assistant_model": ["x", 5],
        "prompt_lookup_num_tokens": ["x", 0],
        "watermarking_config": ["x"],
        "compile_config": ["x"],
    }.items()
    for value in values
}


def prepared(name: str) -> tuple[Any, Inputs]:
    if name == "videorefer":
        model, processor = AutoModel.from_pretrained(CHECKPOINT).eval(), AutoProcessor.from_pretrained(CHECKPOINT)
        videos = [np.random.default_rng(seed).integers(0, 256, (8, 30, 40, 3), dtype=np.uint8) for seed in range(2)]
        texts = ["<video>\nIs <region> near <region>?", "<video>\nWhat is <region>?"]
    else:
        row = BY_NAME[name]
        model, processor = shared(name)
        videos = [row.video(seed) for seed in range(2)]
        texts = [row.prompt("Is <region> near <region>?"), row.prompt("What is <region>?")]
    regions = [[vr.Region.from_box(BOX, frame=at) for at in own] for own in ([0, 3], [5])]
    return model, dict(processor(text=texts, videos=videos, regions=regions, return_tensors="pt"))


# One of each way that hosts lay out their visuals; the other families are among the slow tests.
USUAL = ("videorefer", "llava_onevision", "qwen3_vl", "internvl", "smolvlm")
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in BY_NAME if name not in USUAL]


@pytest.fixture(scope="module", params=[*USUAL, *OTHERS])
def called(request: Any) -> tuple[Any, Inputs]:
    return prepared(request.param)


def refused(
    model: Any, call: Callable[..., Any], inputs: Inputs, *errors: type[VideoReferError], what: str = ""
) -> None:
    with in_time(), before_the_tower(model, what), torch.no_grad():
        try:
            call(**inputs)
        except errors as error:
            assert 10 < len(str(error)) < LONGEST_MESSAGE  # noqa: PT017 - the input is named where there is another
            return
        except Exception as error:
            raise AssertionError(f"{what}: {error!r}") from error
    pytest.fail(f"{what} was taken")


def doors(model: Any) -> dict[str, Callable[..., Any]]:
    return {"forward": model, "generate": lambda **inputs: model.generate(**{"max_new_tokens": 1, **inputs})}


def test_the_matrix_is_large_enough():
    assert len(CHANGES) + len(LEFT_OUT) + len(MISSPELT) + len(FORWARD) + len(GENERATE) >= 150


@pytest.mark.spread(5)
@pytest.mark.parametrize("door", ["forward", "generate"])
def test_tensors_that_do_not_fit(door, called):
    model, inputs = called
    for kind, (name, change) in CHANGES.items():
        visual = "pixel_values" if name == "pixel_values_videos" and name not in inputs else name
        wrong = {**inputs, visual: change(inputs[visual])}
        refused(model, doors(model)[door], wrong, TensorError, PromptError, what=kind)


@pytest.mark.parametrize("door", ["forward", "generate"])
def test_tensors_that_are_missing_or_misspelt(door, called):
    model, inputs = called
    call = doors(model)[door]
    for name in LEFT_OUT:
        for left in ({**inputs, name: None}, {key: value for key, value in inputs.items() if key != name}):
            refused(model, call, left, TensorError, PromptError, what=f"{name} left out")
    for name, right in MISSPELT.items():
        if right in inputs:
            moved = {name if key == right else key: value for key, value in inputs.items()}
            refused(model, call, moved, ConfigurationError, PromptError, what=name)
            refused(model, call, {**inputs, name: inputs[right]}, ConfigurationError, what=f"{name} as well")


def test_arguments_of_forward(called):
    model, inputs = called
    for kind, more in FORWARD.items():
        refused(model, model, {**inputs, **more(inputs)}, TensorError, ConfigurationError, PromptError, what=kind)


def test_arguments_of_generate(called):
    model, inputs = called
    for kind, more in GENERATE.items():
        if kind.startswith(("temperature", "top_", "min_p", "typical_p")):
            more = {"do_sample": True, **more}
        refused(model, doors(model)["generate"], {**inputs, **more}, ConfigurationError, TensorError, what=kind)


@pytest.mark.spread(2)
def test_what_counts_is_taken(called):
    """No regions, a mask of another dtype, and ids of 32 bits say the same."""
    model, inputs = called
    with torch.no_grad():
        expected = model.generate(**inputs, max_new_tokens=3, do_sample=False)
        for same in (
            {"regions": None},
            {"attention_mask": inputs["attention_mask"].bool()},
            {"attention_mask": inputs["attention_mask"].float()},
            {"input_ids": inputs["input_ids"].int()},
            {"temperature": 0.0, "top_k": 50, "repetition_penalty": 1.0},
        ):
            found = model.generate(**{**inputs, **same}, max_new_tokens=3, do_sample=False)
            assert found.tolist() == expected.tolist()
        labels = inputs["input_ids"]
        loss = model(**inputs, labels=labels).loss
        for dtype in (torch.int32, torch.int16):
            narrow = {"input_ids": labels.to(dtype), "labels": labels.to(dtype)}
            assert torch.equal(model(**{**inputs, **narrow}).loss, loss)


@pytest.mark.spread(2)
@pytest.mark.parametrize(("name", "value"), [("temprature", 0.5), ("temperature", "hot"), ("eos_token_id", "x")])
def test_settings_are_judged_before_a_video_is_opened(name, value, tmp_path):
    """Of `ask` and of sessions: a video that is not there is not what they complain about."""
    model, processor = AutoModel.from_pretrained(CHECKPOINT).eval(), AutoProcessor.from_pretrained(CHECKPOINT)
    with pytest.raises(ConfigurationError, match=name):
        vr.ask(model, tmp_path / "missing.mp4", "What is it?", processor=processor, **{name: value})
    with pytest.raises(ConfigurationError, match="takes a VideoRefer") as caught:
        vr.VideoSession("", "", tmp_path / "missing.mp4")
    video = np.zeros((4, 42, 42, 3), np.uint8)
    with vr.VideoSession(model, processor, video, num_frames=2) as session:
        for ask in (session.ask, session.chat().ask, session.stream):
            with pytest.raises(ConfigurationError, match=name) as caught:
                ask("What is it?", **{name: value})
        assert session.computed.frames_encoded == 0
    assert caught.value.__cause__ is not None or value == "hot"


def test_long_prompts_warn_once():
    model, inputs = prepared("videorefer")
    model.config.get_text_config().max_position_embeddings = inputs["input_ids"].shape[1] - 1
    with pytest.warns(UserWarning, match=r"max_position_embeddings.*fewer frames.*fewer regions") as caught:
        [model.generate(**inputs, max_new_tokens=1) for _ in range(3)]
    assert sum("max_position_embeddings" in str(one.message) for one in caught) == 1
