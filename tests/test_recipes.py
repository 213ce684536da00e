"""Recipes: those that come with the package, overrides, and settings that cannot be."""

import dataclasses
import json
import re
import typing
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import videorefer_plugin as vr
from videorefer_plugin.cli import app
from videorefer_plugin.data_engine.recipe import load_engine_recipe
from videorefer_plugin.training.recipe import (
    DataFile,
    LoraSettings,
    PretrainSettings,
    Recipe,
    list_recipes,
    load_recipe,
)

RECIPES = list_recipes()


def written(name):
    from importlib import resources

    return (resources.files("videorefer_plugin.recipes") / f"{name}.yaml").read_text(encoding="utf-8")


def test_the_stages_of_the_paper_come_with_the_package():
    assert {f"videollama2.1-7b/stage{stage}" for stage in ("1", "2", "2.5", "3", "3_lora")} <= set(RECIPES)


@pytest.mark.spread(4)
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


@pytest.mark.spread(4)
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


READ = json.loads((Path(__file__).parent / "data" / "recipes.json").read_text(encoding="utf-8"))


@pytest.mark.spread(8)
@pytest.mark.parametrize("name", READ)
def test_recipes_are_read_as_they_were_before_there_were_references(name):
    load = load_engine_recipe if name.startswith("engine/") else load_recipe
    assert_holds(load(name).to_dict(), READ[name])


def test_older_recipes_spell_license_with_c():
    assert load_recipe("videollama2.1-7b/stage2", ["output.licence=apache-2.0"]).output.license == "apache-2.0"
    with pytest.raises(vr.ConfigurationError, match=r"Unknown setting output\.licence; did you mean output\.license"):
        load_recipe("videollama2.1-7b/stage2", ["output.licence=mit", "output.license=apache-2.0"])


def assert_holds(found, wanted):
    """Everything that is wanted is there, with numbers of the same type; settings may have come since."""
    for key, value in wanted.items():
        if isinstance(value, dict) and value:
            assert_holds(found[key], value)
        else:
            assert (found[key], type(found[key])) == (value, type(value)), key


def test_values_refer_to_others_and_to_the_environment(monkeypatch):
    monkeypatch.setenv("VIDEOREFER_N", "4")
    monkeypatch.setenv("VIDEOREFER_DATA", "a.json")
    recipe = load_recipe(
        "videollama2.1-7b/stage3",
        [
            "data.files=${oc.env:VIDEOREFER_DATA}",
            "data.eval_files=['a.json', {file: '${output.folder}/b.json', weight: '${oc.env:VIDEOREFER_N}'}]",
            "train.eval_every=${train.batch_size}",
            "train.batch_size=${oc.env:VIDEOREFER_N}",
            "data.media_root=${output.folder}/media",
            "name=${train.seed}",
            "description=costs \\${5}",
        ],
    )
    folder = "output/videollama2.1-7b/stage3"
    assert recipe.data.files == ["a.json"]
    assert recipe.data.eval_files == ["a.json", DataFile(f"{folder}/b.json", weight=4.0)]
    assert (recipe.train.eval_every, recipe.train.batch_size) == (4, 4)
    assert recipe.data.media_root == f"{folder}/media"
    assert (recipe.name, recipe.description) == ("42", "costs ${5}")


