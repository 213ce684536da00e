"""Batches of hosts: samples with any visuals, stacked by anyone, and nothing encoded twice."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import videorefer_plugin as vr
from tests.media import write_video
from tests.test_hosts import every_host, greedy, logits, one_thread, pooled, quarter, shared  # noqa: F401
from tests.tiny_hosts import BY_NAME, IDS, ROWS, HostRow

# What each sample shows, in order (v: a video, i: an image), and on which of these each of its regions lies.
SAMPLES: dict[str, tuple[str, list[int]]] = {
    "video": ("v", [0]),
    "other video": ("w", [0, 0]),
    "video without regions": ("v", []),
    "text": ("", []),
    "image": ("i", [0]),
    "two videos": ("vw", [1, 0, 1]),
    "the same video twice": ("vv", [0, 1]),
    "video and image": ("vi", [0, 1, 0, 0]),
    "image and video": ("iv", [1, 0]),
    "two images": ("ij", [1, 0]),
    "image without regions": ("j", []),
    "short video": ("s", [0]),
    "short video without regions": ("s", []),
    "short and long video": ("svi", [0, 1]),
}
ALL = {"do_sample_frames": False}


def visual(row: HostRow, letter: str) -> np.ndarray:
    if letter in "vws":
        return row.video("vws".index(letter), frames=2 if letter == "s" else 4)
    wide = row.side[0], row.side[1] * (2 if letter == "j" else 1)  # cut into other tiles, where a host cuts
    return np.random.default_rng(ord(letter)).integers(0, 256, (*wide, 3), dtype=np.uint8)


def sample(row: HostRow, name: str) -> dict[str, Any]:
    """A sample; where a host places no regions on images, those on images are left out."""
    letters, on = SAMPLES[name]
    on = [place for place in on if row.takes_images or letters[place] in "vws"]
    text = "user: " + "".join(row.video_token if letter in "vws" else row.image_token for letter in letters) + "\n"
    regions = []
    for number, place in enumerate(on):
        frames = ((1, 3), (0,), (2,), (0, 1, 2, 3))[number] if letters[place] in "vw" else (0,)
        regions.append(quarter(row, *frames, right=bool(number % 2)).on_visual(place))
    return {
        "text": text + f"{name}: " + "".join("<region> and " for _ in regions) + "?\nassistant:",
        "videos": [visual(row, letter) for letter in letters if letter in "vws"],
        "images": [visual(row, letter) for letter in letters if letter not in "vws"],
        "regions": regions,
    }


def fits(row: HostRow, name: str) -> bool:
    """Whether the host itself can take the sample."""
    letters, _ = SAMPLES[name]
    mixed = any(letter in "vws" for letter in letters) and any(letter not in "vws" for letter in letters)
    return not (mixed and row.name == "smolvlm")


@functools.cache
def single(row_name: str, name: str) -> dict[str, torch.Tensor]:
    row, (_, processor) = BY_NAME[row_name], shared(row_name)
    one = sample(row, name)
    return dict(processor(**{key: value for key, value in one.items() if key == "text" or value}, **ALL))


@functools.cache
def answer(row_name: str, name: str) -> torch.Tensor:
    """Logits of the last positions of a sample that is alone."""
    return logits(shared(row_name)[0], single(row_name, name))[0]


def collate(samples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """What anyone would write: prompts padded on the left, all else filled up with zeros and put together."""
    longest = max(one["input_ids"].shape[1] for one in samples)
    batch = {}
    for name in dict.fromkeys(name for one in samples for name in one):
        values = [one[name] for one in samples if name in one]
        if all(
            len(values) == len(samples) and one[name].shape == one["input_ids"].shape for one in samples if name in one
        ):
            fill = IDS["<pad>"] if name == "input_ids" else 0
            values = [torch.nn.functional.pad(value, (longest - value.shape[1], 0), value=fill) for value in values]
        sizes = [max(value.shape[axis] for value in values) for axis in range(1, values[0].ndim)]
        padded = []
        for value in values:
            filled = value.new_zeros((len(value), *sizes))
            filled[tuple(slice(size) for size in value.shape)] = value
            padded.append(filled)
        batch[name] = torch.cat(padded)
    return batch


def assert_answers_of_singles(row: HostRow, names: list[str], batch: dict[str, torch.Tensor]) -> None:
    got = logits(shared(row.name)[0], batch)
    for place, name in enumerate(names):
        alone = answer(row.name, name)
        torch.testing.assert_close(got[place, -len(alone) :], alone, atol=2e-4, rtol=0, msg=f"{row.name}, {name}")


def ragged(row: HostRow) -> list[str]:
    names = [name for name in SAMPLES if fits(row, name)]
    return names


@pytest.mark.spread(2)
@every_host
def test_stacked_singles_answer_as_they_do_alone(row: HostRow) -> None:
    names = ragged(row)
    batch = collate([single(row.name, name) for name in names])
    assert_answers_of_singles(row, names, batch)
    model = shared(row.name)[0]
    answers = greedy(model, batch)
    for place in (0, len(names) - 1):
        assert torch.equal(answers[place], greedy(model, single(row.name, names[place]))[0])


@pytest.mark.spread(2)
@every_host
def test_samples_prepared_together_or_padded_answer_as_they_do_alone(row: HostRow) -> None:
    names, (_, processor) = ragged(row), shared(row.name)
    assert_answers_of_singles(row, names, processor.pad([single(row.name, name) for name in names]))
    if row.name == "smolvlm":
        names = [name for name in names if "i" not in SAMPLES[name][0] and "j" not in SAMPLES[name][0]]
    each = [sample(row, name) for name in names]
    batch = processor(
        text=[one["text"] for one in each],
        videos=[video for one in each for video in one["videos"]],
        images=[image for one in each for image in one["images"]],
        regions=[one["regions"] for one in each],
        **ALL,
    )
    assert {len(value) for name, value in batch.items() if name.startswith("region_")} == {len(names)}
    assert_answers_of_singles(row, names, batch)


@pytest.mark.spread(2)
@every_host
def test_regions_lie_on_the_visual_that_they_name(row: HostRow) -> None:
    """Whatever else a prompt shows, a region has the features that it has where its visual is alone."""
    model, processor = shared(row.name)
    for name in (
        "two videos",
        "the same video twice",
        "video and image",
        "image and video",
        "two images",
        "short and long video",
    ):
        if not fits(row, name) or (name == "two images" and not row.takes_images):
            continue
        one = sample(row, name)
        alone = []
        for region in one["regions"]:
            letter = SAMPLES[name][0][region.visual]
            shown = {"videos" if letter in "vws" else "images": [visual(row, letter)]}
            if name == "two images" and row.name == "llava_onevision":  # cuts images that are alone into tiles
                shown["images"] = [visual(row, letter)] * 2
            token = row.video_token if letter in "vws" else row.image_token
            inputs = processor(
                text=token * len(*shown.values()) + "<region>", regions=[region.on_visual(0)], **shown, **ALL
            )
            alone.append(pooled(model, inputs))
        together = pooled(model, single(row.name, name))
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=0, msg=f"{row.name}, {name}")


@every_host
def test_a_region_lies_on_the_visual_before_it(row: HostRow) -> None:
    _, processor = shared(row.name)
    clips, region = [visual(row, "v"), visual(row, "w")], quarter(row, 3)
    video = row.video_token
    inputs = processor(
        text=f"{video} <region> then {video} <region> or <region>",
        videos=clips,
        regions=[region, region, region.on_visual(0)],
    )
    first, second = inputs["region_frames"][0, 0], inputs["region_frames"][0, 1]
    assert inputs["region_frames"].tolist() == [[first, second, first]]
    assert int(second - first) == 4 // row.frames_per_row


def count_frames(model: Any, run: Any) -> int:
    """How many patches the vision tower embeds."""
    tower = model.get_vision_tower()
    embeddings = next(module for module in tower.modules() if isinstance(module, (torch.nn.Conv2d, torch.nn.Conv3d)))
    seen: list[int] = []
    handle = embeddings.register_forward_hook(lambda module, given, out: seen.append(len(given[0])))
    try:
        run()
    finally:
        handle.remove()
    return sum(seen)


@pytest.mark.spread(2)
@every_host
def test_what_is_shown_several_times_is_encoded_once(row: HostRow) -> None:
    model, processor = shared(row.name)
    each = [sample(row, "video") for _ in range(3)] + [sample(row, "other video")]
    for number, one in enumerate(each):
        one["text"] += str(number)
    batch = processor(
        text=[one["text"] for one in each],
        videos=[one["videos"][0] for one in each],
        regions=[one["regions"] for one in each],
    )
    stacked = collate([dict(processor(**{key: one[key] for key in ("text", "videos", "regions")})) for one in each])
    two = collate([single(row.name, "video"), single(row.name, "other video")])
    for inputs in (batch, stacked):
        assert count_frames(model, lambda inputs=inputs: logits(model, inputs)) == count_frames(
            model, lambda: logits(model, two)
        )
        got = logits(model, inputs)
        for place, one in enumerate(each):
            alone = logits(model, processor(**{key: one[key] for key in ("text", "videos", "regions")}))[0]
            torch.testing.assert_close(got[place, -len(alone) :], alone, atol=2e-4, rtol=0)
    assert torch.equal(greedy(model, batch, num_beams=2), greedy(model, stacked, num_beams=2))


@pytest.mark.parametrize("row", [row for row in ROWS if row.takes_images], ids=lambda row: row.name)
def test_images_that_are_shown_several_times_are_encoded_once(row: HostRow) -> None:
    model = shared(row.name)[0]
    batch = collate([single(row.name, name) for name in ("image", "image", "image without regions", "image")])
    two = collate([single(row.name, name) for name in ("image", "image without regions")])
    assert count_frames(model, lambda: logits(model, batch)) == count_frames(model, lambda: logits(model, two))
    names = ["image", "image", "image without regions", "image"]
    assert_answers_of_singles(row, names, batch)


def test_pixels_that_need_gradients_are_not_shared() -> None:
    model = shared("llava_onevision")[0]
    batch = collate([single("llava_onevision", "video")] * 2)
    batch["pixel_values_videos"].requires_grad_()
    model(**batch).logits[1].sum().backward()
    gradients = batch["pixel_values_videos"].grad.flatten(1).abs().amax(dim=1)
    assert gradients[0] == 0
    assert gradients[1] > 0


@every_host
def test_rows_of_batches_can_be_taken_out_repeated_and_left_out(row: HostRow) -> None:
    names = ["video", "text", "other video"]
    parts = [single(row.name, name) for name in names]
    batch = collate(parts)
    # Without the tensors of the samples that have no regions, as a collate that knows no padding leaves them out.
    assert len(batch["region_frames"]) == 2
    assert_answers_of_singles(row, names, batch)
    whole = shared(row.name)[1].pad(parts)
    assert len(whole["region_frames"]) == 3
    one = {key: value[2:] if key.startswith("region_") else value for key, value in whole.items()}
    own = {key: value for key, value in parts[2].items() if not key.startswith("region_")}
    regions = {key: value for key, value in one.items() if key.startswith("region_")}
    assert_answers_of_singles(row, ["other video"], {**own, **regions})


def test_masks_of_a_row_taken_out_of_a_batch_may_be_larger_than_its_grid() -> None:
    row, (model, processor) = BY_NAME["qwen3_vl"], shared("qwen3_vl")
    large = np.random.default_rng(1).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    region = quarter(row, 2)
    batch = processor(text=[row.prompt()] * 2, videos=[row.video(frames=4), large], regions=[[region], [region]])
    alone = dict(processor(text=row.prompt(), videos=[row.video(frames=4)], regions=[region]))
    taken = {**alone, **{key: value[:1] for key, value in batch.items() if key.startswith("region_")}}
    assert taken["region_masks"].shape[2:] != alone["region_masks"].shape[2:]
    assert torch.equal(logits(model, taken), logits(model, alone))


def test_smolvlm_processors_take_videos_or_images_in_one_call() -> None:
    row, (_, processor) = BY_NAME["smolvlm"], shared("smolvlm")
    with pytest.raises(vr.PromptError, match=r"1 video\(s\) and 1 image\(s\).*either in one call.*calls of their own"):
        processor(**sample(row, "video and image"))
    names = ["video", "image without regions", "other video"]
    assert_answers_of_singles(row, names, processor.pad([single(row.name, name) for name in names]))


@pytest.mark.parametrize("name", ["internvl", "perception_lm"])
def test_a_video_behind_an_image_that_is_cut_into_tiles(name: str) -> None:
    row, (model, processor) = BY_NAME[name], shared(name)
    one = sample(row, "image and video")
    wide = {**one, "images": [visual(row, "j")]}
    alone = processor(text=row.prompt("<region>"), videos=one["videos"], regions=[one["regions"][0].on_visual(0)])
    torch.testing.assert_close(pooled(model, processor(**wide)), pooled(model, alone), atol=1e-5, rtol=0)


@pytest.mark.spread(2)
@every_host
def test_clips_of_several_lengths_without_regions_answer_as_they_do_alone(row: HostRow) -> None:
    model, processor = shared(row.name)
    names = ["video without regions", "short video without regions"]
    batch = processor.pad([single(row.name, name) for name in names])
    assert_answers_of_singles(row, names, batch)
    for settings in ({}, {"num_beams": 2}):
        answers = greedy(model, batch, **settings)
        for place, name in enumerate(names):
            assert torch.equal(answers[place], greedy(model, single(row.name, name), **settings)[0])
    model.train()
    loss = model(**batch, labels=batch["input_ids"].where(batch["input_ids"] < 256, -100)).loss
    model.eval()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("name", ["llava_onevision", "perception_lm"])
def test_frames_of_zeros_are_not_padding_where_the_prompt_counts_them(name: str) -> None:
    model = shared(name)[0]
    batch = collate([single(name, "video"), single(name, "other video")])
    batch["pixel_values_videos"] = batch["pixel_values_videos"].clone()
    batch["pixel_values_videos"][0, 2:] = 0  # as of a black end, where a processor does not normalise
    one = {**single(name, "video"), "pixel_values_videos": batch["pixel_values_videos"][:1]}
    alone = logits(model, one)[0]
    torch.testing.assert_close(logits(model, batch)[0, -len(alone) :], alone, atol=2e-4, rtol=0)


@pytest.mark.parametrize("row", [row for row in ROWS if row.name != "videollama2"], ids=lambda row: row.name)
def test_places_of_placeholders_are_told_of_clips_of_several_lengths(row: HostRow) -> None:
    processor = shared(row.name)[1]
    each = [sample(row, name) for name in ("video", "short video")]
    call = {"videos": [one["videos"][0] for one in each], "regions": [one["regions"] for one in each]}
    text = [one["text"] for one in each]
    inputs = processor(text=text, **call, **ALL, return_text_replacement_offsets=True)
    for prompt, offsets in zip(text, inputs["text_replacement_offsets"], strict=True):
        assert [prompt[slice(*one["span"])] for one in offsets].count("<region>") == 1


@pytest.mark.parametrize("source", ["a video object", "a path"])
def test_a_video_of_several_prompts_is_decoded_once(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, processor = BY_NAME["qwen3_vl"], shared("qwen3_vl")[1]
    video = write_video(tmp_path / "clip.mp4", row.video()) if source == "a path" else vr.open_video(row.video())
    kind = type(vr.open_video(video))
    decoded: list[int] = []
    read = kind.read
    monkeypatch.setattr(kind, "read", lambda self, frames: decoded.extend(frames) or read(self, frames))
    regions = [[quarter(row, 1)], [quarter(row, 2)], [quarter(row, 6)]]
    batch = processor(text=[row.prompt()] * 3, videos=[video] * 3, regions=regions)
    assert len(decoded) == len(set(decoded))
    for place, own in enumerate(regions):
        alone = processor(text=row.prompt(), videos=[video], regions=own)
        rows = len(alone["pixel_values_videos"])
        assert torch.equal(
            batch["pixel_values_videos"][place * rows : (place + 1) * rows], alone["pixel_values_videos"]
        )


def test_several_images_of_a_prompt_are_shown_as_the_bare_host_shows_them() -> None:
    row, (model, processor) = BY_NAME["llava_onevision"], shared("llava_onevision")
    images = [visual(row, "i"), visual(row, "j")]
    content = [{"type": "image", "image": Image.fromarray(image)} for image in images]
    chat = [{"role": "user", "content": [*content, {"type": "text", "text": "Which?"}]}]
    own = processor.apply_chat_template(chat, add_generation_prompt=True)
    bare = row.processor().apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert torch.equal(own["input_ids"], bare["input_ids"])
    assert torch.equal(own["pixel_values"], bare["pixel_values"])
    assert torch.equal(logits(model, own), logits(row.model(), bare))
