"""The benchmark of segmenters for GPUs runs from end to end, with a tiny model on the CPU."""

from pathlib import Path

import pytest

from tests.benchmarks.gpu_segment import main


@pytest.mark.slow
def test_every_way_of_following_is_measured(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    assert main(["--size", "tiny", "--device", "cpu", "--dtype", "float32", "--frames", "12", "--out", str(out)]) == 0
    rows = [line.split(" | ") for line in out.read_text().splitlines() if "pruned" in line and line.startswith("|")]
    assert len(rows) == 3
    assert float(rows[0][3].strip(" |")) < float(rows[2][3].strip(" |"))
