"""Damaged folders: each ends in an error that names the file, or is as good as the whole one."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from tests.checkpoints import TOWER, make_checkpoint, make_tower, read_json
from tests.hostile import LONGEST_MESSAGE, in_time
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import CheckpointError, ConfigurationError

ENDINGS = (".json", ".jinja", ".txt", ".safetensors")
DEEP = "[" * 5000 + "]" * 5000


def truncate(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone"))


def write(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": write(b""),
    "truncated": truncate,
    "no JSON": write(b"hello { world"),
    "list": write(b"[]"),
    "number": write(b"3"),
    "null": write(b"null"),
    "deep": write(f'{{"a": {DEEP}}}'.encode()),
    "Latin-1": write('{"a": "é"}'.encode("latin-1")),
    "UTF-16": lambda path: path.write_bytes(path.read_bytes().decode(errors="replace").encode("utf-16")),
    "byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "doubled key": lambda path: path.write_bytes(b'{"a": 1, "a": 2}'),
    "folder": into_folder,
    "dangling link": dangle,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("whole")
    make_tower(root / TOWER.name)
    original = make_checkpoint(root / "original")
    own = root / "own"
    AutoModel.from_pretrained(original).save_pretrained(own)
    AutoProcessor.from_pretrained(original).save_pretrained(own)
    return {"own": own, "original": original}


@pytest.fixture(scope="module")
def looks(folders: dict[str, Path]) -> dict[str, dict[str, Any]]:
    return {kind: {name: look(door(base)) for name, door in DOORS.items()} for kind, base in folders.items()}


def tokens(processor: Any) -> Any:
    talk = [{"role": "user", "content": [{"type": "text", "text": "What is it, and what does it do?"}]}]
    return processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=True)


def look(loaded: Any) -> Any:
    """What has to be the same: sums of all weights and the answer's ends, and how a question is read."""
    model, processor = loaded if isinstance(loaded, tuple) else (loaded, loaded)
    found: list[Any] = []
    if isinstance(model, torch.nn.Module):
        found += [float(sum(value.double().abs().sum() for value in model.state_dict().values()))]
    if not isinstance(processor, torch.nn.Module):
        found += [type(processor).__name__, tokens(processor), processor.tokenizer.pad_token_id]
    return found


DOORS: dict[str, Callable[[Path], Any]] = {
    "model": AutoModel.from_pretrained,
    "processor": AutoProcessor.from_pretrained,
    "both": load_model,
}
# What the names of files begin with that a processor is made of; `load_model` is tried on the others.
OF_PROCESSOR = ("processor", "token", "vocab", "merges", "chat_template", "special", "added")


def check(door: Callable[[Path], Any], folder: Path, name: str, whole: Any) -> str:
    """What is wrong with how a folder is taken: it must be refused by its file's name, or be as good as the whole."""
    try:
        with in_time():
            found = look(door(folder))
    except (CheckpointError, ConfigurationError) as error:
        good = 10 < len(str(error)) < LONGEST_MESSAGE and name in str(error)
        return "" if good else f"does not name {name}: {error}"
    except Exception as error:
        return f"{name}: {type(error).__name__}: {error}"
    return "" if found == whole else f"{name} is damaged, which nobody says"


