"""What comes before the model: frames, and masks of regions on the grid. Run with `pytest --benchmark-only`.

Each is measured against the plain way in the same run: the image processor as it is, and masks that are drawn on whole
frames and then resized, with a lost one multiplied out at full size. Times are of the processor, on one thread, and
memory is what Python's allocator and NumPy's arrays take at most while it runs.
"""

import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import videorefer_plugin as vr
from videorefer_plugin.inputs.clips import Clip
from videorefer_plugin.inputs.masks import grid_masks, region_frames
from videorefer_plugin.regions import Polygons, Rle, encode_rle
from videorefer_plugin.regions.filling import polygon_runs
from videorefer_plugin.regions.run_lengths import compressed_runs

FRAMES = 16
HEIGHT, WIDTH, GRID = 1080, 1920, (27, 27)
OBJECTS, MASKS = 32, 32  # masks of each object
ROUNDS, PLAIN_OBJECTS = 3, 2  # the plain way takes seconds, so it is given two of the objects


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def table() -> Iterator[list[str]]:
    """Lines printed when all is done."""
    lines: list[str] = []
    yield lines
    print("", *lines, sep="\n")


def seconds(way: Callable[[], Any]) -> float:
    """The least processor time of some rounds, after one to warm up."""
    found = []
    for _ in range(ROUNDS + 1):
        start = time.process_time()
        way()
        found.append(time.process_time() - start)
    return min(found[1:])


def peak_bytes(way: Callable[[], Any]) -> int:
    tracemalloc.start()
    try:
        way()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(480, 854), (HEIGHT, WIDTH)], ids=["480p", "1080p"])
def test_frames(benchmark: Any, size: tuple[int, int], table: list[str]) -> None:
    from transformers import AutoProcessor, SiglipImageProcessorPil

    processor = AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    processor.image_processor = SiglipImageProcessorPil(size={"height": 384, "width": 384})
    frames = np.random.default_rng(0).integers(0, 256, (FRAMES, *size, 3), dtype=np.uint8)

    def ours() -> Tensor:
        return processor.preprocess_frames(frames, "square")

    def plain() -> Tensor:
        images = [Image.fromarray(frame) for frame in frames]
        return processor.image_processor(images, return_tensors="pt")["pixel_values"]

    assert torch.equal(ours(), plain())
    benchmark.pedantic(ours, rounds=ROUNDS)
    if benchmark.disabled:
        return
    fast, slow = seconds(ours), seconds(plain)
    peaks = peak_bytes(ours) >> 20, peak_bytes(plain) >> 20
    benchmark.extra_info.update(ours_s=fast, plain_s=slow, ratio=slow / fast, peaks_mib=peaks)
    table.append(
        f"{FRAMES} frames of {size[0]} x {size[1]}: image processor {slow * 1e3:.0f} ms, ours {fast * 1e3:.0f} ms, "
        f"ratio {slow / fast:.1f}; peak of NumPy {peaks[1]} MiB, ours {peaks[0]} MiB"
    )


# --- regions ---------------------------------------------------------------------------------------------------------


class Film:
    """A video of which nothing but its size is asked."""

    height, width, num_frames, name = HEIGHT, WIDTH, MASKS, "film"


def outlines(rng: np.random.Generator) -> list[np.ndarray]:
    """An object that moves and grows: the points of its outline in each frame."""
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ragged = 1 + 0.05 * np.sin(9 * angle)
    x, y = rng.uniform(0.2, 0.6, 2) * (WIDTH, HEIGHT)
    return [
        np.stack((x + 5 * k + (90 + 3 * k) * ragged * np.cos(angle), y + (60 + 3 * k) * ragged * np.sin(angle)), 1)
        for k in range(MASKS)
    ]


def pixels(outline: np.ndarray) -> np.ndarray:
    return vr.Region.from_polygon(outline, frame=0).mask(0, HEIGHT, WIDTH)


