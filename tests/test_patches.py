"""Patches for the original videollama2: compatibility with transformers 5, and the machinery of patches itself."""

import importlib.util
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from tests.videollama2_original import KINDS, STANDINS, TOWER, folders, load, on_path, qwen2, tiny_model
from videorefer_plugin import patches
from videorefer_plugin.models.cache import CACHE

NAMES = [
    "transformers_cache",
    "layernorm_layers",
    "flash_attention",
    "trainer_signatures",
    "deepspeed_import",
    "regions",
    "cache_name",
]
needs_no_deepspeed = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is not None, reason="deepspeed is there")
needs_no_flash = pytest.mark.skipif(importlib.util.find_spec("flash_attn") is not None, reason="flash-attn is there")


@pytest.fixture(params=KINDS)
def path(request):
    with on_path(*folders(request.param)):
        yield request.param


@pytest.fixture
def changed(tmp_path):
    """The stand-in with a piece of its text replaced."""

    def change(file, old, new):
        shutil.copytree(STANDINS / "videollama2", tmp_path / "videollama2")
        text = (tmp_path / "videollama2" / file).read_text()
        assert old in text
        (tmp_path / "videollama2" / file).write_text(text.replace(old, new))
        return tmp_path

    return change


def states():
    return {each.name: each.state for each in patches.status("videollama2")}


class Samples(torch.utils.data.Dataset):
    """A few samples to train on."""

    modality_lengths = (5, -5, 5, 5)
    mix_sampler_tag = False

    def __len__(self):
        return 4

    def __getitem__(self, index):
        ids = torch.tensor([1, -201, 2, 3, 4 + index])
        labels = torch.tensor([-100, -100, -100, 3, 4 + index])
        return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones(5, dtype=torch.long), "image": None}


def collate(samples):
    torch.manual_seed(0)
    batch = {
        name: torch.stack([sample[name] for sample in samples]) for name in ("input_ids", "labels", "attention_mask")
    }
    return {**batch, "images": [(torch.randn(2, 3, 42, 42), "video") for _ in samples]}


def tokenizer():
    return transformers.AutoTokenizer.from_pretrained(CHECKPOINT)


