"""VideoRefer in the hands of other parts of transformers, torch and PEFT."""

import pytest
import torch
from PIL import Image
from transformers import AutoModel, pipeline

import videorefer_plugin as vr
from tests.checkpoints import (
    CHECKPOINT,
    assert_golden,
    golden_inputs,
    golden_logits,
    logits_of,
    make_checkpoint,
    make_tower,
    weights,
    without,
)


@pytest.fixture
def own_model():
    return AutoModel.from_pretrained(CHECKPOINT)


@pytest.fixture
def inputs(processor):
    return golden_inputs(processor, "two_regions")


@pytest.mark.parametrize("by_path", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["path", "objects"])
def test_pipeline(by_path, processor):
    parts = {"model": str(CHECKPOINT)} if by_path else {"model": AutoModel.from_pretrained(CHECKPOINT)}
    pipe = pipeline("image-text-to-text", **parts, processor=processor)
    assert type(pipe.model) is vr.VideoReferForConditionalGeneration
    image = Image.effect_noise((50, 40), 60).convert("RGB")
    content = [{"type": "image", "image": image}, {"type": "text", "text": "What is this?"}]
    chat = [{"role": "user", "content": content}]
    settings = {"do_sample": False, "max_new_tokens": 6}
    (answer,) = pipe(text=chat, generate_kwargs=settings, return_full_text=False)
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids = pipe.model.generate(**inputs, **settings)[:, inputs["input_ids"].shape[1] :]
    assert answer["generated_text"] == processor.batch_decode(ids, skip_special_tokens=True)[0]


@pytest.mark.parametrize("device_map", [{"": "cpu"}, "auto"], ids=str)
def test_device_map(device_map, processor):
    model = AutoModel.from_pretrained(CHECKPOINT, device_map=device_map)
    assert model.device.type in ("cpu", "cuda")
    assert_golden(model.to("cpu"), processor)


def test_device_map_with_a_tower_from_elsewhere(processor, tmp_path):
    make_tower(tmp_path / "siglip-tiny-patch6-42")
    folder = make_checkpoint(tmp_path / "checkpoint", without(weights(), "vision_tower"))
    assert_golden(AutoModel.from_pretrained(folder, device_map={"": "cpu"}), processor)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_attention_implementations(implementation, processor):
    model = AutoModel.from_pretrained(CHECKPOINT, attn_implementation=implementation)
    for part in (model.get_decoder(), model.model.vision_tower):
        assert part.config._attn_implementation == implementation
    for name in ("two_regions", "image_one_region"):
        assert_golden(model, processor, name)


@pytest.mark.slow
def test_compiled_forward(own_model, inputs):
    compiled = torch.compile(own_model, backend="eager")
    expected = logits_of(own_model, inputs)
    torch.testing.assert_close(logits_of(compiled, inputs), expected, atol=1e-6, rtol=0)


# --- training --------------------------------------------------------------------------------------------------------


def gradients(model, inputs):
    model.train()
    model.zero_grad(set_to_none=True)
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing(use_reentrant, own_model, inputs):
    """The layers of the tower and of the language model are run again; the connector, small beside them, is not."""
    loss, expected = gradients(own_model, inputs)
    for part in ("vision_tower.encoder", "connector.first_stage", "connector.second_stage", "language_model.layers"):
        assert any(part in name and bool(grad.any()) for name, grad in expected.items()), part
    assert all(name in expected for name, _ in own_model.object_encoder.named_parameters(prefix="object_encoder"))
    enable_checkpointing(own_model, use_reentrant)
    if use_reentrant:
        own_model.enable_input_require_grads()
    calls = count_calls(own_model.get_decoder().layers[0])
    found_loss, found = gradients(own_model, inputs)
    assert len(calls) == 2, "the layer should run again in the backward pass"
    torch.testing.assert_close(found_loss, loss)
    if use_reentrant:  # pixels need no gradient, so that this kind gives the tower none
        expected = {name: grad for name, grad in expected.items() if "vision_tower" not in name}
    assert set(found) >= set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], msg=lambda text, n=name: f"{n}: {text}")


def enable_checkpointing(model, use_reentrant):
    name = "activation_checkpointing_enable"  # since transformers 5.23
    enable = getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")
    enable({"use_reentrant": use_reentrant})


def count_calls(module):
    calls = []
    module.self_attn.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_resized_embeddings(own_model, inputs, processor, tmp_path):
    own_model.resize_token_embeddings(400)
    assert own_model.config.text_config.vocab_size == own_model.lm_head.out_features == 400
    assert own_model.get_input_embeddings().num_embeddings == 400
    logits = logits_of(own_model, inputs)
    torch.testing.assert_close(logits[..., :364], golden_logits("two_regions"), atol=2e-4, rtol=0)
    loss, _ = gradients(own_model, inputs)
    assert loss.isfinite()
    own_model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert again.config.text_config.vocab_size == 400
    assert torch.equal(logits_of(again, inputs), logits)


# PEFT 0.21 asks for a property that transformers 5.23 renamed.
peft_warnings = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


@peft_warnings
@pytest.mark.parametrize(
    "checkpointing", [pytest.param(False, marks=pytest.mark.slow), True], ids=["plain", "checkpointing"]
)
def test_lora(checkpointing, own_model, inputs, tmp_path):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["object_encoder"])
    torch.manual_seed(0)
    before = logits_of(own_model, inputs)
    model = peft.get_peft_model(own_model, config)
    if checkpointing:
        enable_checkpointing(model, use_reentrant=False)
    assert torch.equal(logits_of(model, inputs), before)
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[-2] for name in trained if "lora" not in name} == {"0", "2"}  # of the encoder's projector
    optimizer = torch.optim.SGD(trained.values(), lr=0.1)
    loss, found = gradients(model, inputs)
    encoder = [grad for name, grad in found.items() if "object_encoder" in name]
    assert len(encoder) == 4
    assert all(grad.any() for grad in encoder)
    optimizer.step()
    after = logits_of(model, inputs)
    assert not torch.equal(after, before)
    assert gradients(model, inputs)[0] < loss
    model.eval()

    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(CHECKPOINT), tmp_path)
    assert torch.equal(logits_of(again, inputs), after)
    merged = again.merge_and_unload()
    assert type(merged) is vr.VideoReferForConditionalGeneration
    torch.testing.assert_close(logits_of(merged, inputs), after, atol=1e-4, rtol=0)
    generated = model.generate(**inputs, do_sample=False, max_new_tokens=4)
    assert torch.equal(generated, merged.generate(**inputs, do_sample=False, max_new_tokens=4))


@peft_warnings
def test_a_lora_loads_through_the_auto_class(own_model, inputs, tmp_path):
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(own_model, peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert type(again) is vr.VideoReferForConditionalGeneration
    torch.testing.assert_close(logits_of(again, inputs), logits_of(model, inputs), atol=1e-6, rtol=0)
