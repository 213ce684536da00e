"""Loading checkpoints that hold a part of the model: adapters of training stages, and VideoLLaMA2.1."""

import json
import re
import shutil

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoProcessor, AutoTokenizer

import videorefer_plugin as vr
from tests.checkpoints import (
    CHECKPOINT,
    TINY,
    TOWER,
    assert_golden,
    assert_original_weights,
    assert_same_state,
    case_call,
    change_json,
    golden_case,
    golden_inputs,
    golden_logits,
    load,
    logits_of,
    make_checkpoint,
    make_tower,
    original_state,
    read_json,
    warnings_logged,
    weights,
    without,
)

# --- folders of adapters ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A plain Qwen2 checkpoint whose embedding table is longer than its tokenizer, like the published ones."""
    torch.manual_seed(1)
    flat = read_json(CHECKPOINT / "config.json")
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
             "max_position_embeddings", "rope_theta", "bos_token_id", "eos_token_id")  # fmt: skip
    config = transformers.Qwen2Config(**{name: flat[name] for name in names}, vocab_size=384)
    folder = tmp_path_factory.mktemp("bases") / "qwen2-tiny"
    model = transformers.Qwen2ForCausalLM(config)
    model.generation_config.update(repetition_penalty=1.05, do_sample=True, top_k=20)
    model.save_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(CHECKPOINT)
    tokenizer.save_pretrained(folder)
    return folder


def make_stage(folder, part, base_name, prefix=""):
    """A folder as an original training stage leaves it."""
    folder.mkdir(parents=True)
    shutil.copy(CHECKPOINT / "config.json", folder)
    change_json(folder / "config.json", {"_name_or_path": base_name, "architectures": ["Qwen2ForCausalLM"]})
    state = {f"{prefix}{name}": value for name, value in weights().items() if f"model.{part}." in name}
    torch.save(state, folder / f"{part}.bin")
    return folder


def load_adapters(folder, new, **kwargs):
    """The model, after a check that just these parts are said to be newly initialized."""
    with warnings_logged() as messages:
        model, info = AutoModel.from_pretrained(folder, output_loading_info=True, **kwargs)
    said = [message for message in messages if "newly initialized" in message]
    assert len(said) == len(new)
    assert all(part in message for part, message in zip(new, said, strict=True)), said
    assert {name.split(".")[0 if "object_encoder" in name else 1] for name in info["missing_keys"]} == {
        part.replace(" ", "_") for part in new
    }
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    return model.eval()


def assert_stage(model, base, parts):
    """The base's language model, cut to the adapter's vocabulary; the given parts as they were saved."""
    state = original_state(model)
    language = load_file(base / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        language[name] = language[name][:364]
    expected = {
        **language,
        **{name: value for name, value in weights().items() if any(part in name for part in parts)},
    }
    assert_same_state({name: state[name] for name in expected}, expected)
    rest = {name: value for name, value in state.items() if name not in expected}
    assert all(value.isfinite().all() for value in rest.values())
    assert model.config.text_config.vocab_size == 364
    assert model.lm_head.out_features == model.get_input_embeddings().num_embeddings == 364


@pytest.mark.spread(2)
@pytest.mark.parametrize("recorded", ["beside", "absolute", "override", "working directory"])
def test_stage_1_on_its_base(recorded, base, tmp_path, monkeypatch, processor):
    make_tower(tmp_path / TOWER.name)
    names = {"beside": base.name, "absolute": str(base), "override": "gone", "working directory": f"here/{base.name}"}
    if recorded == "beside":
        shutil.copytree(base, tmp_path / base.name)
    if recorded == "working directory":
        monkeypatch.chdir(shutil.copytree(base, tmp_path / "here" / base.name).parents[1])
    folder = make_stage(tmp_path / "stage1", "mm_projector", names[recorded])
    kwargs = {"base_model": base} if recorded == "override" else {}
    model = load_adapters(folder, new=["object encoder"], **kwargs)
    assert_stage(model, base, ["mm_projector", "vision_tower"])
    logits = logits_of(model, golden_inputs(processor, "no_region"))
    assert logits.shape[-1] == 364
    assert logits.isfinite().all()
    assert model.config.vision_tower == TOWER.name
    assert model.generation_config.top_k == 20


def test_stage_2_on_stage_1(base, tmp_path, processor):
    make_tower(tmp_path / TOWER.name)
    make_stage(tmp_path / "stage1", "mm_projector", str(base))
    folder = make_stage(tmp_path / "stage2", "region_encoder", "stage1")
    model = load_adapters(folder, new=[])
    assert_stage(model, base, ["mm_projector", "region_encoder", "vision_tower"])
    assert logits_of(model, golden_inputs(processor, "two_regions")).isfinite().all()
    assert_same_state(load_adapters(folder, new=[], base_model=tmp_path / "stage1"), model)


@pytest.mark.parametrize("prefix", ["", "base_model.model."], ids=["plain", "lora"])
def test_stage_2_on_a_full_checkpoint(prefix, tmp_path, processor):
    state = weights()
    for name in list(state):
        if "region_encoder" in name:
            state[name] = state[name] + 1  # so that the adapter's are told apart
    make_tower(tmp_path / TOWER.name)
    make_checkpoint(tmp_path / "full", state)
    folder = make_stage(tmp_path / "stage2", "region_encoder", "full", prefix)
    model = load_adapters(folder, new=[])
    assert_original_weights(model)
    assert_golden(model, processor)


def test_adapters_saved_as_a_model_need_no_base_any_more(base, tmp_path):
    make_tower(tmp_path / TOWER.name)
    folder = make_stage(tmp_path / "stage1", "mm_projector", str(base))
    model = AutoModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "alone" / "saved")
    assert_same_state(load(tmp_path / "alone" / "saved"), model)


