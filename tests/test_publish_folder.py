"""What a folder must hold to be published, and what of it is."""

import json
import shutil
import traceback

import pytest
from safetensors.torch import load_file, save_file

import videorefer_plugin as vr
from tests.conftest import CHECKPOINT
from videorefer_plugin.hub import inspect_folder, prepare_folder, publish
from videorefer_plugin.hub.client import explained
from videorefer_plugin.models.shims import (
    CONFIG_SHIMS,
    MODEL_AUTO_MAPS,
    PROCESSOR_AUTO_MAPS,
    PROCESSOR_SHIMS,
    config_shims,
    processor_shims,
)

SHARDS = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def saved(shared_model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "folder"
    shared_model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sharded(shared_model, processor, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sharded") / "folder"
    shared_model.save_pretrained(folder, max_shard_size="300KB")
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "folder")


def edit(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def rewrite(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def cut(path, length=None):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 if length is None else length])


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    "not there": (lambda f: shutil.rmtree(f), "is not there"),
    "a file": (lambda f: (shutil.rmtree(f), f.write_text("")), "is a file"),
    "empty": (lambda f: (shutil.rmtree(f), f.mkdir()), "holds nothing to publish"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    "truncated": (lambda f: cut(f / "model.safetensors"), "cut off"),
    "truncated header": (lambda f: cut(f / "model.safetensors", 50), "cut off"),
    "empty file": (lambda f: cut(f / "model.safetensors", 0), "cut off"),
    "a weight missing": (lambda f: rewrite(f, lambda s: s.pop("object_encoder.projector.0.weight")), "at random"),
    "the tower missing": (
        lambda f: rewrite(f, lambda s: [s.pop(key) for key in list(s) if "vision_tower" in key]),
        "at random",
    ),
    "another shape": (
        lambda f: rewrite(f, lambda s: s.update({"lm_head.weight": s["lm_head.weight"][:-1].clone()})),
        "asks for",
    ),
    "pickled weights": (lambda f: (f / "pytorch_model.bin").write_bytes(b"x"), "pytorch_model.bin: pickled"),
    "pickled something": (lambda f: (f / "extra.pt").write_bytes(b"x"), "extra.pt: pickled"),
    "adapter files of the original code": (lambda f: (f / "region_encoder.bin").write_bytes(b"x"), "pickled"),
    "no processor": (lambda f: (f / "processor_config.json").unlink(), r"processor\.save_pretrained"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "but no tokenizer"),
    "a damaged tokenizer": (lambda f: cut(f / "tokenizer.json"), "processor in .* does not load"),
    "another processor": (
        lambda f: edit(f / "processor_config.json", max_tokens_per_region=2),
        "is 2, but the model's",
    ),
    "other frames": (lambda f: edit(f / "processor_config.json", num_frames=4), "its num_frames is 4"),
    "a damaged configuration": (lambda f: cut(f / "config.json"), "config.json, line .*no JSON"),
    "a list for a configuration": (lambda f: (f / "config.json").write_text("[]"), "expected a JSON object"),
    "an impossible configuration": (
        lambda f: edit(f / "config.json", projector_type="mlp"),
        "not describe a model",
    ),
    "another kind of model": (lambda f: edit(f / "config.json", model_type="qwen2"), "'qwen2'"),
    "another architecture": (lambda f: edit(f / "config.json", architectures=["Other"]), "architecture 'Other'"),
    "a mistyped run summary": (
        lambda f: (f / "videorefer_run.json").write_text('{"stepz": 1}'),
        "did you mean 'steps'",
    ),
    "half an object encoder": (
        lambda f: (f / "object_encoder_config.json").write_text("{}"),
        "lacks object_encoder.s",
    ),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_would_not_load_is_refused(case, folder):
    damage, message = REFUSED[case]
    prepare_folder(folder, "me/model", dry_run=True)  # nothing is wrong with it before
    damage(folder)
    with pytest.raises(vr.PublishError, match=message):
        prepare_folder(folder, "me/model")
    if folder.is_dir():
        assert not (folder / "README.md").exists()


def test_the_original_layout_is_refused_with_the_way_out():
    with pytest.raises(vr.PublishError, match=r"AutoModel\.from_pretrained\(folder\)\.save_pretrained"):
        inspect_folder(CHECKPOINT)


SHARDED = {
    "a shard missing": (lambda f: sorted(f.glob("model-*"))[0].unlink(), "lacks model-00001"),
    "a shard of another model": (
        lambda f: shutil.copy(sorted(f.glob("model-*"))[1], sorted(f.glob("model-*"))[0]),
        "does not hold",
    ),
    "a truncated shard": (lambda f: cut(sorted(f.glob("model-*"))[1]), "cut off"),
    "an index without weights": (lambda f: (f / SHARDS).write_text("{}"), "has no weight_map"),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("case", SHARDED)
def test_incomplete_shards_are_refused(case, sharded, tmp_path):
    folder = shutil.copytree(sharded, tmp_path / "folder")
    damage, message = SHARDED[case]
    assert len(inspect_folder(folder).weights) > 2
    damage(folder)
    with pytest.raises(vr.PublishError, match=message):
        inspect_folder(folder)


def test_an_adapter_without_weights_is_refused(tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    with pytest.raises(vr.PublishError, match="lacks adapter_model"):
        inspect_folder(tmp_path)


def test_unknown_choices_for_the_card_are_refused(folder):
    with pytest.raises(vr.ConfigurationError, match="'auto', 'overwrite', 'keep'"):
        publish(folder, "me/model", card="maybe", dry_run=True)


def broken_upload(token):
    with explained("me/model", token):
        try:
            raise KeyError(f"Bearer {token}")
        except KeyError as error:
            raise ConnectionError("no answer") from error


def test_an_error_that_quotes_the_token_is_passed_on_without_it():
    token = "".join(["hf_", "secret"])  # as a whole it stands in no line of code that a traceback shows
    with pytest.raises(vr.PublishError, match="no answer") as caught:
        broken_upload(token)
    assert token not in "".join(traceback.format_exception(caught.value))


# --- what is published -----------------------------------------------------------------------------------------------


def test_what_a_run_leaves_behind_is_left_out_with_a_word(folder):
    state = (
        "training_args.bin",
        "optimizer.pt",
        "scheduler.pt",
        "rng_state_0.pth",
        "trainer_state.json",
        "optimizer.bin",
    )
    for name in (*state, "log.log", ".env", "evil.py", "model-00001-of-00002.safetensors"):
        (folder / name).write_bytes(b"x")
    (folder / "checkpoint-10").mkdir()
    (folder / "checkpoint-10" / "model.safetensors").write_bytes(b"x")
    contents = inspect_folder(folder)
    assert {*state, "log.log", ".env", "evil.py", "checkpoint-10/", "model-00001-of-00002.safetensors"} == set(
        contents.left_out
    )
    assert all(contents.left_out.values())
    assert not set(contents.files) & set(contents.left_out)
    assert contents.weights == ["model.safetensors"]


def test_templates_pictures_and_licenses_are_published(folder):
    (folder / "chat_templates").mkdir()
    (folder / "chat_templates" / "short.jinja").write_text("x")
    (folder / "assets").mkdir()
    (folder / "assets" / "dog.png").write_bytes(b"x")
    (folder / "LICENSE").write_text("mine")
    files = inspect_folder(folder).files
    assert {"chat_templates/short.jinja", "assets/dog.png", "LICENSE"} <= set(files)


def test_preparing_makes_a_folder_that_needs_no_more(folder):
    for name in (*CONFIG_SHIMS, *PROCESSOR_SHIMS):
        (folder / name).unlink()
    for name in ("config.json", "processor_config.json"):
        values = json.loads((folder / name).read_text())
        assert values.pop("auto_map")
        (folder / name).write_text(json.dumps(values))
    prepare_folder(folder, "me/model", dry_run=True)
    assert not (folder / "README.md").exists()
    first = prepare_folder(folder, "me/model")
    assert json.loads((folder / "config.json").read_text())["auto_map"] == MODEL_AUTO_MAPS["videorefer"]
    assert (folder / "modeling_videorefer.py").read_text() == CONFIG_SHIMS["modeling_videorefer.py"]
    assert (folder / "README.md").read_text() == first.card
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare_folder(folder, "me/model").sizes == first.sizes
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_paths_of_the_machine_are_not_published(folder):
    edit(folder / "config.json", vision_tower="/home/me/towers/siglip")
    plan = prepare_folder(folder, "me/model", dry_run=True)
    assert json.loads(plan.changed["config.json"])["vision_tower"] == "siglip"
    assert "/home/me" in (folder / "config.json").read_text()


def test_tied_embeddings_need_no_weights_of_their_own(shared_model, processor, tmp_path):
    config = type(shared_model.config).from_dict(shared_model.config.to_dict())
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = True
    type(shared_model)(config).save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    assert inspect_folder(tmp_path).kind == "model"


def test_the_bare_host_is_published_too(shared_model, processor, tmp_path):
    values = {
        k: v for k, v in shared_model.config.to_dict().items() if k not in ("object_encoder_config", "model_type")
    }
    values.pop("region_token_id")
    vr.VideoLLaMA2ForConditionalGeneration(vr.VideoLLaMA2Config(**values)).save_pretrained(tmp_path)
    parts = (processor.image_processor, processor.tokenizer)
    vr.VideoLLaMA2Processor(*parts, num_frames=8, patch_size=6).save_pretrained(tmp_path)
    plan = prepare_folder(tmp_path, "me/host")
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == MODEL_AUTO_MAPS["videollama2"]
    assert "AutoModelForImageTextToText" in plan.card


# --- what saving writes ----------------------------------------------------------------------------------------------


def test_auto_maps_agree_with_what_importing_registers():
    import transformers
    from transformers import AutoConfig

    for model_type, auto_map in MODEL_AUTO_MAPS.items():
        config = AutoConfig.for_model(model_type)
        for auto, place in auto_map.items():
            name = place.partition(".")[2]
            if auto == "AutoConfig":
                assert type(config).__name__ == name
            else:
                assert getattr(transformers, auto)._model_mapping[type(config)].__name__ == name
    for model_type, auto_map in PROCESSOR_AUTO_MAPS.items():
        registered = transformers.models.auto.processing_auto.PROCESSOR_MAPPING[type(AutoConfig.for_model(model_type))]
        (place,) = auto_map.values()
        assert list(auto_map) == ["AutoProcessor"]
        assert f"{place.partition('.')[0]}.py" in processor_shims(model_type)
        assert place.partition(".")[2] == registered.__name__


def test_every_shim_gives_the_classes_that_auto_maps_name():
    namespaces = {}
    texts: dict[str, str] = {}
    for model_type in MODEL_AUTO_MAPS:
        texts |= {**config_shims(model_type), **processor_shims(model_type)}
    for name, text in texts.items():
        exec(text, namespaces.setdefault(name.removesuffix(".py"), {}))
    for auto_map in (*MODEL_AUTO_MAPS.values(), *PROCESSOR_AUTO_MAPS.values()):
        for place in auto_map.values():
            module, _, name = place.partition(".")
            assert namespaces[module][name] is getattr(vr, name)


def test_a_stale_auto_map_does_not_survive_saving(shared_model, saved, tmp_path):
    model = type(shared_model).from_pretrained(saved)
    model.config.auto_map = {"AutoConfig": "someone/else--configuration.Config"}
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == MODEL_AUTO_MAPS["videorefer"]


def test_saving_changes_nothing_that_is_compared(processor, saved):
    assert not hasattr(processor, "auto_map")
    reloaded = type(processor).from_pretrained(saved)
    assert reloaded.to_dict() == processor.to_dict()
