"""Folders written by an original training stage: a connector or an object encoder without the rest of the model."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.models.videollama2.original import ORIGINAL_KEY_MAPPING
from videorefer_plugin.models.weights import load_whole_state, reading_weights

__all__ = ["ADAPTERS", "adapter_files", "find_base_model", "load_adapter_files", "rename_original"]

_WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)

# Adapter file of the original training stages -> (marker in its keys, part of the model that it is).
ADAPTERS = {
    "mm_projector.bin": ("mm_projector.", "connector"),
    "region_encoder.bin": ("region_encoder.", "object_encoder"),
}


def adapter_files(folder: str | os.PathLike) -> list[Path]:
    """Return the adapter files of a local folder without complete weights."""
    path = Path(folder)
    if any((path / name).is_file() for name in _WEIGHT_FILES):
        return []
    return [path / name for name in ADAPTERS if (path / name).is_file()]


def find_base_model(folder: Path, base_model: str | os.PathLike | None) -> str | os.PathLike:
    """Return the checkpoint of a folder of adapters: the given one, or the one that the folder names."""
    if base_model is not None:
        return base_model
    recorded = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("_name_or_path")
    if not recorded:
        raise CheckpointError(
            f"{folder} holds nothing but adapters and does not say what they belong to. "
            "Pass base_model= with the checkpoint that they were trained on."
        )
    candidates = [Path(recorded), folder.parent / recorded]
    return next((path for path in candidates if (path / "config.json").is_file()), recorded)


def load_adapter_files(model: torch.nn.Module, path: str | os.PathLike) -> None:
    """Load the connector or object encoder that an original training stage saved separately.

    Args:
        model (`torch.nn.Module`): model to load into.
        path (`str` or `os.PathLike`): a `mm_projector.bin` or `region_encoder.bin`.

    Raises:
        CheckpointError: the file is unknown, unsafe or does not fit, or the model has no such part.
    """
    path = Path(path)
    if path.name not in ADAPTERS:
        raise CheckpointError(f"{path.name} is not an adapter file; expected one of {', '.join(ADAPTERS)}.")
    marker, part = ADAPTERS[path.name]
    label = part.replace("_", " ")
    try:
        with reading_weights(path):
            state = torch.load(path, map_location="cpu", weights_only=True)
    except RuntimeError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    odd = {"it": state} if not isinstance(state, dict) else state
    odd = {key: type(value).__name__ for key, value in odd.items() if not isinstance(value, torch.Tensor)}
    if odd:
        name, kind = next(iter(odd.items()))
        raise CheckpointError(f"{path} must hold a dict of tensors, but {name} is a {kind}.")
    names = {f"model.{key[key.index(marker) :]}": value for key, value in state.items() if marker in key}
    if not names:
        raise CheckpointError(f"{path} holds no weights of a {label}: none of its keys contains {marker!r}.")
    module_name = getattr(model, "adapter_modules", {}).get(path.name, part)
    try:
        module = model.get_submodule(module_name)
    except AttributeError as error:
        raise CheckpointError(f"{type(model).__name__} has no {label} to load {path} into.") from error
    mapping = getattr(model, "original_key_mapping", ORIGINAL_KEY_MAPPING)
    own = {rename_original(key, mapping).removeprefix(f"{module_name}."): value for key, value in names.items()}
    load_whole_state(module, own, f"{path} does not fit the {label} of this model")


def rename_original(key: str, mapping: Mapping[str, str] = ORIGINAL_KEY_MAPPING) -> str:
    """Translate the name of a weight from the original layout to this library's."""
    for pattern, replacement in mapping.items():
        if re.match(pattern, key):
            return re.sub(pattern, replacement, key)
    return key
