"""Loading original checkpoints in all the shapes that they come in."""

import json
import os
import re
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import videorefer_plugin as vr
from tests.checkpoints import (
    CHECKPOINT,
    TOWER,
    assert_golden,
    assert_original_weights,
    assert_same_state,
    change_json,
    golden_inputs,
    golden_logits,
    logits_of,
    make_checkpoint,
    make_tower,
    original_state,
    read_json,
    tower_state,
    warnings_logged,
    weights,
    without,
)
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

AUTO_CLASSES = ["AutoModel", "AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModelForCausalLM"]
QUESTION = "<video>\nWhat is <region> doing in the video?"


def load(folder, **kwargs):
    """The model, after a check that no weight is missing, left over or of another shape, and nothing is complained of."""
    with warnings_logged() as messages:
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True, **kwargs)
    assert not any(info.values()), info
    assert messages == []
    return model.eval()


def vision_weights(folder):
    """The part of a text-and-vision folder, or all of a vision-only one, that is the tower's."""
    state = load_file(folder / "model.safetensors")
    return {name: value for name, value in tower_state(folder).items() if name in state or f"vision_model.{name}" in state}


# --- as it is --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model_class",
    [*(getattr(transformers, name) for name in AUTO_CLASSES), vr.VideoReferForConditionalGeneration],
    ids=lambda cls: cls.__name__,
)
def test_every_class_loads_the_original_checkpoint(model_class, processor):
    with warnings_logged() as messages:
        model, info = model_class.from_pretrained(CHECKPOINT, output_loading_info=True)
    assert type(model) is vr.VideoReferForConditionalGeneration
    assert {name: list(keys) for name, keys in info.items() if keys} == {}
    assert messages == []
    assert_original_weights(model)
    assert_golden(model, processor)


def test_generation_settings_are_kept():
    model = load(CHECKPOINT)
    saved = read_json(CHECKPOINT / "generation_config.json")
    saved.pop("transformers_version")
    assert {name: getattr(model.generation_config, name) for name in saved} == saved


@pytest.mark.parametrize(("dtype", "atol"), [(torch.bfloat16, 0.3), (torch.float16, 0.05)], ids=str)
def test_dtype(dtype, atol, processor):
    model = load(CHECKPOINT, dtype=dtype)
    assert {value.dtype for value in model.state_dict().values()} == {dtype}
    assert_same_state(original_state(model), {name: value.to(dtype) for name, value in weights().items()})
    assert_golden(model, processor, atol=atol)


def test_the_dtype_recorded_in_the_checkpoint_is_the_default(tmp_path):
    make_tower(tmp_path / TOWER.name)
    state = {name: value.half() for name, value in weights().items()}
    folder = make_checkpoint(tmp_path / "half", state, torch_dtype="float16")
    assert load(folder).dtype == torch.float16
    # ... whether or not the tower's weights, kept in another dtype, come from a folder of their own.
    folder = make_checkpoint(tmp_path / "towerless", without(state, "vision_tower"), torch_dtype="float16")
    model = load(folder)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float16}
    assert_same_state(original_state(model), state)


def test_config():
    config = AutoConfig.from_pretrained(CHECKPOINT)
    flat = read_json(CHECKPOINT / "config.json")
    assert type(config) is vr.VideoReferConfig
    assert config.model_type == "videorefer"
    assert config.get_text_config() is config.text_config
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                 "num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "bos_token_id", "eos_token_id",
                 "hidden_act", "initializer_range", "use_sliding_window"):  # fmt: skip
        assert getattr(config.text_config, name) == flat[name], name
    assert config.text_config.rope_parameters["rope_theta"] == flat["rope_theta"]
    tower = read_json(TOWER / "config.json")["vision_config"]
    assert {name: getattr(config.vision_config, name) for name in tower} == tower
    assert (config.vision_tower, config.vision_feature_layer) == (flat["mm_vision_tower"], -2)
    assert (config.projector_type, config.num_frames) == ("stc_connector_v35", 8)
    assert config.dtype == torch.float32
    ids = config.region_token_id, config.image_token_id, config.video_token_id
    assert ids == (flat["vocab_size"] - 1, flat["vocab_size"], flat["vocab_size"] + 1)
    encoder = config.object_encoder_config
    assert (encoder.vision_hidden_size, encoder.hidden_size, encoder.max_tokens_per_region) == (32, 48, 4)


