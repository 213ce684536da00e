"""The model that comes with the package. It knows the shapes world only (see `videorefer_plugin.world`)."""

from importlib import resources
from pathlib import Path

from videorefer_plugin.errors import CheckpointError

__all__ = ["tiny_checkpoint"]


def tiny_checkpoint() -> str:
    """Folder of the embedded model: a VideoRefer checkpoint of a few MB, made by the recipes `tiny/`.

    It loads like any other (`AutoModel.from_pretrained`, [`ask`]), on a CPU in seconds. Its card in the same folder
    says how it was trained and what was measured.

    Raises:
        CheckpointError: this installation came without it.

    Examples:
        >>> from pathlib import Path
        >>> (Path(tiny_checkpoint()) / "config.json").exists()
        True
    """
    folder = Path(str(resources.files("videorefer_plugin.embedded") / "checkpoint"))
    if not (folder / "model.safetensors").is_file():
        raise CheckpointError(
            f"This installation has no embedded model: {folder / 'model.safetensors'} is missing. Install the package "
            "again, or make the model with `videorefer train tiny`."
        )
    return str(folder)