def test_what_an_environment_holds_is_not_written_into_what_is_published(monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEOREFER_SECRET", "hush")
    changes = ["name=${oc.env:VIDEOREFER_SECRET}", "description=${name}", "train.extra.run_name=a ${name}"]
    recipe = load_recipe("videollama2.1-7b/stage3", changes)
    assert (recipe.description, recipe.train.extra) == ("hush", {"run_name": "a hush"})
    said = recipe.to_dict(references=True)
    assert "hush" not in str(said)
    path = tmp_path / "again.yaml"
    path.write_text(yaml.safe_dump(said))
    assert load_recipe(path) == recipe
    recipe.name = "mine"  # what was changed since is what is written
    assert recipe.to_dict(references=True)["name"] == "mine"


@pytest.mark.parametrize("text", ["costs ${5} a piece", "${a", "a \\${b} \\\\"])
def test_texts_that_look_like_references_survive_writing(text, tmp_path):
    recipe = load_recipe("videollama2.1-7b/stage2")
    recipe.description = text
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    assert load_recipe(path) == recipe


def test_references_that_grow_beyond_bounds_are_refused():
    texts = {f"a{number}": f"${{.a{number - 1}}}" * 10 for number in range(1, 10)}
    sizes = yaml.safe_dump({"a0": "x" * 10, **texts}, default_flow_style=True, width=10**6).strip()
    with pytest.raises(vr.ConfigurationError, match="is too long with its references resolved"):
        load_recipe("tiny/stage0_tower", [f"pretrain.sizes={sizes}"])


def test_files_are_mixed_from_the_command_line():
    files = load_recipe("videollama2.1-7b/stage3", ["data.files=[{file: a.json, weight: 2}, b.json]"]).data.files
    assert files == [DataFile("a.json", weight=2.0), "b.json"]


def test_other_arguments_of_transformers_are_passed_on(tmp_path):
    from videorefer_plugin.training.arguments import training_arguments

    changes = ["train.extra={adam_epsilon: 1e-7, lr_scheduler_kwargs: {num_cycles: 2}}", "model.dtype=float32"]
    recipe = load_recipe("videollama2.1-7b/stage2", [*changes, f"output.folder={tmp_path}"])
    arguments = training_arguments(recipe)
    assert (arguments.adam_epsilon, arguments.lr_scheduler_kwargs) == (1e-7, {"num_cycles": 2})
    recipe.train.extra = {"logging_strategy": "sometimes"}
    with pytest.raises(vr.ConfigurationError, match=r"logging_strategy|sometimes"):
        training_arguments(recipe)


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
    ("data.files={file: a}", "data.files must be a list"),
    (
        "data.files=[{file: a, wieght: 2}]",
        r"data.files\[0\].wieght; did you mean data.files\[0\].weight",
    ),
    ("data.files=[{weight: 2}]", r"data.files\[0\].file is still to be given"),
    ("data.files=[{file: 3}]", r"data.files\[0\].file must be text"),
    ("data.files=[{file: ' '}]", r"data.files\[0\] is empty"),
    ("data.files=[{file: a, limit: 0}]", r"data.files\[0\].limit must be a whole number"),
    ("data.files=[{file: a, weight: 0}]", r"data.files\[0\].weight must be a finite number \(float\) above 0"),
    ("data.files=[{file: a, weight: -1}]", r"data.files\[0\].weight must be"),
    ("data.files=[{file: a, weight: .nan}]", r"data.files\[0\].weight must be"),
    ("data.files=[{file: a, weight: 1001}]", r"data.files\[0\].weight must be"),
    ("data.eval_files=[{file: a, limit: 1.5}]", r"data.eval_files\[0\].limit must be"),
    ("data.eval_files=a.json", "data.eval_files needs train.eval_every"),
    ("train.eval_every=5", "train.eval_every needs data.eval_files"),
    ("train.report_to=tensorbord", "train.report_to cannot be 'tensorbord'; did you mean tensorboard"),
    ("train.report_to=[none, wandb]", "train.report_to names 'none' together with others"),
    ("train.report_to=dvclive", "train.report_to names dvclive, which is not installed: pip install dvclive"),
    ("train.extra=[adam_beta2]", "train.extra must be settings by name"),
    ("train.extra={adam_beta3: 1}", r"no argument 'adam_beta3' .*did you mean train.extra.adam_beta2"),
    ("train.extra={learning_rate: 1}", "train.extra.learning_rate cannot be set there: set train.learning_rate"),
    ("train.extra={output_dir: x}", "set output.folder"),
    ("train.extra={bf16: true}", "set model.dtype"),
    ("train.extra={hub_token: x}", "videorefer publish"),
    ("train.extra={adam_beta2: high}", r"train.extra.adam_beta2 must be a finite number \(float\), but is 'high'"),
    ("train.extra={adam_beta2: true}", "train.extra.adam_beta2 must be"),
    ("train.extra={accelerator_config: 3}", "train.extra.accelerator_config must be settings or text"),
    ("name=${nothing}", "name: .*nothing"),
    ("name=${name}", "name: Recursive"),
    ("name=${oc.env:VIDEOREFER_NOTHING}", "name: .*VIDEOREFER_NOTHING"),
    ("name=${a", "name: "),
    ("name=???", "name is still to be given"),
    ("name=${train}", "name must be text"),
    ("name='" + "${train.seed}" * 1001 + "'", "refers to other values 1,001 times"),
    ("pretrain={}", "pretrain.part is still to be given"),
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
    ("train.learning_rates={1: 1.0}", "train.learning_rates"),
    ("train.parts=[]", "nothing would be trained.*connector"),
    ("train.scheduler=cosin", "train.scheduler must be one of .*'cosine'.*but is 'cosin'"),
    ("train.scheduler=warmup_stable_decay", "train.scheduler must be one of"),  # which needs settings of its own
    ("train.scheduler=reduce_lr_on_plateau", "train.scheduler must be one of"),  # which waits for an evaluation
    ("train.optimizer=adam", "train.optimizer must be one of .*'adamw_torch'.*but is 'adam'"),
    ("train.optimizer=galore_adamw", "train.optimizer=galore_adamw cannot be used here: "),  # settings of its own
    ("train.optimizer=apollo_adamw", "train.optimizer=apollo_adamw cannot be used here: "),
    ("train.optimizer=adamw_anyprecision", "train.optimizer=adamw_anyprecision cannot be used here: .*torchdistx"),
    ("train.parts=[connector, connector]", "train.parts names 'connector' twice"),
    ("train.learning_rates={vision_tower: 1}", "train.learning_rates has a rate for vision_tower, which is not train"),
    ('output.folder=""', "output.folder is empty"),
    ('output.folder=" "', "output.folder is empty"),
    ('data.files=""', r"data.files\[0\] is empty"),
    ("data.files=[a.json, ' ']", r"data.files\[1\] is empty"),
    ("model.dtype=bf16", "model.dtype must be one of .*'bfloat16'.*but is 'bf16'"),
    ("model.dtype=int8", "model.dtype"),
    ("model.attn_implementation=flash", "model.attn_implementation must be one of .*'sdpa'.*but is 'flash'"),
    ("data.mask_policy=drop", "data.mask_policy must be one of .*'keep'.*but is 'drop'"),
    ('output.folder="a\\0b"', "output.folder .* NUL"),
    ('name="a\\ud800"', "name .* lone surrogate"),
    ("learning_rate", "name=value"),
    ("name.first=1", "not a section"),
    ("train.parts=[connector", "train.parts is not YAML"),
    ("train.learning_rates={connector: 1, connector: 2}", "train.learning_rates .*the key 'connector' stands twice"),
    ("train.epochs=2026-13-45", "train.epochs is not YAML"),
    ("data.files=" + "[" * 1000, "nested too deeply"),
]


