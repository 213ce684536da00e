"""Questions a second about a few videos: one by one, in batches, in sessions, and through a server.

python -m pytest tests/benchmarks/test_serve_benchmark.py -n 0 --benchmark-only

In an environment with vLLM, its engine is measured too.
"""

import importlib.util
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import videorefer_plugin as vr
from tests.serving import Served, asking, conversation, one_frame, write_clip

TOKENS = 24
VIDEOS, EACH = 4, 16

Asked = list[tuple[Path, str, vr.Region]]
_numbers = itertools.count(100)  # of clips that nobody has seen


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def new_questions(folder: Path) -> Asked:
    """Questions about videos that no server knows."""
    found = []
    for path, regions in (write_clip(folder, next(_numbers)) for _ in range(VIDEOS)):
        for count in range(EACH):
            region = regions[count % len(regions)]
            words = ("color", "shape", "size", "position")[count % 4]
            found.append((path, f"What {words} does <region> have?", region if count % 2 else one_frame(region)))
    return found


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    from videorefer_plugin.asking import load_model

    return load_model(vr.tiny_checkpoint())


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    pytest.importorskip("uvicorn")
    if request.param == "vllm" and importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    server = Served.vllm() if request.param == "vllm" else Served()
    yield server
    server.close()


def by_one(pair: Any, asked: Asked) -> list[str]:
    return [vr.ask(pair[0], path, text, [own], processor=pair[1], max_new_tokens=TOKENS) for path, text, own in asked]


def in_a_batch(pair: Any, asked: Asked) -> list[str]:
    from videorefer_plugin.asking import answer

    conversations = [conversation(text, shown=[path]) for path, text, _ in asked]
    return answer(*pair, conversations, [[own] for *_, own in asked], max_new_tokens=TOKENS)


def in_sessions(pair: Any, asked: Asked) -> list[str]:
    answers = []
    for path in dict.fromkeys(path for path, *_ in asked):
        with vr.VideoSession(*pair, path) as session:
            own = [(text, [region]) for of, text, region in asked if of == path]
            answers += session.ask_many(own, max_new_tokens=TOKENS)
    return answers


@pytest.mark.parametrize("way", [by_one, in_a_batch, in_sessions])
def test_in_this_process(benchmark, pair, folder, way):
    asked = new_questions(folder)
    counted: list[int] = []
    embeddings = pair[0].model.vision_tower.embeddings
    hook = embeddings.register_forward_pre_hook(lambda module, given: counted.append(len(given[0])))
    answers = benchmark.pedantic(way, (pair, asked), rounds=2, warmup_rounds=1)
    hook.remove()
    benchmark.extra_info["tower_frames"] = sum(counted) // 3
    assert len(answers) == len(asked)


def ask(served: Served, asked: Asked, clients: int) -> list[str]:
    bodies = [asking(path, text, [own], max_tokens=TOKENS, temperature=0) for path, text, own in asked]
    with ThreadPoolExecutor(clients) as pool:
        return [said.strip() for said in pool.map(served.answer, bodies)]


@pytest.mark.parametrize("clients", [1, 64])
@pytest.mark.parametrize("known", [False, True], ids=["cold", "warm"])
def test_through_a_server(benchmark, served, pair, folder, clients, known):
    ask(served, new_questions(folder), clients)
    rounds = [new_questions(folder)] * 2 if known else [new_questions(folder) for _ in range(2)]
    wanted = by_one(pair, rounds[-1])
    if known:
        ask(served, rounds[0], clients)
    left = iter(rounds)
    answers = benchmark.pedantic(ask, setup=lambda: ((served, next(left), clients), {}), rounds=2)
    assert answers == wanted
