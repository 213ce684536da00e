"""The object encoder: resizing and pooling of masks, merging over time, projection."""

import copy
import itertools
import json
import os
import pickle
import platform
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional as F

from videorefer_plugin.errors import ConfigurationError, TensorError, VideoReferError
from videorefer_plugin.object_encoder import (
    MASK_POLICIES,
    ObjectEncoder,
    ObjectEncoderConfig,
    adjacent_similarity,
    merge_tokens,
    pool_masks,
    resize_masks,
)

SOURCE = Path(__file__).parents[1] / "src"
GOLDENS = Path(__file__).parent / "data" / "goldens" / "object_encoder"
DESCRIPTION = json.loads((GOLDENS / "cases.json").read_text())
CLOSE = {"atol": 1e-5, "rtol": 1e-5}

# On x86 without fused multiply-add PyTorch itself finds other cells where the ratio of the sizes is exact (2 -> 6).
needs_fma = pytest.mark.skipif(
    platform.machine().lower() in ("x86_64", "amd64")
    and torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX"),
    reason="PyTorch's interpolation rounds differently without fused multiply-add",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
examples = settings(max_examples=60, deadline=None)
seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 60)
grids = st.tuples(st.integers(1, 30), st.integers(1, 30))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def random_masks(seed, num_masks, height, width):
    """Boolean masks, from a single pixel to nearly full."""
    generator = seeded(seed)
    density = torch.rand(num_masks, 1, 1, generator=generator) ** 3
    masks = torch.rand(num_masks, height, width, generator=generator) < density
    pixels = torch.randint(height * width, (num_masks, 1), generator=generator)
    return masks.flatten(1).scatter(1, pixels, True).view(num_masks, height, width)


def pad_to_square(masks):
    height, width = masks.shape[-2:]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return F.pad(masks.float(), (left, side - width - left, top, side - height - top))


def interpolate(masks, grid):
    """The original rule."""
    return F.interpolate(masks[None].float(), size=grid, mode="bilinear", align_corners=False)[0] > 0


def pool_by_loop(features, masks, mask_frames):
    pooled = []
    for mask, frame in zip(masks, mask_frames.tolist(), strict=True):
        below = [features[frame, y, x].double() for y, x in (mask > 0).nonzero().tolist()]
        zero = torch.zeros(features.shape[-1], dtype=torch.float64)
        pooled.append(sum(below, zero) / max(len(below), 1))
    return torch.stack(pooled)


def cosine(a, b):
    def norm(vector):
        return max(sum(x * x for x in vector) ** 0.5, 1e-8)

    return sum(x * y for x, y in zip(a, b, strict=True)) / (norm(a) * norm(b))


def unions_of(tokens, max_tokens):
    """Runs of token numbers that one region is merged into, in plain Python."""
    rows = tokens.tolist()
    similarity = [cosine(a, b) for a, b in itertools.pairwise(rows)]
    ranked = sorted(range(len(similarity)), key=lambda pair: (-similarity[pair], pair))
    joined = set(ranked[: max(len(rows) - max_tokens, 0)])
    runs = [[0]]
    for token in range(1, len(rows)):
        if token - 1 in joined:
            runs[-1].append(token)
        else:
            runs.append([token])
    return runs


def merge_by_loop(tokens, lengths, max_tokens):
    merged = []
    for region in tokens.split(lengths.tolist()):
        if len(region):
            merged += [region[run].mean(dim=0) for run in unions_of(region, max_tokens)]
    return torch.stack(merged) if merged else tokens[:0]


def memberships(tokens, lengths, max_tokens):
    """The share of every token in every merged one, read off the derivative: `(merged, tokens)`."""
    if len(tokens) == 0:
        return tokens.new_zeros(0, 0)
    jacobian = torch.autograd.functional.jacobian(lambda t: merge_tokens(t, lengths, max_tokens)[0][:, 0], tokens)
    assert not jacobian[..., 1:].any()  # the columns do not mix
    return jacobian[..., 0]


def make_encoder(**changes):
    config = ObjectEncoderConfig(**{"vision_hidden_size": 6, "hidden_size": 10, "max_tokens_per_region": 3, **changes})
    torch.manual_seed(0)
    return ObjectEncoder(config)


def make_batch(lengths, num_frames=5, width=6, seed=0):
    """Features, masks, mask_frames and region_lengths."""
    generator = seeded(seed)
    num_masks = sum(lengths)
    return (
        torch.randn(num_frames, 3, 4, width, generator=generator),
        torch.rand(num_masks, 3, 4, generator=generator) < 0.5,
        torch.randint(num_frames, (num_masks,), generator=generator),
        torch.tensor(lengths, dtype=torch.long),
    )


class TestGoldens:
    """Numbers of the original code."""

    @staticmethod
    def load(case):
        tensors = load_file(GOLDENS / case["file"])
        config = DESCRIPTION["configs"][case["config"]]
        grid = (config["grid"], config["grid"])
        regions = [rows for sample in case["ann_indices"] for rows in sample]
        features = tensors["feats"].unflatten(1, grid)
        video_masks = [tensors[f"masks.{sample}"] for sample in range(len(case["ann_indices"]))]
        padded = case["image_aspect_ratio"] == "pad"
        masks = torch.cat([resize_masks(some, grid, "original", pad_to_square=padded) for some in video_masks])
        mask_frames = torch.tensor([row for rows in regions for row in rows])
        lengths = torch.tensor([len(rows) for rows in regions])
        pooled = torch.cat([tensors[f"pooled.{sample}"] for sample in range(len(video_masks))])
        encoder = ObjectEncoder(
            ObjectEncoderConfig(config["mm_hidden_size"], config["hidden_size"], config["region_token_num"])
        )
        weights = load_file(GOLDENS / f"weights_{case['config']}.safetensors")
        encoder.load_state_dict({key.replace("feat_linear", "projector"): value for key, value in weights.items()})
        return tensors, pooled, encoder, (features, masks, mask_frames, lengths)

    @pytest.mark.parametrize("case", DESCRIPTION["cases"], ids=lambda case: case["name"])
    def test_resized_and_pooled(self, case):
        tensors, pooled, _, (features, masks, mask_frames, _) = self.load(case)
        video_masks = [tensors[f"masks.{sample}"] for sample in range(len(case["ann_indices"]))]
        if case["image_aspect_ratio"] == "pad":
            video_masks = [pad_to_square(some) for some in video_masks]
        expected = torch.cat([interpolate(some, features.shape[1:3]) for some in video_masks])
        assert torch.equal(masks, expected)
        torch.testing.assert_close(pool_masks(features, masks, mask_frames), pooled, **CLOSE)

    @pytest.mark.parametrize(
        "case", [case for case in DESCRIPTION["cases"] if "upstream_bug" not in case], ids=lambda case: case["name"]
    )
    def test_merged_and_projected(self, case):
        tensors, pooled, encoder, inputs = self.load(case)
        merged, counts = merge_tokens(pooled, inputs[3], encoder.config.max_tokens_per_region)
        assert counts.tolist() == case["region_token_nums"]
        torch.testing.assert_close(merged, tensors["merged_features"], **CLOSE)
        tokens, counts = encoder(*inputs)
        assert counts.tolist() == case["region_token_nums"]
        torch.testing.assert_close(tokens, tensors["region_tokens"], **CLOSE)

    @pytest.mark.parametrize(
        "case", [case for case in DESCRIPTION["cases"] if "upstream_bug" in case], ids=lambda case: case["name"]
    )
    def test_ties_join_no_more_pairs_than_needed(self, case):
        """The original joins all pairs that tie with the last one needed, so that fewer tokens come out than asked."""
        tensors, _, encoder, inputs = self.load(case)
        tokens, counts = encoder(*inputs)
        assert counts.tolist() == case["expected_token_nums_without_bug"]
        assert len(tokens) == sum(case["expected_token_nums_without_bug"])
        if case["region_token_nums"] == case["expected_token_nums_without_bug"]:
            torch.testing.assert_close(tokens, tensors["region_tokens"], **CLOSE)
        else:
            assert len(tensors["region_tokens"]) < len(tokens)


