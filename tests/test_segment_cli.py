"""`videorefer segment`: from options to files, runs that are stopped and continued, and `ask --track`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests import media, rolling
from videorefer_plugin import world
from videorefer_plugin._files import Ledger, LedgerError
from videorefer_plugin.cli import app
from videorefer_plugin.regions import encode_rle
from videorefer_plugin.segment import load_masklets
from videorefer_plugin.segment.jobs import read_job
from videorefer_plugin.segment.registry import entry_of
from videorefer_plugin.segment.runs import run_job

pytestmark = pytest.mark.filterwarnings("ignore:The embedded model knows nothing but the shapes world")

RUNNER = CliRunner(env={"COLUMNS": "1000"})  # so that no path is broken over two lines
LENGTH = 40


def run(*arguments, code=0):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def words(text):
    return re.sub(r"\s+", " ", text)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """40 frames of 80 x 48 pixels, ten a second."""
    return media.write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", LENGTH, rate=10)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """16 frames of the shapes world, and the box of an object in frame 3."""
    path = tmp_path_factory.mktemp("shapes") / "clip.mp4"
    made = world.make_clip(5, "heldout", objects=2)
    world.encode_video(path, made.frames)
    rows, columns = np.nonzero(made.masks[0, 3])
    return path, f"3:{columns.min()},{rows.min()},{columns.max() + 1},{rows.max() + 1}"


@pytest.fixture(autouse=True)
def log(tmp_path_factory, monkeypatch):
    """What the segmenter has loaded and computed."""
    rolling.register()
    path = tmp_path_factory.mktemp("log") / "log.txt"
    monkeypatch.setenv("ROLLING_LOG", str(path))
    return path


def logged(log):
    return log.read_text().split() if log.exists() else []


ROLLING = ("--segmenter", "rolling")


# --- from options to files -------------------------------------------------------------------------------------------


def test_a_click_becomes_a_file_of_masks(clip, tmp_path):
    out = tmp_path / "masks.json"
    result = run("segment", clip, "--point", "3:30,20", *ROLLING, "--out", out)
    (masklet,) = load_masklets(out)
    assert masklet.region.frames == tuple(range(LENGTH))
    assert masklet.region.mask(3, 48, 80)[20, 30]
    assert (masklet.backend, masklet.settings) == ("rolling", {"checkpoint": "me/rolling"})
    assert [path.name for path in tmp_path.iterdir()] == ["masks.json"]
    assert "New shots begin at frame 5." in words(result.stdout)


def test_the_default_follows_without_weights(shapes, tmp_path):
    path, box = shapes
    run("segment", path, "--box", box, "--out", tmp_path / "masks.json")
    (masklet,) = load_masklets(tmp_path / "masks.json")
    assert masklet.backend == "classical"
    assert 3 in masklet.region.present


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            ["--point", "2:30,20", "--box", "0:1,2,9,12"],
            [{"2": {"points": [[30, 20]], "labels": [1]}}, {"0": {"box": [1, 2, 9, 12]}}],
        ),
        (
            ["--box", "0:1,2,9,12", "--point", "2:30,20"],
            [{"0": {"box": [1, 2, 9, 12]}}, {"2": {"points": [[30, 20]], "labels": [1]}}],
        ),
        (
            ["--point", "0:30,20", "--negative", "0:10,10,12,12", "--point", "1:9,9"],
            [
                {"0": {"points": [[30, 20], [10, 10], [12, 12]], "labels": [1, 0, 0]}},
                {"1": {"points": [[9, 9]], "labels": [1]}},
            ],
        ),
        (
            ["--box", "0:1,2,9,12", "--negative", "0:3,3", "--negative=5:4,4"],
            [
                {
                    "0": {"box": [1, 2, 9, 12], "points": [[3, 3]], "labels": [0]},
                    "5": {"points": [[4, 4]], "labels": [0]},
                }
            ],
        ),
        (
            ["--point", "0:30,20;0.5s:40,20", "--negative", "0.5s:1,1;7:2,2"],
            [
                {
                    "0": {"points": [[30, 20]], "labels": [1]},
                    "5": {"points": [[40, 20], [1, 1]], "labels": [1, 0]},
                    "7": {"points": [[2, 2]], "labels": [0]},
                }
            ],
        ),
    ],
)
def test_options_are_objects_in_their_order(clip, tmp_path, given, expected):
    out = tmp_path / "masks.json"
    run("segment", clip, *given, *ROLLING, "--out", out)
    assert json.loads(out.read_text())["prompts"] == expected


def test_every_kind_of_region_says_where_an_object_is(clip, tmp_path):
    mask = np.zeros((48, 80), np.uint8)
    mask[10:20, 30:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    (tmp_path / "rle.json").write_text(json.dumps(encode_rle(mask)))
    (tmp_path / "region.json").write_text(json.dumps({"a": {"3": {"segmentation": encode_rle(mask)}}}))
    given = ["--mask", f"1:{tmp_path}/mask.png", "--rle", f"2:{tmp_path}/rle.json"]
    given += ["--region", f"{tmp_path}/region.json#a", "--polygon", "4:30,10,50,10,50,20,30,20"]
    run("segment", clip, *given, *ROLLING, "--out", tmp_path / "out.json")
    masklets = load_masklets(tmp_path / "out.json")
    for number, masklet in enumerate(masklets, 1):
        assert np.array_equal(masklet.prompts[number].mask, mask > 0)


def test_negative_points_leave_an_object_absent_where_it_is_declared_so(clip, tmp_path):
    (tmp_path / "region.json").write_text(json.dumps({"0": {"points": [[30, 20]]}, "9": None}))
    given = ["--region", tmp_path / "region.json", "--negative", "9:1,1;5:2,2", "--end", 9]
    run("segment", clip, *given, *ROLLING, "--out", tmp_path / "masks.json")
    (masklet,) = load_masklets(tmp_path / "masks.json")
    assert {frame: prompt.absent for frame, prompt in masklet.prompts.items()} == {0: False, 5: False, 9: True}
    assert masklet.prompts[9].labels == (0,)
    outside = [*given, "--negative", "9:90,1", *ROLLING, "--out", tmp_path / "outside.json"]
    assert "point (90, 1) lies outside" in words(run("segment", clip, *outside, code=1).stderr)


@pytest.mark.parametrize(
    ("given", "first", "last"),
    [
        (["--start", "2"], 2, LENGTH - 1),
        (["--end", "1.5s"], 0, 15),
        (["--start", "0.3s", "--end", "8"], 3, 8),
    ],
)
def test_objects_are_followed_from_start_to_end(clip, tmp_path, given, first, last):
    run("segment", clip, "--point", "5:30,20", *given, *ROLLING, "--out", tmp_path / "masks.json")
    (masklet,) = load_masklets(tmp_path / "masks.json")
    assert masklet.region.frames == tuple(range(first, last + 1))


def test_a_loss_is_told_and_is_no_failure(clip, tmp_path):
    given = ["--scribble", "3:30,20,50,20", "--point", "0:9,9", *ROLLING, "--out", tmp_path / "masks.json"]
    result = run("segment", clip, *given, "--json")
    assert "object 1: It was lost at frame 7" in words(result.stderr)
    said = json.loads(result.stdout)
    lost, kept = said["objects"]
    assert (lost["object"], lost["first"], lost["last"], lost["lost"]) == (1, 3, 6, [7])
    assert (kept["frames"], kept["visible"], kept["lost"]) == (LENGTH, 32, [])
    assert kept["mean_score"] > kept["lowest_score"] == round(1 / 39, 4)
    assert said["cuts"] == [2]
    table = run("segment", clip, *given, "--force").stdout
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.splitlines() if line.startswith("│")]
    assert rows == [["1", "4", "3", "0.19", "0.14", "7"], ["2", "40", "32", "0.12", "0.03", ""]]


@pytest.mark.parametrize("name", ["masks.mp4", "masks.png"])
def test_masks_are_drawn(clip, tmp_path, name):
    picture = tmp_path / name
    given = ["--point", "0:30,20", "--end", "5", *ROLLING, "--out", tmp_path / "masks.json", "--save", picture]
    assert name in words(run("segment", clip, *given).stdout)
    if name.endswith(".mp4"):
        assert vr.open_video(picture).num_frames == 6
    else:
        with Image.open(picture) as image:
            assert len(image.convert("RGB").getcolors(1 << 24)) > 50


READ = {
    "a mask": (["--mask", "0:mask.png"], "--save", "./mask.png", "--mask '0:mask.png' reads"),
    "a later mask": (["--mask", "0:mask.png;0.5s:other.png"], "--save", "other.png", "reads; choose another file"),
    "a link to a mask": (["--mask", "link.png"], "--save", "mask.png", "--mask 'link.png' reads"),
    "an RLE": (["--rle", "0:rle.json"], "--out", "rle.json", "--rle '0:rle.json' reads"),
    "a region": (["--region", "region.json#a"], "--out", "region.json", "--region 'region.json#a' reads"),
    "a frame": (["--point", "0:9,9"], "--save", "frames/2.png", "would be a frame of the video"),
    "a new frame": (["--point", "0:9,9"], "--save", "frames/overlay.JPG", "would be a frame of the video"),
    "masks as a frame": (["--point", "0:9,9"], "--out", "frames/masks.png", "would be a frame of the video"),
    "a link to frames": (["--point", "0:9,9"], "--save", "linked/overlay.png", "would be a frame of the video"),
    "both under two names": (["--point", "0:9,9"], "--save", "frames/../out.json", "give two files"),
}


PICTURES = [name for name, (_, option, _, said) in READ.items() if option == "--save" and "reads" in said]


@pytest.mark.spread(4)
@pytest.mark.parametrize(
    ("command", "name"), [*(("segment", name) for name in READ), *(("ask", name) for name in [*PICTURES, "a frame"])]
)
def test_what_is_read_is_not_written(log, tmp_path, monkeypatch, command, name):
    given, option, path, said = READ[name]
    monkeypatch.chdir(tmp_path)
    media.write_folder(Path("frames"), [f"{number}.png" for number in range(6)])
    os.symlink("frames", "linked")
    mask = np.zeros((48, 80), np.uint8)
    mask[10:20, 30:50] = 255
    for name in ("mask.png", "other.png"):
        Image.fromarray(mask).save(name)
    os.symlink("mask.png", "link.png")
    Path("rle.json").write_text(json.dumps(encode_rle(mask)))
    Path("region.json").write_text(
        json.dumps({"a": {"0": {"box": [1, 2, 9, 12]}}, "b": {"0": {"box": [1, 2, 9, 12]}}})
    )
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    written = {"--out": "out.json", option: path} if command == "segment" else {option: path}
    more = [*ROLLING, "--force"] if command == "segment" else [QUESTION]
    options = [part for pair in written.items() for part in pair]
    assert said in words(run(command, "frames", *more, *given, *options, code=1).stderr)
    assert logged(log) == []
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_what_lies_beside_frames_is_no_harm(tmp_path):
    folder = media.write_folder(tmp_path / "frames", [f"{number}.png" for number in range(6)])
    (folder / "look").mkdir()
    given = ["--point", "0:9,9", *ROLLING, "--out", folder / "masks.json", "--save"]
    for picture in (folder / "look" / "masks.png", folder / "masks.mp4"):
        run("segment", folder, *given, picture, "--force")
    assert vr.open_video(folder).num_frames == 6


def test_answers_are_told_though_their_picture_cannot_be_written(clip, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError("no room")

    monkeypatch.setattr(Image.Image, "save", fail)
    given = ["ask", clip, QUESTION, "--point", "0:30,20", "--max-new-tokens", 8]
    result = run(*given, "--save", tmp_path / "a.png", code=1)
    assert "cannot be written: no room" in words(result.stderr)
    assert result.stdout.strip() == vr.ask(
        vr.tiny_checkpoint(), clip, QUESTION, [vr.Region.from_points([(30, 20)], frame=0)], max_new_tokens=8
    )


def test_an_image_is_not_written_over(tmp_path):
    path = tmp_path / "image.png"
    Image.new("RGB", (48, 48)).save(path)
    given = ["ask", path, QUESTION, "--image", "--point", "9,9", "--save", path]
    assert "is the image itself" in words(run(*given, code=1).stderr)


def test_a_picture_that_is_there_is_kept(clip, log, tmp_path):
    (tmp_path / "masks.png").write_bytes(b"mine")
    given = ["segment", clip, *POINT, *ROLLING, "--out", tmp_path / "masks.json", "--save", tmp_path / "masks.png"]
    assert "masks.png' is there already; give --force" in words(run(*given, code=1).stderr)
    assert logged(log) == []
    assert (tmp_path / "masks.png").read_bytes() == b"mine"
    run(*given, "--force")
    assert (tmp_path / "masks.png").read_bytes() != b"mine"


def test_a_file_that_is_there_is_kept(clip, tmp_path):
    out = tmp_path / "masks.json"
    given = ["segment", clip, "--point", "0:30,20", *ROLLING, "--out", out]
    run(*given)
    before = out.read_bytes()
    assert "--force" in words(run(*given, "--end", 3, code=1).stderr)
    assert out.read_bytes() == before
    run(*given, "--end", 3, "--force")
    assert len(load_masklets(out)[0].region) == 4


# --- words -----------------------------------------------------------------------------------------------------------


def test_words_become_objects(clip, tmp_path):
    given = ["--text", "a dog", "--text", "a ball", "--max-objects", 2, "--frame", "0.3s"]
    result = run("segment", clip, *given, *ROLLING, "--out", tmp_path / "masks.json", "--save", tmp_path / "masks.png")
    masklets = load_masklets(tmp_path / "masks.json")
    assert [masklet.phrase for masklet in masklets] == ["a dog", "a dog", "a ball", "a ball"]
    assert all(list(masklet.prompts) == [3] for masklet in masklets)
    assert "3 a ball" in result.stdout


@pytest.mark.parametrize("phrase", ["[/x]", "[red]a dog", "a dog :100:", "{task.id} [b", r"a \[dog]"])
def test_words_are_printed_as_they_are(clip, tmp_path, monkeypatch, phrase):
    monkeypatch.chdir(tmp_path)
    out = Path("[x] :100:.json")
    result = run("segment", clip, "--text", phrase, "--max-objects", 1, *ROLLING, "--out", out)
    assert f"1 {phrase} " in result.stdout
    assert out.name in result.stdout
    assert load_masklets(out)[0].phrase == phrase


def test_words_that_are_not_found_leave_no_file(clip, tmp_path):
    stderr = run("segment", clip, "--text", "nothing", *ROLLING, "--out", tmp_path / "masks.json", code=1).stderr
    assert "found nothing for 'nothing'" in words(stderr)
    assert list(tmp_path.iterdir()) == []


# --- what is refused -------------------------------------------------------------------------------------------------

POINT = ("--point", "0:30,20")
WRONG = {
    "nothing": ([], "There is nothing to follow"),
    "a point outside": (["--point", "0:90,20"], "--point '0:90,20': frame 0: point (90, 20) lies outside the frame"),
    "a box outside": (["--box", "0:90,1,99,9"], "lies outside"),
    "a frame beyond": (["--point", "40:1,2"], "has 40 frames"),
    "a time beyond": (["--point", "9s:1,2"], "clip.mp4"),
    "no point": (["--point", "0:a,b"], "--point '0:a,b'"),
    "only negative": (["--negative", "0:1,2"], "--negative '0:1,2' comes before any object"),
    "negative first": (["--negative", "0:1,2", *POINT], "comes before any object"),
    "negative outside": ([*POINT, "--negative", "0:90,2"], "point (90, 2) lies outside"),
    "negative beyond": ([*POINT, "--negative", "50:9,2"], "--negative '50:9,2': Frame 50"),
    "no negative": ([*POINT, "--negative", "0:a"], "--negative '0:a'"),
    "negative on a mask": (["--polygon", "0:1,1,9,1,9,9", "--negative", "0:2,2"], "has a mask in frame 0"),
    "before the start": ([*POINT, "--start", "3"], "which is not among those that it is followed through, 3 to 39"),
    "no start": ([*POINT, "--start", "soon"], "--start 'soon' is not a frame"),
    "a start beyond": ([*POINT, "--start", "99"], "--start '99': Frame 99"),
    "an end before the start": ([*POINT, "--start", "9", "--end", "0.2s"], "Frames 9 to 2"),
    "points and words": ([*POINT, "--text", "a dog"], "do not go together"),
    "words of nothing": (["--text", " "], "words to find"),
    "start of words": (["--text", "a dog", "--start", "3"], "--start goes with objects that are pointed at"),
    "a frame of points": ([*POINT, "--frame", "3"], "--frame goes with --text"),
    "a frame of words beyond": (["--text", "a dog", "--frame", "99"], "--frame '99'"),
    "a most of points": ([*POINT, "--max-objects", "3"], "--max-objects goes with --text"),
    "an unknown segmenter": ([*POINT, "--segmenter", "sma2"], "no segmenter 'sma2'; expected one of"),
    "no words": (["--text", "a dog", "--segmenter", "classical"], "classical cannot find words; use"),
    "only words": ([*POINT, "--segmenter", "finder"], "finder cannot follow objects; use"),
    "a missing package": ([*POINT, "--segmenter", "needy"], "needs no_such_package: pip install"),
    "weights of none": ([*POINT, "--segmenter", "classical", "--checkpoint", "here"], "has no weights"),
    "a device of none": ([*POINT, "--segmenter", "classical", "--device", "cuda:9"], "runs on the CPU"),
    "a dtype of none": ([*POINT, "--segmenter", "classical", "--dtype", "bfloat16"], "leave the dtype out"),
    "words of rich": (["--box", "1:100:5[/x]"], "--box '1:100:5[/x]'"),
    "no ending": ([*POINT, "--save", "overlay.xyz"], "overlay.xyz"),
    "no folder": ([*POINT, "--save", "nowhere/overlay.mp4"], "no folder"),
    "no folder for masks": ([*POINT, "--out", "nowhere/masks.json"], "no folder 'nowhere'"),
    "a folder": ([*POINT, "--out", "."], "is a folder"),
    "the same file": ([*POINT, "--out", "a.png", "--save", "a.png"], "both 'a.png'"),
    "the video": ([*POINT, "--out", "clip.mp4", "--force"], "is the video itself"),
    "the video drawn": ([*POINT, "--save", "clip.mp4"], "is the video itself"),
}


@pytest.mark.spread(4)
@pytest.mark.parametrize(("given", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_before_anything_is_loaded(clip, log, tmp_path, monkeypatch, given, said):
    (tmp_path / "clip.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    chosen = [] if "--segmenter" in given else ROLLING
    out = [] if "--out" in given else ["--out", "masks.json"]
    result = run("segment", "clip.mp4", *given, *chosen, *out, code=1)
    assert said in words(result.stderr)
    assert logged(log) == []
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_video_that_is_none_is_said(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"no video")
    for name in ("clip.mp4", "nowhere.mp4"):
        result = run("segment", tmp_path / name, *POINT, *ROLLING, "--out", tmp_path / "masks.json", code=1)
        assert name in words(result.stderr)


def test_help_names_all_segmenters():
    said = run("segment", "--help").stdout
    ours = {name for name in vr.segmenters() if entry_of(name).path.startswith("videorefer_plugin.")}
    assert ours <= set(re.findall(r"\w+", said))


# --- runs that are stopped -------------------------------------------------------------------------------------------

TWO = ("--point", "3:30,20", "--negative", "15:1,1", "--scribble", "12:9,9,40,9", *ROLLING)


def lines_of(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture
def ledger(clip, tmp_path, monkeypatch):
    """What a run of `TWO` that was stopped has left."""
    monkeypatch.setenv("ROLLING_STOP", "9")
    run("segment", clip, *TWO, "--out", tmp_path / "masks.json", code=130)
    monkeypatch.delenv("ROLLING_STOP")
    return tmp_path / "masks.json.partial"


def stopped(arguments, ledger, how, at):
    """A run that is stopped from outside when its ledger has so many lines."""
    environment = {**os.environ, "ROLLING_WAITS": "20"}
    command = [sys.executable, "-m", "tests.rolling", *map(str, arguments)]
    root = Path(__file__).parents[1]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until = time.monotonic() + 60
    while lines_of(ledger) < at and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    return process.returncode, stderr.decode()


@pytest.mark.spread(1)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "kill"])
def test_the_same_command_goes_on_where_it_was_stopped(clip, log, tmp_path, how):
    whole, out = tmp_path / "whole.json", tmp_path / "masks.json"
    run("segment", clip, *TWO, "--out", whole)
    log.unlink()
    arguments = ["segment", clip, *TWO, "--out", out]
    code, stderr = stopped(arguments, ledger := tmp_path / "masks.json.partial", how, at=12)
    assert not out.exists()
    assert lines_of(ledger) >= 12
    if how != signal.SIGKILL:
        assert code == 128 + how
        assert re.search(r"Interrupted. \d+ of 40 frames are done; the same command goes on", words(stderr))
    else:
        with ledger.open("ab") as file:
            file.write(b'[{"frame":39,"object":0,"rl')  # as a kill in the middle of a write leaves it
    before = logged(log)
    log.unlink()
    run(*arguments)
    assert out.read_bytes() == whole.read_bytes()
    after = logged(log)
    # No frame is computed again but the one that was under way, and the one before it if that had just begun: that a
    # frame is whole is only known from the next one.
    assert len(set(before) & set(after) - {"load"}) <= 2
    assert set(before) | set(after) == {"load", *map(str, range(LENGTH))}
    assert not ledger.exists()


@pytest.mark.spread(1)
@pytest.mark.parametrize("at", [1, 7, 14])
def test_the_classical_segmenter_goes_on_as_if_it_had_not_been_stopped(shapes, tmp_path, at):
    path, box = shapes

    def job(name):
        return read_job(path, [("box", box)], out=tmp_path / name)

    def press(what, done, total):
        if (what, done) == ("following", at):
            raise KeyboardInterrupt

    run_job(job("whole.json"))
    with pytest.raises(KeyboardInterrupt, match=f"{at} of 16 frames are done"):
        run_job(job("masks.json"), press)
    run_job(job("masks.json"))
    assert (tmp_path / "masks.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.mark.parametrize("asked", [["--point", "3:30,20"], ["--text", "a dog"]], ids=["points", "words"])
def test_a_run_that_is_stopped_while_it_draws_goes_on(clip, tmp_path, asked):
    out, film = tmp_path / "masks.json", tmp_path / "masks.mp4"

    def press(what, done, total):
        if (what, done) == ("drawing frames", 2):
            raise KeyboardInterrupt

    points, phrases = ([], [asked[1]]) if asked[0] == "--text" else ([("point", asked[1])], [])
    with pytest.raises(KeyboardInterrupt):
        run_job(read_job(clip, points, phrases, out=out, segmenter="rolling", picture=film), press)
    assert out.exists()  # what matters is written first
    run("segment", clip, *asked, *ROLLING, "--out", out, "--save", film)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks.json", "masks.mp4"]


def test_a_run_that_fails_leaves_nothing_behind(clip, tmp_path, monkeypatch):
    monkeypatch.setenv("ROLLING_FAIL", "9")
    result = run("segment", clip, *TWO, "--out", tmp_path / "masks.json", code=1)
    assert "It is not there in frame 9." in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_as_what_it_was(clip, log, ledger, tmp_path):
    arguments = ["segment", clip, *TWO, "--out", tmp_path / "masks.json"]
    kept = ledger.read_bytes()
    for change, said in (
        (["--end", "20"], "end was 39 and is 20"),
        (["--point", "0:5,5"], "object 3 was None and is"),
        (["--checkpoint", "elsewhere"], "checkpoint was None and is 'elsewhere'"),
        (["--segmenter", "classical"], "segmenter was 'rolling' and is 'classical'"),
    ):
        stderr = words(run(*arguments, *change, code=1).stderr)
        assert said in stderr
        assert "--restart to start again, or another --out" in stderr
    with Ledger(ledger, json.loads(kept.splitlines()[0])["ledger"]):
        assert "written by another process. Wait for it" in words(run(*arguments, code=1).stderr)
    assert ledger.read_bytes() == kept
    log.unlink()
    run(*arguments, "--end", "20", "--restart")
    assert logged(log) == ["load", *map(str, range(3, 21)), "2", "1", "0"]
    assert [path.name for path in tmp_path.iterdir()] == ["masks.json"]


def test_a_ledger_that_was_meddled_with_is_named(clip, ledger, tmp_path):
    arguments = ["segment", clip, *TWO, "--out", tmp_path / "masks.json"]
    lines = ledger.read_text().splitlines(keepends=True)
    for text, said in (
        ("".join([*lines[:3], "{oops}\n", *lines[4:]]), "Line 4 of"),
        ("".join([*lines[:3], '[{"frame": 1, "object": 7}]\n', *lines[4:]]), "is damaged"),
        ('{"annotation": []}\n', "holds something else"),
    ):
        ledger.write_text(text)
        stderr = words(run(*arguments, code=1).stderr)
        assert said in stderr
        assert "--restart" in stderr
        assert ledger.read_text() == text


# --- the ledger ------------------------------------------------------------------------------------------------------


def test_a_ledger_keeps_whole_lines(tmp_path):
    path = tmp_path / "work"
    with Ledger(path, {"what": "this"}) as ledger:
        assert not path.exists()
        for number in range(3):
            ledger.append({"number": number})
    for torn in (b'{"number": 3', b"\0\0\0", b'{"number": 3}'):
        with path.open("ab") as file:
            file.write(torn)
        with Ledger(path, {"what": "this"}) as ledger:
            assert ledger.rows == [{"number": 0}, {"number": 1}, {"number": 2}]
    with pytest.raises(LedgerError, match="what was 'this' and is 'that'"):
        Ledger(path, {"what": "that"})
    with Ledger(path, {"what": "this"}), pytest.raises(LedgerError, match="another process"):
        Ledger(path, {"what": "this"})
    with pytest.raises(LedgerError, match="cannot be written") as caught:
        Ledger(path / "work", {})  # below a file
    assert caught.value.reason == "place"
    with Ledger(path, {"what": "that"}, restart=True) as ledger:
        assert ledger.rows == []
        ledger.append(1)
        ledger.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_whose_first_line_is_torn_begins_anew(tmp_path):
    (tmp_path / "work").write_bytes(b'{"ledger": {"wh')
    with Ledger(tmp_path / "work", {"what": "this"}) as ledger:
        ledger.append(1)
    with Ledger(tmp_path / "work", {"what": "this"}) as ledger:
        assert ledger.rows == [1]


# --- asking about what is followed -----------------------------------------------------------------------------------

QUESTION = "What is <region> doing?"
TRACKED = ("--point", "3:30,20", "--max-new-tokens", 8)


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "arguments",
    [
        ("CLIP", QUESTION, *TRACKED, "--track", "rolling"),
        ("CLIP", QUESTION, *TRACKED, "--track=rolling"),
        ("--track", "rolling", "CLIP", "-q", QUESTION, *TRACKED),
    ],
)
def test_what_is_pointed_at_is_followed_before_it_is_asked_about(clip, arguments):
    (masklet,) = vr.propagate_many(clip, [vr.Region.from_points([(30, 20)], frame=3)], "rolling")
    shown = masklet.region.select([masklet.region.present[at] for at in vr.sample_frame_indices(32, num_frames=16)])
    expected = vr.ask(vr.tiny_checkpoint(), clip, QUESTION, [shown], max_new_tokens=8)
    assert run("ask", *[clip if part == "CLIP" else part for part in arguments]).stdout.strip() == expected


@pytest.mark.spread(1)
@pytest.mark.parametrize("place", [0, 6], ids=["before the video", "last"])
def test_without_a_name_the_classical_segmenter_follows(shapes, place):
    path, box = shapes
    arguments = [path, QUESTION, "--box", box, "--max-new-tokens", 8]
    (masklet,) = vr.propagate_many(
        path, [vr.Region.from_box([float(at) for at in box[2:].split(",")], frame=3)], on_lost="ignore"
    )
    shown = masklet.region.select(masklet.region.present)
    expected = vr.ask(vr.tiny_checkpoint(), path, QUESTION, [shown], max_new_tokens=8)
    assert run("ask", *arguments[:place], "--track", *arguments[place:]).stdout.strip() == expected


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", ["CLIP", "./rolling", "folder-1", "no-such.mp4"])
def test_what_follows_track_is_its_name_wherever_it_stands(clip, log, tmp_path, monkeypatch, name):
    """A file of the name of a segmenter changes nothing, and a video is none."""
    for folder in ("rolling", "folder-1"):
        media.write_folder(tmp_path / folder, [f"{number}.png" for number in range(4)])
    monkeypatch.chdir(tmp_path)
    asked = [QUESTION, "--point", "0:30,20", "--max-new-tokens", 2]
    run("ask", clip, *asked, "--track", "rolling")
    assert logged(log).count("load") == 1
    video = clip if name == "CLIP" else name
    result = RUNNER.invoke(app, ["ask", *map(str, ["--track", video, *asked])])
    assert logged(log).count("load") == 1
    assert "segmenter" not in result.output
    assert result.exit_code == (1 if name == "no-such.mp4" else 0)


def test_objects_of_several_questions_are_followed_once_and_drawn(clip, log, tmp_path):
    questions = ["-q", QUESTION, "-q", "How does <region> look?"]
    given = ["--scribble", "3:9,9,40,9", "--track", "rolling", "--max-new-tokens", 2]
    result = run("ask", clip, *questions, *given, "--save", tmp_path / "a.png", "--json")
    assert "object 1: It was lost at frame 7" in words(result.stderr)
    assert logged(log).count("load") == logged(log).count("5") == 1
    assert len(result.stdout.splitlines()) == 2
    assert (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["CLIP", QUESTION, "--point", "0:9,9", "--track", "sma2"], "no segmenter 'sma2'; expected one of"),
        (["--track", "sam2-video", "CLIP", QUESTION, *POINT], "no segmenter 'sam2-video'; expected one of"),
        (["CLIP", "--point", "0:9,9", "--track", "SAM2.1", QUESTION], "no segmenter 'SAM2.1'; expected one of"),
        (["CLIP", QUESTION, "--point", "0:9,9", "--track", ""], "no segmenter ''; expected one of"),
        (["CLIP", QUESTION, "--point", "0:9,9", "--track", "finder"], "finder cannot follow objects"),
        (["CLIP", "What is it?", "--track"], "no region to follow"),
        (["CLIP", QUESTION, "--point", "0:9,9", "--track-checkpoint", "here"], "without --track"),
        (["IMAGE", QUESTION, "--point", "0:9,9", "--track", "--image"], "image has nothing to follow"),
    ],
)
def test_what_cannot_be_followed_is_said(clip, tmp_path, log, arguments, said):
    Image.new("RGB", (48, 48)).save(tmp_path / "image.png")
    places = {"CLIP": clip, "IMAGE": tmp_path / "image.png"}
    assert said in words(run("ask", *[places.get(part, part) for part in arguments], code=1).stderr)
    assert logged(log) == []


def test_masks_of_a_file_are_regions_of_other_commands(clip, tmp_path):
    out = tmp_path / "masks.json"
    run("segment", clip, *TWO, "--out", out)
    second = load_masklets(out)[1].region
    expected = vr.ask(vr.tiny_checkpoint(), clip, QUESTION, [second], max_new_tokens=8)
    assert run("ask", clip, QUESTION, "--region", f"{out}#2", "--max-new-tokens", 8).stdout.strip() == expected
    run("segment", clip, "--region", f"{out}#2", *ROLLING, "--out", tmp_path / "again.json", "--end", 20)
