"""The demonstration of the data engine, and the faults by which its Reviewer is measured."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.demo import demonstrate_engine
from videorefer_plugin.data_engine.faults import FAULTS, plant
from videorefer_plugin.data_engine.items import Description, Found, Noun, ObjectItem, RegionCaption, Source, VideoItem
from videorefer_plugin.data_engine.recipe import load_engine_recipe
from videorefer_plugin.data_engine.registry import make_agent
from videorefer_plugin.errors import ConfigurationError, EngineError
from videorefer_plugin.training import check_data
from videorefer_plugin.world import language, make_clip


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A run with two clips, by the command line, and what it says."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    arguments = ["data", "demo", "--out", str(folder), "--clips", "2", "--seed", "3", "--json"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return folder, json.loads(result.stdout.splitlines()[-1])


def test_every_object_of_the_captions_becomes_a_record_or_is_counted(shown):
    _, said = shown
    found = said["compared"]
    truth = sum(len(make_clip((3, 5, number))) for number in range(2))
    assert found["named"] == found["objects"] == truth
    assert found["records"] + found["discarded"] + sum(found["dropped"].values()) == truth
    verdicts = [found[f"{verdict}_{truth}"] for verdict in ("kept", "discarded") for truth in ("right", "wrong")]
    assert sum(verdicts) == found["found"]


def test_masks_are_those_of_the_named_objects(shown):
    found = shown[1]["compared"]
    assert found["right_object"] >= found["found"] - 1
    assert found["overlap"] > 0.7


def test_descriptions_are_mostly_true(shown):
    scores = shown[1]["compared"]["scores"]
    assert set(scores) == {"SC", "AD", "TD", "HD"}
    assert min(scores["SC"], scores["AD"]) > 3.5


def test_training_reads_the_records(shown):
    folder, said = shown
    report = check_data(said["records"], deep=True)
    assert not report.bad
    assert not report.warnings
    assert report.records == said["compared"]["records"] > 0
    lines = (folder / "run" / "provenance.jsonl").read_text().splitlines()
    assert len(lines) == report.records
    assert {json.loads(line)["source"]["license"] for line in lines} == {"Apache-2.0"}


def test_the_truth_fills_in_the_reviewers_check(shown):
    folder, said = shown
    truth = json.loads((folder / "truth.json").read_text())
    kept = [json.loads(line)["record"] for line in (folder / "run" / "provenance.jsonl").read_text().splitlines()]
    assert sum(truth[name] for name in kept) == said["compared"]["kept_right"]
    assert len(truth) == said["compared"]["found"]


def test_each_object_has_a_picture(shown):
    folder, said = shown
    pictures = list((folder / "pictures").glob("*.png"))
    assert len(pictures) == said["compared"]["records"] + said["compared"]["discarded"]


def test_a_second_start_does_nothing_again(shown):
    folder, said = shown
    before = {path: path.read_bytes() for path in (folder / "run" / "stages").iterdir()}
    again = demonstrate_engine(folder, seed=3, clips=2)
    assert again.compared.records == said["compared"]["records"]
    assert {path: path.read_bytes() for path in (folder / "run" / "stages").iterdir() if path in before} == before


def test_what_cannot_be_shown_is_refused(shown, tmp_path):
    with pytest.raises(ConfigurationError, match="clips"):
        demonstrate_engine(tmp_path, clips=0)
    with pytest.raises(ConfigurationError, match="seed"):
        demonstrate_engine(tmp_path, seed=-1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("seed", "clips"), [(4, 2), (3, 3), (3, 1)])
def test_folders_of_other_clips_stay_as_they_are(shown, seed, clips):
    folder = shown[0]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(EngineError, match=r"other clips: 2 of them, such as shapes-3-00000.*--out") as refused:
        demonstrate_engine(folder, seed=seed, clips=clips)
    assert "--accept-changes" not in str(refused.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_recipe_gives_clips_of_others_no_license():
    assert load_engine_recipe("engine/shapes", ["source.files=[a.json]"]).source.license is None


# --- faults ----------------------------------------------------------------------------------------------------------


def true_items(count=12, first=0):
    """Videos with true masks and descriptions, as the captioner would get them."""
    items = []
    for number in range(first, first + count):
        clip, objects = make_clip((7720, number)), []
        for index, one in enumerate(clip.facts.objects):
            annotation = {frame: {"segmentation": mask} for frame, mask in _segmentations(clip, index).items()}
            found = Found(annotation, 64, 64, clip.clear_frames(index)[0], ())
            look, does = f"It is {language.look(one)}.", f"It {language.doing(clip.facts, one.motion)}."
            noun = Noun(language.name(clip.facts, index)[4:])
            objects.append(ObjectItem(index, noun, found, Description(does, look)))
        items.append(VideoItem(Source(f"v{number}", f"v{number}.mp4"), number, tuple(objects)))
    return items


def _segmentations(clip, index):
    return {frame: one["segmentation"] for frame, one in clip.annotation(index).items()}


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", FAULTS)
def test_an_object_with_a_fault_has_lost_what_was_its_own(kind):
    items = true_items()
    planted = plant(items, 1.0, kinds=[kind])
    assert sum(len(one.faults) for one in planted) > 0.8 * sum(len(item.objects) for item in items)
    for item, one in zip(items, planted, strict=True):
        for before, after in zip(item.objects, one.item.objects, strict=True):
            same_text, same_mask = before.description == after.description, before.found == after.found
            faulty = one.faults.get(before.number) == kind
            assert (same_text, same_mask) == (
                not (faulty and kind.startswith("description")),
                not (faulty and kind.startswith("mask")),
            )
            assert before.noun == after.noun


@pytest.mark.slow
def test_a_mask_of_background_shows_no_object():
    items = true_items()
    for item, one in zip(items, plant(items, 1.0, kinds=["mask_of_background"]), strict=True):
        for number in one.faults:
            region = one.item.objects[number].found.region
            for frame in region.present:
                mask = region.mask(frame, 64, 64)
                own = item.objects[number].found.region.mask(frame, 64, 64)
                assert mask.sum() == own.sum() > np.count_nonzero(mask & own) * 2


@pytest.mark.spread(2)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_faults_are_as_many_as_asked_for_and_depend_on_the_seed(share):
    items = true_items()
    total = sum(len(item.objects) for item in items)
    planted = plant(items, share, seed=5)
    assert sum(len(one.faults) for one in planted) == round(share * total)
    assert planted == plant(items, share, seed=5)
    assert share == 0 or planted != plant(items, share, seed=6)


def test_what_cannot_be_planted_is_refused():
    for settings in (
        {"share": 1.5},
        {"share": "half"},
        {"share": 0.5, "kinds": ["typo"]},
        {"share": 0.5, "kinds": []},
    ):
        with pytest.raises(ConfigurationError):
            plant(true_items(1), **settings)


def test_the_rule_finds_planted_descriptions():
    """The captioner says what is in the mask here; with a model's errors, the benchmark measures it."""
    items = true_items()
    reviewer = make_agent("reviewer", "shapes")
    captioned = [
        replace(item, objects=tuple(replace(one, caption=_caption(one)) for one in item.objects)) for item in items
    ]
    found = {True: [], False: []}
    for one in plant(captioned, 0.5, kinds=["description_of_other", "description_of_other_video"]):
        (made,) = reviewer.run([one.item])
        for spoiled, verdict in zip(one.item.objects, made.objects, strict=True):
            found[spoiled.number in one.faults].append(verdict.same)
    assert all(found[False])
    assert np.mean(found[True]) < 0.1  # other videos have the same look at times


def _caption(one):
    return RegionCaption(one.description.appearance, 0)
