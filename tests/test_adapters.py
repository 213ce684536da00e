"""Adapters of PEFT are loaded with the model that they were trained on, and its object encoder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

import videorefer_plugin as vr
from tests.checkpoints import CHECKPOINT, change_json
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.hosts.saving import save_object_encoder

peft = pytest.importorskip("peft")


def adapted(model: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    settings = {"r": 2, "target_modules": r".*language_model.*q_proj", "init_lora_weights": False, **changes}
    return peft.get_peft_model(model, peft.LoraConfig(modules_to_save=["object_encoder"], **settings))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    base, _ = load_model(CHECKPOINT)
    wrapped = adapted(base)
    folder = tmp_path_factory.mktemp("own") / "adapter"
    wrapped.save_pretrained(folder)
    return wrapped.get_base_model(), folder


def assert_same(found: Any, expected: Any) -> None:
    wanted = expected.state_dict()
    assert set(found.state_dict()) == set(wanted)
    assert all(torch.equal(value, wanted[name]) for name, value in found.state_dict().items())


def test_the_base_comes_with_the_adapter(own: tuple[Any, Path]) -> None:
    trained, folder = own
    model, processor = load_model(folder)
    assert_same(model, trained)
    assert isinstance(model, vr.VideoReferForConditionalGeneration)
    assert isinstance(processor, vr.VideoReferProcessor)
    assert not model.training


def test_a_host_comes_with_the_object_encoder_beside_the_adapter(tmp_path: Path) -> None:
    row = BY_NAME["llava_onevision"]
    row.model().save_pretrained(tmp_path / "host")
    row.processor().save_pretrained(tmp_path / "host")
    host = AutoModelForImageTextToText.from_pretrained(tmp_path / "host")
    wrapped = adapted(vr.attach_object_encoder(host, processor=row.processor()))
    wrapped.save_pretrained(tmp_path / "adapter")
    host.save_object_encoder(tmp_path / "adapter")
    model, processor = load_model(tmp_path / "adapter")
    assert_same(model, host)
    assert isinstance(processor, vr.RegionProcessor)


def renamed(folder: Path) -> None:
    state = load_file(folder / "adapter_model.safetensors")
    state["base_model.model.other.lora_A.weight"] = state.pop(next(iter(state)))
    save_file(state, folder / "adapter_model.safetensors", {"format": "pt"})


def setting(**changes: Any) -> Any:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


DAMAGES = {
    "no base": (setting(base_model_name_or_path=None), "base_model_name_or_path"),
    "base is a number": (setting(base_model_name_or_path=3), "base_model_name_or_path"),
    "base is gone": (setting(base_model_name_or_path="no/such/base/folder"), "base_model_name_or_path"),
    "base is the adapter": (setting(base_model_name_or_path="adapter"), "adapter itself"),
    "smaller rank": (setting(r=1), "Of another shape"),
    "another rank": (setting(r=3), "of rank 2"),
    "huge rank": (setting(r=10**9), "of rank 2"),
    "rank zero": (setting(r=0), "adapter_config.json"),
    "rank is a text": (setting(r="two"), "adapter_config.json"),
    "unknown kind": (setting(peft_type="NO_SUCH"), "adapter_config.json"),
    "kind is a list": (setting(peft_type=[1]), "adapter_config.json"),
    "no such layers": (setting(target_modules="no_such_layer"), "adapter_config.json"),
    "layers are a number": (setting(target_modules=3), "adapter_config.json"),
    "other layers": (setting(target_modules=r".*language_model.*v_proj"), "Missing"),
    "other names": (renamed, "Unexpected"),
    "weights gone": (lambda folder: (folder / "adapter_model.safetensors").unlink(), "adapter_model.safetensors"),
    "weights empty": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b""),
        "adapter_model.safetensors",
    ),
    "weights cut": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(
            (folder / "adapter_model.safetensors").read_bytes()[:-9]
        ),
        "adapter_model.safetensors",
    ),
    "configuration empty": (lambda folder: (folder / "adapter_config.json").write_bytes(b""), "adapter_config.json"),
    "configuration is a list": (
        lambda folder: (folder / "adapter_config.json").write_bytes(b"[]"),
        "adapter_config.json",
    ),
    "object encoder damaged": (
        lambda folder: (folder / "object_encoder_config.json").write_bytes(b"{"),
        "object_encoder_config.json",
    ),
}


@pytest.mark.spread(3)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_adapters_are_named(damage: str, own: tuple[Any, Path], tmp_path: Path) -> None:
    change, words = DAMAGES[damage]
    folder = shutil.copytree(own[1], tmp_path / "adapter")
    change(folder)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_an_object_encoder_of_the_same_tower_is_taken(tmp_path: Path) -> None:
    """The patched original says `videollama2` of what it saves, and AutoModel makes a VideoRefer of its checkpoint."""
    source, _ = load_model(CHECKPOINT)
    save_object_encoder(source, tmp_path)
    change_json(tmp_path / "object_encoder_config.json", {"host_model_type": "videollama2"})
    other, _ = load_model(CHECKPOINT)
    torch.nn.init.zeros_(other.object_encoder.projector[0].weight)
    vr.load_object_encoder(other, tmp_path)
    assert_same(other, source)