@pytest.mark.spread(9)
@pytest.mark.parametrize(("override", "message"), BAD, ids=[override[:40] for override, _ in BAD])
def test_settings_that_cannot_be(override, message):
    with pytest.raises(vr.ConfigurationError, match=message):
        load_recipe("videollama2.1-7b/stage3", [override])


# Of every number in a recipe, what is beyond its range by the least, and what is still in it.
LARGEST, TOO_LARGE = "2147483647", "2147483648"
COUNT = (["0", "-1", TOO_LARGE], ["1", LARGEST])
FROM_ZERO = (["-1e-9", "-1"], ["0", "1e-9", "1e9"])
LAYER = ([TOO_LARGE, f"-{TOO_LARGE}"], ["-1", "0"])
RANGES = {
    "model.max_tokens_per_region": COUNT,
    "model.vision_feature_layer": LAYER,
    "data.num_frames": (["0", "-1", "4097", "100000"], ["1", "4096"]),
    "data.max_frames_per_region": COUNT,
    "data.max_length": COUNT,
    "data.workers": (["-1", "1025"], ["0", "1024"]),
    "train.learning_rate": FROM_ZERO,
    "train.learning_rates.connector": FROM_ZERO,
    "train.global_batch_size": COUNT,
    "train.batch_size": COUNT,
    "train.epochs": (["0", "-1", "1000001"], ["1e-9", "0.5", "1000000"]),
    "train.max_steps": (["0", "-2", "-5", TOO_LARGE], ["1", LARGEST, "-1"]),
    "train.warmup": (["-0.1", "1.5", TOO_LARGE], ["0", "0.99", "1", "100"]),
    "train.weight_decay": FROM_ZERO,
    "train.max_grad_norm": FROM_ZERO,
    "train.letter_loss": (["-1e-9", "-1", "1000.1"], ["0", "1", "1000"]),
    "train.log_every": COUNT,
    "train.save_every": COUNT,
    "train.keep_checkpoints": COUNT,
    "train.eval_every": COUNT,
    "train.seed": (["-1", "4294967296"], ["0", "4294967295"]),
    "lora.rank": COUNT,
    "lora.alpha": COUNT,
    "lora.dropout": (["-0.1", "1"], ["0", "0.99"]),
    "pretrain.until": (["-1e-9", "1.001"], ["0", "0.99", "1"]),
    "pretrain.feature_layer": LAYER,
}
NO_NUMBER = [
    ".nan",
    ".inf",
    "-.inf",
    "nan",
    "true",
    "many",
    "١",
    "1_0e1",
    "[1]",
    "{a: 1}",
    "1" + "0" * 400,
    "0x" + "f" * 4000,
]


