"""Loading original checkpoints in all the shapes that they come in."""

import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

import videorefer_plugin as vr
from tests.checkpoints import (
    CHECKPOINT,
    TOWER,
    assert_golden,
    assert_original_weights,
    assert_same_state,
    golden_inputs,
    golden_logits,
    load,
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

AUTO_CLASSES = ["AutoModel", "AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModelForCausalLM"]
QUESTION = "<video>\nWhat is <region> doing in the video?"


# --- as it is --------------------------------------------------------------------------------------------------------


@pytest.mark.spread(1)
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


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """Layout -> a checkpoint in half precision."""
    place = tmp_path_factory.mktemp("halves")
    make_tower(place / TOWER.name)
    state = {name: value.half() for name, value in weights().items()}
    original = make_checkpoint(place / "half", state, torch_dtype="float16")
    load(original).save_pretrained(place / "own")
    return {"original": original, "own": place / "own"}


@pytest.mark.spread(1)
@pytest.mark.parametrize("layout", ["own", "original"])
@pytest.mark.parametrize("cls", [AutoModel, vr.VideoReferForConditionalGeneration], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, torch.float16),  # as recorded
        ({"dtype": "auto"}, torch.float16),
        ({"dtype": None}, torch.float16),
        ({"dtype": "bfloat16"}, torch.bfloat16),
        ({"dtype": torch.bfloat16}, torch.bfloat16),
        ({"torch_dtype": torch.float32}, torch.float32),
        ({"torch_dtype": "auto"}, torch.float16),
    ],
    ids=str,
)
def test_every_way_to_name_a_dtype(given, expected, cls, layout, halves):
    model = cls.from_pretrained(halves[layout], **given)
    assert {value.dtype for value in model.state_dict().values()} == {expected}
    assert model.config.dtype == model.config.text_config.dtype == expected


@pytest.mark.parametrize(("dtype", "error"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)], ids=str)
def test_dtype(dtype, error, processor):
    model = load(CHECKPOINT, dtype=dtype)
    assert_same_state(original_state(model), {name: value.to(dtype) for name, value in weights().items()})
    logits = logits_of(model, golden_inputs(processor, "two_regions"))
    assert logits.dtype == dtype
    assert (logits.float() - golden_logits("two_regions")).abs().mean() < error


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


