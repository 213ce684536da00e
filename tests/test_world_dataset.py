"""The shapes world: data sets on disk and the command that writes them."""

import hashlib
import json
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from videorefer_plugin import world
from videorefer_plugin.cli import app
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.regions import Region
from videorefer_plugin.training.records import check_record, parse_record
from videorefer_plugin.video import open_video
from videorefer_plugin.world import dataset, records
from videorefer_plugin.world.categories import CATEGORIES
from videorefer_plugin.world.filming import PLAIN, Filming
from videorefer_plugin.world.records import many_frames
from videorefer_plugin.world.stages import STAGES as ALL_STAGES
from videorefer_plugin.world.stages import Kind, Stage, stage_records
from videorefer_plugin.world.values import COLORS, DIRECTIONS

STAGES = [stage.records for stage in ALL_STAGES.values() if stage.kinds]
BENCHES = [f"heldout/{name}.json" for name in ("bench_q", "bench_d", "grounding_q")]
FILES = [f"train_{stage}.json" for stage in STAGES] + BENCHES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("world")
    return out, world.write_dataset(out, 22, seed=3, heldout=5, version=6)


@cache
def train_clip(number):
    """The clip of a training record of the folder."""
    return world.make_clip((3, 0, number), **({"objects": 4, "distinct": True} if number % 2 else {}))


@cache
def annotations(number):
    clip = train_clip(number)
    return [clip.annotation(index, many_frames(clip)) for index in range(len(clip))]


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def load(root, name):
    return json.loads((root / name).read_text())


@pytest.mark.slow
def test_all_files_are_there_and_count_what_they_hold(folder):
    root, counts = folder
    assert list(counts) == FILES
    for name, count in counts.items():
        assert len(load(root, name)) == count > 0
    assert counts["heldout/bench_q.json"] == 10
    assert counts["heldout/grounding_q.json"] == 4
    assert len(list((root / "videos").iterdir())) == 22
    assert not [path for path in root.rglob("*") if path.name.startswith(".")]


@pytest.mark.slow
def test_records_can_be_read_and_their_regions_lie_on_their_objects(folder):
    root, _ = folder
    seen = set()  # stages share many
    for stage in STAGES:
        name = f"train_{stage}.json"
        for value in load(root, name):
            record = parse_record(value, str(root / name))
            check_record(record)
            assert not record.unknown
            number = int(value["id"][6:12])
            clip = train_clip(number)
            for region, annotation in zip(record.regions(), value.get("annotation", []), strict=True):
                drawn_before = number, record.kind, json.dumps(annotation)
                if drawn_before in seen:
                    continue
                seen.add(drawn_before)
                for frame in region.frames:
                    drawn = region.mask(frame, 64, 64)
                    # An image is one frame of the clip, whatever its number there.
                    frames = clip.masks[:, frame] if record.kind == "video" else clip.masks.reshape(-1, 64, 64)
                    assert any((drawn == mask).all() for mask in frames)


def check_facts(clip, index, facts):
    for key, fact in facts.items():
        kind = CATEGORIES[{"meet": "partner", "why": "cause"}.get(key, key)]
        assert fact == kind.text(clip.facts, kind.labels(clip.facts)[index,])


def check_parts(clip, index, text):
    """What an object does in each of four parts of its clip is what its center does there."""
    if text is None:  # lists of what is told without the clip
        return
    parts = text.split(", ")
    assert len(parts) == 4
    for number, part in enumerate(parts):
        went = clip.scene.centers[index, 4 * number + 3] - clip.scene.centers[index, 4 * number]
        if part in DIRECTIONS:
            assert np.dot(DIRECTIONS[part], went) > -0.5
        elif part in ("still", "growing", "shrinking"):
            assert np.hypot(*went) < 8  # one that turns, comes or stops may do so a frame or two off a quarter
        else:
            assert part in ("gone", "circle", "bouncing")


