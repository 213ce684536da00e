"""TRL's trainer with data sets, collators and models of this package, where TRL is installed."""

import pytest
import torch
from transformers import AutoModel, AutoProcessor, TrainingArguments, set_seed

from tests.conftest import CHECKPOINT
from tests.tiny_hosts import ROWS
from tests.training_runs import write_data
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import CheckpointError, PromptError
from videorefer_plugin.hosts import load_checkpoint
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
from videorefer_plugin.training.trainer import VideoReferTrainer

trl = pytest.importorskip("trl", reason="trl is not installed")
datasets = pytest.importorskip("datasets")


def videorefer():
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    processor.num_frames = 8
    return AutoModel.from_pretrained(CHECKPOINT), processor


def host():
    return next(row for row in ROWS if row.name == "llava_onevision").attached()


KINDS = ("compressed", "polygons", "polygons without size")
COMMON = {
    **{"logging_steps": 1, "save_strategy": "no", "report_to": "none", "remove_unused_columns": False},
    **{"use_cpu": True, "bf16": False},
}
# TRL's settings are those of several versions of transformers.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize("make", [videorefer, host])
def test_its_losses_are_those_of_our_trainer(make, tmp_path):
    kinds = ("compressed", "polygons", "polygons without size")
    data = write_data(tmp_path / "data", kinds, copies=2)
    dataset = VideoReferDataset(str(data), mode="multi")
    common = {
        **{"output_dir": str(tmp_path / "out"), "max_steps": 3, "logging_steps": 1, "save_strategy": "no"},
        **{"per_device_train_batch_size": 2, "learning_rate": 1e-3, "report_to": "none", "data_seed": 1},
        **{"remove_unused_columns": False, "use_cpu": True, "bf16": False},
    }
    curves = []
    for theirs in (True, False):
        torch.manual_seed(0)
        model, processor = make()
        collator = VideoReferCollator(processor)
        set_seed(1)
        if theirs:
            settings = {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None}
            arguments = trl.SFTConfig(**common, **settings)
            trainer = trl.SFTTrainer(
                model=model,
                args=arguments,
                train_dataset=datasets.Dataset.from_dict({"record": range(len(dataset))}),
                data_collator=lambda rows, collator=collator: collator([dataset[row["record"]] for row in rows]),
                processing_class=processor.tokenizer,
            )
        else:
            trainer = VideoReferTrainer(
                model=model, args=TrainingArguments(**common), train_dataset=dataset, data_collator=collator
            )
        set_seed(1)  # the order of records is drawn when training starts
        trainer.train()
        curves.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert len(curves[0]) == 3
    assert curves[0] == pytest.approx(curves[1], rel=1e-5)


def lora(**settings):
    peft = pytest.importorskip("peft")
    return peft.LoraConfig(r=4, target_modules=r".*language_model.*[.](q|v)_proj", task_type="CAUSAL_LM", **settings)


def saved_host(folder):
    model, processor = host()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    model, processor = load_model(folder)
    processor.num_frames = 4
    return model, processor


def weights(module):
    module = module.modules_to_save["default"] if hasattr(module, "modules_to_save") else module
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("beside", ["object_encoder", None])
@pytest.mark.parametrize("kind", ["videorefer", "host"])
def test_adapters_are_trained_and_loaded(kind, beside, tmp_path):
    dataset = VideoReferDataset(str(write_data(tmp_path / "data", KINDS)), mode="multi")
    torch.manual_seed(0)
    model, processor = videorefer() if kind == "videorefer" else saved_host(tmp_path / "host")
    collator = VideoReferCollator(processor)
    before = weights(model.object_encoder)
    settings = {"dataset_kwargs": {"skip_prepare_dataset": True}, "max_length": None, "max_steps": 2}
    trainer = trl.SFTTrainer(
        model=model,
        args=trl.SFTConfig(str(tmp_path / "out"), learning_rate=1e-2, **COMMON, **settings),
        train_dataset=datasets.Dataset.from_dict({"record": range(len(dataset))}),
        data_collator=lambda rows: collator([dataset[row["record"]] for row in rows]),
        processing_class=processor.tokenizer,
        peft_config=lora(modules_to_save=[beside] if beside else None),
    )
    trainer.train()
    trainer.save_model(str(tmp_path / "adapter"))
    trained = trainer.model.eval()
    after = weights(trained.get_base_model().object_encoder)
    assert any(not torch.equal(after[name], value) for name, value in before.items()) == bool(beside)
    loaded = load_checkpoint(tmp_path / "adapter")
    assert all(torch.equal(value, after[name]) for name, value in weights(loaded.object_encoder).items())
    batch = collator([dataset[1]])
    logits = loaded(**batch).logits
    assert torch.allclose(logits, trained(**batch).logits, atol=1e-5)
    elsewhere = {**batch, "region_masks": torch.rot90(batch["region_masks"], 2, dims=(-2, -1))}
    assert not torch.equal(elsewhere["region_masks"], batch["region_masks"])
    assert not torch.allclose(loaded(**elsewhere).logits, logits, atol=1e-4)


