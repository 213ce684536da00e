"""Words become masklets: detectors with SAM-HQ and a propagator, and SAM 3 at once, with tiny random weights."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor, Sam3VideoModel, Sam3VideoProcessor
from transformers.models.sam3_video import modeling_sam3_video

import videorefer_plugin as vr
from tests.tensors import only_new_tensors, side_by_side
from tests.tiny_finders import DETECTORS, save_detector, save_sam3, save_sam_hq
from tests.tiny_segmenters import save_tiny_segmenter
from videorefer_plugin.segment import Prompt, Segmenter, load_masklets
from videorefer_plugin.segment.cleaning import (
    box_overlaps,
    fill_holes,
    keep_surest,
    mask_overlaps,
    remove_sprinkles,
)
from videorefer_plugin.segment.sam_hq import SamHQ

HEIGHT, WIDTH, LENGTH = 48, 72, 9
PHRASE = "a red car"


def make_frames(length: int = LENGTH) -> np.ndarray:
    """Coarse noise, of which half stays the same in all frames."""
    noise = np.random.default_rng(0).integers(0, 255, (length, 6, 9, 3), dtype=np.uint8)
    frames = noise.repeat(8, 1).repeat(8, 2)
    return frames[:1] // 2 + frames // 2


FRAMES = make_frames()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every checkpoint, under the name of its kind."""
    root = tmp_path_factory.mktemp("checkpoints")
    for kind in DETECTORS:
        save_detector(kind, root / kind)
    save_sam_hq(root / "sam-hq")
    # Low thresholds, since random weights are sure of nothing; and few objects, since each takes time.
    save_sam3(
        root / "sam3",
        score_threshold_detection=0.05,
        new_det_thresh=0.1,
        det_nms_thresh=0.3,
        fill_hole_area=8,
        hotstart_delay=3,
        hotstart_unmatch_thresh=3,
        hotstart_dup_thresh=3,
        recondition_every_nth_frame=2,
        high_conf_thresh=0.1,
        high_iou_thresh=0.1,
        max_num_objects=3,
    )
    return root


@pytest.fixture(scope="module")
def grounding(folder: Path) -> Any:
    """Loads the chain of detector, SAM-HQ and propagator; thresholds let everything through."""

    def load(kind: str = "grounding-dino", dtype: Any = None, **settings: Any) -> Any:
        chosen = {"mask_checkpoint": folder / "sam-hq", "propagator": "classical", "threshold": 0.0}
        return vr.load_segmenter(
            "grounding", folder / kind, dtype=dtype, **{**chosen, "text_threshold": 0, **settings}
        )

    return load


@pytest.fixture(scope="module")
def sam3(folder: Path) -> Any:
    return vr.load_segmenter("sam3_video", folder / "sam3")


def mask_of(masklet: vr.Masklet, frame: int) -> np.ndarray:
    if frame not in masklet.region.present:
        return np.zeros((HEIGHT, WIDTH), bool)
    return masklet.region.mask(frame, HEIGHT, WIDTH)


