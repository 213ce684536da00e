"""The tiny original checkpoint of VideoRefer-VideoLLaMA3 and its reference numbers."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from videorefer_plugin import Region

GOLDENS = Path(__file__).parent / "data" / "goldens_videollama3"
TINY = GOLDENS / "tiny_checkpoint"
CHECKPOINT = TINY / "videorefer-videollama3-tiny"
TOWER = TINY / "siglip-navit-tiny"
CASES: list[dict[str, Any]] = json.loads((TINY / "cases.json").read_text())["cases"]
IMAGE_ID, VIDEO_ID, REGION_ID = 363, 364, 366


def pixels(levels: torch.Tensor) -> torch.Tensor:
    """Grey levels as the vision tower reads them."""
    return ((levels.double() * (1 / 255)).float() - 0.5) / 0.5


@lru_cache(maxsize=1)
def visuals() -> dict[str, torch.Tensor]:
    return load_file(TINY / "visuals.safetensors")


@lru_cache(maxsize=32)
def tensors(name: str) -> dict[str, torch.Tensor]:
    return load_file(TINY / name)


def conversation(case: dict[str, Any]) -> list[dict[str, Any]]:
    """What was asked, as messages; a question without a visual's tag has the visual in front."""
    if case.get("messages"):
        return case["messages"]
    question = case["question"]
    if case["modal"] == "video" and "<video>" not in question:
        question = f"<video>{question}"
    return [{"role": "user", "content": question}]


def regions(case: dict[str, Any]) -> list[Region] | None:
    """One region for each mask, as the original lists them."""
    masks = tensors(case["file"]).get("masks")
    if masks is None or not len(masks):
        return None
    frames = case["mask_frame_indices"] if case["modal"] == "video" else [0]
    return [Region({frames[row]: mask.numpy()}) for row, mask in zip(case["mask_ids"], masks, strict=True)]


def call(case: dict[str, Any], processor: Any) -> dict[str, Any]:
    """Arguments of the processor that ask what a reference case asked."""
    given: dict[str, Any] = {"regions": regions(case), "mask_policy": "original", "return_tensors": "pt"}
    given["text"] = processor.apply_chat_template(conversation(case), add_generation_prompt=True, tokenize=False)
    if case["modal"] == "video":
        frames = visuals()[f"{case['visual']}.frames"].numpy()
        given |= {"videos": [frames], "fps": case["fps"], "max_frames": case["max_frames"]}
    elif case["modal"] == "image":
        given["images"] = list(visuals()[f"{case['visual']}.frames"].numpy())
    return given


def reference_ids(case: dict[str, Any]) -> list[int]:
    """Ids after compression; frames have an id of their own here."""
    ids = torch.tensor(case["input_ids"])
    kept = tensors(case["file"]).get("compression_mask")
    if kept is not None:
        stay = torch.ones(len(ids), dtype=torch.bool)
        stay[(ids == IMAGE_ID).nonzero().flatten()[~kept.bool()]] = False
        ids = ids[stay]
    return (ids.masked_fill(ids == IMAGE_ID, VIDEO_ID) if case["modal"] == "video" else ids).tolist()