class TestResizeMasks:
    @needs_fma
    @examples
    @given(seed=seeds, height=sides, width=sides, grid=grids)
    def test_original_policy_is_positive_interpolation(self, seed, height, width, grid):
        masks = random_masks(seed, 4, height, width)
        assert torch.equal(resize_masks(masks, grid, "original"), interpolate(masks, grid))

    @needs_fma
    @examples
    @given(seed=seeds, height=sides, width=sides, grid=grids)
    def test_pad_to_square_is_padding_then_interpolation(self, seed, height, width, grid):
        masks = random_masks(seed, 4, height, width)
        resized = resize_masks(masks, grid, "original", pad_to_square=True)
        assert torch.equal(resized, interpolate(pad_to_square(masks), grid))

    @pytest.mark.spread(5)
    @needs_fma
    @pytest.mark.parametrize("cells", [1, 2, 3, 4, 5, 6, 7, 9, 10, 12, 13, 16, 24, 27, 32])
    def test_every_pixel_of_every_size(self, cells):
        """Bilinear weights are products of one weight for each axis, so single pixels along one axis cover all."""
        for size in [*range(1, 65), 240, 480, 720, 854]:
            pixels = torch.eye(size, dtype=torch.bool)
            rows, columns = pixels[:, :, None], pixels[:, None, :]
            assert torch.equal(resize_masks(rows, (cells, 1), "original"), interpolate(rows, (cells, 1))), size
            assert torch.equal(resize_masks(columns, (1, cells), "original"), interpolate(columns, (1, cells))), size

    @pytest.mark.parametrize("policy", MASK_POLICIES)
    @pytest.mark.parametrize("size", [(480, 854), (7, 7), (5, 3), (1, 1)])
    def test_full_masks_stay_full(self, size, policy):
        assert resize_masks(torch.ones(2, *size), 7, policy).all()

    @pytest.mark.parametrize("policy", MASK_POLICIES)
    @pytest.mark.parametrize("grid", [(1, 1), (7, 7), (3, 8), (27, 27)])
    def test_masks_on_the_grid_are_taken_as_they_are(self, grid, policy):
        masks = random_masks(1, 20, *grid)
        assert torch.equal(resize_masks(masks, grid, policy), masks)

    def test_a_number_means_a_square_grid(self):
        masks = random_masks(2, 5, 30, 50)
        assert torch.equal(resize_masks(masks, 6), resize_masks(masks, (6, 6)))

    def test_the_spare_row_of_padding_goes_to_the_bottom(self):
        mask = torch.ones(1, 2, 5)  # padded by one row above and two below
        expected = torch.tensor([0, 1, 1, 0, 0], dtype=torch.bool)[:, None].expand(5, 5)
        assert torch.equal(resize_masks(mask, 5, pad_to_square=True)[0], expected)
        assert torch.equal(resize_masks(mask.mT, 5, pad_to_square=True)[0], expected.T)

    @pytest.mark.parametrize("policy", MASK_POLICIES)
    @pytest.mark.parametrize(
        "dtype",
        [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64],
        ids=str,
    )
    def test_every_positive_value_counts(self, dtype, policy):
        masks = random_masks(3, 40, 33, 47)
        positive, other = torch.ones(()), torch.zeros(())
        if dtype.is_floating_point:
            positive, other = torch.tensor([1e-5, 0.3, 1.0, 7.0, torch.inf]), torch.tensor([0.0, -0.0, -1e-5, -9.0])
        elif dtype != torch.bool:
            positive = torch.tensor([1, 2, 127])
            other = torch.tensor([0, -1, -127]) if dtype.is_signed else other
        generator = seeded(4)
        on = positive.flatten()[torch.randint(positive.numel(), masks.shape, generator=generator)]
        off = other.flatten()[torch.randint(other.numel(), masks.shape, generator=generator)]
        values = torch.where(masks, on, off).to(dtype)
        before = values.clone()
        resized = resize_masks(values, (4, 5), policy)
        assert resized.dtype == torch.bool
        assert torch.equal(resized, resize_masks(masks, (4, 5), policy))
        assert torch.equal(values, before)

    @pytest.mark.parametrize("policy", MASK_POLICIES)
    def test_memory_layout_does_not_matter(self, policy):
        masks = random_masks(5, 30, 40, 50)
        for view in (masks.mT.contiguous().mT, masks.permute(1, 2, 0).contiguous().permute(2, 0, 1), masks[::2]):
            assert torch.equal(resize_masks(view, (3, 4), policy), resize_masks(view.clone(), (3, 4), policy))
        one = masks[:1]
        assert torch.equal(
            resize_masks(one.expand(4, -1, -1), (3, 4), policy), resize_masks(one, (3, 4), policy).expand(4, -1, -1)
        )

    @pytest.mark.parametrize("policy", MASK_POLICIES)
    def test_no_masks_at_all(self, policy):
        assert resize_masks(torch.zeros(0, 20, 30), (3, 4), policy).shape == (0, 3, 4)