@pytest.mark.spread(2)
@pytest.mark.parametrize(
    ("recorded", "used"),
    [("pad", "pad"), ("square", "square"), ("anyres", "square"), ("", "square"), (None, "square")],
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
    assert_same_state(load(folder).model.vision_tower, tower_state(here))


def test_tower_at_an_absolute_path(towerless, tmp_path):
    tower = make_tower(tmp_path / "elsewhere" / "siglip", scale=2.0)
    model = load(towerless(mm_vision_tower=str(tower)))
    assert_same_state(model.model.vision_tower, tower_state(tower))
    assert model.config.vision_tower == str(tower)


@pytest.mark.spread(2)
@pytest.mark.parametrize("auto", [AutoModel, vr.VideoReferForConditionalGeneration], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("recorded", [TOWER.name, None])
def test_tower_override(auto, recorded, towerless, tmp_path):
    folder = towerless(mm_vision_tower=recorded)
    if recorded:
        make_tower(folder.parent / recorded)
    tower = make_tower(tmp_path / "elsewhere" / "siglip", scale=2.0)
    model = auto.from_pretrained(folder, vision_tower=tower)
    assert_same_state(model.model.vision_tower, tower_state(tower))
    assert AutoProcessor.from_pretrained(folder, vision_tower=tower).image_size == 42
    assert AutoConfig.from_pretrained(folder, vision_tower=str(tower)).vision_tower == str(tower)


def test_a_vision_only_tower(towerless, tmp_path):
    """As a SigLIP vision model is saved today, and as it was by older versions, with a prefix."""
    transformers.SiglipVisionModel.from_pretrained(TOWER).save_pretrained(tmp_path / "today")
    shutil.copy(TOWER / "preprocessor_config.json", tmp_path / "today")
    shutil.copytree(tmp_path / "today", tmp_path / "older")
    state = {f"vision_model.{name}": value for name, value in tower_state(TOWER).items()}
    save_file(state, tmp_path / "older" / "model.safetensors", {"format": "pt"})
    folder = towerless()
    for name in ("today", "older"):
        assert read_json(tmp_path / name / "config.json")["model_type"] == "siglip_vision_model"
        model = load(folder, vision_tower=tmp_path / name)
        assert_original_weights(model)
        assert AutoProcessor.from_pretrained(folder, vision_tower=tmp_path / name).image_size == 42


def test_weights_in_the_checkpoint_count_more_than_those_beside_it(tmp_path):
    make_tower(tmp_path / TOWER.name, scale=2.0)
    assert_original_weights(load(make_checkpoint(tmp_path / "checkpoint")))


def test_a_few_missing_weights_are_not_filled_from_the_tower(tmp_path):
    make_tower(tmp_path / TOWER.name)
    folder = make_checkpoint(tmp_path / "checkpoint", without(weights(), "vision_model.post_layernorm"))
    with pytest.raises(vr.CheckpointError, match=r"vision tower of 64 weights: Missing: 2 \(.*post_layernorm"):
        AutoModel.from_pretrained(folder)


def test_tower_nowhere_to_be_found(towerless):
    folder = towerless()
    for load_any in (AutoModel, AutoConfig):
        with pytest.raises(vr.CheckpointError, match=f"(?s)'{TOWER.name}' was found neither.*vision_tower="):
            load_any.from_pretrained(folder)


def test_the_published_tower_is_known_without_its_folder(tmp_path):
    """Offline, and with nothing in a cache."""
    name = "google/siglip-so400m-patch14-384"
    folder = make_checkpoint(tmp_path / "checkpoint", mm_vision_tower=name, mm_hidden_size=1152)
    config = AutoConfig.from_pretrained(folder)
    assert config.vision_config.to_diff_dict() == vr.VideoReferConfig().vision_config.to_diff_dict()
    assert config.vision_tower == name
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    tower = model.model.vision_tower
    assert tower.embeddings.position_embedding.weight.shape == (27 * 27, 1152)
    assert tower.encoder.layers[26].mlp.fc1.weight.shape == (4304, 1152)
    processor = AutoProcessor.from_pretrained(folder)
    assert (processor.image_size, processor.grid_size) == (384, (27, 27))


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.spread(2)
@pytest.mark.parametrize("safetensors", [True, False], ids=["safetensors", "bin"])
@pytest.mark.parametrize("files", [1, 3])
def test_weights_in_other_files(safetensors, files, processor, tmp_path):
    make_tower(tmp_path / TOWER.name)
    folder = make_checkpoint(tmp_path / "checkpoint", files=files, safetensors=safetensors)
    model = load(folder)
    assert_original_weights(model)
    assert_golden(model, processor)


def test_shards_without_tower(towerless, tmp_path):
    make_tower(tmp_path / "models" / TOWER.name)
    folder = make_checkpoint(tmp_path / "sharded", without(weights(), "vision_tower"), files=2, safetensors=False)
    assert_original_weights(load(folder, vision_tower=tmp_path / "models" / TOWER.name))


def test_tied_embeddings(processor, tmp_path):
    make_tower(tmp_path / TOWER.name)
    state = without(weights(), "lm_head")
    tied = load(make_checkpoint(tmp_path / "tied", state, tie_word_embeddings=True))
    assert tied.lm_head.weight is tied.get_input_embeddings().weight
    state["lm_head.weight"] = state["model.embed_tokens.weight"].clone()
    untied = load(make_checkpoint(tmp_path / "untied", state))
    inputs = golden_inputs(processor, "two_regions")
    logits = logits_of(tied, inputs)
    assert torch.equal(logits, logits_of(untied, inputs))
    tied.save_pretrained(tmp_path / "saved")
    assert "lm_head.weight" not in load_file(tmp_path / "saved" / "model.safetensors")
    again = load(tmp_path / "saved")
    assert again.lm_head.weight is again.get_input_embeddings().weight
    assert torch.equal(logits_of(again, inputs), logits)


# --- CLIP ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP tower's folder."""
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, image_size=42, patch_size=6
    )
    folder = tmp_path_factory.mktemp("towers") / "clip-tiny-patch6-42"
    transformers.CLIPVisionModel(config).save_pretrained(folder)
    transformers.CLIPImageProcessor(size={"shortest_edge": 42}, crop_size={"height": 42, "width": 42}).save_pretrained(
        folder
    )
    return folder


@pytest.mark.parametrize("inside", [True, False], ids=["with_tower", "without_tower"])
def test_clip(inside, clip, tmp_path):
    tower = transformers.CLIPVisionModel.from_pretrained(clip).eval()
    state = without(weights(), "vision_tower")
    if inside:
        prefix = "model.vision_tower.vision_tower.vision_model."
        state.update({f"{prefix}{name}": value for name, value in tower_state(clip).items()})
    shutil.copytree(clip, tmp_path / clip.name)
    folder = make_checkpoint(tmp_path / "checkpoint", state, mm_vision_tower=clip.name)
    model, processor = load(folder), AutoProcessor.from_pretrained(folder)
    assert_same_state(model.model.vision_tower, tower)
    inputs = golden_inputs(processor, "two_regions")
    pixels = inputs["pixel_values_videos"][0]
    with torch.no_grad():
        features = model.model.get_frame_features(pixels)
        expected = tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]  # the first is the class token
    torch.testing.assert_close(features.flatten(1, 2), expected)
    logits = logits_of(model, inputs)
    assert logits.shape == (*inputs["input_ids"].shape, 364)
    assert logits.isfinite().all()
    assert processor.image_processor.image_mean == transformers.CLIPImageProcessor().image_mean
    model.save_pretrained(tmp_path / "saved")
    assert_same_state(load(tmp_path / "saved"), model)
