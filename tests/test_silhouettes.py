"""Shapes are read in parts: what comes to a grid is what the whole mask would give, and no more of it is drawn."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import videorefer_plugin as vr
from videorefer_plugin.object_encoder import MASK_POLICIES
from videorefer_plugin.regions import ABSENT, Box, Mask, Points, Polygons, Rle, Scribble, Shape, encode_rle
from videorefer_plugin.training import drawn


class Drawn(Shape):
    """A kind of shape of another library, which can only be drawn as a whole."""

    name = "drawn"

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def rasterize(self, height: int, width: int) -> np.ndarray:
        return self.pixels.copy()


class Shifted(Box):
    """A box that is drawn in another way than its kind."""

    def rasterize(self, height: int, width: int) -> np.ndarray:
        return np.roll(super().rasterize(height, width), 1, axis=1)


def some_pixels(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From a single pixel to noise all over, also at the edges, and also none."""
    mask = np.zeros((height, width), dtype=bool)
    y, x = rng.integers(height), rng.integers(width)
    tall, wide = (int(rng.choice([1, 2, 5, 40])) for _ in range(2))
    density = rng.choice([0, 0.1, 0.6, 1])
    kind = rng.integers(4)
    if kind == 0:
        mask[y, x] = True
    elif kind == 1:
        mask[:] = rng.random(mask.shape) < density
    else:
        part = mask[y : y + tall, x : x + wide] if kind == 2 else mask[:, x : x + wide]
        part[:] = rng.random(part.shape) < density
    return mask


def points(rng: np.random.Generator, height: int, width: int, count: int, beyond: float = 0) -> np.ndarray:
    sides = np.array([width, height])
    near = rng.uniform(-beyond * sides, (1 + beyond) * sides)
    spread = rng.choice([0.5, 3, 50])
    found = np.clip(near + rng.normal(0, spread, (count, 2)), -beyond * sides, (1 + beyond) * sides - 1e-3)
    found[0] = np.maximum(found[0], 1.5)  # all within 1 could be meant as relative to the frame, and are refused
    return found


def plain_runs(mask: np.ndarray) -> list[int]:
    """Run lengths with empty runs among them, as no encoder writes them."""
    pixels = mask.T.ravel()
    edges = [0, *(np.flatnonzero(np.diff(pixels.astype(int))) + 1), pixels.size]
    runs = np.diff(edges).tolist()
    return [*([0] if pixels[0] else []), *runs, 0, 0]


KINDS: dict[str, Any] = {
    "mask": lambda rng, *size: Mask(some_pixels(rng, *size)),
    "rle": lambda rng, *size: Rle.from_mapping(encode_rle(some_pixels(rng, *size))),
    "rle of plain runs": lambda rng, *size: Rle(size, plain_runs(some_pixels(rng, *size))),
    "rle of a record": lambda rng, *size: drawn.Drawn(
        Rle.from_mapping(encode_rle(some_pixels(rng, *size))), None, None
    ),
    "polygon": lambda rng, *size: Polygons(points(rng, *size, 5, beyond=0.3)),
    "polygons": lambda rng, *size: Polygons([points(rng, *size, 4, beyond=0.3) for _ in range(3)]),
    "box": lambda rng, *size: Box(*(corner := points(rng, *size, 1)[0]), *(corner + rng.uniform(1.1, 30, 2))),
    "own box": lambda rng, *size: Shifted(*(corner := points(rng, *size, 1)[0]), *(corner + rng.uniform(1.1, 9, 2))),
    "points": lambda rng, *size: Points(points(rng, *size, 3), radius=rng.choice([None, 0, 0.3, 4])),
    "points beside": lambda rng, *size: Points(points(rng, *size, 3), labels=[1, 0, 1], radius=1),
    "scribble": lambda rng, *size: Scribble(points(rng, *size, 4), width=rng.choice([None, 0.1, 6])),
    "drawn": lambda rng, *size: Drawn(some_pixels(rng, *size)),
    "absent": lambda rng, *size: ABSENT,
}
sides = st.one_of(st.integers(3, 90), st.sampled_from([255, 256]))
grids = st.tuples(st.integers(1, 30), st.integers(1, 30))


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=sides, width=sides, grid=grids, padded=st.booleans())
def test_a_region_comes_to_the_grid_as_its_masks_do(
    kind: str, seed: int, height: int, width: int, grid: tuple[int, int], padded: bool
) -> None:
    rng = np.random.default_rng(seed)
    region = vr.Region({frame: KINDS[kind](rng, height, width) for frame in range(3)})
    video = np.zeros((3, height, width, 3), dtype=np.uint8)
    masks = np.stack([region.mask(frame, height, width) for frame in range(3)])
    assert all(np.array_equal(mask, masks[frame]) for frame, mask in region.masks(height, width))
    for policy in MASK_POLICIES:
        seen = [frame for frame in range(3) if policy == "original" or masks[frame].any()]
        if not seen:
            with pytest.raises(vr.RegionError, match="no pixel in any of its 3 frame"):
                vr.draw_region(region, video, grid, mask_policy=policy, pad_to_square=padded)
            continue
        found = vr.draw_region(region, video, grid, mask_policy=policy, pad_to_square=padded)
        assert found.frames == tuple(seen)
        whole = vr.resize_masks(torch.from_numpy(masks[seen]), grid, policy, pad_to_square=padded)
        assert torch.equal(found.masks, whole)


