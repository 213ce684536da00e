"""Damaged folders: each ends in an error that names the file, or is as good as the whole one."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoProcessor

from tests.checkpoints import TOWER, make_checkpoint, make_tower
from tests.hostile import LONGEST_MESSAGE, in_time
from videorefer_plugin.asking import load_model
from videorefer_plugin.errors import CheckpointError, ConfigurationError

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


@pytest.mark.parametrize("kind", ["own", "original"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(kind: str, damage: str, folders: dict[str, Path], looks: Any, tmp_path: Path) -> None:
    base = folders[kind]
    files = [one.name for one in sorted(base.iterdir()) if one.suffix in (".json", ".jinja", ".txt", ".safetensors")]
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