def test_processor(processor):
    config = AutoConfig.from_pretrained(CHECKPOINT)
    assert type(processor) is vr.VideoReferProcessor
    for name in ("region_token_id", "image_token_id", "video_token_id", "num_frames", "image_aspect_ratio"):
        assert getattr(processor, name) == getattr(config, name), name
    assert (processor.image_size, processor.grid_size) == (42, config.grid_size)
    assert processor.tokenizer.convert_tokens_to_ids("<region>") == config.region_token_id
    assert AutoTokenizer.from_pretrained(CHECKPOINT).convert_tokens_to_ids("<region>") == config.region_token_id


@pytest.mark.parametrize(
    ("recorded", "used"), [("pad", "pad"), ("square", "square"), ("anyres", "square"), ("", "square"), (None, "square")]
)
def test_aspect_ratio_and_number_of_frames_come_from_the_checkpoint(recorded, used, tmp_path):
    make_tower(tmp_path / TOWER.name)
    folder = make_checkpoint(tmp_path / "checkpoint", image_aspect_ratio=recorded, num_frames=4)
    for found in (AutoConfig.from_pretrained(folder), AutoProcessor.from_pretrained(folder)):
        assert (found.image_aspect_ratio, found.num_frames) == (used, 4)
    assert AutoProcessor.from_pretrained(folder, num_frames=6).num_frames == 6


# --- the vision tower ------------------------------------------------------------------------------------------------


@pytest.fixture
def towerless(tmp_path):
    """Maker of checkpoints without the tower's weights, in a folder of their own."""

    def make(**config):
        return make_checkpoint(tmp_path / "models" / "towerless", without(weights(), "vision_tower"), **config)

    return make


def test_tower_beside_the_checkpoint(towerless, processor, tmp_path):
    folder = towerless()
    make_tower(tmp_path / "models" / TOWER.name)
    model = load(folder)
    assert_original_weights(model)
    assert_golden(model, processor)
    assert AutoProcessor.from_pretrained(folder).image_size == 42


def test_tower_in_the_working_directory_comes_first(towerless, tmp_path, monkeypatch):
    folder = towerless()
    make_tower(tmp_path / "models" / TOWER.name, scale=2.0)
    here = make_tower(tmp_path / "here" / TOWER.name, scale=3.0)
    monkeypatch.chdir(here.parent)
    assert_same_state(load(folder).model.vision_tower, vision_part(here))


def test_tower_at_an_absolute_path(towerless, tmp_path):
    tower = make_tower(tmp_path / "elsewhere" / "siglip", scale=2.0)
    model = load(towerless(mm_vision_tower=str(tower)))
    assert_same_state(model.model.vision_tower, vision_part(tower))
    assert model.config.vision_tower == str(tower)


@pytest.mark.parametrize("auto", [AutoModel, vr.VideoReferForConditionalGeneration], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("recorded", [TOWER.name, None])
def test_tower_override(auto, recorded, towerless, tmp_path):
    folder = towerless(mm_vision_tower=recorded)
    if recorded:
        make_tower(folder.parent / recorded)
    tower = make_tower(tmp_path / "elsewhere" / "siglip", scale=2.0)
    model = auto.from_pretrained(folder, vision_tower=tower)
    assert_same_state(model.model.vision_tower, vision_part(tower))
    assert AutoProcessor.from_pretrained(folder, vision_tower=tower).image_size == 42
    assert AutoConfig.from_pretrained(folder, vision_tower=str(tower)).vision_tower == str(tower)


def vision_part(folder):
    """What of a tower's folder goes into the model: of the full SigLIP, not the text part."""
    names = vr.VideoLLaMA2Model(vr.VideoReferConfig(**TINY_SIZES)).vision_tower.state_dict()
    return {name: value for name, value in tower_state(folder).items() if name in names}
