"""Save a checkpoint as small as it is packaged."""

import json
import os
import shutil
from pathlib import Path

from videorefer_plugin._files import write_whole
from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.tiny.running import READY

__all__ = ["pack"]

_LARGEST = 8_000_000  # bytes of the checkpoint that is packaged


def pack(source: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Save a checkpoint in half precision, as small as it is packaged.

    Weights are float16, which keeps more digits of small models than bfloat16 does; they are loaded as float32, which
    every CPU computes with.

    Args:
        source (`str` or `os.PathLike`): folder of the checkpoint.
        folder (`str` or `os.PathLike`): where to.

    Raises:
        ConfigurationError: it is too large to be packaged, or a weight does not fit into float16.
    """
    import torch
    from safetensors.torch import load_file, save_file

    source, folder = Path(source), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = load_file(source / "model.safetensors")
    for name, value in weights.items():
        if not torch.isfinite(value.half()).all():
            raise ConfigurationError(f"{name} of {source} has values that do not fit into float16.")
    halves = {name: value.half() for name, value in weights.items()}
    write_whole(folder / "model.safetensors", lambda name: save_file(halves, name, {"format": "pt"}))
    for path in source.iterdir():
        if path.is_file() and path.suffix in (".json", ".jinja", ".py", ".md") and path.name != READY:
            shutil.copy(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float32"
    for part in config.values():
        if isinstance(part, dict):
            part.pop("_name_or_path", None)  # a folder of the machine that made it
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size > _LARGEST:
        raise ConfigurationError(f"{folder} has {size} bytes; the embedded model may have {_LARGEST}.")
    return folder
