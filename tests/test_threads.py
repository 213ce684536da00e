"""One model and one processor serve several threads, and loader workers: answers and batches are those of one."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import videorefer_plugin as vr
from tests import training_data
from tests.test_hosts import shared
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.asking import load_model
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset

THREADS = 8
TEXTS = ("What is <region> doing?", "Is <region> red?", "Describe <region>, please, and say what it does then.")


@pytest.fixture(autouse=True)
def quick_switches() -> Iterator[None]:
    """Threads take turns so often that those in each other's way meet."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(scope="module", params=["embedded", "llava_onevision"])
def pair(request: Any) -> tuple[Any, Any]:
    return load_model(vr.tiny_checkpoint()) if request.param == "embedded" else shared(request.param)


def questions(count: int) -> list[tuple[Any, str, list[vr.Region]]]:
    """Different videos, regions and lengths."""
    side = BY_NAME["llava_onevision"].side
    asked = []
    for number in range(count):
        frames = np.random.default_rng(number % 5).integers(0, 256, (8, *side, 3), dtype=np.uint8)
        box = (1 + number % 4, 2, 9 + number % 5, 14)
        region = vr.Region(dict.fromkeys(range(1 + number % 3), box))
        asked.append((frames, TEXTS[number % 3], [region]))
    return asked


def together(work: Callable[[Any], Any], given: list[Any]) -> list[Any]:
    """What each thread made of its own, all having begun at once."""
    start = threading.Barrier(THREADS)

    def run(own: list[Any]) -> list[Any]:
        start.wait()
        return [work(one) for one in own]

    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(run, [given[place::THREADS] for place in range(THREADS)]))
    found: list[Any] = [None] * len(given)
    for place, part in enumerate(parts):
        found[place::THREADS] = part
    return found


@pytest.mark.spread(1)
@pytest.mark.filterwarnings("ignore:The embedded model knows nothing")
@pytest.mark.parametrize("door", ["ask", "generate", "session", "stream", "mixed"])
def test_threads_answer_as_one_does(door: str, pair: tuple[Any, Any]) -> None:
    model, processor = pair

    def ask(one: Any) -> str:
        video, text, regions = one
        return vr.ask(model, video, text, regions, processor=processor, max_new_tokens=6)

    def generate(one: Any) -> list[int]:
        video, text, regions = one
        talk = [{"role": "user", "content": [{"type": "video", "video": video}, {"type": "text", "text": text}]}]
        inputs = processor.apply_chat_template(
            talk, regions=regions, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
        )
        return model.generate(**inputs, max_new_tokens=6, do_sample=False)[0].tolist()

    def session(one: Any) -> list[str]:
        video, text, regions = one
        with vr.VideoSession(model, processor, video) as opened:
            return opened.ask_many([(text, regions), (TEXTS[0], regions)], max_new_tokens=6)

    def stream(one: Any) -> str:
        video, text, regions = one
        with vr.VideoSession(model, processor, video) as opened:
            return "".join(opened.stream(text, regions, max_new_tokens=6))

    kinds = {"ask": ask, "generate": generate, "session": session, "stream": stream}
    given = [(kinds[door] if door in kinds else [*kinds.values()][n % 4], one) for n, one in enumerate(questions(24))]
    alone = [work(one) for work, one in given]
    assert len(set(map(str, alone))) > 4
    assert together(lambda one: one[0](one[1]), given) == alone


@pytest.mark.spread(1)
def test_one_session_answers_several_threads(pair: tuple[Any, Any]) -> None:
    model, processor = pair
    video = questions(1)[0][0]
    asked = [(text, regions) for _, text, regions in questions(24)]
    with vr.VideoSession(model, processor, video) as session:
        alone = [session.ask(*one, max_new_tokens=4) for one in asked]
    with vr.VideoSession(model, processor, video) as session:
        assert together(lambda one: session.ask(*one, max_new_tokens=4), asked) == alone


def test_prompts_of_several_lengths_are_tokenized_in_threads(pair: tuple[Any, Any]) -> None:
    """Padding of one call is not that of another one, though a tokenizer keeps it."""
    processor = pair[1]
    texts = ["a" * 50, "b"]

    def lengths(pads: bool) -> list[int]:
        found = processor(text=texts, padding=True) if pads else [processor(text=one, padding=False) for one in texts]
        ids = found["input_ids"] if pads else [one["input_ids"][0] for one in found]
        return [len(one) for one in ids]

    expected = [lengths(pads) for pads in (True, False)]
    assert expected[0] != expected[1]
    assert together(lengths, [number % 2 == 0 for number in range(160)]) == [*expected] * 80


@pytest.mark.spread(1)
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_make_the_batches_of_one_process(method: str, tmp_path: Any) -> None:
    processor = load_model(vr.tiny_checkpoint())[1]
    training_data.write_media(tmp_path)
    records = training_data.all_kinds()
    training_data.write_json(tmp_path / "data.json", [records["compressed"], records["image"]] * 4)
    dataset = VideoReferDataset(tmp_path / "data.json")
    collator = VideoReferCollator(processor)

    def batches(**settings: Any) -> list[dict[str, Any]]:
        return [dict(one) for one in torch.utils.data.DataLoader(dataset, 2, collate_fn=collator, **settings)]

    alone, others = batches(), batches(num_workers=2, multiprocessing_context=method)
    assert len(alone) == len(others) == 4
    for one, other in zip(alone, others, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other[name]), name
            else:
                assert value == other[name]
