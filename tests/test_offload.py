"""Weights that wait on the CPU or on disk: answers are those of a model that is held in memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
from transformers import AutoModel, AutoProcessor

import videorefer_plugin as vr
from tests.tiny_hosts import BY_NAME
from videorefer_plugin import Region
from videorefer_plugin.world import bench_clip, encode_video

CLIP, _ = bench_clip(7000, 2)
QUESTIONS = [
    ("What is [<region>] doing?", [CLIP.region(0)]),
    ("How far is <region> from <region>?", [CLIP.region(0), CLIP.region(1)]),
    ("Describe the video.", []),
]

# All of the model waits, or as much of it as there is no memory for: its halves, or the object encoder alone.
WAYS: dict[str, Callable[[str], Any]] = {
    "cpu_offload": lambda folder: accelerate.cpu_offload(AutoModel.from_pretrained(vr.tiny_checkpoint())),
    "disk_offload": lambda folder: accelerate.disk_offload(AutoModel.from_pretrained(vr.tiny_checkpoint()), folder),
    "auto, nothing in memory": lambda folder: loaded("auto", "2MB", folder),
    "auto, half a tower in memory": lambda folder: loaded("auto", "4MB", folder),
    "auto, half a language model in memory": lambda folder: loaded("auto", "8MB", folder),
    "object encoder on disk": lambda folder: loaded(
        {"model": "cpu", "lm_head": "cpu", "object_encoder": "disk"}, None, folder
    ),
    "connector on disk": lambda folder: loaded(
        {
            "model.vision_tower": "cpu",
            "model.connector": "disk",
            "model.language_model": "cpu",
            "lm_head": "cpu",
            "object_encoder": "cpu",
        },
        None,
        folder,
    ),
}


def loaded(device_map: Any, memory: str | None, folder: str) -> Any:
    settings = {} if memory is None else {"max_memory": {"cpu": memory}}
    return AutoModel.from_pretrained(vr.tiny_checkpoint(), device_map=device_map, offload_folder=folder, **settings)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("offload") / "clip.mp4"
    encode_video(path, CLIP.frames)
    return path


def answers(model: Any, video: Path) -> list[str]:
    processor = AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    alone = [vr.ask(model, video, text, own, processor=processor, max_new_tokens=12) for text, own in QUESTIONS]
    with vr.VideoSession(model, processor, video) as session:
        together = session.ask_many(QUESTIONS, max_new_tokens=12)
    assert alone == together
    return alone


USUAL = ("cpu_offload", "auto, half a tower in memory")


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "way", [*USUAL, *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS if way not in USUAL)]
)
def test_answers_are_those_of_a_model_in_memory(way: str, video: Path, tmp_path: Path) -> None:
    expected = answers(AutoModel.from_pretrained(vr.tiny_checkpoint()), video)
    assert len(set(expected)) == len(expected)
    assert answers(WAYS[way](str(tmp_path)) or pytest.fail("no model"), video) == expected


# LLaVA-OneVision and PerceptionLM are not here: after `cpu_offload`, transformers' own models of them answer no
# question about a video, with or without regions.
@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["qwen2_5_vl", "qwen3_vl", "video_llama_3", "smolvlm", "internvl", "videollama2"])
def test_hosts_answer_as_in_memory(name: str) -> None:
    row = BY_NAME[name]
    height, width = row.side
    region = Region(dict.fromkeys((3, 4), (0, 0, width // 2, height // 2)))
    model, processor = row.attached()

    def asked() -> str:
        return vr.ask(model, row.video(), "What is <region> doing?", [region], processor=processor, max_new_tokens=6)

    expected = asked()
    accelerate.cpu_offload(model)
    assert next(model.parameters()).device.type == "meta"
    assert asked() == expected
