"""The object encoder that looks at crops: the crop path, k-means, and the tokens of every mask."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from videorefer_plugin.errors import ConfigurationError, TensorError
from videorefer_plugin.object_encoder import (
    CropEncoder,
    CropEncoderConfig,
    CropRule,
    ObjectEncoderConfig,
    build_encoder,
    object_cells,
    read_encoder_config,
    resize_crop,
)

GOLDENS = Path(__file__).parent / "data" / "goldens_videollama3"
HEADS = json.loads((GOLDENS / "object_encoder/cases.json").read_text())
CROPS = json.loads((GOLDENS / "region_crops/cases.json").read_text())
CLOSE = {"atol": 2e-5, "rtol": 1e-4}
SOUND = [case for case in CROPS["cases"] if not case["name"].startswith("upstream_odd")]


def named(case):
    return case["name"]


@pytest.fixture(scope="module")
def encoder():
    config = CropEncoderConfig(HEADS["vision_hidden_size"], HEADS["hidden_size"])
    made = CropEncoder(config)
    weights = load_file(GOLDENS / "object_encoder/weights.safetensors")
    made.load_state_dict({name.replace("feat_linear", "projector"): value for name, value in weights.items()})
    return made.eval()


def small_encoder(**settings):
    torch.manual_seed(0)
    return CropEncoder(CropEncoderConfig(6, 5, **settings)).eval()


def packed(features, masks):
    """Crops and masks of any size, one after the other."""
    grids, mask_grids = (torch.tensor([each.shape[:2] for each in part]) for part in (features, masks))
    return (
        torch.cat([each.flatten(0, 1) for each in features]),
        grids,
        torch.cat([each.flatten() for each in masks]),
        mask_grids,
    )


# ---------------------------------------------------------------------- the head, against the original


@pytest.mark.parametrize("case", HEADS["cases"], ids=named)
def test_tokens_are_those_of_the_original(case, encoder):
    tensors = load_file(GOLDENS / "object_encoder" / case["file"])
    number = len(case["token_nums"])
    features = [tensors[f"features.{index}"] for index in range(number)]
    masks = [tensors[f"mask.{index}"] for index in range(number)]
    cells, real = object_cells(*packed(features, masks))
    output = encoder(cells, real, torch.ones(number, dtype=torch.long), case["kmeans_initial_rows"])
    assert output.counts.tolist() == case["token_nums"]
    torch.testing.assert_close(output.tokens, tensors["region_tokens"], **CLOSE)


def test_regions_of_several_masks_count_all_their_tokens(encoder):
    cells = torch.randn(4, 20, 24)
    masks = torch.arange(20) < torch.tensor([[3], [20], [12], [1]])
    output = encoder(cells, masks, torch.tensor([2, 0, 1, 1]))
    assert output.counts.tolist() == [13, 0, 10, 1]
    assert [len(tokens) for tokens in output.split()] == [13, 0, 10, 1]


# ---------------------------------------------------------------------- k-means


def test_answers_do_not_change_from_run_to_run(encoder):
    torch.manual_seed(1)
    cells, masks, lengths = torch.randn(3, 60, 24), torch.ones(3, 60), torch.tensor([3])
    first = encoder(cells, masks, lengths).tokens
    torch.manual_seed(2)
    torch.testing.assert_close(encoder(cells, masks, lengths).tokens, first, rtol=0, atol=0)


def test_a_mask_alone_has_the_tokens_that_it_has_among_others(encoder):
    cells, masks = torch.randn(3, 60, 24), torch.arange(60) < torch.tensor([[60], [11], [4]])
    together = encoder(cells, masks, torch.tensor([1, 1, 1])).split()
    for mask, tokens in enumerate(together):
        alone = encoder(cells[mask : mask + 1, : masks[mask].sum()], masks[mask, masks[mask]][None], torch.tensor([1]))
        torch.testing.assert_close(alone.tokens, tokens, rtol=1e-5, atol=1e-6)


def test_the_fixed_start_takes_the_middles_of_equal_stretches(encoder):
    cells, masks, lengths = torch.randn(1, 40, 24), torch.ones(1, 40), torch.tensor([1])
    given = encoder(cells, masks, lengths, [[2, 6, 10, 14, 18, 22, 26, 30, 34, 38]])
    torch.testing.assert_close(encoder(cells, masks, lengths).tokens, given.tokens)


def test_gradients_reach_every_cell_of_the_object_and_no_other():
    encoder = small_encoder(max_tokens_per_mask=3)
    cells = torch.randn(2, 15, 6, requires_grad=True)
    masks = torch.arange(15) < torch.tensor([[15], [2]])
    encoder(cells, masks, torch.tensor([1, 1])).tokens.square().sum().backward()
    assert cells.grad.abs().sum(-1).gt(0).equal(masks)


def test_one_graph_without_breaks_gives_the_same_tokens():
    encoder = small_encoder(max_tokens_per_mask=4)
    cells, masks = torch.randn(3, 12, 6), torch.arange(12) < torch.tensor([[12], [2], [7]])
    lengths = torch.tensor([1, 2])
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    tokens, counts = compiled(cells, masks, lengths, static=True)
    expected = encoder(cells, masks, lengths)
    assert counts.tolist() == expected.counts.tolist() == [4, 6]
    torch.testing.assert_close(tokens[:10], expected.tokens)


def test_k_means_under_autocast_runs_in_float32():
    encoder = small_encoder(max_tokens_per_mask=4)
    cells, masks, lengths = torch.randn(1, 30, 6), torch.ones(1, 30), torch.tensor([1])
    with torch.autocast("cpu", torch.bfloat16):
        tokens = encoder(cells, masks, lengths).tokens
    assert tokens.dtype == torch.bfloat16
    torch.testing.assert_close(tokens.float(), encoder(cells, masks, lengths).tokens, atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    ("initial", "says"),
    [
        ([[0, 1, 2]], "2 mask"),
        ([[0, 1, 2], [0, 1]], "mask 1"),
        ([[0, 1, 2], [0, 1, 1]], "mask 1"),
        ([[0, 1, 15], None], "0\\s+to 14"),
        ("all", "one list"),
    ],
)
def test_initial_cells_that_do_not_fit_are_refused(initial, says):
    encoder = small_encoder(max_tokens_per_mask=3)
    with pytest.raises(TensorError, match=says):
        encoder(torch.randn(2, 15, 6), torch.ones(2, 15), torch.tensor([2]), initial)


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.randn(2, 15, 7), torch.ones(2, 15), torch.tensor([2])),
        (torch.randn(2, 15, 6), torch.ones(2, 14), torch.tensor([2])),
        (torch.randn(2, 15, 6), torch.ones(2, 15), torch.tensor([3])),
        (torch.randn(2, 15, 6), torch.ones(2, 15), torch.tensor([2.0])),
        (torch.full((2, 15, 6), torch.nan), torch.ones(2, 15), torch.tensor([2])),
    ],
)
def test_tensors_that_do_not_fit_are_refused(arguments):
    with pytest.raises(TensorError):
        small_encoder()(*arguments)


# ---------------------------------------------------------------------- crops, against the original


@pytest.mark.spread(4)
@pytest.mark.parametrize("case", SOUND, ids=named)
def test_crops_are_those_of_the_original(case):
    tensors = load_file(GOLDENS / "region_crops" / case["file"])
    rule = CropRule(max_pixels=CROPS["max_pixels_of_the_processor"] // 4, min_pixels=CROPS["min_pixels"])
    image = tensors["image"]
    for number, wanted in enumerate(case["objects"]):
        budget = rule.max_pixels // len(case["objects"])
        crop = rule.crop(tensors["masks"][number], image.shape[:2], "original", max_pixels=budget)
        assert list(crop.box) == wanted["crop_box_yxyx"]
        assert crop.resized == tuple(wanted["resized_wh"][::-1])
        assert [1, *(side // 14 for side in crop.shown)] == wanted["inference_grid_thw"]
        assert torch.equal(crop.cells.byte(), tensors[f"mask_grid.{number}"])
        top, left, bottom, right = crop.box
        resized = resize_crop(image[top:bottom, left:right], crop.resized)
        if f"resized_crop.{number}" in tensors:
            assert torch.equal(resized, tensors[f"resized_crop.{number}"])
        else:
            assert torch.equal(resized[::23, ::23], tensors[f"resized_crop_every_23rd.{number}"])
        training = rule.crop(tensors["masks"][number], image.shape[:2], "original")
        assert [1, *(side // 14 for side in training.shown)] == wanted["training_grid_thw"]


@pytest.mark.parametrize("case", SOUND, ids=named)
def test_tokens_are_counted_as_in_the_original(case):
    tensors = load_file(GOLDENS / "region_crops" / case["file"])
    config, size = CropEncoderConfig(), tuple(tensors["image"].shape[:2])
    wanted = [each["placeholders"] for each in case["objects"]]
    masks = tensors["masks"]
    assert config.count_tokens([[mask] for mask in masks], [size] * len(masks), "original") == wanted
    assert config.count_tokens([masks], [size], "original") == [sum(wanted)]
    assert config.count_groups([masks], [size], "original") == [wanted]


def test_the_text_in_the_place_of_a_region_has_a_bracket_for_each_mask():
    assert CropEncoderConfig().placeholder("<REGION>", 2) == "[<REGION><REGION>]"
    assert ObjectEncoderConfig().placeholder("<region>", 3) == "<region>" * 3


@pytest.mark.parametrize("size", [(7, 300), (300, 7), (1, 1), (64, 96), (128, 192), (35, 47)])
def test_a_resized_flat_picture_stays_flat(size):
    picture = torch.full((64, 96, 3), 137, dtype=torch.uint8)
    assert resize_crop(picture, size).unique().tolist() == [137]
    assert resize_crop(picture, size).shape == (*size, 3)


def test_a_resized_picture_is_close_to_exact_bilinear_interpolation():
    picture = torch.randint(256, (50, 70, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for size in [(131, 97), (50, 35), (112, 112)]:
        exact = F.interpolate(picture.permute(2, 0, 1)[None].double(), size=size, mode="bilinear")[0].permute(1, 2, 0)
        assert (resize_crop(picture, size).double() - exact).abs().max() <= 1.5


# ---------------------------------------------------------------------- what users would expect of small objects


def line(height=100, width=120):
    mask = np.zeros((height, width), dtype=bool)
    mask[50, 3:115] = True
    return mask


def dots(height=100, width=120):
    mask = np.zeros((height, width), dtype=bool)
    mask[10:90:7, 10:110:7] = True
    return mask


@pytest.mark.parametrize("mask", [line(), dots()], ids=["line", "dots"])
def test_thin_and_sparse_objects_have_a_token(mask):
    config = CropEncoderConfig()
    assert config.count_tokens([[mask]], [mask.shape], "original") == [0]
    assert config.count_tokens([[mask]], [mask.shape])[0] >= 1


def test_a_mask_without_a_pixel_is_an_error_under_both_policies():
    for policy in ("keep", "original"):
        with pytest.raises(TensorError, match="no pixel"):
            CropEncoderConfig().count_tokens([[np.zeros((20, 30))]], [(20, 30)], policy)


def test_every_positive_value_of_a_mask_counts():
    mask = np.zeros((90, 120), dtype=np.uint8)
    mask[20:60, 30:80] = 1
    crops = [
        CropRule().crop(given, mask.shape)
        for given in (mask, mask * 255, mask.astype(bool), mask * np.float32(0.3), torch.from_numpy(mask))
    ]
    for crop in crops[1:]:
        assert crop[:3] == crops[0][:3]
        assert torch.equal(crop.cells, crops[0].cells)


def test_a_mask_of_another_size_than_its_frame_is_refused():
    with pytest.raises(TensorError, match="frame is 90 high and 120 wide"):
        CropRule().crop(np.ones((120, 90)), (90, 120))


def test_small_objects_are_enlarged_up_to_a_limit():
    mask = np.zeros((100, 120), dtype=bool)
    mask[50, 60] = True
    assert CropRule().crop(mask, mask.shape, "original").resized == (2520, 2520)
    kept = CropRule().crop(mask, mask.shape)
    assert kept.resized == kept.shown == (448, 448)
    assert kept.cells.sum() == 1


def test_the_crop_of_an_object_does_not_depend_on_the_budget_of_others():
    mask = np.zeros((300, 400), dtype=bool)
    mask[100:200, 100:220] = True
    alone = CropEncoderConfig().count_tokens([[mask]], [mask.shape])
    assert CropEncoderConfig().count_tokens([[mask]] * 3, [mask.shape] * 3) == alone * 3


def test_what_the_tower_sees_has_the_grid_of_the_mask_with_keep():
    rule = CropRule(max_pixels=40000)
    for seed in range(20):
        generator = np.random.default_rng(seed)
        mask = np.zeros(generator.integers(1, 700, 2), dtype=bool)
        top, left = (int(generator.integers(side)) for side in mask.shape)
        mask[top : top + int(generator.integers(1, 300)), left : left + int(generator.integers(1, 300))] = True
        crop = rule.crop(mask, mask.shape)
        assert crop.cells.any()
        assert crop.resized == crop.shown == tuple(14 * side for side in crop.cells.shape)
        assert crop.shown[0] * crop.shown[1] <= 40000 or min(crop.shown) == 14
        assert crop.box[2] > crop.box[0]
        assert crop.box[3] > crop.box[1]


# ---------------------------------------------------------------------- configuration


def test_a_configuration_says_which_encoder_it_builds():
    config = CropEncoderConfig(6, 5, max_tokens_per_mask=3)
    again = read_encoder_config(config.to_dict())
    assert again == config
    assert isinstance(build_encoder(again), CropEncoder)
    plain = read_encoder_config({"max_tokens_per_region": 2}, hidden_size=7)
    assert plain == ObjectEncoderConfig(hidden_size=7, max_tokens_per_region=2)


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "guessing"},
        {"kind": "crop", "max_tokens_per_region": 4},
        {"kind": "crop", "patch_size": 0},
        4,
        {"kind": "crop", "max_crop_pixels": 5},
    ],
)
def test_settings_of_no_encoder_are_refused(values):
    with pytest.raises(ConfigurationError):
        read_encoder_config(values)
