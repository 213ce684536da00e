"""The output of a LoRA run of the original code: an adapter of PEFT, and the other weights that were trained."""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.models.checkpoint_files import ADAPTER_FILES, check_files, reading_folder
from videorefer_plugin.models.videollama2.adapters import rename_original
from videorefer_plugin.models.weights import Findings, reading_weights

__all__ = ["base_of_lora", "is_lora_output", "merge_lora"]

_CONFIG, _OTHERS = "adapter_config.json", "non_lora_trainables.bin"
_WRAPPED = re.compile(r"^(base_model\.)?(model\.)?(?=model\.|lm_head\.)")


def is_lora_output(folder: str | os.PathLike) -> bool:
    """Whether a LoRA run of the original code wrote this folder."""
    return all((Path(folder) / name).is_file() for name in (_CONFIG, _OTHERS))


def base_of_lora(folder: str | os.PathLike) -> str:
    """Return folder or Hub id of the base model; a relative path is searched for beside the folder as well.

    Raises:
        CheckpointError: the folder does not name it.
    """
    path = Path(folder)
    check_files(path, [_CONFIG])
    base = json.loads((path / _CONFIG).read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise CheckpointError(f"{path / _CONFIG} does not name its base model. Pass base_model= with the checkpoint.")
    beside = path.parent / base
    return str(beside) if not os.path.isdir(base) and beside.is_dir() else base


def merge_lora(model: Any, folder: str | os.PathLike) -> set[str]:
    """Load the weights that were trained fully, and merge the adapter into the weights that it adapts.

    Args:
        model (`PreTrainedModel`): the base, with embeddings of the size that was trained.
        folder (`str` or `os.PathLike`): what the run left.

    Returns:
        `set[str]`: names of the weights that were loaded whole.

    Raises:
        CheckpointError: a file is damaged or unsafe, or its weights do not fit the model.
        ConfigurationError: `peft` is not installed.
    """
    try:
        from peft import LoraConfig, PeftConfig, get_peft_model, set_peft_model_state_dict
        from peft.utils import load_peft_weights
    except ImportError as error:
        raise ConfigurationError(
            f"{os.fspath(folder)!r} holds an adapter, which needs peft: pip install 'videorefer-plugin[train]'."
        ) from error
    path = Path(folder)
    with reading_weights(path / _OTHERS):
        others = torch.load(path / _OTHERS, map_location="cpu", weights_only=True)
    whole = _renamed(model, others if isinstance(others, dict) else {})
    _check(path / _OTHERS, whole, model)
    with reading_folder(folder, ADAPTER_FILES):
        settings = PeftConfig.from_pretrained(os.fspath(folder))
        adapted = _renamed(model, load_peft_weights(os.fspath(folder), device="cpu"))
        if not isinstance(settings, LoraConfig):
            raise CheckpointError(f"{path / _CONFIG} is of a {type(settings).__name__}, but a LoRA run leaves LoRA.")
        # Those that have weights, since a name alone would mean layers of the vision tower as well.
        settings.target_modules = sorted({name.partition(".lora_")[0] for name in adapted if ".lora_" in name})
        settings.inference_mode = True
        missing = [name for name in settings.target_modules if not _has(model, name)]
        if missing or not settings.target_modules:
            raise CheckpointError(
                f"The adapter in {os.fspath(folder)!r} is for layers that {type(model).__name__} does not have: "
                f"{Findings(missing)} Pass base_model= with the checkpoint that it was trained on."
            )
        wrapped = get_peft_model(model, settings)
        prefixed = {f"base_model.model.{name}": value for name, value in adapted.items()}
        found: Any = set_peft_model_state_dict(wrapped, prefixed)
    if found.unexpected_keys:
        raise CheckpointError(
            f"The adapter in {os.fspath(folder)!r} does not fit: {Findings((), (), found.unexpected_keys)} Save it "
            "again."
        )
    wrapped.merge_and_unload()
    model.load_state_dict(whole, strict=False)
    return set(whole)


def _renamed(model: Any, state: dict[str, Any]) -> dict[str, Tensor]:
    """Weights by the names that they have here."""
    return {
        rename_original(_WRAPPED.sub("", name), model.original_key_mapping): value for name, value in state.items()
    }


def _has(model: nn.Module, name: str) -> bool:
    try:
        model.get_submodule(name)
    except AttributeError:
        return False
    return True


def _check(path: Path, found: dict[str, Any], model: nn.Module) -> None:
    own = model.state_dict()
    findings = Findings(
        (),
        [(name, value.shape, own[name].shape) for name, value in found.items() if _misfits(value, own.get(name))],
        [name for name in found if name not in own],
    )
    if any(findings) or not found:
        raise CheckpointError(f"{path} does not fit this model. {findings if found else 'It holds no weights.'}")


def _misfits(value: Any, own: Tensor | None) -> bool:
    return own is not None and (not isinstance(value, Tensor) or value.shape != own.shape)
