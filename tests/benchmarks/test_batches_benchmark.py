"""Prompts on one video in a batch, against the same prompts one by one. Run with `pytest --benchmark-only`."""

import time
from pathlib import Path
from typing import Any

import torch

PROMPTS, FRAMES, ROUNDS = (1, 4, 16), 8, 5


def questions(prompts: int, video: Any) -> dict[str, Any]:
    import videorefer_plugin as vr

    regions = [[vr.Region.from_box((8, 8, 40, 40), frame=number)] for number in range(prompts)]
    return {"text": ["<video>\nWhat is <region>?"] * prompts, "videos": [video] * prompts, "regions": regions}


def in_one_batch(model: Any, processor: Any, prompts: int, video: Any) -> None:
    inputs = processor(**questions(prompts, video), return_tensors="pt", num_frames=FRAMES)
    model.generate(**inputs, do_sample=False, max_new_tokens=4)


def one_by_one(model: Any, processor: Any, prompts: int, video: Any) -> None:
    call = questions(prompts, video)
    for text, regions in zip(call["text"], call["regions"], strict=True):
        inputs = processor(text=text, videos=video, regions=regions, return_tensors="pt", num_frames=FRAMES)
        model.generate(**inputs, do_sample=False, max_new_tokens=4)


def test_prompts_on_one_video(benchmark: Any, tmp_path: Path) -> None:
    from transformers import AutoModel, AutoProcessor

    import videorefer_plugin as vr
    from tests.media import write_video

    path = write_video(tmp_path / "clip.mp4", 64, size=(640, 360))
    model = AutoModel.from_pretrained(vr.tiny_checkpoint()).eval()
    processor = AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = {(way, prompts): [] for way in (in_one_batch, one_by_one) for prompts in PROMPTS}
        for _ in range(ROUNDS + 1):  # by turns, so that what else the machine does troubles all of them alike
            for (way, prompts), found in seconds.items():
                start = time.process_time()
                way(model, processor, prompts, path)
                found.append(time.process_time() - start)
        best = {key: min(found[1:]) for key, found in seconds.items()}
        benchmark.pedantic(lambda: in_one_batch(model, processor, 16, path), rounds=3, warmup_rounds=1)
    finally:
        torch.set_num_threads(threads)
    lines = []
    for prompts in PROMPTS:
        batch, alone = best[in_one_batch, prompts], best[one_by_one, prompts]
        ratio = batch / best[in_one_batch, 1]
        benchmark.extra_info[str(prompts)] = {"batch": batch, "one_by_one": alone, "times_one": ratio}
        lines.append(f"K = {prompts:2}: batch {batch:.3f} s (x {ratio:.2f} of K = 1), one by one {alone:.3f} s")
    print("", *lines, sep="\n")
