"""Saving and loading in this library's layout, copies, and the published sizes."""

import copy
import json
import pickle
import re

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

import videorefer_plugin as vr
from tests.checkpoints import (
    CHECKPOINT,
    assert_golden,
    assert_same_state,
    golden_case,
    golden_inputs,
    logits_of,
    original_name,
    read_json,
    warnings_logged,
)
from tests.conftest import GOLDENS, case_call
from videorefer_plugin.models.videollama2.configuration import count_visual_tokens

FOREIGN_NAMES = re.compile(r"mm_projector|region_encoder|^model\.(embed_tokens|layers|norm)\.|vision_tower\.vision_")


def make_config(**changes):
    text = {
        "model_type": "qwen2", "vocab_size": 370, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "num_key_value_heads": 1, "bos_token_id": 360, "eos_token_id": 362,
    }  # fmt: skip
    vision = {
        "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 42, "patch_size": 6,
    }  # fmt: skip
    ids = {"region_token_id": 363, "image_token_id": 364, "video_token_id": 365}
    return vr.VideoReferConfig(text_config=text, vision_config=vision, num_frames=4, **ids, **changes)


@pytest.fixture(params=["original", "fresh"])
def any_model(request):
    if request.param == "original":
        return AutoModel.from_pretrained(CHECKPOINT)
    torch.manual_seed(0)
    return vr.VideoReferForConditionalGeneration(make_config(projector_type="stc_connector")).eval()


@pytest.fixture
def inputs(any_model, processor):
    """Inputs for either model; the smaller one makes fewer tokens of fewer frames."""
    own = copy.deepcopy(processor)
    own.num_frames, own.projector_type = any_model.config.num_frames, any_model.config.projector_type
    return golden_inputs(own, "two_regions")


def saved_weights(folder):
    return {name: value for path in folder.glob("*.safetensors") for name, value in load_file(path).items()}


@pytest.mark.spread(1)
@pytest.mark.parametrize("way", ["plain", "state_dict", "sharded"])
def test_saved_in_our_layout(way, any_model, inputs, tmp_path):
    expected = logits_of(any_model, inputs)
    save = {
        "plain": lambda model, folder: model.save_pretrained(folder),
        "state_dict": lambda model, folder: model.save_pretrained(folder, state_dict=model.state_dict()),
        "sharded": lambda model, folder: model.save_pretrained(folder, max_shard_size="40KB"),
    }[way]
    save(any_model, tmp_path / "saved")
    assert (tmp_path / "saved" / "model.safetensors.index.json").is_file() == (way == "sharded")
    state = saved_weights(tmp_path / "saved")
    assert [name for name in state if FOREIGN_NAMES.search(name)] == []
    assert_same_state(state, any_model)
    config = read_json(tmp_path / "saved" / "config.json")
    assert config["model_type"] == "videorefer"
    assert config["architectures"] == ["VideoReferForConditionalGeneration"]

    with warnings_logged() as messages:
        again, info = AutoModel.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert messages == []
    assert not any(info.values())
    assert type(again) is vr.VideoReferForConditionalGeneration
    assert_same_state(again, any_model)
    assert torch.equal(logits_of(again, inputs), expected)
    assert again.generation_config.to_dict() == any_model.generation_config.to_dict()

    save(again, tmp_path / "again")
    assert_same_files(tmp_path / "again", tmp_path / "saved")


def assert_same_files(found, expected):
    """Byte by byte, but that configurations may have learnt the dtype of their parts."""
    files = {str(path.relative_to(expected)): path for path in expected.rglob("*") if path.is_file()}
    assert {str(path.relative_to(found)) for path in found.rglob("*") if path.is_file()} == set(files)
    for name, path in files.items():
        if name == "config.json":
            configs = [read_json(folder / name) for folder in (found, expected)]
            for config in configs:
                for part in ("text_config", "vision_config"):
                    config[part].pop("dtype", None)
            assert configs[0] == configs[1]
        else:
            assert (found / name).read_bytes() == path.read_bytes(), name