def test_an_object_encoder_of_unknown_sizes_is_asked_for(tmp_path):
    peft = pytest.importorskip("peft")
    model, _ = host()
    row = next(row for row in ROWS if row.name == "llava_onevision")
    row.model().save_pretrained(tmp_path / "host")
    model.name_or_path = str(tmp_path / "host")
    wrapped = peft.get_peft_model(model, lora(modules_to_save=["object_encoder"]))
    wrapped.save_pretrained(tmp_path / "adapter")
    with pytest.raises(CheckpointError, match=r"holds an object encoder.*model\.save_object_encoder\(folder\)"):
        load_checkpoint(tmp_path / "adapter")
    model.save_object_encoder(tmp_path / "adapter")
    loaded = weights(load_checkpoint(tmp_path / "adapter").object_encoder)
    assert all(torch.equal(value, loaded[name]) for name, value in weights(model.object_encoder).items())


def answering(record, text):
    return {**record, "messages": [record["messages"][0], {"role": "assistant", "content": text}]}


@pytest.mark.parametrize("make", [videorefer, host])
def test_preferences_see_regions(make, tmp_path):
    dataset = VideoReferDataset(str(write_data(tmp_path / "data", KINDS)), mode="multi")
    torch.manual_seed(0)
    model, processor = make()
    collator = VideoReferCollator(processor)
    lost = []

    def collate(rows):
        records = [dataset[row["record"]] for row in rows]
        texts = [[answering(record, text) for record in records] for text in ("A small dog.", "No.")]
        batch = collator(texts[0] + texts[1])
        batch["completion_mask"] = (batch.pop("labels") != -100).long()
        return {name: value for name, value in batch.items() if not (lost and name.startswith("region_"))}

    columns = {"record": [1], "prompt": [""], "chosen": [""], "rejected": [""]}
    trainer = trl.DPOTrainer(
        model=model,
        ref_model=make()[0],
        args=trl.DPOConfig(str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=1, **COMMON),
        train_dataset=datasets.Dataset.from_dict(columns),
        data_collator=collate,
        processing_class=processor.tokenizer,
    )
    batch = collate([{"record": 1}])
    theirs = batch["completion_mask"][:, 1:].bool()
    model.train()

    def said(**changes):
        given = {name: value for name, value in {**batch, **changes}.items() if name != "completion_mask"}
        with torch.no_grad():
            logits = model(**given).logits[:, :-1].log_softmax(-1)
        each = logits.gather(-1, batch["input_ids"][:, 1:, None] * theirs[..., None])[..., 0]
        return each.masked_fill(~theirs, 0).sum(1).tolist()

    expected = said()
    assert said(region_masks=torch.rot90(batch["region_masks"], 2, dims=(-2, -1))) != pytest.approx(expected, rel=1e-4)
    before = weights(model.object_encoder)
    trainer.train()
    first = trainer.state.log_history[0]
    assert [first["logps/chosen"], first["logps/rejected"]] == pytest.approx(expected, rel=1e-3)
    assert any(not torch.equal(value, before[name]) for name, value in weights(model.object_encoder).items())
    lost.append(True)
    with pytest.raises(PromptError, match="<region>"):
        trainer.train()


@pytest.mark.parametrize("make", [videorefer, host])
def test_prompts_without_a_way_for_regions_are_refused(make, tmp_path):
    model, processor = make()
    arguments = trl.GRPOConfig(
        str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=2,
        **{**COMMON, "remove_unused_columns": True},
    )
    trainer = trl.GRPOTrainer(
        model=model,
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["What is <region>?"] * 2}),
        reward_funcs=lambda completions, **_: [float(len(each)) for each in completions],
        processing_class=processor.tokenizer,
    )
    with pytest.raises(PromptError, match="<region>"):
        trainer.train()
