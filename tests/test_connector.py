"""The spatial-temporal convolution connector."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config, count_visual_tokens
from videorefer_plugin.models.videollama2.connector import STCConnector
from videorefer_plugin.models.videollama2.original import ORIGINAL_KEY_MAPPING

SOURCE = Path(__file__).parents[1] / "src"
GOLDENS = Path(__file__).parent / "data" / "goldens" / "stc_connector"
(V35,) = json.loads((GOLDENS / "cases.json").read_text())["sets"]
CASES = [pytest.param(case, id=f"{case['batch']}x{case['frames']}x{case['grid']}") for case in V35["cases"]]
PREFIX = "model.connector."


def make_connector(projector_type="stc_connector_v35", vision_width=8, width=8):
    config = VideoLLaMA2Config(
        text_config={
            "model_type": "qwen2",
            "vocab_size": 8,
            "hidden_size": width,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
        },
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": vision_width,
            "intermediate_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 28,
            "patch_size": 14,
        },
        projector_type=projector_type,
    )
    torch.manual_seed(0)
    return STCConnector(config).eval()


def our_name(name):
    """Name of one of the connector's weights, by the mapping that is used for original checkpoints."""
    name = "model.mm_projector." + name
    matching = [pattern for pattern in ORIGINAL_KEY_MAPPING if re.search(pattern, name)]
    assert len(matching) == 1, name
    name = re.sub(matching[0], ORIGINAL_KEY_MAPPING[matching[0]], name)
    assert name.startswith(PREFIX)
    return name.removeprefix(PREFIX)


@pytest.fixture(scope="module")
def original():
    """The golden connector."""
    connector = make_connector(V35["mm_projector_type"], V35["mm_hidden_size"], V35["hidden_size"])
    weights = load_file(GOLDENS / V35["weights"])
    connector.load_state_dict({our_name(name): value for name, value in weights.items()})
    return connector


@pytest.fixture(scope="module")
def tensors():
    return load_file(GOLDENS / V35["cases_file"])


@pytest.fixture(scope="module")
def tiny():
    """One connector of each type."""
    return {name: make_connector(name) for name in ("stc_connector_v35", "stc_connector")}


def grids_of(case, tensors):
    """The input, of which the original keeps a grid's cells in one row."""
    return tensors[f"{case['index']}.input"].unflatten(2, (case["grid"], case["grid"]))


def test_weights_are_named_and_shaped_as_in_the_original(original):
    expected = {our_name(name): tuple(shape) for name, shape in V35["state_dict_keys"].items()}
    assert {name: tuple(value.shape) for name, value in original.state_dict().items()} == expected


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_goldens(case, original, tensors):
    output = original(grids_of(case, tensors))
    torch.testing.assert_close(output, tensors[f"{case['index']}.output"], atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_number_of_tokens_of_the_goldens(case):
    _, num_tokens, _ = case["output_shape"]
    assert count_visual_tokens(case["frames"], (case["grid"],) * 2, V35["mm_projector_type"]) == num_tokens


@pytest.mark.spread(24)
@torch.no_grad()
@pytest.mark.parametrize("projector_type", ["stc_connector_v35", "stc_connector"])
@pytest.mark.parametrize("frames", [2, 3, 4, 7, 8, 16])
@pytest.mark.parametrize("grid", [(2, 2), (2, 3), (3, 7), (6, 6), (7, 4), (27, 27)], ids=str)
def test_number_of_tokens(frames, grid, projector_type, tiny):
    output = tiny[projector_type](torch.zeros(2, frames, *grid, 8))
    assert output.shape == (2, count_visual_tokens(frames, grid, projector_type), 8)


@torch.no_grad()
def test_padding_makes_tokens_of_a_single_frame_and_cell(tiny):
    """Without padding, nothing is left of a single frame."""
    assert tiny["stc_connector"](torch.zeros(1, 1, 1, 1, 8)).shape == (1, 1, 8)
    assert count_visual_tokens(1, (1, 1), "stc_connector") == 1
    assert count_visual_tokens(1, (27, 27), "stc_connector_v35") == 0


def test_number_of_tokens_of_the_published_models():
    assert count_visual_tokens(16, (27, 27), "stc_connector_v35") == 8 * 13 * 13
    assert count_visual_tokens(8, (24, 24), "stc_connector") == 5 * 13 * 13


@torch.no_grad()
@pytest.mark.parametrize("projector_type", ["stc_connector_v35", "stc_connector"])
def test_clips_do_not_see_each_other(projector_type, tiny):
    features = torch.randn(3, 4, 5, 6, 8, generator=torch.Generator().manual_seed(0))
    together = tiny[projector_type](features)
    alone = torch.cat([tiny[projector_type](clip) for clip in features.split(1)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@torch.no_grad()
def test_tokens_are_ordered_by_frame_row_and_column(tiny):
    """A change at one place moves the token of that place most."""
    connector = tiny["stc_connector_v35"]
    features = torch.zeros(1, 4, 16, 24, 8)
    before = connector(features)
    features[0, 2:, 12:14, 4:6] = 3  # second pair of frames, seventh pair of rows, third pair of columns
    change = (connector(features) - before).abs().sum(dim=-1).view(2, 8, 12)
    assert (change == change.max()).nonzero().tolist() == [[1, 6, 2]]


@torch.no_grad()
def test_bfloat16(tensors):
    connector = make_connector(V35["mm_projector_type"], V35["mm_hidden_size"], V35["hidden_size"])
    weights = load_file(GOLDENS / V35["weights"])
    connector.load_state_dict({our_name(name): value for name, value in weights.items()})
    connector.bfloat16()
    assert connector.dtype == torch.bfloat16
    for case in V35["cases"]:
        output = connector(grids_of(case, tensors).bfloat16())
        expected = tensors[f"{case['index']}.output"]
        assert output.dtype == torch.bfloat16
        # Rounded to eight bits in about forty layers, so compared as a whole.
        assert (output.float() - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("projector_type", ["stc_connector_v35", "stc_connector"])
def test_gradients_reach_features_and_every_weight(projector_type):
    connector = make_connector(projector_type)
    features = torch.randn(2, 4, 6, 6, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    connector(features).square().sum().backward()
    assert features.grad.flatten(0, 3).abs().sum(dim=1).min() > 0
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("projector_type", ["linear", "mlp2x_gelu", "stp_connector", ""])
def test_unknown_type(projector_type):
    with pytest.raises(ConfigurationError, match="Unknown projector_type") as caught:
        make_connector(projector_type)
    assert repr(projector_type) in str(caught.value)
    assert "'stc_connector_v35', 'stc_connector'" in str(caught.value)


@pytest.mark.slow
def test_imported_first():
    """In a program that has not imported transformers."""
    program = "import videorefer_plugin.models.videollama2.connector"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
