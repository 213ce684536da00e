"""The matrix of hostile calls: commands and public functions that are called with what they cannot take.

A command ends with 0, 1 or 2 and says why, never with a trace; a function raises the named error.
"""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import videorefer_plugin as vr
from tests.hostile import in_time, refuses
from tests.media import write_video
from videorefer_plugin import patches
from videorefer_plugin.bench import benchmark_of
from videorefer_plugin.cli import app
from videorefer_plugin.errors import (
    BenchError,
    ConfigurationError,
    PatchError,
    RegionError,
    VideoError,
    VideoReferError,
)
from videorefer_plugin.world.dataset import write_dataset

CLIP = "clip.mp4"
REGION = "--box=0:1,1,20,20"
LONG = "y" * 5000

# Numbers, folders and words that options do not take. A NUL byte cannot reach a command from a shell.
NUMBERS = ["nan", "inf", "-1", "1e400", "x", "", "1.5"]
NO_FOLDERS = ["file", "file/below", "/proc/x", "/dev/null", LONG]
NO_FILES = ["", "missing", "folder", "bytes", LONG, "/proc/self/mem"]
NO_MODELS = ["", "missing", "folder", "file", "bytes", "a/b/c", LONG]
NO_REPOSITORIES = ["", "a/b/c", "a b/c", "../x", "a/", "/b", "é/b", "y" * 200 + "/b"]
NO_REGIONS = ["", "x", "nan,nan,nan,nan", "0:", "99999999:1,2,3,4", "0:1e400,1,2,3", "{}", f"0:{'9' * 5000},1,2,3"]

