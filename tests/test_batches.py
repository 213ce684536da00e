"""What a batch may hold, and the ways of making one: all give the answers of single samples."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModel, AutoProcessor
from transformers.pipelines.base import pad_collate_fn

import videorefer_plugin as vr
from tests import media
from tests.batches import collate, logits_by_sample, pad_dimension_1, take_samples, tower_rows
from videorefer_plugin.video import Video

RATE = 10
SHOWN = 4  # frames a second, so that clips have different lengths


def made_video(seed: int, frames: int, height: int, width: int) -> Video:
    pictures = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    return vr.open_video(pictures, fps=RATE)


LONG, SHORT, TALL = made_video(0, 24, 48, 64), made_video(1, 12, 48, 64), made_video(2, 16, 60, 40)
PICTURE, OTHER = (Image.effect_noise((width, 50), spread).convert("RGB") for width, spread in ((70, 60), (50, 90)))

TOP, LEFT, SPOT = (2, 2, 38, 14), (2, 2, 12, 44), (20, 20, 21, 21)


def box(corners: tuple[int, ...], *frames: int, visual: int | None = None) -> vr.Region:
    """A region with the same box in some frames."""
    return vr.Region(dict.fromkeys(frames or (0,), corners), visual=visual)


def said(role: str, *parts: Any) -> dict[str, Any]:
    """A message of words, videos, images and regions."""

    def item(part: Any) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        kind = {vr.Region: "region", Image.Image: "image"}.get(type(part), "video")
        return {"type": kind, kind: part}

    return {"role": role, "content": [item(part) for part in parts]}


class Sample(NamedTuple):
    """A conversation, and for each of its regions the visual that it lies on."""

    chat: list[dict[str, Any]]
    visuals: Sequence[Any] = ()

    def parts(self, kind: str) -> list[Any]:
        return [item[kind] for message in self.chat for item in message["content"] if item["type"] == kind]


# The clip of the long video shows frames 1, 10 and 22, but not 0, 2 and 23.
SAMPLES = {
    "nothing but text": Sample([said("user", "Hello?")]),
    "a video without regions": Sample([said("user", SHORT, "What happens?")]),
    "a region in the clip": Sample([said("user", LONG, "What is ", box(TOP, 22), "?")], [LONG]),
    "a region in and beyond the clip": Sample(
        [said("user", LONG, "What is ", box(LEFT, 0, 1, 2, 10, 22, 23), "?")], [LONG]
    ),
    "an image with two regions": Sample(
        [said("user", PICTURE, "Is ", box(TOP), " above ", box(SPOT), "?")], [PICTURE] * 2
    ),
    "two videos in one question": Sample(
        [said("user", SHORT, "Is ", box(TOP, 5), " in ", TALL, " as ", box(LEFT, 3, 4), "?")], [SHORT, TALL]
    ),
    "an image and a video, named": Sample(
        [said("user", PICTURE, LONG, "Is ", box(LEFT, visual=0), " ", box(LEFT, 9), "?")], [PICTURE, LONG]
    ),
    "the same video twice": Sample(
        [said("user", LONG, box(TOP, 1), LONG, " and ", box(TOP, 1, 2), "?")], [LONG, LONG]
    ),
    "a visual in a later turn": Sample(
        [said("user", "Hello?"), said("assistant", "Hello."), said("user", TALL, "What is ", box(LEFT, 15), "?")],
        [TALL],
    ),
    "a region in an answer": Sample(
        [said("user", SHORT, "Point."), said("assistant", "It is ", box(TOP, 2, 8), "."), said("user", "Why?")],
        [SHORT],
    ),
    "four regions": Sample(
        [said("user", LONG, box(TOP, 0), box(SPOT, *range(0, 24, 3)), box(LEFT, 1, 2), box(TOP, 23, 22), "?")],
        [LONG] * 4,
    ),
    "regions before and after their images": Sample(
        [
            said("user", "Is ", box(TOP), " like ", OTHER, " this ", box(LEFT), "?"),
            said("assistant", "Yes."),
            said("user", PICTURE, SHORT, "And ", box(TOP, 4), " or ", box(SPOT, visual=1), "?"),
        ],
        [OTHER, OTHER, SHORT, PICTURE],
    ),
}


@pytest.fixture(scope="module")
def model() -> Any:
    """In double precision, which leaves no room for other answers than those of rounding."""
    return AutoModel.from_pretrained(vr.tiny_checkpoint(), dtype=torch.float64).eval()


@pytest.fixture(scope="module")
def processor() -> Any:
    return AutoProcessor.from_pretrained(vr.tiny_checkpoint())


def prepare(processor: Any, *samples: Sample, **settings: Any) -> Any:
    """One call of the processor."""
    settings = {"fps": SHOWN, **settings}
    given = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt", **settings}
    return processor.apply_chat_template([sample.chat for sample in samples], **given)


@pytest.fixture(scope="module")
def singles(processor: Any) -> dict[str, Any]:
    """Each sample prepared on its own."""
    return {name: prepare(processor, sample) for name, sample in SAMPLES.items()}


@pytest.fixture(scope="module")
def expected(model: Any, singles: dict[str, Any]) -> dict[str, Tensor]:
    """Logits of each sample on its own."""
    return {name: logits_by_sample(model, single)[0] for name, single in singles.items()}


@pytest.fixture(scope="module")
def batch(processor: Any) -> Any:
    """All samples in one call of the processor."""
    return prepare(processor, *SAMPLES.values())


def assert_those_of_singles(found: list[Tensor], expected: dict[str, Tensor], names: Any = SAMPLES) -> None:
    for own, name in zip(found, names, strict=True):
        torch.testing.assert_close(
            own, expected[name], atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}"
        )


# --- what a sample may hold ------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_region_becomes_the_tokens_that_it_has_alone_on_its_visual(name, model, processor, singles):
    sample = SAMPLES[name]
    regions = sample.parts("region")
    found = model.get_region_tokens(**singles[name])[0]
    assert len(found) == len(regions) == len(sample.visuals)
    for tokens, region, visual in zip(found, regions, sample.visuals, strict=True):
        alone = prepare(processor, Sample([said("user", visual, region.on_visual(None))]))
        torch.testing.assert_close(tokens, model.get_region_tokens(**alone)[0][0], atol=1e-5, rtol=1e-5)


def test_clips_are_as_long_as_asked_for_and_filled_up_with_zeros(batch, singles):
    lengths = {id(LONG): 10, id(SHORT): 5, id(TALL): 6}
    shown = [video for sample in SAMPLES.values() for video in sample.parts("video")]
    assert batch["video_lengths"].tolist() == [lengths[id(video)] for video in shown]
    clips = [one["pixel_values_videos"] for one in singles.values() if "pixel_values_videos" in one]
    assert torch.equal(batch["pixel_values_videos"], torch.cat(pad_dimension_1(clips, 0)))


# --- ways to make a batch --------------------------------------------------------------------------------------------

WAYS = {
    "one call": lambda processor, singles: prepare(processor, *SAMPLES.values()),
    "padding on the right": lambda processor, singles: prepare(processor, *SAMPLES.values(), padding_side="right"),
    "plain torch": lambda processor, singles: collate(singles, processor.tokenizer.pad_token_id),
    "the processor's pad": lambda processor, singles: processor.pad(singles),
    "a pipeline's": lambda processor, singles: pad_collate_fn(processor.tokenizer, processor.image_processor)(singles),
}


@pytest.mark.spread(1)
@pytest.mark.parametrize("way", WAYS)
def test_however_a_batch_is_made_its_logits_are_those_of_single_samples(way, model, processor, singles, expected):
    made = WAYS[way](processor, list(singles.values()))
    assert len(made["input_ids"]) == len(SAMPLES)
    assert_those_of_singles(logits_by_sample(model, made), expected)


def test_samples_may_be_sampled_differently(model, processor):
    """Clips of 2 to 12 frames, with the same frames in the clip here and beyond it there."""
    sample = SAMPLES["a region in and beyond the clip"]
    singles = {str(count): prepare(processor, sample, fps=None, num_frames=count) for count in (2, 4, 7, 12)}
    expected = {name: logits_by_sample(model, single)[0] for name, single in singles.items()}
    made = collate(list(singles.values()), processor.tokenizer.pad_token_id)
    assert made["video_lengths"].tolist() == [2, 4, 7, 12]
    assert_those_of_singles(logits_by_sample(model, made), expected, singles)


def test_batches_can_be_joined_like_samples(model, processor, expected):
    names = list(SAMPLES)
    halves = [prepare(processor, *(SAMPLES[name] for name in some)) for some in (names[6:], names[:6])]
    made = collate(halves, processor.tokenizer.pad_token_id)
    assert_those_of_singles(logits_by_sample(model, made), expected, names[6:] + names[:6])


def test_samples_of_equal_shapes_can_be_stacked(model, processor):
    chats = {
        str(frame): Sample([said("user", LONG, "What is ", box(corners, frame), "?")])
        for frame, corners in ((0, TOP), (23, LEFT), (11, SPOT))
    }
    singles = {name: prepare(processor, sample) for name, sample in chats.items()}
    expected = {name: logits_by_sample(model, single)[0] for name, single in singles.items()}
    rows = [{name: value[0] for name, value in single.items()} for single in singles.values()]
    stacked = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    assert_those_of_singles(logits_by_sample(model, stacked), expected, chats)


def test_answers_of_a_batch_are_those_of_single_samples(model, processor, singles):
    made = collate(list(singles.values()), processor.tokenizer.pad_token_id)
    settings = {"do_sample": False, "max_new_tokens": 4}
    answers = model.generate(**made, **settings)[:, made["input_ids"].shape[1] :]
    for answer, (name, single) in zip(answers.tolist(), singles.items(), strict=True):
        alone = model.generate(**single, **settings)[0, single["input_ids"].shape[1] :].tolist()
        assert answer[: len(alone)] == alone, name


# --- what may be done with one ---------------------------------------------------------------------------------------


def test_longer_padding_changes_nothing(model, batch, expected):
    """Processes of a distributed run pad dimension 1 with zeros to the longest of them."""
    padded = {name: pad_dimension_1([value], 0, more=3)[0] for name, value in batch.items() if value.ndim > 1}
    padded |= {"video_lengths": batch["video_lengths"], "pixel_values": batch["pixel_values"]}
    assert padded["region_pixel_values"].shape[1] == batch["region_pixel_values"].shape[1] + 3
    assert padded["pixel_values_videos"].shape[1] == batch["pixel_values_videos"].shape[1] + 3
    assert_those_of_singles(logits_by_sample(model, padded), expected)


@pytest.mark.spread(2)
@pytest.mark.parametrize("rows", [[0], [3], [5], [11], [2, 3, 7], [10, 6, 6, 0]], ids=str)
def test_samples_can_be_taken_out_of_a_batch_and_repeated(rows, model, batch, expected):
    names = list(SAMPLES)
    taken = take_samples(batch, rows, *(places_of(kind, rows) for kind in ("video", "image")))
    assert_those_of_singles(logits_by_sample(model, taken), expected, [names[row] for row in rows])


def places_of(kind: str, rows: list[int]) -> list[int]:
    """Where the visuals of some samples stand among those of the batch."""
    counts = [len(sample.parts(kind)) for sample in SAMPLES.values()]
    return [sum(counts[:row]) + number for row in rows for number in range(counts[row])]


# --- tensors of an earlier layout ------------------------------------------------------------------------------------

OLD_LAYOUT = {
    "region_frames": lambda tensor: torch.tensor([0]),
    "region_masks": lambda tensor: tensor[0],
    "region_clip_frames": lambda tensor: torch.tensor([3]),
}


@pytest.mark.parametrize("door", ["forward", "generate"])
@pytest.mark.parametrize("old", [["region_frames"], ["region_masks"], ["region_clip_frames"], list(OLD_LAYOUT)])
def test_tensors_of_the_old_layout_are_refused(door, old, model, singles):
    inputs = dict(singles["a region in the clip"])
    inputs |= {name: OLD_LAYOUT[name](inputs.get(name)) for name in old}
    with (
        tower_rows(model) as runs,
        pytest.raises(vr.TensorError, match=rf"(?s)({'|'.join(old)}).*earlier version.*Prepare them again"),
    ):
        getattr(model, door)(**inputs)
    assert runs == []


# --- nothing twice ---------------------------------------------------------------------------------------------------


@pytest.fixture
def frames_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of frames of each time that a video is read."""
    counts: list[int] = []
    read = Video.read

    def counted(self: Video, indices: Any) -> np.ndarray:
        counts.append(len(indices))
        return read(self, indices)

    monkeypatch.setattr(Video, "read", counted)
    return counts


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same video in the forms in which one is handed over."""
    frames = np.stack([media.numbered_frame(number) for number in range(24)])
    path = media.write_video(tmp_path_factory.mktemp("videos") / "a.mp4", 24, rate=RATE)
    return {"path": path, "text of a path": str(path), "array": frames, "video": vr.open_video(frames, fps=RATE)}


BEYOND = (0, 1, 3, 4)


def about(video: Any, prompts: int) -> dict[str, Any]:
    """Prompts on one video that mark a frame of its clip, and one of four frames that are not in it."""
    return {
        "text": ["<video>\n<region> or <region>?"] * prompts,
        "videos": [video] * prompts,
        "regions": [[box(TOP, 2), box(LEFT, BEYOND[number % 4])] for number in range(prompts)],
        "num_frames": 6,
        "return_tensors": "pt",
    }


def distinct_frames_of(prompts: int) -> int:
    sampled = vr.sample_frame_indices(24, num_frames=6)
    assert 2 in sampled
    assert not set(BEYOND) & set(sampled)
    return len(sampled) + min(prompts, 4)


@pytest.mark.spread(2)
@pytest.mark.parametrize("prompts", [1, 4, 16])
@pytest.mark.parametrize("form", ["path", "text of a path", "array", "video"])
def test_a_video_of_many_prompts_is_decoded_and_encoded_once(form, prompts, forms, model, processor, frames_read):
    inputs = processor(**about(forms[form], prompts))
    assert frames_read == [distinct_frames_of(prompts)]
    with tower_rows(model) as runs:
        logits_by_sample(model, inputs)
    assert sum(runs) == distinct_frames_of(prompts)


@pytest.mark.spread(1)
@pytest.mark.parametrize("prompts", [4, 16])
def test_a_video_of_many_joined_samples_is_encoded_once(prompts, forms, model, processor):
    call = about(forms["array"], prompts)
    several = zip(call["text"], call["videos"], call["regions"], strict=True)
    rest = {"num_frames": call["num_frames"], "return_tensors": "pt"}
    singles = [processor(text=text, videos=video, regions=regions, **rest) for text, video, regions in several]
    expected = {str(number): logits_by_sample(model, single)[0] for number, single in enumerate(singles)}
    made = collate(singles, processor.tokenizer.pad_token_id)
    with tower_rows(model) as runs:
        found = logits_by_sample(model, made)
    assert sum(runs) == distinct_frames_of(prompts)
    assert_those_of_singles(found, expected, expected)


def test_frames_in_the_clip_are_not_handed_over_again(processor, forms):
    inputs = processor(**about(forms["array"], 4))
    assert inputs["region_pixel_values"].shape[:2] == (4, 1)
    assert inputs["region_frames"].tolist() == [[1, -1]] * 4
    shown = prepare(processor, SAMPLES["a region in the clip"])
    assert shown["region_pixel_values"].shape[:2] == (1, 0)
