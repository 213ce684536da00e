"""Quantized weights: the connector and the object encoder keep theirs, and regions are still understood."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoProcessor, BitsAndBytesConfig

import videorefer_plugin as vr
from videorefer_plugin.world import bench_clip, encode_video

CLIP, _ = bench_clip(7000, 2)
# A model this small loses more by 8 bits than a large one; what is sure of in full precision has to stay.
CONFIGS: dict[str, dict[str, Any]] = {
    "4 bits": {"load_in_4bit": True, "bnb_4bit_compute_dtype": torch.float32},
    "4 bits, nf4 in bfloat16": {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": torch.bfloat16,
    },
    "8 bits": {"load_in_8bit": True},
}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantized") / "clip.mp4"
    encode_video(path, CLIP.frames)
    return path


def look(model: Any, video: Path) -> list[str]:
    processor = AutoProcessor.from_pretrained(vr.tiny_checkpoint())
    question = "What is [<region>]?"
    return [
        vr.ask(model, video, question, [CLIP.region(number)], processor=processor, max_new_tokens=12)
        for number in range(len(CLIP))
    ]


@pytest.mark.parametrize("name", CONFIGS)
def test_bitsandbytes(name: str, video: Path) -> None:
    pytest.importorskip("bitsandbytes")
    plain = AutoModel.from_pretrained(vr.tiny_checkpoint())
    model = AutoModel.from_pretrained(vr.tiny_checkpoint(), quantization_config=BitsAndBytesConfig(**CONFIGS[name]))
    kinds = {part: type(module) for part, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    quantized = {part for part, kind in kinds.items() if kind is not torch.nn.Linear}
    assert any("language_model" in part for part in quantized)
    assert any("vision_tower" in part for part in quantized)
    assert not any(part.startswith(("model.connector", "object_encoder", "lm_head")) for part in quantized)
    assert look(model, video) == look(plain, video)


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
