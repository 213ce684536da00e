"""VideoRefer-VideoLLaMA3 where models of this library are used: asking, sessions, benchmarks, recipes, publishing."""

import copy
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

import videorefer_plugin as vr
from tests.bench_data import write_benchmark
from tests.sharded_run import needs_sharding
from tests.videollama3 import CHECKPOINT, TOWER
from videorefer_plugin import ConfigurationError, PublishError
from videorefer_plugin.asking import load_model
from videorefer_plugin.bench import MarkedModel, RegionModel, evaluate_questions
from videorefer_plugin.bench.seeing import own_inputs
from videorefer_plugin.hub.publish import prepare_folder
from videorefer_plugin.session.making import takes

QUESTION = "What is <region> doing?"


def square(top, left, side=30, shape=(70, 101)):
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 256, (9, 70, 101, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def pair():
    return load_model(CHECKPOINT, dtype=torch.float32)


@pytest.fixture
def regions():
    return [vr.Region({1: square(10, 20)}), vr.Region({2: square(30, 50), 7: square(20, 5)})]


def test_the_one_liner_answers(pair, frames, regions):
    model, processor = pair
    said = vr.ask(model, frames, QUESTION, regions=regions[:1], processor=processor, max_new_tokens=6)
    again = vr.ask(model, frames, QUESTION, regions=regions[:1], processor=processor, max_new_tokens=6)
    assert isinstance(said, str)
    assert said == again


def test_questions_without_regions_and_without_words_for_the_video_are_answered(pair, frames):
    model, processor = pair
    assert isinstance(vr.ask(model, frames, "What happens?", processor=processor, max_new_tokens=4), str)


def test_a_session_answers_as_single_questions(pair, frames, regions):
    model, processor = pair
    assert takes(model, processor)
    asked = [(QUESTION, regions[:1]), ("What happens?", []), ("Compare <region> and <region>.", regions)]
    with vr.VideoSession(model, processor, frames) as session:
        one_by_one = [session.ask(text, own, max_new_tokens=6) for text, own in asked]
        together = session.ask_many(asked, max_new_tokens=6)
    alone = [vr.ask(model, frames, text, regions=own, processor=processor, max_new_tokens=6) for text, own in asked]
    assert one_by_one == together == alone


def test_a_session_shows_its_clip_to_the_tower_once(pair, frames, regions):
    model, processor = pair
    with vr.VideoSession(model, processor, frames) as session:
        session.ask("What happens?", max_new_tokens=2)
        assert session.computed.frames_encoded == 3
        session.ask("What happens next?", max_new_tokens=2)
        session.ask(QUESTION, regions[:1], max_new_tokens=2)
        assert session.computed.frames_encoded == 4  # and the crop of a mask


def test_a_session_goes_on_and_sees_what_was_said(pair, frames, regions):
    model, processor = pair
    with vr.VideoSession(model, processor, frames) as session:
        chat = session.chat()
        first = chat.ask(QUESTION, regions[:1], max_new_tokens=4)
        second = chat.ask("And <region>?", regions[1:], max_new_tokens=4)
    messages = [
        {"role": "user", "content": [{"type": "video", "video": frames}, {"type": "text", "text": QUESTION}]},
        {"role": "assistant", "content": [{"type": "text", "text": first}]},
        {"role": "user", "content": [{"type": "text", "text": "And <region>?"}]},
    ]
    inputs = processor.apply_chat_template(
        messages, regions=regions, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    with torch.no_grad():
        made = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert processor.tokenizer.decode(made[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True) == second


def test_a_session_about_an_image(pair, frames, regions):
    model, processor = pair
    own = [vr.Region({0: square(10, 20)})]
    with vr.VideoSession(model, processor, image=frames[0]) as session:
        said = session.ask(QUESTION, own, max_new_tokens=5)
    assert said == vr.ask(model, None, QUESTION, image=frames[0], regions=own, processor=processor, max_new_tokens=5)


def test_nothing_is_merged_so_nothing_is_compared(pair, frames, regions):
    model, processor = pair
    with (
        vr.VideoSession(model, processor, frames) as session,
        pytest.raises(ConfigurationError, match="merges nothing"),
    ):
        session.similarity(regions[1])


def test_a_masklet_of_a_segmenter_is_a_region(pair, frames):
    model, processor = pair
    frames = np.repeat(frames[:1], 9, axis=0)
    frames[:, 10:40, 20:50] = (200, 30, 30)
    masklet = vr.Region({0: square(10, 20)}).propagate(frames, segmenter="classical")
    processor = copy.copy(processor)  # of which nothing was said yet
    with pytest.warns(UserWarning, match="crops cost more"):
        assert isinstance(
            vr.ask(model, frames, QUESTION, regions=[masklet.region], processor=processor, max_new_tokens=3), str
        )


def test_benchmarks_ask_it(pair, tmp_path):
    model, processor = pair
    bench = write_benchmark(tmp_path)
    answerer = RegionModel(model, processor=processor, max_new_tokens=4)
    result = evaluate_questions(bench / "bench_q.json", answerer, tmp_path / "results", mode="multi", limit=2)
    assert (result["items"], result["answered"]) == (2, 2)


def test_marked_frames_are_shown_with_their_times(pair, tmp_path):
    model, processor = pair
    bench = write_benchmark(tmp_path)
    answerer = MarkedModel(model, processor=processor, num_frames=4, max_new_tokens=3)
    result = evaluate_questions(bench / "bench_q.json", answerer, tmp_path / "results", limit=1)
    assert (result["items"], result["answered"]) == (1, 1)
    frames = np.zeros((2, 70, 101, 3), dtype=np.uint8)
    known = [{"fps": 10.0, "frames_indices": [5, 25], "total_num_frames": 30}]
    asked = [[{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]}]]
    said = processor.tokenizer.decode(own_inputs(processor, asked, [frames], known)["input_ids"][0])
    assert "Time 0.5s:" in said
    assert "Time 2.5s:" in said


# ---------------------------------------------------------------------- publishing


@pytest.fixture
def saved(pair, tmp_path):
    model, processor = pair
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_saved_folder_can_be_published(saved):
    prepared = prepare_folder(saved, "me/it")
    assert prepared
    assert json.loads((saved / "config.json").read_text())["auto_map"]["AutoModel"].startswith("modeling_videollama3.")
    assert "VideoReferVideoLLaMA3Config" in (saved / "configuration_videollama3.py").read_text()


def test_an_original_folder_is_to_be_saved_anew_first(tmp_path):
    shutil.copytree(CHECKPOINT, tmp_path / "original")
    shutil.copytree(TOWER, tmp_path / TOWER.name)
    with pytest.raises(PublishError, match="layout of the original code"):
        prepare_folder(tmp_path / "original", "me/it")


def test_shims_load_with_trust_remote_code(saved):
    for auto in (AutoModel, AutoModelForImageTextToText, AutoModelForCausalLM):
        assert type(auto.from_pretrained(saved, trust_remote_code=True)).__name__.startswith("VideoReferVideoLLaMA3")
    assert type(AutoProcessor.from_pretrained(saved, trust_remote_code=True)).__module__.startswith(
        "videorefer_plugin"
    )


_SHARED_OUT = """
import torch, torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModel
import videorefer_plugin as vr

dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
model = AutoModel.from_pretrained({folder!r}, vision_tower={tower!r})
fully_shard(model)
try:
    model(input_ids=torch.tensor([[1, 2, 3]]))
except vr.ConfigurationError as error:
    print(error)
"""


@pytest.mark.slow
@needs_sharding
def test_weights_that_are_shared_out_are_refused_and_not_waited_for():
    """Processes have different numbers of crops, and would wait for each other for ever."""
    code = _SHARED_OUT.format(folder=str(CHECKPOINT), tower=str(TOWER))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "looks at crops, of which every process has another number" in done.stdout