def test_base_models_that_cannot_be_used(base, tmp_path):
    make_tower(tmp_path / TOWER.name)
    folder = make_stage(tmp_path / "stage1", "mm_projector", "gone")
    with pytest.raises(vr.CheckpointError, match=r"(?s)base model 'gone'.*base_model="):
        AutoModel.from_pretrained(folder)
    change_json(folder / "config.json", {"_name_or_path": None})
    with pytest.raises(vr.CheckpointError, match="does not say what they belong to"):
        AutoModel.from_pretrained(folder)
    with pytest.raises(vr.CheckpointError, match="base_model= is for folders that hold nothing but adapters"):
        AutoModel.from_pretrained(CHECKPOINT, base_model=base)


# --- VideoLLaMA2.1, which VideoRefer was trained from ----------------------------------------------------------------


@pytest.fixture
def videollama2(tmp_path):
    """A VideoLLaMA2.1 checkpoint: no region encoder, no <region>, a padded vocabulary, another initializer_range."""
    make_tower(tmp_path / TOWER.name)
    state = without(weights(), "region_encoder")
    generator = torch.Generator().manual_seed(0)
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = torch.cat([state[name][:363], torch.randn(21, 48, generator=generator)])
    folder = make_checkpoint(
        tmp_path / "videollama2",
        state,
        model_type="videollama2_qwen2",
        architectures=["Videollama2Qwen2ForCausalLM"],
        mm_region_encoder_type=None,
        vocab_size=384,
        initializer_range=0.05,
    )
    tokenizer = read_json(folder / "tokenizer.json")
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if token["content"] != "<region>"]
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    change_json(folder / "added_tokens.json", {"<region>": None})
    decoder = read_json(folder / "tokenizer_config.json")["added_tokens_decoder"]
    decoder.pop("363")
    change_json(folder / "tokenizer_config.json", {"added_tokens_decoder": decoder})
    assert len(AutoTokenizer.from_pretrained(folder)) == 363
    return folder


def test_videollama2_becomes_videorefer_with_a_new_object_encoder(videollama2, processor):
    with warnings_logged() as messages:
        model, info = AutoModel.from_pretrained(videollama2, output_loading_info=True)
    (message,) = messages
    assert re.fullmatch(r".*videollama2 has no weights for the object encoder: it is newly initialized\. .*", message)
    assert type(model) is vr.VideoReferForConditionalGeneration
    encoder = {name: value for name, value in model.state_dict().items() if name.startswith("object_encoder.")}
    assert set(info["missing_keys"]) == set(encoder)
    assert not info["unexpected_keys"]
    drawn = torch.cat([value.flatten() for name, value in encoder.items() if name.endswith(".weight")])
    assert 0.045 < drawn.std() < 0.055
    assert abs(drawn.mean()) < 0.005
    assert all(not value.any() for name, value in encoder.items() if name.endswith(".bias"))

    state = original_state(model)
    saved = load_file(videollama2 / "model.safetensors")
    assert_same_state({name: state[name] for name in saved}, saved)
    assert model.config.text_config.vocab_size == 384
    logits = logits_of(model, golden_inputs(processor, "no_region"))
    torch.testing.assert_close(logits[..., :363], golden_logits("no_region")[..., :363], atol=2e-4, rtol=0)


