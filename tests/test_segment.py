"""Prompts become masklets: what all segmenters share, shown with one that knows an object by its color."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import videorefer_plugin as vr
from tests.media import write_video
from videorefer_plugin.segment import FrameMask, Note, Tracked, load_masklets, read_prompts, save_masklets
from videorefer_plugin.segment.frames import walk
from videorefer_plugin.segment.summaries import doubts_of

SIZE = 48
LENGTH = 12
RED, BLUE = (220, 30, 30), (30, 40, 220)


def make_frames(length: int = LENGTH, gone: range = range(0)) -> np.ndarray:
    """A red square that moves right, away in some of the frames, and a blue one that stays where it is."""
    frames = np.full((length, SIZE, SIZE, 3), 200, np.uint8)
    frames[:, 30:40, 30:40] = BLUE
    for frame in range(length):
        if frame not in gone:
            frames[frame, 8:18, 2 + 2 * frame : 12 + 2 * frame] = RED
    return frames


class ByColor(vr.Segmenter):
    """Finds the pixels of the color under the first point; loses what it does not see for three frames."""

    name = "by_color"

    @classmethod
    def load(cls, checkpoint: Any = None, device: Any = None, dtype: Any = None, **settings: Any) -> "ByColor":
        return cls()

    def _segment(self, frame: np.ndarray, prompts: list[vr.Prompt]) -> list[FrameMask]:
        return [FrameMask(self._like(frame, self._color(frame, prompt)), 1.0) for prompt in prompts]

    def _color(self, frame: np.ndarray, prompt: vr.Prompt) -> np.ndarray:
        x, y = prompt.points[0].astype(int)
        return frame[y, x].astype(int)

    def _like(self, frame: np.ndarray, color: np.ndarray) -> np.ndarray:
        return np.abs(frame.astype(int) - color).sum(2) < 60

    def _track(self, video: Any, prompts: Any, start: int, end: int, known: Any) -> Iterator[Tracked | Note]:
        firsts = [min(own) for own in prompts]
        colors: dict[int, np.ndarray] = {}
        for reverse in (False, True):
            missing = [0] * len(prompts)
            there = max(firsts) - 1 if reverse else min(firsts)
            for seen in walk(video, there, start if reverse else end) if there >= start else ():
                if seen.is_cut:
                    yield Note("cut", f"A new shot begins at frame {seen.frame}.", seen.frame)
                for number, first in enumerate(firsts):
                    if seen.frame == first:
                        colors[number] = self._color(seen.pixels, prompts[number][first])
                    if (seen.frame < first) != reverse or missing[number] == 3:
                        continue
                    mask = self._like(seen.pixels, colors[number])
                    missing[number] = 0 if mask.any() else missing[number] + 1
                    if missing[number] == 3:
                        text = f"It was lost at frame {seen.frame}."
                        yield Note("lost", text, seen.frame, number, reverse)
                    else:
                        yield Tracked(number, seen.frame, mask if mask.any() else None, float(mask.any()))


@pytest.fixture(scope="module", autouse=True)
def by_color() -> None:
    vr.register_segmenter("by_color", f"{__name__}:ByColor", ["segment", "propagate"])


def red(frame: int = 0) -> vr.Region:
    return vr.Region.from_points([(7 + 2 * frame, 13)], frame=frame)


def blue(frame: int = 0) -> vr.Region:
    return vr.Region.from_points([(35, 35)], frame=frame)


# --- following -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame", [0, 5, LENGTH - 1])
def test_a_click_in_any_frame_is_followed_in_both_directions(frame):
    masklet = red(frame).propagate(make_frames(), "by_color")
    assert masklet.region.frames == tuple(range(LENGTH)) == tuple(masklet.scores)
    for index in range(LENGTH):
        expected = np.zeros((SIZE, SIZE), bool)
        expected[8:18, 2 + 2 * index : 12 + 2 * index] = True
        assert np.array_equal(masklet.region.mask(index, SIZE, SIZE), expected)
    assert (masklet.backend, masklet.size, masklet.lost) == ("by_color", (SIZE, SIZE), ())
    assert list(masklet.prompts) == [frame]


def test_a_loaded_segmenter_and_a_file_do_as_well_as_a_name_and_an_array(tmp_path):
    path = write_video(tmp_path / "clip.mp4", LENGTH)
    segmenter = vr.load_segmenter("by_color")
    masklet = vr.Region.from_points([(4, 4)], time=0.2).propagate(path, segmenter)
    assert str(path) in masklet.video
    assert len(masklet.region) >= 1


def test_several_objects_are_followed_at_once_in_their_order():
    first, second = vr.propagate_many(make_frames(), [blue(3), red(1).to_json()], "by_color")
    assert first.region.mask(7, SIZE, SIZE)[35, 35]
    assert second.region.mask(7, SIZE, SIZE)[13, 20]
    assert second.region.frames == tuple(range(LENGTH))


def test_nothing_to_follow_gives_nothing():
    assert vr.propagate_many(make_frames(), [], "by_color") == []


def test_only_the_frames_from_start_to_end_are_followed():
    masklet = red(5).propagate(make_frames(), "by_color", start=3, end=8)
    assert masklet.region.frames == (3, 4, 5, 6, 7, 8)


def test_an_object_that_comes_back_is_absent_meanwhile():
    masklet = red().propagate(make_frames(gone=range(4, 6)), "by_color")
    assert masklet.region.frames == tuple(range(LENGTH))
    assert [frame for frame in range(LENGTH) if masklet.region.is_absent(frame)] == [4, 5]
    assert masklet.scores[4] < masklet.scores[3]


def test_a_loss_is_told_and_nothing_is_said_of_the_frames_behind_it():
    frames = make_frames(gone=range(4, LENGTH))
    with pytest.warns(UserWarning, match="object 1: It was lost at frame 6"):
        masklet = red().propagate(frames, "by_color")
    assert masklet.region.frames == (0, 1, 2, 3, 4, 5)
    assert [(note.frame, note.reverse) for note in masklet.lost] == [(6, False)]
    with pytest.raises(vr.SegmentError, match="lost at frame 6") as caught:
        vr.propagate_many(frames, [red(), blue()], "by_color", on_lost="raise")
    assert [masklet.region.frames[-1] for masklet in caught.value.masklets] == [5, LENGTH - 1]
    assert red().propagate(frames, "by_color", on_lost="ignore").lost


def test_low_scores_are_put_into_words():
    masklet = red().propagate(make_frames(), "by_color")
    doubted = replace(masklet, scores=dict.fromkeys(masklet.scores, 0.3))
    assert doubts_of([masklet]) == []
    (said,) = doubts_of([masklet, doubted])
    assert said.startswith("object 2: its masks have a mean score of 0.30")


def test_a_cut_is_noticed():
    frames = make_frames()
    frames[7:] = np.random.default_rng(0).integers(0, 90, (5, SIZE, SIZE, 3), dtype=np.uint8)
    masklet = red().propagate(frames, "by_color", on_lost="ignore")
    assert masklet.cuts == (7,)


def test_a_cut_is_told_from_motion_and_from_light():
    """A pan over a colored field, which goes on over another field; then the light goes up."""
    rng = np.random.default_rng(0)
    fields = [np.kron(rng.integers(40, 130, (8, 20, 3)), np.ones((6, 6, 1))).astype(np.uint8) for _ in range(2)]
    fields[1][..., 0] //= 3
    frames = np.stack([field[:, 2 * step : 2 * step + SIZE] for field in fields for step in range(20)])
    assert [seen.frame for seen in walk(vr.open_video(frames), 0, 39) if seen.is_cut] == [20]
    assert [seen.frame + 1 for seen in walk(vr.open_video(frames), 39, 0) if seen.is_cut] == [20]
    light = np.stack([np.full((SIZE, SIZE, 3), 6 * step, np.uint8) for step in range(40)])
    assert not any(seen.is_cut for seen in walk(vr.open_video(light), 0, 39))


def test_progress_is_told_and_stops_the_work():
    told: list[tuple[int, int]] = []
    red(3).propagate(make_frames(), "by_color", progress=lambda *now: told.append(now))
    assert told == [(done, LENGTH) for done in range(1, LENGTH + 1)]
    masklet = red().propagate(make_frames(), "by_color", progress=lambda done, total: done < 4)
    assert masklet.region.frames == (0, 1, 2, 3)
    assert [note.kind for note in masklet.notes] == ["cancelled"]


def test_frames_of_a_walk_are_those_of_the_video_in_either_direction(tmp_path):
    video = vr.open_video(write_video(tmp_path / "clip.mp4", 40))
    for first, last in ((3, 36), (36, 3), (5, 5)):
        seen = list(walk(video, first, last))
        step = 1 if first <= last else -1
        assert [one.frame for one in seen] == list(range(first, last + step, step))
        assert all(np.array_equal(one.pixels, video.read([one.frame])[0]) for one in seen)


# --- prompts --------------------------------------------------------------------------------------------------------


def prompt_of(region: vr.Region) -> vr.Prompt:
    return read_prompts(region, vr.open_video(make_frames()))[region.frames[0]]


def test_every_shape_becomes_a_prompt():
    points = prompt_of(vr.Region.from_points([(3, 4), (20, 20)], labels=[1, 0]))
    assert (points.points.tolist(), points.labels) == ([[3, 4], [20, 20]], (1, 0))
    assert prompt_of(vr.Region.from_box((-5, 4, 20, 60))).box == (0, 4, 20, SIZE)  # clipped to the frame
    assert prompt_of(vr.Region.from_polygon([(2, 2), (20, 2), (2, 20)])).mask.sum() > 100
    mask = np.zeros((SIZE, SIZE), bool)
    mask[4:9, 4:9] = True
    assert np.array_equal(prompt_of(vr.Region.from_mask(mask)).mask, mask)


@pytest.mark.parametrize("path", [[(5, 5), (40, 5)], [(5, 5)], [(5, 5), (5, 5)], [(-30, 5), (60, 5)]])
def test_a_scribble_becomes_a_few_points_along_it(path):
    prompt = prompt_of(vr.Region.from_scribble(path))
    assert 1 <= len(prompt.points) <= 5
    assert set(prompt.labels) == {1}
    assert (prompt.points[:, 1] == 5).all()
    assert ((prompt.points[:, 0] >= 0) & (prompt.points[:, 0] < SIZE)).all()


def test_points_may_stand_beside_a_box():
    prompt = vr.Prompt(points=[(5, 5)], labels=(0,), box=(2, 2, 30, 30))
    read = read_prompts({4: prompt}, vr.open_video(make_frames()))
    assert (read[4].box, read[4].labels) == ((2, 2, 30, 30), (0,))


def test_prompts_take_what_regions_take():
    mask = np.zeros((SIZE, SIZE), np.float32)
    mask[4:9, 4:9] = 1.0
    assert vr.Prompt(mask=mask).mask.dtype == bool
    assert vr.Prompt(points=np.array([[5, 5], [9, 9]]), labels=np.array([1, 0])).labels == (1, 0)
    assert vr.Prompt(points=[[5, 5], [9, 9]]).labels == (1, 1)
    assert vr.Prompt(mask=np.zeros((SIZE, SIZE))).absent
    assert not vr.Prompt(mask=np.zeros((SIZE, SIZE)), box=(2, 2, 9, 9)).absent
    assert vr.Prompt(box=(-9, -9, 20, 99)).fitted(SIZE, SIZE).box == (0, 0, 20, SIZE)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"labels": (1,)},
        {"points": [[5, 5]], "labels": (1, 0)},
        {"points": "here"},
        {"box": (9, 9, 2, 2)},
        {"box": 3},
        {"mask": "dog.png"},
        {"mask": np.full((4, 4), 0.3)},
        {"points": [[0.3, 0.4]]},
    ],
)
def test_prompts_that_mean_nothing_are_refused(given):
    with pytest.raises(vr.RegionError):
        vr.Prompt(**given)


def test_absence_and_an_empty_mask_say_that_the_object_is_not_there():
    region = vr.Region({0: (2, 2, 9, 9), 3: None, 5: np.zeros((SIZE, SIZE), bool)})
    prompts = read_prompts(region, vr.open_video(make_frames()))
    assert [prompts[frame].absent for frame in (0, 3, 5)] == [False, True, True]


BAD = {
    "a point outside": (lambda: vr.Region.from_points([(7, 99)]), vr.RegionError, "outside the frame of 48x48"),
    "a box outside": (lambda: vr.Region.from_box((60, 60, 80, 80), frame=2), vr.RegionError, "frame 2: .*outside"),
    "a mask of another size": (lambda: vr.Region.from_mask(np.ones((9, 9))), vr.RegionError, "9x9"),
    "a frame that is not there": (lambda: red(40), vr.VideoError, "Frame 40 .* 12 frames"),
    "only points beside it": (
        lambda: {0: vr.Prompt(points=[(3, 3)], labels=(0,))},
        vr.RegionError,
        "nothing says where the object is",
    ),
    "only absence": (lambda: vr.Region({0: None}), vr.RegionError, "nothing says where the object is"),
    "a prompt's point outside": (lambda: {1: vr.Prompt(points=[(90, 3)])}, vr.RegionError, "frame 1: .*outside"),
    "something else": (lambda: "dog", vr.RegionError, "must be a Region, but is a str"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_prompts_are_refused_before_a_frame_is_read(name):
    make, error, message = BAD[name]

    class Unread(type(vr.open_video(make_frames()))):
        def _decode(self, wanted):
            raise AssertionError("a frame was read")

    video = vr.open_video(make_frames())
    video.__class__ = Unread
    with pytest.raises(error, match=message):
        vr.propagate_many(video, [make()], "by_color")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"segmenter": "sam9"}, vr.ConfigurationError, "no segmenter 'sam9'; expected one of .*classical"),
        ({"start": 8, "end": 3}, vr.VideoError, "8 to 3"),
        ({"start": 4}, vr.VideoError, "pointed at in frame 2, which is not among .* 4 to 11"),
        ({"end": 99}, vr.VideoError, "Frame 99"),
        ({"on_lost": "shrug"}, vr.ConfigurationError, "warn, raise, ignore"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        red(2).propagate(make_frames(), **{"segmenter": "by_color", **settings})


def test_negative_points_alone_are_no_region():
    with pytest.raises(vr.RegionError, match="labeled 0"):
        vr.Region.from_points([(3, 3)], labels=[0])


def test_which_of_several_objects_does_not_fit_is_said():
    with pytest.raises(vr.RegionError, match=r"^Object 2: frame 0: .*outside"):
        vr.propagate_many(make_frames(), [red(), vr.Region.from_points([(7, 99)])], "by_color")


def test_a_masklet_lies_on_the_visual_of_its_region():
    masklet = vr.Region.from_points([(7, 13)], visual=1).propagate(make_frames(), "by_color")
    assert masklet.region.visual == 1


@pytest.mark.parametrize("given", [red(), {0: vr.Prompt(box=(2, 2, 9, 9))}, None, 3, "dog"])
def test_what_is_no_list_of_objects_is_not_taken_for_one(given):
    segmenter = vr.load_segmenter("by_color")
    for follow in (vr.propagate_many, lambda video, own, segmenter: segmenter.propagate(video, own)):
        with pytest.raises(vr.SegmentError, match=r"one region or prompt for each object.*\[region\]"):
            follow(make_frames(), given, segmenter)
    with pytest.raises(vr.SegmentError, match=r"takes a list|expected a Prompt"):
        segmenter.segment(make_frames()[0], vr.Prompt(box=(2, 2, 9, 9)) if given is None else [given])


def test_objects_may_come_from_a_generator():
    assert len(vr.propagate_many(make_frames(), (one for one in [red(), blue()]), "by_color")) == 2


def test_weights_are_not_loaded_for_prompts_that_do_not_fit():
    with pytest.raises(vr.RegionError, match="outside"):
        vr.Region.from_points([(7, 99)]).propagate(make_frames(), "sam2_video")
    with pytest.raises(vr.SegmentError, match="progress is 3"):
        red().propagate(make_frames(), "by_color", progress=3)


def test_an_object_that_was_not_reached_is_named():
    with pytest.raises(vr.SegmentError, match="Nothing is known yet of object 2") as caught:
        vr.propagate_many(make_frames(), [red(), blue(9)], "by_color", progress=lambda done, total: done < 4)
    assert [masklet.region.frames for masklet in caught.value.masklets] == [(0, 1, 2, 3)]


# --- segmenters -----------------------------------------------------------------------------------------------------


def test_segmenters_are_listed_with_what_they_can_do():
    assert vr.segmenters()["classical"] == ("segment", "propagate")
    assert list(vr.segmenters()) == sorted(vr.segmenters())


def test_an_ability_that_is_lacking_names_who_has_it():
    with pytest.raises(vr.SegmentError, match=r"^by_color cannot find words; use .*grounding"):
        vr.find_regions(make_frames(), "the red square", "by_color")
    with pytest.raises(vr.SegmentError, match="by_color cannot find words"):
        vr.load_segmenter("by_color").find(make_frames()[0], "the red square")


def test_a_missing_package_is_named_with_its_extra():
    vr.register_segmenter("lacking", f"{__name__}:ByColor", ["propagate"], packages=["no_such_package"])
    with pytest.raises(vr.ConfigurationError, match=r"no_such_package.*videorefer-plugin\[segment\]"):
        vr.load_segmenter("lacking")


@pytest.mark.parametrize(
    ("name", "path", "abilities", "message"),
    [
        ("new", "here:There", ["guess"], "ability 'guess'"),
        ("new", "here:There", [], "no ability"),
        ("new", "here.There", ["find"], "package.module:Class"),
        ("classical", "here:There", ["find"], "registered already"),
    ],
)
def test_registering_fails_early(name, path, abilities, message):
    with pytest.raises(vr.ConfigurationError, match=message):
        vr.register_segmenter(name, path, abilities)


def test_weights_for_a_segmenter_without_weights_are_refused(tmp_path):
    with pytest.raises(vr.ConfigurationError, match="has no weights"):
        vr.load_segmenter("by_color", tmp_path)


def test_one_frame_is_segmented_by_prompts():
    segmenter = vr.load_segmenter("by_color")
    one, other = segmenter.segment(make_frames()[0], [vr.Prompt(points=[(7, 13)]), vr.Prompt(points=[(35, 35)])])
    assert (one.mask.sum(), other.mask.sum()) == (100, 100)
    with pytest.raises(vr.SegmentError, match="Prompt 1 does not say where"):
        segmenter.segment(make_frames()[0], [vr.Prompt(points=[(7, 13)], labels=(0,))])
    with pytest.raises(vr.RegionError, match="outside"):
        segmenter.segment(make_frames()[0], [vr.Prompt(points=[(7, 99)])])


class Wrong(ByColor):
    """Makes masks that do not fit the frame."""

    mask: Any = None
    number = 0

    def _segment(self, frame: np.ndarray, prompts: list[vr.Prompt]) -> list[FrameMask]:
        return [FrameMask(self.mask, 1.0)] * (1 + self.number)

    def _track(self, video: Any, prompts: Any, start: int, end: int, known: Any) -> Iterator[Tracked | Note]:
        yield Tracked(self.number, start, self.mask, 1.0)


@pytest.mark.parametrize(
    ("mask", "given"),
    [
        (np.ones((SIZE, SIZE)), r"dtype float64"),
        (np.full((SIZE, SIZE), 255, np.uint8), r"dtype uint8"),
        (np.ones((SIZE // 2, SIZE // 2), bool), r"shape \(24, 24\)"),
        ([[True]], r"\[\[True\]\]"),
    ],
)
def test_masks_of_a_segmenter_of_ones_own_have_to_fit_the_frame(mask, given):
    segmenter = Wrong()
    segmenter.mask = mask
    with pytest.raises(vr.SegmentError, match=rf"by_color made a mask.*{given}.*bool array of shape \(48, 48\)"):
        red().propagate(make_frames(), segmenter)
    with pytest.raises(vr.SegmentError, match=rf"by_color made a mask.*{given}"):
        segmenter.segment(make_frames()[0], [vr.Prompt(points=[(7, 13)])])


def test_a_segmenter_of_ones_own_tells_of_the_objects_that_it_was_given():
    segmenter = Wrong()
    segmenter.number, segmenter.mask = 1, np.ones((SIZE, SIZE), bool)
    with pytest.raises(vr.SegmentError, match=r"result for object 1, but was given 1 object"):
        red().propagate(make_frames(), segmenter)
    with pytest.raises(vr.SegmentError, match=r"returned 2 mask\(s\) for 1 prompt"):
        segmenter.segment(make_frames()[0], [vr.Prompt(points=[(7, 13)])])


# --- files ----------------------------------------------------------------------------------------------------------


def test_masklets_are_saved_as_records_have_them_and_read_again(tmp_path):
    frames = make_frames(gone=range(4, LENGTH))
    given = [red(), {2: vr.Prompt(points=[(35, 35), (3, 3)], labels=(1, 0), box=(28, 28, 42, 42))}]
    masklets = vr.propagate_many(frames, given, "by_color", on_lost="ignore")
    save_masklets(tmp_path / "masks.json", masklets)
    written = json.loads((tmp_path / "masks.json").read_text())
    assert [vr.Region.from_annotation(one) for one in written["annotation"]] == [one.region for one in masklets]
    assert written["scores"][0]["4"] == 0.0
    for before, after in zip(masklets, load_masklets(tmp_path / "masks.json"), strict=True):
        assert (before.region, before.scores, before.notes) == (after.region, after.scores, after.notes)
        assert (before.backend, before.size, before.settings) == (after.backend, after.size, after.settings)
        assert [one.to_json() for one in before.prompts.values()] == [one.to_json() for one in after.prompts.values()]


def test_one_masklet_saves_itself(tmp_path):
    masklet = red().propagate(make_frames(), "by_color")
    masklet.save(tmp_path / "mask.json")
    assert load_masklets(tmp_path / "mask.json")[0].region == masklet.region
    with pytest.raises(vr.SegmentError, match="cannot be written"):
        masklet.save(tmp_path / "nowhere" / "mask.json")


def test_a_file_says_where_its_video_is(tmp_path):
    path = write_video(tmp_path / "clip.mp4", 5)
    assert vr.Region.from_points([(4, 4)]).propagate(path, "by_color").video == str(path)
    assert vr.Region.from_points([(4, 4)]).propagate(make_frames(), "by_color").video is None


def test_masklets_of_several_segmenters_go_into_several_files(tmp_path):
    one = red().propagate(make_frames(), "by_color")
    for change in ({"backend": "other"}, {"video": "other.mp4"}, {"settings": {"side": 3}}, {"size": (9, 9)}):
        with pytest.raises(vr.SegmentError, match=f"differ in {next(iter(change))}"):
            save_masklets(tmp_path / "masks.json", [one, replace(one, **change)])
    assert not (tmp_path / "masks.json").exists()


DAMAGE = {
    "three sides": lambda value: value.update(size=[1, 2, 3]),
    "sides below 0": lambda value: value.update(size=[-1, 2]),
    "another size": lambda value: value.update(size=[9, 9]),
    "a score that is none": lambda value: value["scores"][0].update({"3": "x"}),
    "a score above 1": lambda value: value["scores"][0].update({"3": 7}),
    "a score that is missing": lambda value: value["scores"][0].pop("3"),
    "a score of no frame": lambda value: value["scores"][0].update({"a": 1}),
    "a prompt of no frame": lambda value: value["prompts"][0].update({"a": {"box": [1, 1, 9, 9]}}),
    "settings that are none": lambda value: value.update(settings="abc"),
    "notes that are none": lambda value: value.update(notes=[[3]]),
    "too few prompts": lambda value: value.update(prompts=[]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files_are_refused(tmp_path, name):
    red().propagate(make_frames(), "by_color").save(tmp_path / "masks.json")
    value = json.loads((tmp_path / "masks.json").read_text())
    DAMAGE[name](value)
    (tmp_path / "masks.json").write_text(json.dumps(value))
    with pytest.raises(vr.VideoReferError):
        load_masklets(tmp_path / "masks.json")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"annotation": [{}]}', '{"annotation": 3}', "\0"])
def test_files_that_hold_no_masklets_are_refused(tmp_path, content):
    (tmp_path / "masks.json").write_text(content)
    with pytest.raises(vr.VideoReferError):
        load_masklets(tmp_path / "masks.json")
    with pytest.raises(vr.SegmentError, match="no masklets"):
        save_masklets(tmp_path / "masks.json", [])
