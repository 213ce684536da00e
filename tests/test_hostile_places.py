"""The matrix of hostile places: whoever writes says so before the work, and leaves nothing half-written."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests.hostile import in_time, refuses
from tests.media import write_video
from tests.training_data import turns
from tests.training_runs import assert_equal_runs, run, write_data
from videorefer_plugin._files import write_whole
from videorefer_plugin._places import check_file_place, check_folder_place, writing
from videorefer_plugin.bench.evaluate import evaluate_questions
from videorefer_plugin.bench.lmms.tasks import write_tasks
from videorefer_plugin.bench.report import write_report
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.demo import demonstrate_engine as engine_demo
from videorefer_plugin.data_engine.figures import draw_figures
from videorefer_plugin.data_engine.recipe import load_engine_recipe
from videorefer_plugin.data_engine.runs import run_engine
from videorefer_plugin.errors import (
    BenchError,
    CheckpointError,
    ConfigurationError,
    EngineError,
    TrainingError,
    VideoReferError,
)
from videorefer_plugin.hosts.saving import save_object_encoder
from videorefer_plugin.models.feature_folder import FeatureFolder
from videorefer_plugin.models.feature_keys import FeatureKey
from videorefer_plugin.pictures import check_overlay, save_overlay
from videorefer_plugin.segment.jobs import read_job
from videorefer_plugin.segment.masklet import save_masklets
from videorefer_plugin.tiny.demonstration import demonstrate
from videorefer_plugin.tiny.making import make_tiny
from videorefer_plugin.training.checkpoints import UNFINISHED, complete_checkpoints
from videorefer_plugin.training.looks import make_look_folder
from videorefer_plugin.training.mixture_report import check_figure
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.training.run import train
from videorefer_plugin.world.dataset import write_dataset


class Idle:
    """An answerer that is never asked, since its folder is looked at before."""

    def settings(self) -> dict[str, Any]:
        raise AssertionError("the work has begun")


class Writer(NamedTuple):
    """Who writes: what, a file or a folder, the ending of a file's name, and the error of the room."""

    write: Callable[[Path, Path], Any]  # of the place, and a folder with a video and records
    error: type[VideoReferError]
    ending: str | None = None  # of a file; None for a folder


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given")
    write_video(folder / "a.mp4", 4)
    (folder / "records.json").write_text(json.dumps([{"id": "a", "conversations": turns("A?", "B")}]))
    return folder


@pytest.fixture(scope="module")
def model():
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(vr.tiny_checkpoint())


def region() -> vr.Region:
    return vr.Region.from_box((2, 2, 20, 20))


def to_train(place: Path, given: Path) -> Any:
    files = json.dumps([str(given / "records.json")])
    settings = [f"output.folder={json.dumps(str(place))}", f"data.files={files}", "model.checkpoint=no/model"]
    return train(load_recipe("videollama2.1-7b/stage3", settings))


def to_engine(place: Path, given: Path) -> Any:
    settings = [f"output.folder={json.dumps(str(place))}", f"source.files=[{given / 'none.json'}]"]
    return run_engine(load_engine_recipe("engine/shapes", settings))


