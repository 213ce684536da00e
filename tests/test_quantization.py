"""Quantized weights: the connector and the object encoder keep theirs, and regions are still understood."""

import copy
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoProcessor, BitsAndBytesConfig

import videorefer_plugin as vr
from tests import training_runs
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.hosts import load_checkpoint
from videorefer_plugin.hosts.loading import load_processor, with_regions
from videorefer_plugin.training.quantization import prepare_quantized, quantization_config
from videorefer_plugin.world import bench_clip, encode_video

CLIP, _ = bench_clip(7000, 2)
SHOWN = (0, 1, 3)
# A model this small loses more by 8 bits than a large one; what is sure of in full precision has to stay.
CONFIGS: dict[str, dict[str, Any]] = {
    "4 bits": {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32},
    "4 bits, nf4 in bfloat16": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": torch.bfloat16,
    },
    "4 bits, twice": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_quant_storage": torch.bfloat16,
    },
    "8 bits": {"load_in_8bit": True},
    "4 bits, of the language model": {"load_in_4bit": True, "llm_int8_skip_modules": ["model.vision_tower"]},
    "8 bits, of the language model": {"load_in_8bit": True, "llm_int8_skip_modules": ["model.vision_tower"]},
}
UNQUANTIZED = {
    *(f"{part}.projector.{layer}" for part in ("model.connector", "object_encoder") for layer in (0, 2)),
    "lm_head",
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "clip.mp4"
    encode_video(path, CLIP.frames)
    return path


def look(model: Any, video: Path) -> list[str]:
    processor = AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    with vr.VideoSession(model, processor, video) as session:
        questions = [("What is [<region>]?", [CLIP.region(number)]) for number in SHOWN]
        return session.ask_many(questions, max_new_tokens=7)


@functools.cache
def seen_in_full(video: Path) -> list[str]:
    answers = look(AutoModel.from_pretrained(vr.tiny_checkpoint()), video)
    assert len(set(answers)) == len(SHOWN)  # regions decide what is answered
    return answers


def quantized(name: str, **options: Any) -> Any:
    pytest.importorskip("bitsandbytes")
    config = BitsAndBytesConfig(**CONFIGS[name])
    return AutoModel.from_pretrained(vr.tiny_checkpoint(), quantization_config=config, **options)


def plain_layers(model: Any) -> set[str]:
    """Linear layers whose weights are those of torch."""
    return {
        name
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and type(module.weight) is torch.nn.Parameter
    }


def some(names: Iterable[str], usual: Sequence[str]) -> list[Any]:
    """All of them, those that are like the usual ones among the slow tests."""
    return [name if name in usual else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", some(CONFIGS, ["4 bits, nf4 in bfloat16", "8 bits, of the language model"]))
def test_bitsandbytes(name: str, video: Path) -> None:
    model = quantized(name)
    plain = plain_layers(model)
    assert plain >= UNQUANTIZED
    assert any("vision_tower" in part for part in plain) == ("of the language model" in name)
    assert not any("language_model" in part for part in plain)
    assert look(model, video) == seen_in_full(video)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    # Bits that stand for others may read as NaN.
    alike = (one.dtype, one.shape) == (other.dtype, other.shape)
    return alike and torch.equal(*(each.contiguous().flatten().view(torch.uint8) for each in (one, other)))


@pytest.mark.parametrize("name", some(CONFIGS, ["4 bits, twice", "8 bits"]))
def test_what_is_saved_is_what_was_quantized(name: str, video: Path, tmp_path: Path) -> None:
    model = quantized(name)
    model.save_pretrained(tmp_path)
    state = model.state_dict()
    for loaded in (AutoModel.from_pretrained(tmp_path), load_checkpoint(tmp_path)):
        assert plain_layers(loaded) == plain_layers(model)
        found = loaded.state_dict()
        assert found.keys() == state.keys()
        assert all(same_bits(found[key], value) for key, value in state.items())
    assert look(loaded, video) == seen_in_full(video)


@pytest.mark.parametrize("name", some(["4 bits", "4 bits, twice", "8 bits"], ["4 bits"]))
def test_a_saved_one_is_loaded_in_another_dtype(name: str, video: Path, tmp_path: Path) -> None:
    quantized(name).save_pretrained(tmp_path)
    expected = quantized(name, dtype=torch.bfloat16)
    loaded = load_checkpoint(tmp_path, dtype=torch.bfloat16)
    assert {key: value.dtype for key, value in loaded.named_parameters()} == {
        key: value.dtype for key, value in expected.named_parameters()
    }
    assert len(set(look(loaded, video))) == len(SHOWN)


def test_a_saved_one_in_half_precision(video: Path, tmp_path: Path) -> None:
    quantized("4 bits", dtype=torch.float16).save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path, dtype=torch.float16)
    assert loaded.object_encoder.dtype == torch.float32  # transformers keeps in full what is not to be quantized
    assert look(loaded, video) == seen_in_full(video)


@pytest.mark.parametrize("name", some(["4 bits, twice", "8 bits"], ["4 bits, twice"]))
def test_hosts_are_saved_with_their_object_encoder(name: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    row = BY_NAME["qwen3_vl"]
    row.model().save_pretrained(tmp_path / "host")
    host = load_checkpoint(tmp_path / "host", quantization_config=BitsAndBytesConfig(**CONFIGS[name]))
    vr.attach_object_encoder(host, row.attached()[0].object_encoder.config, processor=row.processor())
    host.object_encoder.load_state_dict(row.attached()[0].object_encoder.state_dict())
    host.save_pretrained(tmp_path / "saved")
    row.processor().save_pretrained(tmp_path / "saved")
    loaded, processor = load_model(tmp_path / "saved")
    assert plain_layers(loaded) == plain_layers(host)
    height, width = row.side
    regions = [
        vr.Region(dict.fromkeys((3, 4), (0, 0, width // 2, height // 2))),
        vr.Region(dict.fromkeys((1, 2), (width // 3, height // 3, width - 1, height - 1))),
    ]
    prompt = row.prompt()
    logits = []
    for model in (host, loaded):
        own = processor if model is loaded else with_regions(row.processor(), model)
        for region in regions:
            inputs = own(text=prompt, videos=[row.video()], regions=[[region]], return_tensors="pt")
            logits.append(model(**inputs).logits[:, -1])
    assert torch.equal(logits[0], logits[2])
    assert torch.equal(logits[1], logits[3])
    assert not torch.equal(logits[0], logits[1])


TORCHAO = ("Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig")


@pytest.mark.parametrize("kind", TORCHAO)
def test_torchao(kind: str, video: Path, tmp_path: Path) -> None:
    torchao = pytest.importorskip("torchao.quantization")
    from transformers import TorchAoConfig

    config = TorchAoConfig(getattr(torchao, kind)())
    model = AutoModel.from_pretrained(vr.tiny_checkpoint(), quantization_config=config)
    assert plain_layers(model) == UNQUANTIZED
    model.save_pretrained(tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert plain_layers(loaded) == UNQUANTIZED
    assert look(loaded, video) == look(model, video) == seen_in_full(video)


def test_dynamic_quantization_of_the_object_encoder() -> None:
    encoder = AutoModel.from_pretrained(vr.tiny_checkpoint()).object_encoder
    features = torch.randn(4, 8, 8, encoder.config.vision_hidden_size, generator=torch.Generator().manual_seed(0))
    masks = torch.ones(4, 8, 8, dtype=torch.bool)
    given = (features, masks, torch.arange(4), torch.tensor([3, 1]))
    expected = encoder(*given)
    quantized = torch.ao.quantization.quantize_dynamic(encoder, {torch.nn.Linear}, dtype=torch.qint8)
    found = quantized(*given)
    assert found.counts.tolist() == expected.counts.tolist()
    assert torch.nn.functional.cosine_similarity(found.tokens, expected.tokens).min() > 0.99


def pack(module: Any) -> Any:
    return torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear}, dtype=torch.qint8)


def test_packed_weights_are_not_saved(tmp_path: Path) -> None:
    model = AutoModel.from_pretrained(vr.tiny_checkpoint())
    model.model.language_model = pack(model.model.language_model)
    with pytest.raises(CheckpointError, match=r"model\.language_model\.layers\.0.*before it is quantized.*BitsAndB"):
        model.save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_packed_object_encoder_is_not_saved(tmp_path: Path) -> None:
    host, _ = BY_NAME["qwen3_vl"].attached()
    attached = copy.deepcopy(host)
    attached.object_encoder = pack(attached.object_encoder)
    with pytest.raises(CheckpointError, match=r"projector\.0.*packed"):
        attached.save_object_encoder(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=r"object_encoder\.projector\.0.*packed"):
        attached.save_pretrained(tmp_path / "host")
    assert list(tmp_path.iterdir()) == []
    host.save_object_encoder(tmp_path / "encoder")


# ------------------------------------------------------------------ QLoRA

SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": ({"load_in_4bits": True}, r"model\.quantization\.load_in_4bits.*load_in_4bit"),
    "no dtype": ({"load_in_4bit": True, "bnb_4bit_compute_dtype": "float33"}, "float33.*not a dtype.*bfloat16"),
    "dtype is no name": ({"load_in_4bit": True, "bnb_4bit_compute_dtype": 16}, "16, which is not a dtype"),
    "no bits": ({"bnb_4bit_quant_type": "nf4"}, "how many bits"),
    "both bits": ({"load_in_4bit": True, "load_in_8bit": True}, "how many bits"),
    "bits turned off": ({"load_in_4bit": False}, "how many bits"),
    "bits in words": ({"load_in_4bit": "yes"}, "cannot be used: load_in_4bit"),
    "threshold in words": ({"load_in_8bit": True, "llm_int8_threshold": "high"}, "cannot be used: llm_int8_threshold"),
    "kind is a number": ({"load_in_4bit": True, "bnb_4bit_quant_type": 4}, "cannot be used: bnb_4bit_quant_type"),
    "modules are a text": ({"load_in_8bit": True, "llm_int8_skip_modules": "lm_head"}, "cannot be used"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_that_cannot_be(name: str) -> None:
    settings, said = SETTINGS[name]
    with pytest.raises(ConfigurationError, match=said):
        quantization_config(settings)


def test_settings_name_what_they_need() -> None:
    settings = {"load_in_4bit": True, "bnb_4bit_compute_dtype": "bfloat16"}
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigurationError, match="pip install bitsandbytes"):
            quantization_config(settings)
    else:
        assert quantization_config(settings).bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": None, "output.save": "full"}, "no lora section.*output.save: adapter"),
        ({"lora": None, "output.save": "full", "train.parts": ["language_model"]}, "train.parts names language_model"),
        ({"train.parts": ["vision_tower"]}, "train.parts names vision_tower"),
    ],
)
def test_what_is_quantized_is_not_trained(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    data = training_runs.write_data(tmp_path / "data", ("polygons",))
    with pytest.raises(ConfigurationError, match=said):
        training_runs.run("videollama2.1-7b/stage3_qlora", data, tmp_path / "run", **changes)


def test_parts_are_judged_without_a_quantized_model() -> None:
    with pytest.raises(ConfigurationError, match="language_model, vision_tower"):
        prepare_quantized(None, lora=True, parts=["vision_tower", "language_model", "connector"])


STEPS = 8
NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "float32"}


RECIPES = ("videollama2.1-7b/stage3_qlora", "attach/qwen3-vl-2b_qlora")


@pytest.mark.parametrize("recipe", some(RECIPES, RECIPES[:1]))
def test_losses_fall_as_with_lora(recipe: str, video: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    data = training_runs.write_data(tmp_path / "data", ("compressed", "polygons", "polygons without size"))
    checkpoint, changes = training_runs.CHECKPOINT, {}
    if recipe.startswith("attach/"):
        row = BY_NAME["qwen3_vl"]
        checkpoint = tmp_path / "host"
        row.model().save_pretrained(checkpoint)
        row.processor().save_pretrained(checkpoint)
        row.attached()[0].save_object_encoder(tmp_path / "object encoder")
        changes = {"model.object_encoder": str(tmp_path / "object encoder")}
    changes |= {"train.max_steps": STEPS, "train.log_every": 1, "train.scheduler": "constant", "lora.dropout": 0.0}
    changes |= {"train.learning_rate": 2e-3, "train.learning_rates": {}}
    curves = []
    for quantization in (NF4, {}):
        folder = tmp_path / ("qlora" if quantization else "lora")
        training_runs.run(recipe, data, folder, checkpoint, **changes, **{"model.quantization": quantization})
        curves.append(training_runs.losses(folder))
    qlora, lora = curves
    assert len(qlora) == len(lora) == STEPS
    assert sum(qlora[-3:]) < 0.9 * sum(qlora[:3])
    assert qlora == pytest.approx(lora, rel=0.2)
    # The adapters go onto a base in 4 bits, as they were trained, and onto one in full precision.
    answers = []
    for options in ({"quantization_config": quantization_config(NF4)}, {}):
        model = load_checkpoint(tmp_path / "qlora", **options)
        processor = with_regions(load_processor(str(tmp_path / "qlora")), model)
        assert bool(getattr(model, "is_quantized", False)) == bool(options)
        layers = [each for each in model.object_encoder.modules() if isinstance(each, torch.nn.Linear)]
        assert layers
        assert all(type(each) is torch.nn.Linear for each in layers)
        inputs = [
            processor(
                text=processor.apply_chat_template(
                    [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What is <region>?"}]}],
                    add_generation_prompt=True,
                    tokenize=False,
                ),
                videos=[str(video)],
                regions=[[CLIP.region(number)]],
                return_tensors="pt",
            )
            for number in range(2)
        ]
        with torch.no_grad():
            first, second = (model(**each).logits[0, -1] for each in inputs)
        assert not torch.allclose(first, second, atol=1e-3)
        answers.append(first)
    assert torch.nn.functional.cosine_similarity(*answers, dim=0) > 0.9
