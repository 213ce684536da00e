"""Training that a signal stops, and two trainers in one folder."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.training_runs import assert_equal_runs, command, raise_when, run, start, write_data
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.training.checkpoints import complete_checkpoints

RUN = {"train.save_every": 100, "train.max_steps": 8, "train.learning_rate": 1e-3, "train.warmup": 2}
RECIPE = "videollama2.1-7b/stage3"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), copies=1)


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run(RECIPE, data, folder, **RUN)
    return folder


@pytest.mark.parametrize(("signum", "workers"), [(signal.SIGINT, 0), (signal.SIGTERM, 2)])
def test_a_signal_saves_a_checkpoint_and_the_same_run_goes_on(signum, workers, data, uninterrupted, tmp_path):
    changes = {**RUN, "data.workers": workers, "train.save_every": 2}
    handlers = [signal.signal(one, lambda *_: None) for one in (signal.SIGINT, signal.SIGTERM)]
    ours = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    try:
        raise_when((tmp_path / "checkpoint-2").exists, signum)
        with pytest.raises(KeyboardInterrupt, match=r"checkpoint-\d is saved in .*the same run goes on") as caught:
            run(RECIPE, data, tmp_path, **changes)
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == ours
    finally:
        for one, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(one, handler)
    assert caught.value.signum == signum
    newest = complete_checkpoints(tmp_path)[-1]
    assert newest.name in str(caught.value)
    assert newest.name in ("checkpoint-2", "checkpoint-3", "checkpoint-4")
    assert not (tmp_path / "model.safetensors").exists()
    run(RECIPE, data, tmp_path, **{**changes, "data.workers": 0})
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.slow
def test_a_second_signal_stops_at_once(data, tmp_path):
    def twice():
        while not (tmp_path / "checkpoint-1").exists():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    threading.Thread(target=twice, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(RECIPE, data, tmp_path, **{**RUN, "train.save_every": 1})
    time.sleep(0.2)
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.slow
def test_in_another_thread_nothing_is_done_with_signals(data, uninterrupted, tmp_path):
    handlers, seen = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)], []

    def train():
        run(RECIPE, data, tmp_path, **RUN)
        seen.extend(signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == handlers
    assert_equal_runs(tmp_path, uninterrupted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signum", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_commands_end_with_the_number_of_the_signal(signum, code, data, tmp_path):
    output = tmp_path / "out"
    process = start(*command(RECIPE, data, output, **{**RUN, "train.save_every": 1}))
    stop(process, signum, (output / "checkpoint-1").exists)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == code, said[-2000:]
    assert "Interrupted. checkpoint-" in said
    assert not (output / ".train.lock").exists()


def stop(process, signum, condition):
    while not condition():
        assert process.poll() is None, process.stdout.read()[-2000:]
        time.sleep(0.01)
    process.send_signal(signum)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_two_processes_stop_at_the_same_step_and_go_on(signum, data, tmp_path):
    """The signal comes to the launcher, which hands it on to each of its processes when it likes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    changes = {**RUN, "train.batch_size": 1, "train.save_every": 2}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for output in (whole, stopped, stopped):
        process = start(*launcher, *command(RECIPE, data, output, **changes), env=environment)
        interrupts = output == stopped and not output.exists()
        if interrupts:
            stop(process, signum, (output / "checkpoint-2").exists)
        said, _ = process.communicate(timeout=400)
        assert (process.returncode != 0) == interrupts, said[-3000:]
    assert_equal_runs(stopped, whole)


@pytest.mark.slow
def test_two_trainers_do_not_share_a_folder(data, tmp_path):
    process = start(*command(RECIPE, data, tmp_path, **{**RUN, "train.save_every": 1, "train.max_steps": 1000}))
    try:
        while not (tmp_path / ".train.lock").exists():
            assert process.poll() is None, process.stdout.read()[-2000:]
            time.sleep(0.01)
        with pytest.raises(ConfigurationError, match="Another process trains in"):
            run(RECIPE, data, tmp_path, **{**RUN, "model.checkpoint": "no/such/model"})
    finally:
        process.kill()
        process.communicate()
    assert Path(tmp_path / ".train.lock").exists()  # of a process that is killed, it keeps nobody out
    run(RECIPE, data, tmp_path / ".", **{**RUN, "train.max_steps": 1, "train.save_every": 1})
