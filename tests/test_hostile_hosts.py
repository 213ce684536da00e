"""Damaged folders of hosts and of object encoders: named, and a model that was there stays as it was."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import videorefer_plugin as vr
from tests.hostile import LONGEST_MESSAGE, in_time
from tests.test_hostile_folders import DAMAGES, DEEP
from tests.tiny_hosts import BY_NAME
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import CheckpointError, ConfigurationError

CONFIG, WEIGHTS = "object_encoder_config.json", "object_encoder.safetensors"
OF_ENCODER = (CONFIG, WEIGHTS)
OF_HOST = (*OF_ENCODER, "config.json", "model.safetensors")


def change(**changes: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def size(**changes: Any) -> Callable[[Path], object]:
    def put(path: Path) -> None:
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "object_encoder": {**content["object_encoder"], **changes}}))

    return put


def tensors(alter: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], object]:
    return lambda path: save_file(alter(load_file(path)), path, {"format": "pt"})


def first(state: dict[str, torch.Tensor]) -> str:
    return sorted(state)[0]


# What the two files of an object encoder cannot say.
VALUES: dict[str, tuple[str, Callable[[Path], object]]] = {
    **{
        f"host_model_type {value!r}": (CONFIG, change(host_model_type=value))
        for value in ("qwen3_vl", "", "é", 3, None, [])
    },
    **{f"object_encoder {value!r}": (CONFIG, change(object_encoder=value)) for value in (None, 3, "x", [], {})},
    **{f"region_token_id {value!r}": (CONFIG, change(region_token_id=value)) for value in ("x", 1.5, [], {})},
    **{f"base {value!r}": (CONFIG, change(base_model_name_or_path=value)) for value in (3, [], {})},
    "unknown entry": (CONFIG, change(extra=1)),
    **{
        f"{name} {value!r}": (CONFIG, size(**{name: value}))
        for name in ("vision_hidden_size", "hidden_size", "max_tokens_per_region", "projector_depth")
        for value in (None, "x", 0, -1, 1.5, [], 10**30)
    },
    "unknown size": (CONFIG, size(widht=3)),
    "nested": (CONFIG, lambda path: path.write_text(f'{{"object_encoder": {DEEP}}}')),
    "a tensor less": (WEIGHTS, tensors(lambda state: {key: state[key] for key in sorted(state)[1:]})),
    "a tensor more": (WEIGHTS, tensors(lambda state: {**state, "other": torch.ones(2)})),
    "no tensors": (WEIGHTS, tensors(lambda state: {})),
    "another name": (WEIGHTS, tensors(lambda state: {f"x.{key}": value for key, value in state.items()})),
    "another shape": (WEIGHTS, tensors(lambda state: {**state, first(state): torch.ones(3, 5)})),
}
ALL = {
    **{f"{name}: {kind}": (name, damage) for name in OF_ENCODER for kind, damage in DAMAGES.items()},
    **VALUES,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A host with its object encoder, and the object encoder alone."""
    root = tmp_path_factory.mktemp("hosts")
    row = BY_NAME["llava_onevision"]
    model, _ = row.attached()
    model.save_pretrained(root / "host")
    row.processor().save_pretrained(root / "host")
    model.save_object_encoder(root / "encoder")
    return {"host": root / "host", "encoder": root / "encoder"}


def state_of(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def is_state(model: Any, state: dict[str, torch.Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() == state.keys() and all(torch.equal(value, state[name]) for name, value in found.items())


def judge(what: str, name: str, load: Callable[[], Any], whole: dict[str, torch.Tensor]) -> str:
    """What is wrong with how something damaged is taken: it is named, or loads as if it were whole."""
    try:
        with in_time():
            loaded = load()
    except (CheckpointError, ConfigurationError) as error:
        # Of an object encoder of another tower, the folder is named.
        named = name in str(error) or isinstance(error, ConfigurationError) or what.startswith("host_model_type")
        return "" if named and 10 < len(str(error)) < LONGEST_MESSAGE else f"{what}: does not name {name}: {error}"
    except Exception as error:
        return f"{what}: {type(error).__name__}: {error}"
    return "" if is_state(loaded, whole) else f"{what}: is damaged, which nobody says"


def test_damaged_object_encoders_are_refused_and_the_model_stays(folders: dict[str, Path], tmp_path: Path) -> None:
    """Onto a host without one, and onto one that has another of its sizes already."""
    bare = BY_NAME["llava_onevision"].model()
    attached = copy.deepcopy(BY_NAME["llava_onevision"].attached()[0])
    for value in attached.object_encoder.parameters():
        torch.nn.init.zeros_(value)
    before, zeros, kind = state_of(bare), state_of(attached), type(bare)
    whole = state_of(BY_NAME["llava_onevision"].attached()[0])
    wrong = []
    for number, (what, (name, damage)) in enumerate(ALL.items()):
        folder = shutil.copytree(folders["encoder"], tmp_path / str(number))
        damage(folder / name)
        for model, state in ((bare, before), (attached, zeros)):
            found = judge(what, name, lambda: vr.load_object_encoder(model, folder), whole)  # noqa: B023
            wrong.append(found)
            if is_state(model, whole):  # such as one whose file has a byte order mark
                if model is bare:
                    vr.detach_object_encoder(bare)
                else:
                    attached.load_state_dict(zeros)
            elif not found and not (is_state(model, state) and type(bare) is kind):
                wrong.append(f"{what}: is refused, but the model is not what it was")
    assert not any(wrong), "\n".join(filter(None, wrong))


def test_damaged_hosts_are_named(folders: dict[str, Path], tmp_path: Path) -> None:
    whole = state_of(load_model(folders["host"])[0])
    wrong = []
    few = ("missing", "truncated", "folder")  # of what other folders of models have too
    cases = {
        f"{name}: {kind}": (name, damage)
        for name in OF_HOST
        for kind, damage in DAMAGES.items()
        if name in OF_ENCODER or kind in few
    }
    for number, (what, (name, damage)) in enumerate(cases.items()):
        folder = shutil.copytree(folders["host"], tmp_path / str(number))
        damage(folder / name)
        wrong.append(judge(what, name, lambda: load_model(folder)[0], whole))  # noqa: B023
        shutil.rmtree(folder)
    assert not any(wrong), "\n".join(filter(None, wrong))