# --- words that are none, and what can be refused before anything is loaded ------------------------------------------


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("", "expected a text such as"),
        (" \n ", "expected a text such as"),
        ("...?!", "has no word"),
        ("\u200b", "has no word"),
        ("a\x00car", r"control character '\\x00'"),
        ("a \udc80 car", "lone surrogate"),
        ("car " * 1000, "3999 characters"),
        (None, "of type NoneType"),
        (3, "of type int"),
        (b"a car", "of type bytes"),
        (["a car", "a dog"], "one phrase after the other"),
    ],
)
@pytest.mark.parametrize("name", ["grounding", "sam3_video"])
def test_what_is_no_phrase_is_refused_before_anything_is_loaded(phrase, message, name):
    with pytest.raises(vr.SegmentError, match=message):
        vr.find_regions(FRAMES, phrase, name)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"frame": LENGTH}, vr.VideoError, f"Frame {LENGTH} was asked for.*has {LENGTH} frames"),
        ({"frame": -1}, vr.VideoError, "Frame -1"),
        ({"frame": 1.5}, vr.VideoError, "whole number"),
        ({"max_objects": 0}, vr.ConfigurationError, "max_objects must be a whole number of at least 1, but is 0"),
        ({"max_objects": -2}, vr.ConfigurationError, "max_objects"),
        ({"max_objects": True}, vr.ConfigurationError, "max_objects"),
        ({"max_objects": "many"}, vr.ConfigurationError, "max_objects"),
        ({"on_lost": "weep"}, vr.ConfigurationError, "on_lost"),
        ({"segmenter": "sam4"}, vr.ConfigurationError, "no segmenter 'sam4'"),
        (
            {"segmenter": "classical"},
            vr.SegmentError,
            "^classical cannot find words; use .*grounding.*sam3_video or shapes_color\\.$",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_loaded(settings, error, message):
    with pytest.raises(error, match=message):
        vr.find_regions(FRAMES, PHRASE, **settings)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", ["grounding", "sam3_video"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.5}, "threshold must be a number from 0 to 1, but is 1.5"),
        ({"threshold": "high"}, "threshold must be"),
        ({"threshold": float("nan")}, "threshold must be"),
        ({"treshold": 0.5}, "threshold"),
        ({"device": "cuda:99"}, "device 'cuda:99' cannot be used"),
        ({"device": "moon"}, "device 'moon' cannot be used"),
        ({"device": "meta"}, "device 'meta' cannot be used"),
        ({"dtype": "int8"}, "dtype is 'int8'"),
        ({"dtype": "float8_e4m3fn"}, "dtype is 'float8_e4m3fn'; expected 'auto' or one that models compute in"),
        ({"checkpoint": 3}, "folder or an id on the Hub"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(name, settings, message, folder):
    given = {"checkpoint": folder / {"grounding": "owlv2", "sam3_video": "sam3"}[name], **settings}
    if name == "grounding":
        given = {"propagator": "classical", "mask_checkpoint": folder / "sam-hq", **given}
    with pytest.raises(vr.ConfigurationError, match=message):
        vr.load_segmenter(name, **given)


class FindsOnly(Segmenter):
    """A segmenter that is not registered."""

    name = "finds_only"

    @classmethod
    def load(cls, *_: Any, **settings: Any) -> Any:
        return cls()

    def _find(self, frame: Any, phrase: str, max_objects: int | None) -> Any:
        return []


class FollowsOnly(FindsOnly):
    name = "follows_only"

    def _track(self, *_: Any) -> Any:
        return iter(())


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"text_threshold": None}, vr.ConfigurationError, "text_threshold must be"),
        ({"most_overlap": 2}, vr.ConfigurationError, "most_overlap must be"),
        ({"frames": 0}, vr.ConfigurationError, "frames must be a whole number of at least 1"),
        ({"masks": "grabcut"}, vr.ConfigurationError, "expected one of sam_hq, propagator"),
        ({"propagator": "sam4"}, vr.ConfigurationError, "no segmenter 'sam4'"),
        ({"propagator": "sam3_video"}, vr.SegmentError, "^sam3_video cannot follow objects; use .*classical"),
        ({"propagator": "grounding"}, vr.ConfigurationError, "propagator is 'grounding'"),
        (
            {"propagator": vr.load_segmenter("classical"), "propagator_checkpoint": "x"},
            vr.ConfigurationError,
            "loaded",
        ),
        ({"propagator_checkpoint": "x"}, vr.ConfigurationError, "classical has no weights"),
        ({"propagator": FindsOnly()}, vr.SegmentError, "^finds_only cannot follow objects; use .*classical"),
        (
            {"propagator": FollowsOnly(), "masks": "propagator"},
            vr.SegmentError,
            "^follows_only cannot cut objects out of a frame; use .*classical",
        ),
        ({"mask_checkpoint": 3}, vr.ConfigurationError, "folder or an id on the Hub"),
    ],
)
def test_a_chain_that_does_not_hold_is_refused_before_anything_is_loaded(settings, error, message):
    with pytest.raises(error, match=message):
        vr.load_segmenter("grounding", "no/such/checkpoint", **{"propagator": "classical", **settings})