COMMANDS: list[tuple[list[str], list[str]]] = [  # a command, with {} in one place, and what is put there
    (["ask", "--", "{}", "q"], [path for path in NO_FILES if path]),
    (["ask", CLIP, "q", "--model={}"], NO_MODELS[1:]),
    *((["ask", CLIP, "what is <region>", f"--{kind}={{}}"], NO_REGIONS) for kind in ("box", "point", "polygon")),
    *((["ask", CLIP, "what is <region>", f"--{kind}={{}}"], NO_FILES) for kind in ("mask", "rle", "region")),
    (["ask", CLIP, "q", "--max-new-tokens={}"], NUMBERS),
    (["segment", "{}", "--out=out.json", REGION], NO_FILES),
    (["segment", CLIP, "--out={}", REGION], NO_FOLDERS[1:]),
    (["segment", CLIP, "--out=out.json", REGION, "--segmenter={}"], ["", "missing", "classical,"]),
    (["segment", CLIP, "--out=out.json", REGION, "--start={}"], NUMBERS),
    (["segment", CLIP, "--out=out.json", "--text=a dog", "--max-objects={}"], NUMBERS),
    (["world", "--clips=1", "--out={}"], NO_FOLDERS),
    (["world", "--out=w", "--clips=1", "--seed={}"], NUMBERS),
    (["world", "--out=w", "--clips={}"], [*NUMBERS, "9" * 30]),
    (["world", "--out=w", "--clips=1", "--size={}"], NUMBERS),
    (["world", "--out=w", "--clips=1", "--frames={}"], [*NUMBERS, "9" * 30]),
    (["world", "--out=w", "--clips=1", "--workers={}"], NUMBERS),
    (["demo", "--out={}"], NO_FOLDERS),
    (["data", "demo", "--clips=1", "--out={}"], NO_FOLDERS),
    (["bench", "q", "{}", "--model=embedded", "--out=o"], NO_FILES),
    (["bench", "d", "{}", "--model=embedded", "--judge=rule", "--out=o"], NO_FILES),
    (["bench", "general", "--model=m", "--out={}", "--dry-run"], NO_FOLDERS),
    (["bench", "general", "--model={}", "--out=g", "--dry-run"], ["a,b", "a=b"]),
    (["bench", "general", "--model=m", "--out=g", "--options={}"], ["[]", "{", '{"q":1}', '{"q":null}', "[" * 5000]),
    (["bench", "general", "--model=m", "--out=g", "--data={}"], ["", "x", "=", "q=", "=f", "z=1"]),
    (["bench", "report", "{}"], NO_FILES),
    (["data", "run", "{}", "--out=o"], NO_FILES),
    (["data", "plan", "{}", "--out=o"], NO_FILES),
    (["data", "plan", "engine/shapes", "{}", "--out=o"], ["", "x", "=", "a=b", "a.b.c=1", "a=[1"]),
    (["data", "retry", "{}"], NO_FILES),
    (["data", "review", "{}"], NO_FILES),
    (["data", "review", "folder", "--kept={}"], NUMBERS),
    (["train", "run", "{}"], [path for path in NO_FILES if path]),
    (["train", "run", "tiny/stage1", "{}", "--show"], ["", "x", "=", "a=b", "a.b.c=1", "a=[1"]),
    (["train", "run", "tiny/stage1", "--max-steps={}"], NUMBERS),
    (["train", "check", "{}"], NO_FILES),
    (["train", "tiny", "--out={}", "--clips=1"], NO_FOLDERS),
    (["train", "tiny", "--out=file/x", "--clips={}"], [*NUMBERS, "9" * 30]),
    (["publish", "{}", "a/b", "--dry-run"], NO_FILES),
    (["publish", "folder", "--dry-run", "--", "{}"], NO_REPOSITORIES),
]
# Of a command that is written wrongly here, so that what it is tried on is never looked at.
MISUSED = ("unexpected extra argument", "No such option: --", "No such command", "Missing option", "Missing argument")
CASES = [[part.replace("{}", value) for part in command] for command, values in COMMANDS for value in values]


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory):
    """Where all calls are made: a clip, a folder, a file and bytes."""
    folder = tmp_path_factory.mktemp("calls")
    before = os.getcwd()
    os.chdir(folder)
    write_video(folder / CLIP, frames=6)
    (folder / "folder").mkdir()
    (folder / "file").write_text("x")
    (folder / "bytes").write_bytes(bytes(range(256)) * 20)
    yield
    os.chdir(before)


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", sorted({" ".join(command[:2]) for command, _ in COMMANDS}))
def test_commands_end_without_a_trace(name, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for command in CASES:
        if " ".join(command[:2]) != name:
            continue
        with in_time():
            result = CliRunner(env={"COLUMNS": "200"}).invoke(app, command)
        assert isinstance(result.exception, (SystemExit, type(None))), (command, result.exception)
        assert result.exit_code in (1, 2), (command, result.output)
        assert len(result.output.strip()) > 10, command
        assert not any(words in result.output for words in MISUSED), (command, result.output)


# Values of the wrong type or size, and those of the right type that mean nothing.
ODD: list[Any] = [b"x", 5, -1, 10**40, math.nan, True, "", "x", {}, [], ("a",), np.zeros((0, 0)), object(), Path("no")]
MASKS = torch.ones(1, 4, 4)
BOX = vr.Region.from_box((0, 0, 9, 9))


def _no_skip(value: Any) -> Any:
    return patches.apply("videollama2", skip=value)


DOORS: list[tuple[type[VideoReferError], Callable[[Any], Any], list[Any]]] = [
    (ConfigurationError, vr.ObjectEncoder, ODD),
    (ConfigurationError, vr.ObjectEncoderConfig.from_dict, [odd for odd in ODD if not isinstance(odd, dict)]),
    (ConfigurationError, lambda odd: vr.ObjectEncoderConfig(odd, 8), [b"x", -1, math.nan, True, "", {}, [], None, 0]),
    (
        ConfigurationError,
        lambda odd: vr.resize_masks(MASKS, odd),
        [odd for odd in ODD if type(odd) is not int] + [-1, 0, 10**40, (1, 10**40), (2, 2, 2), (2, True), None],
    ),
    (ConfigurationError, lambda odd: vr.resize_masks(MASKS, (2, 2), policy=odd), [*ODD, None]),
    (PatchError, patches.apply, [*ODD, None]),
    (PatchError, patches.undo, [*ODD, None]),
    (PatchError, _no_skip, [b"x", 5, -1, 10**40, math.nan, True, "", "x", ("a",), [5], None, {"regions": 1, 5: 2}]),
    (BenchError, benchmark_of, [*ODD, None]),
    (ConfigurationError, lambda odd: write_dataset("w", odd), [b"x", -1, 10**40, math.nan, "", {}, [], None, 1.5]),
    (VideoError, vr.open_video, [odd for odd in ODD if not isinstance(odd, Path)]),
    (RegionError, vr.Region, ODD),
    (RegionError, vr.Region.from_json, ODD),
    (RegionError, vr.Region.from_mask, [odd for odd in ODD if not isinstance(odd, np.ndarray)]),
    (RegionError, vr.Region.from_polygon, ODD),
]


@pytest.mark.parametrize("place", range(len(DOORS)))
def test_functions_name_what_they_cannot_take(place):
    error, door, values = DOORS[place]
    for value in values:
        refuses(error, door)(value)


SURROUNDINGS = [  # what surrounds a process
    ("COLUMNS=0 {} bench report missing", 1),
    ("COLUMNS=x {} --help", 0),
    ("TERM=dumb NO_COLOR=1 {} --help", 0),
    ("LANG=C LC_ALL=C PYTHONUTF8=0 PYTHONIOENCODING=ascii {} --help", 0),
    ("PYTHONIOENCODING=ascii {} bench report $'\\xc3\\xa9'", 1),
    ("{} bench report $'\\xff\\xfe'", 1),
    ("{} --help <&-", 0),
    ("{} --help | head -0", 0),
    ("{} --help >&-", 0),
    ("{} --help > /dev/full", 1),
    ("{} ask --help > /dev/full", 1),
    ("HF_HOME=/proc/x {} bench report missing", 1),
]


@pytest.mark.spread(2)
@pytest.mark.parametrize(("line", "status"), SURROUNDINGS)
def test_surroundings_leave_no_trace(line, status):
    command = line.replace("{}", f"{sys.executable} -m videorefer_plugin.cli")
    done = subprocess.run(["bash", "-c", command], capture_output=True, timeout=100)
    said = done.stdout + done.stderr
    assert not any(word in said for word in (b"Traceback", b"Exception ignored")), done.stderr[-2000:]
    assert done.returncode == status, done.stderr[-2000:]
