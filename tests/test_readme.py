"""Every block of the README runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blocks import read_blocks, run_blocks

ROOT = Path(__file__).parent.parent
BLOCKS = read_blocks(ROOT / "README.md")
BASH = [body for language, body in BLOCKS if language == "bash"]


def test_every_block_has_a_test():
    assert {language for language, _ in BLOCKS} <= {"python", "bash", "bibtex"}
    assert len(BASH) > 2  # the first two install


def test_blocks_run_one_after_the_other(desk):
    names = run_blocks(BLOCKS, "README.md")
    assert (desk / "converted" / "model.safetensors").is_file()
    assert (desk / "my-object-encoder" / "object_encoder.safetensors").is_file()
    for folder in ("my-adapter", "my-host-adapter"):
        assert (desk / folder / "adapter_model.safetensors").is_file()
    assert names["tokens"].shape == (4, 768)


def test_first_command_runs_its_main_job(tmp_path):
    """The part behind the installation, which is a test of its own in continuous integration."""
    install, job = BASH[0].split(" && ", 1)
    assert (install, job) == ("python -m pip install .", "videorefer demo\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "videorefer_plugin.cli", *job.split()[1:]]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "answers are right" in done.stdout
    assert (tmp_path / "demo" / "demo.png").is_file()


def test_second_command_is_what_continuous_integration_runs():
    assert BASH[1] == 'python -m pip install -e ".[dev]" && python -m pytest\n'
    runner = ROOT / ".ci" / "run"
    if not runner.is_file():
        pytest.skip("not a checkout")
    assert "README.md" in runner.read_text()