WRITERS = {
    "segment --out": Writer(
        lambda place, given: read_job(given / "a.mp4", [("box", "0:2,2,20,20")], out=place),
        ConfigurationError,
        ".json",
    ),
    "segment --save": Writer(
        lambda place, given: read_job(
            given / "a.mp4", [("box", "0:2,2,20,20")], out=given / "masks.json", picture=place
        ),
        ConfigurationError,
        ".png",
    ),
    "overlay": Writer(
        lambda place, given: save_overlay(given / "a.mp4", [region()], place), ConfigurationError, ".mp4"
    ),
    "sheet": Writer(lambda place, given: save_overlay(given / "a.mp4", [region()], place), ConfigurationError, ".png"),
    "a check of an overlay": Writer(lambda place, _: check_overlay(place), ConfigurationError, ".mp4"),
    "figure": Writer(lambda place, _: check_figure(place), ConfigurationError, ".pdf"),
    "show-dir": Writer(lambda place, given: make_look_folder(given / "records.json", place), ConfigurationError),
    "bench": Writer(
        lambda place, given: evaluate_questions(given / "records.json", Idle(), place),  # type: ignore[arg-type]
        BenchError,
    ),
    "report": Writer(lambda place, _: write_report([], place), BenchError, ".md"),
    "world": Writer(lambda place, _: write_dataset(place, 0), ConfigurationError),
    "train": Writer(to_train, ConfigurationError),
    "engine": Writer(to_engine, EngineError),
    "figures": Writer(lambda place, given: draw_figures([str(given / "records.json")], place), ConfigurationError),
    "engine demo": Writer(lambda place, _: engine_demo(place, clips=1), EngineError),
    "tiny": Writer(lambda place, _: make_tiny(place, clips=1), ConfigurationError),
    "tasks": Writer(lambda place, _: write_tasks(place), BenchError),
    "features": Writer(lambda place, _: FeatureFolder(place), ConfigurationError),
    "demo": Writer(lambda place, _: demonstrate("no/model", place), ConfigurationError),
}


def kinds_of_files(folder: Path, ending: str) -> dict[str, str]:
    """Names of which none can be a file to write."""
    (folder / f"folder{ending}").mkdir()
    (folder / "file").write_text("")
    os.mkfifo(folder / f"pipe{ending}")
    return {
        "a folder": f"{folder}/folder{ending}",
        "in a file": f"{folder}/file/a{ending}",
        "a pipe": f"{folder}/pipe{ending}",
        "in /proc": f"/proc/a{ending}",
        "in /sys": f"/sys/a{ending}",
        "too long": f"{folder}/{'x' * 300}{ending}",
        "a path too long": "/" + "x" * 200 * 30 + ending,
        "NUL": f"{folder}/a\0b{ending}",
    }


def kinds_of_folders(folder: Path) -> dict[str, str]:
    (folder / "file").write_text("")
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(folder / "link")
    return {
        "a file": f"{folder}/file",
        "in a file": f"{folder}/file/a/b",
        "a pipe": f"{folder}/pipe",
        "a device": "/dev/full",
        "in a device": "/dev/null/a",
        "in /proc": "/proc/a/b",
        "in /sys": "/sys/a",
        "itself": f"{folder}/link",
        "too long": f"{folder}/{'x' * 300}",
        "NUL": f"{folder}/a\0b",
        "empty": "",
    }


FILE_KINDS = ["a folder", "in a file", "a pipe", "in /proc", "in /sys", "too long", "a path too long", "NUL"]
FOLDER_KINDS = ["a file", "in a file", "a pipe", "a device", "in a device", "in /proc", "in /sys", "itself"]
FOLDER_KINDS += ["too long", "NUL", "empty"]
ELSEWHERE = [(name, "empty") for name in ("train", "engine")] + [("engine", "NUL"), ("train", "NUL")]
"""What recipes say of their own settings."""

CASES = [
    (name, kind)
    for name, writer in WRITERS.items()
    for kind in (FOLDER_KINDS if writer.ending is None else FILE_KINDS)
    if (name, kind) not in ELSEWHERE
]


@pytest.mark.spread(30)
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_places_that_cannot_be_written_are_refused_before_the_work(name, kind, given, tmp_path):
    writer = WRITERS[name]
    kinds = kinds_of_folders(tmp_path) if writer.ending is None else kinds_of_files(tmp_path, writer.ending)
    before = sorted(os.listdir(tmp_path))
    refuses(writer.error, lambda place: writer.write(place, given))(kinds[kind])
    assert sorted(os.listdir(tmp_path)) == before
    assert sorted(os.listdir(given)) == ["a.mp4", "records.json"]


@pytest.mark.spread(3)
@pytest.mark.parametrize("kind", FOLDER_KINDS)
def test_models_are_saved_in_folders_alone(kind, model, tmp_path):
    place = kinds_of_folders(tmp_path)[kind]
    refuses(CheckpointError, model.save_pretrained)(place)
    refuses(CheckpointError, model.config.save_pretrained)(place)
    refuses(CheckpointError, partial(save_object_encoder, model))(place)


