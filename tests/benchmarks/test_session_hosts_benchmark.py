"""Questions about one video to hosts: asked apart and in a session. Run with `pytest --benchmark-only`.

One host takes every frame by itself, the other fuses two and has M-RoPE. Their shapes are those of middle-sized models
with random weights: towers 768 wide with 3 layers, language models 896 wide with 4 layers; 16 frames of a clip at
854 x 480 are shown. Either all questions point at frames that the host is shown anyway, or each of them at a frame of
its own: then every question is shown other frames, and has a beginning of its own.
"""

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import videorefer_plugin as vr
from tests import tiny_hosts
from tests.media import write_video

QUESTIONS = tuple(int(number) for number in os.environ.get("VIDEOREFER_BENCHMARK_QUESTIONS", "1,4,16").split(","))
FRAMES, LENGTH, SIZE = 16, 160, (854, 480)
GENERATE = {"max_new_tokens": 8, "min_new_tokens": 8}  # without an end, so that both ways write equally much
TEXT = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 4, "num_attention_heads": 14}
SIGLIP = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 3, "num_attention_heads": 12}


def llava_onevision() -> tuple[Any, Any]:
    from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration

    row = tiny_hosts.BY_NAME["llava_onevision"]
    processor = row.processor()
    processor.video_processor.size = {"height": 384, "width": 384}
    processor.num_image_tokens = (384 // 14) ** 2
    config = LlavaOnevisionConfig(
        text_config=tiny_hosts.text_config(**TEXT, max_position_embeddings=8192, initializer_range=0.02),
        vision_config={"model_type": "siglip_vision_model", "image_size": 384, "patch_size": 14, **SIGLIP},
        image_token_id=processor.image_token_id,
        video_token_id=processor.video_token_id,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def qwen2_5_vl() -> tuple[Any, Any]:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    processor = tiny_hosts.BY_NAME["qwen2_5_vl"].processor()
    for part in (processor.image_processor, processor.video_processor):
        part.patch_size = 14
        part.size = {"shortest_edge": 28 * 28, "longest_edge": FRAMES * 420 * 252}
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]}
    text = tiny_hosts.text_config("qwen2_5_vl_text", **TEXT, rope_parameters=rope)
    vision = {"depth": 3, "hidden_size": 768, "intermediate_size": 3072, "num_heads": 12, "out_hidden_size": 896}
    config = Qwen2_5_VLConfig(
        text_config={**text, "max_position_embeddings": 8192, "initializer_range": 0.02},
        vision_config={**vision, "window_size": 112, "fullatt_block_indexes": [1]},
        **{name: tiny_hosts.IDS[token] for name, token in _QWEN.items()},
    )
    return Qwen2_5_VLForConditionalGeneration(config), processor


_QWEN = {
    "image_token_id": "<image>",
    "video_token_id": "<video>",
    "vision_start_token_id": "<vs>",
    "vision_end_token_id": "<ve>",
}


def questions(number: int, shared: bool) -> list[tuple[str, list[Any]]]:
    shown = vr.sample_frame_indices(LENGTH, num_frames=FRAMES)
    frames = shown if shared else [frame for frame in range(LENGTH) if frame not in shown]
    return [
        (
            f"What is <region> doing{' now' * (place % 4)}?",
            [vr.Region.from_box((40 + 9 * place, 60, 200 + 9 * place, 300), frame=frames[place % len(frames)])],
        )
        for place in range(number)
    ]


@pytest.mark.parametrize("shared", [True, False], ids=["shown frames", "frames of their own"])
@pytest.mark.parametrize("make", [llava_onevision, qwen2_5_vl], ids=lambda make: make.__name__)
def test_questions_about_one_video(benchmark: Any, tmp_path: Path, make: Any, shared: bool) -> None:
    video = write_video(tmp_path / "clip.mp4", LENGTH, size=SIZE)
    torch.manual_seed(0)
    model, processor = make()
    vr.attach_object_encoder(model.eval(), processor=processor)
    processor = vr.RegionProcessor(processor, model, num_frames=FRAMES)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    def in_a_session(asked: list[Any]) -> tuple[list[str], Any]:
        with vr.VideoSession(model, processor, video) as session:
            return session.ask_many(asked, **GENERATE), session.computed

    try:
        in_a_session(questions(1, shared))  # so that nothing is done for the first time
        single, lines = 0.0, []
        for number in QUESTIONS:
            asked = questions(number, shared)
            start = time.process_time()
            answers = [vr.ask(model, video, *one, processor=processor, **GENERATE) for one in asked]
            apart = time.process_time() - start
            start = time.process_time()
            found, computed = in_a_session(asked)
            together = time.process_time() - start
            single = single or apart
            same = sum(one == other for one, other in zip(answers, found, strict=True))
            lines.append(
                f"K = {number:2}: apart {apart:7.2f} s (x {apart / single:5.2f} of one), in a session "
                f"{together:7.2f} s (x {together / single:5.2f}); {computed}; the same answers: {same} of {number}"
            )
            benchmark.extra_info[str(number)] = {"apart": apart, "session": together, "same": same}
        benchmark.pedantic(lambda: in_a_session(questions(4, shared)), rounds=1)
    finally:
        torch.set_num_threads(threads)
    print("", *lines, sep="\n")
