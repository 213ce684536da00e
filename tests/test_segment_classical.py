"""The classical segmenter: one click on an object, and where it is in every frame."""

import tracemalloc
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from videorefer_plugin.errors import ConfigurationError, SegmentError
from videorefer_plugin.segment import Masklet, Note, Prompt, Tracked, load_segmenter
from videorefer_plugin.segment.collecting import Collected, collect

pytest.importorskip("cv2")
SIZE = (60, 80)
RED, BLUE, GREEN = (200, 40, 40), (40, 60, 200), (30, 160, 60)


def scene(*objects: tuple[tuple[int, int, int], list[tuple[int, int] | None]], side: int = 14) -> tuple[Any, Any]:
    """Frames with squares before a background of soft grain, the later ones in front; and the visible masks.

    Args:
        objects: color, and where the top left corner is in each frame; None where it is not there.
        side: of the squares, in pixels.
    """
    count = len(objects[0][1])
    grain = np.random.default_rng(0).normal(170, 4, (*SIZE, 1)).repeat(3, 2)
    frames = np.repeat(grain[None], count, 0)
    owner = np.full((count, *SIZE), -1)
    for number, (color, places) in enumerate(objects):
        for frame, place in enumerate(places):
            if place is None:
                continue
            left, top = place
            part = frame, slice(max(top, 0), max(top + side, 0)), slice(max(left, 0), max(left + side, 0))
            frames[part], owner[part] = color, number
    masks = np.stack([owner == number for number in range(len(objects))])
    return frames.clip(0, 255).astype(np.uint8), masks


def click(x: float, y: float, label: int = 1) -> Prompt:
    return Prompt(points=np.array([[x, y]]), labels=(label,))


def follow(frames: Any, *prompts: Mapping[int, Prompt], **settings: Any) -> list[Masklet]:
    return load_segmenter("classical").propagate(list(frames), list(prompts), **settings)


def overlaps(masklet: Masklet, truth: Any) -> dict[int, float | None]:
    """IoU by frame; None where the object is absent, as it should be."""
    found = dict(masklet.region.masks(*truth.shape[1:]))
    score = {}
    for frame in masklet.region.frames:
        mask = np.zeros_like(truth[0]) if found.get(frame) is None else found[frame]
        both = (mask | truth[frame]).sum()
        score[frame] = (mask & truth[frame]).sum() / both if both else None
    return score


def moving(count: int, start: tuple[int, int], step: tuple[int, int]) -> list[tuple[int, int] | None]:
    return [(start[0] + step[0] * frame, start[1] + step[1] * frame) for frame in range(count)]


# --- one frame -------------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "prompt",
    [
        click(27, 24),
        click(20.5, 17.5),
        Prompt(box=(20, 17, 34, 31)),
        Prompt(box=(17, 15, 36, 33)),
        Prompt(points=np.array([[27.0, 24.0]]), box=(18, 16, 36, 33)),
        Prompt(points=np.array([[27.0, 24.0], [60.0, 40.0]]), labels=(1, 0)),
    ],
    ids=["click", "corner", "box", "loose-box", "click-and-box", "negative-elsewhere"],
)
@pytest.mark.parametrize("stripes", [False, True], ids=["plain", "striped"])
def test_cuts_an_object_out_of_a_frame(prompt: Prompt, stripes: bool) -> None:
    frames, masks = scene((RED, [(20, 17)]), (BLUE, [(50, 30)]))
    if stripes:  # dark ones of the same hue
        rows = np.zeros(masks.shape[2:], bool)
        rows[18::5] = rows[19::5] = True
        frames[0][masks[0, 0] & rows] = np.array(RED) * 0.35
    (found,) = load_segmenter("classical").segment(frames[0], [prompt])
    assert (found.mask & masks[0, 0]).sum() / (found.mask | masks[0, 0]).sum() > 0.9
    assert found.score > 0.5


