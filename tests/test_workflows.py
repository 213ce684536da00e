"""What continuous integration and the release checklist call exists in this tree."""

import re
from pathlib import Path

import pytest

from videorefer_plugin import __version__

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="not a checkout")


def read_jobs(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))["jobs"]


def read_parts():
    """The parts that `.ci/run` runs without arguments."""
    return set(re.search(r"\|\| set -- (.*)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))[1].split())


def read_project():
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_every_part_is_a_job():
    checks = read_jobs("ci.yml")["checks"]
    assert set(checks["strategy"]["matrix"]["part"]) == read_parts()
    assert any("matrix.part" in step.get("run", "") for step in checks["steps"])


def test_the_wheel_is_tried_at_both_ends_of_python():
    supported = re.findall(r"Python :: (3\.\d+)", "\n".join(read_project()["classifiers"]))
    assert set(read_jobs("ci.yml")["wheel"]["strategy"]["matrix"]["python"]) == {supported[0], supported[-1]}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_jobs_are_limited_and_installed_extras_exist(path):
    for name, job in read_jobs(path.name).items():
        assert "timeout-minutes" in job or name == "publish", name
        for step in job["steps"]:
            extras = re.findall(r"-e \"\.\[([\w,-]+)\]\"", step.get("run", ""))
            assert set(",".join(extras).split(",")) - {""} <= set(read_project()["optional-dependencies"])


def test_a_release_compares_the_tag_with_the_version():
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "videorefer-plugin ${GITHUB_REF_NAME#v}" in text


def test_the_version_stands_in_one_file():
    assert "version" in read_project()["dynamic"]
    files = [path for folder in ("src", "patches", "docs") for path in (ROOT / folder).rglob("*.py")]
    assigned = [path for path in files if re.search(rf'"{re.escape(__version__)}"', path.read_text(encoding="utf-8"))]
    assert [path.relative_to(ROOT).as_posix() for path in assigned] == ["src/videorefer_plugin/__init__.py"]


def test_the_release_checklist_names_files_that_exist():
    text = (ROOT / "RELEASING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"(?<![\w/.$-])(?:\.ci|\.github|src|tests)/[\w./-]+", text))
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []
    (called,) = re.findall(r"\.ci/run ((?:\w+ )*\w+)", text)
    assert set(called.split()) == read_parts()
