"""What an attached but unused object encoder costs a host. Run with `pytest --benchmark-only`."""

import time
from statistics import median
from typing import Any

import pytest
import torch

import videorefer_plugin as vr
from tests.tiny_hosts import ROWS, HostRow

ROUNDS = 40


def timed(model: Any, inputs: dict[str, Any]) -> float:
    """Processor time of one forward, in seconds, which other programs on the machine disturb little."""
    start = time.thread_time()
    with torch.no_grad():
        model(**inputs)
    return time.thread_time() - start


def larger(row: HostRow) -> Any:
    """The tiny host with a decoder that takes some milliseconds, still far less than any real one."""
    import tests.tiny_hosts as tiny

    original = tiny.text_config
    wide = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4, "num_attention_heads": 32}
    tiny.text_config = lambda *args, **extra: original(*args, **{**extra, **wide})
    try:
        return row.model()
    finally:
        tiny.text_config = original


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_attached_but_unused_costs_under_two_percent(benchmark: Any, row: HostRow) -> None:
    """Bare and attached by turns in the same run; the median of their ratios is reported and held below 1.02."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        bare, attached = larger(row), larger(row)
        processor = vr.RegionProcessor(row.processor(), vr.attach_object_encoder(attached), num_frames=8)
        inputs = dict(processor(text=[row.prompt("What? " * 20)] * 2, videos=[row.video(), row.video(1)]))
        for model in (bare, attached) * 3:
            timed(model, inputs)
        times: dict[str, list[float]] = {"bare": [], "attached": []}
        for turn in range(ROUNDS):
            order = [("bare", bare), ("attached", attached)]
            for name, model in order if turn % 2 else reversed(order):
                times[name].append(timed(model, inputs))
        ratio = median(after / before for after, before in zip(times["attached"], times["bare"], strict=True))
        benchmark.extra_info.update(ratio=round(ratio, 4), bare_ms=round(median(times["bare"]) * 1000, 2))
        benchmark.pedantic(timed, args=(attached, inputs), rounds=5)
        assert ratio < 1.02
    finally:
        torch.set_num_threads(threads)
