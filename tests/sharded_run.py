"""What processes do that share a model's weights (torch's `fully_shard`), each with a batch of its own.

Started by torchrun: `python -m torch.distributed.run --nproc_per_node=2 -m tests.sharded_run FOLDER`. The main process
writes losses and gradients; `alone` makes those of one process that has all batches.
"""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from packaging.version import Version

from tests.conftest import CHECKPOINT
from tests.tiny_hosts import ROWS
from tests.training_data import all_kinds, write_json, write_media
from videorefer_plugin.models.videorefer.regions import RegionMixin
from videorefer_plugin.training import VideoReferCollator, VideoReferDataset
from videorefer_plugin.training.blank_visuals import blank_visuals
from videorefer_plugin.training.parts import set_trainable

PROCESSES = 2
needs_sharding = pytest.mark.skipif(
    Version(torch.__version__) < Version("2.7"), reason="fully_shard of torch 2.6 works on GPUs alone"
)
# For every step the record that each process has: beside a clip with objects nothing but words, an image, ...
STEPS = (
    ("compressed", "text"),
    ("text", "image"),
    ("two objects", "video without objects"),
    ("text", "text"),
)
MODELS = {
    "videorefer": ("connector", "object_encoder", "language_model"),
    "qwen3_vl": ("vision_tower", "object_encoder", "language_model"),
}


def build(name, unseen):
    """A model and its collator; `unseen`: masks lie on frames that no visual shows, as with few sampled frames."""
    torch.manual_seed(0)
    if name == "videorefer":
        from transformers import AutoModel, AutoProcessor

        model, processor = AutoModel.from_pretrained(CHECKPOINT), AutoProcessor.from_pretrained(CHECKPOINT)
        processor.num_frames = model.config.num_frames = 2 if unseen else 8
    else:
        model, processor = next(row for row in ROWS if row.name == name).attached()
        model.blank_visuals = blank_visuals(processor)
    set_trainable(model, MODELS[name])
    return model.float(), VideoReferCollator(processor)


def runs():
    return [(name, unseen) for name in MODELS for unseen in ((False, True) if name == "videorefer" else (False,))]


def records(folder: Path):
    if not (folder / "clips").exists():
        write_media(folder)
    kinds = all_kinds()
    return {
        kind: VideoReferDataset(str(write_json(folder / f"{number}.json", [kinds[kind]])), mode="multi")
        for number, kind in enumerate(dict.fromkeys(kind for step in STEPS for kind in step))
    }


def step(model: RegionMixin, batch, training):
    model.train(training)
    model.zero_grad()
    with torch.set_grad_enabled(training):
        loss = model(**batch).loss
    if training:
        loss.backward()
    return loss.detach()


def shard(model) -> None:
    from torch.distributed.fsdp import fully_shard

    for module in model.modules():
        if type(module).__name__ in model._no_split_modules:
            fully_shard(module)
    fully_shard(model)


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    data = records(folder / str(rank))
    made = {}
    for name, unseen in runs():
        model, collator = build(name, unseen)
        shard(model)
        for number, kinds in enumerate(STEPS):
            batch = collator([data[kinds[rank]][0]])
            for training in (True, False):
                loss = step(model, batch, training)
                dist.all_reduce(loss)
                gradients = {
                    parameter: value.grad.full_tensor()
                    for parameter, value in model.named_parameters()
                    if value.grad is not None
                }
                made[name, unseen, number, training] = loss / PROCESSES, gradients
    if rank == 0:
        torch.save(made, folder / "sharded.pt")
    dist.destroy_process_group()


def alone(folder: Path):
    data = records(folder / "alone")
    made = {}
    for name, unseen in runs():
        model, collator = build(name, unseen)
        for number, kinds in enumerate(STEPS):
            batches = [collator([data[kind][0]]) for kind in kinds]
            for training in (True, False):
                losses, total = [], {}
                for batch in batches:
                    losses.append(step(model, batch, training))
                    for parameter, value in model.named_parameters():
                        if value.grad is not None:
                            total[parameter] = total.get(parameter, 0) + value.grad.clone() / PROCESSES
                made[name, unseen, number, training] = sum(losses) / PROCESSES, total
    return made


if __name__ == "__main__":
    main(Path(sys.argv[1]))
