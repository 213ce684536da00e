"""Training hosts with an attached object encoder: what is learned of a conversation, what is frozen, and recipes."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoProcessor

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from tests.test_training_resume import assert_equal_runs, finish
from tests.tiny_hosts import BY_NAME, ROWS, HostRow
from tests.training_runs import command, losses, run, weights, write_data
from videorefer_plugin.errors import RecordError
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
from videorefer_plugin.training.parts import has_unused_parameters, set_trainable

every_host = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
KINDS = ("regions in several turns", "video without objects", "two objects", "text")
# Ends its turns, and writes another header before answers than the one that asks for them.
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}{{ '' if message['role'] == 'user' else ' ' }}: "
    "{% for item in message['content'] %}{% if item['type'] == 'video' %}VIDEO\n{% elif item['type'] == 'text' %}"
    "{{ item['text'] }}{% endif %}{% endfor %}<eos>{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def data(tmp_path_factory: Any) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), KINDS, copies=1)


def save(row: HostRow, folder: Path) -> Path:
    row.model().save_pretrained(folder)
    row.processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def host(tmp_path_factory: Any) -> Path:
    return save(BY_NAME["llava_onevision"], tmp_path_factory.mktemp("host"))


# --- what is learned -------------------------------------------------------------------------------------------------


def learnt(row: HostRow, batch: dict[str, Any], processor: Any) -> list[str]:
    return [processor.tokenizer.decode(labels[labels >= 0]) for labels in batch["labels"]]


@pytest.mark.spread(1)
@every_host
def test_answers_and_the_ends_of_their_turns_are_learnt_and_nothing_else(row: HostRow, data: Path) -> None:
    model, processor = row.attached()
    if row.name == "smolvlm":  # its processor brings a template of its own
        lead, end = " ", "<end_of_utterance>\n"
    else:
        processor.processor.chat_template = TEMPLATE.replace("VIDEO", row.video_token)
        lead, end = "", "<eos>"
    dataset = VideoReferDataset(data, mode="multi")
    samples = [dataset[index] for index in range(len(KINDS) - (row.name == "smolvlm"))]
    processor.num_frames = 8
    batch = VideoReferCollator(processor)(samples)
    answers = [[turn["content"] for turn in one["messages"] if turn["role"] == "assistant"] for one in samples]
    assert learnt(row, batch, processor) == ["".join(f"{lead}{answer}{end}" for answer in one) for one in answers]
    assert batch["region_lengths"].tolist() == [[2, 1, 2], [0, 0, 0], [2, 1, 0], [0, 0, 0]][: len(samples)]
    alone = VideoReferCollator(processor)(samples[:1])
    assert learnt(row, alone, processor) == learnt(row, batch, processor)[:1]
    assert model.train()(**batch).loss > 0


def test_what_messages_say_may_be_lists_of_content_items(data: Path) -> None:
    dataset = VideoReferDataset(data, mode="multi")
    _, of_host = BY_NAME["llava_onevision"].attached()
    of_host.processor.chat_template = TEMPLATE.replace("VIDEO", BY_NAME["llava_onevision"].video_token)
    of_host.num_frames = 8
    for processor in (of_host, AutoProcessor.from_pretrained(CHECKPOINT)):
        for sample in (dataset[0], dataset[3]):
            messages = [
                {**one, "content": [{"type": "text", "text": one["content"].removeprefix("<video>\n")}]}
                for one in sample["messages"]
            ]
            if sample["kind"] == "video":
                messages[0]["content"].insert(0, {"type": "video"})
            expected = VideoReferCollator(processor)([sample])
            found = VideoReferCollator(processor)([{**sample, "messages": messages}])
            assert all(torch.equal(value, expected[name]) for name, value in found.items())


NO_MESSAGES = {
    "none": (None, "must be a list of messages"),
    "texts": (["Hello"], "message 0 is 'Hello'"),
    "no content": ([{"role": "user"}, {"role": "assistant", "content": "A"}], 'needs a string or a list.*"content"'),
    "no role": ([{"content": "Q"}, {"role": "assistant", "content": "A"}], 'needs a string under "role"'),
    "number": ([{"role": "user", "content": "Q"}, {"role": "assistant", "content": 3}], "is a int"),
    "part": ([{"role": "user", "content": "Q"}, {"role": "assistant", "content": [{"type": "audio"}]}], "'audio'"),
    "nothing": ([{"role": "user", "content": "Q"}, {"role": "assistant", "content": []}], "message 1 says nothing"),
    "several": ([[{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]] * 2, "2 conversation"),
}


@pytest.mark.parametrize("kind", NO_MESSAGES)
def test_messages_that_say_no_text_are_named(kind: str, data: Path) -> None:
    sample = VideoReferDataset(data, mode="multi")[3]
    messages, words = NO_MESSAGES[kind]
    collate = VideoReferCollator(AutoProcessor.from_pretrained(CHECKPOINT))
    with pytest.raises(RecordError, match=words) as caught:
        collate([{**sample, "messages": messages}])
    assert sample["record"].place in str(caught.value)


@pytest.mark.spread(3)
@every_host
def test_turns_that_do_not_fit_are_left_out_with_their_regions(row: HostRow, data: Path) -> None:
    model, processor = row.attached()
    processor.num_frames = 8
    dataset = VideoReferDataset(data, mode="multi")
    whole = VideoReferCollator(processor)([dataset[0]])
    learnt_here = whole["labels"][0] >= 0
    last = int((learnt_here[:-1] & ~learnt_here[1:]).nonzero()[0])  # of the first answer
    collator = VideoReferCollator(processor, max_length=last + 5)
    batch = collator([dataset[0]])
    assert (collator.truncated_turns, batch["region_lengths"].tolist()) == (2, [[2]])
    assert batch["region_frames"].tolist() == whole["region_frames"][:, :2].tolist()
    text = processor.tokenizer.decode(batch["labels"][batch["labels"] >= 0])
    assert "A dog." in text
    assert "A cat." not in text
    length = batch["input_ids"].shape[1]
    assert all(value.shape[1] == length for name, value in batch.items() if name.endswith(("_ids", "labels")))
    assert torch.isfinite(model.train()(**batch).loss)


def test_templates_that_cannot_be_learnt_from_are_refused(data: Path) -> None:
    _, processor = BY_NAME["qwen3_vl"].attached()
    samples = [VideoReferDataset(data)[1]]
    with pytest.raises(vr.ConfigurationError, match="first stage"):
        VideoReferCollator(processor, template="plain")
    # Only the newest answer is shown in full, as some templates of reasoning models do.
    shown = "{% for m in messages %}{% if loop.last or m['role'] == 'user' %}{{ m['content'][-1]['text'] }}{% endif %}"
    processor.processor.chat_template = shown + "<eos>{% endfor %}"
    with pytest.raises(vr.ConfigurationError, match="changes earlier turns"):
        VideoReferCollator(processor)(samples)
    processor.processor.chat_template = None
    with pytest.raises(vr.ConfigurationError, match="no chat template"):
        VideoReferCollator(processor)


# --- what is frozen --------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@every_host
def test_a_frozen_tower_records_nothing_for_a_backward_pass(row: HostRow) -> None:
    model, processor = row.attached()
    model.train()
    inputs = processor(text=row.prompt("What?"), videos=[row.video()])
    set_trainable(model, ["object_encoder", "language_model"])
    embedding = next(m for m in model.base_model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Conv3d)))
    embedding.register_forward_hook(lambda module, given, out: out.requires_grad_(True))  # as PEFT does
    (output,) = model.encode_visuals(dict(inputs), None).values()
    assert not output.last_hidden_state.requires_grad
    set_trainable(model, ["vision_tower"])
    (output,) = model.encode_visuals(dict(inputs), None).values()
    assert output.last_hidden_state.requires_grad


@pytest.mark.spread(3)
@every_host
def test_where_batches_without_a_visual_leave_parameters_out_is_known(row: HostRow) -> None:
    """Otherwise distributed training would wait for their gradients forever."""
    model, processor = row.attached()
    model.train()
    batch = processor(text="user: What?\nassistant: That.")
    for parts in (["object_encoder"], ["object_encoder", "language_model"], ["vision_tower", "language_model"]):
        set_trainable(model, parts)
        model.zero_grad(set_to_none=True)
        model(**batch, labels=batch["input_ids"], use_cache=False).loss.backward()
        unused = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
        assert has_unused_parameters(model) == bool(unused), parts


# --- recipes ---------------------------------------------------------------------------------------------------------

RECIPE = "attach/llava-onevision-tiny"


def test_object_encoder_alone_leaves_the_host_as_it_was(data: Path, host: Path, tmp_path: Path) -> None:
    changes = {"train.parts": ["object_encoder"], "output.save": "object_encoder", "train.learning_rate": 0.1}
    trainer = run(RECIPE, data, tmp_path, host, **changes)
    assert {path.name for path in tmp_path.iterdir()} >= {"object_encoder.safetensors", "object_encoder_config.json"}
    assert not (tmp_path / "model.safetensors").exists()
    bare = BY_NAME["llava_onevision"].model()
    before = {name: value.clone() for name, value in bare.state_dict().items()}
    fresh = vr.load_object_encoder(bare, tmp_path, processor=BY_NAME["llava_onevision"].processor())
    after = trainer.model.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == set()
    for name, value in fresh.object_encoder.state_dict().items():
        assert torch.equal(value, after[f"object_encoder.{name}"])
    curve = losses(tmp_path)
    assert all(torch.isfinite(torch.tensor(curve)))


@pytest.mark.slow
def test_full_run_goes_on_from_its_result_and_from_a_checkpoint(data: Path, host: Path, tmp_path: Path) -> None:
    """A host's checkpoints keep the object encoder in files of its own, which a resumed run must read."""
    changes = {"train.max_steps": 4, "train.save_every": 2, "train.learning_rate": 1e-2}
    run(RECIPE, data, tmp_path / "whole", host, **changes)
    run(RECIPE, data, tmp_path / "parts", host, **changes)
    for name in ("checkpoint-4", "model.safetensors", "object_encoder.safetensors"):
        path = tmp_path / "parts" / name
        path.rename(tmp_path / name)
    run(RECIPE, data, tmp_path / "parts", host, **changes)
    assert_equal_runs(tmp_path / "parts", tmp_path / "whole")
    whole, parts = ((tmp_path / name / "object_encoder.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    # The result is a host with its object encoder, and a start for another run.
    nothing = {"train.learning_rate": 0, "train.max_steps": 1}
    trainer = run(RECIPE, data, tmp_path / "again", tmp_path / "whole", **nothing)
    assert (tmp_path / "again" / "object_encoder.safetensors").read_bytes() == whole
    assert type(trainer.model).__name__ == "RegionLlavaOnevisionForConditionalGeneration"


def test_adapter_with_connector_and_object_encoder(data: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    row = BY_NAME["internvl"]
    changes = {
        "lora.rank": 4,
        "train.parts": ["connector", "object_encoder"],
        "train.learning_rates": {},
        "train.learning_rate": 1e-2,
        "model.object_encoder": None,
    }
    trainer = run("attach/qwen3-vl-2b_lora", data, tmp_path / "out", save(row, tmp_path / "host"), **changes)
    model, processor = trainer.model.eval(), trainer.data_collator.processor
    sample = trainer.train_dataset[0]
    inputs = VideoReferCollator(processor)([sample])
    base = vr.load_object_encoder(row.model(), tmp_path / "out", processor=row.processor())
    loaded = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.equal(loaded(**inputs).logits, model(**inputs).logits)
    trained = {name for name, value in model.named_parameters() if value.requires_grad}
    assert {"multi_modal_projector", "object_encoder", "lora_A"} <= {
        part for name in trained for part in name.split(".")
    }
    assert not [name for name in trained if "vision_tower" in name]


def test_parts_that_no_adapter_can_hold_are_refused(data: Path, host: Path, tmp_path: Path) -> None:
    changes = {"train.parts": ["connector"], "train.learning_rates": {}, "model.object_encoder": None}
    with pytest.raises(vr.ConfigurationError, match=r"image_newline.*cannot be kept"):
        run("attach/qwen3-vl-2b_lora", data, tmp_path, host, **changes)


def test_hosts_that_are_not_supported_are_refused(data: Path, tmp_path: Path) -> None:
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    row = BY_NAME["llava_onevision"]
    config = row.model().config
    other = LlavaConfig(text_config=config.text_config, vision_config=config.vision_config, image_token_id=258)
    LlavaForConditionalGeneration(other).save_pretrained(tmp_path / "llava")
    row.processor().save_pretrained(tmp_path / "llava")
    with pytest.raises(vr.ConfigurationError, match=r"No host .*'llava'.*qwen3_vl"):
        run(RECIPE, data, tmp_path, tmp_path / "llava")
    with pytest.raises(vr.CheckpointError, match="nowhere"):
        run(RECIPE, data, tmp_path, tmp_path / "nowhere")
    foreign = vr.attach_object_encoder(BY_NAME["internvl"].model())
    foreign.save_object_encoder(tmp_path / "foreign")
    with pytest.raises(vr.CheckpointError, match="internvl"):
        run(RECIPE, data, tmp_path, save(row, tmp_path / "host"), **{"model.object_encoder": tmp_path / "foreign"})


@pytest.mark.slow
def test_two_processes_train_a_host_like_one(host: Path, tmp_path: Path) -> None:
    """Batches of a text on one process and of a video on the other, tower and connector trained."""
    data = write_data(tmp_path / "data", ("compressed", "text"), copies=4)
    changes = {"train.optimizer": "sgd", "train.learning_rate": 0.02, "train.group_by": None}
    one, two = tmp_path / "one", tmp_path / "two"
    finish(command(RECIPE, data, one, host, **changes))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    finish([*launcher, *command(RECIPE, data, two, host, **changes, **{"train.batch_size": 1})], env=environment)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, atol=1e-6, rtol=1e-5, msg=name)
