"""Questions a second about a few videos: one by one, in batches, in sessions, and through a server.

python -m pytest tests/benchmarks/test_serve_benchmark.py -n 0 --benchmark-only
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import videorefer_plugin as vr
from tests.serving import Served, asking, conversation, one_frame, write_clip

pytest.importorskip("uvicorn")

TOKENS = 24
EACH = 16  # questions about each of four videos


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str, vr.Region]]:
    folder = tmp_path_factory.mktemp("clips")
    found = []
    for number in (5, 6, 7, 8):
        path, regions = write_clip(folder, number)
        for count in range(EACH):
            region = regions[count % len(regions)]
            words = ("color", "shape", "size", "position")[count % 4]
            found.append((path, f"What {words} does <region> have?", region if count % 2 else one_frame(region)))
    return found


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    from videorefer_plugin.asking import load_model

    return load_model(vr.tiny_checkpoint())


@pytest.fixture(scope="module")
def served() -> Any:
    server = Served()
    yield server
    server.close()


def by_one(pair: Any, asked: Any) -> list[str]:
    return [vr.ask(pair[0], path, text, [own], processor=pair[1], max_new_tokens=TOKENS) for path, text, own in asked]


def in_a_batch(pair: Any, asked: Any) -> list[str]:
    from videorefer_plugin.asking import answer

    conversations = [conversation(text, shown=[path]) for path, text, _ in asked]
    return answer(*pair, conversations, [[own] for *_, own in asked], max_new_tokens=TOKENS)


def in_sessions(pair: Any, asked: Any) -> list[str]:
    answers = []
    for path in dict.fromkeys(path for path, *_ in asked):
        with vr.VideoSession(*pair, path) as session:
            own = [(text, [region]) for of, text, region in asked if of == path]
            answers += session.ask_many(own, max_new_tokens=TOKENS)
    return answers


@pytest.mark.parametrize("way", [by_one, in_a_batch, in_sessions])
def test_in_this_process(benchmark, pair, asked, way):
    answers = benchmark.pedantic(way, (pair, asked), rounds=2, warmup_rounds=1)
    assert len(answers) == len(asked)


@pytest.mark.parametrize("clients", [1, 64])
def test_through_a_server(benchmark, served, pair, asked, clients):
    bodies = [asking(path, text, [own]) for path, text, own in asked]

    def ask() -> list[str]:
        with ThreadPoolExecutor(clients) as pool:
            return list(pool.map(served.answer, bodies))

    answers = benchmark.pedantic(ask, rounds=2, warmup_rounds=1)
    assert answers == by_one(pair, asked)