@pytest.mark.parametrize("kind", [*FILE_KINDS, "a file"])
def test_helpers_know_every_place(kind, tmp_path):
    if kind == "a file":
        (tmp_path / "a").write_text("there")
        assert check_file_place(tmp_path / "a", BenchError).read_text() == "there"
        refuses(BenchError, lambda place: check_folder_place(place, BenchError))(tmp_path / "a")
        return
    place = kinds_of_files(tmp_path, ".txt")[kind]
    refuses(BenchError, lambda given: check_file_place(given, BenchError, made=True))(place)


def test_what_is_written_is_not_what_is_read(given, tmp_path):
    video = tmp_path / "a.mp4"
    write_video(video, 4)
    (tmp_path / "link.mp4").symlink_to(video)
    os.link(video, tmp_path / "hard.mp4")
    content = video.read_bytes()
    for source in (video, str(video), vr.open_video(video)):
        for name in ("a.mp4", "link.mp4", "hard.mp4", "../" + tmp_path.name + "/a.mp4"):
            refuses(ConfigurationError, lambda place: save_overlay(source, [region()], place))(tmp_path / name)  # noqa: B023
    assert video.read_bytes() == content
    refuses(ConfigurationError, lambda _: make_tiny(tmp_path / "tiny", stages=[]))(None)


def test_long_names_that_a_file_may_have_can_be_written(tmp_path):
    path = check_file_place(tmp_path / ("ä" * 120 + "x" * 15), BenchError)  # 255 bytes
    write_whole(path, "a")
    assert os.listdir(tmp_path) == [path.name]


# --- a disk that is full ---------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path):
    """A disk of 64 kB."""
    with disk(tmp_path / "small", 64) as place:
        yield place


@contextmanager
def disk(place: Path, kilobytes: int) -> Iterator[Path]:
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", place], capture_output=True)
    if done.returncode:
        pytest.skip("a small disk takes the rights to mount one")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def noise(folder: Path) -> Path:
    path = folder / "noise.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (24, 256, 256, 3), dtype=np.uint8)
    vr.world.encode_video(path, frames)
    return path


@pytest.mark.spread(1)
@pytest.mark.parametrize(
    "name", ["overlay.mp4", "sheet.png", "model", "object encoder", "world", "masks", "text", "tasks", "features"]
)
def test_on_a_full_disk_nothing_is_half_written(name, small, model, tmp_path):
    video = noise(tmp_path)
    full: dict[str, tuple[type[VideoReferError], Callable[[], Any]]] = {
        "overlay.mp4": (vr.VideoError, lambda: save_overlay(video, [region()], small / name)),
        "sheet.png": (vr.VideoError, lambda: save_overlay(video, [region()], small / name)),
        "model": (CheckpointError, lambda: model.save_pretrained(small / name)),
        "object encoder": (CheckpointError, lambda: save_object_encoder(model, small / name)),
        "world": (ConfigurationError, lambda: write_dataset(small / name, 20, heldout=8)),
        "masks": (vr.SegmentError, lambda: save_masklets(small / name, followed(video))),
        "text": (BenchError, lambda: text(small / name)),
        "tasks": (BenchError, lambda: write_tasks(small / name)),
        "features": (ConfigurationError, lambda: FeatureFolder(small / name).write(features())),
    }
    error, write = full[name]
    if name in ("object encoder", "masks", "tasks"):
        (small / "filler").write_bytes(bytes(56 * 1024))
    with in_time(), pytest.raises(error, match="cannot be written"):
        write()
    left = [path for path in small.rglob("*") if path.is_file() and path.name != "filler"]
    if name in ("overlay.mp4", "sheet.png", "object encoder", "masks", "text", "features"):
        assert not left
    assert not [path for path in left if path.name.startswith(".")]


def followed(video: Path) -> list[Any]:
    """An object of a checkered mask, whose masks take more than a few kilobytes."""
    mask = np.indices((256, 256)).sum(0) % 2 == 1
    return vr.propagate_many(video, [vr.Region.from_mask(mask)], end=1)


