"""What an attached but unused object encoder costs a host. Run with `pytest --benchmark-only`.

It costs tens of microseconds, whatever the host. Two long forwards differ by more than that from one time to the next,
so the cost is also measured where it shows: with nothing in place of the host's own work.
"""

import time
from statistics import median
from typing import Any

import pytest
import torch

import videorefer_plugin as vr
from tests.tiny_hosts import ROWS, HostRow

WARM_UP, ROUNDS, CALLS = 3, 30, 100


def timed(model: Any, inputs: dict[str, Any], calls: int = 1) -> float:
    """Processor time of a forward, in seconds, which other programs on the machine disturb little."""
    start = time.thread_time()
    with torch.no_grad():
        for _ in range(calls):
            model(**inputs)
    return (time.thread_time() - start) / calls


def by_turns(model: Any, inputs: dict[str, Any], calls: int = 1) -> dict[str, list[float]]:
    """Times of the same model bare and attached: where weights lie in memory makes a difference as well."""
    times: dict[str, list[float]] = {"bare": [], "attached": []}
    for turn in range(WARM_UP + ROUNDS):
        for name in times if turn % 2 else reversed(times):
            if (name == "attached") != hasattr(model, "object_encoder"):
                (vr.attach_object_encoder if name == "attached" else vr.detach_object_encoder)(model)
            seconds = timed(model, inputs, calls)
            if turn >= WARM_UP:
                times[name].append(seconds)
    return times


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
def test_attached_but_unused_costs_under_two_percent(
    benchmark: Any, row: HostRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ratio` is of whole forwards, `cost_ratio` 1 and what is added, measured alone, in relation to a bare one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = larger(row)
        host_class = type(model)
        processor = vr.RegionProcessor(row.processor(), vr.attach_object_encoder(model), num_frames=8)
        inputs = dict(processor(text=[row.prompt("What? " * 20)] * 2, videos=[row.video(), row.video(1)]))
        whole = {name: min(times) for name, times in by_turns(model, inputs).items()}
        benchmark.pedantic(timed, args=(model, inputs), rounds=5)

        decoder = model.get_decoder()
        embeds = torch.zeros(1, 1, 1)
        monkeypatch.setattr(decoder, "forward", lambda **kwargs: None)
        monkeypatch.setattr(host_class, "forward", lambda self, **kwargs: decoder(inputs_embeds=embeds))
        empty = by_turns(model, inputs, CALLS)
        added = median(after - before for after, before in zip(empty["attached"], empty["bare"], strict=True))
    finally:
        torch.set_num_threads(threads)
    cost_ratio = 1 + added / whole["bare"]
    benchmark.extra_info.update(
        ratio=round(whole["attached"] / whole["bare"], 4),
        cost_ratio=round(cost_ratio, 5),
        added_us=round(added * 1e6, 1),
        bare_ms=round(whole["bare"] * 1000, 2),
    )
    assert 1 < cost_ratio < 1.02
