"""The files of a repository that are not in the folder, or differ from it."""

import json
from pathlib import Path
from typing import Any

from videorefer_plugin._files import write_whole
from videorefer_plugin.hub.contents import FolderContents, read_json
from videorefer_plugin.models.local_paths import without_local_path
from videorefer_plugin.models.shims import MODEL_AUTO_MAPS, PROCESSOR_AUTO_MAPS, config_shims, processor_shims

__all__ = ["configurations", "shims", "write_file"]

_PROCESSORS = {
    "VideoLLaMA2Processor": "videollama2",
    "VideoReferProcessor": "videorefer",
    "VideoReferVideoLLaMA3Processor": "videorefer_videollama3",
}

# Keys of configurations that may hold a local path of the machine where the model was made, which is useless
# elsewhere: a published model carries its tower, and a base model in a local folder cannot be fetched.
_PATHS = ("vision_tower", "base_model_name_or_path")


def shims(contents: FolderContents) -> dict[str, str]:
    """Return the shim files that a folder's model and processor need."""
    needed = config_shims(contents.config.get("model_type")) if contents.kind == "model" else {}
    processor_type = _processor_type(contents)
    return {**needed, **(processor_shims(processor_type) if processor_type else {})}


def configurations(contents: FolderContents) -> dict[str, str]:
    """Return configurations that differ from the folder's: with `auto_map`, without paths of this machine."""
    changed: dict[str, str] = {}
    for name in ("config.json", "processor_config.json", "adapter_config.json", "object_encoder_config.json"):
        if name not in contents.files:
            continue
        values = read_json(contents.folder / name)
        wanted: dict[str, Any] = {
            key: without_local_path(values[key]) for key in _PATHS if isinstance(values.get(key), str)
        }
        processor_type = _processor_type(contents)
        if name == "config.json" and contents.kind == "model":
            wanted["auto_map"] = MODEL_AUTO_MAPS[values["model_type"]]
        elif name == "processor_config.json" and processor_type is not None:
            wanted["auto_map"] = PROCESSOR_AUTO_MAPS[processor_type]
        if any(values.get(key) != value for key, value in wanted.items()):
            changed[name] = json.dumps({**values, **wanted}, indent=2, sort_keys=True) + "\n"
    return changed


def write_file(path: Path, content: str) -> None:
    """Write a file as a whole or not at all, and only if its content changes."""
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return
    write_whole(path, content)


def _processor_type(contents: FolderContents) -> str | None:
    """The model type of one of our processors; an adapter for another host has that host's processor, or none."""
    if not contents.has_processor:
        return None
    return _PROCESSORS.get(read_json(contents.folder / "processor_config.json").get("processor_class", ""))
