import copy
import io
import json
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco
from safetensors.numpy import load_file

from tests import media
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions import (
    ABSENT,
    POINT_RADIUS,
    SCRIBBLE_WIDTH,
    Absent,
    Box,
    Mask,
    Points,
    Polygons,
    Region,
    Rle,
    Scribble,
    Shape,
    decode_rle,
    encode_rle,
    kinds,
    read_annotation,
    text,
)

GOLDENS = Path(__file__).parent / "data" / "goldens" / "object_encoder"
MASK = np.array([[0, 1, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]], dtype=bool)
MASK_RUNS = [3, 2, 1, 1, 4, 1]
COMPRESSED = encode_rle(MASK)
MASK48 = np.zeros((48, 64), np.uint8)
MASK48[9:30, 20:40] = 1
TRIANGLE = [(1.0, 1.0), (7.0, 1.0), (1.0, 7.0)]

# pycocotools 2.0.11 decodes in a way that NumPy 2 warns about; here only to compare with.
THEIR_WARNING = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

bitmaps = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40))


def runs_of(mask):
    """Run lengths in column order, written independently of the module."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def in_pixels(points):
    """Whether points are no relative ones, nor those of the first pixel."""
    return not all(0 <= value <= 1 for point in points for value in point)


def centres(height, width):
    rows, columns = np.mgrid[:height, :width]
    return columns + 0.5, rows + 0.5


# --- decoding ----------------------------------------------------------------------------------------------------


def test_decodes_the_golden_segmentations_exactly():
    case = next(c for c in json.loads((GOLDENS / "cases.json").read_text())["cases"] if "segmentations" in c)
    expected = load_file(GOLDENS / case["file"])["masks.0"]
    records = {str(5 * i): {"segmentation": s} for i, s in enumerate(case["segmentations"])}
    region = Region.from_annotation(records)
    drawn = list(region.masks(case["height"], case["width"]))
    assert [frame for frame, _ in drawn] == [0, 5, 10, 15, 20, 25, 30, 35]
    np.testing.assert_array_equal(np.stack([mask for _, mask in drawn]), expected > 0)
    assert expected.any(axis=(1, 2)).all()


@given(bitmaps)
def test_rle_round_trips_and_agrees_with_pycocotools(mask):
    rle = encode_rle(mask)
    assert isinstance(rle["counts"], str)
    assert rle["size"] == list(mask.shape)
    height, width = mask.shape
    runs = runs_of(mask)
    for form in (
        rle,
        {**rle, "counts": rle["counts"].encode()},
        {"size": (height, width), "counts": runs},
        {"size": np.array(mask.shape), "counts": np.array(runs)},
    ):
        decoded = decode_rle(form)
        assert decoded.dtype == bool
        assert decoded.flags.c_contiguous
        np.testing.assert_array_equal(decoded, mask)
        assert Region.from_rle(form) == Region.from_mask(mask)
    theirs = coco.frPyObjects({"size": [height, width], "counts": runs}, height, width)
    assert theirs == {**rle, "counts": rle["counts"].encode()}


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20).filter(sum))
@THEIR_WARNING
def test_runs_of_length_zero_decode_as_in_pycocotools(runs):
    size = [sum(runs), 1]
    theirs = coco.frPyObjects({"size": size, "counts": runs}, *size)
    np.testing.assert_array_equal(decode_rle({"size": size, "counts": runs}), coco.decode(theirs))
    np.testing.assert_array_equal(decode_rle(theirs), coco.decode(theirs))


def test_rle_of_a_large_frame_has_long_runs():
    mask = np.zeros((2160, 3840), dtype=bool)
    mask[5:2000, 3000] = True
    mask[0, 3839] = True
    np.testing.assert_array_equal(decode_rle(encode_rle(mask)), mask)


@given(st.text(alphabet=[chr(c) for c in range(46, 114)], max_size=30), st.integers(1, 30), st.integers(1, 30))
def test_arbitrary_counts_decode_to_the_right_size_or_are_refused(counts, height, width):
    try:
        mask = decode_rle({"size": [height, width], "counts": counts})
    except RegionError:
        return
    assert mask.shape == (height, width)


@given(bitmaps, st.data())
def test_damaged_counts_are_refused_or_still_cover_the_frame(mask, data):
    rle = encode_rle(mask)
    at = data.draw(st.integers(0, len(rle["counts"]) - 1))
    digit = data.draw(st.sampled_from([chr(c) for c in range(48, 112)]))
    counts = rle["counts"][:at] + digit + rle["counts"][at + 1 :]
    try:
        decoded = decode_rle({**rle, "counts": counts})
    except RegionError:
        return
    assert decoded.shape == mask.shape
    if digit == rle["counts"][at]:
        np.testing.assert_array_equal(decoded, mask)


def test_encode_counts_any_positive_value_and_copes_with_any_memory_order():
    grey = np.asfortranarray([[0, 3], [200, 0], [-1, 0.25]])
    np.testing.assert_array_equal(decode_rle(encode_rle(grey)), grey > 0)
    np.testing.assert_array_equal(decode_rle(encode_rle(grey.T[:, ::-1])), grey.T[:, ::-1] > 0)


# --- masks of all kinds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.uint16, np.float16, np.float32, np.float64])
def test_array_masks(dtype):
    mask = Region.from_mask(MASK.astype(dtype)).mask(0, 3, 4)
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, MASK)


def test_small_positive_values_count_and_negative_ones_do_not():
    values = np.array([[1e-300, -1.0, 0.0], [np.inf, -np.inf, 255.0]])
    np.testing.assert_array_equal(Region.from_mask(values).mask(0, 2, 3), [[True, False, False], [True, False, True]])


def test_list_of_rows_is_a_mask_where_only_a_mask_is_meant():
    np.testing.assert_array_equal(Region.from_mask([[0, 1, 0], [1, 1, 0]]).mask(0, 2, 3), [[0, 1, 0], [1, 1, 0]])


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_tensor_masks(dtype):
    np.testing.assert_array_equal(Region({0: torch.from_numpy(MASK).to(dtype)}).mask(0, 3, 4), MASK)


def test_tensor_mask_with_gradient_and_strides():
    tensor = torch.tensor(MASK.T.astype(np.float32), requires_grad=True).T
    np.testing.assert_array_equal(Region.from_mask(tensor).mask(0, 3, 4), MASK)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I", "F", "I;16", "RGB"])
def test_image_masks(mode):
    if mode == "RGB":  # blue only: a grey conversion of (0, 0, 1) would round to 0
        pixels = np.zeros((3, 4, 3), np.uint8)
        pixels[MASK, 2] = 1
        image = Image.fromarray(pixels)
    elif mode in ("1", "F", "I"):
        image = Image.fromarray(MASK.astype(np.uint8) * 255).convert(mode)
    elif mode == "P":  # as in DAVIS: indices into a palette in which index 3 is black
        image = Image.fromarray(MASK.astype(np.uint8) * 3).convert("P")
        image.putdata((MASK.astype(np.uint8) * 3).ravel().tolist())
        image.putpalette([0] * 768)
    else:
        image = Image.fromarray(MASK.astype(np.uint16 if mode == "I;16" else np.uint8) * 7)
    assert image.mode == mode
    np.testing.assert_array_equal(Region({3: image}).mask(3, 3, 4), MASK)


def test_colour_array_counts_any_channel():
    colour = np.zeros((3, 4, 3))
    colour[MASK, 1] = 1
    np.testing.assert_array_equal(Region({0: colour}).mask(0, 3, 4), MASK)


SOFT = np.array([[0.0, 0.2, 0.7], [0.9, 1.0, 0.0]], np.float32)
LABELS = np.array([[0, 1, 1], [2, 2, 5]], np.uint8)
COLORS = np.array([[[0, 0, 0], [255, 0, 0], [255, 0, 0]], [[0, 0, 255], [0, 0, 255], [9, 9, 9]]], np.uint8)
PALETTE = Image.fromarray(LABELS).convert("P")
PALETTE.putdata(LABELS.ravel().tolist())
VALUES = {
    "probabilities above a threshold": (SOFT, {"threshold": 0.5}, SOFT > 0.5),
    "probabilities in half precision": (torch.from_numpy(SOFT).bfloat16(), {"threshold": 0.5}, SOFT > 0.5),
    "the threshold itself does not count": (LABELS, {"threshold": 2}, LABELS > 2),
    "a threshold below 0": (SOFT * 8 - 4, {"threshold": -3}, SOFT * 8 - 4 > -3),
    "a JPEG file": (Image.fromarray((SOFT * 255).astype(np.uint8)), {"threshold": 127}, SOFT > 0.5),
    "a JPEG file in color": (
        Image.fromarray((SOFT * 255).astype(np.uint8)).convert("RGB"),
        {"threshold": 127},
        SOFT > 0.5,
    ),
    "an object of a label map": (LABELS, {"label": 2}, LABELS == 2),
    "the background of a label map": (LABELS, {"label": 0}, LABELS == 0),
    "a label map of floats": (LABELS.astype(float), {"label": 2}, LABELS == 2),
    "a label that is not in this frame": (LABELS, {"label": 7}, LABELS == 7),
    "a palette": (PALETTE, {"label": 5}, LABELS == 5),
    "a color of a label map": (COLORS, {"label": (0, 0, 255)}, LABELS == 2),
    "a color as an array": (COLORS, {"label": np.array([0, 0, 255])}, LABELS == 2),
    "a color as a tensor": (COLORS, {"label": torch.tensor([0, 0, 255], dtype=torch.uint8)}, LABELS == 2),
    "a label as an array": (LABELS, {"label": np.array(2)}, LABELS == 2),
    "one number for a gray color": (Image.fromarray(COLORS), {"label": 9}, LABELS == 5),
    "logits": (torch.tensor([[-3.0, 0.4], [9.0, -0.1]]).half(), {}, [[False, True], [True, False]]),
    "logits as whole numbers": (np.array([[-3, 4], [9, -1]]), {"threshold": 0}, [[False, True], [True, False]]),
    "masked logits": (np.array([[-np.inf, np.inf, 0.3, -9]]), {}, [[False, True, True, False]]),
    "masked logits of nothing": (np.full((1, 2), -np.inf), {}, [[False, False]]),
    "small logits": (np.array([[-0.002, 0.3]]), {}, [[False, True]]),
    "traces below 0 of a mask of 0 and 1": (np.array([[-1e-9, 0, 1]]), {}, [[False, False, True]]),
    "traces of resizing": (np.array([[-1e-9, 0.3, 1.0001]]), {"threshold": 0.5}, [[False, False, True]]),
    "void beside one object": (np.array([[-1, 0, 1, 1]], np.int8), {}, [[False, False, True, True]]),
    "void beside several objects": (np.array([[-1, 0, 1, 2]]), {"label": 2}, [[False, False, False, True]]),
    "infinity above a threshold": (np.array([[0, np.inf]]), {"threshold": 1}, [[False, True]]),
    "one value that is large": (np.array([[0.0, 200.0]]), {}, [[False, True]]),
    "one color": (np.where(LABELS[..., None] == 2, np.array([128, 0, 64]), 0), {}, LABELS == 2),
    "black and white in color": (Image.fromarray(MASK).convert("RGB"), {}, MASK),
    "nothing": (np.zeros((2, 3)), {}, np.zeros((2, 3), bool)),
    "all of it": (np.full((2, 3), 255, np.uint8), {}, np.ones((2, 3), bool)),
}


@pytest.mark.parametrize("name", VALUES)
def test_what_counts_of_a_mask(name):
    mask, options, expected = VALUES[name]
    height, width = np.shape(expected)
    for region in (Region.from_mask(mask, 3, **options), Region({3: mask, 5: None}, **options)):
        np.testing.assert_array_equal(region.mask(3, height, width), expected)
    np.testing.assert_array_equal(Region(times={1.5: mask}, **options).at_frames(int).mask(1, height, width), expected)
    np.testing.assert_array_equal(decode_rle(encode_rle(mask, **options)), expected)


def test_the_region_keeps_its_own_pixels():
    given_mask = MASK.copy()
    region = Region.from_mask(given_mask)
    given_mask[:] = False
    first = region.mask(0, 3, 4)
    np.testing.assert_array_equal(first, MASK)
    first[:] = True
    np.testing.assert_array_equal(region.mask(0, 3, 4), MASK)


def test_rle_is_kept_as_given_and_does_not_follow_the_dict():
    rle = {"size": [3, 4], "counts": list(MASK_RUNS)}
    region = Region({0: rle})
    rle["counts"][0] = 99
    rle["size"][0] = 4
    np.testing.assert_array_equal(region.mask(0, 3, 4), MASK)
    assert Rle([3, 4], COMPRESSED["counts"]).counts == COMPRESSED["counts"]


# --- boxes -------------------------------------------------------------------------------------------------------

coordinate = st.floats(-30, 60, allow_nan=False).map(lambda v: round(v * 8) / 8)


@given(coordinate, coordinate, coordinate, coordinate, st.integers(1, 30), st.integers(1, 30))
def test_box_covers_the_pixels_whose_centres_lie_inside(x0, y0, x1, y1, height, width):
    x0, x1, y0, y1 = min(x0, x1), max(x0, x1), min(y0, y1), max(y0, y1)
    assume(in_pixels([(x0, y0), (x1, y1)]))
    if x0 == x1 or y0 == y1:
        with pytest.raises(RegionError, match="no area"):
            Region.from_box((x0, y0, x1, y1))
        return
    region = Region.from_box((x0, y0, x1, y1))
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        with pytest.raises(RegionError, match="outside the frame"):
            region.mask(0, height, width)
        return
    mask = region.mask(0, height, width)
    x, y = centres(height, width)
    columns, rows = ((x0 <= x) & (x < x1))[0], ((y0 <= y) & (y < y1))[:, 0]
    assert mask.any()
    if columns.any() and rows.any():
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
    else:  # thinner than a pixel: one row or column, and it touches the box
        covered_rows, covered_columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask.sum() == len(covered_rows) * len(covered_columns)
        assert len(covered_rows) == max(rows.sum(), 1)
        assert len(covered_columns) == max(columns.sum(), 1)
        assert (covered_columns < x1).all()
        assert (covered_columns + 1 > x0).all()
        assert (covered_rows < y1).all()
        assert (covered_rows + 1 > y0).all()


@given(st.integers(1, 20), st.integers(2, 20), st.data())
def test_neighbouring_boxes_share_no_pixel_and_leave_no_gap(height, width, data):
    cut = data.draw(st.floats(0.5, width - 0.5, exclude_min=True))  # each side has a centre of a pixel
    left = Region.from_box((-1, 0, cut, height)).mask(0, height, width)
    right = Region.from_box((cut, 0, width + 1, height)).mask(0, height, width)
    np.testing.assert_array_equal(left, ~right)


def test_whole_frame_box_and_clipping():
    assert Region.from_box((0, 0, 7, 5)).mask(0, 5, 7).all()
    assert Region.from_box((-1e30, -5, 1e30, 100)).mask(0, 5, 7).all()
    expected = np.zeros((5, 7), bool)
    expected[3:, 4:] = True
    np.testing.assert_array_equal(Region.from_box((4, 3, 9, 9)).mask(0, 5, 7), expected)


@pytest.mark.parametrize("box", [(1, 2, 4, 5), [1, 2, 4, 5], np.array([1, 2, 4, 5]), torch.tensor([1.0, 2, 4, 5])])
def test_box_inputs(box):
    region = Region.from_box(box, 3)
    assert region == Region({3: (1, 2, 4, 5)}) == Region({3: Box(1, 2, 4, 5)})
    assert region.mask(3, 6, 6).sum() == 9


@pytest.mark.parametrize(
    "make",
    [
        lambda: Region({4: (0, 0, 1, 1)}),
        lambda: Region.from_box((0.0, 0, 1, 1)),
        lambda: Box(0, 0, 1, 1),
        lambda: Region.from_polygon([(0, 0), (1, 0), (1, 1), (0, 1)]),
        lambda: Region.from_scribble([(0, 0), (1, 1)]),
    ],
)
def test_what_may_be_relative_to_the_frame_is_warned_about_once(make):
    with pytest.warns(UserWarning, match=r"first pixel .*width .*height") as warned:
        shape = make()
    assert [warning.filename for warning in warned] == [__file__]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if isinstance(shape, Region):
            assert shape.mask(*shape.frames, 9, 9).any()
        for pixels in [(0, 0, 1, 2), (0, 0, 2, 1), (1, 0, 2, 1), (-1, 0, 1, 1), (-0.5, 0.2, 0.9, 0.9)]:
            Region.from_box(pixels)
        for point in [(0, 0), (1, 1), (0, 1), [(0.5, 0.5), (3, 3)]]:
            Region.from_points(point)


# --- polygons ----------------------------------------------------------------------------------------------------


@given(
    st.sampled_from([5, 60, 3000]).flatmap(
        lambda far: st.lists(
            st.lists(st.tuples(st.floats(-far, far), st.floats(-far, far)), min_size=3, max_size=9),
            min_size=1,
            max_size=3,
        )
    ),
    st.integers(1, 40),
    st.integers(1, 40),
)
@THEIR_WARNING
def test_polygons_fill_as_pycocotools_does(parts, height, width):
    """On the frame, partly outside and far outside; most of these polygons cross themselves."""
    assume(in_pixels([point for part in parts for point in part]))
    assume(len(parts) == 1 or len({0, *np.concatenate(parts).ravel()}) > 2)  # unlike rows of a mask
    flat = [[value for point in part for value in point] for part in parts]
    expected = coco.decode(coco.merge(coco.frPyObjects(flat, height, width)))
    np.testing.assert_array_equal(Region({0: flat}).mask(0, height, width), expected)
    np.testing.assert_array_equal(Region.from_polygon(parts).mask(0, height, width), expected)
    assert Polygons(parts).area(height, width) == expected.sum()


@pytest.mark.parametrize(
    "points",
    [
        TRIANGLE,
        [1, 1, 7, 1, 1, 7],
        [[1, 1, 7, 1, 1, 7]],
        [TRIANGLE],
        tuple(TRIANGLE),
        np.array(TRIANGLE),
        np.array([[1, 1, 7, 1, 1, 7]]),
        np.array([TRIANGLE]),
        [np.array(TRIANGLE).reshape(3, 1, 2)],  # a contour of OpenCV
        torch.tensor(TRIANGLE),
    ],
)
def test_polygon_inputs(points):
    region = Region.from_polygon(points)
    assert region == Region({0: Polygons(TRIANGLE)}) == Region({0: TRIANGLE})
    assert region.mask(0, 9, 9).sum() == coco.area(coco.frPyObjects([[1, 1, 7, 1, 1, 7]], 9, 9)[0])


def test_four_pairs_are_a_polygon_and_four_numbers_a_box():
    square = ((1, 1), (5, 1), (5, 4), (1, 4))
    assert isinstance(Region({0: square}).shape(0), Polygons)
    assert isinstance(Region({0: (1, 1, 5, 4)}).shape(0), Box)


def test_overlapping_and_separate_parts_are_joined():
    left, right = [1, 1, 4, 1, 4, 4, 1, 4], [6, 6, 9, 6, 9, 9, 6, 9]
    both = Region.from_polygon([left, right, left]).mask(0, 12, 12)
    separate = [Region.from_polygon(part).mask(0, 12, 12) for part in (left, right)]
    np.testing.assert_array_equal(both, separate[0] | separate[1])


# --- points and scribbles ----------------------------------------------------------------------------------------

frame_point = st.tuples(st.floats(0, 29.99), st.floats(0, 19.99))


@given(st.lists(frame_point, min_size=1, max_size=4), st.sampled_from([None, 0, 0.5, 2, 3.7, 12, 1000]))
def test_points_are_discs_and_keep_their_own_pixels(points, radius):
    assume(in_pixels(points))
    mask = Region.from_points(points, radius=radius).mask(0, 20, 30)
    x, y = centres(20, 30)
    reach = 20 * POINT_RADIUS if radius is None else radius
    distance = np.min([np.hypot(x - px, y - py) for px, py in points], axis=0)
    for px, py in points:
        assert mask[int(py), int(px)]
        distance[int(py), int(px)] = -1
    assert mask[distance < reach - 1e-9].all()
    assert not mask[distance > reach + 1e-9].any()


def test_default_radius_is_a_share_of_the_shorter_side():
    area = Region.from_points((500, 300)).mask(0, 600, 1000).sum()
    assert area == pytest.approx(np.pi * 12**2, rel=0.02)
    assert (Region.from_points((300, 500)).mask(0, 1000, 600).sum()) == area
    assert Region.from_points((500, 300), radius=12) != Region.from_points((500, 300))


def test_point_inputs_agree():
    masks = [
        Region.from_points(points, 2, 1.5).mask(2, 9, 9)
        for points in ([(3, 4)], (3, 4), [3, 4], np.array([[3, 4]]), torch.tensor([[3.0, 4.0]]))
    ]
    assert all(np.array_equal(masks[0], mask) for mask in masks)
    assert masks[0].sum() == 4


@given(
    st.lists(st.tuples(st.floats(-40, 200), st.floats(-40, 160)), min_size=1, max_size=5),
    st.sampled_from([None, 0.1, 1, 2.5, 9, 60]),
)
@settings(max_examples=60)
def test_scribble_is_a_line_with_round_ends(points, width):
    assume(in_pixels(points))
    height, frame_width = 100, 150
    half = max(SCRIBBLE_WIDTH * 100 if width is None else width, 1) / 2
    x, y = centres(height, frame_width)
    distance = np.full((height, frame_width), np.inf)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=False):
        length2 = (bx - ax) ** 2 + (by - ay) ** 2
        along = np.clip(((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length2, 0, 1) if length2 > 1e-12 else 0
        distance = np.minimum(distance, np.hypot(x - ax - along * (bx - ax), y - ay - along * (by - ay)))
    for px, py in points:
        if 0 <= px < frame_width and 0 <= py < height:
            distance[int(py), int(px)] = -1
    region = Region.from_scribble(points, width=width)
    if distance.min() > half + 1e-6:
        with pytest.raises(RegionError, match="outside the frame"):
            region.mask(0, height, frame_width)
    elif distance.min() < half - 1e-6:
        mask = region.mask(0, height, frame_width)
        assert mask[distance < half - 1e-6].all()
        assert not mask[distance > half + 1e-6].any()


def test_scribble_width_and_defaults():
    line = Region.from_scribble([(10, 20), (90, 20)], width=6).mask(0, 40, 100)
    np.testing.assert_array_equal(np.flatnonzero(line[:, 50]), np.arange(17, 23))
    default = Region.from_scribble([(10, 100), (390, 100)]).mask(0, 200, 400)
    assert default[:, 200].sum() == round(SCRIBBLE_WIDTH * 200)
    thin = Region.from_scribble([(0.9, 0.9), (30.9, 22.9)], width=0.01).mask(0, 25, 33)
    assert thin[0, 0]
    assert thin[22, 30]
    assert Region.from_scribble([(0, 5.3), (33, 5.3)], width=0.01).mask(0, 9, 33)[5].all()
    assert Region.from_scribble((4, 4), width=2) == Region({0: Scribble([(4, 4)], 2)})


def test_a_dragged_point_covers_the_point():
    point = Region.from_points((50, 40)).mask(0, 90, 120)
    stroke = Region.from_scribble([(50, 40), (70, 60)]).mask(0, 90, 120)
    assert stroke[point].all()


# --- frames, times, joins ----------------------------------------------------------------------------------------


def test_frames_are_sorted_and_masks_come_one_by_one_in_order():
    region = Region({40: (0, 0, 2, 2), 3: (0, 0, 1, 2), np.int64(12): None})
    assert region.frames == (3, 12, 40)
    assert all(type(frame) is int for frame in region.frames)
    assert len(region) == 3
    masks = region.masks(4, 5)
    assert iter(masks) is masks
    assert [(frame, int(mask.sum())) for frame, mask in masks] == [(3, 2), (12, 0), (40, 4)]


def test_masks_are_drawn_only_when_reached():
    masks = Region({0: (0, 0, 2, 2), 1: (90, 90, 99, 99)}).masks(10, 10)
    assert next(masks)[1].sum() == 4
    with pytest.raises(RegionError, match=r"frame 1: .*outside"):
        next(masks)


@pytest.mark.parametrize(
    ("make", "given_shape"),
    [
        (Region.from_mask, MASK),
        (Region.from_box, (0, 0, 2, 2)),
        (Region.from_polygon, TRIANGLE),
        (Region.from_points, (1, 1)),
        (Region.from_scribble, [(0, 0), (2, 2)]),
        (Region.from_rle, COMPRESSED),
    ],
)
def test_every_maker_takes_frame_or_time(make, given_shape):
    assert make(given_shape).frames == (0,)
    assert make(given_shape, 7).frames == make(given_shape, frame=7).frames == (7,)
    timed = make(given_shape, time=2)
    assert (timed.frames, timed.times, len(timed)) == ((), (2.0,), 1)
    assert timed.at_frames(lambda seconds: int(seconds * 10)) == make(given_shape, 20)
    with pytest.raises(RegionError, match=r"both frame=0 and time=1\.5"):
        make(given_shape, 0, time=1.5)
    with pytest.raises(RegionError, match=r"time -1"):
        make(given_shape, time=-1)
    with pytest.raises(RegionError, match=r"2\.0 .*time="):
        make(given_shape, 2.0)
    assert make(given_shape).visual is None
    assert make(given_shape, 7, visual=1) == Region({7: make(given_shape).shape(0)}, visual=1)
    assert make(given_shape, time=2, visual=1).visual == 1
    with pytest.raises(RegionError, match="visual=-1"):
        make(given_shape, visual=-1)


def test_regions_made_of_a_region_stay_on_its_visual():
    region = Region({1: MASK, 2: None}, times={0.5: MASK}, visual=np.int64(2))
    assert (region.visual, type(region.visual)) == (2, int)
    placed = region.at_frames(lambda seconds: 3)
    assert (placed.visual, placed.at_frames(lambda seconds: 3).visual) == (2, 2)
    assert placed.select([1]).visual == 2
    assert (placed | Region({9: None}, visual=2)).visual == 2
    assert (placed | Region({9: None})).visual == (Region({9: None}) | placed).visual == 2
    with pytest.raises(RegionError, match="different visuals, 2 and 0"):
        placed | Region({9: None}, visual=0)
    moved = placed.on_visual(0)
    assert (moved.visual, moved.on_visual(2) == placed, moved.on_visual(0) is moved) == (0, True, True)
    assert moved.on_visual(None).visual is None
    shapes = {3: Box(0, 0, 1, 2)}
    assert Region.from_shapes(shapes, visual=1) == Region(shapes, visual=1)


def test_times_become_frames():
    region = Region({5: (0, 0, 1, 2)}, times={2.5: (0, 0, 2, 2), 0.1: None})
    assert region.times == (0.1, 2.5)
    assert len(region) == 3
    resolved = region.at_frames(lambda seconds: round(seconds * 30))
    assert resolved == Region({3: None, 5: (0, 0, 1, 2), 75: (0, 0, 2, 2)})
    assert resolved.times == ()
    assert resolved.at_frames(lambda seconds: 0) is resolved
    assert region.mask(5, 3, 3).sum() == 2


def test_two_shapes_on_one_frame_are_named():
    with pytest.raises(RegionError, match=r"time 0\.5 s and frame 5 both fall on frame 5"):
        Region({5: None}, times={0.5: None}).at_frames(lambda seconds: 5)
    with pytest.raises(RegionError, match=r"time 0\.51 s and time 0\.5 s both fall on frame 15"):
        Region(times={0.5: None, 0.51: None}).at_frames(lambda seconds: int(seconds * 30))


@pytest.mark.parametrize("frame", [1.0, -1, None, True])
def test_frame_at_has_to_return_a_frame(frame):
    with pytest.raises(RegionError, match=rf"frame_at\(0\.5\) returned .*{frame}"):
        Region(times={0.5: None}).at_frames(lambda seconds: frame)


@pytest.mark.parametrize("method", [lambda r: r.masks(3, 3), lambda r: r.to_annotation(3, 3), lambda r: r.select([1])])
def test_times_have_to_be_resolved_first(method):
    with pytest.raises(RegionError, match=r"0\.5.*at_frames"):
        method(Region({1: None}, times={0.5: None}))


def test_join():
    joined = Region.from_box((0, 0, 2, 2), 9) | Region({2: None}, times={1: None}) | Region.from_mask(MASK, 4)
    assert (joined.frames, joined.times) == ((2, 4, 9), (1.0,))
    with pytest.raises(RegionError, match="frame 9"):
        joined | Region.from_mask(MASK, 9)
    with pytest.raises(RegionError, match="time 1 s"):
        joined | Region(times={1.0: MASK})
    with pytest.raises(TypeError):
        joined | {3: MASK}


def test_select():
    region = Region({1: None, 2: (0, 0, 1, 2), 3: (0, 0, 2, 2)})
    assert region.select([3, 1, 3]) == Region({1: None, 3: (0, 0, 2, 2)})
    assert region.select(region.frames) == region
    assert region.select(iter((2,))).frames == (2,)


def test_absent():
    region = Region({1: None, 2: ABSENT, 3: np.zeros((3, 4)), 4: MASK})
    assert [region.is_absent(frame) for frame in region.frames] == [True, True, False, False]
    assert region.mask(1, 3, 4).shape == (3, 4)
    assert not region.mask(1, 3, 4).any()
    assert not region.mask(3, 3, 4).any()


def test_equality():
    assert Region({1: MASK}) == Region({1: torch.from_numpy(MASK)}) == Region({1: COMPRESSED})
    assert Region({1: COMPRESSED}) == Region({1: {"size": [3, 4], "counts": MASK_RUNS}})
    assert Region({1: MASK}) != Region({1: ~MASK})
    assert Region({1: MASK}) != Region({1: MASK.T})
    assert Region({1: MASK}) != Region({2: MASK})
    assert Region({1: MASK}) != Region(times={1: MASK})
    assert Region({1: np.zeros((3, 4))}) != Region({1: None})
    assert Region({1: None}) == Region({1: Absent()})
    assert Region({1: (0, 0, 1, 3)}) != Region({1: (0, 0, 1, 2)})
    assert Region({1: Points((1, 1))}) != Region({1: Scribble((1, 1))})
    assert Region({1: Points((1, 1))}) != Region({1: Points((1, 2))})
    assert Region({1: Polygons(TRIANGLE)}) != Region({1: Polygons([TRIANGLE, TRIANGLE])})
    assert Region({1: MASK}) != "a region"
    assert Region({1: MASK}, visual=0) == Region({1: COMPRESSED}, visual=np.int8(0))
    assert Region({1: MASK}, visual=0) != Region({1: MASK})
    assert Region({1: MASK}, visual=0) != Region({1: MASK}, visual=1)


def test_repr_is_short():
    region = Region(dict.fromkeys(range(500), MASK), times={1.5: None})
    assert repr(region).startswith("Region(0: Mask(3x4")
    assert "498 more" in repr(region)
    assert len(repr(region)) < 160
    assert repr(Region.from_box((1, 2, 3.5, 4), 12)) == "Region(12: Box(1, 2, 3.5, 4))"
    assert repr(Region(times={1.5: None})) == "Region(1.5s: ABSENT)"
    assert "radius=3" in repr(Region.from_points([(1, 1), (2, 2)], radius=3))
    assert "width=3" in repr(Region.from_scribble([(1, 1), (2, 2)], width=3))
    assert repr(Region.from_box((1, 2, 3.5, 4), 12, visual=1)) == "Region(12: Box(1, 2, 3.5, 4), visual=1)"
    assert "2 with 6 points" in repr(Region.from_polygon([TRIANGLE, TRIANGLE]))


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_and_pickles(clone):
    shapes = [MASK, COMPRESSED, (0, 0, 1, 2), TRIANGLE, Points((1, 1)), Scribble((1, 1), 2), None]
    region = Region(dict(enumerate(shapes)), times={1.5: Mask(MASK)}, visual=3)
    twin = clone(region)
    assert twin == region
    assert twin.visual == 3
    assert twin.is_absent(6)
    np.testing.assert_array_equal(twin.mask(0, 3, 4), MASK)


# --- the order in which frames are given -------------------------------------------------------------------------

LARGE, SMALL = (0, 0, 2, 2), (0, 0, 1, 2)


def test_frames_are_sorted_and_their_order_is_kept():
    region = Region({20: LARGE, 5: SMALL, 12: None}, times={2.5: None, 0.5: None})
    assert region.order == (20, 5, 12)
    assert region.frames == (5, 12, 20)
    assert region.times == (0.5, 2.5)
    assert repr(region).startswith("Region(5: ")
    assert region == Region({5: SMALL, 12: None, 20: LARGE}, times={0.5: None, 2.5: None})
    assert Region(times={1: None}).order == ()


def test_masks_come_in_order_of_time_whatever_the_order_given():
    region = Region({20: LARGE, 5: SMALL})
    assert [(frame, int(mask.sum())) for frame, mask in region.masks(4, 4)] == [(5, 2), (20, 4)]


def test_annotations_keep_their_order():
    record = {"20": {"segmentation": COMPRESSED}, 5: None, "012": {"segmentation": None}}
    region = Region.from_annotation(record)
    assert region.order == tuple(read_annotation(record)) == (20, 5, 12)
    assert list(region.to_annotation(3, 4)) == ["20", "5", "12"]


def test_other_regions_keep_the_order():
    region = Region({20: LARGE, 5: SMALL, 12: None})
    assert region.select([12, 20]).order == (20, 12)
    assert region.select([5, 12, 20]) is region
    assert region.select([5, 12, 5]).order == (5, 12)
    assert (region | Region({30: None, 1: None})).order == (20, 5, 12, 30, 1)
    joined = region | Region({1: None}, times={3: None, 2: None})
    assert joined.at_frames(lambda seconds: int(seconds * 10) + 5).order == (20, 5, 12, 1, 35, 25)


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_keep_the_order(clone):
    assert clone(Region({20: LARGE, 5: SMALL})).order == (20, 5)


def test_masks_of_some_frames_come_in_the_order_asked_for():
    region = Region({20: LARGE, 5: SMALL, 12: None})
    for wanted in ([12, 5, 20, 5], (np.int64(20), 5), iter((5,)), []):
        wanted = list(wanted)
        drawn = list(region.masks(4, 4, frames=iter(wanted)))
        assert [frame for frame, _ in drawn] == wanted
        assert all(type(frame) is int for frame, _ in drawn)
        for frame, mask in drawn:
            np.testing.assert_array_equal(mask, region.mask(frame, 4, 4))


class Watched(Shape):
    """Counts how often it is drawn, and fits on every frame."""

    __slots__ = ("drawn",)

    def __init__(self):
        self.drawn = 0

    def rasterize(self, height, width):
        self.drawn += 1
        return np.zeros((height, width), bool)


def test_nothing_is_drawn_when_a_frame_is_unknown():
    shape = Watched()
    region = Region({5: shape, 20: shape})
    with pytest.raises(RegionError, match=r"no frame 7: it has \(5, 20\)"):
        region.masks(4, 4, frames=[20, 7])
    for wrong in (5, "5"):
        with pytest.raises(RegionError, match="masks takes several frames"):
            region.masks(4, 4, frames=wrong)
    masks = region.masks(4, 4, frames=[20, 5])
    assert shape.drawn == 0
    next(masks)
    assert shape.drawn == 1


# --- shapes that are checked already -----------------------------------------------------------------------------


def test_shapes_that_are_checked_are_handed_on():
    shapes = {20: Box(0, 0, 2, 2), 5: Mask(MASK), 9: ABSENT}
    region = Region.from_shapes(shapes)
    shapes.clear()
    assert region.order == (20, 5, 9)
    for other in (
        region.select([20, 9]),
        region | Region(times={1: None}),
        Region.from_shapes({20: region.shape(20)}),
    ):
        assert other.shape(20) is region.shape(20)
    with pytest.raises(RegionError, match=r"no shape \(frames=\{\}"):
        Region.from_shapes({})


class Counting(dict):
    """An RLE that counts how often its run lengths are taken."""

    taken = 0

    def __getitem__(self, key):
        self.taken += key == "counts"
        return super().__getitem__(key)


def test_each_shape_is_read_once():
    first, second = Counting(COMPRESSED), Counting(COMPRESSED)
    region = Region.from_annotation({"3": {"segmentation": first}, "1": None})
    joined = Region({7: second}, times={2: None}).at_frames(int) | region
    assert joined.select([7, 3]).order == (7, 3)
    assert (first.taken, second.taken) == (1, 1)


def test_an_annotation_becomes_shapes():
    shapes = read_annotation({"7": {"segmentation": COMPRESSED}, "5": [], "6": {"segmentation": [[0, 0, 3, 0, 0, 3]]}})
    assert shapes == {7: Rle([3, 4], COMPRESSED["counts"]), 5: ABSENT, 6: Polygons([[0, 0, 3, 0, 0, 3]])}
    assert list(shapes) == [7, 5, 6]
    assert read_annotation({}) == {}


# --- kinds of shapes ---------------------------------------------------------------------------------------------


def test_kinds_of_shapes_are_told_apart():
    assert [kind.name for kind in kinds.SHAPES] == ["mask", "rle", "polygon", "box", "point", "scribble", "absent"]
    assert list(text.REGION_KINDS) == ["polygon", "box", "point", "scribble", "mask", "rle", "region"]
    for value in (
        MASK,
        torch.from_numpy(MASK),
        Image.new("L", (4, 3)),
        COMPRESSED,
        LARGE,
        TRIANGLE,
        [1, 2, 3, 4],
        None,
    ):
        assert sum(kind.accepts(value) for kind in kinds.SHAPES) == 1, value
    for value in ("mask.png", 7, {1}):
        assert not any(kind.accepts(value) for kind in kinds.SHAPES)


class Row(Shape):
    """One row of a frame, for which a `range` of one number stands."""

    __slots__ = ("row",)
    name = json_key = "row"
    accepted = "a range of one row"
    text_help = "FRAME:row"

    def __init__(self, row):
        self.row = row

    @classmethod
    def accepts(cls, value):
        return isinstance(value, range)

    @classmethod
    def from_value(cls, value):
        return cls(value.start)

    @classmethod
    def read_text(cls, text):
        return range(int(text), int(text) + 1)

    def to_json(self):
        return {"row": self.row}

    def _values(self):
        return self.row

    def rasterize(self, height, width):
        return np.repeat(np.arange(height)[:, None] == self.row, width, axis=1)


def test_a_new_kind_of_shape_is_a_class_and_one_entry(monkeypatch):
    monkeypatch.setattr(kinds, "SHAPES", (Row, *kinds.SHAPES))
    monkeypatch.setattr(text, "REGION_KINDS", text.kinds_with_text(kinds.SHAPES))
    assert list(text.REGION_KINDS) == ["row", "polygon", "box", "point", "scribble", "mask", "rle", "region"]
    assert Region({4: range(2, 3)}).mask(4, 3, 5).sum() == 5
    assert text.read_region("row", "4:1;7:2").order == (4, 7)
    for read in (Region.from_json, Region.from_annotation):
        assert read({"4": {"row": 2}}).to_json() == {"4": {"row": 2}}
    with pytest.raises(RegionError, match=r"expected a range of one row, a \(height, width\) mask"):
        Region({4: 7})


# --- annotations -------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.integers(0, 10**6), st.one_of(st.none(), hnp.arrays(bool, (9, 13))), min_size=1, max_size=4
    ).map(Region)
)
@settings(max_examples=50)
def test_annotations_round_trip(region):
    written = json.loads(json.dumps(region.to_annotation(9, 13)))
    assert list(written) == [str(frame) for frame in region.order]
    assert [record["segmentation"] is None for record in written.values()] == [
        region.is_absent(frame) for frame in region.order
    ]
    again = Region.from_annotation(written)
    assert again == region
    assert again.order == region.order


def test_drawn_shapes_are_written_as_their_pixels():
    shapes = [(1, 1, 4, 4), TRIANGLE, Points((3, 3), 2), Scribble([(1, 1), (7, 7)], 2), None]
    rles = [{"size": [9, 9], "counts": counts} for counts in (b"a2", [81], encode_rle(np.eye(9))["counts"])]
    region = Region(dict(enumerate(shapes + rles)))
    again = Region.from_annotation(json.loads(json.dumps(region.to_annotation(9, 9))))
    for (frame, mask), (_, expected) in zip(again.masks(9, 9), region.masks(9, 9), strict=True):
        np.testing.assert_array_equal(mask, expected, err_msg=str(frame))
    assert again.is_absent(4)


def test_odd_forms_of_the_dataset():
    region = Region.from_annotation(
        {
            "12": {"segmentation": COMPRESSED, "bbox": [0, 0, 1, 1]},
            13: {"segmentation": {"size": [3, 4], "counts": MASK_RUNS}},
            "014": COMPRESSED,
            15: {**COMPRESSED, "counts": COMPRESSED["counts"].encode()},
            "16": [[0.0, 0.0, 3.0, 0.0, 0.0, 3.0]],
            "17": None,
            "18": {},
            "19": {"segmentation": None},
            "20": {"segmentation": []},
            "21": [],
            "22": {"area": 0, "id": 7},
            "23": {"segmentation": None, "bbox": [0, 0, 0, 0], "mask": None, "track_id": 4, "area": 3, "task": "a"},
            "24": {"segmentation": [], "bbox": None, "area": 0.0, "category_id": 1, "iscrowd": 0, "score": 0.5},
            "25": {"segmentation": None, "boxes": [], "mask": "", "polygons": 0, "bbox": [3, 4, 0, 0]},
            "2": {"segmentation": [[0, 0], [3, 0], [0, 3]]},
        }
    )
    assert region.frames == (2, *range(12, 26))
    assert [frame for frame in region.frames if region.is_absent(frame)] == list(range(17, 26))
    for frame in (12, 13, 14, 15):
        np.testing.assert_array_equal(region.mask(frame, 3, 4), MASK)
    np.testing.assert_array_equal(region.mask(2, 3, 4), region.mask(16, 3, 4))
    assert region.mask(2, 3, 4).any()


# --- bad input ---------------------------------------------------------------------------------------------------


def rle(size, counts):
    return {"size": size, "counts": counts}


def damaged_image():
    """A picture of which the file ends too early, which is noticed when its pixels are read."""
    file = io.BytesIO()
    Image.fromarray(np.arange(10**4, dtype=np.uint16).reshape(100, 100)).save(file, "PNG")
    return Image.open(io.BytesIO(file.getvalue()[:500]))


NAN = float("nan")
BAD_INPUT = {
    # keys and dicts
    "empty": (lambda: Region({}), ["no shape", "{}"]),
    "nothing": (lambda: Region(), ["no shape", "None"]),
    "mask instead of dict": (lambda: Region(MASK), ["(3, 4)", "from_mask"]),
    "times no dict": (lambda: Region({0: None}, times=[1.5]), ["times", "[1.5]"]),
    "negative frame": (lambda: Region({-3: None}), ["-3", "from 0"]),
    "float frame": (lambda: Region({2.5: None}), ["2.5", "times="]),
    "bool frame": (lambda: Region({True: None}), ["True"]),
    "text frame": (lambda: Region({"12": None}), ["'12'"]),
    "negative time": (lambda: Region(times={-0.5: None}), ["-0.5", "seconds"]),
    "NaN time": (lambda: Region(times={NAN: None}), ["nan", "seconds"]),
    "text time": (lambda: Region(times={"1.5": None}), ["'1.5'", "seconds"]),
    "shape of a time": (lambda: Region(times={1.5: "x"}), ["time 1.5 s", "'x'"]),
    # what is no shape
    "path": (lambda: Region({4: "mask.png"}), ["frame 4", "'mask.png'", "PIL image"]),
    "number": (lambda: Region({4: 7}), ["frame 4", "7"]),
    "record": (lambda: Region({4: {"segmentation": None}}), ["frame 4", "segmentation", "from_annotation"]),
    # masks
    "1-D mask": (lambda: Region({4: np.ones(5)}), ["frame 4", "(5,)", "(height, width)"]),
    "stack of masks": (lambda: Region.from_mask(np.ones((2, 5, 7))), ["(2, 5, 7)", "one object"]),
    "leading axis": (lambda: Region.from_mask(torch.ones(1, 5, 7)), ["(1, 5, 7)", "squeeze"]),
    "RGBA array": (lambda: Region.from_mask(np.ones((5, 7, 4))), ["(5, 7, 4)", "alpha"]),
    "empty mask": (lambda: Region.from_mask(np.ones((0, 7))), ["(0, 7)", "no pixels"]),
    "NaN mask": (lambda: Region.from_mask(np.array([[1, NAN], [NAN, 0]])), ["2 NaN", "(2, 2)"]),
    "NaN tensor": (lambda: Region({8: torch.tensor([[NAN]], dtype=torch.bfloat16)}), ["frame 8", "1 NaN"]),
    "complex mask": (lambda: Region.from_mask(np.ones((2, 2), complex)), ["complex128"]),
    "object mask": (lambda: Region.from_mask(np.array([["a", "b"]])), ["<U1"]),
    "ragged mask": (lambda: Region.from_mask([[1, 2], [3]]), ["[[1, 2], [3]]"]),
    "path as mask": (lambda: Region.from_mask("mask.png"), ["()", "<U8"]),
    "meta tensor": (lambda: Region.from_mask(torch.ones(2, 2, device="meta")), ["(2, 2)", "meta"]),
    "RGBA image": (lambda: Region.from_mask(Image.new("RGBA", (4, 3))), ["'RGBA'", "alpha", "convert"]),
    "LA image": (lambda: Region({4: Image.new("LA", (4, 3))}), ["frame 4", "'LA'", "getchannel"]),
    "CMYK image": (lambda: Region.from_mask(Image.new("CMYK", (4, 3))), ["'CMYK'", "convert"]),
    "probabilities": (lambda: Region({4: SOFT}), ["frame 4", "float32", "(0.2, 0.7, 0.9, 1", "threshold=0.5"]),
    "probabilities of one value": (lambda: Region.from_mask(np.array([[0, 0.3]])), ["0.3", "threshold="]),
    "probabilities in half precision": (lambda: Region.from_mask(torch.from_numpy(SOFT).half()), ["threshold=0.5"]),
    "color of floats": (lambda: Region.from_mask(np.full((2, 2, 3), 0.1)), ["(0.1, 0.1, 0.1)", "threshold="]),
    "soft mask of bytes": (lambda: Region.from_mask((SOFT * 255).astype(np.uint8)), ["51, 178, 229", "threshold="]),
    "soft mask of floats": (lambda: Region.from_mask(SOFT * 255), ["several values", "threshold="]),
    "label map": (lambda: Region({4: LABELS}), ["frame 4", "uint8", "(1, 2, 5)", "label=", "threshold="]),
    "label map at a time": (lambda: Region(times={1.5: LABELS}), ["time 1.5 s", "label="]),
    "label map of floats": (lambda: Region.from_mask(LABELS.astype(float)), ["(1, 2, 5)", "label="]),
    "label map to encode": (lambda: encode_rle(LABELS), ["(1, 2, 5)", "label="]),
    "palette": (lambda: Region.from_mask(PALETTE), ["(1, 2, 5)", "label="]),
    "JPEG mask": (lambda: Region.from_mask(Image.fromarray((SOFT * 255).astype(np.uint8))), ["51, 178", "threshold="]),
    "label map in color": (lambda: Region.from_mask(Image.fromarray(COLORS)), ["(255, 0, 0)", "label="]),
    "void and several objects": (
        lambda: Region.from_mask(np.array([[-1, 0, 1, 2]])),
        ["(1, 2)", "label=", "threshold="],
    ),
    "void and several colors": (lambda: Region.from_mask(COLORS.astype(int) - 9), ["(246, -9, -9)", "label="]),
    "bytes seen as signed": (lambda: Region.from_mask(MASK.astype(np.int8) * -1), ["int8", "(-1)", "mask != 0"]),
    "void alone": (lambda: Region({4: np.full((2, 2), -1)}), ["frame 4", "(-1)", "no pixel"]),
    "traces of resizing below 0": (lambda: Region.from_mask(np.array([[-1e-9, 0.3, 1]])), ["0.3", "threshold=0.5"]),
    "traces of resizing above 1": (
        lambda: Region.from_mask(np.array([[-1e-9, 0.3, 1.0001]])),
        ["0.3", "threshold=0.5"],
    ),
    "infinity": (lambda: Region.from_mask(np.array([[0, np.inf]])), ["infinity", "logits"]),
    "infinity in color": (lambda: Region.from_mask(np.full((2, 2, 3), np.inf)), ["infinity", "logits"]),
    "label as an array of two": (lambda: Region.from_mask(LABELS, label=np.array([1, 2])), ["label"]),
    "label as an array of bool": (lambda: Region.from_mask(LABELS, label=np.array([True] * 3)), ["label"]),
    "threshold and label": (lambda: Region.from_mask(LABELS, threshold=1, label=2), ["threshold=1", "label=2"]),
    "threshold in words": (lambda: Region.from_mask(SOFT, threshold="0.5"), ["threshold", "'0.5'"]),
    "threshold of NaN": (lambda: Region.from_mask(SOFT, threshold=NAN), ["threshold", "nan"]),
    "threshold of 400 digits": (lambda: Region.from_mask(SOFT, threshold=10**400), ["threshold"]),
    "threshold of no mask": (lambda: Region({4: None}, threshold="0.5"), ["threshold", "'0.5'"]),
    "label of NaN": (lambda: Region.from_mask(SOFT, label=NAN), ["label", "nan"]),
    "label in words": (lambda: Region.from_mask(LABELS, label="dog"), ["label", "'dog'"]),
    "label of two": (lambda: Region.from_mask(LABELS, label=(1, 2)), ["label", "(1, 2)"]),
    "color of a gray label map": (lambda: Region.from_mask(LABELS, label=(1, 2, 3)), ["(1, 2, 3)", "(2, 3)"]),
    "threshold of a box": (lambda: Region({4: (1, 2, 3, 4)}, threshold=0.5), ["frame 4", "threshold", "(1, 2, 3, 4)"]),
    "label of an RLE": (lambda: Region({4: COMPRESSED}, label=3), ["frame 4", "label"]),
    "NaN above a threshold": (lambda: Region.from_mask(np.array([[1, NAN]]), threshold=0.5), ["1 NaN"]),
    "damaged image": (lambda: Region.from_mask(damaged_image()), ["cannot be read", "truncated"]),
    # boxes
    "relative box": (lambda: Region({4: (0.1, 0.2, 0.5, 1)}), ["frame 4", "Box(0.1, 0.2, 0.5, 1)", "width", "height"]),
    "relative box of a whole row": (lambda: Region.from_box((0, 0, 1, 0.5)), ["Box(0, 0, 1, 0.5)", "width", "height"]),
    "reversed box": (lambda: Region({4: (9, 1, 3, 5)}), ["frame 4", "Box(9, 1, 3, 5)", "x0 < x1"]),
    "flat box": (lambda: Region.from_box((1, 5, 3, 5)), ["Box(1, 5, 3, 5)", "no area"]),
    "NaN box": (lambda: Region.from_box((1, NAN, 3, 5)), ["nan", "finite"]),
    "infinite box": (lambda: Region.from_box((1, 2, float("inf"), 5)), ["inf", "finite"]),
    "box of three": (lambda: Region.from_box((1, 2, 3)), ["(1, 2, 3)", "four"]),
    "box of text": (lambda: Region.from_box(("1", "2", "3", "4")), ["'1'", "numbers"]),
    "box is None": (lambda: Region.from_box(None), ["None", "numbers"]),
    "box as list": (lambda: Region({4: [1, 2, 3, 4]}), ["frame 4", "[1, 2, 3, 4]", "tuple (1, 2, 3, 4)"]),
    "box outside": (
        lambda: Region({4: (700, 0, 800, 9)}).mask(4, 480, 640),
        ["frame 4", "Box(700, 0, 800, 9)", "480x640"],
    ),
    # polygons
    "two points": (lambda: Region({4: [[1, 1, 5, 5]]}), ["frame 4", "at least 3 points, but here are 2"]),
    "two pairs": (lambda: Region.from_polygon([(1, 1), (5, 5)]), ["a polygon has at least 3 points, but here are 2"]),
    "odd values": (lambda: Region.from_polygon([[1, 1, 5, 5, 3, 3, 2]]), ["[1, 1, 5, 5, 3, 3, ...]", "in turn"]),
    "short second part": (lambda: Region({4: [[1, 1, 5, 5, 3, 3], [2, 2]]}), ["frame 4", "here are 1: [2, 2]"]),
    "NaN polygon": (lambda: Region.from_polygon([1, 1, 5, NAN, 3, 3]), ["nan", "finite"]),
    "far polygon": (lambda: Region.from_polygon([1, 1, 5e9, 1, 3, 3]), ["5e+09", "100000"]),
    "no polygon": (lambda: Region({4: []}), ["frame 4", "[]"]),
    "relative polygon": (lambda: Region({4: [[0.1, 0.1, 1, 0, 0.5, 1]]}), ["frame 4", "0 to 1", "width", "height"]),
    "relative polygons": (
        lambda: Region.from_polygon([[0, 0, 1, 0, 1, 1], [0, 0, 1, 0.5, 1, 1]]),
        ["0 to 1", "width"],
    ),
    "rows of a mask in pairs": (lambda: Region({4: [[0, 1, 0, 0, 1, 1], [1, 1, 0, 0, 0, 0]]}), ["rows", "np.array"]),
    "rows of a mask of bytes": (lambda: Region({4: [[0, 255, 255, 0, 0, 0]] * 2}), ["0 and 255", "rows", "np.array"]),
    "rows of a mask of label 2": (
        lambda: Region({4: (MASK48 * 2).tolist()}),
        ["frame 4", "0 and 2", "rows", "np.array"],
    ),
    "rows of an empty mask": (lambda: Region.from_polygon([[0] * 6] * 2), ["rows", "np.array"]),
    "rows of a mask in a record": (
        lambda: Region.from_annotation({"4": {"segmentation": (MASK48 * 255).tolist()}}),
        ["frame 4", "0 and 255", "rows"],
    ),
    "coordinate of 1e30": (lambda: Region.from_polygon([1, 1, 1e30, 1, 3, 3]), ["1e+30", "100000"]),
    "infinite polygon": (lambda: Region.from_polygon([1, 1, float("inf"), 1, 3, 3]), ["inf", "finite"]),
    "coordinate of 400 digits": (lambda: Region.from_polygon([1, 1, 10**400, 1, 3, 3]), ["numbers in pixels"]),
    "coordinate of 5000 digits": (lambda: Region.from_polygon([1, 1, 10**5000, 1, 3, 3]), ["numbers in pixels"]),
    "text polygon": (lambda: Region.from_polygon("1,1,5,5,3,3"), ["'1,1,5,5,3,3'"]),
    "rows of a mask": (lambda: Region({4: [[0, 1, 0], [1, 1, 0]]}), ["frame 4", "[0, 1, 0]"]),
    # points and scribbles
    "no points": (lambda: Region.from_points([]), ["a set of points has at least 1 point, but here are 0"]),
    "3-D points": (lambda: Region.from_points([(1, 2, 3), (1, 2, 3)]), ["[(1, 2, 3), (1, 2, 3)]", "in turn"]),
    "point outside": (lambda: Region.from_points((640, 3)).mask(0, 480, 640), ["frame 0", "(640, 3)", "480x640"]),
    "negative point": (lambda: Region.from_points((3, -0.5)).mask(0, 480, 640), ["(3, -0.5)", "480x640"]),
    "negative radius": (lambda: Region.from_points((3, 3), radius=-1), ["radius", "-1"]),
    "NaN radius": (lambda: Region.from_points((3, 3), radius=NAN), ["radius", "nan"]),
    "relative point": (lambda: Region.from_points((0.5, 0.25)), ["(0.5, 0.25)", "width", "height"]),
    "relative scribble": (lambda: Region.from_scribble([(0, 0.5), (1, 1)]), ["(0, 0.5)", "width", "height"]),
    "far point": (lambda: Region.from_points((1e30, 3)), ["1e+30", "100000"]),
    "giant radius": (lambda: Region.from_points((3, 3), radius=1e30), ["radius", "1e+30", "100000"]),
    "giant width": (lambda: Region.from_scribble([(3, 3)], width=10**400), ["width", "100000"]),
    "no scribble": (lambda: Region.from_scribble([]), ["a scribble has at least 1 point, but here are 0"]),
    "zero width": (lambda: Region.from_scribble([(1, 1)], width=0), ["width", "0"]),
    "text width": (lambda: Region.from_scribble([(1, 1)], width="3"), ["width", "'3'"]),
    "scribble outside": (
        lambda: Region.from_scribble([(900, 9), (950, 9)]).mask(0, 480, 640),
        ["(900, 9)", "(950, 9)", "480x640"],
    ),
    # run lengths
    "no size": (lambda: Region.from_rle({"counts": "a2"}), ["'size'", "missing"]),
    "no counts": (lambda: Region({4: {"size": [3, 4]}}), ["frame 4", "'counts'", "missing"]),
    "RLE as text": (lambda: decode_rle("a2"), ["'a2'", "dict"]),
    "size of one": (lambda: decode_rle(rle([9], "a2")), ["[9]", "[height, width]"]),
    "size zero": (lambda: decode_rle(rle([0, 4], [])), ["[0, 4]"]),
    "float size": (lambda: decode_rle(rle([9.0, 9], "a2")), ["[9.0, 9]"]),
    "giant size": (lambda: decode_rle(rle([10**6, 10**6], [10**12])), ["1000000", "cannot be a frame"]),
    "long counts": (lambda: decode_rle(rle([3, 4], [3, 2, 8])), ["13 pixels", "[3, 4]", "12"]),
    "short counts": (lambda: decode_rle(rle([3, 4], [3, 2])), ["5 pixels", "12"]),
    "short compressed counts": (lambda: decode_rle(rle([9, 10], "a2")), ["81 pixels", "90"]),
    "negative count": (lambda: decode_rle(rle([3, 4], [14, -2])), ["-2", "run lengths"]),
    "float count": (lambda: decode_rle(rle([3, 4], [3.5, 8.5])), ["3.5"]),
    "negative run": (lambda: decode_rle(rle([3, 4], "<O1")), ["negative run of -1", "'<O1'"]),
    "empty counts": (lambda: decode_rle(rle([3, 4], "")), ["empty", "height * width"]),
    "strange byte": (lambda: decode_rle(rle([3, 4], "3 1")), ["b' '", "position 1"]),
    "strange letter": (lambda: decode_rle(rle([3, 4], "3é")), ["position 1", "é"]),
    "half a letter": (lambda: decode_rle(rle([3, 4], "3\ud800")), ["position 1"]),
    "truncated counts": (lambda: decode_rle(rle([9, 9], "Q")), ["'Q'", "truncated"]),
    "endless number": (lambda: decode_rle(rle([9, 9], "o" * 20 + "0")), ["21 digits"]),
    "counts None": (lambda: decode_rle(rle([9, 9], None)), ["None", "run lengths"]),
    # annotations
    "annotation list": (lambda: Region.from_annotation([{"0": None}]), ["[{'0': None}]", "one Region of each"]),
    "empty annotation": (lambda: Region.from_annotation({}), ["no shape"]),
    "frame twice": (lambda: Region.from_annotation({"3": None, 3: None}), ["frame 3", "twice"]),
    "frame twice as text": (lambda: Region.from_annotation({"3": None, "03": None}), ["frame 3", "'03'"]),
    "key in seconds": (lambda: Region.from_annotation({"1.5": None}), ["'1.5'", "times="]),
    "negative key": (lambda: Region.from_annotation({"-1": None}), ["'-1'", "from 0"]),
    "giant key": (lambda: Region.from_annotation({"9" * 5000: None}), ["99999", "not a frame"]),
    "bool key": (lambda: Region.from_annotation({True: None}), ["True"]),
    "key of Arabic digits": (lambda: Region.from_annotation({"\u0661\u0662": None}), ["not a frame index"]),
    "key of 5000 digits": (lambda: Region.from_annotation({10**5000: None}), ["beyond the end"]),
    "another key": (lambda: Region.from_annotation({"12": {"bbox": [1, 2, 3, 4]}}), ["frame 12", "['bbox']"]),
    "another key beside known ones": (
        lambda: Region.from_annotation({"12": {"area": 3, "mask": "12.png"}}),
        ["frame 12", "['area', 'mask']", "'segmentation'"],
    ),
    "misspelt segmentation": (
        lambda: Region.from_annotation({"3": {"segmentation": None}, "12": {"segmentatoin": COMPRESSED}}),
        ["frame 12", "['segmentatoin']", "'segmentation'"],
    ),
    "a box beside no segmentation": (
        lambda: Region.from_annotation({"12": {"segmentation": None, "bbox": [3, 4, 5, 6]}}),
        ["frame 12", "None", "'bbox' holds [3, 4, 5, 6]", "'box', [x0, y0, x1, y1]"],
    ),
    "a mask beside no segmentation": (
        lambda: Region.from_annotation({"time:1.5": {"segmentation": [], "Mask": "12.png", "area": 0}}),
        ["time 1.5 s", "'Mask' holds '12.png'"],
    ),
    "a misspelt segmentation beside none": (
        lambda: Region.from_annotation({"12": {"segmentation": None, "segmentatoin": [[1, 1, 5, 1, 5, 5]]}}),
        ["frame 12", "'segmentatoin' holds"],
    ),
    "misspelt polygons beside no segmentation": (
        lambda: Region.from_annotation({"12": {"segmentation": None, "polygones": [[1, 1, 5, 1, 5, 5]]}}),
        ["frame 12", "'polygones' holds"],
    ),
    "an array beside no segmentation": (
        lambda: Region.from_annotation({"12": {"segmentation": None, "masks": MASK}}),
        ["frame 12", "'masks' holds"],
    ),
    "area of nothing": (lambda: Region.from_annotation({"12": {"area": 55}}), ["frame 12", "area of 55", "None"]),
    "frame twice in words": (
        lambda: Region.from_annotation({"12": None, 12: None}),
        ["the region has frame 12 twice"],
    ),
    "two points in a record": (
        lambda: Region.from_annotation({"12": {"segmentation": [[1, 2, 3, 4]]}}),
        ["frame 12", "[1, 2, 3, 4]", "at least 3"],
    ),
    "damaged RLE in a record": (
        lambda: Region.from_annotation({"12": {"segmentation": rle([3, 4], [5])}}),
        ["frame 12", "5 pixels"],
    ),
    # drawing and looking up
    "mask of another size": (
        lambda: Region.from_mask(MASK, 7).mask(7, 480, 640),
        ["frame 7", "mask of 3x4", "480x640", "resize"],
    ),
    "RLE of another size": (lambda: Region.from_rle(COMPRESSED, 7).mask(7, 5, 4), ["frame 7", "RLE of 3x4", "5x4"]),
    "swapped size": (lambda: Region.from_mask(MASK).mask(0, 4, 3), ["3x4", "4x3", "swapped"]),
    "annotation of another size": (lambda: Region({7: COMPRESSED}).to_annotation(5, 4), ["frame 7", "3x4", "5x4"]),
    "unknown frame": (lambda: Region({7: MASK}).mask(8, 3, 4), ["no frame 8", "(7,)"]),
    "unknown frame, times": (lambda: Region(times={1.5: MASK}).mask(8, 3, 4), ["no frame 8", "1.5", "at_frames"]),
    "absent in unknown frame": (lambda: Region({7: MASK}).is_absent(8), ["no frame 8", "(7,)"]),
    "select unknown frame": (lambda: Region({7: MASK}).select([7, 8]), ["no frame 8", "(7,)"]),
    "select nothing": (lambda: Region({7: MASK}).select([]), ["no frames", "(7,)"]),
    "select one": (lambda: Region({7: MASK}).select(7), ["several", "7"]),
    "height zero": (lambda: Region({7: None}).mask(7, 0, 640), ["height=0", "width=640"]),
    "giant frame": (lambda: Region({7: None}).mask(7, 32768, 32768), ["32768x32768", "178956970", "frame"]),
    "time of 400 digits": (lambda: Region(times={10**400: None}), ["seconds"]),
    "float width": (lambda: Region({7: None}).masks(480, 640.0), ["height=480", "width=640.0"]),
    **{
        f"visual {visual!r:.20}": (lambda visual=visual: Region({7: None}, visual=visual), ["visual=", said, "from 0"])
        for visual, said in [
            (True, "True"),
            (np.False_, "False"),
            (-1, "-1"),
            (1.0, "1.0"),
            ("1", "'1'"),
            ([1], "[1]"),
            (float("nan"), "nan"),
            (-(10**400), "digits"),
            (np.zeros(3), "(3,)"),
        ]
    },
    "bool height": (lambda: Region({7: None}).to_annotation(True, 640), ["height=True"]),
}


@pytest.mark.spread(59)
@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_named(name):
    attempt, said = BAD_INPUT[name]
    with pytest.raises(RegionError) as raised:
        attempt()
    assert isinstance(raised.value, ValueError)
    message = str(raised.value)
    assert [part for part in said if part not in message] == [], message
    assert len(message) < 600


def test_pictures_that_are_no_masks(tmp_path):
    media.write_png_header(tmp_path / "giant.png", 60_000, 60_000)
    media.write_png_header(tmp_path / "cut.png", 60, 40)
    Image.fromarray((SOFT * 255).astype(np.uint8)).save(tmp_path / "soft.png")
    (tmp_path / "text.png").write_text("hello")
    for name, said in {
        "giant.png": "3600000000",
        "cut.png": "truncated",
        "soft.png": "several values",
        "text.png": "not a picture",
    }.items():
        with pytest.raises(RegionError, match=rf"{name}.*{said}"):
            text.read_region("mask", str(tmp_path / name))


# --- cost --------------------------------------------------------------------------------------------------------

ZIGZAG = "[(99999.0 if i % 2 else 0.0, 99999.0 * i / n) for i in range(n)]"
DENSE = "[(999.0 if i % 2 else 0.0, 480.0 * i / n) for i in range(n)]"
WALK = "np.abs(np.cumsum(np.random.default_rng(0).normal(0, 2, (n, 2)), axis=0)) % 400 + 2"
BOMBS = {  # code, and the pixels that it draws, or what the RegionError says
    "zigzag polygon of 200": (f"n = 200; draw(Region.from_polygon({ZIGZAG}))", True),
    "zigzag polygon of 1000": (f"n = 1000; draw(Region.from_polygon({ZIGZAG}))", True),
    "zigzag polygon of 1e5": (f"n = 10**5; draw(Region.from_polygon({ZIGZAG}), 480, 640)", True),
    "dense zigzag polygon": (f"n = 10**5; draw(Region.from_polygon({DENSE}), 480, 640)", "more than 2000000"),
    "polygon of 1e9 points": ("Region.from_polygon(np.broadcast_to(3.0, (10**9, 2)))", "more than 1000000"),
    "polygons of 1e9 points": ("Region.from_polygon([[3.0] * 10**5] * 10**4)", "more than 1000000"),
    "1e5 polygons": ("Region.from_polygon([[1, 1, 5, 1, 5, 5]] * 10**5)", "more than the 10000"),
    "rows of a dense mask": ("Region({0: [[0] * 32768] * 32768})", "more than 1000000"),
    "dense mask": ("Region.from_mask([[0] * 32768] * 32768)", "more than 178956970"),
    "array of one value": ("Region.from_mask(np.broadcast_to(np.uint8(1), (32768, 32768)))", "more than 178956970"),
    "RLE of 1e9 pixels": ("Region.from_rle({'size': [32768, 32768], 'counts': [2**30]})", "more than 178956970"),
    "RLE of 1e7 runs": ("Region.from_rle({'size': [10000, 1000], 'counts': [1] * 10**7})", "more than 5000000"),
    "RLE of 1e7 digits": ("Region.from_rle({'size': [10000, 1000], 'counts': '1' * 10**7})", "more than 5000000"),
    "RLE of 1e8 digits": ("Region.from_rle({'size': [100, 100], 'counts': '1' * 10**8})", "more than 5000000"),
    "scribble of 1e5 points": (f"n = 10**5; draw(Region.from_scribble({WALK}, width=3), 480, 640)", True),
    "scribble of 1e5 points far out": (f"n = 10**5; draw(Region.from_scribble({ZIGZAG}), 64, 64)", True),
    "points without end": ("Region.from_points(range(10**10))", "more than 1000000"),
    "pen as large as the frame": (
        f"n = 10**5; draw(Region.from_points({WALK}, radius=99999), 1080, 1920)",
        "more than 50000000",
    ),
    "frame of 1e10 pixels": ("draw(Region.from_box((3, 3, 9, 9)), 10**5, 10**5)", "more than 178956970"),
}
PEAK = """
import json, resource, sys
import numpy as np
from videorefer_plugin.errors import RegionError
from videorefer_plugin.regions import Region
def draw(region, height=64, width=64):
    return bool(region.mask(0, height, width).any())
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
draw(Region.from_polygon([(1, 1), (5, 1), (3, 9)])), draw(Region.from_points((3, 3)))
start, found = peak(), {}
for name, code in json.loads(sys.argv[1]).items():
    *first, last = code.split("; ")
    try:
        exec("; ".join(first))
        found[name] = eval(last)
    except RegionError as error:
        found[name] = str(error)
    found[name] = found[name], peak() - start
print(json.dumps(found))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
def test_no_shape_takes_memory_without_bounds():
    """One process draws them all, with 300 MB above what it needs anyway; the largest ones took it gigabytes."""
    path = str(Path(sys.modules["videorefer_plugin.regions"].__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", PEAK, json.dumps({name: code for name, (code, _) in BOMBS.items()})],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    found = json.loads(run.stdout)
    assert found.keys() == BOMBS.keys()
    for name, (_, expected) in BOMBS.items():
        result, megabytes = found[name]
        assert result is True if expected is True else expected in str(result), f"{name}: {result}"
        assert megabytes < 300, name


def test_import_is_light():
    code = (
        "import sys; import videorefer_plugin.regions as r; r.Region.from_box((0, 0, 3, 3)).mask(0, 4, 4);"
        "print([m for m in ('torch', 'PIL', 'pycocotools', 'transformers') if m in sys.modules])"
    )
    path = str(Path(sys.modules["videorefer_plugin.regions"].__file__).parents[2])
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {path!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