class TestKeptMasks:
    """The policy "keep"."""

    @staticmethod
    def covered(mask, grid, padded):
        """Area of the mask in every cell, in exact arithmetic."""
        height, width = mask.shape
        side = max(height, width)
        full = (side, side) if padded else (height, width)
        offset = [(size - length) // 2 for size, length in zip(full, mask.shape, strict=True)]

        def share(pixel, cell, axis):
            low, high = (Fraction(edge * full[axis], grid[axis]) for edge in (cell, cell + 1))
            position = pixel + offset[axis]
            return max(min(high, position + 1) - max(low, position), 0)

        pixels = mask.nonzero().tolist()
        return {
            (row, column): sum(share(y, row, 0) * share(x, column, 1) for y, x in pixels)
            for row in range(grid[0])
            for column in range(grid[1])
        }

    @examples
    @given(
        seed=seeds,
        size=st.tuples(st.integers(3, 40), st.integers(3, 40)),
        grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
        num_pixels=st.integers(1, 4),
        padded=st.booleans(),
    )
    def test_a_lost_mask_gets_the_cell_it_covers_most(self, seed, size, grid, num_pixels, padded):
        masks = torch.zeros(6, *size, dtype=torch.bool)
        generator = seeded(seed)
        for mask in masks:  # a few neighbouring pixels
            y, x = (int(torch.randint(length, (), generator=generator)) for length in size)
            mask[y : y + num_pixels, x : x + 2] = True
        original = resize_masks(masks, grid, "original", pad_to_square=padded)
        kept = resize_masks(masks, grid, "keep", pad_to_square=padded)
        for mask, before, after in zip(masks, original, kept, strict=True):
            if before.any():
                assert torch.equal(before, after)
                continue
            ((row, column),) = after.nonzero().tolist()
            areas = self.covered(mask, grid, padded)
            assert areas[row, column] >= max(areas.values()) * (1 - 1e-6)

    @pytest.mark.parametrize("padded", [False, True])
    def test_no_single_pixel_is_ever_lost(self, padded):
        masks = torch.eye(40 * 23, dtype=torch.bool).view(-1, 40, 23)
        original = resize_masks(masks, (5, 4), "original", pad_to_square=padded).flatten(1).any(dim=1)
        kept = resize_masks(masks, (5, 4), "keep", pad_to_square=padded)
        assert (~original).sum() > 500  # most of them were
        assert kept.flatten(1).any(dim=1).all()
        assert (kept[~original].flatten(1).sum(dim=1) == 1).all()

    def test_a_small_object_between_cell_centres(self):
        mask = torch.zeros(1, 480, 854)
        mask[0, 100:104, 700:706] = 1  # cells are 17.8 high and 31.6 wide
        assert not resize_masks(mask, 27, "original").any()
        assert resize_masks(mask, 27).nonzero().tolist() == [[0, 5, 22]]

    def test_a_lost_mask_gets_its_cell_whatever_is_lost_beside_it(self):
        masks = torch.zeros(40, 92, 109, dtype=torch.bool)
        masks[torch.arange(40), torch.arange(40) * 2 + 1] = True  # lines, which cover many cells alike
        assert (~resize_masks(masks, (6, 23), "original").flatten(1).any(dim=1)).sum() > 20
        alone = torch.cat([resize_masks(mask[None], (6, 23)) for mask in masks])
        assert torch.equal(resize_masks(masks, (6, 23)), alone)

    def test_keep_is_the_default(self):
        mask = torch.zeros(1, 40, 40)
        mask[0, 0, 0] = 1
        assert resize_masks(mask, 2).sum() == 1
        assert resize_masks(mask, 2, "original").sum() == 0

    @pytest.mark.parametrize("padded", [False, True])
    def test_absent_masks_stay_empty_among_lost_ones(self, padded):
        masks = torch.zeros(100, 40, 30)
        masks[::2, 0, 0] = 1
        masks[1::2] = -1
        kept = resize_masks(masks, 3, pad_to_square=padded).flatten(1).sum(dim=1)
        assert kept.tolist() == [1, 0] * 50


class TestPoolMasks:
    @examples
    @given(
        seed=seeds,
        num_frames=st.integers(1, 5),
        grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
        num_masks=st.integers(1, 12),
        learnt=st.booleans(),
    )
    def test_equals_a_loop(self, seed, num_frames, grid, num_masks, learnt):
        generator = seeded(seed)
        features = torch.randn(num_frames, *grid, 3, generator=generator, requires_grad=learnt)
        masks = torch.rand(num_masks, *grid, generator=generator) < torch.rand(num_masks, 1, 1, generator=generator)
        frames = torch.randint(num_frames, (num_masks,), generator=generator)
        pooled = pool_masks(features, masks, frames)
        torch.testing.assert_close(pooled, pool_by_loop(features, masks, frames).float(), **CLOSE)

    def test_many_masks_on_one_frame_and_none_on_others(self):
        features, masks, _, _ = make_batch([30], num_frames=4)
        frames = torch.tensor([2] * 27 + [0, 2, 0])
        torch.testing.assert_close(
            pool_masks(features, masks, frames), pool_by_loop(features, masks, frames).float(), **CLOSE
        )

    def test_an_empty_mask_gives_zeros(self):
        features, masks, frames, _ = make_batch([6])
        masks[2], masks[4] = False, False
        pooled = pool_masks(features, masks, frames)
        assert (pooled == 0).all(dim=1).tolist() == [False, False, True, False, True, False]

    def test_other_cells_do_not_matter(self):
        features, masks, frames, _ = make_batch([1])
        hidden = torch.ones(features.shape[:3], dtype=torch.bool)
        hidden[frames[0]] = ~masks[0]
        assert torch.equal(
            pool_masks(features, masks, frames),
            pool_masks(features.masked_fill(hidden[..., None], 1e30), masks, frames),
        )

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32], ids=str)
    def test_positive_values_all_weigh_the_same(self, dtype):
        features, masks, frames, _ = make_batch([8])
        values = masks.to(dtype) * torch.arange(1, 9)[:, None, None].to(dtype)
        if dtype != torch.uint8:
            values[~masks] = -3
        assert torch.equal(pool_masks(features, values, frames), pool_masks(features, masks, frames))

    def test_permuting_masks_permutes_rows(self):
        features, masks, frames, _ = make_batch([20])
        order = torch.randperm(20, generator=seeded(1))
        torch.testing.assert_close(
            pool_masks(features, masks[order], frames[order]), pool_masks(features, masks, frames)[order], **CLOSE
        )

    @pytest.mark.spread(2)
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    @pytest.mark.parametrize("autocast", [False, True])
    @pytest.mark.parametrize("density", [0.9, 0.1])
    def test_half_precision_features_are_pooled_in_float32(self, dtype, autocast, density):
        generator = seeded(0)
        features = (100 + torch.randn(2, 27, 27, 5, generator=generator)).to(dtype)
        masks = torch.rand(6, 27, 27, generator=generator) < density
        frames = torch.tensor([0, 0, 1, 1, 0, 1])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            pooled = pool_masks(features, masks, frames)
        assert pooled.dtype == torch.float32
        expected = pool_by_loop(features, masks, frames).float()
        torch.testing.assert_close(pooled, expected, atol=0, rtol=1e-6)
        assert not torch.equal(pooled, expected.to(dtype).float())

    def test_float64_features_stay_float64(self):
        features, masks, frames, _ = make_batch([5])
        pooled = pool_masks(features.double(), masks, frames)
        assert pooled.dtype == torch.float64
        torch.testing.assert_close(pooled, pool_by_loop(features, masks, frames), atol=1e-14, rtol=1e-14)

    @pytest.mark.parametrize("num_frames", [0, 3])
    def test_no_masks(self, num_frames):
        features = torch.randn(num_frames, 3, 4, 6, dtype=torch.bfloat16)
        pooled = pool_masks(features, torch.zeros(0, 3, 4), torch.zeros(0, dtype=torch.long))
        assert pooled.shape == (0, 6)
        assert pooled.dtype == torch.float32

    def test_gradient(self):
        features, masks, frames, _ = make_batch([7], num_frames=3)
        masks[3] = False
        features = features.double().requires_grad_()
        assert torch.autograd.gradcheck(lambda f: pool_masks(f, masks, frames), features)


