"""Two processes that talk by gloo train and evaluate like one; longer runs are among the slow tests."""

import json
import os

import pytest
import torch

from tests import sharded_run
from tests.test_training_resume import finish
from tests.training_runs import command, losses, run, weights, write_data

RECIPE = "videollama2.1-7b/stage3"


@pytest.mark.slow
def test_two_processes_train_and_evaluate_like_one(tmp_path):
    data = write_data(tmp_path / "data", ("compressed", "text", "image", "polygons"), copies=1)
    changes = {
        **{"train.max_steps": 2, "train.optimizer": "sgd", "train.learning_rate": 0.05, "train.group_by": None},
        "train.batch_size": 1,
        **{"data.eval_files": [str(data)], "train.eval_every": 1},
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    run(RECIPE, data, tmp_path / "one", **changes)
    finish([*launcher, *command(RECIPE, data, tmp_path / "two", **changes)], env=environment)
    one, two = (
        json.loads((tmp_path / name / "trainer_state.json").read_text())["log_history"] for name in ("one", "two")
    )
    assert len(losses(tmp_path / "one")) == 2
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    evaluated = [[entry["eval_loss"] for entry in history if "eval_loss" in entry] for history in (one, two)]
    assert len(evaluated[0]) == 2
    assert evaluated[1] == pytest.approx(evaluated[0], rel=1e-5)
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(weights(tmp_path / "two")[name], value, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.slow
@sharded_run.needs_sharding
def test_processes_that_share_weights_may_have_batches_of_any_kind(tmp_path):
    """Loss and gradients are those of one process, also where one has no visual or no region and the other has."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={sharded_run.PROCESSES}"]
    finish([*launcher, "-m", "tests.sharded_run", str(tmp_path)], env={**os.environ, "OMP_NUM_THREADS": "1"})
    found, wanted = torch.load(tmp_path / "sharded.pt"), sharded_run.alone(tmp_path)
    assert found.keys() == wanted.keys()
    for step, (loss, gradients) in wanted.items():
        assert found[step][0].item() == pytest.approx(loss.item(), rel=1e-5), step
        assert found[step][1].keys() == gradients.keys(), step
        for name, value in gradients.items():
            torch.testing.assert_close(found[step][1][name], value, atol=1e-6, rtol=1e-4, msg=f"{step} {name}")
