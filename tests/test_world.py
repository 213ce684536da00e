"""The shapes world: pictures, masks and facts."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world_truth import all_masks, does, gap, slow_masks
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.regions import Region
from videorefer_plugin.video import open_video
from videorefer_plugin.world import Facts, encode_video, iter_clips, make_clip
from videorefer_plugin.world.scene import THEMES
from videorefer_plugin.world.values import COLORS, PATTERNS, REACH, SHAPES, combinations, motion_key

SEEDS = st.tuples(st.integers(0, 10**6), st.sampled_from(["train", "heldout"]), st.sampled_from(list(THEMES)))
examples = settings(max_examples=60, deadline=None, derandomize=True)


def clip_of(seed):
    number, split, theme = seed
    return make_clip(number, split, theme=theme)


# --- pixels ----------------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("seed", "theme", "frame"), [(1, "mixed", 0), (2, "pairs", 7), (3, "goals", 15), (4, "pairs", 8)]
)
def test_masks_equal_a_plain_rendering_pixel_by_pixel(seed, theme, frame):
    clip = make_clip(seed, theme=theme, objects=4)
    np.testing.assert_array_equal(clip.masks[:, frame], slow_masks(clip, frame))


def test_every_shape_is_drawn_exactly():
    left = set(SHAPES)
    for clip in iter_clips(5):
        new = [i for i, item in enumerate(clip.facts.objects) if item.shape in left]
        if new:
            slow = slow_masks(clip, 0)
            np.testing.assert_array_equal(clip.masks[:, 0], slow)
            left -= {clip.facts.objects[i].shape for i in new}
        if not left:
            break


def test_pictures_have_the_colours_of_their_objects_and_a_soft_edge():
    clip = next(c for c in iter_clips(6) if c.facts.objects[0].pattern == "plain")
    picture, mask = clip.frames[0], clip.masks[0, 0]
    inner = mask.copy()
    for rows, columns in np.ndindex(3, 3):
        inner &= np.roll(mask, (rows - 1, columns - 1), (0, 1))
    color = np.array(COLORS[clip.facts.objects[0].color])
    assert inner.sum() > 20
    np.testing.assert_array_equal(picture[inner], np.broadcast_to(color, (inner.sum(), 3)))
    edge = picture[mask & ~inner].astype(int)
    assert (abs(edge - color).max(1) > 5).any()  # blended with what is behind


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_look_different(pattern):
    clip = next(
        c
        for c in iter_clips(7)
        if c.facts.objects[0].pattern == pattern and c.facts.objects[0].size == "large" and c.areas[0, 0] > 150
    )
    values = clip.frames[0][clip.masks[0, 0]].astype(float).sum(1)
    dark = (values < 0.6 * sum(COLORS[clip.facts.objects[0].color])).mean()
    assert dark < 0.02 if pattern == "plain" else 0.1 < dark < 0.75


@examples
@given(SEEDS)
def test_objects_hide_each_other_only_where_the_facts_say_so(seed):
    clip = clip_of(seed)
    assert not (clip.masks.sum(0) > 1).any()
    hidden = {event.subject: (event.start, event.stop) for event in clip.facts.events if event.kind == "behind"}
    for index in range(len(clip)):
        alone = clip.scene.__class__(**{**clip.scene.__dict__, "order": (index,)})
        missing = all_masks(type(clip)(alone))[index, : clip.scene.stage.frames] & ~clip.masks[index]
        frames = np.flatnonzero(missing.any((1, 2)))
        if index in hidden:
            assert missing.any()
            assert hidden[index][0] <= frames[0]
            assert frames[-1] < hidden[index][1]
        else:
            assert missing.sum((1, 2)).max() <= 3  # where two touch, at most


@pytest.mark.parametrize(("size", "frames"), [(64, 16), (96, 32)])
def test_h264_keeps_the_mean_colour_of_objects(tmp_path, size, frames):
    for seed in range(6):
        clip = make_clip(seed, size=size, frames=frames)
        encode_video(tmp_path / "clip.mp4", clip.frames)
        video = open_video(tmp_path / "clip.mp4")
        assert video.num_frames == frames
        decoded = video.read(range(frames))
        for index in range(len(clip)):
            for frame in clip.clear_frames(index)[:: frames // 4]:
                mask = clip.masks[index, frame]
                before, after = clip.frames[frame][mask].mean(0), decoded[frame][mask].mean(0)
                assert abs(before - after).max() < 28, (seed, index, frame)
                # It is still nearer to its own colour than to any other object's.
                assert np.linalg.norm(before - after) < 35


def test_the_same_seed_gives_the_same_clip_and_the_same_file(tmp_path):
    one, other = make_clip((4, 2)), make_clip((4, 2))
    np.testing.assert_array_equal(one.frames, other.frames)
    np.testing.assert_array_equal(one.masks, other.masks)
    assert one.facts == other.facts
    encode_video(tmp_path / "one.mp4", one.frames)
    encode_video(tmp_path / "other.mp4", other.frames)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "other.mp4").read_bytes()
    assert not np.array_equal(one.frames, make_clip((4, 3)).frames)


def test_annotations_are_regions(tmp_path):
    clip = make_clip(8, theme="goals", objects=4)
    for index in range(len(clip)):
        region = Region.from_annotation(json.loads(json.dumps(clip.annotation(index))))
        assert region == clip.region(index)
        for frame in range(16):
            assert region.is_absent(frame) == (not clip.masks[index, frame].any())
            np.testing.assert_array_equal(region.mask(frame, 64, 64), clip.masks[index, frame])


# --- facts -----------------------------------------------------------------------------------------------------------


@examples
@given(SEEDS)
def test_motions_are_true_to_the_tracks(seed):
    clip = clip_of(seed)
    for index, item in enumerate(clip.facts.objects):
        assert does(clip, index, item.motion), (index, item.motion)


@examples
@given(SEEDS)
def test_phases_cover_the_clip_and_are_true(seed):
    clip = clip_of(seed)
    for index, item in enumerate(clip.facts.objects):
        assert [phase.start for phase in item.phases] == [0, *(phase.stop for phase in item.phases[:-1])]
        assert item.phases[-1].stop == clip.facts.frames
        for phase in item.phases:
            if phase.action == "gone":
                assert not clip.masks[index, phase.start : phase.stop].any()
                assert clip.masks[index, phase.start - 2].any() or clip.masks[index, phase.start - 1].any()
            elif phase.action in ("circle", "bounce", "grow", "shrink"):
                assert item.motion[0] == phase.action
            else:
                action = ("still",) if phase.action == "still" else ("move", phase.action)
                # The frame in which a chaser turns lies between two frames; it belongs to neither phase wholly.
                first, last = phase.start + (phase.start > 0), phase.stop - (phase.stop < clip.facts.frames)
                assert does(clip, index, action, first, last), (index, phase)


@examples
@given(SEEDS)
def test_the_future_is_true_to_the_continued_simulation(seed):
    clip = clip_of(seed)
    now, masks, scene = clip.facts.frames - 1, all_masks(clip), clip.scene
    for index, item in enumerate(clip.facts.objects):
        if item.future is None:
            continue
        kind, area = item.future[0], masks[index].sum((1, 2))
        assert (area[now:].max() == 0) == (kind == "gone")
        assert (area[-1] == 0) == (kind in ("gone", "leave"))
        if kind == "reach":
            other = item.future[1]
            before, after = (gap(masks[index, frame], masks[other, frame]) for frame in (now, -1))
            assert after < 7  # the circles around two objects touch, and shapes do not fill their circles
            assert after < before
        elif kind in ("still", "move"):
            assert does(clip, index, item.future, now, scene.stage.length)
        elif kind in ("grow", "shrink"):
            assert (area[-1] > area[now]) == (kind == "grow")
        elif kind not in ("gone", "leave"):
            assert item.future == item.motion
            assert np.ptp(scene.centers[index, now:], axis=0).max() > 3


@examples
@given(SEEDS)
def test_places_and_relations_are_those_of_the_masks(seed):
    clip = clip_of(seed)
    facts, last = clip.facts, clip.facts.frames - 1

    def center(index, frame):
        return np.argwhere(clip.masks[index, frame]).mean(0)[::-1] + 0.5

    for index, item in enumerate(facts.objects):
        for frame, place in ((0, item.start), (last, item.end)):
            if place and index not in {event.subject for event in facts.events if event.kind == "behind"}:
                x, y = center(index, frame)
                if clip.areas[index, frame] > 20:
                    assert place == f"{'top' if y < 32 else 'bottom'} {'left' if x < 32 else 'right'}"
    for frame, relations in ((0, facts.relations_start), (last, facts.relations_end)):
        assert len({(r.subject, r.object) for r in relations}) == len(relations)
        for relation in relations:
            x, y = scene_gap = clip.scene.centers[relation.subject, frame] - clip.scene.centers[relation.object, frame]
            assert abs(scene_gap).max() > 1.6 * abs(scene_gap).min()
            wanted = {"left": x < 0, "right": x > 0, "above": y < 0, "below": y > 0}
            assert wanted[relation.side]
            assert abs(x) > abs(y) if relation.side in ("left", "right") else abs(y) > abs(x)
    for index, near in enumerate(facts.nearest_end):
        if near is not None:
            away = np.linalg.norm(clip.scene.centers[:, last] - clip.scene.centers[index, last], axis=1)
            inside = [i for i in range(len(clip)) if i != index and clip.masks[i, last].any()]
            assert min(inside, key=lambda i: away[i]) == near


def test_facts_survive_json():
    for clip, _ in zip(iter_clips(9), range(30), strict=False):
        assert Facts.from_dict(json.loads(json.dumps(clip.facts.to_dict()))) == clip.facts
    with pytest.raises(ConfigurationError, match="not the facts of a clip"):
        Facts.from_dict({"objects": []})


@examples
@given(SEEDS)
def test_objects_start_inside_the_frame_and_large_enough_to_be_seen(seed):
    clip = clip_of(seed)
    reach = np.array([REACH[item.shape] for item in clip.facts.objects]) * clip.scene.radii[:, 0]
    edge = np.minimum(clip.scene.centers[:, 0], 64 - clip.scene.centers[:, 0]).min(1)
    assert (edge >= reach).all()
    for index, item in enumerate(clip.facts.objects):
        hidden = item.motion[0] == "behind"
        rows, columns = np.nonzero(clip.masks[index, 0])
        assert hidden or min(np.ptp(rows), np.ptp(columns)) + 1 >= 9


# --- splits ----------------------------------------------------------------------------------------------------------


def test_splits_share_no_combination_but_every_value():
    seen = {"train": set(), "heldout": set()}
    for split, found in seen.items():
        for clip, _ in zip(iter_clips(0, split), range(450), strict=False):
            assert len({(item.color, item.shape) for item in clip.facts.objects}) == len(clip)
            found |= {(item.shape, item.color, motion_key(item.motion)) for item in clip.facts.objects}
    assert not seen["train"] & seen["heldout"]
    for place, values in enumerate((set(SHAPES), set(COLORS), {key for _, _, key in seen["heldout"]})):
        assert {combination[place] for combination in seen["train"]} >= values
    for motion in ("still", "two left up", "chase"):
        both = set(combinations("train", motion)) ^ set(combinations("heldout", motion))
        assert len(both) == len(SHAPES) * len(COLORS)


def test_no_motion_is_rare():
    kinds = [item.motion[0] for clip, _ in zip(iter_clips(1), range(400), strict=False) for item in clip.facts.objects]
    alone, together = ("still", "move", "circle", "bounce", "grow", "shrink", "two", "leave"), ("approach", "chase")
    for kind in (*alone, *together, "behind", "collide"):
        assert kinds.count(kind) > 0.01 * len(kinds), kind


def test_workers_share_clips_without_repeats():
    whole = iter_clips(2)
    first, second = iter_clips(2, start=0, step=2), iter_clips(2, start=1, step=2)
    for _ in range(3):
        assert next(whole).facts == next(first).facts
        assert next(whole).facts == next(second).facts


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 63}, "even number"),
        ({"size": 32}, "from 48"),
        ({"frames": 4}, "from 8"),
        ({"split": "test"}, "train, heldout"),
        ({"theme": "war"}, "mixed"),
        ({"objects": 5}, "2, 3 or 4"),
        ({"seed": -1}, "from 0 up"),
    ],
)
def test_impossible_clips_are_refused(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        make_clip(**{"seed": 0, **arguments})