def test_a_rough_mask_becomes_a_fitting_one() -> None:
    frames, masks = scene((RED, [(20, 17)]))
    rough = np.zeros(SIZE, bool)
    rough[19:30, 22:35] = True
    (found,) = load_segmenter("classical").segment(frames[0], [Prompt(mask=rough)])
    assert (found.mask & masks[0, 0]).sum() / (found.mask | masks[0, 0]).sum() > 0.9


@pytest.mark.parametrize(("shape", "level"), [((1, 1), 0), ((2, 3), 255), ((5, 120), 0), ((40, 40), 0)])
def test_nothing_stands_out_of_an_even_frame(shape: tuple[int, int], level: int) -> None:
    frames = [np.full((*shape, 3), level, np.uint8)] * 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such small numbers might be relative
        segmenter, there = load_segmenter("classical"), click(shape[1] - 1, shape[0] - 1)
        (found,) = segmenter.segment(frames[0], [there])
        assert not found.mask.any()
        assert found.score == 0
        with pytest.raises(SegmentError, match="Nothing can be cut out where object 1 is pointed at in frame 1"):
            segmenter.propagate(frames, [{1: there}])
        # A box says itself where something is; but it is not sure of it.
        (masklet,) = segmenter.propagate(frames, [{1: Prompt(box=(0, 0, shape[1], shape[0]))}])
    assert max(masklet.scores.values()) < 0.2


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (4, 90), (40, 40)])
def test_noise_of_any_size_is_no_trouble(shape: tuple[int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (3, *shape, 3)).astype(np.uint8)
    mask = np.ones(shape, bool)
    (masklet,) = follow(frames, {1: Prompt(mask=mask)})
    assert 1 in masklet.region.frames


# --- through a video -------------------------------------------------------------------------------------------------


@pytest.mark.spread(1)
@pytest.mark.parametrize("frame", [0, 6, 11], ids=["forward", "both-ways", "backward"])
def test_one_click_follows_an_object_in_both_directions(frame: int) -> None:
    places = moving(12, (4, 6), (4, 2))
    frames, masks = scene((RED, places))
    x, y = places[frame] or (0, 0)
    (masklet,) = follow(frames, {frame: click(x + 7, y + 7)})
    assert masklet.region.frames == tuple(range(12))
    assert not masklet.notes
    assert min(overlaps(masklet, masks[0]).values()) > 0.9  # type: ignore[type-var]
    assert min(masklet.scores.values()) > 0.5


def test_an_object_is_followed_behind_another_one_and_does_not_become_it() -> None:
    frames, masks = scene((RED, moving(15, (4, 20), (4, 0))), (BLUE, [(32, 20)] * 15))
    one, other = follow(frames, {0: click(8, 27)}, {0: click(38, 25)})
    assert min(value for value in overlaps(other, masks[1]).values() if value is not None) > 0.9
    seen = overlaps(one, masks[0])
    assert [frame for frame in range(15) if (masks[0, frame]).sum() > 50 and (seen[frame] or 0) < 0.75] == []
    hidden = [frame for frame in range(15) if not masks[0, frame].any()]
    assert hidden
    assert all(seen[frame] is None and masklet_absent(one, frame) for frame in hidden)
    assert not one.lost


def masklet_absent(masklet: Masklet, frame: int) -> bool:
    return frame in masklet.region.frames and frame not in masklet.region.present


def test_an_object_that_leaves_and_comes_back_is_absent_meanwhile() -> None:
    out = [(60 + 5 * frame, 20) for frame in range(5)]
    places = [*out, None, None, None, *reversed(out)]
    frames, masks = scene((RED, places))
    (masklet,) = follow(frames, {0: click(67, 27)})
    seen = overlaps(masklet, masks[0])
    assert [frame for frame in range(5, 8) if not masklet_absent(masklet, frame)] == []
    assert all(masklet.scores[frame] < 0.3 for frame in range(5, 8))
    assert [seen[frame] or 0 for frame in (0, 1, 11, 12)] == pytest.approx([1] * 4, abs=0.1)
    assert not masklet.lost


def test_an_object_that_vanishes_in_the_open_is_lost_and_a_later_prompt_picks_it_up() -> None:
    places: list[Any] = [(20, 20)] * 4 + [None] * 4 + [(50, 36)] * 4
    frames, masks = scene((RED, places))
    (masklet,) = follow(frames, {0: click(27, 27)})
    (note,) = masklet.lost
    assert (note.kind, note.frame, note.number, note.reverse) == ("lost", 4, 0, False)
    assert note.text.startswith("It was lost at frame 4: ")
    assert masklet.region.frames == (0, 1, 2, 3)
    (again,) = follow(frames, {0: click(27, 27), 9: click(57, 43)})
    seen = overlaps(again, masks[0])
    assert all((seen[frame] or 0) > 0.9 for frame in (0, 1, 2, 3, 8, 9, 10, 11))
    with pytest.warns(UserWarning, match="object 1: It was lost at frame 4"):
        vr.propagate_many(list(frames), [vr.Region.from_points([(27, 27)], frame=0)])


def test_at_a_cut_an_object_is_looked_for_by_its_looks() -> None:
    frames, masks = scene((RED, [(20, 20)] * 4 + [None] * 4 + [(40, 30)] * 4))
    frames[4:8] = (np.array([20, 60, 30]) + np.arange(SIZE[1])[:, None] % 9 * 8).astype(np.uint8)
    (masklet,) = follow(frames, {0: click(27, 27)})
    assert masklet.cuts == (4, 8)
    assert all(masklet_absent(masklet, frame) for frame in range(4, 8))
    seen = overlaps(masklet, masks[0])
    assert all((seen[frame] or 0) > 0.9 for frame in (0, 1, 2, 3, 8, 9, 10, 11))
    assert not masklet.lost


@pytest.mark.spread(2)
@pytest.mark.parametrize("backward", [False, True], ids=["forward", "backward"])
@pytest.mark.parametrize("other", [None, (40, 14), (8, 8)], ids=["nothing", "larger", "other-shape"])
def test_what_is_not_the_object_is_not_taken_for_it_behind_a_cut(
    other: tuple[int, int] | None, backward: bool
) -> None:
    frames, _ = scene((RED, [(20, 20)] * 4 + [None] * 4))
    frames[4:] = (np.array([20, 60, 30]) + np.arange(SIZE[1])[:, None] % 9 * 8).astype(np.uint8)
    if other is not None:
        frames[4:, 10 : 10 + other[1], 5 : 5 + other[0]] = RED
    (masklet,) = follow(frames[::-1] if backward else frames, {7 if backward else 0: click(27, 27)})
    first, seen, place = (3, 4, "after") if backward else (4, 3, "before")
    assert all(masklet_absent(masklet, 7 - frame if backward else frame) for frame in range(4, 8))
    (note,) = masklet.lost
    assert (note.frame, note.number, note.reverse) == (first, 0, backward)
    assert note.text == f"It was last seen in frame {seen}, {place} the cut at frame 4, and not found again."


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    ("color", "frame"), [(RED, 4), (RED, 6), (BLUE, 4)], ids=["touching", "before", "other-color"]
)
def test_two_things_that_are_taken_for_one_where_they_touch_have_a_low_score(color: Any, frame: int) -> None:
    places = moving(9, (2, 20), (4, 0))
    frames, masks = scene((color, [(32, 24)] * 9), (RED, places))
    left, top = places[frame] or (0, 0)
    (masklet,) = follow(frames, {frame: click(left + 3, top + 7)})
    seen = overlaps(masklet, masks[1])
    assert [index for index, value in seen.items() if (value or 0) < 0.5 <= masklet.scores[index]] == []
    if color == BLUE:  # which is no trouble
        assert min(masklet.scores.values()) > 0.5


