"""Videos that the data engine's plumbing takes through all six stages in a second, with agents that do nothing.

What is timed is an executor with its ledger: no source is read, and no record is written. On Ray the start of the
cluster and its workers, which no number of videos makes longer, is given apart. The peak is that of the process that
starts the run, once for fewer and once for more videos: it has to be flat. Run with `pytest --benchmark-only`.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from videorefer_plugin.data_engine.agent import STAGES, Agent
from videorefer_plugin.data_engine.items import Description, Found, Made, Noun, Refined, RegionCaption, Verdict

FEWER, MORE = 2_000, 10_000  # videos


class IdleAgent(Agent):
    """Makes the same of every object."""

    value: Any = None

    def identity(self):
        return {}

    def run(self, items):
        return [Made(tuple(self.value for _ in item.objects or "x")) for item in items]


def _idle(stage: str, value: Any) -> type:
    return type(f"Idle{stage.title()}", (IdleAgent,), {"stage": stage, "value": value, "__module__": __name__})


_FOUND = Found({"0": {"segmentation": {"size": [480, 854], "counts": "x" * 200}}}, 480, 854, 0, (1.0, 2.0, 3.0, 4.0))
IdleAnalyzer = _idle("analyzer", Noun("dog"))
IdleSegmentor = _idle("segmentor", _FOUND)
IdleAnnotator = _idle("annotator", Description("It runs.", "It is brown."))
IdleCaptioner = _idle("captioner", RegionCaption("A dog.", 0))
IdleReviewer = _idle("reviewer", Verdict(True, "Both are dogs."))
IdleRefiner = _idle("refiner", Refined("A brown dog runs."))


def measure(kind: str, count: int, folder: Path) -> None:
    """Take videos through all stages, and print seconds, seconds until the first is noted, and the peak in MiB."""
    import resource
    import time

    from videorefer_plugin.data_engine.executors.local import run_local
    from videorefer_plugin.data_engine.executors.ray import run_ray
    from videorefer_plugin.data_engine.ledgers import RunLedger, Waiting
    from videorefer_plugin.data_engine.recipe import StageSettings
    from videorefer_plugin.data_engine.stage import StageSpec

    folder.mkdir(parents=True)
    with open(folder / "sources.jsonl", "w") as stream:
        for number in range(count):
            source = {"id": f"v{number}", "path": f"videos/v{number}.mp4", "caption": "A brown dog runs to its owner."}
            stream.write(json.dumps(source) + "\n")
    keys = {stage: f"{number:016x}" for number, stage in enumerate(STAGES)}
    stages = folder / "stages"
    specs = [StageSpec(stage, f"{__name__}:Idle{stage.title()}", keys[stage], str(stages)) for stage in STAGES]
    settings = {stage: StageSettings("idle", cpus=0.5, batch_size=8) for stage in STAGES}
    ledger = RunLedger(folder / "sources.jsonl", stages, 0, keys)
    noted: list[float] = []

    def note(state: Any) -> None:
        ledger.note(state)
        if not noted:
            noted.append(time.perf_counter() - start)

    start = time.perf_counter()
    {"local": run_local, "ray": run_ray}[kind](specs, settings, Waiting(ledger), note, lambda: False)
    seconds = time.perf_counter() - start
    ledger.refresh()
    assert all(one.done == count for one in ledger.stages.values())
    print(json.dumps([seconds, noted[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10]))


def measured(kind: str, count: int, folder: Path) -> tuple[float, float, int]:
    program = (
        f"from {__name__} import measure; from pathlib import Path; measure({kind!r}, {count}, Path({str(folder)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_videos_through_all_stages(benchmark: Any, tmp_path: Path, kind: str) -> None:
    if kind == "ray" and importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed")
    _, _, flat = measured(kind, FEWER, tmp_path / "fewer")
    seconds, first, peak = benchmark.pedantic(measured, (kind, MORE, tmp_path / "more"), rounds=1)
    rates = {"videos_per_s": MORE / (seconds - first), "start_s": first, "peak_mib": {FEWER: flat, MORE: peak}}
    benchmark.extra_info.update(rates)
    print(
        f"\n{kind}: {rates['videos_per_s']:.0f} videos/s through {len(STAGES)} stages after {first:.1f} s; peak "
        f"{flat} MiB with {FEWER} videos, {peak} MiB with {MORE}"
    )
