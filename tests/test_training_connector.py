"""Pretraining of a connector: what is where in a clip, and which way it goes."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import videorefer_plugin as vr
from videorefer_plugin import world
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.tiny.pretraining.connector import ConnectorPart
from videorefer_plugin.training.dataset import VideoReferDataset
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.training.run import train
from videorefer_plugin.video import sample_frame_indices

START = f"model.checkpoint={vr.tiny_checkpoint()}"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    world.write_dataset(folder, 6, seed=3, heldout=0)
    return folder / "train_stage0_tower.json"


@pytest.mark.slow
def test_only_the_connector_learns(data, tmp_path):
    changes = ["train.batch_size=3", "train.global_batch_size=3", "train.log_every=1", "train.max_steps=12"]
    trainer = train(
        load_recipe("tiny/stage1_connector", [START, f"data.files={data}", f"output.folder={tmp_path}", *changes])
    )
    curve = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(curve[-2:]) < 0.8 * sum(curve[:2])
    before = load_file(f"{vr.tiny_checkpoint()}/model.safetensors")
    after = load_file(tmp_path / "model.safetensors")
    changed = {name for name in after if not torch.equal(after[name].half(), before[name].half())}
    assert changed
    assert all(".connector." in name for name in changed)
    vr.ask(
        tmp_path,
        data.parent / "videos" / "train-000000.mp4",
        "What is <region>?",
        [vr.Region.from_box((9, 9, 30, 30))],
    )


def test_objects_are_read_where_and_while_they_are_seen(data):
    dataset = VideoReferDataset(data, mode="multi")
    part = ConnectorPart(load_recipe("tiny/stage1_connector", [START]), dataset)
    frames = sample_frame_indices(16, num_frames=8)
    for index in range(len(dataset)):
        batch = part.collator([dataset[index]])
        clip = world.make_clip((3, 0, index), **({"objects": 4, "distinct": True} if index % 2 else {}))
        sights = [
            (number, step)
            for number in range(len(clip))
            for step in range(4)
            if clip.masks[number, list(frames[2 * step : 2 * step + 2])].any()
        ]
        covered = batch["shares"].unflatten(1, (4, 16)) > 0  # by step of time
        assert covered.any(2).nonzero().tolist() == [[row, step] for row, (_, step) in enumerate(sights)]
        for row, (number, step) in enumerate(sights):
            seen = [clip.masks[number, frame].nonzero() for frame in frames[2 * step : 2 * step + 2]]
            centres = [np.array([x.mean(), y.mean()]) / 32 if len(x) else np.full(2, np.nan) for y, x in seen]
            for name, value in (("motions", centres[1] - centres[0]), ("places", np.nanmean(centres, 0) - 63 / 64)):
                np.testing.assert_allclose(batch[name][row].numpy(), value, atol=1e-5)


def test_records_of_another_kind_are_refused(data):
    records = json.loads(data.read_text())
    path = data.parent / "other.json"
    two = [{"from": "human", "value": "<video>\nAre <region> and <region> alike?"}, {"from": "gpt", "value": "No."}]
    image = {**records[0], "image": "images/train-000000.png"}
    image.pop("video")
    image["annotation"] = [{"0": one["0"]} for one in image["annotation"]]
    image["conversations"][0]["value"] = image["conversations"][0]["value"].replace("<video>", "<image>")
    part = ConnectorPart(load_recipe("tiny/stage1_connector", [START]), None)
    for record, said in (
        ({**records[1], "conversations": two, "annotation": records[1]["annotation"][:2]}, "one object in each"),
        (image, "from videos"),
    ):
        path.write_text(json.dumps([record]))
        with pytest.raises(ConfigurationError, match=said):
            part.collator([VideoReferDataset(path, mode="multi")[0]])


@pytest.mark.parametrize("change", ["model.checkpoint=null", "train.parts=[object_encoder]"])
def test_a_connector_needs_a_model_to_lie_in(change):
    with pytest.raises(ConfigurationError, match="connector"):
        load_recipe("tiny/stage1_connector", [change])