def base(setting):
    section = setting.split(".")[0]
    return {"lora": "videollama2.1-7b/stage3_lora", "pretrain": "tiny/stage0_tower"}.get(
        section, "videollama2.1-7b/stage3"
    )


def numbers(section=Recipe, where=""):
    """Settings that hold numbers, with the type of these."""
    for name, hint in typing.get_type_hints(section).items():
        kinds = typing.get_args(hint) or (hint,)
        inner = next((kind for kind in kinds if dataclasses.is_dataclass(kind)), None)
        if inner is not None:
            yield from numbers(inner, f"{where}{name}.")
        elif typing.get_origin(hint) is dict and float in kinds:
            yield f"{where}{name}.connector", float, False
        elif int in kinds or float in kinds:
            yield f"{where}{name}", int if int in kinds else float, type(None) in kinds


NUMBERS = {setting: (kind, optional) for setting, kind, optional in numbers()}


def test_every_number_has_a_range():
    assert set(NUMBERS) == set(RANGES)


@pytest.mark.spread(30)
@pytest.mark.parametrize(
    ("setting", "value"),
    [(setting, value) for setting, (bad, _) in RANGES.items() for value in [*bad, *NO_NUMBER]]
    + [(setting, "2.5") for setting, (kind, _) in NUMBERS.items() if kind is int]
    + [(setting, value) for setting, (_, optional) in NUMBERS.items() if not optional for value in ("null", "")],
    ids=lambda value: value[:20],
)
def test_numbers_out_of_range_are_refused_when_a_recipe_is_read(setting, value):
    with pytest.raises(vr.ConfigurationError) as caught:
        load_recipe(base(setting), [f"{setting}={value}"])
    kind, optional = NUMBERS[setting]
    assert str(caught.value).startswith(
        f"{setting} must be a {'whole' if kind is int else 'finite'} number ({kind.__name__})"
    )
    assert (", or null" in str(caught.value)) == optional
    assert len(str(caught.value)) < 300