def test_stages_hold_what_they_should(folder):
    root, _ = folder
    kinds = {stage: {value["id"].split("/")[1] for value in load(root, f"train_{stage}.json")} for stage in STAGES}
    assert kinds["stage1"] == {"plain", "plain-image"}
    assert kinds["stage2"] == {"short", "image"}
    assert kinds["stage2_5"] == {"detailed", "caption"}
    for stage in ("stage3", "stage3_more"):
        assert {"choice"} < kinds[stage] <= {"qa", "choice", "frame", "image", "detailed"}  # not each in every clip
    assert (kinds["stage2_objects"], kinds["stage3_facts"]) == ({"facts"}, {"facts", "choice"})
    assert (kinds["stage0_tower"], kinds["stage0_language"]) == ({"name"}, {"words"})
    assert kinds["stage1_named"] == {"named"}
    for stage in ("stage0_language", "stage1", "stage1_named"):
        assert not any("annotation" in value for value in load(root, f"train_{stage}.json"))
    words = load(root, "train_stage0_language.json")
    assert not any(key in value for value in words for key in ("video", "image"))
    assert not any("<" in turn["value"] for value in words for turn in value["conversations"])
    for value in load(root, "train_stage0_tower.json"):
        asked = [turn["value"].count("<region>") for turn in value["conversations"][::2]]
        assert asked == [1] * len(value["annotation"])
    # Videos have many frames of each object, of which training takes one or all; images have one.
    for stage in ("stage2", "stage2_5", "stage3"):
        counts = {(len(a), "image" in v) for v in load(root, f"train_{stage}.json") for a in v.get("annotation", [])}
        assert counts <= {(16, False), (1, True)} | ({(1, False)} if stage == "stage3" else set())
        assert (16, False) in counts
    ids = [value["id"] for stage in STAGES for value in load(root, f"train_{stage}.json")]
    assert len(ids) > len(set(ids)) > 0  # a detailed description may come in two stages
    for stage in STAGES:
        mine = [value["id"] for value in load(root, f"train_{stage}.json")]
        assert len(set(mine)) == len(mine)
    turns = [len(v["conversations"]) for v in load(root, "train_stage3.json") if "/qa/" in v["id"]]
    assert set(turns) == {12}
    lists = [v for stage in ("stage2_objects", "stage3_facts") for v in load(root, f"train_{stage}.json")]
    for value in (value for value in lists if "/facts/" in value["id"]):
        number = int(value["id"][6:12])
        clip = train_clip(number)
        said = [turn["value"] for turn in value["conversations"][1::2]]
        assert len(said) == len(value["annotation"]) == len(clip)  # one list about each object
        for annotation, text in zip(value["annotation"], said, strict=True):
            (index,) = (i for i, known in enumerate(annotations(number)) if known == annotation)
            facts = dict(fact.split(": ") for fact in text.removesuffix(".").split(". "))
            check_parts(clip, index, facts.pop("part", None))
            assert 3 <= len(facts) <= 5
            check_facts(clip, index, facts)
    for value in load(root, "train_stage1_named.json"):
        number = int(value["id"][6:12])
        clip = train_clip(number)
        turns = [turn["value"] for turn in value["conversations"]]
        asked = [re.search(r"of the (\w+ \w+)\?$", question)[1] for question in turns[::2]]
        names = [f"{item.color} {item.shape}" for item in clip.facts.objects]
        assert sorted(asked) == sorted(names)
        for name, text in zip(asked, turns[1::2], strict=True):
            facts = dict(fact.split(": ") for fact in text.removesuffix(".").split(". "))
            check_parts(clip, names.index(name), facts.pop("part"))
            check_facts(clip, names.index(name), facts)
    choices = [v for v in load(root, "train_stage3.json") if "/choice/" in v["id"]]
    letters, with_parts = set(), 0
    for value in choices:
        number = int(value["id"][6:12])
        clip = train_clip(number)
        known = annotations(number)
        turns, regions = [turn["value"] for turn in value["conversations"]], iter(value["annotation"])
        assert len(turns) >= 2
        for question, answer in zip(turns[::2], turns[1::2], strict=True):
            subjects = [known.index(next(regions)) for _ in range(question.count("<region>"))]
            *parts, words = re.findall(r"part: (.*?)\. |Answer: (.*)", answer)
            assert len(parts) in (0, len(subjects))
            with_parts += bool(parts)
            for index, (said, _) in zip(subjects, parts, strict=False):
                check_parts(clip, index, said)
            letters |= set(re.findall(rf"\((.)\) {re.escape(words[1])}(?= \(|\. )", question))
        assert next(regions, None) is None
    assert letters == set("ABCD")
    assert len(choices) < with_parts < 4 * len(choices)


