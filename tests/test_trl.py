"""TRL's trainer with data sets, collators and models of this package, where TRL is installed."""

import pytest
import torch
from transformers import AutoModel, AutoProcessor, TrainingArguments, set_seed

from tests.conftest import CHECKPOINT
from tests.tiny_hosts import ROWS
from tests.training_runs import write_data
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
from videorefer_plugin.training.trainer import VideoReferTrainer

trl = pytest.importorskip("trl", reason="trl is not installed")
datasets = pytest.importorskip("datasets")
InMemoryTable = pytest.importorskip("datasets.table").InMemoryTable


def videorefer():
    processor = AutoProcessor.from_pretrained(CHECKPOINT)
    processor.num_frames = 8
    return AutoModel.from_pretrained(CHECKPOINT), processor


def host():
    return next(row for row in ROWS if row.name == "llava_onevision").attached()


@pytest.mark.filterwarnings("default")  # TRL's settings are those of several versions of transformers
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
    # With a name of its own, since some versions of datasets cannot make one with some of pyarrow.
    numbers = InMemoryTable.from_pydict({"record": list(range(len(dataset)))})
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
                train_dataset=datasets.Dataset(numbers, fingerprint="records"),
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
