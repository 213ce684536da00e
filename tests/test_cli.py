"""What holds for every command: bad input is told on stderr, in whole sentences, and ends the command with 1."""

import platform
import subprocess
import sys
from importlib import metadata

import pytest
import torch
import typer
from typer.testing import CliRunner

from videorefer_plugin import __version__
from videorefer_plugin.cli import app
from videorefer_plugin.cli._shell import telling


@pytest.mark.spread(5)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("ask no.mp4 What?", "no file or folder at 'no.mp4'"),
        ("segment no.mp4 --out masks.json", "There is nothing to follow."),
        ("publish nowhere owner/name", "nowhere is not there"),
        ("data run nothing", "There is no recipe 'nothing'."),
        ("data run nothing --show", "There is no recipe 'nothing'."),
        ("data plan nothing", "There is no recipe 'nothing'."),
        ("data retry nowhere", "nowhere holds no run.json"),
        ("data figures no.json --out figures", "no.json is not there"),
        ("data publish nowhere owner/name", "nowhere has no records.json"),
        ("data review nowhere", "nowhere has no records.json"),
        ("world --out world --clips 1 --size 3", "size is 3"),
        ("train check no.json", "no.json is not there"),
        ("train run nothing", "There is no recipe 'nothing'."),
        ("bench q no.json --model embedded --out answers", "no.json is not there"),
        ("bench d no.json --model embedded --out answers --judge endpoint", "there is no --judge-model"),
        ("bench fetch --benchmark nothing", "unknown benchmark 'nothing'"),
        ("bench report nowhere", "nowhere has no results"),
    ],
)
def test_bad_input_is_told_and_leaves_nothing(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner(env={"COLUMNS": "1000"}).invoke(app, arguments.split())
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert said in result.stderr


@pytest.mark.parametrize(
    ("stopped", "explained", "said"),
    [
        ("", "", ""),
        ("Interrupted. Start it again.", "", "Interrupted. Start it again.\n"),
        ("Interrupted. Start it again.", "3 [of] 5 are done.", "Interrupted. 3 [of] 5 are done.\n"),
    ],
)
def test_an_interruption_ends_a_command_with_130(stopped, explained, said):
    alone = typer.Typer()

    @alone.command()
    def command() -> None:
        with telling(stopped):
            raise KeyboardInterrupt(*([explained] if explained else []))

    result = CliRunner().invoke(alone)
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", said)


def test_the_command_line_starts_without_what_only_commands_need():
    heavy = "{'torch', 'transformers', 'rich.progress', 'cv2', 'scipy', 'av'}"
    check = f"import sys, videorefer_plugin.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_versions_that_a_report_needs(monkeypatch):
    monkeypatch.setenv("HF_HOME", "/home/somebody/cache")
    said = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["env"]).stdout
    lines = dict(line.removeprefix("- ").split(": ", 1) for line in said.splitlines())
    assert lines["videorefer-plugin"] == __version__
    assert lines["torch"] == torch.__version__.split("+")[0]
    assert lines["Python"].startswith(platform.python_version())
    assert lines["HF_HOME"] == "set"
    assert "somebody" not in said
    assert {"[train]", "[bench]", "[segment]", "[engine]", "[ray]", "[docs]"} <= set(lines)
    assert all(each.startswith("- ") for each in said.splitlines())


def test_the_version_is_that_of_the_installed_package():
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.stdout) == (0, f"videorefer-plugin {__version__}\n")
    assert metadata.version("videorefer-plugin") == __version__