class TestMergeTokens:
    lengths = st.lists(st.integers(0, 9), min_size=1, max_size=6)
    max_tokens = st.integers(1, 6)
    dims = st.integers(3, 8)  # in one dimension all similarities are 1 or -1

    @staticmethod
    def random_tokens(seed, lengths, dim):
        lengths = torch.tensor(lengths)
        return torch.randn(int(lengths.sum()), dim, generator=seeded(seed)), lengths

    @examples
    @given(seed=seeds, lengths=lengths, max_tokens=max_tokens, dim=dims)
    def test_unions_are_runs_of_one_region(self, seed, lengths, max_tokens, dim):
        tokens, lengths = self.random_tokens(seed, lengths, dim)
        merged, counts = merge_tokens(tokens, lengths, max_tokens)
        assert counts.tolist() == [min(length, max_tokens) for length in lengths.tolist()]
        assert merged.shape == (sum(counts.tolist()), dim)
        weights = memberships(tokens, lengths, max_tokens)
        members = [row.nonzero().squeeze(1).tolist() for row in weights]
        # In order and without a gap, every token is in exactly one union, ...
        assert list(itertools.chain.from_iterable(members)) == list(range(len(tokens)))
        # ... no union crosses from one region to the next, ...
        ends = torch.tensor([0, *(len(run) for run in members)]).cumsum(0).tolist()
        assert set(lengths.cumsum(0).tolist()) <= set(ends)
        # ... and each is the plain average of its members.
        for run, row, union in zip(members, weights, merged, strict=True):
            torch.testing.assert_close(row[run], torch.full((len(run),), 1 / len(run)))
            torch.testing.assert_close(union, tokens[run].mean(dim=0), **CLOSE)

    @examples
    @given(seed=seeds, lengths=lengths, max_tokens=max_tokens, dim=dims)
    def test_the_most_similar_neighbours_are_joined(self, seed, lengths, max_tokens, dim):
        tokens, lengths = self.random_tokens(seed, lengths, dim)
        for region in tokens.split(lengths.tolist()):
            ranked = sorted(cosine(a, b) for a, b in itertools.pairwise(region.tolist()))
            assume(all(b - a > 1e-5 for a, b in itertools.pairwise(ranked)))
        merged, _ = merge_tokens(tokens, lengths, max_tokens)
        torch.testing.assert_close(merged, merge_by_loop(tokens, lengths, max_tokens), **CLOSE)

    @examples
    @given(seed=seeds, lengths=lengths, max_tokens=max_tokens, dim=dims)
    def test_similarities_are_those_of_neighbours_and_say_who_is_joined(self, seed, lengths, max_tokens, dim):
        tokens, lengths = self.random_tokens(seed, lengths, dim)
        similarities, joined = adjacent_similarity(tokens.requires_grad_(), lengths, max_tokens)
        pairs = [pair for region in tokens.split(lengths.tolist()) for pair in itertools.pairwise(region.tolist())]
        expected = torch.tensor([cosine(a, b) for a, b in pairs], dtype=torch.float32)
        torch.testing.assert_close(similarities, expected, **CLOSE)
        # The pairs that merging leaves apart are those between one union and the next.
        unions = memberships(tokens.detach(), lengths, max_tokens).argmax(0).tolist() if len(tokens) else []
        ends = set(lengths.cumsum(0).tolist())
        together = [a == b for at, (a, b) in enumerate(itertools.pairwise(unions), 1) if at not in ends]
        assert joined.tolist() == together

    def test_similarities_by_hand(self):
        tokens = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [0.0, -1.0], [5.0, 5.0], [7.0, 0.0]])
        similarities, joined = adjacent_similarity(tokens.half(), torch.tensor([4, 0, 1, 1]), 2)
        assert similarities.dtype == torch.float32
        assert similarities.tolist() == [1, 0, -1]
        assert joined.tolist() == [True, True, False]

    @examples
    @given(
        regions=st.lists(
            st.lists(
                st.sampled_from([(0, 0, 0), (1, 0, 0), (4, 0, 0), (-2, 0, 0), (0, 1, 0), (0, -8, 0), (0, 0, 2)]),
                min_size=1,
                max_size=9,
            ),
            min_size=1,
            max_size=5,
        ),
        max_tokens=max_tokens,
    )
    def test_ties_are_broken_by_position(self, regions, max_tokens):
        """Along the axes similarities are exactly -1, 0 or 1."""
        tokens = torch.tensor([token for region in regions for token in region], dtype=torch.float32)
        lengths = torch.tensor([len(region) for region in regions])
        weights = memberships(tokens, lengths, max_tokens)
        expected = [
            [start + token for token in run]
            for region, start in zip(
                tokens.split(lengths.tolist()), (lengths.cumsum(0) - lengths).tolist(), strict=True
            )
            for run in unions_of(region, max_tokens)
        ]
        assert [row.nonzero().squeeze(1).tolist() for row in weights] == expected

    @pytest.mark.parametrize("value", [0.0, 1.0, -3.5])
    @pytest.mark.parametrize("max_tokens", [1, 2, 4])
    def test_equal_tokens_still_give_all_unions(self, value, max_tokens):
        tokens = torch.full((12, 5), value)
        merged, counts = merge_tokens(tokens, torch.tensor([7, 5]), max_tokens)
        assert counts.tolist() == [max_tokens, max_tokens]
        torch.testing.assert_close(merged, torch.full((2 * max_tokens, 5), value))
        sizes = [int(size) for size in (memberships(tokens, torch.tensor([7, 5]), max_tokens) > 0).sum(dim=1)]
        assert sizes == [7 - max_tokens + 1, *[1] * (max_tokens - 1), 5 - max_tokens + 1, *[1] * (max_tokens - 1)]

    @examples
    @given(seed=seeds, lengths=lengths, max_tokens=max_tokens, dim=dims, data=st.data())
    def test_regions_do_not_see_each_other(self, seed, lengths, max_tokens, dim, data):
        tokens, lengths = self.random_tokens(seed, lengths, dim)
        merged, counts = merge_tokens(tokens, lengths, max_tokens)
        blocks, regions = merged.split(counts.tolist()), tokens.split(lengths.tolist())
        for block, region in zip(blocks, regions, strict=True):
            alone, count = merge_tokens(region, torch.tensor([len(region)]), max_tokens)
            assert count.tolist() == [len(block)]
            torch.testing.assert_close(block, alone, **CLOSE)
        order = data.draw(st.permutations(range(len(lengths))))
        permuted, permuted_counts = merge_tokens(
            torch.cat([regions[region] for region in order]), lengths[order], max_tokens
        )
        assert permuted_counts.tolist() == counts[order].tolist()
        torch.testing.assert_close(permuted, torch.cat([blocks[region] for region in order]), **CLOSE)

    @examples
    @given(seed=seeds, lengths=lengths, max_tokens=max_tokens, dim=dims, factor=st.floats(1e-2, 1e3))
    def test_scaling_tokens_scales_unions(self, seed, lengths, max_tokens, dim, factor):
        tokens, lengths = self.random_tokens(seed, lengths, dim)
        merged, _ = merge_tokens(tokens, lengths, max_tokens)
        scaled, _ = merge_tokens(tokens * factor, lengths, max_tokens)
        torch.testing.assert_close(scaled, merged * factor, atol=1e-5 * factor, rtol=1e-5)

    def test_one_union_is_the_mean(self):
        tokens, lengths = self.random_tokens(0, [5, 1, 8], 4)
        merged, counts = merge_tokens(tokens, lengths, 1)
        assert counts.tolist() == [1, 1, 1]
        expected = torch.stack([region.mean(dim=0) for region in tokens.split(lengths.tolist())])
        torch.testing.assert_close(merged, expected, **CLOSE)

    def test_short_regions_are_left_alone(self):
        tokens, lengths = self.random_tokens(0, [4, 3, 0, 1, 2], 4)
        merged, counts = merge_tokens(tokens, lengths, 4)
        assert torch.equal(merged, tokens)
        assert torch.equal(counts, lengths)

    def test_by_hand(self):
        """Six frames, four unions: the nearly parallel neighbours 1, 2 and 4, 5 are joined."""
        tokens = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [1.0, 0.0], [-1.0, 0.0], [-2.0, 0.5]])
        merged, counts = merge_tokens(tokens, torch.tensor([6]), 4)
        assert counts.tolist() == [4]
        assert merged.tolist() == [[1.0, 0.0], [0.0, 2.0], [1.0, 0.0], [-1.5, 0.25]]

    @pytest.mark.parametrize("lengths", [[], [0], [0, 0, 0]])
    def test_no_tokens(self, lengths):
        merged, counts = merge_tokens(torch.zeros(0, 5), torch.tensor(lengths, dtype=torch.long), 4)
        assert merged.shape == (0, 5)
        assert counts.tolist() == lengths

    def test_regions_without_tokens_between_others(self):
        tokens, _ = self.random_tokens(0, [9], 4)
        merged, counts = merge_tokens(tokens, torch.tensor([0, 6, 0, 0, 3, 0]), 2)
        assert counts.tolist() == [0, 2, 0, 0, 2, 0]
        torch.testing.assert_close(merged, merge_tokens(tokens, torch.tensor([6, 3]), 2)[0])

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_half_precision_is_merged_in_float32(self, dtype):
        tokens, lengths = self.random_tokens(0, [9, 2, 7], 64)
        tokens = tokens.to(dtype)
        merged, _ = merge_tokens(tokens, lengths, 4)
        assert merged.dtype == dtype
        assert torch.equal(merged, merge_tokens(tokens.float(), lengths, 4)[0].to(dtype))

    @pytest.mark.parametrize("max_tokens", [1, 2, 4])
    def test_gradient(self, max_tokens):
        tokens, lengths = self.random_tokens(0, [6, 1, 0, 3], 4)
        tokens = tokens.double().requires_grad_()
        assert torch.autograd.gradcheck(lambda t: merge_tokens(t, lengths, max_tokens)[0], tokens)


