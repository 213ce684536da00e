"""The matrix of hostile input to training: damaged checkpoints, those of other runs, and arguments that cannot be."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.hostile import draw, in_time, refuses
from tests.training_runs import run, settings, write_data
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.training.arguments import training_arguments
from videorefer_plugin.training.checkpoints import find_checkpoint
from videorefer_plugin.training.mixture import Share, epoch_rows
from videorefer_plugin.training.recipe import load_recipe
from videorefer_plugin.training.run import train

RECIPE = "videollama2.1-7b/stage3"
RUN = {"train.save_every": 1, "train.max_steps": 2, "train.parts": ["object_encoder"]}
LONGER = {**RUN, "train.max_steps": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), copies=1)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    """A folder with the checkpoints of two steps."""
    folder = tmp_path_factory.mktemp("run") / "out"
    run(RECIPE, data, folder, **RUN)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """The same, to be damaged. Files are links, so that they are replaced, never written to."""
    shutil.copytree(finished, tmp_path / "out", copy_function=os.link)
    return tmp_path / "out"


def put(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "half": lambda content: content[: len(content) // 2],
    "a few bytes": lambda content: content[:9],
    "without its end": lambda content: content[:-40],
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"hello, is anybody there?",
    "a list": lambda content: b"[]",
    "nested": lambda content: b'{"a":' + b"[" * 6000,
    "no UTF-8": lambda content: b'{"global_step": 2, "\xff\xfe": 1}',
}
FILES = (
    *("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "config.json"),
    "videorefer_resume.json",
)


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_of_a_checkpoint_are_named(name, data, folder):
    path = folder / "checkpoint-2" / name
    content, recipe = path.read_bytes(), load_recipe(RECIPE, settings(data, folder, **LONGER))

    def check(kind: str) -> None:
        put(path, DAMAGES[kind](content))
        with (
            in_time(),
            pytest.raises(CheckpointError, match=rf"(?s){name}.*Delete .*checkpoint-2, to go on from checkpoint-1"),
        ):
            train(recipe)

    for kind in DAMAGES:
        check(kind)


@pytest.mark.parametrize("name", FILES[:4])
def test_missing_files_of_a_checkpoint_are_named(name, data, folder):
    (folder / "checkpoint-2" / name).unlink()
    with pytest.raises(CheckpointError, match=rf"lacks .*{name}.*Delete"):
        run(RECIPE, data, folder, **LONGER)


@pytest.mark.spread(4)
@pytest.mark.parametrize("name", FILES[1:4])
@pytest.mark.parametrize("saved", [[1, 2], {"a": torch.zeros(2)}, 5, torch.zeros(3)], ids=str)
def test_files_that_hold_something_else_are_named(name, saved, data, folder):
    path = folder / "checkpoint-2" / name
    path.unlink()
    torch.save(saved, path)
    with pytest.raises(CheckpointError, match=name):
        run(RECIPE, data, folder, **LONGER)


def test_pickled_objects_are_not_loaded(data, folder, tmp_path):
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    path = folder / "checkpoint-2" / "optimizer.pt"
    path.unlink()
    torch.save(Evil(), path)
    with pytest.raises(CheckpointError, match=r"optimizer\.pt"):
        run(RECIPE, data, folder, **LONGER)
    assert not (tmp_path / "made").exists()


WRONG = st.sampled_from([None, -1, 1.5, "2", [], {}, True, 10**400, [[]], {"a": 1}, "NaN"])
STATES = {
    "global_step": WRONG,
    "max_steps": st.sampled_from([None, 1.5, "2", [], {}, True]),
    "epoch": st.sampled_from(["2", [], {}, True]),
    "log_history": st.sampled_from([None, 1, "x", {}, [1], [[]], ["loss"]]),
    "stateful_callbacks": st.sampled_from([1, "x", [], {"TrainerControl": 1}, {"a": {"args": 1}}, {"a": [[]]}]),
    "train_batch_size": st.sampled_from(["2", [], {}, True, 1.5]),
    "no_such_thing": WRONG,
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("name", STATES)
def test_states_that_no_trainer_wrote_are_refused(name, data, folder):
    path = folder / "checkpoint-2" / "trainer_state.json"
    state, recipe = json.loads(path.read_text()), load_recipe(RECIPE, settings(data, folder, **LONGER))

    def check(value: Any) -> None:
        put(path, json.dumps({**state, name: value}).encode())
        refuses(CheckpointError, lambda _: train(recipe))(value)

    assert draw(STATES[name], check, 12) >= 4


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train.parts": ["connector"]}, r"train\.parts was .*object_encoder.* and is .*connector"),
        ({"train.learning_rate": 0.5}, r"train\.learning_rate was .* and is 0\.5"),
        ({"train.optimizer": "sgd"}, r"train\.optimizer was 'adamw_torch' and is 'sgd'"),
        ({"train.scheduler": "linear"}, r"train\.scheduler was"),
        ({"train.weight_decay": 0.1}, r"train\.weight_decay was"),
        ({"train.seed": 7}, r"train\.seed was 42 and is 7"),
        ({"train.global_batch_size": 4}, r"train\.global_batch_size was 2 and is 4"),
        ({"train.extra": {"adam_beta2": 0.9}}, r"train\.extra\.adam_beta2 was left out and is 0\.9"),
        ({"train.extra": {"dataloader_drop_last": True}}, r"train\.extra\.dataloader_drop_last was left out"),
        ({"train.group_by": None}, r"train\.group_by was 'modality_length' and is None"),
        ({"data.mode": "single"}, r"data\.mode was 'mixed' and is 'single'"),
        ({"data.num_frames": 4}, r"data\.num_frames was 8 and is 4"),
        ({"lora": {"rank": 4}, "output.save": "adapter"}, r"lora was left out and is a section"),
        ({"data.files": ["other.json"]}, r"data\.files was"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_checkpoints_of_other_runs_are_named_before_the_model_is_loaded(change, message, data, folder):
    changes = {**LONGER, **change, "model.checkpoint": "no/such/model"}
    with pytest.raises(CheckpointError, match=message):
        run(RECIPE, data, folder, **changes)


def test_more_or_fewer_records_are_another_run(data, folder, tmp_path):
    other = write_data(tmp_path / "data", copies=2)
    with pytest.raises(CheckpointError, match="records was 8 and is 16"):
        run(RECIPE, other, folder, **LONGER)


def test_a_run_may_be_longer_and_say_more(data, folder):
    changes = {"train.keep_checkpoints": 9, "train.extra": {"logging_first_step": True}, "name": "other"}
    assert run(RECIPE, data, folder, **LONGER, **changes).state.global_step == 3


def test_old_checkpoints_that_do_not_fit_are_named(data, folder):
    """Those that do not say which run they are of, when another part is trained, or the weights are of other sizes."""
    (folder / "checkpoint-2" / "videorefer_resume.json").unlink()
    with pytest.raises(CheckpointError, match=r"cannot resume from .*checkpoint-2.*go on from checkpoint-1"):
        run(RECIPE, data, folder, **{**LONGER, "train.parts": ["connector"]})
    path = folder / "checkpoint-2" / "model.safetensors"
    state = load_file(path)
    path.unlink()
    save_file({name: value[:1].clone() for name, value in state.items()}, path, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"cannot resume from .*checkpoint-2"):
        run(RECIPE, data, folder, **LONGER)


# --- names and half-written folders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [3, 9, 99, 1000])
def test_a_half_written_checkpoint_is_passed_over_and_said(number, folder, caplog):
    (folder / f"checkpoint-{number}").mkdir()
    (folder / f"checkpoint-{number}" / "model.safetensors").write_bytes(b"half")
    (folder / "unfinished" / "checkpoint-3").mkdir(parents=True)
    with said(caplog):
        assert find_checkpoint(folder) == str(folder / "checkpoint-2")
    for name in (f"{folder.name}/checkpoint-{number}", "unfinished/checkpoint-3"):
        assert f"{name} was not finished when its process ended; the run goes on from checkpoint-2" in caplog.text


def said(caplog: pytest.LogCaptureFixture) -> Any:
    """What this library logs; its logger hands nothing to those above it."""
    from transformers.utils import logging

    logging.get_logger("videorefer_plugin.training.checkpoints").addHandler(caplog.handler)
    return caplog.at_level("WARNING")


def test_only_a_half_written_checkpoint_is_an_error(data, tmp_path):
    (tmp_path / "out" / "checkpoint-9").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"checkpoint-9 is not complete.*Delete it to start again"):
        run(RECIPE, data, tmp_path / "out", **LONGER)


@pytest.mark.parametrize("name", ["checkpoint-99", "checkpoint-0", "checkpoint-1000000"])
def test_files_called_checkpoints_are_named(name, data, folder):
    (folder / name).write_text("hello")
    with pytest.raises(CheckpointError, match=f"{name} is a file"):
        run(RECIPE, data, folder, **LONGER)


@pytest.mark.parametrize(
    "name", ["checkpoint-", "checkpoint-abc", "checkpoint-²", "checkpoint--2", "checkpoint-2.old"]
)
def test_other_names_are_no_checkpoints(name, folder):
    (folder / name).mkdir()
    assert find_checkpoint(folder) == str(folder / "checkpoint-2")


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/no/such/place"])
def test_output_folders_that_cannot_be_made_are_named_before_the_model_is_loaded(place, data, tmp_path):
    (tmp_path / "file").write_text("")
    output = {"a file": tmp_path / "file", "below a file": tmp_path / "file" / "out"}.get(place, place)
    with pytest.raises(ConfigurationError, match="cannot be written"):
        run(RECIPE, data, output, **{"model.checkpoint": "no/such/model"})


# --- arguments of transformers ---------------------------------------------------------------------------------------

EXTRA: dict[str, list[Any]] = {
    "adam_beta1": [5, -0.1, 1, "x", None, 10**400],
    "adam_beta2": [5, 1.0, -1, [], True],
    "adam_epsilon": [-1e-8, "tiny", {}],
    "label_smoothing_factor": [1, 2, -1],
    "neftune_noise_alpha": [-5],
    "eval_delay": [-1],
    "per_device_eval_batch_size": [0, -1, 2**40, 1.5, "four"],
    "eval_accumulation_steps": [0, -3],
    "dataloader_prefetch_factor": [2],  # without processes that load
    "dataloader_persistent_workers": [True, "yes"],
    "dataloader_multiprocessing_context": ["thread", "fork"],
    "torch_empty_cache_steps": [0],
    "ddp_timeout": [0],
    "ddp_bucket_cap_mb": [0],
    "eval_on_start": [True],
    "metric_for_best_model": ["foo", "loss"],
    "greater_is_better": [True],
    "auto_find_batch_size": [True],
    "save_only_model": [True],
    "enable_jit_checkpoint": [True],
    "batch_eval_metrics": [True],
    "include_for_metrics": [["inputs"]],
    "local_rank": [3],
    "do_predict": [True],
    "log_level": ["loud", "", "INFO"],
    "log_level_replica": ["loud"],
    "use_liger_kernel": [True],
    "debug": ["underflow_overflow", "foo", ["tpu_metrics_debug"]],
    "fsdp": ["full_shard", "foo"],
    "optim_args": ["foo", "lr", "a=b=c"],
    "lr_scheduler_kwargs": [{"foo": 1}, {"num_cycles": "x"}, {"num_cycles": None}, {"num_cycles": {}}, [1], 5],
    "accelerator_config": [
        {"gradient_accumulation_kwargs": {"num_steps": 4}},
        {"split_batches": True},
        {"split_batch": True},
        {"even_batches": "yes"},
        {"dispatch_batches": 5},
    ],
    "torch_compile_mode": [5],
    "report_to": ["wandb"],
    "logging_strategy": ["sometimes"],
    "deepspeed": ["no/such/file.json"],
    "no_such_argument": [1],
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("name", EXTRA)
def test_arguments_that_cannot_be_are_refused_before_the_model_is_loaded(name, data, tmp_path):
    base = settings(data, tmp_path, **LONGER)

    def door(value: Any) -> None:
        recipe = load_recipe(RECIPE, base)
        recipe.train.extra = {name: value}
        training_arguments(recipe.check())

    for value in EXTRA[name]:
        if value is not None:
            refuses(ConfigurationError, door)(value)


def test_small_numbers_within_arguments_are_numbers(data, tmp_path):
    changes = ["train.extra={lr_scheduler_kwargs: {min_lr: 1e-7}}", "train.scheduler=cosine_with_min_lr"]
    recipe = load_recipe(RECIPE, [*settings(data, tmp_path, **LONGER), changes[0]])
    recipe.train.scheduler = "cosine"
    with pytest.raises(ConfigurationError, match="min_lr"):  # which the schedule of this recipe does not have
        training_arguments(recipe)
    recipe.train.extra = {"lr_scheduler_kwargs": {"num_cycles": "1e0"}}
    assert training_arguments(recipe).lr_scheduler_kwargs == {"num_cycles": 1.0}


SECRET = "hush-hush-hush-this-is-a-very-long-secret-that-nobody-may-see"


@pytest.mark.spread(3)
@pytest.mark.parametrize(
    "change",
    [
        "train.learning_rate={}",
        "train.seed={}",
        "model.dtype={}",
        "data.mode={}",
        "train.parts=[{}]",
        "train.extra={{adam_beta2: '{}'}}",
        "train.extra={{optim_args: '{}'}}",
        "train.extra={{lr_scheduler_kwargs: '{}'}}",
        "train.scheduler=x{}",
        "data.files=[{{file: a.json, weight: '{}'}}]",
    ],
)
def test_messages_do_not_say_what_an_environment_holds(change, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOREFER_SECRET", SECRET)
    overrides = [change.format("${oc.env:VIDEOREFER_SECRET}"), f"output.folder={tmp_path}", "model.dtype=float32"]
    with pytest.raises(ConfigurationError) as caught:
        training_arguments(load_recipe(RECIPE, overrides if "dtype" not in change else overrides[:2]))
    for size in (8, 20, len(SECRET)):
        assert SECRET[:size] not in str(caught.value)
        assert SECRET[-size:] not in str(caught.value)


def test_arguments_are_logged_without_what_an_environment_holds(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOREFER_SECRET", SECRET)
    changes = ["train.extra={run_name: '${oc.env:VIDEOREFER_SECRET}'}", "model.dtype=float32"]
    arguments = training_arguments(load_recipe(RECIPE, [*changes, f"output.folder={tmp_path}"]))
    assert arguments.run_name == SECRET
    assert SECRET not in arguments.to_json_string() + str(arguments.to_sanitized_dict())
    assert arguments.to_dict()["run_name"] == "${oc.env:VIDEOREFER_SECRET}"


def test_weights_that_no_memory_holds_are_refused():
    shares = [Share.of(index, "a.json", 1_000_000, None, 1000.0, 0) for index in range(2)]
    with pytest.raises(ConfigurationError, match=r"An epoch would have 2,000,000,000 records"):
        epoch_rows(shares, 0)
