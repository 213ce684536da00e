"""The contents of a folder that is to be published."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_object
from videorefer_plugin.errors import PublishError

__all__ = ["FolderContents", "read_json"]


@dataclass
class FolderContents:
    """The contents of a folder that is to be published.

    Attributes:
        folder (`Path`): the folder.
        kind (`str`): `"model"`, `"adapter"` (PEFT, with or without an object encoder) or `"object_encoder"`.
        files (`list[str]`): the files to publish, as paths relative to the folder.
        left_out (`dict[str, str]`): the other files, with the reason.
        config (`dict`): the content of the file that describes the kind.
        num_parameters (`int`): numbers in the weights.
    """

    folder: Path
    kind: str
    files: list[str]
    left_out: dict[str, str]
    config: dict[str, Any]
    num_parameters: int = 0
    weights: list[str] = field(default_factory=list)

    @property
    def has_processor(self) -> bool:
        """Whether there is a processor beside the weights."""
        return "processor_config.json" in self.files


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        PublishError: the file is missing, or does not hold a JSON object.
    """
    return read_object(path, PublishError, "a JSON object", constants=True)
