"""The configuration file beside the weights of an attached object encoder."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin._json import each_once
from videorefer_plugin._text import short
from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.models.hub_arguments import in_subfolder
from videorefer_plugin.models.local_paths import without_local_path
from videorefer_plugin.object_encoder import read_encoder_config

__all__ = ["CONFIG_NAME", "WEIGHTS_NAME", "AttachmentConfig", "find_files"]

# Not adapter_config.json, which transformers would read as the configuration of a PEFT adapter.
CONFIG_NAME = "object_encoder_config.json"
WEIGHTS_NAME = "object_encoder.safetensors"


_KINDS: dict[str, tuple[type, ...]] = {
    "host_model_type": (str,),
    "patch_size": (int,),
    "vision_feature_layer": (int, list, type(None)),
    "base_model_name_or_path": (str, type(None)),
    "region_token": (str,),
    "region_token_id": (int, type(None)),
}


@dataclass
class AttachmentConfig:
    """An object encoder, its host, and the placeholder of its tokens.

    Args:
        host_model_type (`str`): `config.model_type` of the host.
        object_encoder ([`ObjectEncoderConfig`] or [`CropEncoderConfig`]): sizes of the object encoder.
        patch_size (`int`): side of a cell of the feature grid, in pixels of what the host's processor returns.
        vision_feature_layer (`int` or `list[int]`, *optional*): hidden state of the tower that is used as features.
        base_model_name_or_path (`str`, *optional*):
            Where the host was loaded from. Of a local path, only the folder's name is saved.
            <region_token (`str`, *optional*, defaults to `"<region>"`): the placeholder.
            <region_token_id (`int`, *optional*): its id; set once a processor was bound.
        version (`str`, *optional*): version of this library that wrote it.
    """

    host_model_type: str
    object_encoder: Any
    patch_size: int
    vision_feature_layer: int | list[int] | None = None
    base_model_name_or_path: str | None = None
    region_token: str = REGION_TOKEN
    region_token_id: int | None = None
    version: str | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {**asdict(self), "object_encoder": self.object_encoder.to_dict()}

    def save(self, folder: str | os.PathLike) -> None:
        """Write `object_encoder_config.json` into a folder."""
        from videorefer_plugin import __version__

        values = {**self.to_dict(), "version": __version__}
        values["base_model_name_or_path"] = without_local_path(self.base_model_name_or_path)
        text = json.dumps(values, indent=2)
        write_whole(Path(folder) / CONFIG_NAME, text + "\n")

    @classmethod
    def load(cls, folder_or_id: str | os.PathLike, **hub: Any) -> "AttachmentConfig":
        """Read `object_encoder_config.json` from a folder or a repository of the Hub.

        Args:
            folder_or_id (`str` or `os.PathLike`): the folder or Hub id.
            hub: `revision`, `subfolder`, `token` and other arguments, as for `find_files`.

        Raises:
            CheckpointError: the file is missing or malformed.
            ConfigurationError: a size is unknown or not a positive integer.
        """
        path = find_files(folder_or_id, CONFIG_NAME, **hub)[0]
        try:
            values = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=each_once)
            known = {each.name for each in fields(cls)}
            unknown = sorted(set(values) - known)
            if unknown:
                raise ValueError(f"unknown entries {', '.join(unknown)}")
            encoder = read_encoder_config(values.pop("object_encoder"))
            made = cls(object_encoder=encoder, **values)
            for name, kinds in _KINDS.items():
                if not isinstance(getattr(made, name), kinds) or isinstance(getattr(made, name), bool):
                    raise TypeError(f"{name} cannot be {short(getattr(made, name))}")
            return made
        except CheckpointError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
            raise CheckpointError(
                f"{str(path)!r} is not the configuration of an attached object encoder ({error!r}). "
                "save_object_encoder writes one."
            ) from error


def find_files(folder_or_id: str | os.PathLike, *names: str, **hub: Any) -> list[Path]:
    """Find files in a folder, or fetch them from a repository of the Hub.

    Args:
        folder_or_id (`str` or `os.PathLike`): the folder or Hub id.
        names (`str`): names of the files.
        hub: `revision`, `subfolder`, `token` and other arguments, as for `from_pretrained`.

    Raises:
        CheckpointError: a file is missing.
    """
    folder = Path(in_subfolder(folder_or_id, hub))
    found = []
    for name in names:
        if Path(folder_or_id).is_dir():
            if not (folder / name).is_file():
                raise CheckpointError(
                    f"The folder {str(folder)!r} has no {name}. model.save_object_encoder(folder) writes it."
                )
            found.append(folder / name)
            continue
        from transformers.utils import cached_file

        try:
            found.append(Path(cached_file(os.fspath(folder_or_id), name, **hub)))
        except OSError as error:
            raise CheckpointError(
                f"{os.fspath(folder_or_id)!r} is neither a folder nor a repository of the Hub with {name}: {error}"
            ) from error
    return found