def test_the_benchmark_stands_on_its_own(folder):
    root, _ = folder
    for name in BENCHES:
        for item in load(root, name):
            video = open_video(root / "heldout" / item["video"])
            assert (video.num_frames, video.height, video.width, video.fps) == (16, 64, 64, 8)
            for annotation in item["annotation"]:
                region = Region.from_annotation(annotation)
                assert region.frames == tuple(range(16))
                assert region.mask(int(item["frame_idx"]), 64, 64).any()
    for item in load(root, "heldout/bench_d.json"):
        assert set(world.score_description(item["caption"], item["facts"]).values()) == {5.0}
    pairs = [item["pair"] for item in load(root, "heldout/grounding_q.json")]
    assert all(pairs.count(pair) == 2 for pair in pairs)


def test_multi_frame_masks_are_evenly_spaced_in_long_clips():
    clip = world.make_clip(1, frames=32)
    frames = many_frames(clip)
    assert (len(frames), frames[0], frames[-1]) == (16, 0, 31)
    with pytest.raises(ConfigurationError, match="stage1, stage1_named"):
        stage_records(clip, "stage9", "x", "x.mp4", None, world.clip.seeded(0))


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The same, stopped after its first part."""
    out = tmp_path_factory.mktemp("interrupted")

    def stop(done, total):
        assert (done, total) == (20, 29)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.write_dataset(out, 22, seed=3, heldout=5, progress=stop, version=6)
    assert not (out / "train_stage1.json").exists()
    return out


@pytest.mark.spread(1)
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_goes_on_and_ends_the_same(folder, interrupted, tmp_path, monkeypatch, workers):
    whole, _ = folder
    begun = shutil.copytree(interrupted, tmp_path / "begun")
    before = {path: path.stat().st_mtime_ns for path in (begun / "videos").iterdir()}
    assert len(before) == 20  # a part
    made = []
    real = dataset._train_clip
    monkeypatch.setattr(
        dataset, "_train_clip", lambda root, given, number: made.append(number) or real(root, given, number)
    )
    world.write_dataset(begun, 22, seed=3, heldout=5, workers=workers, version=6)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    assert made == ([20, 21] if workers == 1 else [])  # with more workers it is done elsewhere
    assert contents(begun) == contents(whole)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("small")
    world.write_dataset(out, 5, seed=3, heldout=4, version=6)
    return out


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    out = tmp_path_factory.mktemp("newest")
    world.write_dataset(out, 12, seed=3, heldout=4, version=7)
    return out


@pytest.mark.slow
def test_two_processes_may_write_the_same_folder(small, tmp_path):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(world.write_dataset, tmp_path, 5, 3, 4, version=6) for _ in range(2)]
        assert runs[0].result() == runs[1].result()
    assert contents(tmp_path) == contents(small)


def test_more_clips_keep_those_that_are_there(small, tmp_path):
    world.write_dataset(tmp_path, 3, seed=3, heldout=2, version=6)
    few = load(tmp_path, "train_stage3.json")
    videos = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    world.write_dataset(tmp_path, 5, seed=3, heldout=4, version=6)
    assert load(tmp_path, "train_stage3.json")[: len(few)] == few
    assert videos.items() <= {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}.items()
    assert contents(tmp_path) == contents(small)


def test_a_folder_of_other_settings_is_left_alone(folder):
    root, _ = folder
    before = contents(root)
    for arguments in ({"seed": 4}, {"size": 96}, {"frames": 32}):
        with pytest.raises(ConfigurationError, match="choose another folder"):
            world.write_dataset(root, 22, **{"seed": 3, "version": 6, **arguments})
    assert contents(root) == before


# --- version 7: objects that change, options in other words, letters, and films of other light and codecs ------------


def changed_clip(number):
    theme = {3: "colors", 5: "patterns"}.get(number % 6)
    full = {"objects": 4, "distinct": True, "theme": theme} if number % 2 else {}
    return world.make_clip((3, 0, number), **full)


def test_answers_of_the_newest_version_end_with_the_letter_of_what_they_say(newest):
    letters, changes = set(), set()
    for stage in ("stage3_facts", "stage3", "stage3_more"):
        for value in load(newest, f"train_{stage}.json"):
            turns = [turn["value"] for turn in value["conversations"]]
            for question, answer in zip(turns[::2], turns[1::2], strict=True):
                options = dict(re.findall(r"\(([A-D])\) (.*?)(?= \([A-D]\)|\. Answer with)", question))
                if not options:
                    continue
                _, said, letter = re.fullmatch(r"(part: .*\. )?Answer: (.*) \(([A-D])\)", answer).groups()
                assert options[letter] == said
                letters.add(letter)
                changes |= set(re.findall("first and then|change its (color|pattern)", question))
    assert letters == set("ABCD")
    assert {"color", "pattern"} <= changes
    for value in load(newest, "train_stage0_language.json"):  # where letters are what exercises are for
        assert not any(re.search(r"Answer: .*\([A-D]\)$", turn["value"]) for turn in value["conversations"][1::2])


def test_what_changes_can_be_seen_in_the_video_and_not_in_the_masks(newest):
    for number in (3, 5, 9, 11):
        clip = changed_clip(number)
        what = {item.change[0] for item in clip.facts.objects}
        assert what == {"color" if number % 6 == 3 else "pattern"}
        orders = [item.change[1:3] for item in clip.facts.objects]
        assert len(set(orders)) == 4
        firsts = [first for first, _ in orders]
        assert all(firsts.count(first) == 2 for first in firsts)  # so that one frame does not tell
        for index, item in enumerate(clip.facts.objects):
            _, first, last, frame = item.change
            seen = [at for at in (frame - 1, frame) if at in clip.clear_frames(index)]
            for at, value in ((at, first if at < frame else last) for at in seen):
                bright, dark = look(clip, index, at)
                if number % 6 == 3:
                    assert min(COLORS, key=lambda name: np.abs(bright - COLORS[name]).sum()) == value
                    assert item.color is None
                else:
                    assert (dark < 0.05) == (value == "plain")
                    assert item.pattern is None


def look(clip, index, frame):
    """The color of the bright pixels of an object, and the share of its dark ones."""
    pixels = clip.frames[frame][clip.masks[index, frame]].astype(int)
    strong = pixels.max(1)
    bright = np.median(pixels[strong >= 0.8 * strong.max()], axis=0)
    return bright, float((strong < 0.5 * bright.max()).mean())


def test_training_clips_are_filmed_by_a_chance_that_is_recorded(newest, tmp_path):
    films = load(newest, "filming.json")
    assert [film["video"] for film in films] == [f"videos/train-{number:06d}.mp4" for number in range(12)]
    assert {film["codec"] for film in films} == {"libx264", "mpeg4"}
    plain = 0
    for number, film in enumerate(films):
        clip, video = changed_clip(number), newest / film["video"]
        with av.open(video) as container:
            assert container.streams.video[0].codec_context.name.startswith(
                {"libx264": "h264"}.get(film["codec"], "mpeg4")
            )
        drawn = Filming(**{name: value for name, value in film.items() if name != "video"})
        world.encode_video(tmp_path / "again.mp4", clip.frames, filming=drawn)
        assert (tmp_path / "again.mp4").read_bytes() == video.read_bytes()
        shown = open_video(video).read([0])[0]
        assert abs(float(shown.mean()) - min(255, clip.frames[0].mean() * film["light"])) < 12
    plain = [
        number for number, film in enumerate(films) if Filming(**{k: film[k] for k in film if k != "video"}) == PLAIN
    ]
    assert 0 < len(plain) < 12


# --- versions of what a seed stands for ------------------------------------------------------------------------------

# File -> the beginning of its SHA-256, of 5 clips from seed 3 with 4 of the benchmark, in versions 5 and 6.
GOLDEN = {
    "world.json": ("3c79c1f1ddb084ef", "3893f248110534b1"),
    "heldout/bench_d.json": ("03d3aff1d38b12f4", "03d3aff1d38b12f4"),  # the benchmark is one
    "heldout/bench_q.json": ("e340ad3373335c67", "e340ad3373335c67"),
    "heldout/grounding_q.json": ("ea0123abd0d25f75", "ea0123abd0d25f75"),
    "train_stage0_language.json": ("6cc3fdc57a5fc864", "628a5d13ea29dbc5"),
    "train_stage0_tower.json": (
        "423c6137f737a481",
        "423c6137f737a481",
    ),  # chance has no part in this one, nor in stage1
    "train_stage1.json": ("c70d70365babbb38", "c70d70365babbb38"),
    "train_stage1_named.json": ("cb4563167922b547", "1342d33ce1ebd6b7"),
    "train_stage2.json": ("d002d0f9d7faf234", "536b685605536aad"),
    "train_stage2_5.json": ("21f63e92de8a243d", "7eb7094e6e17f2a9"),
    "train_stage2_objects.json": ("cf352373cc72e4e5", "15a1fcdf627a72c3"),
    "train_stage3.json": ("d86524a21039adcf", "15dc412aebe1bc55"),
    "train_stage3_facts.json": ("143bed288942b575", "f36fc2f5e20c2ab8"),
    "train_stage3_more.json": ("533ee1a6e016f86d", "3bd9fac4879db14d"),
}


@pytest.fixture(scope="module")
def of_version_5(tmp_path_factory):
    out = tmp_path_factory.mktemp("version5")
    world.write_dataset(out, 5, seed=3, heldout=4, version=5)
    return out


def test_each_version_renders_the_same_data_for_ever(small, of_version_5):
    for version, root in enumerate((of_version_5, small)):
        found = {name: hashlib.sha256((root / name).read_bytes()).hexdigest()[:16] for name in GOLDEN}
        assert found == {name: hashes[version] for name, hashes in GOLDEN.items()}
    for kind in ("videos", "images", "heldout/videos"):
        assert contents(of_version_5 / kind) == contents(small / kind) != {}


NEWEST = {  # of 12 clips from seed 3 with 4 of the benchmark
    "filming.json": "2cf2b294487b10d3",
    "heldout/bench_d.json": "5f2591170c0ba907",
    "heldout/bench_q.json": "7eec646c89d867ea",
    "heldout/grounding_q.json": "e1e01769405dfa78",
    "train_stage0_language.json": "06d30410e841c162",
    "train_stage0_tower.json": "0d7646a8bae6bb64",
    "train_stage1.json": "ec8aab74a15c7285",
    "train_stage1_named.json": "2a27d4971b85fed9",
    "train_stage2.json": "f22340691e596cd3",
    "train_stage2_5.json": "2f905fb71f8be37e",
    "train_stage2_objects.json": "92917eaf64cb9945",
    "train_stage3.json": "4af4c7bd25073eb0",
    "train_stage3_facts.json": "eb0ab89d8911dae0",
    "train_stage3_more.json": "dd1bb85da03f4f9d",
    "world.json": "35d6785b5c622339",
}


def test_the_newest_version_renders_the_same_data_for_ever(newest):
    found = {name: hashlib.sha256((newest / name).read_bytes()).hexdigest()[:16] for name in NEWEST}
    assert found == NEWEST


@pytest.fixture
def another_stage():
    """A stage that was added before all others."""
    before = dict(ALL_STAGES)
    added = Stage("extra", "tiny/extra", {}, (Kind("short", records.short), Kind("qa", records.qa, 0.5)))
    ALL_STAGES.clear()
    ALL_STAGES.update({added.name: added, **before})
    yield added
    ALL_STAGES.clear()
    ALL_STAGES.update(before)


@pytest.mark.parametrize("version", [5, 6])
def test_a_stage_that_is_added_changes_nothing_of_the_others(small, of_version_5, another_stage, tmp_path, version):
    counts = world.write_dataset(tmp_path, 5, seed=3, heldout=4, version=version)
    found = contents(tmp_path)
    made = json.loads(found.pop(another_stage.file))
    assert found == contents({5: of_version_5, 6: small}[version])
    assert len(made) == counts["train_extra.json"]
    assert {record["id"].split("/")[1] for record in made} == {"short", "qa"}


@pytest.mark.slow
def test_an_interrupted_run_goes_on_after_a_stage_was_added(interrupted, another_stage, tmp_path):
    begun = shutil.copytree(interrupted, tmp_path / "begun")
    world.write_dataset(begun, 22, seed=3, heldout=5, version=6)
    captioned = {record["id"].split("/")[0] for record in load(begun, another_stage.file)}
    assert len(captioned) == 22


@pytest.mark.parametrize("version", [4, 8, 0, "5", 5.0, True])
def test_versions_that_cannot_be_rendered_are_refused(tmp_path, version):
    with pytest.raises(ConfigurationError, match=rf"data version is {re.escape(repr(version))}: expected 5, 6 or 7"):
        world.write_dataset(tmp_path / "out", 1, version=version)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("version", [5, 6])
def test_a_data_set_goes_on_in_its_own_version_only(small, of_version_5, tmp_path, version):
    source, other = {5: (of_version_5, 6), 6: (small, 5)}[version]
    root = shutil.copytree(source, tmp_path / "w")
    with pytest.raises(
        ConfigurationError, match=rf"of version {version}, but version {other} .*--data-version {version}"
    ):
        world.write_dataset(root, 5, seed=3, heldout=4, version=other)
    assert contents(root) == contents(source)
    world.write_dataset(root, 5, seed=3, heldout=4, version=version)
    assert contents(root) == contents(source)


@pytest.mark.parametrize("note", ["{", "[]", '{"seed": 3, "size": 64, "frames": 16, "version": 4}', "{}"])
def test_folders_that_nobody_can_go_on_with_are_left_alone(tmp_path, note):
    (tmp_path / "world.json").write_text(note)
    with pytest.raises(ConfigurationError, match="choose another folder") as refused:
        world.write_dataset(tmp_path, 1, seed=3)
    assert "--data-version" not in str(refused.value)
    assert contents(tmp_path) == {"world.json": note.encode()}


# --- what is refused, and the command --------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"clips": -1}, {"heldout": -1}, {"workers": 0}, {"size": 63}, {"seed": -2}])
def test_impossible_numbers_are_refused_before_anything_is_written(tmp_path, arguments):
    with pytest.raises(ConfigurationError, match="expected"):
        world.write_dataset(tmp_path / "out", **{"clips": 1, **arguments})
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_data_set(small, tmp_path):
    arguments = ["world", "--out", str(tmp_path / "w"), "--clips", "5", "--seed", "3", "--heldout", "4"]
    arguments += ["--data-version", "6"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "train_stage3.json" in result.output
    assert contents(tmp_path / "w") == contents(small)
    for changed, said in ((["--size", "96"], "another folder"), (["--data-version", "7"], "--data-version 6")):
        result = CliRunner().invoke(app, [*arguments, *changed])
        assert result.exit_code == 1
        assert said in " ".join(result.output.split())


def test_the_command_renders_older_data(of_version_5, tmp_path):
    arguments = ["world", "--out", str(tmp_path), "--clips", "5", "--seed", "3", "--heldout", "4"]
    result = CliRunner().invoke(app, [*arguments, "--data-version", "5"])
    assert result.exit_code == 0, result.output
    assert contents(tmp_path) == contents(of_version_5)
    result = CliRunner().invoke(app, [*arguments, "--data-version", "4"])
    assert result.exit_code == 1
    assert "expected 5, 6 or 7" in " ".join(result.output.split())