def make_trainer(tmp_path, collator=collate, model=None, named="tokenizer", **extra):
    settings = {"group_by_modality_length": False, "tune_mm_mlp_adapter": False, "lora_enable": False}
    args = transformers.TrainingArguments(
        output_dir=str(tmp_path / "run"),
        max_steps=2,
        save_steps=1,
        per_device_train_batch_size=2,
        learning_rate=1e-2,
        report_to=[],
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    for name, value in {**settings, "mm_projector_lr": None, **extra}.items():
        setattr(args, name, value)
    trainer_class = load("videollama2.videollama2_trainer").VideoLLaMA2Trainer
    model = tiny_model() if model is None else model
    data = {"train_dataset": Samples(), "eval_dataset": None, "data_collator": collator}
    return trainer_class(model=model, args=args, **{named: tokenizer()}, **data)  # as in the original's train.py


# --- the points of failure -------------------------------------------------------------------------------------------


def import_package(tmp_path):
    load()


def import_trainer(tmp_path):
    load("videollama2.videollama2_trainer")


def build_model(tmp_path):
    tiny_model()


def hand_over_a_tokenizer(tmp_path):
    trainer = make_trainer(tmp_path)
    assert trainer.tokenizer is trainer.processing_class is not None


def ask_for_sampler(tmp_path):
    assert make_trainer(tmp_path, named="processing_class").get_train_dataloader() is not None


def save_checkpoint(tmp_path):
    trainer = make_trainer(tmp_path, named="processing_class")
    trainer.create_optimizer_and_scheduler(num_training_steps=2)
    trainer._save_checkpoint(trainer.model, None)
    assert (tmp_path / "run" / "checkpoint-0" / "model.safetensors").is_file()


def save_connector(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    assert torch.equal(load("videollama2.videollama2_trainer").maybe_zero_3(weight), torch.ones(2))


def generate_with_a_cache(tmp_path):
    settings = {"do_sample": False, "max_new_tokens": 2, "output_logits": True, "return_dict_in_generate": True}
    model, ids = tiny_model(), torch.tensor([[1, 2, 3]])
    answer = model.generate(ids, **settings)
    whole = model(input_ids=torch.cat([ids, answer.sequences[:, :1]], dim=1))
    assert torch.allclose(answer.logits[1], whole.logits[:, -1], atol=1e-5), "generated from the last token alone"


def point_at_an_object(tmp_path):
    assert "region_masks" in inspect.signature(qwen2().forward).parameters


POINTS = [
    pytest.param("transformers_cache", import_package, ImportError, "TRANSFORMERS_CACHE", id="import"),
    pytest.param("layernorm_layers", import_trainer, ImportError, "ALL_LAYERNORM_LAYERS", id="import-trainer"),
    pytest.param("flash_attention", build_model, ImportError, "(?i)flash", id="build", marks=needs_no_flash),
    pytest.param("trainer_signatures", hand_over_a_tokenizer, TypeError, "'tokenizer'", id="tokenizer"),
    pytest.param("trainer_signatures", ask_for_sampler, TypeError, "_get_train_sampler", id="sampler"),
    pytest.param("trainer_signatures", save_checkpoint, TypeError, "_save_checkpoint", id="checkpoint"),
    pytest.param(
        "deepspeed_import", save_connector, ModuleNotFoundError, "deepspeed", id="connector", marks=needs_no_deepspeed
    ),
    pytest.param("regions", point_at_an_object, AssertionError, "region_masks", id="regions"),
    *(
        [pytest.param("cache_name", generate_with_a_cache, AssertionError, "from the last token alone", id="cache")]
        if CACHE == "cache"  # under its old name nothing fails
        else []
    ),
]


@pytest.mark.spread(3)
@pytest.mark.parametrize(("name", "use", "error", "message"), POINTS)
def test_fails_without_the_patch_and_works_with_it(name, use, error, message, path, tmp_path):
    patches.apply("videollama2", skip=(name,))
    assert states()[name] == "off"
    with pytest.raises(error, match=message):
        use(tmp_path)
    patches.undo("videollama2")
    for module in [module for module in sys.modules if module.split(".")[0] == "videollama2"]:
        del sys.modules[module]
    patches.apply("videollama2")
    use(tmp_path)
    assert states()[name] == "applied"


@pytest.mark.spread(2)
@pytest.mark.parametrize("settings", [{}, {"group_by_modality_length": True}, {"tune_mm_mlp_adapter": True}], ids=str)
def test_the_originals_trainer_trains_and_saves(settings, path, tmp_path):
    patches.apply("videollama2")
    trainer = make_trainer(tmp_path, **settings)
    before = trainer.model.model.mm_projector.weight.detach().clone()
    loss = trainer.train().training_loss
    assert 0 < loss < 20
    assert not torch.equal(trainer.model.model.mm_projector.weight, before)
    for step in (1, 2):
        folder = tmp_path / "run" / f"checkpoint-{step}"
        if settings.get("tune_mm_mlp_adapter"):
            saved = torch.load(folder / "mm_projector.bin", weights_only=True)
            assert set(saved) == {"model.mm_projector.weight", "model.mm_projector.bias"}
        else:
            assert (folder / "model.safetensors").is_file()


def connector_alone(tmp_path, also=(), **extra):
    model = tiny_model()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("mm_projector" in name or name in also)
    return make_trainer(tmp_path, model=model, tune_mm_mlp_adapter=True, max_steps=4, **extra)


def test_a_run_of_the_connector_alone_goes_on(path, tmp_path):
    patches.apply("videollama2")
    whole = connector_alone(tmp_path)
    whole.train()
    for step in (3, 4):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    resumed = connector_alone(tmp_path)
    resumed.train(resume_from_checkpoint=True)
    assert [entry["step"] for entry in resumed.state.log_history] == [
        entry["step"] for entry in whole.state.log_history
    ]
    assert resumed.state.global_step == 4
    found, wanted = resumed.model.state_dict(), whole.model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in wanted.items())
    assert not torch.equal(wanted["model.mm_projector.weight"], tiny_model().model.mm_projector.weight)


def test_a_checkpoint_of_the_connector_that_does_not_fit_is_named(path, tmp_path):
    patches.apply("videollama2")
    connector_alone(tmp_path).train()
    with pytest.raises(vr.CheckpointError, match=r"checkpoint-4.*trains lm_head\.weight.*tune_mm_mlp_adapter"):
        connector_alone(tmp_path, also=("lm_head.weight",)).train(resume_from_checkpoint=True)
    file = tmp_path / "run" / "checkpoint-4" / "mm_projector.bin"
    state = torch.load(file, weights_only=True)
    torch.save({**state, "model.mm_projector.bias": torch.zeros(3)}, file)
    with pytest.raises(vr.CheckpointError, match=r"model\.mm_projector\.bias.*another shape"):
        connector_alone(tmp_path).train(resume_from_checkpoint=True)
    for damaged in (b"", file.read_bytes()[:100]):
        file.write_bytes(damaged)
        with pytest.raises(vr.CheckpointError, match=r"mm_projector\.bin' is damaged.*the checkpoint before it"):
            connector_alone(tmp_path).train(resume_from_checkpoint=True)


def test_accumulated_gradients_are_those_of_the_batches_together(path, tmp_path):
    patches.apply("videollama2")
    weights, losses = [], []

    def alike(samples):
        return {**collate(samples), "images": [(torch.ones(2, 3, 42, 42), "video") for _ in samples]}

    for batches in (1, 2):
        sizes = {"per_device_train_batch_size": 4 // batches, "gradient_accumulation_steps": batches, "max_steps": 1}
        trainer = make_trainer(tmp_path, alike, tiny_model(), **sizes, max_grad_norm=0, optim="sgd")
        losses.append(trainer.train().training_loss)
        weights.append(trainer.model.lm_head.weight.detach().clone())
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert not torch.equal(weights[0], tiny_model().lm_head.weight)
    assert torch.allclose(*weights, atol=1e-5)


@needs_no_flash
def test_towers_are_genuine_and_their_attention_is_torchs(path):
    patches.apply("videollama2")
    encoder = load("videollama2.model.encoder")
    tower = tiny_model().get_vision_tower().vision_tower
    assert type(tower) is transformers.SiglipVisionModel
    assert isinstance(tower, encoder.SiglipVisionModel)
    assert not isinstance(tower, encoder.CLIPVisionModel)
    assert tower.config._attn_implementation == "sdpa"
    sizes = {"hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1, "image_size": 14, "patch_size": 7}
    config = transformers.CLIPVisionConfig(**sizes)
    config._attn_implementation = "flash_attention_2"
    assert encoder.CLIPVisionModel(config=config).config._attn_implementation == "sdpa"
    assert config._attn_implementation == "flash_attention_2"  # the caller's is left alone
    config._attn_implementation = "eager"
    assert encoder.CLIPVisionModel(config=config).config._attn_implementation == "eager"
    loaded = encoder.SiglipVisionModel.from_pretrained(TOWER, attn_implementation="flash_attention_2")
    assert loaded.config._attn_implementation == "sdpa"
    assert encoder.SiglipVisionModel.config_class is transformers.SiglipVisionConfig


@needs_no_deepspeed
def test_nobody_takes_the_stand_in_for_deepspeed():
    from accelerate.utils import is_deepspeed_available as accelerate_has
    from transformers.integrations import is_deepspeed_available as transformers_has

    with on_path():
        patches.apply("videollama2")
        assert importlib.util.find_spec("deepspeed") is not None
        assert not accelerate_has()
        assert not transformers_has()
        from deepspeed import zero
        from deepspeed.runtime.zero.partition_parameters import ZeroParamStatus

        with pytest.raises(ImportError, match="pip install deepspeed"):
            zero.GatheredParameters([])
        import deepspeed

        deepspeed.utils.set_z3_leaf_modules(torch.nn.Linear(1, 1), [torch.nn.Linear])  # in train.py, for Mixtral
        with pytest.raises(ImportError, match="pip install deepspeed"):
            _ = ZeroParamStatus.NOT_AVAILABLE
    assert importlib.util.find_spec("deepspeed") is None


def test_deepspeed_is_left_alone_where_it_is_installed(tmp_path):
    (tmp_path / "deepspeed.py").write_text("mark = 1\n")
    with on_path(tmp_path):
        patches.apply("videollama2")
        assert states()["deepspeed_import"] == "not needed"
        try:
            assert importlib.import_module("deepspeed").mark == 1
        finally:
            sys.modules.pop("deepspeed", None)


@pytest.mark.parametrize("undone", [False, True], ids=["imported", "undone"])
def test_auto_classes_give_our_models_while_the_original_is_imported(undone, path, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(CHECKPOINT, checkpoint)
    settings = json.loads((checkpoint / "config.json").read_text())
    # The tower's files lie elsewhere, as they do for whoever trained it.
    settings |= {"model_type": "videollama2_qwen2", "mm_vision_tower": str(TOWER)}
    (checkpoint / "config.json").write_text(json.dumps(settings))
    expected = transformers.AutoModelForImageTextToText.from_pretrained(checkpoint)
    patches.apply("videollama2")
    model_class = qwen2()
    if undone:
        patches.undo("videollama2")
    config = transformers.AutoConfig.from_pretrained(checkpoint)
    assert type(config) is model_class.config_class  # what the original's own loading asks for
    for auto in (transformers.AutoModel, transformers.AutoModelForImageTextToText):
        for given in ({}, {"config": config}):
            model = auto.from_pretrained(checkpoint, **given)
            assert type(model) is type(expected)
            assert model.config.to_dict() == expected.config.to_dict()
            assert all(map(torch.equal, model.state_dict().values(), expected.state_dict().values()))
    assert type(transformers.AutoProcessor.from_pretrained(checkpoint)) is vr.VideoReferProcessor
    assert transformers.AutoModelForCausalLM._model_mapping[type(config)] is model_class  # its own


# --- applying, undoing, refusing -------------------------------------------------------------------------------------


def test_each_patch_says_what_why_and_until_when():
    found = patches.status()
    assert [each.name for each in found] == NAMES
    for each in found:
        assert each.package == "videollama2"
        assert (each.state, each.detail) == ("off", "")
        assert min(len(each.target), len(each.why), len(each.until)) > 10
        folder = Path(patches.__file__).parent
        assert (folder / each.package / f"{each.name}.py").is_file()


def test_patches_wait_for_their_modules():
    with on_path(STANDINS):
        waiting = {each.name: each for each in patches.apply("videollama2")}
        assert waiting["regions"].state == "waiting"
        assert "videollama2.model.videollama2_qwen2" in waiting["regions"].detail
        load()
        assert states()["regions"] == states()["flash_attention"] == "applied"
        assert states()["trainer_signatures"] == "waiting"
        load("videollama2.videollama2_trainer")
        assert set(states().values()) <= {"applied", "not needed"}


def contents():
    """Everything that patches may touch."""
    encoder, trainer = load("videollama2.model.encoder"), load("videollama2.videollama2_trainer").VideoLLaMA2Trainer
    owners = [encoder, trainer, qwen2(), transformers.trainer, sys.modules["transformers"]]
    state = [dict(vars(owner)) for owner in owners]
    for each in state:  # caches, and names that transformers loads when they are looked at
        for name in list(each):
            if name.startswith("_abc") or (each is state[-1] and name != "TRANSFORMERS_CACHE"):
                del each[name]
    return [
        *state,
        trainer.__bases__,
        qwen2().__bases__,
        {name for name in sys.modules if name.startswith("deepspeed")},
    ]


def test_applying_twice_changes_nothing(path):
    first = patches.apply("videollama2")
    assert patches.apply("videollama2") == first
    load("videollama2.videollama2_trainer")
    before, reported = contents(), patches.status()
    assert patches.apply("videollama2") == reported
    assert contents() == before


def test_undoing_puts_back_exactly_what_was_there(path):
    patches.apply("videollama2")
    encoder, module = load("videollama2.model.encoder"), load("videollama2.videollama2_trainer")
    patched = contents()
    assert {each.state for each in patches.undo("videollama2")} == {"off"}
    bare = contents()
    assert bare != patched
    assert encoder.SiglipVisionModel is transformers.SiglipVisionModel
    assert encoder.CLIPVisionModel is transformers.CLIPVisionModel
    assert module.VideoLLaMA2Trainer.__bases__ == (transformers.Trainer,)
    assert list(inspect.signature(module.VideoLLaMA2Trainer._get_train_sampler).parameters) == ["self"]
    own = vars(qwen2())
    assert not {"from_pretrained", "prepare_inputs_labels_for_multimodal", "add_object_encoder"} & set(own)
    assert not any(hasattr(own[name], "__wrapped__") for name in ("__init__", "forward"))
    assert not hasattr(sys.modules["transformers"], "TRANSFORMERS_CACHE")
    assert not hasattr(transformers.trainer, "ALL_LAYERNORM_LAYERS")
    patches.undo("videollama2")  # once more does nothing
    assert contents() == bare
    patches.apply("videollama2")  # modules that were patched before may be patched again
    assert states()["regions"] == states()["flash_attention"] == "applied"
    assert [set(each) for each in contents()[:3]] == [set(each) for each in patched[:3]]
    patches.undo("videollama2")
    assert contents() == bare


def test_undone_patches_no_longer_wait():
    with on_path(STANDINS):
        patches.apply("videollama2")
        patches.undo("videollama2")
        with pytest.raises(ImportError, match="TRANSFORMERS_CACHE"):
            load()


def test_undoing_refuses_to_overwrite_a_change_by_somebody_else():
    with on_path(STANDINS):
        patches.apply("videollama2")
        load()
        encoder = load("videollama2.model.encoder")
        factory, encoder.SiglipVisionModel = encoder.SiglipVisionModel, object
        with pytest.raises(vr.PatchError, match=r"flash_attention.*SiglipVisionModel.*videollama2.model.encoder"):
            patches.undo("videollama2")
        assert states()["regions"] == "applied"  # nothing was undone
        encoder.SiglipVisionModel = factory
        patches.undo("videollama2")
        assert encoder.SiglipVisionModel is transformers.SiglipVisionModel


def test_a_package_that_is_imported_already_is_refused():
    with on_path(STANDINS):
        patches.apply("videollama2", skip=("flash_attention", "regions"))
        load()
        before = states()
        with pytest.raises(vr.PatchError, match=r"videollama2\.model\.encoder is imported already.*before the first"):
            patches.apply("videollama2")
        assert states() == before


REFUSALS = [
    (
        "model/encoder.py",
        "CLIPVisionModel, S",
        "CLIPVisionModel as Clip, S",
        "flash_attention",
        "have 'CLIPVisionModel'",
    ),
    (
        "videollama2_trainer.py",
        "class VideoLLaMA2Trainer",
        "class Trainer2",
        "trainer_signatures",
        "VideoLLaMA2Trainer",
    ),
    ("videollama2_trainer.py", "metrics=None", "scores=None", "trainer_signatures", r"take \(model, trial, metrics\)"),
    (
        "videollama2_trainer.py",
        "class VideoLLaMA2Trainer(Trainer)",
        "class Base(Trainer): ...\nclass VideoLLaMA2Trainer(Base)",
        "trainer_signatures",
        "bases are Base",
    ),
    (
        "model/videollama2_qwen2.py",
        "Config, Videollama2Qwen2ForCausalLM)",
        "Config, Videollama2Qwen2ForCausalLM)\ndel Videollama2Qwen2ForCausalLM",
        "regions",
        "have 'Videollama2Qwen2ForCausalLM'",
    ),
    ("model/videollama2_arch.py", "labels, images):", "labels, visuals):", "regions", r"images\), but it takes"),
    (
        "model/videollama2_qwen2.py",
        "inputs=None, images=None",
        "inputs=None",
        "regions",
        r"generate to take \(inputs, i",
    ),
]
if CACHE == "cache":
    REFUSALS += [
        (
            "model/videollama2_qwen2.py",
            "past_key_values=None, inputs_embeds=None",
            "inputs_embeds=None, past_key_values=None",
            "cache_name",
            r"take \(input_ids, past_key_values\)",
        ),
        (
            "model/videollama2_qwen2.py",
            "Videollama2Qwen2ForCausalLM(Qwen2ForCausalLM, ",
            "Videollama2Qwen2ForCausalLM(type('Base', (Qwen2ForCausalLM,), {}), ",
            "cache_name",
            "bases are Base, Videollama2MetaForCausalLM",
        ),
    ]


@pytest.mark.spread(3)
@pytest.mark.parametrize(("file", "old", "new", "name", "message"), REFUSALS)
def test_a_target_that_is_not_as_expected_is_refused(file, old, new, name, message, changed):
    with on_path(changed(file, old, new)):
        patches.apply("videollama2")
        module = "videollama2" if name != "trainer_signatures" else "videollama2.videollama2_trainer"
        for _ in range(2):  # trying again doesn't get past it
            with pytest.raises(vr.PatchError, match=message):
                load(module)
        refused = {each.name: each for each in patches.status()}[name]
        assert refused.state == "refused"
        assert name in refused.detail


def test_a_module_that_one_patch_refuses_is_patched_by_the_others_when_that_one_is_left_out(changed):
    with on_path(changed("model/videollama2_qwen2.py", "inputs=None, images=None", "inputs=None")):
        patches.apply("videollama2")
        with pytest.raises(vr.PatchError, match="regions"):
            load()
        assert states()["cache_name"] == "waiting"  # for the same module
        patches.undo("videollama2")
        patches.apply("videollama2", skip=("regions",))
        load()
        assert states()["regions"] == "off"
        assert states()["cache_name"] == ("applied" if CACHE == "cache" else "not needed")


def test_a_trainer_that_was_repaired_needs_no_patch(changed):
    folder = changed(
        "videollama2_trainer.py", "_get_train_sampler(self)", "_get_train_sampler(self, train_dataset=None)"
    )
    with on_path(folder):
        patches.apply("videollama2")
        trainer = load("videollama2.videollama2_trainer").VideoLLaMA2Trainer
        assert states()["trainer_signatures"] == "not needed"
        assert trainer.__bases__ == (transformers.Trainer,)


def test_the_cache_is_renamed_only_where_its_names_differ(path):
    patches.apply("videollama2")
    renamed = qwen2().__bases__[0] is not transformers.Qwen2ForCausalLM
    assert renamed == (CACHE == "cache")
    assert states()["cache_name"] == ("applied" if renamed else "not needed")


def test_a_model_that_takes_the_cache_under_its_new_name_needs_no_patch(changed):
    with on_path(
        changed("model/videollama2_qwen2.py", "        images=None,\n", "        images=None,\n        cache=None,\n")
    ):
        patches.apply("videollama2")
        assert qwen2().__bases__[0] is transformers.Qwen2ForCausalLM
        assert states()["cache_name"] == "not needed"


def test_names_that_transformers_still_has_need_no_patch(monkeypatch):
    monkeypatch.setattr(sys.modules["transformers"], "TRANSFORMERS_CACHE", "mine", raising=False)
    monkeypatch.setattr(transformers.trainer, "ALL_LAYERNORM_LAYERS", [], raising=False)
    with on_path():
        patches.apply("videollama2")
        assert states()["transformers_cache"] == states()["layernorm_layers"] == "not needed"
    assert sys.modules["transformers"].TRANSFORMERS_CACHE == "mine"


@pytest.mark.parametrize(("package", "version"), [("videollama2", "2.0"), ("transformers", "6.0.0")])
def test_versions_that_a_patch_is_not_for_are_refused(package, version, tmp_path):
    folder = tmp_path / f"{package}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    with on_path(tmp_path):
        with pytest.raises(vr.PatchError, match=rf"is for {package} .*but {version} is installed"):
            patches.apply("videollama2")
        assert set(states().values()) == {"off"}
        assert "deepspeed" not in sys.modules or importlib.util.find_spec("deepspeed").loader is not None


def test_unknown_names_are_refused():
    with pytest.raises(vr.PatchError, match=r"no patches for 'videollama3'.*'videollama2'"):
        patches.apply("videollama3")
    with pytest.raises(vr.PatchError, match="no patches for 'x'"):
        patches.undo("x")
    with pytest.raises(vr.PatchError, match="no patches for 'x'"):
        patches.status("x")
    with pytest.raises(vr.PatchError, match=r"skip names 'flash'.*flash_attention"):
        patches.apply("videollama2", skip=("flash",))
    assert set(states().values()) == {"off"}


# --- order of imports ------------------------------------------------------------------------------------------------

_PRELUDE = f"""
import sys
sys.path.insert(0, {str(STANDINS)!r})
import videorefer_plugin
videorefer_plugin.__path__.append({str(Path(__file__).parent.parent)!r})
from videorefer_plugin import patches
"""
_FIRST = """
patches.apply("videollama2")
assert not {"torch", "transformers", "huggingface_hub", "videollama2"} & set(sys.modules), "applying is light"
import inspect
import videollama2.videollama2_trainer
from transformers import Qwen2ForCausalLM
unneeded = ["cache_name"] if "past_key_values" in inspect.signature(Qwen2ForCausalLM.forward).parameters else []
assert [each.name for each in patches.status() if each.state != "applied"] == unneeded, patches.status()
"""
_LATER = """
import transformers
first = sys.modules["transformers"]
patches.apply("videollama2")
from transformers import TRANSFORMERS_CACHE
import transformers.processing_utils  # puts another module in the place of the first
assert sys.modules["transformers"] is not first, "the trap is gone: the patch need not wait for processing_utils"
from transformers import TRANSFORMERS_CACHE
patches.undo("videollama2")
assert not hasattr(sys.modules["transformers"], "TRANSFORMERS_CACHE") and not hasattr(first, "TRANSFORMERS_CACHE")
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [_FIRST, _LATER], ids=["before-transformers", "after-transformers"])
def test_patches_in_a_fresh_interpreter(code):
    command = [sys.executable, "-c", _PRELUDE + code]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