def test_what_is_behind_another_thing_is_not_taken_for_a_like_one_far_away() -> None:
    frames, masks = scene((RED, [(58, 20)] * 10), (RED, [(6, 36)] * 10), (BLUE, moving(10, (22, 20), (9, 0))))
    frames = frames[:5]
    (masklet,) = follow(frames, {0: click(65, 27)})
    seen = overlaps(masklet, masks[0][:5])
    assert not masks[0, 4].any()
    assert masklet_absent(masklet, 4)
    assert (seen[0] or 0) > 0.9


def test_corrections_count_from_their_frame_on() -> None:
    frames, masks = scene((RED, moving(10, (4, 8), (3, 0))), (BLUE, moving(10, (60, 36), (-3, 0))))
    (masklet,) = follow(frames, {0: click(11, 15), 5: click(52, 43)})
    first, later = overlaps(masklet, masks[0]), overlaps(masklet, masks[1])
    assert all((first[frame] or 0) > 0.9 for frame in range(5))
    assert all((later[frame] or 0) > 0.9 for frame in range(5, 10))
    (gone,) = follow(frames, {0: click(11, 15), 5: Prompt(absent=True)})
    assert masklet_absent(gone, 5)
    assert 4 in gone.region.present


def test_a_negative_point_takes_away_what_is_there() -> None:
    frames, masks = scene((RED, [(20, 20)] * 5), (GREEN, [(34, 20)] * 5))
    both = masks[0, 0] | masks[1, 0]
    (masklet,) = follow(frames, {0: Prompt(mask=both), 2: click(41, 27, 0)})
    seen = overlaps(masklet, masks[0])
    assert (seen[1] or 0) < 0.6
    assert all((seen[frame] or 0) > 0.9 for frame in (2, 3, 4))
    (found,) = load_segmenter("classical").segment(
        frames[0], [Prompt(mask=both, points=np.array([[41.0, 27.0]]), labels=(0,))]
    )
    assert (found.mask & masks[1, 0]).sum() < 20
    assert (found.mask & masks[0, 0]).sum() > 170