def speck(rng: np.random.Generator) -> np.ndarray:
    """A few pixels between the centres of the cells, which no cell sees."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    y, x = 40 * int(rng.integers(27)) + 4, int(71.2 * rng.integers(26)) + 5
    mask[y : y + 3, x : x + 5] = True
    return mask


SHAPES: dict[str, Callable[[np.random.Generator], list[Any]]] = {
    "RLE": lambda rng: [encode_rle(pixels(outline)) for outline in outlines(rng)],
    "polygon": lambda rng: [[outline.tolist()] for outline in outlines(rng)],
    "mask": lambda rng: [pixels(outline) for outline in outlines(rng)],
    "vanished RLE": lambda rng: [encode_rle(speck(rng)) for _ in range(MASKS)],
    "vanished mask": lambda rng: [speck(rng) for _ in range(MASKS)],
}


def in_parts(regions: list[vr.Region], policy: str) -> list[Tensor]:
    clip: Any = Clip("video", 0, Film(), [])  # type: ignore[arg-type]
    drawn = [region_frames(region, clip, policy, None) for region in regions]
    return [grid_masks(masks, GRID, policy, False) for masks in drawn]


def at_full_size(regions: list[vr.Region], policy: str) -> list[Tensor]:
    """What it was before: each mask is drawn, kept as the bits of its box, and resized from a whole frame."""
    return [on_grid([packed(whole(region, frame)) for frame in region.frames], policy) for region in regions]


def whole(region: vr.Region, frame: int) -> np.ndarray:
    """The mask of a whole frame; run lengths are laid out over all of it."""
    shape = region.shape(frame)
    if isinstance(shape, Rle):
        runs = compressed_runs(shape.counts)  # type: ignore[arg-type]
    elif isinstance(shape, Polygons):
        runs = polygon_runs(shape.parts, HEIGHT, WIDTH)
    else:
        return region.mask(frame, HEIGHT, WIDTH)
    filled = np.repeat(np.arange(runs.size) % 2 == 1, runs)
    return np.ascontiguousarray(filled.reshape(WIDTH, HEIGHT).T)


def packed(mask: np.ndarray) -> tuple[slice, slice, tuple[int, int], np.ndarray]:
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask[rows[0] : rows[-1] + 1].any(axis=0))
    place = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    box = mask[place]
    return *place, box.shape, np.packbits(box)


def on_grid(kept: list[Any], policy: str, at_once: int = 16) -> Tensor:
    parts = []
    for first in range(0, len(kept), at_once):
        masks = np.zeros((len(kept[first : first + at_once]), HEIGHT, WIDTH), dtype=bool)
        for mask, (rows, columns, shape, bits) in zip(masks, kept[first : first + at_once], strict=True):
            mask[rows, columns] = np.unpackbits(bits, count=shape[0] * shape[1]).reshape(shape)
        resized = vr.resize_masks(torch.from_numpy(masks), GRID, "original")
        lost = (~resized.flatten(1).any(dim=1)).nonzero().squeeze(1)
        if policy == "keep" and len(lost):
            covered = share(HEIGHT, GRID[0]) @ torch.from_numpy(masks)[lost].float() @ share(WIDTH, GRID[1]).T
            resized.view(len(masks), -1)[lost, covered.flatten(1).argmax(dim=1)] = True
        parts.append(resized)
    return torch.cat(parts)


def share(size: int, cells: int) -> Tensor:
    """Share of every pixel that lies in every cell along one axis."""
    edge, low = torch.arange(size), torch.arange(cells)[:, None] * size / cells
    return (torch.minimum(low + size / cells, edge + 1) - torch.maximum(low, edge)).clamp(min=0).float()


@pytest.mark.parametrize("policy", ["keep", "original"])
@pytest.mark.parametrize("kind", SHAPES)
def test_regions(benchmark: Any, kind: str, policy: str, table: list[str]) -> None:
    rng = np.random.default_rng(0)
    distinct = [vr.Region(dict(enumerate(SHAPES[kind](rng)))) for _ in range(PLAIN_OBJECTS)]
    regions = (distinct * OBJECTS)[:OBJECTS]  # masks of 32 objects would not fit the memory of a small machine
    pairs = zip(in_parts(distinct, policy), at_full_size(distinct, policy), strict=True)
    assert all(torch.equal(found, plain) for found, plain in pairs)
    benchmark.pedantic(in_parts, args=(regions, policy), rounds=ROUNDS)
    if benchmark.disabled:
        return
    fast = seconds(lambda: in_parts(regions, policy)) / (OBJECTS * MASKS)
    slow = seconds(lambda: at_full_size(distinct, policy)) / (PLAIN_OBJECTS * MASKS)
    ways = (in_parts, at_full_size)
    peaks = [peak_bytes(partial(way, distinct, policy)) >> 10 for way in ways]
    benchmark.extra_info.update(ours_ms=fast * 1e3, plain_ms=slow * 1e3, ratio=slow / fast, peaks_kib=peaks)
    table.append(
        f"{kind}, {policy}: whole frames {slow * 1e3:.2f} ms a mask, ours {fast * 1e3:.3f} ms, "
        f"ratio {slow / fast:.0f}; {OBJECTS} x {MASKS} masks {fast * OBJECTS * MASKS:.2f} s; "
        f"peak {peaks[1]} KiB, ours {peaks[0]} KiB"
    )