@pytest.mark.spread(4)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=sides, width=sides)
def test_parts_of_a_silhouette_are_those_of_the_mask(kind: str, seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    region = vr.Region({0: KINDS[kind](rng, height, width)})
    mask = region.mask(0, height, width)
    ((_, silhouette),) = region.silhouettes(height, width)
    assert silhouette.size == (height, width)
    assert silhouette.any() == mask.any()
    assert np.array_equal(silhouette.mask(), mask)
    rows, columns = rng.integers(0, height, 7), rng.integers(0, width, 5)
    assert np.array_equal(silhouette.at(rows, columns), mask[rows[:, None], columns])
    top, left, box = silhouette.box()
    if not mask.any():
        assert box.size == 0
        return
    y, x = np.nonzero(mask)
    assert (top, left, *box.shape) == (y.min(), x.min(), np.ptp(y) + 1, np.ptp(x) + 1)
    assert np.array_equal(box, mask[top : top + box.shape[0], left : left + box.shape[1]])


def test_a_mask_of_a_region_cannot_be_changed_through_what_is_drawn_of_it() -> None:
    pixels = np.zeros((6, 8), dtype=bool)
    pixels[2, 3] = True
    region = vr.Region({0: pixels, 1: (1, 1, 4, 4), 2: encode_rle(pixels)})
    for _, mask in region.masks(6, 8):
        before = mask.copy()
        mask[:] = True
        assert any(np.array_equal(before, again) for _, again in region.masks(6, 8))


OBJECT = np.stack([60 * np.cos(np.linspace(0, 6, 40)) + 3700, 60 * np.sin(np.linspace(0, 6, 40)) + 2000], axis=1)
FRAME = (2160, 3840)


@pytest.mark.parametrize(
    "shape",
    [
        Polygons(OBJECT),
        Rle.from_mapping(encode_rle(Polygons(OBJECT).rasterize(*FRAME))),
        Box(10, 10, 3800, 2000),
        Points(OBJECT[:3]),
        Scribble(OBJECT[:9]),
        ABSENT,
    ],
    ids=repr,
)
def test_no_frame_is_filled_to_read_an_object(shape: Shape) -> None:
    region = vr.Region({0: shape})
    rows, columns = np.arange(0, FRAME[0], 40), np.arange(0, FRAME[1], 40)
    tracemalloc.start()
    try:
        for _, silhouette in region.silhouettes(*FRAME):
            silhouette.any(), silhouette.at(rows, columns)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000  # the frame has eight million pixels


def test_noise_is_kept_no_larger_than_its_bits() -> None:
    noise = np.random.default_rng(0).random((1080, 1920)) < 0.5
    region = vr.Region({0: encode_rle(noise)})
    tracemalloc.start()
    try:
        kept = list(region.silhouettes(1080, 1920))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert np.array_equal(kept[0][1].mask(), noise)
    assert size < 300_000  # 260 kB; run lengths would take four megabytes