@pytest.mark.spread(10)
@pytest.mark.parametrize(
    ("setting", "value"), [(setting, value) for setting, (_, good) in RANGES.items() for value in good]
)
def test_numbers_at_the_ends_of_their_range_are_taken(setting, value):
    beside = ["data.eval_files=a.json"] if setting == "train.eval_every" else []
    place = load_recipe(base(setting), [f"{setting}={value}", *beside])
    for name in setting.split("."):
        place = place[name] if isinstance(place, dict) else getattr(place, name)
    assert place == float(value)
    assert type(place) is NUMBERS[setting][0]


SIZES = {
    "hidden_size": ["0", "-4", "63", "2.5", ".nan", "wide", TOO_LARGE],
    "num_hidden_layers": ["0", "-1", "1025", ".inf"],
    "num_attention_heads": ["0", "3"],
    "hiden_size": ["64"],
}


@pytest.mark.spread(3)
@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SIZES.items() for value in values])
@pytest.mark.parametrize("recipe", ["tiny/stage0_tower", "tiny/stage0_language"])
def test_sizes_that_make_no_part(recipe, name, value):
    with pytest.raises(vr.ConfigurationError, match=r"pretrain\.sizes"):
        load_recipe(recipe, [f"pretrain.sizes.{name}={value}"])


@pytest.mark.parametrize(
    "setting", ["sizes.image_size=4", "sizes.patch_size=0", "feature_layer=5", "feature_layer=-6"]
)
def test_towers_that_cannot_be(setting):
    with pytest.raises(vr.ConfigurationError, match="pretrain"):
        load_recipe("tiny/stage0_tower", [f"pretrain.{setting}"])


@pytest.mark.parametrize("targets", ["[]", '["("]', '[""]'])
def test_layers_that_cannot_be_adapted(targets):
    with pytest.raises(vr.ConfigurationError, match=r"lora.targets"):
        load_recipe("videollama2.1-7b/stage3_lora", [f"lora.targets={targets}"])


def test_an_adapter_may_be_all_that_is_trained():
    train = load_recipe("videollama2.1-7b/stage3_lora", ["train.parts=[]"]).train
    assert (train.parts, train.learning_rates) == ([], {})  # the rates of the recipe go with its parts


def test_an_adapter_may_have_a_learning_rate_of_its_own():
    recipe = load_recipe("videollama2.1-7b/stage3_lora", ["train.learning_rates={language_model: 1e-4}"])
    assert recipe.train.learning_rates == {"language_model": 1e-4}


@pytest.mark.parametrize("name", ["adamw_torch", "adamw_torch_fused", "adafactor", "sgd", "adagrad", "rmsprop"])
def test_optimizers_of_installed_packages_are_taken(name):
    assert load_recipe("videollama2.1-7b/stage2", [f"train.optimizer={name}"]).train.optimizer == name


@pytest.mark.parametrize("name", ["videollama2.1-7b/stage2", "tiny/stage0_tower"])
def test_a_recipe_that_was_changed_is_checked_before_its_model_is_loaded(name, tmp_path):
    from videorefer_plugin.training.run import train

    recipe = load_recipe(name, ["data.files=[none.json]", f"output.folder={tmp_path / 'out'}"])
    recipe.train.max_steps = -5
    with pytest.raises(vr.ConfigurationError, match=r"train.max_steps .*but is -5"):
        train(recipe)


