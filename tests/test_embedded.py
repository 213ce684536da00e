"""The embedded model, the commands that use it, and the command that makes it."""

import json
import os
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from videorefer_plugin import world
from videorefer_plugin.asking import load_model
from videorefer_plugin.cli import app
from videorefer_plugin.errors import ConfigurationError, PromptError, RegionError, TrainingError
from videorefer_plugin.hub.run_summary import RunSummary
from videorefer_plugin.regions import encode_rle
from videorefer_plugin.regions.text import read_region
from videorefer_plugin.tiny.ablation_report import paper_table
from videorefer_plugin.tiny.ablation_rows import TABLES, variants
from videorefer_plugin.tiny.card import history
from videorefer_plugin.tiny.making import make_tiny
from videorefer_plugin.tiny.packing import pack
from videorefer_plugin.tiny.running import features_in
from videorefer_plugin.training.recipe import list_recipes, load_recipe
from videorefer_plugin.world.stages import PRODUCTS, STAGES

RUNNER = CliRunner()


def run(*arguments, code=0):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


# --- regions as text -------------------------------------------------------------------------------------------------


def test_regions_are_read_from_text(tmp_path):
    mask = np.zeros((40, 60), np.uint8)
    mask[10:20, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "rle.json").write_text(json.dumps(encode_rle(mask)))
    (tmp_path / "frames.json").write_text(json.dumps({"7": {"segmentation": encode_rle(mask)}, "9": None}))
    expected = mask > 0
    for kind, text, frame in (
        ("box", "12:30,10,50,20", 12),
        ("box", "30,10,50,20", 0),
        ("mask", f"3:{tmp_path / 'mask.png'}", 3),
        ("rle", f"4:{tmp_path / 'rle.json'}", 4),
        ("rle", tmp_path / "frames.json", 7),
    ):
        region = read_region(kind, str(text))
        assert region.frames[0] == frame
        assert (region.mask(frame, 40, 60) == expected).all(), (kind, text)
    assert read_region("box", "1:0,0,5,5; 8:1,1,6,6").frames == (1, 8)
    assert read_region("point", "1.5s:10,20").times == (1.5,)
    assert read_region("point", "2:10,20,30,40").mask(2, 64, 64)[[20, 40], [10, 30]].all()


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("box", "12:1,2,3", "box"),
        ("box", "12:a,b,c,d", "not a box"),
        ("point", "12:1,2,3", "two each"),
        ("mask", "12:nowhere.png", "no file"),
        ("rle", "nowhere.json", "no file"),
        ("circle", "1:2", "Unknown kind"),
    ],
)
def test_what_is_no_region_is_refused(kind, text, said):
    with pytest.raises(RegionError, match=said):
        read_region(kind, text)


# --- asking ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    made = world.make_clip(5, "heldout", objects=3, theme="mixed", distinct=True)
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    world.encode_video(path, made.frames)
    return made, path


def box(clip, index, frame):
    rows, columns = np.nonzero(clip.masks[index, frame])
    return f"{frame}:{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}"


def test_ask_prints_json_and_draws(clip, tmp_path):
    made, path = clip
    picture = tmp_path / "answer.png"
    result = run(
        *("ask", path, "Where is <region> at the start, seen from <region>?"),
        *("--box", box(made, 0, 0), "--point", "2:30,30", "--json", "--save", picture),
    )
    reply = json.loads(result.stdout)
    assert reply["regions"] == [f"box {box(made, 0, 0)}", "point 2:30,30"]
    assert reply["answer"]
    assert reply["note"] is None  # it says itself that it is a clip of the world
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 24)) > 50


def test_regions_keep_the_order_of_the_command_line(clip, tmp_path):
    made, path = clip
    (tmp_path / "r.json").write_text(json.dumps({"dog": {"1": {"box": [4, 4, 40, 40]}}, "cat": {}}))
    given = ["--point", "2:30,30", "--box", box(made, 0, 0), "--region", f"{tmp_path / 'r.json'}#dog"]
    given += ["--scribble", "3:20,20,30,30", "--point", "3:20,20", "--polygon", "0:1,1,30,1,30,30"]
    question = "What do <region>, <region>, <region>, <region>, <region> and <region> do?"
    said = json.loads(run("ask", path, question, *given, "--json", "--max-new-tokens", 2).stdout)
    assert [region.split()[0] for region in said["regions"]] == [
        *("point", "box", "region", "scribble", "point", "polygon")
    ]


