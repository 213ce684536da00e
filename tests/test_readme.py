"""The README: every block runs, every link leads somewhere, and it stays short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.blocks import read_blocks, run_blocks

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCKS = read_blocks(README)
BASH = [body for language, body in BLOCKS if language == "bash"]


def _commands(body):
    return body.replace("\\\n", " ").splitlines()


def _stands_on_a_page(block):
    """Whether a page of the documentation has the same commands, which `tests/test_docs.py` runs there."""
    language, body = block
    pages = [read_blocks(page) for page in (ROOT / "docs").glob("**/*.md")]
    shown = [{line for kind, text in page if kind == "bash" for line in _commands(text)} for page in pages]
    return language == "bash" and any(shown_there.issuperset(_commands(body)) for shown_there in shown)


def test_every_block_has_a_test():
    # tests/test_docs.py holds commands of `console` blocks, which do not end, against the command line.
    assert {language for language, _ in BLOCKS} <= {"python", "bash", "console", "bibtex"}
    assert len(BASH) > 2  # the first two install


def test_blocks_run_one_after_the_other(desk):
    run_blocks([block for block in BLOCKS if not _stands_on_a_page(block)], "README.md")
    assert (desk / "my-object-encoder" / "object_encoder.safetensors").is_file()


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


def test_it_is_short():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def test_links_lead_to_files():
    targets = re.findall(r"\]\(([^)#\s]+)", README.read_text(encoding="utf-8"))
    assert len(targets) > 20
    outside = re.compile(r"https://")
    assert [target for target in targets if not outside.match(target) and not (ROOT / target).is_file()] == []


def test_pictures_are_small():
    """They are loaded with every view of the README and the documentation."""
    pictures = [path for path in (ROOT / "docs" / "images").iterdir() if path.suffix in (".png", ".svg")]
    assert len(pictures) > 1
    assert [path.name for path in pictures if path.stat().st_size > 200_000] == []