class TestObjectEncoder:
    def test_by_hand(self):
        encoder = make_encoder(vision_hidden_size=2, hidden_size=2, max_tokens_per_region=2, projector_depth=1)
        with torch.no_grad():
            encoder.projector[0].weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 10.0]]))
            encoder.projector[0].bias.copy_(torch.tensor([0.5, 0.0]))
        features = torch.tensor([[[[2.0, 0.0], [4.0, 0.0]]], [[[8.0, 1.0], [0.0, 3.0]]]])  # two frames of 1 x 2 cells
        masks = torch.tensor([[[1, 1]], [[1, 0]], [[0, 1]], [[0, 1]], [[1, 1]]])
        mask_frames = torch.tensor([0, 0, 1, 0, 1])
        # The first region pools (3, 0), (2, 0) and (0, 3), of which the first two are joined to (2.5, 0).
        # The second region pools (4, 0) and (4, 2).
        tokens, counts = encoder(features, masks, mask_frames, torch.tensor([3, 2]))
        assert counts.tolist() == [2, 2]
        expected = torch.tensor([[3.0, 0.0], [0.5, 30.0], [4.5, 0.0], [4.5, 20.0]])
        torch.testing.assert_close(tokens, expected, **CLOSE)

    @pytest.mark.parametrize("depth", [1, 2, 3])
    def test_equals_its_parts(self, depth):
        encoder = make_encoder(projector_depth=depth)
        features, masks, frames, lengths = make_batch([7, 1, 4, 0, 3])
        pooled = pool_by_loop(features, masks, frames).float()
        expected = merge_by_loop(pooled, lengths, 3)
        for layer in range(depth):
            weights = encoder.projector[2 * layer]
            expected = (F.gelu(expected) if layer else expected) @ weights.weight.T + weights.bias
        tokens, counts = encoder(features, masks, frames, lengths)
        assert counts.tolist() == [3, 1, 3, 0, 3]
        torch.testing.assert_close(tokens, expected, **CLOSE)

    def test_a_batch_is_its_regions(self):
        encoder = make_encoder()
        features, masks, frames, lengths = make_batch([7, 1, 4, 0, 3])
        tokens, counts = encoder(features, masks, frames, lengths)
        spans = zip(
            tokens.split(counts.tolist()), masks.split(lengths.tolist()), frames.split(lengths.tolist()), strict=True
        )
        for block, its_masks, its_frames in spans:
            used, its_frames = its_frames.unique(return_inverse=True)  # with its own frames alone, too
            alone, count = encoder(features[used], its_masks, its_frames, torch.tensor([len(its_masks)]))
            assert count.tolist() == [len(block)]
            torch.testing.assert_close(alone, block, **CLOSE)

    def test_the_order_of_frames_does_not_matter(self):
        encoder = make_encoder()
        features, masks, frames, lengths = make_batch([7, 4])
        order = torch.randperm(len(features), generator=seeded(3))
        tokens, _ = encoder(features, masks, frames, lengths)
        shuffled, _ = encoder(features[order], masks, order.argsort()[frames], lengths)
        torch.testing.assert_close(shuffled, tokens, **CLOSE)

    def test_an_empty_mask_depends_on_the_biases_alone(self):
        encoder = make_encoder()
        features, _, _, _ = make_batch([])
        tokens, counts = encoder(features, torch.zeros(2, 3, 4), torch.tensor([0, 3]), torch.tensor([1, 1]))
        assert counts.tolist() == [1, 1]
        expected = encoder.projector(torch.zeros(1, 6)).expand(2, -1)
        torch.testing.assert_close(tokens, expected)

    @pytest.mark.parametrize("features_dtype", [torch.bfloat16, torch.float32], ids=str)
    def test_bfloat16_weights(self, features_dtype):
        encoder = make_encoder()
        features, *rest = make_batch([7, 1, 4])
        expected, counts = encoder(features.bfloat16().float(), *rest)
        tokens, half_counts = copy.deepcopy(encoder).bfloat16()(features.bfloat16().to(features_dtype), *rest)
        assert tokens.dtype == torch.bfloat16
        assert torch.equal(half_counts, counts)
        torch.testing.assert_close(tokens.float(), expected, atol=0.02, rtol=0.02)

    @pytest.mark.parametrize("features_dtype", [torch.bfloat16, torch.float32], ids=str)
    def test_autocast(self, features_dtype):
        encoder = make_encoder()
        features, *rest = make_batch([7, 1, 4])
        features = features.bfloat16().to(features_dtype)
        expected, counts = encoder(features.float(), *rest)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens, half_counts = encoder(features, *rest)
        assert tokens.dtype == torch.bfloat16
        assert torch.equal(half_counts, counts)
        torch.testing.assert_close(tokens.float(), expected, atol=0.02, rtol=0.02)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
    def test_gradients_reach_weights_and_features(self, dtype):
        encoder = make_encoder().to(dtype)
        features, masks, frames, lengths = make_batch([7, 1, 4], num_frames=8)
        frames = frames.clamp(max=5)  # frames 6 and 7 carry no mask
        features = features.to(dtype).requires_grad_()
        encoder(features, masks, frames, lengths).tokens.float().square().sum().backward()
        for name, parameter in encoder.named_parameters():
            assert parameter.grad.abs().sum() > 0, name
        seen = torch.zeros(features.shape[:3], dtype=torch.bool)
        for mask, frame in zip(masks, frames, strict=True):
            seen[frame] |= mask
        assert torch.equal(features.grad.abs().sum(dim=-1) > 0, seen)

    def test_gradient_in_float64(self):
        encoder = make_encoder().double()
        features, masks, frames, lengths = make_batch([5, 2], num_frames=3)
        features = features.double().requires_grad_()
        assert torch.autograd.gradcheck(lambda f: encoder(f, masks, frames, lengths).tokens, features)

    @pytest.mark.parametrize("lengths", [[], [0, 0]])
    @pytest.mark.parametrize("num_frames", [0, 2])
    def test_no_masks(self, lengths, num_frames):
        """As in a training step whose samples have no region: the weights get a gradient of zero, not none."""
        encoder = make_encoder()
        features, masks, frames, lengths = make_batch([0] * len(lengths), num_frames=max(num_frames, 1))
        tokens, counts = encoder(features[:num_frames], masks, frames, lengths)
        assert tokens.shape == (0, 10)
        assert torch.equal(counts, lengths)
        tokens.sum().backward()
        for parameter in encoder.parameters():
            assert torch.equal(parameter.grad, torch.zeros_like(parameter))

    @staticmethod
    def compare_compiled(backend, batches):
        torch._dynamo.reset()
        encoder = make_encoder()
        compiled = torch.compile(encoder, backend=backend)
        for number, (lengths, num_frames) in enumerate(batches):
            features, *rest = make_batch(lengths, num_frames, seed=number)
            gradients = []
            for module in (encoder, compiled):
                leaf = features.clone().requires_grad_()
                tokens, counts = module(leaf, *rest)
                tokens.square().sum().backward()
                gradients.append((tokens.detach(), counts, leaf.grad))
            for expected, found in zip(*gradients, strict=True):
                torch.testing.assert_close(found, expected, **CLOSE)

    @pytest.mark.slow
    def test_compiled(self):
        self.compare_compiled("eager", [([3, 1], 4), ([9, 2, 5], 7), ([1], 2), ([0, 16], 3)])

    @pytest.mark.slow
    def test_compiled_by_inductor(self):
        self.compare_compiled("inductor", [([3, 1], 4), ([9, 2, 5], 7), ([1], 2), ([0, 16], 3)])

    @needs_gpu
    def test_cuda(self):
        encoder = make_encoder()
        video = random_masks(0, 12, 90, 160)
        features, _, frames, lengths = make_batch([7, 1, 4])
        on_cpu = resize_masks(video, (3, 4))
        on_gpu = resize_masks(video.cuda(), (3, 4))
        assert torch.equal(on_gpu.cpu(), on_cpu)
        expected, counts = encoder(features, on_cpu, frames, lengths)
        tokens, gpu_counts = encoder.cuda()(features.cuda(), on_gpu, frames.cuda(), lengths.cuda())
        assert tokens.is_cuda
        assert torch.equal(gpu_counts.cpu(), counts)
        torch.testing.assert_close(tokens.cpu(), expected, atol=1e-3, rtol=1e-3)
        similarities, joined = adjacent_similarity(pool_masks(features, on_cpu, frames), lengths, 3)
        pooled = pool_masks(features.cuda(), on_gpu, frames.cuda())
        gpu_similarities, gpu_joined = adjacent_similarity(pooled, lengths.cuda(), 3)
        assert torch.equal(gpu_joined.cpu(), joined)
        torch.testing.assert_close(gpu_similarities.cpu(), similarities, atol=1e-3, rtol=1e-3)

    @pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
    @pytest.mark.parametrize("density", [1.0, 0.1])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_sums_do_not_overflow_where_features_are_large(self, dtype, density, device):
        """Features of half precision near its end, of which two add up to infinity."""
        features = (60000 - 4000 * torch.rand(3, 27, 27, 6, generator=seeded(0))).to(dtype)
        masks = torch.rand(9, 27, 27, generator=seeded(1)) < density
        frames, lengths = torch.arange(9) % 3, torch.tensor([8, 1])
        pooled = pool_masks(features.to(device), masks.to(device), frames.to(device))
        torch.testing.assert_close(pooled.cpu(), pool_by_loop(features, masks, frames).float(), atol=0, rtol=1e-5)
        merged, _ = merge_tokens(pooled.to(dtype), lengths.to(device), 2)
        assert merged.isfinite().all()
        assert adjacent_similarity(pooled.to(dtype), lengths.to(device), 2)[0].min() > 0.9

    def test_state_dict(self):
        shapes = {key: tuple(value.shape) for key, value in make_encoder().state_dict().items()}
        assert shapes == {
            "projector.0.weight": (10, 6),
            "projector.0.bias": (10,),
            "projector.2.weight": (10, 10),
            "projector.2.bias": (10,),
        }

    @pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
    def test_copies_are_independent(self, duplicate):
        encoder, batch = make_encoder(), make_batch([5, 2])
        expected = encoder(*batch).tokens
        twin = duplicate(encoder)
        assert twin.config == encoder.config
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter.zero_()
        assert torch.equal(twin(*batch).tokens, expected)