def features() -> dict[FeatureKey, torch.Tensor]:
    return {FeatureKey("content", 0, "preprocessing", "tower"): torch.zeros(200, 200)}


def text(path: Path) -> None:
    with writing(path, BenchError):
        write_whole(path, "x" * 100_000)


RECIPE, RUN = (
    "videollama2.1-7b/stage3",
    {"train.save_every": 1, "train.max_steps": 2, "train.parts": ["object_encoder"]},
)


@pytest.mark.slow
def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_one_before(tmp_path):
    data = write_data(tmp_path / "data", ("polygons",))
    run(RECIPE, data, tmp_path / "whole", **RUN)
    sizes = {file.name: file.stat().st_size // 1024 + 1 for file in (tmp_path / "whole" / "checkpoint-1").iterdir()}
    one = sum(sizes.values()) + 4 * len(sizes)  # in pages
    for lacking, error in (("model.safetensors", CheckpointError), ("optimizer.pt", TrainingError)):
        before = {"model.safetensors": 0, "optimizer.pt": sizes["model.safetensors"]}[lacking]
        with disk(tmp_path / lacking, one + before + sizes[lacking] // 2) as small:
            with in_time(), pytest.raises(error, match=r"cannot be written: .*No space left"):
                run(RECIPE, data, small, **RUN)
            assert [path.name for path in complete_checkpoints(small)] == ["checkpoint-1"]
            assert not (small / UNFINISHED).exists()
            subprocess.run(["mount", "-o", f"remount,size={4 * one}k", small], check=True)
            run(RECIPE, data, small, **RUN)
            assert_equal_runs(small, tmp_path / "whole")


# --- commands --------------------------------------------------------------------------------------------------------

COMMANDS = [
    ["world", "--clips", "1", "--out", "{file}"],
    ["world", "--clips", "1", "--out", "/proc/a"],
    ["demo", "--out", "{file}"],
    ["demo", "--out", "/sys/a"],
    ["train", "check", "{records}", "--show", "1", "--show-dir", "{file}"],
    ["train", "check", "videollama2.1-7b/stage1", "data.files={records}", "--figure", "{folder}.png/a.png"],
    ["train", "check", "videollama2.1-7b/stage1", "data.files={records}", "--show-dir", "{folder}"],
    ["train", "check", "videollama2.1-7b/stage1", "data.files={records}", "--seed", "3"],
    ["train", "tiny", "--out", "{file}"],
    ["data", "figures", "{records}", "--out", "{file}"],
    ["data", "demo", "--out", "{file}"],
    ["segment", "{video}", "--box", "0:2,2,20,20", "--out", "{video}"],
    ["segment", "{video}", "--box", "0:2,2,20,20", "--out", "{folder}"],
    ["segment", "{video}", "--box", "0:2,2,20,20", "--out", "/proc/a.json"],
    ["ask", "{video}", "A <region>?", "--box", "0:2,2,20,20", "--save", "/proc/a.png"],
    ["ask", "{video}", "A <region>?", "--box", "0:2,2,20,20", "--save", "{folder}/none/a.png"],
    ["bench", "fetch", "--benchmark", "records"],
    ["bench", "general", "--model", "no/model", "--out", "{folder}/out", "--dry-run", "--data", "nope=x"],
]


@pytest.mark.spread(6)
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command)[:60])
def test_commands_say_it_in_red_and_end_with_one(command, given, tmp_path):
    (tmp_path / "file").write_text("there")
    names = {
        "file": tmp_path / "file",
        "folder": tmp_path,
        "video": given / "a.mp4",
        "records": given / "records.json",
    }
    done = CliRunner().invoke(app, [part.format(**names) for part in command])
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit)
    assert (tmp_path / "file").read_text() == "there"


def test_a_folder_of_media_may_be_a_number(given, tmp_path):
    command = [
        "train",
        "check",
        "videollama2.1-7b/stage1",
        f"data.files={given / 'records.json'}",
        "--media-root",
        "2024",
    ]
    done = CliRunner().invoke(app, command)
    assert "media_root" not in done.output
    assert done.exit_code == 0, done.output