def test_a_mask_is_taken_as_it_is_and_frames_are_told_once() -> None:
    frames, masks = scene((RED, moving(6, (4, 8), (3, 0))))
    events = list(
        load_segmenter("classical").track(vr.open_video(list(frames)), [{2: Prompt(mask=masks[0, 2])}], 0, 5)
    )
    told = [event for event in events if isinstance(event, Tracked)]
    assert [event.frame for event in told] == [2, 3, 4, 5, 1, 0]
    assert (told[0].mask == masks[0, 2]).all()
    assert told[0].score == 1


def test_a_video_of_one_frame_and_a_part_of_a_video() -> None:
    frames, _masks = scene((RED, moving(8, (4, 8), (3, 0))))
    (masklet,) = follow(frames[:1], {0: click(11, 15)})
    assert masklet.region.frames == (0,)
    (masklet,) = follow(frames, {4: click(23, 15)}, start=3, end=6)
    assert masklet.region.frames == (3, 4, 5, 6)


@pytest.mark.spread(1)
@pytest.mark.parametrize(("stop", "side"), [(1, 480), (5, 64), (9, 480), (12, 480)])
def test_an_interrupted_run_goes_on_as_if_nothing_had_been(stop: int, side: int) -> None:
    frames, _ = scene((RED, moving(12, (2, 20), (5, 0))), (BLUE, [(32, 18)] * 12))
    video, segmenter = vr.open_video(list(frames)), load_segmenter("classical", side=side)
    prompts = [{3: click(24, 27)}, {3: click(40, 25)}]

    def run(known: list[Collected], most: int | None = None) -> list[Collected]:
        collect(segmenter.track(video, prompts, 0, 11, known), known, 12, lambda done, total: done != most)
        for one in known:
            one.notes = [note for note in one.notes if note.kind != "cancelled"]
        return known

    whole, parts = run([Collected(), Collected()]), run([Collected(), Collected()], stop)
    told = {frame: parts[0].shapes[frame] for frame in parts[0].shapes}
    resumed = run(parts)
    assert len(whole[0].shapes) == 12
    assert len(told) == stop
    for one, other in zip(whole, resumed, strict=True):
        assert {f: s.to_json() for f, s in one.shapes.items()} == {f: s.to_json() for f, s in other.shapes.items()}
        assert one.scores == other.scores
        assert one.notes == other.notes