def test_saved_in_half_precision(processor, tmp_path):
    model = AutoModel.from_pretrained(CHECKPOINT, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert_same_state(again, model)
    inputs = golden_inputs(processor, "two_regions")
    assert torch.equal(logits_of(again, inputs), logits_of(model, inputs))


def test_the_base_of_an_original_checkpoint_is_not_needed_after_saving(processor, tmp_path, monkeypatch):
    AutoModel.from_pretrained(CHECKPOINT).save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    monkeypatch.chdir(tmp_path)
    assert_golden(AutoModel.from_pretrained("saved"), AutoProcessor.from_pretrained("saved"))


# --- processor -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [8, 6])
def test_processor_round_trip(frames, visuals, tmp_path):
    first = AutoProcessor.from_pretrained(
        CHECKPOINT, num_frames=frames, mask_policy="original", max_frames_per_region=3, image_aspect_ratio="pad"
    )
    first.save_pretrained(tmp_path / "once")
    second = AutoProcessor.from_pretrained(tmp_path / "once")
    assert type(second) is vr.VideoReferProcessor
    second.save_pretrained(tmp_path / "twice")
    assert_same_files(tmp_path / "twice", tmp_path / "once")
    for name in ("num_frames", "mask_policy", "max_frames_per_region", "image_aspect_ratio", "patch_size",
                 "projector_type", "padding_side", "max_tokens_per_region", "chat_template", "image_token_id",
                 "video_token_id", "region_token_id", "image_size", "grid_size"):  # fmt: skip
        assert getattr(second, name) == getattr(first, name), name
    assert (second.num_frames, second.mask_policy) == (frames, "original")
    call = case_call(golden_case("two_regions"), visuals)
    del call["mask_policy"]
    for processor in (second, pickle.loads(pickle.dumps(first)), copy.deepcopy(first)):
        assert_same_inputs(processor(**call), first(**call))
    content = [{"type": "video", "video": call["videos"][0]}, {"type": "text", "text": "What happens?"}]
    message = {"role": "user", "content": content}
    kwargs = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    assert_same_inputs(second.apply_chat_template([message], **kwargs), first.apply_chat_template([message], **kwargs))


def assert_same_inputs(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        assert torch.equal(found[name], expected[name]), name


def test_a_changed_chat_template_is_kept(processor, tmp_path):
    own = AutoProcessor.from_pretrained(CHECKPOINT)
    own.chat_template = "{{ messages[0]['content'] }}!"
    own.save_pretrained(tmp_path)
    again = AutoProcessor.from_pretrained(tmp_path)
    assert again.apply_chat_template([{"role": "user", "content": "Hello"}]) == "Hello!"


def test_tokenizer_alone_keeps_the_placeholders(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    for folder in (tmp_path, CHECKPOINT):
        tokenizer = AutoTokenizer.from_pretrained(folder)
        ids = tokenizer("What is <region>?")["input_ids"]
        assert ids.count(processor.region_token_id) == 1
        assert tokenizer.decode(ids, skip_special_tokens=True) == "What is ?"
    assert AutoTokenizer.from_pretrained(tmp_path).convert_tokens_to_ids("<video>") == processor.video_token_id


# --- copies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["deepcopy", "pickle"]
)
def test_copies_of_a_model(copied, processor):
    model = AutoModel.from_pretrained(CHECKPOINT)
    twin = copied(model)
    assert type(twin) is type(model)
    assert_same_state(twin, model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert_golden(twin, processor)


@pytest.mark.parametrize("source", ["original", "fresh", "default"])
def test_config_round_trips(source, tmp_path):
    config = {
        "original": lambda: AutoConfig.from_pretrained(CHECKPOINT),
        "fresh": lambda: make_config(object_encoder_config={"max_tokens_per_region": 6}, image_aspect_ratio="pad"),
        "default": vr.VideoReferConfig,
    }[source]()
    if source == "fresh":
        assert config.object_encoder_config.max_tokens_per_region == 6
    config.save_pretrained(tmp_path)
    copies = [
        vr.VideoReferConfig.from_dict(config.to_dict()),
        vr.VideoReferConfig(**json.loads(config.to_json_string(use_diff=False))),
        vr.VideoReferConfig.from_dict(json.loads(config.to_json_string())),
        vr.VideoReferConfig.from_pretrained(tmp_path),
        AutoConfig.from_pretrained(tmp_path),
        copy.deepcopy(config),
        pickle.loads(pickle.dumps(config)),
    ]
    expected = config.to_dict()
    for twin in copies:
        assert type(twin) is vr.VideoReferConfig
        found = twin.to_dict()
        for part in (expected, found):
            part.pop("_name_or_path", None)
        assert found == expected
    json.dumps(expected)


# --- the published sizes ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_size():
    with torch.device("meta"):
        return vr.VideoReferForConditionalGeneration(vr.VideoReferConfig())


def test_names_and_shapes_of_the_published_model(full_size):
    """What the original code would save, put together from its parts."""
    config = full_size.config
    with torch.device("meta"):
        language = transformers.Qwen2ForCausalLM(config.text_config)
        vision = transformers.SiglipVisionModel(config.vision_config)
    expected = {name: tuple(value.shape) for name, value in language.state_dict().items()}
    prefix = "model.vision_tower.vision_tower.vision_model."
    expected.update({prefix + name: tuple(value.shape) for name, value in vision.state_dict().items()})
    # The golden connector has widths 32 -> 48; squeezing goes to a quarter of the input's width.
    (connector,) = read_json(GOLDENS / "stc_connector" / "cases.json")["sets"]
    width = {32: 1152, 48: 3584, 8: 288, 12: 896}
    for name, shape in connector["state_dict_keys"].items():
        expected[f"model.mm_projector.{name}"] = tuple(width.get(size, size) for size in shape)
    for layer, columns in ((0, 1152), (2, 3584)):
        expected[f"model.region_encoder.feat_linear.{layer}.weight"] = (3584, columns)
        expected[f"model.region_encoder.feat_linear.{layer}.bias"] = (3584,)
    assert {original_name(name): tuple(value.shape) for name, value in full_size.state_dict().items()} == expected
    for name in ("post_layernorm.weight", "head.probe", "head.attention.in_proj_weight"):
        assert prefix + name in expected
    assert expected["model.embed_tokens.weight"] == expected["lm_head.weight"] == (152064, 3584)
    assert expected["model.layers.27.mlp.down_proj.weight"] == (3584, 18944)
    assert expected["model.mm_projector.sampler.0.weight"] == (3584, 3584, 2, 2, 2)


def test_the_tiny_checkpoint_has_the_published_models_names(full_size):
    """Layers aside."""
    tiny = {re.sub(r"layers\.\d+", "layers.N", name) for name in load_file(CHECKPOINT / "model.safetensors")}
    full = {re.sub(r"layers\.\d+", "layers.N", original_name(name)) for name in full_size.state_dict()}
    assert tiny == full


def test_number_of_parameters_and_tokens_of_the_published_model(full_size):
    whole, encoder = (
        sum(parameter.numel() for parameter in module.parameters()) for module in (full_size, full_size.object_encoder)
    )
    assert 8.43e9 < whole < 8.44e9
    assert encoder == 3584 * (1152 + 1 + 3584 + 1)
    assert full_size.config.grid_size == (27, 27)
    tokens = full_size.model.connector(torch.empty((1, 16, 27, 27, 1152), device="meta"))
    assert tokens.shape == (1, 8 * 13 * 13, 3584)
    assert count_visual_tokens(16, (27, 27), "stc_connector_v35") == 8 * 13 * 13