def test_optimizers_that_cannot_be_used_here_are_known_before_the_model_is_loaded(tmp_path):
    from videorefer_plugin.training.run import train

    changes = ["data.files=[none.json]", f"output.folder={tmp_path / 'out'}", "model.dtype=float32"]
    recipe = load_recipe("videollama2.1-7b/stage2", changes)
    recipe.train.optimizer = "galore_adamw"
    with pytest.raises(vr.ConfigurationError, match=r"train.optimizer=galore_adamw cannot be used here"):
        train(recipe)


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
        ("seed: 2026-13-45", "YAML"),
        ("a: " + "[" * 1000, "nested too deeply"),
        (b"name: \xff", "line 1: byte 0xff is not UTF-8"),
        ("name: a\nname: b", "(?s)the key 'name' stands twice in one section.*line 2, column 1"),
        ("train:\n  seed: 1\n  epochs: 1\n  'seed': 2", "(?s)the key 'seed' stands twice.*line 4, column 3"),
        ("train: {seed: 1}\nname: a\ntrain: {epochs: 2}", "(?s)the key 'train' stands twice.*line 3"),
    ],
    ids=lambda value: value[:20],
)
def test_files_that_are_no_recipes(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(vr.ConfigurationError, match=message):
        load_recipe(path)


def test_settings_may_be_merged_from_a_section_and_changed(tmp_path):
    path = tmp_path / "shared.yaml"
    path.write_text("train: {learning_rates: {<<: {object_encoder: 1}, object_encoder: 2}}\nmodel: {checkpoint: x}")
    assert load_recipe(path).train.learning_rates == {"object_encoder": 2}


def test_names_that_are_no_recipes(tmp_path):
    with pytest.raises(vr.ConfigurationError, match=r"did you mean 'videollama2.1-7b/stage2'"):
        load_recipe("videollama2.1-7b/stage22")
    for path in (tmp_path / "none.yaml", "a\0b.yaml"):
        with pytest.raises(vr.ConfigurationError, match="cannot be read"):
            load_recipe(path)


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


@pytest.fixture
def mixture(tmp_path):
    from tests import training_data

    records = training_data.all_kinds()
    training_data.write_media(tmp_path)
    words = training_data.write_json(tmp_path / "words.json", [{**records["text"], "id": n} for n in range(6)])
    objects = training_data.write_json(tmp_path / "objects $a.json", [records["compressed"], records["polygons"]])
    files = [{"file": str(words), "limit": 4, "weight": 0.5}, {"file": str(objects), "weight": 2.5}]
    changes = {"data.files": files, "data.eval_files": [str(words)], "train.eval_every": 2, "train.batch_size": 2}
    changes["train.global_batch_size"] = 2
    return [f"{name}={json.dumps(value)}" for name, value in changes.items()]


def test_a_check_says_and_draws_what_comes_in_an_epoch(mixture, tmp_path):
    command = ["train", "check", "videollama2.1-7b/stage3", *mixture]
    picture = tmp_path / "mixture.png"
    result = CliRunner().invoke(app, [*command, "--json", "--figure", str(picture)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert [(one["used"], one["samples"]) for one in found["files"]] == [(4, 2), (2, 5)]
    assert [one["samples"] for one in found["eval_files"]] == [6]
    assert (found["samples"], found["steps_per_epoch"], found["steps"]) == (7, 4, 4)
    assert picture.stat().st_size > 10_000
    table = CliRunner().invoke(app, command, env={"COLUMNS": "200"}).stdout
    assert "71.4" in table
    assert "4 optimizer step(s) an epoch, 4 in all" in table


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--show", "2"], "--show draws records of one file"),
        (["--figure", "a.foo"], "a.foo is not a name of a picture"),
        (["--figure", "nowhere/a.png"], "no folder 'nowhere'"),
        (['data.files=[{file: "FOLDER/words.json", weight: 0.01}]'], "leaves none of its 6 record"),
        (["data.files=[]"], "The recipe names no data"),
    ],
)
def test_mixtures_that_cannot_be_checked(mixture, tmp_path, arguments, message):
    arguments = [argument.replace("FOLDER", str(tmp_path)) for argument in arguments]
    settings = [one for one in arguments if "=" in one]
    result = CliRunner().invoke(
        app,
        [
            "train",
            "check",
            "videollama2.1-7b/stage3",
            *mixture,
            *settings,
            *(one for one in arguments if "=" not in one),
        ],
    )
    assert result.exit_code == 1
    assert message in " ".join(result.output.split())


def test_settings_are_for_recipes(mixture, tmp_path):
    for more in (["data.mode=single"], ["--figure", "a.png"]):
        result = CliRunner().invoke(app, ["train", "check", str(tmp_path / "words.json"), *more])
        assert result.exit_code == 1
        assert "is for a recipe, but" in " ".join(result.output.split())