def test_large_frames_are_worked_on_smaller() -> None:
    frames, masks = scene((RED, moving(3, (20, 20), (2, 0))))
    large = frames.repeat(10, 1).repeat(10, 2)
    (masklet,) = follow(large, {0: click(270, 270)})
    assert masklet.settings == {"side": 480}
    assert masklet.size == (600, 800)
    assert min(overlaps(masklet, masks[0].repeat(10, 1).repeat(10, 2)).values()) > 0.9  # type: ignore[type-var]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_video() -> None:
    picture = scene((RED, [(20, 20)]))[0][0]
    segmenter, peaks = load_segmenter("classical"), []
    for length in (6, 24):
        video = vr.open_video([picture] * length)
        tracemalloc.start()
        count = sum(1 for _ in segmenter.track(video, [{0: click(27, 27)}], 0, length - 1))
        peaks.append(tracemalloc.get_traced_memory()[1] - video.height * video.width * 3 * length)
        tracemalloc.stop()
        assert count == length
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sides": 3}, "has no setting sides; it takes side"),
        ({"side": 0}, "side=0; expected"),
        ({"side": 10**9}, "from 32 to 1920"),
        ({"device": "cuda:9"}, "runs on the CPU, but the device is 'cuda:9'; leave the device out"),
        ({"device": torch.device("cuda")}, "runs on the CPU"),
        ({"device": 0}, "runs on the CPU"),
        ({"device": ""}, "runs on the CPU"),
        ({"dtype": "bfloat16"}, "has no weights, but their dtype is 'bfloat16'; leave the dtype out"),
        ({"dtype": torch.float32}, "has no weights"),
    ],
)
def test_settings_that_it_does_not_have_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        load_segmenter("classical", **settings)


@pytest.mark.parametrize("device", [None, "cpu", "cpu:0", torch.device("cpu")])
def test_it_runs_on_the_cpu(device: Any) -> None:
    assert load_segmenter("classical", device=device).name == "classical"


def test_notes_tell_each_thing_once() -> None:
    frames, _ = scene((RED, [(20, 20)] * 4 + [None] * 4))
    (masklet,) = follow(frames, {2: click(27, 27)})
    assert [note.kind for note in masklet.notes] == ["lost"]
    assert isinstance(masklet.notes[0], Note)


# --- prompts in corners, on borders and on nothing -------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    "prompt",
    [click(2, 2), Prompt(box=(1, 1, 3, 3)), Prompt(box=(0, 0, 300, 240), points=np.array([[3.0, 3.0]]))],
    ids=["click", "box", "click-in-box"],
)
def test_the_corner_of_a_large_frame_can_be_pointed_at(prompt: Prompt) -> None:
    frame = np.full((1080, 1920, 3), 170, np.uint8)
    frame[:240, :300] = RED
    (found,) = load_segmenter("classical").segment(frame, [prompt])
    assert found.mask[2, 2]
    if prompt.box != (1, 1, 3, 3):
        assert abs(found.mask.sum() - 240 * 300) < 0.05 * 240 * 300


