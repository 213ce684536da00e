"""Recipes: those that come with the package, overrides, and settings that cannot be."""

import dataclasses
import re

import pytest
import yaml
from typer.testing import CliRunner

import videorefer_plugin as vr
from videorefer_plugin.cli import app
from videorefer_plugin.training.recipe import LoraSettings, PretrainSettings, Recipe, list_recipes, load_recipe

RECIPES = list_recipes()


def written(name):
    from importlib import resources

    return (resources.files("videorefer_plugin.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def test_the_stages_of_the_paper_come_with_the_package():
    assert {f"videollama2.1-7b/stage{stage}" for stage in ("1", "2", "2.5", "3", "3_lora")} <= set(RECIPES)


@pytest.mark.parametrize("name", RECIPES)
def test_shipped_recipes_agree_with_the_signatures_they_feed(name, tmp_path):
    recipe = load_recipe(name)
    assert recipe.name == name
    from transformers import TrainingArguments

    from videorefer_plugin.training.arguments import training_arguments

    recipe.train.global_batch_size = recipe.train.batch_size * 2
    recipe.output.folder = str(tmp_path)
    arguments = training_arguments(recipe)
    assert isinstance(arguments, TrainingArguments)
    assert arguments.gradient_accumulation_steps == 2
    if recipe.lora is not None:
        from peft import LoraConfig

        LoraConfig(r=recipe.lora.rank, lora_alpha=recipe.lora.alpha, lora_dropout=recipe.lora.dropout)


@pytest.mark.parametrize("name", RECIPES)
def test_headers_say_what_how_and_one_override(name):
    header = "".join(line for line in written(name).splitlines(keepends=True) if line.startswith("#"))
    assert re.search(r"[Tt]rains|adapts", header)
    assert f"train run {name}" in header.replace("\\\n#       ", " ")
    override = re.search(r"Override any setting the same way, for instance (\S+=\S+?)[. ]*(?:$|\n| )", header)
    assert override, header
    load_recipe(name, [override[1].rstrip(".")])


@pytest.mark.parametrize(
    ("stage", "parts", "batch", "rate", "mode"),
    [
        ("1", ["connector"], 256, 1e-3, "single"),
        ("2", ["object_encoder"], 256, 1e-3, "single"),
        ("2.5", ["connector", "object_encoder", "language_model"], 128, 2e-5, "mixed"),
        ("3", ["connector", "object_encoder", "language_model"], 128, 2e-5, "mixed"),
    ],
)
def test_stages_have_the_settings_of_the_paper(stage, parts, batch, rate, mode):
    recipe = load_recipe(f"videollama2.1-7b/stage{stage}")
    train, data = recipe.train, recipe.data
    assert (train.parts, train.global_batch_size, train.learning_rate) == (parts, batch, rate)
    assert (train.epochs, train.scheduler, train.optimizer) == (1, "cosine", "adamw_torch")
    assert (data.num_frames, data.mode, recipe.model.dtype) == (16, mode, "bfloat16")
    assert recipe.model.max_tokens_per_region == 4


def test_overrides_reach_every_level():
    recipe = load_recipe(
        "videollama2.1-7b/stage3",
        [
            "train.learning_rate=1e-4",
            "train.learning_rates={connector: 5e-6}",
            "data.files=[a.json, b.json]",
            "model.attn_implementation=null",
            "name=mine",
        ],
    )
    assert recipe.train.learning_rate == 1e-4
    assert recipe.train.learning_rates == {"connector": 5e-6}
    assert recipe.data.files == ["a.json", "b.json"]
    assert recipe.model.attn_implementation is None
    assert recipe.name == "mine"
    assert load_recipe("videollama2.1-7b/stage3", ["data.files=a.json"]).data.files == ["a.json"]


def test_a_recipe_survives_writing_and_reading(tmp_path):
    recipe = load_recipe("videollama2.1-7b/stage3_lora", ["data.files=a.json"])
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    assert load_recipe(path) == recipe
    assert isinstance(load_recipe(path).lora, LoraSettings)


@pytest.mark.parametrize(("processes", "steps"), [(1, 32), (2, 16), (8, 4), (32, 1)])
def test_accumulation_follows_from_the_global_batch(processes, steps):
    recipe = load_recipe("videollama2.1-7b/stage2", ["train.batch_size=8"])
    assert recipe.accumulation_steps(processes) == steps


BAD = [
    ("train.learning_rat=1", "train.learning_rate"),
    ("trian.learning_rate=1", "train"),
    ("data.file=a", "data.files"),
    ("model.checkpont=a", "model.checkpoint"),
    ("lora.rnak=4", "lora.rank"),
    ("output.sav=full", "output.save"),
    ("train.learning_rate=fast", "float"),
    ("train.batch_size=2.5", "int"),
    ("train.batch_size=true", "int"),
    ("train.gradient_checkpointing=1", "bool"),
    ("data.files=[1, 2]", r"data.files\[0\]"),
    ("train.learning_rates=[1]", "train.learning_rates"),
    ("train=3", "train is a section"),
    ("train.parts=[decoder]", "decoder"),
    ("train.learning_rates={tower: 1.0}", "tower"),
    ("data.mode=both", "mixed"),
    ("data.template=qwen", "plain"),
    ("data.on_bad_sample=replace", "skip"),
    ("output.save=weights", "object_encoder"),
    ("output.save=adapter", "lora"),
    ("output.save=object_encoder", "train.parts"),
    ("lora={rank: 4}", "adapter"),
    ("trainer=deepspeed", "videollama2"),
    ("train.group_by=size", "modality_length"),
    ("model.checkpoint=null", "model.language_model"),
    ("model.language_model=qwen", "either"),
    ("train.batch_size=0", "at least 1"),
    ("train.keep_checkpoints=0", "at least 1"),
    ("learning_rate", "name=value"),
    ("name.first=1", "no section"),
]


@pytest.mark.parametrize(("override", "message"), BAD, ids=[override for override, _ in BAD])
def test_settings_that_cannot_be(override, message):
    with pytest.raises(vr.ConfigurationError, match=message):
        load_recipe("videollama2.1-7b/stage3", [override])


def test_a_language_model_needs_its_tower():
    with pytest.raises(vr.ConfigurationError, match="vision_tower"):
        load_recipe("videollama2.1-7b/stage1", ["model.vision_tower=null"])


def test_lora_and_full_training_of_the_language_model_exclude_each_other():
    with pytest.raises(vr.ConfigurationError, match="adapted, not trained"):
        load_recipe("videollama2.1-7b/stage3_lora", ["train.parts=[language_model]"])


def test_batches_that_do_not_divide():
    recipe = load_recipe("videollama2.1-7b/stage2", ["train.batch_size=7"])
    with pytest.raises(vr.ConfigurationError, match=r"256.*7.*2 process"):
        recipe.accumulation_steps(2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "settings by name"),
        ("a: [", "YAML"),
        ("train: {parts: [connector]", "YAML"),
        ("train: 4", "section"),
    ],
)
def test_files_that_are_no_recipes(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(vr.ConfigurationError, match=message):
        load_recipe(path)


def test_names_that_are_no_recipes(tmp_path):
    with pytest.raises(vr.ConfigurationError, match=r"did you mean 'videollama2.1-7b/stage2'"):
        load_recipe("videollama2.1-7b/stage22")
    with pytest.raises(vr.ConfigurationError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_every_field_is_documented():
    for section in (
        Recipe,
        LoraSettings,
        PretrainSettings,
        *(type(f.default_factory()) for f in dataclasses.fields(Recipe) if callable(f.default_factory)),
    ):
        for field in dataclasses.fields(section):
            if section is Recipe and field.name in ("model", "data", "train", "lora", "pretrain", "output"):
                continue
            assert re.search(rf"`{field.name}`|{field.name} \(", section.__doc__) or field.name in section.__doc__


def test_command_line_lists_and_shows():
    listed = CliRunner().invoke(app, ["train", "list"])
    assert listed.stdout.split() == RECIPES
    shown = CliRunner().invoke(app, ["train", "run", "videollama2.1-7b/stage2", "data.files=a.json", "--show"])
    assert shown.exit_code == 0
    values = yaml.safe_load(shown.stdout)
    assert values["data"]["files"] == ["a.json"]
    wrong = CliRunner().invoke(app, ["train", "run", "videollama2.1-7b/stage2", "train.epoch=2"])
    assert wrong.exit_code == 1
    assert "train.epochs" in wrong.output
