"""Batches as other libraries make them of samples, and the parts that servers and other encoders take one by one."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.utils import find_batch_size, pad_across_processes, slice_tensors
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, pipeline

import videorefer_plugin as vr
from tests.batches import logits_by_sample
from tests.test_batches import (  # noqa: F401 - fixtures
    LONG,
    SAMPLES,
    TOP,
    assert_those_of_singles,
    box,
    expected,
    model,
    places_of,
    prepare,
    processor,
    singles,
)
from tests.test_hosts import shared
from tests.tiny_hosts import ROWS

CHATS = [sample.chat for sample in SAMPLES.values()]
SETTINGS = {"do_sample": False, "max_new_tokens": 4}


# --- pipelines, collators, accelerate, TRL ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("task", "size"), [("image-text-to-text", 4), ("any-to-any", 12)])
def test_pipelines_answer_batches_as_single_chats(task, size, model, processor):  # noqa: F811
    pipe = pipeline(task, model=model, processor=processor)
    given = {"generate_kwargs": SETTINGS, "return_full_text": False, "processor_kwargs": {"fps": 4}}
    alone = [pipe(text=chat, **given)[0]["generated_text"] for chat in CHATS]
    answers = [answer["generated_text"] for (answer,) in pipe(text=CHATS, batch_size=size, **given)]
    assert answers == alone
    assert len(set(alone)) > 3, "answers must depend on what is asked"


@pytest.mark.spread(2)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_pipelines_answer_batches_of_hosts(row: Any) -> None:
    host, of_host = shared(row.name)
    pipe = pipeline("image-text-to-text", model=host, processor=of_host)
    video = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), dtype=np.uint8)
    seen = {"type": "video", "video": video}
    said = [{"type": "text", "text": "And "}, {"type": "region", "region": box(TOP, 3, 7)}]
    chats = [
        [{"role": "user", "content": content}] for content in ([seen, *said], said[:1], [seen], [seen, *said * 2])
    ]
    given = {"generate_kwargs": SETTINGS, "return_full_text": False}
    alone = [pipe(text=chat, **given)[0]["generated_text"] for chat in chats]
    assert [answer["generated_text"] for (answer,) in pipe(text=chats, batch_size=4, **given)] == alone


def test_samples_of_others_are_joined_by_pipelines_as_before(processor):  # noqa: F811
    from transformers.pipelines.base import pad_collate_fn

    plain = [dict(processor(text=text, return_tensors="pt")) for text in ("Hello?", "Hello, who is there?")]
    joined = pad_collate_fn(processor.tokenizer, None)(plain)
    assert joined["input_ids"].shape == (2, plain[1]["input_ids"].shape[1])


@pytest.mark.slow
def test_a_data_loader_joins_samples_with_the_processor_s_pad(model, processor, singles, expected):  # noqa: F811
    collators: list[Callable[[Any], Any]] = [processor.pad, DataCollatorWithPadding(processor)]
    for collate in collators:
        loader = DataLoader(list(singles.values()), batch_size=12, collate_fn=collate)
        (batch,) = loader
        assert_those_of_singles(logits_by_sample(model, batch), expected)


def test_labels_and_lengths_are_padded_as_asked(processor, singles):  # noqa: F811
    samples = [{**one, "labels": one["input_ids"].clone(), "name": name} for name, one in singles.items()]
    batch = processor.pad(samples, padding_side="right", pad_to_multiple_of=32)
    real = batch["attention_mask"].bool()
    assert batch["labels"].shape == batch["input_ids"].shape
    assert batch["input_ids"].shape[1] % 32 == 0
    assert torch.equal(batch["labels"][real], batch["input_ids"][real])
    assert bool((batch["labels"][~real] == -100).all())
    assert batch["name"] == list(SAMPLES)
    assert "attention_mask" not in processor.pad(samples, return_attention_mask=False)
    assert processor.pad(samples[:1], padding="max_length", max_length=500)["input_ids"].shape == (1, 500)


def test_whatever_stands_at_positions_is_padded_like_ids(processor, singles):  # noqa: F811
    samples = [
        {**one, "position_ids": one["attention_mask"].cumsum(1), "weights": one["attention_mask"] * 0.5, "label": row}
        for row, one in enumerate(singles.values())
    ]
    batch = processor.pad(samples)
    real = batch["attention_mask"].bool()
    assert torch.equal(batch["position_ids"][real], batch["attention_mask"].cumsum(1)[real])
    assert torch.equal(batch["weights"] > 0, real)
    assert batch["label"].tolist() == list(range(12))
    assert processor.pad([{**one, "label": torch.tensor(3)} for one in samples])["label"].tolist() == [3] * 12


@pytest.mark.spread(3)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_sample_taken_out_of_a_batch_of_a_host_answers_as_alone(row: Any) -> None:
    """The shorter clip keeps what filled it up."""
    host, of_host = shared(row.name)
    video = np.random.default_rng(0).integers(1, 255, (12, *row.side, 3), dtype=np.uint8)
    text, regions = f"{row.video_token} <region>", [box(TOP, 1)]
    alone = of_host(text=text, videos=video[:4], regions=regions, do_sample_frames=False)
    batch = of_host(text=[text] * 2, videos=[video[:8], video[:4]], regions=[regions] * 2, do_sample_frames=False)
    pixels = batch.get("pixel_values_videos", batch.get("pixel_values"))
    if len(pixels) != 2:
        pytest.skip("its pixels are packed, or rows of frames, which are not sliced by sample")
    second = {name: value[1:] for name, value in batch.items()}
    (found,), (wanted,) = host.get_region_tokens(**second), host.get_region_tokens(**alone)
    torch.testing.assert_close(found[0], wanted[0], atol=2e-4, rtol=0)
    with torch.no_grad():
        logits = host(**second).logits[0][second["attention_mask"][0].bool()]
        torch.testing.assert_close(logits, host(**alone).logits[0], atol=2e-4, rtol=0)


def test_frames_taken_out_of_one_array_twice_are_told_apart(model, processor):  # noqa: F811
    """The same eight frames are frames 0 to 7 of one source and 3, 10, 11 ... of another."""
    frames = LONG.read(range(8))
    ways = [{"frames_indices": list(range(8)), "fps": 10}, {"frames_indices": [3, *range(10, 17)], "fps": 10}]
    call = {"text": "<video>\n<region>", "num_frames": 2, "regions": [box(TOP, 3)], "return_tensors": "pt"}
    alone = [model.get_region_tokens(**processor(**call, videos=frames, video_metadata=[way]))[0][0] for way in ways]
    both = {**call, "text": "<video>\n<region> <video>\n<region>", "regions": [box(TOP, 3), box(TOP, 3)]}
    (found,) = model.get_region_tokens(**processor(**both, videos=[frames, frames], video_metadata=ways))
    for tokens, wanted in zip(found, alone, strict=True):
        torch.testing.assert_close(tokens, wanted, atol=1e-5, rtol=1e-5)


def test_encoded_clips_of_different_lengths_need_their_lengths(model, processor):  # noqa: F811
    call = {"text": ["<video>\n<region>"] * 2, "videos": [LONG] * 2, "regions": [[box(TOP, 0)]] * 2}
    inputs = processor(**call, num_frames=[8, 4], return_tensors="pt")
    pixels, lengths = inputs.pop("pixel_values_videos"), inputs.pop("video_lengths")
    encoded = {"mm_encoder_outputs": {"video": model.get_video_features(pixels, lengths)}}
    with torch.no_grad():
        expected = model(**inputs, pixel_values_videos=pixels, video_lengths=lengths).logits
        torch.testing.assert_close(model(**inputs, **encoded, video_lengths=lengths).logits, expected)
    with pytest.raises(vr.TensorError, match="Pass video_lengths"):
        model(**inputs, **encoded)


@pytest.mark.parametrize(
    ("given", "settings", "error", "message"),
    [
        ([], {}, vr.TensorError, "an empty list"),
        ([{"attention_mask": torch.ones(1, 3)}], {}, vr.TensorError, "Sample 0: input_ids must be a tensor"),
        ([{"input_ids": torch.ones(3)}], {}, vr.TensorError, r"Sample 0: .*\(3,\)"),
        ([{"input_ids": [[1, 2]]}], {}, vr.TensorError, "return_tensors='pt'"),
        ("text", {}, vr.TensorError, "str"),
        (
            [
                {"input_ids": torch.ones(1, 2), "a": torch.ones(1)},
                {"input_ids": torch.ones(1, 2), "a": torch.ones(1, 1)},
            ],
            {},
            vr.TensorError,
            "a of the samples have shapes",
        ),
        ([{"input_ids": torch.ones(1, 2)}], {"padding": False}, vr.ConfigurationError, "padding must be"),
        ([{"input_ids": torch.ones(1, 2)}], {"padding_side": "top"}, vr.ConfigurationError, "padding_side"),
        ([{"input_ids": torch.ones(1, 2)}], {"return_tensors": "np"}, vr.ConfigurationError, "'np'"),
        ([{"input_ids": torch.ones(1, 2)}], {"pad_to_multiple_of": -4}, vr.ConfigurationError, "pad_to_multiple_of"),
        ([{"input_ids": torch.ones(1, 2)}], {"max_length": "a"}, vr.ConfigurationError, "max_length"),
    ],
)
def test_what_cannot_be_joined_is_refused(given, settings, error, message, processor):  # noqa: F811
    with pytest.raises(error, match=message):
        processor.pad(given, **settings)


def test_accelerate_pads_and_slices_batches(model, processor, singles, expected):  # noqa: F811
    names = ["a region in the clip", "four regions", "a region in and beyond the clip"]
    batch = dict(prepare(processor, *(SAMPLES[name] for name in names)))
    padded = {name: pad_across_processes(value, dim=1) for name, value in batch.items()}
    assert find_batch_size(padded) == 3
    sliced = slice_tensors(padded, slice(1, 3))
    assert_those_of_singles(logits_by_sample(model, sliced), expected, names[1:])


def test_trl_collates_conversations_with_regions(model, processor):  # noqa: F811
    trainer = pytest.importorskip("trl.trainer.sft_trainer")
    batch = trainer.DataCollatorForVisionLanguageModeling(processor)(
        [{"messages": chat, "images": []} for chat in CHATS]
    )
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    plain = {"fps": None, "add_generation_prompt": False}
    singles = {name: prepare(processor, sample, **plain) for name, sample in SAMPLES.items()}  # noqa: F811
    alone = {name: logits_by_sample(model, single)[0] for name, single in singles.items()}
    assert_those_of_singles(logits_by_sample(model, inputs), alone)
    assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)


def test_prepared_samples_survive_being_sent_to_another_process(singles):  # noqa: F811
    for name, sample in singles.items():
        again = pickle.loads(pickle.dumps(sample))
        assert type(again) is type(sample)
        assert all(torch.equal(again[key], sample[key]) for key in sample), name
    half = singles["four regions"].to(torch.bfloat16)
    kept = {key: value.dtype for key, value in half.items()}
    assert kept["region_masks"] == torch.bool
    assert kept["region_frames"] == kept["region_lengths"] == kept["input_ids"] == torch.long
    assert kept["pixel_values_videos"] == torch.bfloat16


# --- parts -----------------------------------------------------------------------------------------------------------


def test_a_region_is_drawn_on_a_grid_as_the_processor_draws_it(processor, singles):  # noqa: F811
    (region,) = SAMPLES["a region in and beyond the clip"].parts("region")
    drawn = vr.draw_region(region, LONG, processor.grid_size, max_frames=processor.max_frames_per_region)
    assert len(drawn.frames) == processor.max_frames_per_region < len(region.frames)
    assert set(drawn.frames) < set(region.frames)
    assert torch.equal(drawn.masks, singles["a region in and beyond the clip"]["region_masks"][0])
    few = vr.draw_region(region.to_json(), LONG, processor.grid_size, mask_policy="original", max_frames=2)
    assert few.masks.shape == (2, *processor.grid_size)


@pytest.mark.parametrize("picture", [LONG.read([0])[0], Image.fromarray(LONG.read([0])[0])], ids=["array", "pillow"])
def test_a_region_is_drawn_on_an_image(picture, processor):  # noqa: F811
    drawn = vr.draw_region(box(TOP, 0), picture, processor.grid_size)
    assert torch.equal(drawn.masks, vr.draw_region(box(TOP, 0), LONG, processor.grid_size).masks)


@pytest.mark.parametrize(
    ("region", "settings", "error"),
    [
        (box(TOP, 99), {}, vr.RegionError),
        ({"0": {"box": "no"}}, {}, vr.RegionError),
        (box(TOP, 0), {"grid": (0, 3)}, vr.ConfigurationError),
        (box(TOP, 0), {"mask_policy": "best"}, vr.ConfigurationError),
        (box(TOP, 0), {"max_frames": 0}, vr.ConfigurationError),
        (box(TOP, 0), {"video": "no/such/file.mp4"}, vr.VideoError),
    ],
)
def test_what_cannot_be_drawn_is_refused(region, settings, error):
    with pytest.raises(error):
        vr.draw_region(region, **{"video": LONG, "grid": (4, 4), **settings})


def test_a_tower_is_run_without_its_model(model, singles):  # noqa: F811
    pixels = singles["a region in the clip"]["pixel_values_videos"][0]
    features = vr.frame_features(model.model.vision_tower, model.config, pixels)
    assert torch.equal(features, model.model.get_frame_features(pixels))
    assert features.shape == (len(pixels), *model.config.grid_size, model.config.vision_config.hidden_size)
    for wrong in (pixels[None], pixels[..., :9], pixels.byte(), pixels.numpy()):
        with pytest.raises(vr.TensorError, match="pixel_values must"):
            vr.frame_features(model.model.vision_tower, model.config, wrong)


def test_object_tokens_of_single_regions_are_those_of_the_prompt(model, processor, singles):  # noqa: F811
    """From features and drawn masks alone, as a server keeps them."""
    (region,) = SAMPLES["a region in and beyond the clip"].parts("region")
    drawn = vr.draw_region(region, LONG, processor.grid_size, max_frames=processor.max_frames_per_region)
    pixels = processor.preprocess_frames(LONG.read(drawn.frames))
    features = vr.frame_features(model.model.vision_tower, model.config, pixels)
    number = len(drawn.frames)
    output = model.object_encoder(features, drawn.masks, torch.arange(number), torch.tensor([number]))
    (alone,) = output.split()
    ((tokens,),) = model.get_region_tokens(**singles["a region in and beyond the clip"])
    assert tokens.shape == (4, model.config.text_config.hidden_size)
    torch.testing.assert_close(alone, tokens, atol=1e-5, rtol=1e-5)
    assert model.get_region_tokens(**singles["nothing but text"]) == [[]]


@pytest.mark.spread(2)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_hosts_give_object_tokens_of_single_regions(row: Any) -> None:
    host, of_host = shared(row.name)
    video = np.random.default_rng(0).integers(0, 256, (12, *row.side, 3), dtype=np.uint8)
    regions = [box(TOP, 3), box(TOP, 3, 7)]
    inputs = of_host(text=f"{row.video_token} <region> <region>", videos=video, regions=regions)
    (found,) = host.get_region_tokens(**inputs)
    assert [len(tokens) for tokens in found] == [1, 2]
    assert all(isinstance(tokens, Tensor) and bool(tokens.isfinite().all()) for tokens in found)