def test_sam3_that_is_loaded_is_no_propagator(sam3, grounding):
    with pytest.raises(vr.SegmentError, match=r"^sam3_video cannot follow objects; use .*classical"):
        grounding("owlv2", propagator=sam3)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def lacking(source: Path, target: Path) -> Path:
    """The same checkpoint without a few of its weights."""
    shutil.copytree(source, target)
    state = load_file(target / "model.safetensors")
    save_file(dict(list(state.items())[3:]), target / "model.safetensors", {"format": "pt"})
    return target


def damaged(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    (target / "model.safetensors").write_bytes(b"no weights")
    return target


def without_processor(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    for name in ("processor_config.json", "preprocessor_config.json"):
        (target / name).unlink(missing_ok=True)
    return target


@pytest.mark.spread(2)
@pytest.mark.parametrize("part", ["owlv2", "grounding-dino", "sam-hq", "sam3"])
@pytest.mark.parametrize("spoil", [lacking, damaged, without_processor])
def test_a_checkpoint_that_is_not_whole_is_refused(part, spoil, folder, grounding, tmp_path):
    spoiled = spoil(folder / part, tmp_path / "spoiled")
    load = {
        "sam3": lambda: vr.load_segmenter("sam3_video", spoiled),
        "sam-hq": lambda: grounding("owlv2", mask_checkpoint=spoiled),
    }.get(part, lambda: grounding(spoiled))
    with pytest.raises(vr.CheckpointError, match="spoiled"):
        load()


@pytest.mark.parametrize(
    ("name", "other"),
    [("grounding", "sam3"), ("grounding", "sam-hq"), ("sam3_video", "owlv2"), ("sam3_video", "nowhere")],
)
def test_a_checkpoint_of_another_kind_is_refused(name, other, folder):
    settings = {"propagator": "classical", "mask_checkpoint": folder / "sam-hq"} if name == "grounding" else {}
    with pytest.raises(vr.CheckpointError, match=other):
        vr.load_segmenter(name, folder / other, **settings)


# --- a detector, SAM-HQ and a propagator -----------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("kind", DETECTORS)
def test_a_frame_has_candidates_the_surest_first(kind, dtype, grounding):
    segmenter = grounding(kind, dtype, most_overlap=0.5)
    found = segmenter.find(FRAMES[0], PHRASE)
    assert len(found) >= 2
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for one in found:
        x0, y0, x1, y1 = one.box
        assert (one.mask.shape, one.mask.dtype, one.phrase) == ((HEIGHT, WIDTH), bool, PHRASE)
        assert one.mask.any()
        assert 0 <= x0 < x1 <= WIDTH
        assert 0 <= y0 < y1 <= HEIGHT
        assert 0 <= one.score <= 1
    masks = np.stack([one.mask for one in found])
    assert (mask_overlaps(masks, masks)[np.triu_indices(len(masks), 1)] <= 0.5).all()
    (surest,) = segmenter.find(FRAMES[0], PHRASE, max_objects=1)
    assert (surest.score, surest.box) == (found[0].score, found[0].box)
    assert np.array_equal(surest.mask, found[0].mask)


def test_channels_come_last_in_frames_of_few_pixels_too(grounding, sam3):
    """A frame of one color looks the same whatever its size: of 3 pixels in height as of 12."""
    small, large = (np.full((side, 10 * side, 3), (200, 30, 90), np.uint8) for side in (3, 12))
    segmenter = grounding(threshold=0.9)
    best = [each.score for each in sam3.find(large, PHRASE)]
    assert [each.score for each in sam3.find(small, PHRASE)] == pytest.approx(best)
    dot = np.zeros((1, 1, 3), np.uint8)
    with pytest.raises(vr.SegmentError, match="no candidate at all"):
        segmenter.find(dot, PHRASE)
    assert segmenter.segment(dot, [Prompt(box=(0, 0, 1, 1))])[0].mask.shape == (1, 1)
    for thin in (np.zeros((1, 500, 3), np.uint8), np.zeros((500, 1, 3), np.uint8)):
        with pytest.raises(vr.SegmentError, match=r"A frame of .* cannot be prepared for the detector"):
            segmenter.find(thin, PHRASE)
        with pytest.raises(vr.SegmentError, match=r"A frame of .* cannot be prepared for SAM-HQ"):
            segmenter.segment(thin, [Prompt(box=(0, 0, 400, 400))])


@pytest.mark.parametrize("kind", ["grounding-dino", "owlv2"])
def test_boxes_are_those_of_the_processor(kind, folder, grounding):
    processor, model = AutoProcessor.from_pretrained(folder / kind), None
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder / kind).eval()
    inputs = processor(images=FRAMES[0], text=[[PHRASE]], return_tensors="pt")
    with torch.inference_mode():
        made = processor.post_process_grounded_object_detection(
            model(**inputs), threshold=0.5, target_sizes=[(HEIGHT, WIDTH)]
        )[0]
    expected = {tuple(np.clip(box, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).round(3)) for box in made["boxes"].numpy()}
    found = grounding(kind, threshold=0.5, most_overlap=1).find(FRAMES[0], PHRASE)
    assert found
    assert {tuple(np.array(one.box).round(3)) for one in found} <= {tuple(map(float, box)) for box in expected}


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", DETECTORS)
def test_full_stops_do_not_make_several_phrases_of_one(kind, grounding):
    segmenter = grounding(kind)
    one = segmenter.find(FRAMES[0], "  car\tdog ")
    several = segmenter.find(FRAMES[0], "Car. dog?" if kind != "owlv2" else "car dog")
    assert [each.score for each in one] == [each.score for each in several]


def test_the_surest_of_a_few_frames_is_chosen(grounding):
    segmenter = grounding("mm-grounding-dino", frames=3)
    looked = [1, 4, 7]
    best = {frame: segmenter.find(FRAMES[frame], PHRASE)[0].score for frame in looked}
    masklets = vr.find_regions(FRAMES, PHRASE, segmenter, on_lost="ignore")
    assert {tuple(masklet.prompts) for masklet in masklets} == {(max(best, key=best.__getitem__),)}


@pytest.mark.spread(1)
@pytest.mark.parametrize("frame", [0, 5, LENGTH - 1])
def test_all_candidates_are_followed_in_both_directions(frame, grounding, tmp_path):
    segmenter = grounding(most_overlap=0.5)
    candidates = segmenter.find(FRAMES[frame], PHRASE, max_objects=2)
    masklets = vr.find_regions(FRAMES, PHRASE, segmenter, frame=frame, max_objects=2, on_lost="ignore")
    assert len(masklets) == 2
    for masklet, candidate in zip(masklets, candidates, strict=True):
        assert np.array_equal(mask_of(masklet, frame), candidate.mask)
        assert (masklet.phrase, masklet.backend, list(masklet.prompts)) == (PHRASE, "grounding", [frame])
        assert masklet.scores[frame] == candidate.score
        assert tuple(masklet.scores) == masklet.region.frames
        assert masklet.settings["propagator"] == "classical"
    masklets[0].save(tmp_path / "found.json")
    (read,) = load_masklets(tmp_path / "found.json")
    assert (read.phrase, read.settings) == (PHRASE, masklets[0].settings)


@pytest.mark.slow
def test_whoever_can_follow_objects_is_a_propagator(grounding):
    still = vr.load_segmenter("classical")
    by_name, loaded = grounding("owlv2"), grounding("owlv2", propagator=still)
    for one, other in zip(
        *(each.find(FRAMES, PHRASE, frame=3, max_objects=2) for each in (by_name, loaded)), strict=True
    ):
        assert one.region.to_json() == other.region.to_json()
    click = vr.Region.from_points([(20, 20)], frame=2)
    told = click.propagate(FRAMES, loaded, on_lost="ignore")
    assert told.region.to_json() == click.propagate(FRAMES, still, on_lost="ignore").region.to_json()
    assert told.backend == "grounding"


def test_sam2_is_the_propagator_by_default(folder, tmp_path):
    segmenter = vr.load_segmenter(
        "grounding",
        folder / "owlv2",
        mask_checkpoint=folder / "sam-hq",
        propagator_checkpoint=save_tiny_segmenter("sam2_video", tmp_path / "sam2"),
        threshold=0,
    )
    masklets = vr.find_regions(FRAMES, PHRASE, segmenter, frame=4, max_objects=2, on_lost="ignore")
    assert [masklet.region.frames for masklet in masklets] == [tuple(range(LENGTH))] * 2
    assert masklets[0].settings["propagator"] == "sam2_video"
    assert "sam2" in masklets[0].settings["propagator_settings"]["checkpoint"]


def test_the_propagator_may_make_the_masks_as_well(grounding):
    segmenter = grounding("owlv2", masks="propagator", mask_checkpoint="no/such/checkpoint")
    (found,) = segmenter.find(FRAMES[0], PHRASE, max_objects=1)
    (same,) = vr.load_segmenter("classical").segment(FRAMES[0], [Prompt(box=found.box)])
    assert np.array_equal(found.mask, same.mask)
    assert "mask_checkpoint" not in segmenter.settings


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_sam_hq_cuts_out_what_prompts_of_all_kinds_point_at(dtype, grounding):
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[10:30, 10:30] = True
    prompts = [
        Prompt(points=[(20, 20)], labels=(1,)),
        Prompt(points=[(20, 20), (40, 40)], labels=(1, 0)),
        Prompt(box=(10, 10, 30, 30)),
        Prompt(points=[(20, 20)], labels=(1,), box=(10, 10, 30, 30)),
        Prompt(mask=square),
        Prompt(mask=square, points=[(20, 20)], labels=(1,)),
    ]
    segmenter = grounding("owlv2", dtype)
    cut = segmenter.segment(FRAMES[0], prompts)
    assert [(one.mask.shape, one.mask.dtype) for one in cut] == [((HEIGHT, WIDTH), np.dtype(bool))] * len(prompts)
    assert all(0 <= one.score <= 1 for one in cut)
    assert len({one.mask.tobytes() for one in cut}) == len(prompts)  # each of them counts
    alone = [segmenter.segment(FRAMES[0], [prompt])[0].mask for prompt in prompts]
    assert all(np.array_equal(one.mask, other) for one, other in zip(cut, alone, strict=True))


def test_sam_hq_finds_nothing_where_nothing_is_pointed_at(folder):
    """Whoever asks it by itself need not look into masks first."""
    blank = np.zeros((HEIGHT, WIDTH), bool)
    prompts = [Prompt(mask=blank), Prompt(absent=True), Prompt(mask=blank, box=(10, 10, 30, 30))]
    first, second, third = SamHQ(folder / "sam-hq", "cpu", None).cut(FRAMES[0], prompts)
    assert (first.mask.any(), first.score, second.mask.any(), second.score) == (False, 0, False, 0)
    assert third.mask.shape == (HEIGHT, WIDTH)


def test_where_nothing_is_found_frames_scores_and_remedy_are_named(grounding):
    segmenter = grounding("mm-grounding-dino", threshold=0.9, text_threshold=0.9, frames=3)
    message = r"grounding found nothing for 'a red car' in frames 1, 4, 7: the best score is 0\.\d+, and the threshold"
    with pytest.raises(vr.SegmentError, match=message + r" 0\.9\. .*other words.*frame=.*lower threshold"):
        vr.find_regions(FRAMES, PHRASE, segmenter)
    with pytest.raises(vr.SegmentError, match="in frame 2: the best score"):
        vr.find_regions(FRAMES, PHRASE, segmenter, frame=2)
    with pytest.raises(vr.SegmentError, match="in frame 0: the best score"):
        segmenter.find(FRAMES[3], PHRASE)


@pytest.mark.parametrize(("kind", "most"), [("grounding-dino", 32), ("owlv2", 16)])
def test_words_that_a_detector_cannot_read_whole_are_refused(kind, most, grounding):
    segmenter = grounding(kind)
    for seen in (FRAMES[0], FRAMES):
        with pytest.raises(vr.SegmentError, match=rf"tokens, but the detector reads at most {most}; say it shorter"):
            segmenter.find(seen, "x" * most)
    assert segmenter.find(FRAMES[0], "x" * (most - 3))


# --- SAM 3 -----------------------------------------------------------------------------------------------------------


class Kernels:
    """What the kernels that transformers downloads do, written down plainly."""

    @staticmethod
    def generic_nms(ious: torch.Tensor, scores: torch.Tensor, most: float, use_iou_matrix: bool) -> torch.Tensor:
        kept: list[int] = []
        for one in scores.argsort(descending=True, stable=True).tolist():
            if all(ious[one, other] <= most for other in kept):
                kept.append(one)
        return torch.tensor(kept)

    @staticmethod
    def cc_2d(masks: torch.Tensor, get_counts: bool) -> tuple[torch.Tensor, torch.Tensor]:
        counts = torch.zeros_like(masks, dtype=torch.int32)
        for place, _, y, x in masks.nonzero().tolist():
            if not counts[place, 0, y, x]:
                part, todo = set(), [(y, x)]
                while todo:
                    at = todo.pop()
                    if at in part or not (0 <= at[0] < masks.shape[2] and 0 <= at[1] < masks.shape[3]):
                        continue
                    if masks[place, 0, at[0], at[1]]:
                        part.add(at)
                        todo += [(at[0] + down, at[1] + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
                for row, column in part:
                    counts[place, 0, row, column] = len(part)
        return counts, counts


@pytest.fixture(scope="module")
def whole_run(folder: Path) -> dict[int, dict[int, np.ndarray]]:
    """What transformers tells of the whole video at once, with kernels: frame -> object -> mask."""
    model = Sam3VideoModel.from_pretrained(folder / "sam3").eval()
    processor = Sam3VideoProcessor.from_pretrained(folder / "sam3")
    session = processor.init_video_session(video=FRAMES)
    processor.add_text_prompt(session, PHRASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modeling_sam3_video, "cv_utils_kernel", Kernels)
        told = {}
        for out in model.propagate_in_video_iterator(session):
            made = processor.postprocess_outputs(session, out)
            told[out.frame_idx] = dict(zip(made["object_ids"].tolist(), made["masks"].numpy(), strict=True))
    return told


def test_sam3_tells_what_transformers_tells_with_kernels_and_all_frames_in_memory(sam3, whole_run):
    masklets = vr.find_regions(FRAMES, PHRASE, sam3)
    numbers = sorted({number for masks in whole_run.values() for number in masks})
    assert len(numbers) >= 2
    blank = np.zeros((HEIGHT, WIDTH), bool)
    expected = {
        np.stack([whole_run[frame].get(number, blank) for frame in range(LENGTH)]).tobytes() for number in numbers
    }
    told = {np.stack([mask_of(masklet, frame) for frame in range(LENGTH)]).tobytes() for masklet in masklets}
    assert told == expected


def test_sam3_tells_of_every_frame_and_of_objects_that_are_absent(sam3):
    masklets = vr.find_regions(FRAMES, PHRASE, sam3)
    for masklet in masklets:
        assert masklet.region.frames == tuple(range(LENGTH)) == tuple(masklet.scores)
        assert all(0 <= score <= 1 for score in masklet.scores.values())
        assert (masklet.phrase, masklet.backend, masklet.lost) == (PHRASE, "sam3_video", ())
        assert list(masklet.prompts) == [min(masklet.region.present)]
        assert masklet.settings["post_processing"] == "scipy"
    assert any(len(masklet.region.present) < LENGTH for masklet in masklets)  # None elsewhere
    (first,) = vr.find_regions(FRAMES, PHRASE, sam3, max_objects=1)
    assert first.region.to_json() == masklets[0].region.to_json()


@pytest.mark.spread(2)
@pytest.mark.parametrize("frame", [1, 4, LENGTH - 1])
def test_sam3_follows_what_is_in_a_frame_in_both_directions(sam3, frame):
    told = []
    masklets = sam3.find(FRAMES, PHRASE, frame=frame, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, LENGTH) for done in range(1, LENGTH + 1)]
    for masklet in masklets:
        first = frame if masklet.lost else 0
        assert masklet.region.frames == tuple(range(first, LENGTH))
        assert frame in masklet.region.present
        assert list(masklet.prompts) == [frame]
        assert {(note.frame, note.reverse) for note in masklet.lost} <= {(frame - 1, True)}


def test_a_frame_is_a_video_of_one_frame(sam3):
    candidates = sam3.find(FRAMES[0], PHRASE)
    assert [one.score for one in candidates] == sorted((one.score for one in candidates), reverse=True)
    for picture in (FRAMES[0], FRAMES[:1], [FRAMES[0]]):
        masklets = vr.find_regions(picture, PHRASE, sam3)
        assert len(masklets) == len(candidates) > 0
        for one, masklet in zip(candidates, masklets, strict=True):
            assert np.array_equal(one.mask, mask_of(masklet, 0))
            assert masklet.scores == {0: pytest.approx(one.score)}
            rows, columns = np.nonzero(one.mask)
            assert one.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    with pytest.raises(vr.VideoError, match="a single frame was given"):
        sam3.find(FRAMES[0], PHRASE, frame=3)


def test_sam3_runs_in_half_precision(folder):
    segmenter = vr.load_segmenter("sam3_video", folder / "sam3", dtype="bfloat16")
    masklets = vr.find_regions(FRAMES[:5], PHRASE, segmenter, frame=2, on_lost="ignore")
    assert masklets
    assert {masklet.region.frames[-1] for masklet in masklets} == {4}


def test_sam3_that_is_stopped_keeps_what_is_done(sam3):
    masklets = sam3.find(FRAMES, PHRASE, progress=lambda done, total: done < 3)
    assert masklets
    for masklet in masklets:
        assert masklet.region.frames == (0, 1, 2)
        assert [note.kind for note in masklet.notes] == ["cancelled"]


def test_sam3_notices_cuts_in_both_directions(sam3):
    frames = np.concatenate([FRAMES[:4], 255 - FRAMES[:4] // 4])
    for frame in (None, 6):
        for masklet in sam3.find(frames, PHRASE, frame=frame):
            assert masklet.cuts == (4,)


def test_the_memory_of_sam3_does_not_grow_with_the_video(sam3):
    held = {}

    with only_new_tensors() as count:

        def weigh(done: int, total: int) -> None:
            if done in (27, total):
                held[done] = count()

        sam3.find(np.concatenate([FRAMES] * 4), PHRASE, progress=weigh)
    # What is kept of each object is nearly full by then; a session that keeps all of it grows by a third.
    assert 0 < held[36] < 1.2 * held[27]


def test_what_sam3_leaves_out_is_told(folder):
    segmenter = vr.load_segmenter("sam3_video", folder / "sam3", post_processing="none")
    masklet = vr.find_regions(FRAMES[:2], PHRASE, segmenter)[0]
    assert masklet.settings["post_processing"] == "none"
    assert [note.kind for note in masklet.notes] == ["skipped"]
    with pytest.raises(vr.ConfigurationError, match="expected one of scipy, kernels, none"):
        vr.load_segmenter("sam3_video", folder / "sam3", post_processing="triton")


def test_kernels_are_never_fetched_unless_asked_for(folder, monkeypatch):
    monkeypatch.setattr(modeling_sam3_video, "_load_cv_utils_kernel_once", lambda: pytest.fail("fetches kernels"))
    vr.find_regions(FRAMES[:2], PHRASE, vr.load_segmenter("sam3_video", folder / "sam3"))


def test_where_sam3_finds_nothing_frames_scores_and_remedy_are_named(folder):
    segmenter = vr.load_segmenter("sam3_video", folder / "sam3", threshold=0.99, new_threshold=1)
    message = r"sam3_video found nothing for 'a red car' in {}: the best score is 0\.\d+, and the threshold 0\.99\."
    with pytest.raises(vr.SegmentError, match=message.format(f"frames 0 to {LENGTH - 1}")):
        vr.find_regions(FRAMES, PHRASE, segmenter)
    with pytest.raises(vr.SegmentError, match=message.format("frame 4")):
        vr.find_regions(FRAMES, PHRASE, segmenter, frame=4)
    with pytest.raises(vr.SegmentError, match=message.format("frame 0")):
        segmenter.find(FRAMES[5], PHRASE)


def test_threads_that_share_sam3_read_their_own_scores(folder):
    segmenter = vr.load_segmenter("sam3_video", folder / "sam3", threshold=0.99)

    def best(frame: int) -> str:
        with pytest.raises(vr.SegmentError, match="the best score is") as refused:
            segmenter.find(FRAMES[frame], PHRASE)
        return str(refused.value)

    alone = [best(0), best(5)]
    assert side_by_side("Sam3Model", [lambda: best(0), lambda: best(5)]) == alone
    assert alone[0] != alone[1]


def test_words_that_sam3_cannot_read_whole_are_refused(sam3):
    for seen in (FRAMES[0], FRAMES):
        with pytest.raises(vr.SegmentError, match="become 33 tokens, but SAM 3 reads at most 32"):
            sam3.find(seen, "x" * 31)


def test_sam3_cannot_be_pointed_at_things(sam3):
    assert vr.segmenters()["sam3_video"] == ("find",)
    with pytest.raises(vr.SegmentError, match=r"^sam3_video cannot follow objects; use .*grounding"):
        vr.Region.from_points([(5, 5)]).propagate(FRAMES, sam3)
    with pytest.raises(vr.SegmentError, match=r"^sam3_video cannot cut objects out of a frame"):
        sam3.segment(FRAMES[0], [Prompt(points=[(5, 5)], labels=(1,))])


# --- cleaning up -----------------------------------------------------------------------------------------------------


def drawn(*rows: str) -> np.ndarray:
    return np.array([[pixel == "#" for pixel in row] for row in rows])


RING = drawn("#####.", "#...#.", "#...#.", "#####.", "......")


def test_small_holes_are_filled_and_large_ones_are_not():
    filled = drawn("#####.", "#####.", "#####.", "#####.", "......")
    assert np.array_equal(fill_holes(RING, 6), filled)
    assert np.array_equal(fill_holes(RING, 5), RING)
    corner = drawn("..##", ".###", "####")  # at the edge of the frame, a hole as well
    assert fill_holes(corner, 3).all()
    slanted = drawn("#.##", "##.#", "###.")  # hangs together over corners
    assert np.array_equal(fill_holes(slanted, 2), slanted)
    assert fill_holes(slanted, 3).all()


def test_sprinkles_are_removed_and_tiny_objects_are_not():
    mask = drawn("####..#", "####...", "####..#", ".....#.")
    assert np.array_equal(remove_sprinkles(mask, 1), drawn("####...", "####...", "####..#", ".....#."))
    assert np.array_equal(remove_sprinkles(mask, 2), drawn("####...", "####...", "####...", "......."))
    tiny = drawn(".....", ".##..", ".....")
    assert np.array_equal(remove_sprinkles(tiny, 16), tiny)
    assert not remove_sprinkles(np.zeros((3, 3), bool), 16).any()


def test_of_what_overlaps_the_surest_is_kept():
    masks = np.stack([drawn("###..."), drawn("####.."), drawn("....##"), drawn("......")])
    overlaps = mask_overlaps(masks, masks)
    assert overlaps[0].tolist() == [1, 0.75, 0, 0]
    assert overlaps[3].tolist() == [0, 0, 0, 0]
    assert keep_surest(overlaps, [0.5, 0.9, 0.7, 0.1], 0.7) == [1, 2, 3]
    assert keep_surest(overlaps, [0.5, 0.9, 0.7, 0.1], 0.75) == [1, 2, 0, 3]
    assert keep_surest(overlaps, [0.5, 0.5, 0.5, 0.5], 0.7) == [0, 2, 3]
    assert keep_surest(np.zeros((0, 0)), [], 0.5) == []


def test_boxes_overlap_by_their_areas():
    boxes = np.array([[0, 0, 4, 4], [2, 0, 6, 4], [5, 5, 9, 9], [1, 1, 1, 1]])
    assert box_overlaps(boxes, boxes)[0].tolist() == [1, pytest.approx(1 / 3), 0, 0]
    assert box_overlaps(boxes, boxes)[3].tolist() == [0, 0, 0, 0]