@pytest.mark.spread(2)
@pytest.mark.parametrize("kind", ["own", "original"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(kind: str, damage: str, folders: dict[str, Path], looks: Any, tmp_path: Path) -> None:
    base = folders[kind]
    files = sorted(name for name in os.listdir(base) if name.endswith(ENDINGS))
    if kind == "original":
        shutil.copytree(base.parent / TOWER.name, tmp_path / TOWER.name)
    wrong = []
    for name in files:
        folder = shutil.copytree(base, tmp_path / name)
        DAMAGES[damage](folder / name)
        doors = ("processor", "both") if name.startswith(OF_PROCESSOR) else ("model", "both")
        for door in doors[: 2 if name == "config.json" else 1]:
            wrong.append(check(DOORS[door], folder, name, looks[kind][door]))
    assert not any(wrong), "\n".join(wrong)


# --- values that nothing can be made of ------------------------------------------------------------------------------

WRONG = {"text": "many", "negative": -3, "zero": 0, "half": 1.5, "list": [1, 2], "object": {"a": 1}, "large": 10**30}
# File -> keys of it, each with the kinds of values that it cannot have.
SIZES = ("text", "negative", "zero", "half", "list", "object", "large")
VALUES: dict[tuple[str, ...], tuple[str, ...]] = {
    ("config.json", "model_type"): SIZES,
    ("config.json", "num_frames"): SIZES,
    ("config.json", "projector_type"): SIZES,
    ("config.json", "image_aspect_ratio"): SIZES,
    ("config.json", "vision_feature_layer"): ("text", "half", "list", "object", "large"),
    ("config.json", "text_config"): ("text", "negative", "half", "list", "large"),
    ("config.json", "vision_config"): ("text", "negative", "half", "list", "large"),
    ("config.json", "object_encoder_config"): ("text", "negative", "half", "list", "large"),
    ("config.json", "text_config", "hidden_size"): SIZES,
    ("config.json", "text_config", "vocab_size"): SIZES,
    ("config.json", "text_config", "num_hidden_layers"): SIZES,
    ("config.json", "text_config", "num_attention_heads"): ("text", "negative", "zero", "half", "list", "object"),
    ("config.json", "text_config", "model_type"): SIZES,
    ("config.json", "text_config", "hidden_act"): SIZES,
    ("config.json", "vision_config", "hidden_size"): SIZES,
    ("config.json", "vision_config", "patch_size"): SIZES,
    ("config.json", "vision_config", "image_size"): ("text", "negative", "half", "list", "object", "large"),
    ("config.json", "vision_config", "num_hidden_layers"): SIZES,
    ("config.json", "object_encoder_config", "hidden_size"): SIZES,
    ("config.json", "object_encoder_config", "projector_depth"): SIZES,
    ("config.json", "object_encoder_config", "max_tokens_per_region"): SIZES[:-1],
    ("generation_config.json", "eos_token_id"): ("text", "object"),
    ("processor_config.json", "processor_class"): ("text", "negative", "half", "list", "object", "large"),
    ("processor_config.json", "image_processor"): ("text", "negative", "half", "list", "large"),
    ("processor_config.json", "num_frames"): SIZES,
    ("processor_config.json", "patch_size"): SIZES,
    ("processor_config.json", "projector_type"): SIZES,
    ("processor_config.json", "image_aspect_ratio"): SIZES,
    ("processor_config.json", "mask_policy"): SIZES,
    ("processor_config.json", "max_tokens_per_region"): SIZES,
    ("processor_config.json", "max_frames_per_region"): SIZES,
    ("processor_config.json", "region_token"): ("negative", "half", "list", "object"),
    ("processor_config.json", "image_token"): ("negative", "half", "list", "object"),
    ("tokenizer_config.json", "extra_special_tokens"): ("text", "negative", "half"),
    ("tokenizer.json", "model"): ("text", "negative", "half", "list", "object", "large"),
    ("tokenizer.json", "added_tokens"): ("text", "negative", "half", "object", "large"),
}


def put(path: Path, keys: tuple[str, ...], value: Any) -> None:
    content = read_json(path)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    path.write_text(json.dumps(content))


@pytest.mark.spread(6)
@pytest.mark.parametrize("place", VALUES, ids=".".join)
def test_a_wrong_value_is_refused(place: tuple[str, ...], folders: dict[str, Path], tmp_path: Path) -> None:
    file, *keys = place
    door = DOORS["processor" if file.startswith(OF_PROCESSOR) else "model"]
    wrong = []
    for kind in VALUES[place]:
        folder = tmp_path / kind
        shutil.copytree(folders["own"], folder, copy_function=os.link)
        (folder / file).unlink()
        shutil.copy(folders["own"] / file, folder)
        put(folder / file, tuple(keys), WRONG[kind])
        try:
            with in_time():
                door(folder)
            wrong.append(f"{kind}: loads")
        except (CheckpointError, ConfigurationError) as error:
            wrong += [f"{kind}: {error}"] * (not 10 < len(str(error)) < LONGEST_MESSAGE)
        except Exception as error:
            wrong.append(f"{kind}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)


def test_the_matrix_is_large_enough(folders: dict[str, Path]) -> None:
    files = sum(
        len([*base.glob("*.json"), *base.glob("*.jinja"), *base.glob("*.safetensors")]) for base in folders.values()
    )
    assert len(DAMAGES) * files + sum(map(len, VALUES.values())) >= 300