def test_a_question_with_a_region_runs_on_videollama2(videollama2, processor):
    model, own = AutoModel.from_pretrained(videollama2), AutoProcessor.from_pretrained(videollama2)
    assert type(own) is vr.VideoReferProcessor
    ids = {name: getattr(model.config, name) for name in ("region_token_id", "image_token_id", "video_token_id")}
    assert ids == {"region_token_id": 363, "image_token_id": 364, "video_token_id": 365}
    assert {name: getattr(own, name) for name in ids} == ids
    for text, name in (("<region>", "region_token_id"), ("<image>", "image_token_id"), ("<video>", "video_token_id")):
        assert own.tokenizer.convert_tokens_to_ids(text) == ids[name]
    inputs = golden_inputs(own, "two_regions")
    assert torch.equal(inputs["input_ids"], golden_inputs(processor, "two_regions")["input_ids"])
    assert logits_of(model, inputs).isfinite().all()
    assert model.generate(**inputs, max_new_tokens=3).shape[1] == inputs["input_ids"].shape[1] + 3
    model.object_encoder.load_state_dict(AutoModel.from_pretrained(CHECKPOINT).object_encoder.state_dict())
    logits = logits_of(model, inputs)
    torch.testing.assert_close(logits[..., :363], golden_logits("two_regions")[..., :363], atol=2e-4, rtol=0)


def test_videollama2_without_a_tokenizer(videollama2):
    """Ids follow those of Qwen2's tokenizer, if the vocabulary is as long."""
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json"):
        (videollama2 / name).unlink()
    assert AutoConfig.from_pretrained(videollama2).region_token_id == 384
    change_json(videollama2 / "config.json", {"vocab_size": 152064})
    config = AutoConfig.from_pretrained(videollama2)
    assert (config.region_token_id, config.image_token_id, config.video_token_id) == (151646, 151647, 151648)


def test_videollama2_as_it_is(videollama2):
    """The bare host, with and without its head, for those who do not want regions."""
    videorefer = AutoModel.from_pretrained(videollama2)
    own = vr.VideoLLaMA2Processor.from_pretrained(videollama2)
    assert type(own) is vr.VideoLLaMA2Processor
    inputs = golden_inputs_without_regions(own)
    with warnings_logged() as messages:
        host, info = vr.VideoLLaMA2ForConditionalGeneration.from_pretrained(videollama2, output_loading_info=True)
    assert messages == []
    assert not any(info.values())
    assert type(host) is vr.VideoLLaMA2ForConditionalGeneration
    assert type(host.config) is vr.VideoLLaMA2Config
    ids = {name: getattr(own, name) for name in ("image_token_id", "video_token_id")}
    assert {name: getattr(host.config, name) for name in ids} == ids
    assert torch.equal(logits_of(host, inputs), logits_of(videorefer, inputs))

    with warnings_logged() as messages:
        model, info = vr.VideoLLaMA2Model.from_pretrained(videollama2, output_loading_info=True)
    assert not info["missing_keys"]
    assert_same_state(model, host.model)
    with torch.no_grad():
        hidden = model(**inputs).last_hidden_state
        assert torch.equal(host.lm_head(hidden), logits_of(host, inputs))


def golden_inputs_without_regions(processor):
    call = case_call(golden_case("no_region"), load_file(TINY / "visuals.safetensors"))
    return processor(text=call["text"], videos=call["videos"], return_tensors="pt")


@pytest.mark.parametrize("name", ["VideoLLaMA2ForConditionalGeneration", "VideoLLaMA2Model"])
def test_the_bare_host_is_found_by_its_own_format(name, videollama2, tmp_path):
    model = getattr(vr, name).from_pretrained(videollama2)
    model.save_pretrained(tmp_path / "saved")
    assert read_json(tmp_path / "saved" / "config.json")["model_type"] == "videollama2"
    auto = AutoModel if name == "VideoLLaMA2Model" else transformers.AutoModelForImageTextToText
    again = auto.from_pretrained(tmp_path / "saved")
    assert type(again) is getattr(vr, name)
    assert_same_state(again, model)
