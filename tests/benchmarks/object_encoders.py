"""What the two object encoders cost at the sizes of the 7B models: tower passes, time and memory.

    python -m tests.benchmarks.object_encoders                     # on a CPU, the tower on a few crops
    python -m tests.benchmarks.object_encoders --device cuda --crops 512

Weights are random, so nothing is downloaded. Objects are 60 pixels wide in frames of 854 x 480. The encoders run on
all masks; the tower on as many crops as are asked for, since all of them take long on a CPU, and the time of one is
printed.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers.models.video_llama_3.configuration_video_llama_3 import VideoLlama3VisionConfig
from transformers.models.video_llama_3.modeling_video_llama_3 import VideoLlama3VisionModel

from videorefer_plugin.models.videorefer_videollama3.crop_features import crop_features
from videorefer_plugin.object_encoder import (
    CropEncoder,
    CropEncoderConfig,
    ObjectEncoder,
    ObjectEncoderConfig,
    object_cells,
    resize_crop,
    resize_masks,
)

WIDTH, TOWER_WIDTH, GRID = 3584, 1152, 27
SIDE, SIZE = 60, (480, 854)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", type=int, default=32)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--crops", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    masks = _masks(given.objects, given.frames)
    number = len(masks)
    config = CropEncoderConfig(TOWER_WIDTH, WIDTH)
    _, planning = _timed(lambda: [config.rule.crop(mask, SIZE) for mask in masks], given.device, runs=1)
    crop = config.rule.crop(masks[0], SIZE)
    top, left, bottom, right = crop.box
    picture = torch.randint(256, (bottom - top, right - left, 3), dtype=torch.uint8)
    _, resizing = _timed(lambda: resize_crop(picture, crop.resized), given.device)
    rows, columns = crop.cells.shape
    print(f"{number} masks; a crop has {rows} x {columns} patches, of which {int(crop.cells.sum())} are the object's")
    print(f"planning crops: {planning / number:.2f} ms a mask; resizing: {resizing:.2f} ms a crop")

    grids = torch.tensor([[rows, columns]] * number)
    features = torch.randn(number * rows * columns, TOWER_WIDTH, device=given.device)
    own = crop.cells.flatten().repeat(number).to(given.device)
    cropping = CropEncoder(config).to(given.device).eval()

    def crops() -> None:
        cells, real = object_cells(features, grids.to(given.device), own, grids.to(given.device))
        cropping(cells, real, torch.full((given.objects,), given.frames, device=given.device), values=False)

    held = _memory(given.device)
    _, seconds = _timed(crops, given.device)
    print(f"crop encoder: {seconds:.0f} ms, {_memory(given.device) - held:.0f} MiB more at its peak")

    frames = torch.randn(given.frames, GRID, GRID, TOWER_WIDTH, device=given.device)
    pooling = ObjectEncoder(ObjectEncoderConfig(TOWER_WIDTH, WIDTH)).to(given.device).eval()
    gridded = resize_masks(torch.from_numpy(np.stack(masks)), GRID).to(given.device)
    places = torch.arange(given.frames, device=given.device).repeat(given.objects)
    lengths = torch.full((given.objects,), given.frames, device=given.device)
    held = _memory(given.device)
    _, seconds = _timed(lambda: pooling(frames, gridded, places, lengths, values=False), given.device)
    print(f"pooled encoder: {seconds:.0f} ms, {_memory(given.device) - held:.0f} MiB more at its peak")

    shape = {"intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16, "patch_size": 14}
    tower = VideoLlama3VisionModel(VideoLlama3VisionConfig(hidden_size=TOWER_WIDTH, **shape)).to(given.device).eval()
    for name, count, grid in (("crop", given.crops, (rows, columns)), ("frame", 1, (GRID, GRID))):
        pixels = torch.randn(count * grid[0] * grid[1], 3 * 14 * 14, device=given.device)
        held = _memory(given.device)
        _, seconds = _timed(
            lambda p=pixels, n=count, g=grid: crop_features(tower, p, torch.tensor([g] * n)), given.device, 1
        )
        print(
            f"tower: {seconds / count:.0f} ms a {name} of {grid[0]} x {grid[1]} patches ({count} at once), "
            f"{_memory(given.device) - held:.0f} MiB more at its peak"
        )


def _masks(objects: int, frames: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    masks = []
    for _ in range(objects * frames):
        mask = np.zeros(SIZE, dtype=bool)
        top, left = generator.integers(30, SIZE[0] - SIDE - 30), generator.integers(30, SIZE[1] - SIDE - 30)
        mask[top : top + SIDE, left : left + SIDE] = True
        masks.append(mask)
    return masks


@torch.no_grad()
def _timed(run: Callable[[], object], device: str, runs: int = 3) -> tuple[object, float]:
    """What it returns, and the median time in milliseconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = run()
        if device != "cpu":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return result, 1000 * statistics.median(times)


def _memory(device: str) -> float:
    """Most memory so far, in MiB."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


if __name__ == "__main__":
    main()