class TestConfig:
    def test_defaults_are_those_of_the_published_model(self):
        assert ObjectEncoderConfig().to_dict() == {
            "vision_hidden_size": 1152,
            "hidden_size": 3584,
            "max_tokens_per_region": 4,
            "projector_depth": 2,
        }

    def test_round_trip(self):
        config = ObjectEncoderConfig(16, 40, max_tokens_per_region=8, projector_depth=1)
        assert ObjectEncoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config

    @pytest.mark.parametrize("value", [0, -1, 2.0, "4", None, True])
    @pytest.mark.parametrize(
        "field", ["vision_hidden_size", "hidden_size", "max_tokens_per_region", "projector_depth"]
    )
    def test_sizes_are_positive_integers(self, field, value):
        for build in (
            lambda: ObjectEncoderConfig(**{field: value}),
            lambda: ObjectEncoderConfig.from_dict({field: value}),
        ):
            with pytest.raises(ConfigurationError) as caught:
                build()
            assert str(caught.value) == (
                f"ObjectEncoderConfig.{field} must be a positive integer, but {value!r} was given."
            )

    def test_unknown_settings(self):
        with pytest.raises(ConfigurationError) as caught:
            ObjectEncoderConfig.from_dict({"hidden_size": 8, "depth": 3, "colour": "red"})
        assert "colour, depth" in str(caught.value)
        assert "projector_depth" in str(caught.value)


