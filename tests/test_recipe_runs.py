"""Every recipe that comes with the package takes two steps on tiny shapes, started from the command line."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests import training_runs, videollama3
from tests.conftest import CHECKPOINT
from tests.tiny_hosts import ROWS
from videorefer_plugin.cli import app
from videorefer_plugin.training.recipe import Recipe, list_recipes, load_recipe

RESULTS = {
    "full": "model.safetensors",
    "object_encoder": "object_encoder.safetensors",
    "adapter": "adapter_model.safetensors",
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Records, and everything tiny that a recipe may start from."""
    folder = tmp_path_factory.mktemp("desk")
    training_runs.write_data(folder / "plain", ("first stage",), copies=4)
    training_runs.write_data(folder / "chat", ("compressed", "polygons", "polygons without size", "one level deeper"))
    training_runs.write_data(folder / "words", ("text",), copies=8)
    asked = "What is it? (A) red (B) blue (C) green (D) pink. Answer with the option's letter."
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": "Answer: red"}]
    (folder / "letters").mkdir()
    (folder / "letters" / "data.json").write_text(json.dumps([{"id": "1", "conversations": turns}] * 8))
    return folder


def records(recipe: Recipe, desk: Path) -> str:
    """What a recipe can be trained on."""
    in_words = recipe.pretrain is not None and recipe.pretrain.part == "language_model"
    in_letters = recipe.pretrain is not None and recipe.pretrain.exercise is not None
    name = "letters" if in_letters else "words" if in_words else recipe.data.template
    return str(desk / name / "data.json")


def start(recipe: Recipe, desk: Path) -> dict[str, str]:
    """Settings that let a recipe start from something tiny of the same kind."""
    if recipe.pretrain is not None and recipe.pretrain.exercise is not None:
        return {"model.checkpoint": training_runs.write_language_model(desk / "qwen2")["model.language_model"]}
    if recipe.pretrain is not None and recipe.pretrain.part != "connector":  # from nothing
        return {}
    if recipe.model.language_model is not None:
        return training_runs.write_language_model(desk / "qwen2")
    if recipe.name.startswith("videorefer-videollama3"):
        return {"model.checkpoint": str(videollama3.CHECKPOINT)}
    if not recipe.name.startswith("attach/"):
        return {"model.checkpoint": str(CHECKPOINT)}
    # Recipes for hosts begin with the host's name: attach/qwen3-vl-2b_lora.
    name = recipe.name.removeprefix("attach/").replace("-", "_")
    (row,) = (row for row in ROWS if name.startswith(row.name))
    if not (desk / row.name).exists():
        row.model().save_pretrained(desk / row.name)
        row.processor().save_pretrained(desk / row.name)
    settings = {"model.checkpoint": str(desk / row.name)}
    if recipe.model.object_encoder is not None:
        row.attached()[0].save_object_encoder(desk / f"{row.name} object encoder")
        settings["model.object_encoder"] = str(desk / f"{row.name} object encoder")
    return settings


@pytest.mark.spread(1)
@pytest.mark.parametrize("name", list_recipes())
def test_recipe_takes_two_steps(name, desk, tmp_path):
    recipe = load_recipe(name)
    if recipe.model.quantization:
        pytest.importorskip("bitsandbytes", reason="weights of few bits need bitsandbytes")
    settings = {
        **start(recipe, desk),
        "data.files": records(recipe, desk),
        "data.num_frames": 8,
        "data.workers": 0,
        "train.batch_size": 2,
        "train.global_batch_size": 4,
        "train.log_every": 1,
        "output.folder": str(tmp_path),
    }
    overrides = [f"{setting}={json.dumps(value)}" for setting, value in settings.items()]
    result = CliRunner().invoke(app, ["train", "run", name, *overrides, "--max-steps", "2"])
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    curve = training_runs.losses(tmp_path)
    assert len(curve) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in curve)
    assert (tmp_path / RESULTS[recipe.output.save]).is_file()
    if recipe.pretrain is not None:  # parts are no models to be published
        return
    summary = json.loads((tmp_path / "videorefer_run.json").read_text())
    assert (summary["recipe"]["name"], summary["steps"]) == (name, 2)
