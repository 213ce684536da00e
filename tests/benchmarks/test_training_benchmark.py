"""Steps of stage 2 against the same loop without what makes it cheap. Run with `pytest --benchmark-only`.

The data are clips of 32 frames and images with three objects each, in a proportion of two to one, at 640 x 360; eight
frames of a clip are shown. Tower and language model are small, random ones of the shapes that the recipe's have.
"""

import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

BATCH, STEPS, FRAMES, OBJECTS = 4, 8, 8, 3
SIDE, PATCH = 224, 14
SIZE = (640, 360)  # width, height


# --- data and model --------------------------------------------------------------------------------------------------


def write_records(folder: Path) -> Path:
    from PIL import Image

    from tests import training_data
    from tests.media import write_video
    from videorefer_plugin.regions import encode_rle

    write_video(folder / "clip.mp4", 32, size=SIZE)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)).save(folder / "i.png")
    records = []
    for number in range(BATCH * STEPS):
        image = number % 3 == 2
        objects = []
        for place in range(OBJECTS):
            mask = training_data.box_mask(150 * place + number, 40 + number, SIZE[1], SIZE[0], 120)
            frames = [0] if image else range(0, 32, 2)
            objects.append({str(frame): {"segmentation": encode_rle(mask)} for frame in frames})
        kind = "image" if image else "video"
        question = f"<{kind}>\nWhat do {' and '.join(['<region>'] * OBJECTS)} have in common?"
        turns = training_data.turns(question, "All of them are boxes.")
        records.append({kind: "i.png" if image else "clip.mp4", "conversations": turns, "annotation": objects})
    (folder / "data.json").write_text(json.dumps(records))
    return folder / "data.json"


def make_model(processor: Any) -> Any:
    import videorefer_plugin as vr

    vision = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 8, "num_attention_heads": 3}
    text = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 4}
    torch.manual_seed(0)
    config = vr.VideoReferConfig(
        text_config={"model_type": "qwen2", "vocab_size": 1000, "num_key_value_heads": 2, **text},
        vision_config={"model_type": "siglip_vision_model", "image_size": SIDE, "patch_size": PATCH, **vision},
        num_frames=FRAMES,
        **{name: getattr(processor, name) for name in ("region_token_id", "image_token_id", "video_token_id")},
    )
    return vr.VideoReferForConditionalGeneration(config).train()


def make_processor(cls: Any) -> Any:
    from transformers import AutoTokenizer, SiglipImageProcessorPil

    from tests.conftest import CHECKPOINT

    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    pictures = SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    return cls(pictures, tokenizer, num_frames=FRAMES, patch_size=PATCH, mask_policy="original")


# --- the loop, with and without --------------------------------------------------------------------------------------


@dataclass
class Way:
    """How the loop differs from the library's."""

    recording_tower: bool = False
    frames_again: bool = False


WAYS = {
    "ours": Way(),
    "without no_grad in the tower": Way(recording_tower=True),
    "without one pass a distinct frame": Way(frames_again=True),
    "without any of them": Way(True, True),
}


def encode_frames_again(model: Any) -> None:
    """A frame is encoded as often as it is shown: in every clip, and for an image in every frame of its clip."""
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    inner = model.model

    def encode_clips(pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        clips = inner.get_frame_features(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        output = BaseModelOutputWithPooling(
            last_hidden_state=clips.flatten(0, 1).flatten(1, 2), pooler_output=inner.connector(clips)
        )
        return output, list(range(len(pixels)))

    def encode_images(pixels: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        output, place = encode_clips(pixels[:, None].expand(-1, FRAMES, -1, -1, -1))
        output.last_hidden_state = output.last_hidden_state[::FRAMES]
        return output, place

    inner._encode_clips, inner._encode_images = encode_clips, encode_images


def copy_frames(batch: dict[str, Any], video_token_id: int) -> None:
    """Every mask brings its frame along, whether or not the visual of its sample shows it."""
    videos, images = (iter(batch.get(name, ())) for name in ("pixel_values_videos", "pixel_values"))
    held = []
    for sample, ids in enumerate(batch["input_ids"]):
        places = batch["region_frames"][sample]
        shown = next(videos) if bool((ids == video_token_id).any()) else next(images)[None]
        frames = torch.cat([shown, batch["region_pixel_values"][sample]])
        rows = torch.where(places > 0, places - 1, len(shown) - 1 - places)
        held.append(frames[rows[places != 0]])
        places[places != 0] = -1 - torch.arange(len(held[-1]))
    batch["region_pixel_values"] = torch.nn.utils.rnn.pad_sequence(held, True)


def steps(way: Way, data: Path) -> Iterator[Callable[[], float]]:
    """One optimiser step after the other, to be called; each gives its loss."""
    import videorefer_plugin as vr
    from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
    from videorefer_plugin.training.parts import set_trainable

    processor = make_processor(vr.VideoReferProcessor)
    model = make_model(processor)
    set_trainable(model, ["object_encoder"])
    optimizer = torch.optim.AdamW(model.object_encoder.parameters(), lr=1e-3)
    if way.recording_tower:
        model.model.vision_tower.requires_grad_(True)  # the optimiser does not know of it
    if way.frames_again:
        encode_frames_again(model)
    dataset = VideoReferDataset(data, mode="single")
    batches = iter(DataLoader(dataset, BATCH, collate_fn=VideoReferCollator(processor)))

    def step() -> float:
        batch = next(batches)
        if way.frames_again:
            copy_frames(batch, processor.video_token_id)
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        model.zero_grad()
        return loss.item()

    for _ in range(STEPS):
        yield step


def peak_memory(name: str, data: Path) -> tuple[int, int]:
    """Bytes by which memory grows over a few steps at most, and the peak itself, of this process."""
    torch.set_num_threads(1)
    calls = steps(WAYS[name], data)
    first = next(calls)
    before = resident()
    first()
    for _, step in zip(range(2), calls, strict=False):
        step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return peak - before, peak


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_stage_2_with_and_without_what_makes_it_cheap(benchmark: Any, tmp_path: Path) -> None:
    data = write_records(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        loops = {name: steps(way, data) for name, way in WAYS.items()}
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        losses: dict[str, list[float]] = {name: [] for name in WAYS}
        for _ in range(STEPS):  # by turns, so that what else the machine does troubles all of them alike
            for name, loop in loops.items():
                step = next(loop)
                start = time.perf_counter()
                losses[name].append(step())
                seconds[name].append(time.perf_counter() - start)
        for name, found in losses.items():  # nothing but cost may differ
            assert found == pytest.approx(losses["ours"], rel=1e-4), name
        own = iter(steps(WAYS["ours"], data))
        benchmark.pedantic(lambda: next(own)(), rounds=5, warmup_rounds=1)
    finally:
        torch.set_num_threads(threads)
    lines = []
    for name in WAYS:
        # A fresh process, which must not descend from this one, whose peak it would inherit.
        with multiprocessing.get_context("forkserver").Pool(1) as pool:
            grown, peak = pool.apply(peak_memory, (name, data))
        rate = BATCH / median(seconds[name][1:])
        ratio = median(slow / fast for slow, fast in zip(seconds[name][1:], seconds["ours"][1:], strict=True))
        benchmark.extra_info[name] = {"samples_per_s": rate, "ratio": ratio, "peak_growth": grown, "peak": peak}
        lines.append(
            f"{name:35} {rate:6.2f} samples/s, time x {ratio:4.2f}, "
            f"memory + {grown >> 20:5} MiB (peak {peak >> 20} MiB)"
        )
    print("", *lines, sep="\n")