def encode(features=(2, 3, 4, 6), masks=(5, 3, 4), frames=(0, 1, 0, 1, 1), lengths=(3, 2)):
    return make_encoder()(torch.zeros(features), torch.zeros(masks), torch.tensor(frames), torch.tensor(lengths))


def pool(features=(2, 3, 4, 6), masks=(5, 3, 4), frames=(0, 1, 0, 1, 1)):
    frames = torch.tensor(frames) if isinstance(frames, tuple) else frames
    return pool_masks(torch.zeros(features), torch.zeros(masks), frames)


def merge(tokens=(5, 6), lengths=(3, 2), max_tokens=2, way=merge_tokens):
    return way(torch.zeros(tokens), torch.tensor(lengths), max_tokens)


def compare(**changes):
    return merge(**changes, way=adjacent_similarity)


NAN_MASKS = torch.zeros(2, 8, 8).index_fill(2, torch.tensor([3]), torch.nan)
BAD_INPUT = {
    "policy": (lambda: resize_masks(torch.zeros(1, 8, 8), 4, "drop"), "Unknown mask policy 'drop'; .*'keep', 'orig"),
    "policy in capitals": (lambda: resize_masks(torch.zeros(1, 8, 8), 4, "Keep"), "Unknown mask policy 'Keep'"),
    "grid 0": (lambda: resize_masks(torch.zeros(1, 8, 8), 0), "whole number of cells, .*but 0 was given"),
    "grid without rows": (lambda: resize_masks(torch.zeros(1, 8, 8), (0, 4)), r"but \(0, 4\) was given"),
    "grid without columns": (lambda: resize_masks(torch.zeros(1, 8, 8), (4, 0)), r"but \(4, 0\) was given"),
    "negative grid": (lambda: resize_masks(torch.zeros(1, 8, 8), -3), "but -3 was given"),
    "one mask alone": (lambda: resize_masks(torch.zeros(8, 8), 4), r"\(num_masks, height, width\).* \(8, 8\)"),
    "masks with channels": (lambda: resize_masks(torch.zeros(2, 1, 8, 8), 4), r"have shape \(2, 1, 8, 8\)"),
    "masks with NaN": (lambda: resize_masks(NAN_MASKS, 4), "masks hold NaN"),
    "half masks with NaN": (lambda: resize_masks(NAN_MASKS.half(), 4, "original"), "masks hold NaN"),
    "masks of 8 bits": (lambda: resize_masks(torch.zeros(1, 8, 8).to(torch.float8_e4m3fn), 4), "float8_e4m3fn"),
    "complex masks": (lambda: resize_masks(torch.zeros(1, 8, 8, dtype=torch.complex64), 4), "complex64"),
    "masks that are no tensor": (lambda: resize_masks([[[1]]], 4), "masks must be a torch.Tensor, but is a list"),
    "masks without rows": (lambda: resize_masks(torch.zeros(2, 0, 8), 4), r"one row.*have shape \(2, 0, 8\)"),
    "masks without columns": (lambda: resize_masks(torch.zeros(2, 8, 0), 4), r"one row.*have shape \(2, 8, 0\)"),
    "features without grid": (lambda: pool(features=(2, 12, 6)), r"features must have.* have shape \(2, 12, 6\)"),
    "features with batch": (lambda: pool(features=(1, 2, 3, 4, 6)), r"features must have.* \(1, 2, 3, 4, 6\)"),
    "flat masks": (lambda: pool(masks=(5, 12)), r"masks must have shape \(num_masks, 3, 4\).* \(5, 12\)"),
    "masks at video size": (lambda: pool(masks=(5, 48, 85)), r"\(5, 48, 85\); resize_masks brings"),
    "transposed masks": (lambda: pool(masks=(5, 4, 3)), r"masks must have shape \(num_masks, 3, 4\).* \(5, 4, 3\)"),
    "too few frame numbers": (lambda: pool(frames=(0, 1)), r"each of the 5 masks, but has shape \(2,\)"),
    "nested frame numbers": (lambda: pool(frames=((0, 1, 0, 1, 1),)), r"5 masks, but has shape \(1, 5\)"),
    "frame numbers in float": (lambda: pool(frames=torch.zeros(5)), "dtype torch.float32"),
    "frame numbers in bool": (lambda: pool(frames=torch.zeros(5, dtype=torch.bool)), "dtype torch.bool"),
    "frame too high": (lambda: pool(frames=(0, 1, 2, 1, 1)), r"names frames 0 to 2, but features hold 2 frame"),
    "negative frame": (lambda: pool(frames=(0, 1, -1, 1, 1)), "names frames -1 to 1"),
    "no frames": (lambda: pool(features=(0, 3, 4, 6)), "features hold 0 frame"),
    "no unions": (lambda: merge(max_tokens=0), "max_tokens must be at least 1, but 0"),
    "negative unions": (lambda: merge(max_tokens=-2), "max_tokens must be at least 1, but -2"),
    "tokens with batch": (lambda: merge(tokens=(1, 5, 6)), r"\(sum\(lengths\), dim\).* \(1, 5, 6\) and \(2,\)"),
    "nested lengths": (lambda: merge(lengths=((3, 2),)), r"have shapes \(5, 6\) and \(1, 2\)"),
    "one length alone": (lambda: merge(lengths=5), r"have shapes \(5, 6\) and \(\)"),
    "negative length": (lambda: merge(lengths=(6, -1)), r"must not be negative, but are \[6, -1\]"),
    "lengths too large": (lambda: merge(lengths=(3, 3)), "add up to 6, but there are 5 tokens"),
    "lengths too small": (lambda: merge(lengths=(3,)), "add up to 3, but there are 5 tokens"),
    "no unions to compare for": (lambda: compare(max_tokens=0), "max_tokens must be at least 1, but 0"),
    "compared: tokens with batch": (lambda: compare(tokens=(1, 5, 6)), r"\(sum\(lengths\), dim\).* \(1, 5, 6\)"),
    "compared: lengths too large": (lambda: compare(lengths=(3, 3)), "add up to 6, but there are 5 tokens"),
    "other vision tower": (lambda: encode(features=(2, 3, 4, 8)), "8 wide, .*vision tower of width 6"),
    "encoder: features without grid": (lambda: encode(features=(2, 12, 6)), "features must have shape"),
    "encoder: masks at video size": (lambda: encode(masks=(5, 48, 85)), "resize_masks brings"),
    "encoder: too few masks": (lambda: encode(masks=(4, 3, 4)), "region_lengths add up to 5, but there are 4 masks"),
    "encoder: too many masks": (lambda: encode(lengths=(3, 1)), "region_lengths add up to 4, but there are 5 masks"),
    "encoder: frame too high": (lambda: encode(frames=(0, 1, 0, 1, 7)), "names frames 0 to 7"),
    "encoder: negative length": (lambda: encode(lengths=(7, -2)), r"must not be negative, but are \[7, -2\]"),
    "encoder: nested lengths": (lambda: encode(lengths=((3, 2),)), r"lengths \(num_regions,\)"),
}
NOT_FINITE = {"NaN": torch.nan, "infinity": torch.inf, "infinity below zero": -torch.inf}
SETTINGS = ("policy", "grid", "negative grid", "no unions", "negative unions")


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(name):
    call, message = BAD_INPUT[name]
    error = ConfigurationError if name.startswith(SETTINGS) else TensorError
    with pytest.raises(error, match=message) as caught:
        call()
    assert isinstance(caught.value, VideoReferError)
    assert isinstance(caught.value, ValueError)


