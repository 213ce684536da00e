"""Training that is killed and goes on, and training in two processes."""

import json
import os
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import videorefer_plugin as vr
from tests.training_runs import assert_equal_runs, command, finish, kill_when, losses, run, weights, write_data

# Two epochs with frames drawn anew in each, shuffled, with the state of AdamW and a schedule.
RUN = {"train.save_every": 1, "train.max_steps": 8, "train.learning_rate": 1e-3, "train.warmup": 2}
RECIPE = "videollama2.1-7b/stage3"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), copies=1)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """The trainer of a run that nothing interrupted."""
    return run(RECIPE, data, tmp_path_factory.mktemp("whole"), **RUN)


@pytest.fixture(scope="module")
def uninterrupted(whole):
    folder = Path(whole.args.output_dir)
    assert len(losses(folder)) == RUN["train.max_steps"]
    return folder


@pytest.mark.slow
def test_killed_in_a_step_and_resumed(data, uninterrupted, tmp_path):
    arguments = command(RECIPE, data, tmp_path, **RUN)
    kill_when(arguments, (tmp_path / "checkpoint-3").exists, delay=0.05)
    finish(arguments)
    assert_equal_runs(tmp_path, uninterrupted)


def test_killed_while_a_checkpoint_is_written_and_resumed(data, uninterrupted, tmp_path):
    arguments = command(RECIPE, data, tmp_path, **RUN)
    part = tmp_path / "unfinished" / "checkpoint-4"
    kill_when(arguments, (part / "model.safetensors").exists)
    assert part.exists()
    assert not (part / "trainer_state.json").exists(), "the kill came too late to test anything"
    assert not (tmp_path / "checkpoint-4").exists()
    run(RECIPE, data, tmp_path, **RUN)  # what was killed left nothing in this process
    assert_equal_runs(tmp_path, uninterrupted)


def test_a_checkpoint_without_all_weights_is_not_gone_on_from(data, tmp_path):
    run(RECIPE, data, tmp_path, **{"train.save_every": 2, "train.max_steps": 2})
    path = tmp_path / "checkpoint-2" / "model.safetensors"
    state = weights(path.parent)
    state.pop("object_encoder.projector.0.bias")
    save_file(state, path, {"format": "pt"})
    with pytest.raises(vr.CheckpointError, match=r"to go on from.*Missing: 1 \(object_encoder\.projector\.0\.bias\)"):
        run(RECIPE, data, tmp_path, **{"train.save_every": 2, "train.max_steps": 4})


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_time_and_resumed(seed, data, uninterrupted, tmp_path):
    """Several kills in one run, at random moments, also before the first checkpoint."""
    draw = random.Random(seed)
    arguments = command(RECIPE, data, tmp_path, **RUN)
    reached = 0
    for _ in range(3):
        target = draw.randint(reached, RUN["train.max_steps"] - 2)
        kill_when(arguments, (tmp_path / f"checkpoint-{target}").exists if target else lambda: True, draw.random() * 2)
        saved = [int(path.name.rpartition("-")[2]) for path in tmp_path.glob("checkpoint-*")]
        reached = max([reached, *saved])
        if reached >= RUN["train.max_steps"] - 2:
            break
    finish(arguments)
    assert_equal_runs(tmp_path, uninterrupted)


def test_two_epochs_differ_in_frames_and_order_and_repeat_nothing(whole):
    dataset = whole.train_dataset
    orders = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        sampler = whole._get_train_sampler(dataset)
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(len(dataset)))
        orders.append(order)
    assert orders[0] != orders[1]


@pytest.mark.slow  # batches are added up over steps of one process in tests/test_training.py
def test_two_processes_train_like_one(data, tmp_path):
    """Batches of one record on each of two processes, against batches of two on one."""
    changes = {"train.max_steps": 4, "train.optimizer": "sgd", "train.learning_rate": 0.05, "train.max_grad_norm": 1.0}
    one, two = tmp_path / "one", tmp_path / "two"
    run(RECIPE, data, one, **changes)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    finish([*launcher, *command(RECIPE, data, two, **changes, **{"train.batch_size": 1})], env=environment)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    found, wanted = weights(two), weights(one)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5, msg=name)
    state = json.loads((two / "trainer_state.json").read_text())["log_history"]
    expected = json.loads((one / "trainer_state.json").read_text())["log_history"]
    tokens = [[entry.get("supervised_tokens") for entry in history] for history in (state, expected)]
    assert tokens[0] == tokens[1]


def test_the_command_line_is_a_module():
    assert "train" in finish(["-m", "videorefer_plugin.cli", "--help"], env={**os.environ, "COLUMNS": "100"})
