"""The embedded model, which is part of the package. It knows the shapes world only (see `videorefer_plugin.world`)."""

import os
from importlib import resources
from pathlib import Path

from videorefer_plugin._kinds import PATH, check_kind
from videorefer_plugin.errors import CheckpointError, ConfigurationError

__all__ = ["SHAPES_WORLD", "checkpoint", "is_tiny_checkpoint", "tiny_checkpoint"]

SHAPES_WORLD = "A clip of the shapes world"
"""The comment in the metadata of the videos that the embedded model knows."""


def tiny_checkpoint() -> str:
    """Return the folder of the embedded model: a VideoRefer checkpoint of a few MB, made by the recipes `tiny/`.

    The checkpoint loads like any other (`AutoModel.from_pretrained`, [`ask`]), on a CPU in seconds. The card in the
    same folder describes its training and its results.

    Raises:
        CheckpointError: this installation has no embedded model.

    Examples:
        >>> from pathlib import Path
        >>> (Path(tiny_checkpoint()) / "config.json").exists()
        True
    """
    folder = _folder()
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(
            f"This installation has no embedded model: {folder / 'model.safetensors'} is missing. Install the package "
            "again, or make the model with `videorefer train tiny`."
        )
    return str(folder)


def checkpoint(model: str) -> str:
    """Return the folder or Hub id for a model's name in a command; "embedded" stands for the embedded model."""
    return tiny_checkpoint() if model == "embedded" else model


def is_tiny_checkpoint(name: str | os.PathLike) -> bool:
    """Return whether a checkpoint is the folder of the embedded model."""
    check_kind(ConfigurationError, PATH, optional=True, name=name)
    return bool(name) and Path(name).resolve() == _folder().resolve()


def _folder() -> Path:
    return Path(str(resources.files("videorefer_plugin.embedded") / "checkpoint"))
