"""A checkpoint that holds a part of a part is refused at every door; one that lacks a part is said to."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

import videorefer_plugin as vr
from tests.checkpoints import TOWER, change_json, load, make_checkpoint, make_tower, warnings_logged, weights, without
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.asking import load_model

ENCODER, TOWERS = "model.region_encoder.feat_linear.", "model.vision_tower.vision_tower.vision_model."


@pytest.fixture
def checkpoint(tmp_path):
    """Maker of original checkpoints beside a tower that is whole."""
    make_tower(tmp_path / TOWER.name)
    return lambda state=None, **kwargs: make_checkpoint(tmp_path / "checkpoint", state, **kwargs)


@pytest.fixture
def own(checkpoint, tmp_path):
    """A checkpoint in this library's layout."""
    folder = checkpoint()
    AutoModel.from_pretrained(folder).save_pretrained(tmp_path / "own")
    AutoProcessor.from_pretrained(folder).save_pretrained(tmp_path / "own")
    return tmp_path / "own"


def lacks(name):
    return lambda state: state.pop(name)


def renamed(name, other):
    return lambda state: state.update({other: state.pop(name)})


def holds(name, *shape):
    return lambda state: state.update({name: torch.zeros(shape)})


# What is wrong with the weights -> part that the message names, and more of its words.
HALVES = {
    "object encoder": (lacks(f"{ENCODER}2.bias"), "object encoder", "Missing: 1 (object_encoder.projector.2.bias)"),
    "tower": (
        lacks(f"{TOWERS}encoder.layers.1.mlp.fc1.weight"),
        "vision tower",
        "Missing: 1 (model.vision_tower.encoder.layers.1.mlp.fc1.weight)",
    ),
    "unused layer of the tower": (lacks(f"{TOWERS}post_layernorm.bias"), "vision tower", "Missing: 1"),
    "connector": (lacks("model.mm_projector.readout.0.bias"), "connector", "Missing: 1"),
    "language model": (lacks("model.layers.0.mlp.up_proj.weight"), "language model", "Missing: 1"),
    "head": (lacks("lm_head.weight"), "language model", "Missing: 1 (lm_head.weight)"),
    "words": (lacks("model.embed_tokens.weight"), "language model", "Missing: 1"),
    "misspelled": (
        renamed(f"{ENCODER}2.bias", "model.region_encoder.feat_liner.2.bias"),
        "object encoder",
        "Missing: 1 (object_encoder.projector.2.bias). Unexpected: 1 (model.region_encoder.feat_liner.2.bias)",
    ),
    "deeper than configured": (holds(f"{ENCODER}4.bias", 48), "object encoder", "Unexpected: 1"),
    "more layers than configured": (
        holds("model.layers.9.mlp.up_proj.weight", 64, 48),
        "language model",
        "Unexpected: 1 (model.language_model.layers.9.mlp.up_proj.weight)",
    ),
    "another shape": (
        holds(f"{ENCODER}2.bias", 7),
        "object encoder",
        "Of another shape: 1 (object_encoder.projector.2.bias is [7] instead of [48]). "
        "Half loaded it would answer wrongly",
    ),
    "another encoder": (
        lambda state: [state.update({key.replace("feat_linear", "mask_mlp"): state.pop(key)}) for key in list(state)
                       if "region_encoder" in key],
        "object encoder",
        "Missing: 4",
    ),
}  # fmt: skip
DOORS = {
    "AutoModel": AutoModel.from_pretrained,
    "AutoModelForImageTextToText": AutoModelForImageTextToText.from_pretrained,
    "class": vr.VideoReferForConditionalGeneration.from_pretrained,
    "load_model": load_model,
    "ask": lambda folder: vr.ask(folder, None, "What?", image=torch.zeros(3, 42, 42).numpy()),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize(("half", "files"), [*((half, 1) for half in HALVES), ("tower", 3)])
def test_a_part_of_a_part_is_refused(half, files, checkpoint):
    change, part, words = HALVES[half]
    state = weights()
    change(state)
    folder = checkpoint(state, files=files)
    with pytest.raises(vr.CheckpointError) as caught:
        AutoModel.from_pretrained(folder)
    for expected in (str(folder), f"its {part} of ", words, "Fetch or save the checkpoint again"):
        assert expected in str(caught.value)


@pytest.mark.spread(1)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("layout", ["own", "original"])
def test_at_every_door(layout, door, own, tmp_path):
    folder = {"own": own, "original": tmp_path / "checkpoint"}[layout]
    state = load_file(folder / "model.safetensors")
    state.pop(next(name for name in state if "_encoder." in name))
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(vr.CheckpointError, match="object encoder of 4 weights: Missing: 1"):
        DOORS[door](folder)


CONFIGURATIONS = {
    "too deep": (("object_encoder_config", "projector_depth"), 9, "object encoder of 18 weights: Missing: 14"),
    "not deep enough": (("object_encoder_config", "projector_depth"), 1, "object encoder of 2 weights: Unexpected: 2"),
    "tower too deep": (("vision_config", "num_hidden_layers"), 9, "vision tower of 160 weights: Missing: 96"),
    "tower cut": (("vision_config", "num_hidden_layers"), 2, "vision tower of 48 weights: Unexpected: 16"),
    "language model too wide": (("text_config", "intermediate_size"), 80, "language model.*Of another shape: 9"),
}


@pytest.mark.spread(2)
@pytest.mark.parametrize("way", ["file", "config"])
@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_an_edited_configuration(case, way, own, tmp_path):
    (section, name), value, words = CONFIGURATIONS[case]
    edited = shutil.copytree(own, tmp_path / "edited")
    sizes = json.loads((own / "config.json").read_text())[section]
    change_json(edited / "config.json", {section: {**sizes, name: value}})
    given = (edited, {}) if way == "file" else (own, {"config": AutoConfig.from_pretrained(edited)})
    with pytest.raises(vr.CheckpointError, match=words):
        AutoModel.from_pretrained(given[0], **given[1])


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["region_encoder"], ["object encoder"]),
        (["mm_projector"], ["connector"]),
        (["region_encoder", "mm_projector"], ["connector", "object encoder"]),
        (["model.layers", "model.norm", "embed_tokens", "lm_head"], ["language model"]),
        (["vision_tower"], []),  # which lies in a folder of its own
    ],
)
def test_a_part_that_is_missing_altogether_is_said_in_a_line(parts, said, checkpoint):
    folder = checkpoint(without(weights(), *parts))
    with warnings_logged() as messages:
        AutoModel.from_pretrained(folder)
    assert messages == [
        f"{folder} has no weights for the {part}: it is newly initialized. Train it before you use it."
        for part in said
    ]


