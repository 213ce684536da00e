"""Inspecting a folder: which files are published, and whether they are complete and load."""

import os
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError, safe_open

from videorefer_plugin._kinds import PATH, TEXT, check_kind, lists
from videorefer_plugin.errors import PublishError
from videorefer_plugin.hub.contents import FolderContents, read_json
from videorefer_plugin.hub.selection import sort_files

__all__ = ["CARD", "inspect_folder"]

CARD = "README.md"
_INDEX = "model.safetensors.index.json"
_ENCODER = ("object_encoder.safetensors", "object_encoder_config.json")
_ADAPTER = ("adapter_model.safetensors", "adapter_config.json")


def inspect_folder(
    folder: str | os.PathLike, *, needs_processor: bool = True, include: Sequence[str] = ()
) -> FolderContents:
    """Inspect a folder without changing it, and check that the files to publish are complete and load.

    The files of a checkpoint are published: weights in safetensors, configurations, the tokenizer, chat
    templates, the card with its pictures, and licenses. Everything else is left out unless it is included explicitly.

    The names and shapes of the weights are compared with those of the model that the configuration describes, which
    takes no memory; their values are not read.

    Args:
        folder (`str` or `os.PathLike`): a folder that `save_pretrained` wrote.
        needs_processor (`bool`, *optional*, defaults to `True`): whether a model without processor is refused.
        include (`Sequence[str]`): further files to publish, relative to the folder; no links.

    Raises:
        PublishError: the folder is missing, incomplete, damaged or unsafe to load, or a file is a link that leads
            out of it.
    """
    check_kind(PublishError, PATH, folder=folder)
    check_kind(PublishError, lists(TEXT, "names of files"), include=include)
    folder = Path(folder)
    if not folder.is_dir():
        raise PublishError(f"{folder} is {'a file' if folder.exists() else 'not there'}; pass the folder to publish.")
    kind = _kind(folder)
    files, left_out = sort_files(folder, include)
    main = {"model": "config.json", "adapter": _ADAPTER[1], "object_encoder": _ENCODER[1]}[kind]
    contents = FolderContents(folder, kind, files, left_out, read_json(folder / main))
    if kind == "model":
        contents.weights = _model_weights(contents)
    else:
        contents.weights = [name for name in (_ADAPTER[0], _ENCODER[0]) if name in files]
    shapes: dict[str, list[int]] = {}
    for name in contents.weights:
        shapes.update(_shapes(folder / name))
    contents.num_parameters = sum(_product(shape) for shape in shapes.values())
    _check_encoder(contents)
    if kind == "model":
        from videorefer_plugin.hub.loadable import check_model, check_processor

        config = check_model(contents, shapes)
        if contents.has_processor:
            check_processor(folder, config)
        elif needs_processor:
            raise PublishError(
                f"{folder} has no processor (processor_config.json), without which nobody can ask the model anything. "
                "Save it there too: processor.save_pretrained(folder)."
            )
    return contents


def _kind(folder: Path) -> str:
    # In this order: an adapter's folder may hold an object encoder, and a configuration for reference.
    for kind, name in (("adapter", _ADAPTER[1]), ("model", "config.json"), ("object_encoder", _ENCODER[1])):
        if (folder / name).is_file():
            return kind
    raise PublishError(
        f"{folder} holds nothing to publish: it has no config.json (a model), no {_ADAPTER[1]} (a PEFT adapter) and "
        f"no {_ENCODER[1]} (an object encoder). Pass a folder that save_pretrained wrote."
    )


def _model_weights(contents: FolderContents) -> list[str]:
    """Return the weight files that `from_pretrained` reads; similar files that it does not read are left out."""
    folder, files = contents.folder, contents.files
    if "model.safetensors" in files:
        used = ["model.safetensors"]
        if _INDEX in files:
            files.remove(_INDEX)
            contents.left_out[_INDEX] = "not read beside model.safetensors"
    elif _INDEX in files:
        weight_map = read_json(folder / _INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise PublishError(f"{folder / _INDEX} has no weight_map. Save the model again with save_pretrained.")
        used = sorted(set(weight_map.values()))
        missing = [name for name in used if name not in files]
        if missing:
            raise PublishError(
                f"{folder} lacks {', '.join(missing)}, which {_INDEX} names. Copy the missing file(s), or save the "
                "model again."
            )
        for name in used:
            inside = set(_shapes(folder / name))
            lost = sorted(key for key, place in weight_map.items() if place == name and key not in inside)
            if lost:
                raise PublishError(
                    f"{folder / name} does not hold {lost[0]} ({len(lost)} weight(s) in all), which {_INDEX} says it "
                    "does. Save the model again."
                )
    else:
        raise PublishError(
            f"{folder} has a config.json but no weights: neither model.safetensors nor {_INDEX}. "
            "Save the model there with save_pretrained."
        )
    for name in [name for name in files if name.endswith(".safetensors") and name not in (*used, _ENCODER[0])]:
        files.remove(name)
        contents.left_out[name] = "weights that the model does not read"
    return used


def _check_encoder(contents: FolderContents) -> None:
    """Check that adapter and object encoder have both of their files; weights and description must agree."""
    folder, files = contents.folder, contents.files
    wanted = {"model": (), "adapter": _ADAPTER, "object_encoder": _ENCODER}[contents.kind]
    if any(name in files for name in _ENCODER):
        wanted = (*wanted, *_ENCODER)
    missing = sorted({name for name in wanted if name not in files})
    if missing:
        raise PublishError(
            f"{folder} lacks {', '.join(missing)}, without which what lies beside it cannot be loaded. Save it again."
        )
    for name in wanted:
        if name.endswith(".json"):
            read_json(folder / name)
        elif not _shapes(folder / name):
            raise PublishError(f"{folder / name} holds no weights. Save it again.")


def _shapes(path: Path) -> dict[str, list[int]]:
    """Return names and shapes of the tensors in a file, from its header; the file's length is checked too."""
    try:
        with safe_open(str(path), framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError) as error:
        raise PublishError(
            f"{path} is not a readable safetensors file ({error}); it may have been cut off. Save or copy it again."
        ) from error


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total
