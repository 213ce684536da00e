"""What a repository holds besides a folder's own files, or other than in the folder."""

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

# Places in configurations that may hold a path of the machine where the model was made. Whoever loads the model has no
# use for it: a published model carries its tower, and a base model that lies in a folder cannot be fetched.
_PATHS = ("vision_tower", "base_model_name_or_path")


def shims(contents: FolderContents) -> dict[str, str]:
    """Shim files that a folder's model and processor need."""
    needed = config_shims(contents.config.get("model_type")) if contents.kind == "model" else {}
    processor_type = _processor_type(contents)
    return {**needed, **(processor_shims(processor_type) if processor_type else {})}


def configurations(contents: FolderContents) -> dict[str, str]:
    """Configurations that the repository has other than the folder: with `auto_map`, without paths of this machine."""
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
    """Write a file as a whole or not at all, and only if it changes."""
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return
    write_whole(path, content)


def _processor_type(contents: FolderContents) -> str | None:
    """Model type of a processor of ours; an adapter for another host comes with that host's processor, or none."""
    if not contents.has_processor:
        return None
    return _PROCESSORS.get(read_json(contents.folder / "processor_config.json").get("processor_class", ""))
