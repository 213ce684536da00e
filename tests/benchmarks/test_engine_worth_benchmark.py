"""The benchmarks of the data engine run from end to end, on few clips."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.engine_reviewer import main as reviewer
from tests.benchmarks.engine_training import main as training


@pytest.mark.slow
def test_the_reviewer_is_measured(tmp_path: Path) -> None:
    assert reviewer(["--out", str(tmp_path), "--clips", "7", "--shares", "0.5"]) == 0
    ((found,),) = (list(one.values()) for one in json.loads((tmp_path / "reviewer.json").read_text()).values())
    assert sum(found["population"].values()) > 12
    assert found["sample"]["precision"]["value"] > 0.6
    assert found["sample"]["recall"]["value"] > 0.6


@pytest.mark.slow
def test_trainings_are_compared(tmp_path: Path) -> None:
    assert training(["--out", str(tmp_path), "--clips", "3", "--steps", "2", "--heldout", "5"]) == 0
    table = json.loads((tmp_path / "table.json").read_text())
    assert list(table) == ["untrained", "true", "engine", "faults, reviewed", "faults, unreviewed"]
    assert {len(row["Bench-D"]) for row in table.values()} == {3}