def spoiled(shape, value, dtype, row):
    values = torch.zeros(shape, dtype=dtype)
    values[row].view(-1)[-1] = value
    return values


DOORS = {
    "encoder, features": lambda spoil: make_encoder()(spoil((4, 3, 4, 6)), *FITTING),
    "encoder, masks": lambda spoil: make_encoder()(torch.zeros(2, 3, 4, 6), spoil((5, 3, 4)), *FITTING[1:]),
    "pool_masks, features": lambda spoil: pool_masks(spoil((4, 3, 4, 6)), *FITTING[:2]),
    "pool_masks, masks": lambda spoil: pool_masks(torch.zeros(2, 3, 4, 6), spoil((5, 3, 4)), FITTING[1]),
    "merge_tokens": lambda spoil: merge_tokens(spoil((5, 6)), FITTING[2], 2),
    "adjacent_similarity": lambda spoil: adjacent_similarity(spoil((5, 6)), FITTING[2], 2),
    "from_pooled": lambda spoil: make_encoder().from_pooled(spoil((5, 6)), FITTING[2]),
}
FITTING = torch.ones(5, 3, 4), torch.tensor([0, 1, 0, 1, 1]), torch.tensor([3, 2])


@pytest.mark.spread(28)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", NOT_FINITE)
@pytest.mark.parametrize("door", DOORS)
def test_nan_and_infinity_are_refused_wherever_they_stand(door, value, dtype):
    with pytest.raises(TensorError, match=rf"hold {value.split()[0]} at index 3 of their first dimension"):
        DOORS[door](lambda shape: spoiled(shape, NOT_FINITE[value], dtype, 3))
    assert DOORS[door](lambda shape: spoiled(shape, torch.finfo(dtype).max, dtype, 1)) is not None


def test_nan_is_passed_on_where_it_is_not_looked_for():
    features = spoiled((2, 3, 4, 6), torch.nan, torch.float32, 1)
    tokens, counts = make_encoder()(features, *FITTING, values=False)
    assert counts.tolist() == [3, 2]
    assert tokens.isnan().any()


@pytest.mark.parametrize("place", range(4))
def test_encoder_takes_tensors_alone(place):
    given = [torch.zeros(2, 3, 4, 6), *FITTING]
    given[place] = given[place].tolist()
    with pytest.raises(TensorError, match=r"must be a torch.Tensor, but is a list"):
        make_encoder()(*given)


def test_importing_is_light():
    program = (
        "import sys, videorefer_plugin.object_encoder; "
        "print([name for name in ('transformers', 'timm', 'av') if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_integers_of_every_width(dtype):
    features, masks = torch.randn(3, 2, 2, 4), torch.rand(5, 2, 2) > 0.3
    frames, lengths = torch.tensor([0, 1, 2, 2, 0]), torch.tensor([2, 3])
    pooled = pool_masks(features, masks, frames)
    assert torch.equal(pool_masks(features, masks, frames.to(dtype)), pooled)
    for found, expected in zip(
        merge_tokens(pooled, lengths.to(dtype), 2), merge_tokens(pooled, lengths, 2), strict=True
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("grid", [(7,), 7.0, (2.5, 3), (1, 2, 3), "77", 0, (3, 0), None])
def test_grids_that_are_none(grid):
    with pytest.raises(ConfigurationError, match="grid"):
        resize_masks(torch.ones(1, 4, 4), grid)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool])
def test_lengths_that_count_nothing(dtype):
    with pytest.raises(TensorError, match="integer"):
        merge_tokens(torch.randn(2, 4), torch.ones(2, dtype=dtype), 2)