def test_weights_of_another_model(checkpoint):
    folder = checkpoint({f"other.{number}": torch.zeros(3) for number in range(9)})
    with pytest.raises(vr.CheckpointError, match="not those of this model"):
        AutoModel.from_pretrained(folder)


def test_weights_of_another_shape_may_be_asked_to_start_anew(checkpoint):
    state = weights()
    holds(f"{ENCODER}2.bias", 7)(state)
    folder = checkpoint(state)
    model, info = AutoModel.from_pretrained(folder, ignore_mismatched_sizes=True, output_loading_info=True)
    assert {name for name, *_ in info["mismatched_keys"]} == {"object_encoder.projector.2.bias"}
    assert model.object_encoder.projector[2].bias.shape == (48,)
    lacks(f"{ENCODER}0.bias")(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(vr.CheckpointError, match="Missing: 1"):
        AutoModel.from_pretrained(folder, ignore_mismatched_sizes=True)


@pytest.mark.parametrize(
    "content", ["{", "{}", '{"metadata": {}}', '{"weight_map": {}}'], ids=["torn", "empty", "no map", "no metadata"]
)
def test_damaged_indexes(content, checkpoint):
    folder = checkpoint(files=3)
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(vr.CheckpointError, match="index"):
        AutoModel.from_pretrained(folder)


def test_a_file_that_the_index_names_is_gone(checkpoint):
    folder = checkpoint(files=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(vr.CheckpointError, match="model-00002-of-00003"):
        AutoModel.from_pretrained(folder)


def test_tied_words_are_not_missing(own, tmp_path):
    model = AutoModel.from_pretrained(own)
    model.config.tie_word_embeddings = model.config.text_config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(tmp_path / "tied")
    assert "lm_head.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    again = load(tmp_path / "tied")
    assert again.lm_head.weight is again.get_input_embeddings().weight


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_weights_that_are_placed_as_they_load(device_map, own, checkpoint, tmp_path):
    load(own, device_map=device_map)
    state = weights()
    lacks(f"{ENCODER}2.bias")(state)
    folder = make_checkpoint(tmp_path / "half", state)
    with pytest.raises(vr.CheckpointError, match="Missing: 1"):
        AutoModel.from_pretrained(folder, device_map=device_map)


def test_an_adapter_in_the_same_folder_hides_nothing(own, tmp_path):
    peft = pytest.importorskip("peft")
    wrapped = peft.get_peft_model(AutoModel.from_pretrained(own), peft.LoraConfig(r=2, target_modules=["q_proj"]))
    wrapped.save_pretrained(tmp_path / "adapter")
    for path in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(path, own)
    AutoModel.from_pretrained(own)
    state = load_file(own / "model.safetensors")
    lacks("object_encoder.projector.2.bias")(state)
    save_file(state, own / "model.safetensors", {"format": "pt"})
    with pytest.raises(vr.CheckpointError, match="Missing: 1"):
        AutoModel.from_pretrained(own)


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_a_host_that_lacks_weights_is_not_asked(tmp_path):
    row = BY_NAME["llava_onevision"]
    row.model().save_pretrained(tmp_path)
    row.processor().save_pretrained(tmp_path)
    load_model(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    lacks(next(name for name in state if "projector" in name))(state)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(vr.CheckpointError, match=r"are incomplete.*Missing: 1"):
        load_model(tmp_path)


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("half", ["missing", "misspelled", "another shape"])
def test_a_part_of_an_object_encoder_leaves_the_host_as_it_was(half, attached, tmp_path):
    row = BY_NAME["llava_onevision"]
    vr.attach_object_encoder(row.model()).save_object_encoder(tmp_path)
    path = tmp_path / "object_encoder.safetensors"
    state = {name: value + 1 for name, value in load_file(path).items()}
    change = {
        "missing": lacks("projector.0.bias"),
        "misspelled": renamed("projector.0.bias", "projector.0.bais"),
        "another shape": holds("projector.0.bias", 7),
    }[half]
    change(state)
    save_file(state, path, {"format": "pt"})
    model = vr.attach_object_encoder(row.model()) if attached else row.model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(vr.CheckpointError, match=r"projector\.0\.bias"):
        vr.load_object_encoder(model, tmp_path)
    after = model.state_dict()
    assert set(before) == set(after)
    assert all(torch.equal(before[name], after[name]) for name in before)