TWO = ("Where is <region> at the start, seen from <region>?", "What is <region> doing?")
ONE = ("What is <region> doing?", "What does <region> look like?")


@pytest.mark.parametrize(
    ("questions", "regions", "objects"),
    [
        ((ONE[0], "How many objects are there?", ONE[1]), 2, [(0,), (), (1,)]),
        (ONE, 1, [(0,), (0,)]),  # all about the same
        slow(ONE, 2, [(0,), (1,)]),  # each its own
        slow(TWO, 3, [(0, 1), (2,)]),
        slow((TWO[0], "How many objects are there?", TWO[0]), 2, [(0, 1), (), (0, 1)]),
        slow(("How many objects are there?", "What happens?"), 0, [(), ()]),
        slow((ONE[0], ONE[0]), 2, [(0,), (1,)]),
    ],
)
def test_several_questions_are_answered_as_each_would_be_alone(clip, tmp_path, questions, regions, objects):
    made, path = clip
    boxes = [box(made, number % 2, number) for number in range(regions)]
    given = [part for text in boxes for part in ("--box", text)]
    asked = [part for text in questions for part in ("--question", text)]
    picture = tmp_path / "answers.png"
    said = run("ask", path, *asked, *given, "--json", "--save", picture, "--max-new-tokens", 8).stdout.splitlines()
    replies = [json.loads(line) for line in said]
    assert [reply["question"] for reply in replies] == list(questions)
    assert [reply["regions"] for reply in replies] == [[f"box {boxes[at]}" for at in own] for own in objects]
    assert picture.exists()
    read = [vr.Region.from_box([int(at) for at in text.split(":")[1].split(",")], int(text[0])) for text in boxes]
    for reply, own in zip(replies, objects, strict=True):
        about = [read[at] for at in own]
        assert reply["answer"] == vr.ask(vr.tiny_checkpoint(), path, reply["question"], about, max_new_tokens=8)


def test_further_questions_follow_the_first(clip):
    made, path = clip
    given = ["--box", box(made, 0, 0), "--max-new-tokens", 8]
    alone = [run("ask", path, question, *given).stdout for question in ONE]
    assert run("ask", path, ONE[0], "-q", ONE[1], *given).stdout == "".join(alone)


def test_other_videos_get_a_warning_with_the_embedded_model(tmp_path):
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    (tmp_path / "frames").mkdir()
    for number in range(4):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number:05}.png")
    asked = ["ask", tmp_path / "frames", "What is <region>?", "--box", "0:4,4,40,40", "--max-new-tokens", 2]
    assert "--model" in run(*asked).stderr
    assert "--model" not in run(*asked, "--model", CHECKPOINT).stderr


