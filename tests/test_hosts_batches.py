"""Batches of hosts: samples with any visuals, stacked by anyone, and nothing encoded twice."""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
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
}
ON_IMAGES = {"video": 0, "two videos": 0}
WITH_IMAGES = [row.name for row in ROWS if row.takes_images]


def visual(row: HostRow, letter: str) -> np.ndarray:
    if letter in "vw":
        return row.video("vw".index(letter), frames=4)
    wide = row.side[0], row.side[1] * (2 if letter == "j" else 1)  # cut into other tiles, where a host cuts
    return np.random.default_rng(ord(letter)).integers(0, 256, (*wide, 3), dtype=np.uint8)


def sample(row: HostRow, name: str) -> dict[str, Any]:
    """A sample; where a host places no regions on images, those on images are left out."""
    letters, on = SAMPLES[name]
    on = [place for place in on if row.takes_images or letters[place] in "vw"]
    text = "user: " + "".join(row.video_token if letter in "vw" else row.image_token for letter in letters) + "\n"
    regions = []
    for number, place in enumerate(on):
        frames = ((1, 3), (0,), (2,), (0, 1, 2, 3))[number] if letters[place] in "vw" else (0,)
        regions.append(quarter(row, *frames, right=bool(number % 2)).on_visual(place))
    return {
        "text": text + f"{name}: " + "".join("<region> and " for _ in regions) + "?\nassistant:",
        "videos": [visual(row, letter) for letter in letters if letter in "vw"],
        "images": [visual(row, letter) for letter in letters if letter not in "vw"],
        "regions": regions,
    }


def fits(row: HostRow, name: str) -> bool:
    """Whether the host itself can take the sample."""
    letters, _ = SAMPLES[name]
    mixed = any(letter in "vw" for letter in letters) and any(letter not in "vw" for letter in letters)
    return not (mixed and row.name == "smolvlm")


@functools.cache
def single(row_name: str, name: str) -> dict[str, torch.Tensor]:
    row, (_, processor) = BY_NAME[row_name], shared(row_name)
    one = sample(row, name)
    return dict(processor(**{key: value for key, value in one.items() if key == "text" or value}))


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
        if all(len(values) == len(samples) and one[name].shape == one["input_ids"].shape for one in samples if name in one):
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
    if row.name == "perception_lm":  # stacks images, which must have equally many tiles
        names = [name for name in names if "j" not in SAMPLES[name][0]]
    return names


@every_host
def test_stacked_singles_answer_as_they_do_alone(row: HostRow) -> None:
    names = ragged(row)
    batch = collate([single(row.name, name) for name in names])
    assert_answers_of_singles(row, names, batch)
    model = shared(row.name)[0]
    answers = greedy(model, batch)
    for place in (0, len(names) - 1):
        assert torch.equal(answers[place], greedy(model, single(row.name, names[place]))[0])


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
    )
    assert {len(value) for name, value in batch.items() if name.startswith("region_")} == {len(names)}
    assert_answers_of_singles(row, names, batch)
