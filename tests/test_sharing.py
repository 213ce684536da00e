"""A batch of prompts that begin alike runs their beginning once, and generates what single prompts do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import videorefer_plugin as vr
from videorefer_plugin import world


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    from videorefer_plugin.asking import load_model

    return load_model(vr.tiny_checkpoint(), dtype=torch.float32)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[vr.Region]]]:
    made = []
    for seed in (5, 6):
        clip = world.make_clip(seed, "heldout", objects=3, theme="mixed", distinct=True)
        path = tmp_path_factory.mktemp("clip") / f"{seed}.mp4"
        world.encode_video(path, clip.frames)
        made.append((path, [clip.region(number) for number in range(len(clip))]))
    return made


@contextmanager
def positions(model: Any) -> Iterator[list[int]]:
    """Positions, padding included, of each run of the decoder within the block."""
    runs: list[int] = []

    def count(module: Any, args: Any, kwargs: Any) -> None:
        runs.append(kwargs["inputs_embeds"].shape[0] * kwargs["inputs_embeds"].shape[1])

    hook = model.get_decoder().register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield runs
    finally:
        hook.remove()


HEAD = "<|im_start|>user\n<video>\n"
END = "<|im_end|>\n<|im_start|>assistant\n"


def batches(videos: Any) -> dict[str, dict[str, Any]]:
    (video, (first, second, third)), (other, others) = videos
    short, long = "What color is <region>?", "What is <region> doing, and where is <region> at the end of the video?"
    alike = [f"{HEAD}{text}{END}" for text in (short, long, "What happens?", short)]
    return {
        "questions of different lengths": {
            "text": alike,
            "videos": [[video]] * 4,
            "regions": [[first], [second, third], [], [second]],
        },
        "regions differ first": {
            "text": [f"{HEAD}<region> is what?{END}"] * 3,
            "videos": [[video]] * 3,
            "regions": [[first], [second], [first]],
        },
        "the same prompt": {"text": alike[:1] * 2, "videos": [[video]] * 2, "regions": [[first]] * 2},
        "videos differ": {
            "text": alike[:2],
            "videos": [[video], [other]],
            "regions": [[first], [others[0], others[1]]],
        },
        "no visual": {
            "text": [f"<|im_start|>user\n{'one two three four five ' * 12}{n}{END}" for n in ("six", "ten")]
        },
    }


@pytest.fixture(params=list(batches([(None, [None] * 3), (None, [None] * 3)])))
def call(request: pytest.FixtureRequest, videos: Any) -> dict[str, Any]:
    return batches(videos)[request.param]


def singles(call: dict[str, Any]) -> list[dict[str, Any]]:
    return [{name: [values[row]] for name, values in call.items()} for row in range(len(call["text"]))]


GREEDY = {"do_sample": False, "max_new_tokens": 16}


@pytest.mark.spread(2)
@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"repetition_penalty": 1.3}], ids=str)
def test_batches_generate_what_single_prompts_do(pair: Any, call: dict[str, Any], settings: Any) -> None:
    model, processor = pair
    inputs = processor(**call, return_tensors="pt")
    output = model.generate(**inputs, **GREEDY, **settings)
    length = inputs["input_ids"].shape[1]
    assert torch.equal(output[:, :length], inputs["input_ids"])  # prompts come back as they were
    for row, one in zip(output, singles(call), strict=True):
        prompt = processor(**one, return_tensors="pt")
        alone = model.generate(**prompt, **GREEDY, **settings)[0, prompt["input_ids"].shape[1] :]
        assert row[length:][: len(alone)].tolist() == alone.tolist()


def test_sampling_draws_as_without_sharing(pair: Any, videos: Any) -> None:
    model, processor = pair
    inputs = processor(**batches(videos)["questions of different lengths"], return_tensors="pt")
    drawn = []
    for more in ({}, {"return_dict_in_generate": True}):
        torch.manual_seed(0)
        output = model.generate(**inputs, do_sample=True, num_return_sequences=2, max_new_tokens=8, **more)
        drawn.append(output if isinstance(output, torch.Tensor) else output.sequences)
    assert torch.equal(*drawn)


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", [torch.bool, torch.int32, torch.float32])
def test_masks_may_have_any_dtype(pair: Any, videos: Any, kind: torch.dtype) -> None:
    model, processor = pair
    inputs = processor(**batches(videos)["questions of different lengths"], return_tensors="pt")
    expected = model.generate(**inputs, **GREEDY)
    inputs["attention_mask"] = inputs["attention_mask"].to(kind)
    assert torch.equal(model.generate(**inputs, **GREEDY), expected)


def test_what_is_shared_is_run_once(pair: Any, videos: Any) -> None:
    model, processor = pair
    every = batches(videos)

    def first_run(name: str, **settings: Any) -> tuple[int, int, int]:
        inputs = processor(**every[name], return_tensors="pt")
        visual = int((inputs["input_ids"][0] == processor.video_token_id).sum())
        with positions(model) as runs:
            model.generate(**inputs, do_sample=False, max_new_tokens=1, **settings)
        return sum(runs), inputs["input_ids"].numel(), visual

    run, whole, visual = first_run("questions of different lengths")
    assert run <= whole - 3 * visual
    run, whole, visual = first_run("regions differ first")
    assert run <= whole - 2 * visual
    for settings in (
        {"return_dict_in_generate": True},  # which may return what was made of every position
        {"logits_processor": [lambda input_ids, scores: scores]},  # which may look at any position
        {"use_cache": False},
        {"use_cache": None},
        {"no_repeat_ngram_size": 2},
    ):
        run, whole, _ = first_run("questions of different lengths", **settings)
        assert run == whole
    run, whole, _ = first_run("videos differ")
    assert run == whole


def test_models_without_regions_share_as_well(videos: Any) -> None:
    from transformers import AutoModel, AutoProcessor

    from tests.videollama2_original import CHECKPOINT

    model, processor = AutoModel.from_pretrained(CHECKPOINT).eval(), AutoProcessor.from_pretrained(CHECKPOINT)
    texts = [
        f"{'You see a video. ' * 8}<video>\n{question}" for question in ("What happens?", "What is there to see?")
    ]
    call = {"text": texts, "videos": [[videos[0][0]]] * 2}
    inputs = processor(**call, return_tensors="pt")
    with positions(model) as runs:
        output = model.generate(**inputs, **GREEDY)
    assert runs[1] < inputs["input_ids"].numel() / 2
    length = inputs["input_ids"].shape[1]
    for row, one in zip(output, singles(call), strict=True):
        prompt = processor(**one, return_tensors="pt")
        alone = model.generate(**prompt, **GREEDY)[0, prompt["input_ids"].shape[1] :]
        assert row[length:][: len(alone)].tolist() == alone.tolist()