def test_ask_warns_about_what_the_embedded_model_does_not_know(clip):
    def warned(model=None, video=None, image=None):
        region = vr.Region.from_box((4, 4, 40, 40))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            vr.ask(model or vr.tiny_checkpoint(), video, "What is <region>?", [region], image=image, max_new_tokens=2)
        return ["shapes world" in str(one.message) for one in caught if one.filename == __file__]

    _, path = clip
    noise = np.random.default_rng(0).integers(0, 255, (4, 48, 64, 3), dtype=np.uint8)
    assert warned(video=path) == []  # the file says itself that it is a clip of the world
    assert warned(video=noise) == warned(image=noise[0]) == [True]
    assert warned(CHECKPOINT, video=noise) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["What is <region>?"], "1 <region>, but 0 region"),
        (["What is it?", "--box", "0:1,1,9,9"], "0 <region>, but 1 region"),
        ([*TWO[:1], "-q", TWO[1], *("--box", "0:1,1,9,9") * 2], "2 questions have 2, 1 <region>, but 2 region"),
        (["What is <region>?", "-q", "Is <region> red?"], "1, 1 <region>, but 0 region"),
        (["What is it?", "-q", "Is it red?", "--box", "0:1,1,9,9"], "0, 0 <region>, but 1 region"),
        (["-q", "What is <region>?", *("--box", "0:1,1,9,9") * 2], "1 <region>, but 2 region"),
        (["--box", "0:1,1,9,9"], "There is no question"),
        (["What is <region>?", "--box", "99:1,1,9,9"], "lies on frame 99"),
        (["What is <region>?", "--box", "0:100,100,120,120"], "outside the frame"),
        (["What is <region>?", "--box", "0:1,1,9,9", "--save", "picture.xyz"], "not the name of a picture"),
        (["What is <region>?", "--box", "0:1,1,9,9", "--model", "nowhere/at-all"], "nowhere/at-all"),
    ],
)
def test_wrong_questions_are_refused(clip, arguments, said, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = run("ask", clip[1], *arguments, code=1)
    assert said in re.sub(r"\s+", " ", result.stderr)


@pytest.fixture
def threads(monkeypatch):
    """As many as PyTorch takes of itself, without any choice of the user's."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    before, own = torch.get_num_threads(), len(os.sched_getaffinity(0))
    torch.set_num_threads(own)
    yield own
    torch.set_num_threads(before)


@pytest.mark.parametrize("chosen", ["nothing", "the environment", slow("torch"), slow("another model")])
def test_the_embedded_model_takes_one_thread_unless_the_user_chose(clip, threads, monkeypatch, tmp_path, chosen):
    folder = vr.tiny_checkpoint()
    if chosen == "the environment":
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    elif chosen == "torch":
        threads += 3
        torch.set_num_threads(threads)
    elif chosen == "another model":
        folder = shutil.copytree(folder, tmp_path / "copy")
    model, processor = load_model(folder)
    taken = []
    model.register_forward_hook(lambda *_: taken.append(torch.get_num_threads()))
    asking = {"model": model, "video": clip[1], "regions": [vr.Region.from_box((4, 4, 40, 40))]}
    vr.ask(question="What is <region>?", max_new_tokens=2, processor=processor, **asking)
    assert set(taken) == {1 if chosen == "nothing" else threads}
    assert torch.get_num_threads() == threads
    with pytest.raises(PromptError):
        vr.ask(question="What is it?", processor=processor, **asking)
    assert torch.get_num_threads() == threads


def test_demo_shows_questions_with_answers_and_truths(tmp_path):
    folder = tmp_path / "demo[/x]"  # which is no markup
    result = run("demo", "--out", folder)
    video, picture = folder / "demo.mp4", folder / "demo.png"
    assert vr.open_video(video).num_frames == 16
    with Image.open(picture) as image:
        assert min(image.size) > 300
    right, asked = map(int, re.search(r"(\d+) of (\d+) answers are right", result.output).groups())
    assert asked >= 6
    assert "(A)" in result.output  # some have options
    assert result.output.count(" right ") >= right


# --- the model -------------------------------------------------------------------------------------------------------


def test_the_embedded_model_is_a_checkpoint_like_any_other():
    from transformers import AutoModel, AutoProcessor

    folder = Path(vr.tiny_checkpoint())
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 8_000_000
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    assert isinstance(model, vr.VideoReferForConditionalGeneration)
    assert isinstance(processor, vr.VideoReferProcessor)
    kinds = (model.config.vision_config.model_type, model.config.text_config.model_type, model.config.projector_type)
    assert kinds == ("siglip_vision_model", "qwen2", "stc_connector_v35")
    assert model.config.object_encoder_config.max_tokens_per_region == 4
    assert (folder / "README.md").is_file()
    for path in (*folder.glob("*.json"), folder / "README.md"):  # nothing of the machine that made it
        assert not re.search("/(root|home|work|tmp)/|_name_or_path", path.read_text("utf-8")), path.name


# --- making it -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_command_makes_a_model_from_nothing(tmp_path):
    few = ["train.max_steps=1", "train.batch_size=2", "train.global_batch_size=2", "train.log_every=1"]
    made = run("train", "tiny", "--out", tmp_path, "--clips", 6, "--heldout", 1, *few)
    folder = Path(made.stdout.strip().splitlines()[-1])
    assert folder == tmp_path / "checkpoint"
    path = tmp_path / "world" / "heldout" / "videos" / "heldout-000000.mp4"
    region = vr.Region.from_box((10, 10, 50, 50))
    assert isinstance(vr.ask(folder, path, "What is <region>?", [region], max_new_tokens=2), str)
    assert "`videorefer world` renders from seed 1 with `--data-version 7`" in (folder / "README.md").read_text()
    assert "and with its letter behind them" in (folder / "README.md").read_text()
    # The towers of all stages are one, and the packed weights are those of the last stage, rounded.
    from safetensors.torch import load_file

    last = list(STAGES)[-1]
    weights = {name: load_file(tmp_path / name / "model.safetensors") for name in ("vision_tower", last)}
    packed = load_file(folder / "model.safetensors")
    assert all(packed[name].equal(value.half()) for name, value in weights[last].items())
    tower = {name.removeprefix("vision_model."): value for name, value in weights["vision_tower"].items()}
    kept = {name: value for name, value in weights[last].items() if "vision_tower" in name}
    assert kept
    for name, value in kept.items():
        short = name.split("vision_tower.", 1)[1].removeprefix("vision_model.")
        assert value.equal(tower[short]), name
    # Once more does nothing but pack.
    times = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/model.safetensors")}
    make_tiny(tmp_path, 6, 1, overrides=few)
    assert {path for path in times if path.stat().st_mtime_ns != times[path]} <= {folder / "model.safetensors"}


@pytest.mark.slow
def test_processes_train_together(tmp_path):
    few = ["train.max_steps=2", "train.global_batch_size=4", "train.log_every=1"]
    run("train", "tiny", "--out", tmp_path, "--clips", 6, "--heldout", 0, "--stage", "vision_tower", *few)
    alone = json.loads((tmp_path / "vision_tower" / "trainer_state.json").read_text())
    shutil.rmtree(tmp_path / "vision_tower")
    run("train", "tiny", "--out", tmp_path, "--stage", "vision_tower", "--processes", 2, *few)
    together = json.loads((tmp_path / "vision_tower" / "trainer_state.json").read_text())
    assert (together["global_step"], together["train_batch_size"]) == (2, 2)
    first = [state["log_history"][0]["loss"] for state in (alone, together)]
    assert first[0] == pytest.approx(first[1], rel=0.05)  # halves of a batch do not hold equally many objects


@pytest.mark.slow
def test_processes_that_cannot_share_a_batch_or_fail_are_reported(tmp_path):
    with pytest.raises(ConfigurationError, match=r"not a multiple of train\.batch_size=2 times 3"):
        make_tiny(tmp_path, stages=["language_model"], processes=3)
    world.write_dataset(tmp_path / "world", 1, seed=0, heldout=0)
    with pytest.raises(TrainingError, match=r"tiny/stage0_tower ended with exit code"):
        make_tiny(tmp_path, stages=["vision_tower"], processes=2, overrides=["data.files=[missing.json]"])


def test_stages_that_keep_features_share_a_folder(tmp_path):
    for recipe, overrides, shared in (
        ("tiny/stage0_tower", [], False),
        ("tiny/stage2_objects", [], True),
        ("tiny/stage3", ["train.max_steps=2"], True),
        ("tiny/stage3", ["data.keep_features=false"], False),
    ):
        assert features_in(tmp_path, recipe, overrides) == ([f"data.features={tmp_path}"] if shared else [])


def test_a_stage_is_one_entry_and_the_recipe_that_agrees_with_it():
    assert {name for name in list_recipes() if name.startswith("tiny/")} == {one.recipe for one in STAGES.values()}
    names = list(STAGES)
    for place, (name, stage) in enumerate(STAGES.items()):
        assert set(stage.starts_from.values()) <= set(names[:place])
        assert set(stage.also) <= set(names)
        assert stage.product in (None, *PRODUCTS)
        recipe = load_recipe(stage.recipe)
        assert recipe.output.folder == f"output/tiny/{name}"
        for setting, before in stage.starts_from.items():
            assert getattr(recipe.model, setting.removeprefix("model.")) == f"output/tiny/{before}"


@pytest.mark.slow
def test_a_model_is_made_of_one_version_of_the_data_and_its_card_says_which(tmp_path):
    world.write_dataset(tmp_path / "world", 2, seed=7, heldout=0, version=5)
    assert "on 2 clips that `videorefer world` renders from seed 7 with `--data-version 5`." in history(tmp_path)
    arguments = ["train", "tiny", "--out", tmp_path, "--stage", "language_model", "train.max_steps=1"]
    refused = " ".join(run(*arguments, code=1).output.split())
    assert "holds a data set of version 5, but version 7 was asked for" in refused
    assert "--data-version 5" in refused
    assert not (tmp_path / "language_model").exists()
    run(*arguments, "--data-version", 5)
    assert (tmp_path / "language_model" / "model.safetensors").exists()
    assert "expected 5, 6 or 7" in run(*arguments, "--data-version", 9, code=1).output
    with pytest.raises(ConfigurationError, match="holds no data set"):
        history(tmp_path / "nowhere")
    packaged = (Path(vr.tiny_checkpoint()) / "README.md").read_text(encoding="utf-8")
    assert "on 10,000 clips that `videorefer world` renders from seed 1 with `--data-version 5`." in packaged


def test_unknown_stages_and_weights_beyond_half_precision_are_refused(tmp_path):
    import torch
    from safetensors.torch import save_file

    with pytest.raises(ConfigurationError, match="Unknown stage 'stage9'"):
        make_tiny(tmp_path, stages=["stage9"])
    (tmp_path / "huge").mkdir()
    save_file({"w": torch.tensor([1e6])}, tmp_path / "huge" / "model.safetensors")
    (tmp_path / "huge" / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="float16"):
        pack(tmp_path / "huge", tmp_path / "packed")


# --- ablations -------------------------------------------------------------------------------------------------------


def rows_of(text):
    """The names of one's own rows in a report, and of the paper's."""
    names = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    rows = [name for name in names if name != names[0]]  # without the heads
    return [name for name in rows if "*paper*" not in name], [name for name in rows if "*paper*" in name]


def test_rows_of_the_ablation_of_data_have_one_kind_of_data_more_each():
    none, *rows = variants("data")
    assert (none.name, none.stages) == ("none", ())
    assert [row.name for row in rows] == ["+ short captions", "+ questions", "+ detailed captions"]
    for count, row in enumerate(rows, 1):
        assert row.products == PRODUCTS[:count]
        assert list(row.stages) == [name for name, stage in STAGES.items() if stage.product in row.products]
    short, questions, detailed = (set(row.stages) for row in rows)
    assert {"stage2", "stage2_objects"} <= short < questions < detailed
    assert {"stage3_facts", "stage3", "stage3_more"} <= questions - short
    assert "stage2.5" in detailed - questions
    for table in ("modes", "unions"):
        assert {row.stages for row in variants(table)} == {rows[-1].stages}
    with pytest.raises(ConfigurationError, match="known are modes, unions, data"):
        variants("words")


PAPER = {  # as it prints them
    "modes": """
Mode	TD	HD	mean score	Sequential	Relationship	all questions
Single-frame	3.03	2.97	3.42	68.3	59.1	71.9
Multi-frame	3.10	3.04	3.46	70.6	60.5	72.1""",
    "data": """
Method	MVBench	mean score	all questions
w/o Regional data	57.9	-	-
+ Short description	58.0	2.43	68.3
+ QA	58.4	2.45	71.7
+ Detailed description	59.6	3.42	71.9""",
    "unions": """
Union	TD	HD	Sequential	Relationship
u = 32	3.17	3.01	68.7	58.1
u = 16	3.20	2.99	69.3	58.5
u = 8	3.18	3.02	69.6	57.8
u = 4	3.10	3.04	70.6	60.5
u = 1	3.08	2.98	68.9	60.9""",
}


@pytest.mark.parametrize("table", TABLES)
def test_the_paper_s_table_stands_beside_one_s_own(table):
    head, _, *rows, _, note, _ = paper_table(table)
    expected = [line.split("\t") for line in PAPER[table].strip().splitlines()]
    assert [cell.strip() for cell in head.split("|")[2:-1]] == expected[0][1:]
    found = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    assert found == [[f"*paper*: {name}", *cells] for name, *cells in expected[1:]]
    number = {"modes": 5, "data": 6, "unions": 7}[table]
    assert f"table {number} of arXiv 2501.00599" in note
    assert "a 7B model on other benchmarks" in note
    assert ("MVBench" in note) == (table == "data")


@pytest.mark.slow
def test_ablations_train_each_row_once_and_write_a_table(tmp_path):
    world.write_dataset(tmp_path / "world", 4, seed=2, heldout=5)
    few = ["train.max_steps=1", "train.batch_size=2", "train.global_batch_size=2"]
    common = ["--world", tmp_path / "world", "--start", CHECKPOINT, "--out", tmp_path / "out", "--limit", 4]
    made = run("bench", "ablate", "data", *few, *common)
    own, paper = rows_of(made.stdout)
    assert own == ["none", "+ short captions", "+ questions", "+ detailed captions"]
    assert len(paper) == 4
    head = next(line for line in made.stdout.splitlines() if line.startswith("| data"))
    assert head.endswith("| all questions | SC | AD | TD | HD | mean score |")
    cells = [line.split("|")[2:-1] for line in made.stdout.splitlines() if line.startswith(("| none", "| +"))]
    assert {len(row) for row in cells} == {11}
    assert all(0 <= float(row[5]) <= 100 and 0 <= float(row[10]) <= 5 for row in cells)
    assert "4 held-out questions" in made.stdout
    records = json.loads((tmp_path / "out" / "train_stage3-without-detailed.json").read_text())
    whole = json.loads((tmp_path / "world" / "train_stage3.json").read_text())
    assert [one["id"] for one in records] == [one["id"] for one in whole if "/detailed/" not in one["id"]]
    assert len(records) < len(whole)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/model.safetensors")}
    assert len(times) == 9  # two stages of short captions, three of questions, and four more stages for the last row
    table = (tmp_path / "out" / "data.md").read_text()
    assert table in made.stdout
    run("bench", "ablate", "data", *few, *common)
    assert (tmp_path / "out" / "data.md").read_text() == table
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/model.safetensors")}


def test_data_that_are_no_use_are_refused_before_anything_is_trained(tmp_path):
    world.write_dataset(tmp_path / "world", 4, seed=2, heldout=5)
    path = tmp_path / "world" / "heldout" / "bench_d.json"
    items = json.loads(path.read_text())
    path.write_text(json.dumps([{name: value for name, value in one.items() if name != "facts"} for one in items]))
    common = ["--world", tmp_path / "world", "--start", CHECKPOINT, "--out", tmp_path / "out"]
    refused = run("bench", "ablate", "data", *common, code=1)
    assert "has no facts" in " ".join(refused.output.split())
    (tmp_path / "world" / "train_stage3_facts.json").unlink()
    refused = run("bench", "ablate", "data", *common, code=1)
    assert "train_stage3_facts.jsonismissing;writeitwith" in "".join(refused.output.split())  # lines break anywhere
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_ablations_may_start_from_a_later_checkpoint(tmp_path):
    world.write_dataset(tmp_path / "world", 4, seed=2, heldout=5)
    few = ["train.max_steps=1", "train.batch_size=2", "train.global_batch_size=2"]
    common = ["--world", tmp_path / "world", "--start", CHECKPOINT, "--out", tmp_path / "out", "--limit", 2]
    made = run("bench", "ablate", "modes", *few, *common, "--stage", "stage3")
    assert rows_of(made.stdout) == (
        ["single-frame", "multi-frame"],
        ["*paper*: Single-frame", "*paper*: Multi-frame"],
    )
    assert "Only these stages were run, where a row has them: stage3." in made.stdout
    assert [path.parent.name for path in (tmp_path / "out").glob("*/model.safetensors")] == ["stage3"]
    refused = run("bench", "ablate", "modes", *common, "--stage", "stage3", "--share", 0.5, code=1)
    assert "trained with share 1.0, not 0.5; take another folder" in " ".join(refused.output.split())
    refused = run("bench", "ablate", "modes", *common, "--stage", "stage1", code=1)
    assert "Unknown stage 'stage1'; known are stage2," in " ".join(refused.output.split())


def test_the_card_begins_with_what_the_model_can_do_and_three_figures():
    text = (Path(vr.tiny_checkpoint()) / "README.md").read_text(encoding="utf-8")
    short = text[text.index("## In short") : text.index("| Parameters |")]
    assert text.index("## In short") < text.index("## Usage") < text.index("## Results")
    assert "**It can**" in short
    assert "**It cannot**" in short
    summary = RunSummary.load(vr.tiny_checkpoint())
    results = {(one.split, one.metric): one.value for one in summary.results}
    accuracy = results["multi-frame", "all items, accuracy in percent"]
    assert f"answers {accuracy:.1f} percent of the questions" in short
