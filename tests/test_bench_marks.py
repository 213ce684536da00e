"""Marks drawn on frames, and what is said about them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench_data import write_benchmark
from videorefer_plugin.bench import MarkedModel, draw_marks, read_questions
from videorefer_plugin.bench.marks import COLORS, STYLES, mark_item
from videorefer_plugin.bench.prompts import marked_prompt
from videorefer_plugin.errors import BenchError, ConfigurationError
from videorefer_plugin.video import open_video

SIZE = 120
GREY = np.full((SIZE, SIZE, 3), 90, np.uint8)


def disc(row, column, radius):
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def changed(frame, picture=GREY):
    return (frame != picture).any(-1)


def plate(mask):
    """Where the number of an object may stand: about its middle."""
    rows, columns = np.nonzero(mask)
    around = np.zeros_like(mask)
    around[int(rows.mean()) - 8 : int(rows.mean()) + 9, int(columns.mean()) - 8 : int(columns.mean()) + 9] = True
    return around


def test_contours_run_along_the_inside_of_the_rim():
    mask = disc(60, 60, 40)
    drawn = draw_marks(GREY, {1: mask}, "contour")
    line = changed(drawn) & ~plate(mask)
    assert (drawn[line] == COLORS["red"]).all()
    rim = mask & ~(disc(60, 60, 38))
    assert not (line & ~rim).any()
    # It is closed: every pixel of the object that touches the outside is on it.
    outside = np.pad(~mask, 1)
    touches = mask & (outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:])
    assert line[touches].all()
    assert (GREY == 90).all()  # the frame itself is left alone


def test_filled_masks_tint_the_object_and_nothing_else():
    mask = disc(60, 60, 40)
    drawn = draw_marks(GREY, {1: mask}, "mask")
    assert (changed(drawn) == mask)[~plate(mask)].all()
    tint = drawn[60, 30]
    assert 90 < tint[0] < 255
    assert tint[1] == tint[2] < 90


def test_boxes_are_the_smallest_around_the_object():
    mask = disc(50, 70, 30)
    line = changed(draw_marks(GREY, {1: mask}, "box")) & ~plate(mask)
    rows, columns = np.nonzero(line)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (20, 80, 40, 100)
    assert not line[21:80, 41:100].any()


def test_every_object_has_its_own_colour_and_number():
    masks = {1: disc(30, 30, 20), 2: disc(30, 90, 20), 3: disc(90, 60, 20)}
    drawn = draw_marks(GREY, masks, "contour")
    for number, color in zip(masks, list(COLORS.values())[:3], strict=True):
        assert (drawn[masks[number]] == color).all(-1).any()
        others = [other for other in masks if other != number]
        assert not any((drawn[masks[other]] == color).all(-1).any() for other in others)
    plates = [drawn[plate(mask) & mask].tolist() for mask in masks.values()]
    assert len({str(pixels) for pixels in plates}) == 3
    alone = {number: draw_marks(GREY, {number: masks[1]}, "contour") for number in (1, 9)}  # the same colour again
    assert (alone[1] != alone[9]).any()


def test_objects_at_the_edge_of_the_frame_have_a_contour_there():
    mask = np.zeros((SIZE, SIZE), bool)
    mask[:40, 50:90] = True
    drawn = draw_marks(GREY, {1: mask}, "contour")
    assert (drawn[0, 50:90] == COLORS["red"]).all()


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 10_000), st.sampled_from(STYLES))
@settings(max_examples=40, deadline=None)
def test_anything_can_be_marked(height, width, seed, style):
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    masks = {number: rng.random((height, width)) > rng.random() for number in (1, 2)}
    drawn = draw_marks(frame, masks, style)
    assert drawn.shape == frame.shape
    if not any(mask.any() for mask in masks.values()):
        assert (drawn == frame).all()
    assert (draw_marks(frame, {1: np.zeros((height, width), bool)}, style) == frame).all()


def test_unknown_styles():
    with pytest.raises(ConfigurationError, match="expected one of contour, mask, box"):
        draw_marks(GREY, {1: disc(5, 5, 3)}, "arrow")
    with pytest.raises(BenchError, match="expected one of contour, mask, box"):
        MarkedModel("a-model", "arrow")


# --- frames and words ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return read_questions(write_benchmark(tmp_path_factory.mktemp("bench")) / "bench_q.json", mode="single")


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_marks_lie_on_the_frames_they_belong_to(items, mode):
    for item in items[:4]:
        clip = mark_item(item, mode, "mask", 8)
        shown = clip.metadata["frames_indices"]
        assert clip.frames.shape == (8, 64, 64, 3)
        assert len(set(shown)) == 8
        plain = open_video(item.video).read(shown)
        marked = [frame for frame, a, b in zip(shown, clip.frames, plain, strict=True) if (a != b).any()]
        if mode == "single":
            assert marked == [item.frame]
        else:
            visible = {
                frame
                for region in item.regions("multi")
                for frame in region.frames
                if region.mask(frame, 64, 64).any()
            }
            assert marked == [frame for frame in shown if frame in visible]
            assert len(marked) >= 4


def test_the_prompt_names_marks_in_place_of_regions():
    prompt = "Is <object2>[<region>] behind <object5>[<region>]? (A) yes (B) <object2> is gone."
    said = marked_prompt(prompt, ["red", "green"], "mask", "single")
    assert said.splitlines() == [
        "Object 1 is covered with red and carries the number 1 in the frame of the video in which it is marked.",
        "Object 2 is covered with green and carries the number 2 in the frame of the video in which it is marked.",
        "Is object 1 behind object 2? (A) yes (B) object 1 is gone.",
    ]
    described = marked_prompt("Describe the highlighted object [<region>] in the video.", ["red"], "box", "multi")
    assert described.splitlines()[-1] == "Describe the highlighted object 1 in the video."
    assert "frames of the video in which it is annotated" in described
