"""Small training runs: recipes of the package on the tiny checkpoint and a handful of records."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests import training_data
from tests.conftest import CHECKPOINT, TINY

ROOT = Path(__file__).parent.parent
# With regions in one frame and in many, without, and without a visual. Eight, so that two processes share them evenly:
# the loader fills up an uneven last batch.
KINDS = (
    "compressed",
    "two objects",
    "polygons",
    "polygons without size",
    "image",
    "video without objects",
    "never together",
    "text",
)


def write_data(folder: Path, kinds: tuple[str, ...] = KINDS, copies: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "clips").exists():
        training_data.write_media(folder)
    records = training_data.all_kinds()
    return training_data.write_json(folder / "data.json", [records[kind] for kind in kinds] * copies)


def write_language_model(folder: Path) -> dict[str, str]:
    """A tiny Qwen2 with its padded table and its tokenizer; returns settings to build a model of it and a SigLIP."""
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    import videorefer_plugin as vr

    base = vr.VideoReferConfig.from_pretrained(CHECKPOINT).text_config
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**{**base.to_dict(), "vocab_size": 384})).save_pretrained(folder)
    AutoTokenizer.from_pretrained(CHECKPOINT).save_pretrained(folder)
    return {"model.language_model": str(folder), "model.vision_tower": str(TINY / "siglip-tiny-patch6-42")}


def settings(data: Path, output: Path, checkpoint: Any = CHECKPOINT, **changes: Any) -> list[str]:
    """Overrides that bring a recipe down to the tiny checkpoint."""
    values = {
        "model.checkpoint": checkpoint,
        "model.language_model": None,
        "model.vision_tower": None,
        "model.dtype": "float32",
        "model.attn_implementation": None,
        "data.files": str(data),
        "data.num_frames": 8,
        "data.workers": 0,
        "data.max_length": None,
        "train.batch_size": 2,
        "train.global_batch_size": 2,
        "train.max_steps": 4,
        "train.gradient_checkpointing": False,
        "train.warmup": 0,
        "output.folder": output,
        **changes,
    }
    return [f"{name}={json.dumps(value) if not isinstance(value, Path) else value}" for name, value in values.items()]


def run(recipe: str, *arguments: Any, **changes: Any) -> Any:
    """Run a recipe in this process."""
    from videorefer_plugin.training.recipe import load_recipe
    from videorefer_plugin.training.run import train

    return train(load_recipe(recipe, settings(*arguments, **changes)))


def command(recipe: str, *arguments: Any, **changes: Any) -> list[str]:
    """The command that runs a recipe."""
    return ["-m", "videorefer_plugin.cli", "train", "run", recipe, *settings(*arguments, **changes)]


def start(*command: str, **options: Any) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def losses(folder: Path) -> list[float]:
    """Loss of every step of a finished run."""
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "model.safetensors")


def finish(arguments, **options):
    process = start(*arguments, **options)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output[-3000:]
    return output


def kill_when(arguments, condition, delay=0.0):
    """Start a run and kill it, without a chance to clean up, a moment after a condition holds."""
    process = start(*arguments)
    deadline = time.monotonic() + 400
    try:
        while not condition():
            assert process.poll() is None, "it ended before it could be killed:\n" + process.stdout.read()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(delay)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def raise_when(condition, signum):
    """Send this process a signal as soon as a condition holds."""

    def wait():
        while not condition():
            time.sleep(0.001)
        os.kill(os.getpid(), signum)

    threading.Thread(target=wait, daemon=True).start()


def assert_equal_runs(folder, expected):
    assert losses(folder) == losses(expected)
    found, wanted = weights(folder), weights(expected)
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name
