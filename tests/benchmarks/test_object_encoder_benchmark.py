"""The object encoder against a plain loop over objects and frames. Run with `pytest --benchmark-only`.

The ratio is bounded by what both sides do alike, the projector, whose weights of 68 MB are read for a handful of
tokens, and by the search for NaN and infinity, which reads every feature and which the loop leaves out. With one
thread, of 27.8 ms for one object in 16 frames (a ratio of 7.1) the projector took 20.8 and the search 6.0; masks,
pooling and merging, which replace the loop, took 1.1 ms together. Even if those were free, the ratio would be 7.4, and
9.5 without the search as well. Without the projector on either side it was 25. Both ratios are in the table.
"""

import multiprocessing
import sys
import time
from statistics import median

import pytest
import torch
from torch.nn import functional as F

from videorefer_plugin.object_encoder import ObjectEncoder, ObjectEncoderConfig, resize_masks

GRID = 27
HEIGHT, WIDTH = 480, 854
SIZES = [(1, 1, 1), (1, 16, 1), (8, 16, 1), (8, 16, 4)]  # objects x frames x batch


def make_input(objects, frames, batch):
    """Features of all frames, video-sized boolean masks and, for every sample and object, the rows of its frames."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(batch * frames, GRID, GRID, 1152, generator=generator)
    masks = []
    for _ in range(batch):
        of_sample = torch.zeros(objects * frames, HEIGHT, WIDTH, dtype=torch.bool)
        corners = torch.rand(objects * frames, 2, generator=generator) * torch.tensor([HEIGHT * 0.7, WIDTH * 0.7])
        for mask, (top, left) in zip(of_sample, corners.long().tolist(), strict=True):
            mask[top : top + HEIGHT // 4, left : left + WIDTH // 4] = True
        masks.append(of_sample)
    rows = [[list(range(sample * frames, (sample + 1) * frames))] * objects for sample in range(batch)]
    return features, masks, rows


def seconds_of(run, rounds=5):
    """Median of several runs."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return median(found)


def make_encoder():
    torch.manual_seed(0)
    return ObjectEncoder(ObjectEncoderConfig()).eval()


def ours(encoder, features, masks, rows):
    regions = [frames for sample in rows for frames in sample]
    on_grid = torch.cat([resize_masks(of_sample, GRID, "original") for of_sample in masks])
    mask_frames = torch.tensor([row for frames in regions for row in frames])
    lengths = torch.tensor([len(frames) for frames in regions])
    return encoder(features, on_grid, mask_frames, lengths).tokens


def baseline(encoder, features, masks, rows):
    """One object after another, one frame after another."""
    tokens = []
    for of_sample, objects in zip(masks, rows, strict=True):
        of_sample = of_sample.float()
        number = 0
        for frames in objects:
            of_object = features[frames].permute(0, 3, 1, 2).contiguous()
            pooled = []
            for feature in of_object:
                mask = F.interpolate(of_sample[None, None, number], size=(GRID, GRID), mode="bilinear")[0] > 0
                number += 1
                pooled.append((feature * mask).sum(dim=(1, 2)) / (mask.sum() + 1e-8))
            pooled = torch.stack(pooled)
            tokens.append(encoder.projector(torch.stack(merge_one(pooled, encoder.config.max_tokens_per_region))))
    return torch.cat(tokens)


def merge_one(pooled, max_tokens):
    if len(pooled) <= max_tokens:
        return list(pooled)
    similarity = F.cosine_similarity(pooled[:-1], pooled[1:], dim=-1)
    joined = set(similarity.topk(len(pooled) - max_tokens).indices.tolist())
    unions = [[pooled[0]]]
    for number in range(1, len(pooled)):
        if number - 1 in joined:
            unions[-1].append(pooled[number])
        else:
            unions.append([pooled[number]])
    return [torch.stack(union).mean(dim=0) for union in unions]


WAYS = {"ours": ours, "baseline": baseline}


def peak_growth(way, size):
    """Bytes by which the peak memory of this process grows while it computes the tokens once."""
    import resource

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

    encoder, warm_up, batch = make_encoder(), make_input(1, 1, 1), make_input(*size)
    with torch.no_grad():
        WAYS[way](encoder, *warm_up)
        before = peak()
        WAYS[way](encoder, *batch)
    return peak() - before


def peak_memory(way, size):
    """Peak growth in a fresh process. It must not descend from this one directly, whose peak it would inherit."""
    with multiprocessing.get_context("forkserver").Pool(1) as pool:
        return pool.apply(peak_growth, (way, size))


@pytest.fixture(scope="module")
def table():
    """Lines printed when all sizes are done."""
    lines = []
    yield lines
    print("", *lines, sep="\n")


@torch.no_grad()
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
def test_faster_than_a_loop(benchmark, size, table):
    encoder, batch = make_encoder(), make_input(*size)
    torch.testing.assert_close(ours(encoder, *batch), baseline(encoder, *batch), atol=1e-4, rtol=1e-4)
    benchmark.pedantic(ours, args=(encoder, *batch), rounds=11, warmup_rounds=2)
    if benchmark.disabled:
        return
    fast, loop = benchmark.stats.stats.median, seconds_of(lambda: baseline(encoder, *batch))
    merged = torch.randn(len(ours(encoder, *batch)), encoder.config.vision_hidden_size)
    projector = seconds_of(lambda: encoder.projector(merged), rounds=11)
    bare = (loop - projector) / max(fast - projector, 1e-9)
    benchmark.extra_info.update(
        baseline_s=loop, ratio=loop / fast, projector_s=projector, ratio_without_projector=bare
    )
    line = (
        f"{size[0]} x {size[1]} x {size[2]}: baseline {loop:.4f} s, ours {fast:.4f} s, ratio {loop / fast:.1f}; of "
        f"both, projector {projector:.4f} s, ratio without it {bare:.1f}"
    )
    if size == SIZES[-1] and sys.platform != "win32":
        grown = {way: peak_memory(way, size) for way in WAYS}
        benchmark.extra_info.update({f"peak_growth_{way}": value for way, value in grown.items()})
        line += f", peak extra memory: baseline {grown['baseline'] >> 20} MiB, ours {grown['ours'] >> 20} MiB"
    table.append(line)


@pytest.mark.parametrize("size", SIZES[-1:], ids=lambda size: "x".join(map(str, size)))
def test_masks_on_the_grid_are_small(benchmark, size, table):
    """What has to be kept of the masks until the features are there: grid-sized ones, or video-sized floats."""
    _, masks, _ = make_input(*size)
    on_grid = benchmark.pedantic(lambda: [resize_masks(some, GRID) for some in masks], rounds=11, warmup_rounds=1)
    grid_bytes = sum(some.nbytes for some in on_grid)
    video_bytes = sum(some.float().nbytes for some in masks)
    benchmark.extra_info.update(grid_bytes=grid_bytes, video_bytes=video_bytes)
    assert grid_bytes * 1000 < video_bytes
    table.append(f"masks kept: {grid_bytes:,} bytes on the grid, {video_bytes:,} bytes as floats at video size")