def test_a_click_that_the_best_outline_leaves_out_is_taken_in() -> None:
    random = np.random.default_rng(24)
    frame = random.integers(0, 255, (*random.integers(16, 60, 2), 3), dtype=np.uint8)
    (found,) = load_segmenter("classical").segment(frame, [click(22.742461031999714, 6.888361699960705)])
    assert found.mask[4:10, 20:26].any()


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    ("shape", "prompt"),
    [
        ((87, 43), Prompt(points=np.array([[20.0, 40.0], [30.0, 50.0]]), labels=(1, 0))),
        ((40, 3), click(1.5, 20)),
        ((1, 50), Prompt(box=(0, 0, 50, 1))),
        ((50, 1), Prompt(box=(0, 0, 1, 50))),
        ((3, 40), Prompt(box=(0, 0, 40, 3))),
        ((30, 40), Prompt(points=np.array([[35.0, 25.0]]), box=(2, 3, 12, 13))),
    ],
    ids=["both-labels", "narrow", "row", "column", "low", "click-outside-the-box"],
)
def test_what_holds_no_pixel_is_no_trouble(shape: tuple[int, int], prompt: Prompt) -> None:
    for seed in range(3):
        frame = np.random.default_rng(seed).integers(0, 256, (*shape, 3)).astype(np.uint8)
        (found,) = load_segmenter("classical").segment(frame, [prompt])
        assert found.mask.shape == shape
        assert 0 <= found.score <= 1


@pytest.mark.parametrize("box", [(-10, -5, 34, 31), (20, 17, 200, 31), (18, -900.5, 36, 900), (-9, -9, 99, 99)])
def test_a_box_may_reach_out_of_the_frame(box: tuple[float, float, float, float]) -> None:
    frames, masks = scene((RED, [(20, 17)]))
    (found,) = load_segmenter("classical").segment(frames[0], [Prompt(box=box)])
    assert (found.mask & masks[0, 0]).sum() / (found.mask | masks[0, 0]).sum() > 0.9


def flag(count: int = 6) -> tuple[Any, Any]:
    """An object of two colors that moves: its upper half is red, its lower half is blue."""
    frames, masks = scene((RED, moving(count, (20, 10), (2, 0))), (BLUE, moving(count, (20, 24), (2, 0))))
    return frames, masks[0] | masks[1]


@pytest.mark.parametrize(
    "there",
    [click(31, 31), click(31, 17), Prompt(points=np.array([[31.0, 31.0], [3.0, 3.0]]), labels=(1, 0))],
    ids=["lower-half", "upper-half", "with-a-negative-elsewhere"],
)
def test_a_click_on_what_is_followed_leaves_it_whole(there: Prompt) -> None:
    frames, truth = flag()
    (masklet,) = follow(frames, {0: Prompt(mask=truth[0]), 2: there})
    assert min(overlaps(masklet, truth).values()) > 0.9  # type: ignore[type-var]
    assert min(masklet.scores.values()) > 0.4


def test_a_click_beside_what_is_followed_adds_what_is_there() -> None:
    frames, truth = flag()
    upper = truth.copy()
    upper[:, 24:] = False
    (masklet,) = follow(frames, {0: Prompt(mask=upper[0]), 3: click(33, 31)})
    seen = overlaps(masklet, truth)
    assert (seen[2] or 0) < 0.6
    assert all((seen[frame] or 0) > 0.9 for frame in (3, 4, 5))
    both = Prompt(points=np.array([[33.0, 17.0], [33.0, 31.0]]), labels=(1, 0))
    (less,) = follow(frames, {0: Prompt(mask=truth[0]), 3: both})
    assert all((overlaps(less, upper)[frame] or 0) > 0.8 for frame in (3, 4, 5))


@pytest.mark.parametrize("prompt", [click(120, 120), Prompt(box=(0, 0, 240, 240))], ids=["click", "box"])
def test_memory_is_bounded_for_an_object_that_fills_the_frame(prompt: Prompt) -> None:
    rows, columns = np.indices((240, 240))
    disc = np.hypot(rows - 120, columns - 120) <= 100
    frame = np.where(disc[..., None], RED, (170, 170, 170)).astype(np.uint8)
    segmenter = load_segmenter("classical")
    tracemalloc.start()
    (found,) = segmenter.segment(frame, [prompt])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.mask & disc).sum() / (found.mask | disc).sum() > 0.95
    assert peak < 500 * disc.size  # bytes for a pixel: without bounds, more than a thousand
