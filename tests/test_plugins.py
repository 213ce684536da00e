"""An installed package brings hosts, segmenters, benchmarks, agents and layouts by one entry point."""

import sys

import pytest
from typer.testing import CliRunner

import videorefer_plugin as vr
from videorefer_plugin import _plugins
from videorefer_plugin.bench.benchmarks import registry as benchmarks
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine import registry as agents
from videorefer_plugin.data_engine.sources import registry as layouts
from videorefer_plugin.hosts import registry as hosts
from videorefer_plugin.segment import registry as segmenters

MODULE = """
from dataclasses import dataclass
from typing import ClassVar

import videorefer_plugin as vr
from videorefer_plugin.bench import Benchmark, register_benchmark
from videorefer_plugin.data_engine import Agent, agents, register_agent
from videorefer_plugin.data_engine.sources.registry import register_layout
from videorefer_plugin.hosts.qwen3_vl import Qwen3VLHost


class OwnHost(Qwen3VLHost):
    model_type = "own_vl"


class OwnAnalyzer(Agent):
    stage = "analyzer"

    def identity(self):
        return {}

    def run(self, items):
        return []


@dataclass(frozen=True)
class Words(Benchmark):
    name: ClassVar[str] = "words"
    title: ClassVar[str] = "Words"
    about: ClassVar[str] = "Counts words."

    def item(self, value, common): ...
    def score(self, items, answers, replies): ...
    def figures(self, scores): ...
    def summary(self, result): ...
    def section(self, results): ...


def read(settings):
    yield from ()


times = 0


def register():
    global times
    times += 1
    vr.register_host(OwnHost())
    vr.register_segmenter("own_segmenter", "own_package:Own", ["find"])
    register_benchmark("words", "own_package:Words")
    register_agent("analyzer", "own_analyzer", "own_package:OwnAnalyzer")
    register_layout("own_layout", "own_package:read")
    assert "own_analyzer" in agents()["analyzer"]  # looking something up meanwhile is allowed


def broken():
    raise OSError("no license file")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs the package with an entry point, as if the process had just begun."""

    def installed(entry):
        details = tmp_path / "own_package-1.0.dist-info"
        details.mkdir()
        (details / "METADATA").write_text("Metadata-Version: 2.1\nName: own-package\nVersion: 1.0\n")
        (details / "entry_points.txt").write_text(f"[videorefer_plugin.plugins]\nown = {entry}\n")
        (tmp_path / "own_package.py").write_text(MODULE)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "own_package", raising=False)
        monkeypatch.setattr(_plugins, "_started", False)
        for module in (hosts, segmenters, benchmarks, agents, layouts):
            for table in {"_HOSTS", "_ENTRIES", "_PATHS", "_LOADED"} & set(vars(module)):
                monkeypatch.setattr(module, table, dict(getattr(module, table)))

    yield installed
    sys.modules.pop("own_package", None)


LOOK_UPS = {
    "host": lambda: hosts.host_of("own_vl").model_type == "own_vl",
    "hosts": lambda: "own_vl" in vr.supported_hosts(),
    "segmenter": lambda: segmenters.entry_of("own_segmenter").path == "own_package:Own",
    "segmenters": lambda: "own_segmenter" in vr.segmenters(),
    "benchmark": lambda: benchmarks.benchmark_of("words").title == "Words",
    "benchmarks": lambda: "words" in benchmarks.benchmarks(),
    "agent": lambda: agents.make_agent("analyzer", "own_analyzer").stage == "analyzer",
    "agents": lambda: "own_analyzer" in agents.agents()["analyzer"],
    "layout": lambda: list(layouts.make_reader("own_layout")(None)) == [],
    "layouts": lambda: "own_layout" in layouts.layouts(),
    "command": lambda: "Counts words." in CliRunner(env={"COLUMNS": "200"}).invoke(app, ["bench", "--help"]).output,
}


@pytest.mark.parametrize("look_up", LOOK_UPS)
def test_names_of_an_installed_package_are_known_at_the_first_look_up(install, look_up):
    install("own_package:register")
    assert LOOK_UPS[look_up]()
    vr.supported_hosts()
    assert sys.modules["own_package"].times == 1


@pytest.mark.parametrize(
    ("entry", "reason"),
    [("own_package:broken", "OSError: no license file"), ("no_such_module:register", "ModuleNotFoundError")],
)
def test_a_package_that_fails_is_named_and_hides_nothing_else(install, entry, reason):
    install(entry)
    with pytest.warns(UserWarning, match=f"'own' of the package own-package, {entry}, .*{reason}"):
        assert "qwen3_vl" in vr.supported_hosts()


def test_names_that_are_known_load_no_plugin(install):
    install("own_package:register")
    hosts.host_of("qwen3_vl"), segmenters.entry_of("classical"), benchmarks.benchmark_of("q")
    assert "own_package" not in sys.modules
