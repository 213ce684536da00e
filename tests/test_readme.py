"""Every block of the README runs."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import media
from tests.conftest import CHECKPOINT

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
BASH = [body for language, body in BLOCKS if language == "bash"]
SETUP = 2  # the first two commands install; the others use what is installed


def test_every_block_has_a_test():
    assert {language for language, _ in BLOCKS} <= {"python", "bash", "bibtex"}
    assert len(BASH) > SETUP


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with everything that the README speaks of."""
    from PIL import Image

    from tests import training_data
    from tests.tiny_hosts import ROWS
    from tests.videollama2_original import STANDINS, on_path

    monkeypatch.chdir(tmp_path)
    (tmp_path / "path" / "to").mkdir(parents=True)
    shutil.copytree(CHECKPOINT, tmp_path / "path" / "to" / "checkpoint")
    shutil.copytree(CHECKPOINT.parent / "siglip-tiny-patch6-42", tmp_path / "path" / "to" / "siglip-tiny-patch6-42")
    host = next(row for row in ROWS if row.name == "llava_onevision")
    host.model().save_pretrained(tmp_path / "path" / "to" / "host")
    host.processor().save_pretrained(tmp_path / "path" / "to" / "host")
    pictures = list(np.random.default_rng(0).integers(0, 256, (30, 120, 160, 3), dtype=np.uint8))
    media.write_video(tmp_path / "dog.mp4", pictures)
    Image.fromarray(pictures[0]).save(tmp_path / "dog.png")
    records = training_data.all_kinds()
    training_data.write_media(tmp_path)
    training_data.write_json(tmp_path / "my-data.json", [records["compressed"], records["image"]] * 4)
    # The original code looks for the tower from the working directory, and is not on the package index.
    shutil.copytree(CHECKPOINT.parent / "siglip-tiny-patch6-42", tmp_path / "siglip-tiny-patch6-42")
    with on_path(*(() if importlib.util.find_spec("videollama2") else (STANDINS,))):
        yield tmp_path


def test_blocks_run_one_after_the_other(desk):
    """In order, Python in one interpreter and commands in a shell, as a reader would paste them."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    namespace: dict = {}
    commands = 0
    for language, body in BLOCKS:
        if language == "python":
            exec(compile(body, "README.md", "exec"), namespace)
        elif language == "bash":
            commands += 1
            if commands > SETUP:
                shell = ["bash", "-euo", "pipefail", "-c", body]
                done = subprocess.run(shell, capture_output=True, text=True, env=environment)
                assert done.returncode == 0, f"{body}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (desk / "converted" / "model.safetensors").is_file()
    assert (desk / "my-object-encoder" / "object_encoder.safetensors").is_file()
    for folder in ("my-adapter", "my-host-adapter"):
        assert (desk / folder / "adapter_model.safetensors").is_file()
    assert namespace["tokens"].shape == (4, 768)


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
