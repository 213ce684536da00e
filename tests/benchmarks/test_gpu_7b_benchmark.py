"""The benchmark for GPUs runs from end to end, at tiny shapes on the CPU."""

from pathlib import Path

import pytest

from tests.benchmarks.gpu_7b import BATCHES, ENCODED, QUESTIONS, main


@pytest.mark.slow
def test_every_part_runs(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    assert main(["--size", "tiny", "--device", "cpu", "--out", str(out)]) == 0
    rows = [line for line in out.read_text().splitlines() if " | sdpa | " in line]
    assert len(rows) == 4 + len(ENCODED) + len(ENCODED) + len(BATCHES) + 2 * len(QUESTIONS)
