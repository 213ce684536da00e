"""Questions about one video: asked apart, in a batch, and in a session. Run with `pytest --benchmark-only`.

The shapes are those of a middle-sized model with random weights: the vision tower has the width of SigLIP-base and 3
layers, the language model that of Qwen2-0.5B and 4 layers; 16 frames of a clip at 854 x 480 are shown. Either all
questions point at frames that the model is shown, or each of them at a frame of its own.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

QUESTIONS = tuple(int(number) for number in os.environ.get("VIDEOREFER_BENCHMARK_QUESTIONS", "1,4,16,64").split(","))
# More questions are not asked one by one, which takes twenty seconds for each.
APART = int(os.environ.get("VIDEOREFER_BENCHMARK_APART", "16"))
FRAMES, LENGTH, SIZE, TOKENS = 16, 160, (854, 480), 8
SIDE, PATCH = 384, 14


def make_processor() -> Any:
    from transformers import AutoTokenizer, SiglipImageProcessorPil

    import videorefer_plugin as vr
    from tests.conftest import CHECKPOINT

    pictures = SiglipImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5, 0.5, 0.5], image_std=[0.5, 0.5, 0.5]
    )
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    return vr.VideoReferProcessor(pictures, tokenizer, num_frames=FRAMES, patch_size=PATCH)


def make_model(processor: Any) -> Any:
    import videorefer_plugin as vr

    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 4, "num_attention_heads": 12}
    text = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 4, "num_attention_heads": 14}
    torch.manual_seed(0)
    config = vr.VideoReferConfig(
        text_config={"model_type": "qwen2", "vocab_size": 1000, "num_key_value_heads": 2, **text},
        vision_config={"model_type": "siglip_vision_model", "image_size": SIDE, "patch_size": PATCH, **vision},
        num_frames=FRAMES,
        **{name: getattr(processor, name) for name in ("region_token_id", "image_token_id", "video_token_id")},
    )
    return vr.VideoReferForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    processor = make_processor()
    return make_model(processor), processor


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.media import write_video

    return write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", LENGTH, size=SIZE)


def questions(number: int, shared: bool) -> list[tuple[str, list[Any]]]:
    """Questions of different lengths, about boxes on frames that are shown, or each on a frame of its own."""
    import videorefer_plugin as vr

    shown = vr.sample_frame_indices(LENGTH, num_frames=FRAMES)
    own = [frame for frame in range(LENGTH) if frame not in shown]
    asked = []
    for place in range(number):
        frame = shown[place % FRAMES] if shared else own[place]
        box = (40 + 9 * (place % 40), 60, 200 + 9 * (place % 40), 300)
        text = f"What is <region> doing{' now' * (place % 4)}?"
        asked.append((text, [vr.Region.from_box(box, frame=frame)]))
    return asked


# Without an end, so that all ways generate equally many tokens.
GENERATE = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS}


def separately(model: Any, processor: Any, video: Path, asked: list[Any]) -> list[str]:
    import videorefer_plugin as vr

    return [vr.ask(model, video, text, regions, processor=processor, **GENERATE) for text, regions in asked]


def in_a_batch(model: Any, processor: Any, video: Path, asked: list[Any]) -> list[str]:
    from videorefer_plugin.asking import answer

    content = [[{"type": "video", "video": video}, {"type": "text", "text": text}] for text, _ in asked]
    conversations = [[{"role": "user", "content": each}] for each in content]
    return answer(model, processor, conversations, [regions for _, regions in asked], **GENERATE)


def in_a_session(model: Any, processor: Any, video: Path, asked: list[Any]) -> list[str]:
    import videorefer_plugin as vr

    with vr.VideoSession(model, processor, video) as session:
        return session.ask_many(asked, **GENERATE)


WAYS: dict[str, Callable[..., list[str]]] = {
    "separate": separately,
    "batch": in_a_batch,
    "session": in_a_session,
}


@contextmanager
def counted(model: Any) -> Iterator[dict[str, int]]:
    """Count decoded frames, frames in the tower, and positions in the decoder."""
    from videorefer_plugin.video.decoding import DecodedVideo

    found = {"decoded": 0, "tower": 0, "positions": 0}

    def tower(module: Any, args: Any) -> None:
        found["tower"] += len(args[0])

    def decoder(module: Any, args: Any, kwargs: Any) -> None:
        found["positions"] += kwargs["inputs_embeds"].shape[0] * kwargs["inputs_embeds"].shape[1]

    read = DecodedVideo.read

    def count(self: Any, indices: Any) -> Any:
        indices = list(indices)
        found["decoded"] += len(set(indices))
        return read(self, indices)

    vision = getattr(model.model.vision_tower, "vision_model", model.model.vision_tower)
    hooks = [
        vision.embeddings.register_forward_pre_hook(tower),
        model.get_decoder().register_forward_pre_hook(decoder, with_kwargs=True),
    ]
    DecodedVideo.read = count
    try:
        yield found
    finally:
        DecodedVideo.read = read
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("shared", [True, False], ids=["shown frames", "frames of their own"])
def test_questions_about_one_video(benchmark: Any, pair: Any, video: Path, shared: bool) -> None:
    model, processor = pair
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lines = []
    try:
        in_a_session(model, processor, video, questions(2, shared))  # so that nothing is done for the first time
        single = 0.0
        for number in QUESTIONS:
            asked, answers, seconds = questions(number, shared), {}, {}
            for name, way in WAYS.items():
                if name == "separate" and number > APART:
                    continue
                with counted(model) as found:
                    start = time.process_time()
                    answers[name] = way(model, processor, video, asked)
                    seconds[name] = time.process_time() - start
                single = single or seconds[name]
                first = next(iter(answers))  # asked apart, as long as that doesn't take too long
                same = sum(one == other for one, other in zip(answers[name], answers[first], strict=True))
                lines.append(
                    f"K = {number:2} {name:8} {seconds[name]:7.2f} s, x {seconds[name] / single:5.2f} of one; decoded "
                    f"{found['decoded']:4}, tower {found['tower']:4}, positions {found['positions']:6}; answers "
                    f"alike: {same} of {number}"
                )
                benchmark.extra_info[f"{number} {name}"] = {"seconds": seconds[name], **found, "same": same}
        benchmark.pedantic(lambda: in_a_session(model, processor, video, questions(4, shared)), rounds=1)
    finally:
        torch.set_num_threads(threads)
    print("", *lines, sep="\n")
