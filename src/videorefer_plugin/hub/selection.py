"""Selecting the files of a folder to publish: those of a checkpoint, and those that are included by name."""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from videorefer_plugin._addresses import find_secrets
from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import PublishError
from videorefer_plugin.hub.run_summary import RUN_FILE
from videorefer_plugin.video.images import CARD_SUFFIXES

__all__ = ["check_secrets", "link_fault", "sort_files"]

# The files that save_pretrained of transformers, of PEFT and of this library writes, and others of a model on the Hub.
_KNOWN = re.compile(
    r"(config|generation_config|(pre|post)?processor_config|(video_|image_|audio_)?(pre)?processor_config"
    r"|feature_extractor|adapter_config|object_encoder_config|model\.safetensors\.index|chat_template"
    r"|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|normalizer)\.json"
    r"|(model|adapter_model|object_encoder)(-\d+-of-\d+)?\.safetensors|[\w.-]+-\d{5}-of-\d{5}\.safetensors"
    r"|chat_template\.jinja|vocab\.txt|merges\.txt|tokenizer\.model|spiece\.model|sentencepiece\.(bpe\.)?model"
    rf"|{re.escape(RUN_FILE)}|README\.md"
)
_LEGAL = re.compile(r"(licen[cs]e|notice|use_policy|citation)(\.(txt|md|cff))?", re.I)
_TEMPLATES = ("additional_chat_templates", "chat_templates")
_ASSETS = "assets"

# Files of a run beside its weights that are needed for resuming it only.
_TRAINING_STATE = re.compile(
    r"(optimizer|scheduler|scaler|rng_state|training_args|trainer_state|random_states|sampler|pytorch_model_fsdp)"
    r"[^/]*\.(pt|pth|bin|json|pkl)"
)
_PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"}

# Large files of words that do not describe the model.
_VOCABULARIES = re.compile(r"(tokenizer|vocab|added_tokens|model\.safetensors\.index)\.json|(vocab|merges)\.txt")
_TEXTS = (
    ".json",
    ".jsonl",
    ".jinja",
    ".txt",
    ".md",
    ".cff",
    ".yaml",
    ".yml",
    ".toml",
    ".cfg",
    ".ini",
    ".py",
    ".svg",
    "",
)
_MOST_SCANNED = 64 << 20  # bytes of a file; there is no text as long as that


def sort_files(folder: Path, include: Sequence[str] = ()) -> tuple[list[str], dict[str, str]]:
    """Separate the files to publish from the others, with the reason.

    Args:
        folder (`Path`): the folder.
        include (`Sequence[str]`): further files, relative to it.

    Raises:
        PublishError: there are weights in pickles; a file of the model is a link that leads out of the folder, or not
            a regular file; or an included file does not exist, or is a link, a folder or a pickle.
    """
    from videorefer_plugin.models.shims import SHIM_FILES

    files: list[str] = []
    left_out: dict[str, str] = {}
    pickled: list[str] = []
    shown = _pictures_of_card(folder)
    for path in sorted(folder.iterdir()):
        name = path.name
        known = bool(_KNOWN.fullmatch(name) or _LEGAL.fullmatch(name))
        fault = link_fault(folder, path)
        if name in SHIM_FILES:
            continue  # written again, if they are needed
        if name in (*_TEMPLATES, _ASSETS) and path.is_dir() and not path.is_symlink():
            _add_children(folder, path, files, left_out)
        elif fault:
            if known and fault != "a folder":
                raise PublishError(f"{path} is {fault}. Put the file itself there, and nothing else under that name.")
            left_out[f"{name}/" if fault == "a folder" else name] = fault
        elif known:
            files.append(name)
        elif name.startswith("."):
            left_out[name] = "a hidden file"
        elif _TRAINING_STATE.fullmatch(name):
            left_out[name] = "state of the training run"
        elif path.suffix in _PICKLED and name not in include:
            pickled.append(name)
        elif path.suffix == ".py":
            left_out[name] = "code that would run on the machines of users who trust the repository"
        elif path.suffix == ".safetensors":
            left_out[name] = "weights that the model does not read"
        elif path.suffix.lower() in CARD_SUFFIXES and name in shown:
            files.append(name)
        else:
            left_out[name] = "not a part of a model"
    if pickled:
        raise PublishError(
            f"{folder} holds {', '.join(pickled)}: pickled files can run code when they are read, so they are not "
            "published. Save the weights with save_pretrained, which writes safetensors, and remove these files."
        )
    for name in include:
        files.append(_included(folder, name))
        left_out.pop(files[-1], None)
    return list(dict.fromkeys(files)), left_out


def check_secrets(folder: Path, files: Sequence[str], changed: dict[str, str]) -> None:
    """Make sure that no text to be published seems to hold a key, a token or a password.

    Args:
        folder (`Path`): the folder of the files.
        files (`Sequence[str]`): the files to publish.
        changed (`dict[str, str]`): files that are published with other content.

    Raises:
        PublishError: a text seems to hold one; the message names its line.
    """
    for name in dict.fromkeys((*files, *changed)):
        if name in changed:
            text = changed[name]
        elif _VOCABULARIES.fullmatch(name) or Path(name).suffix.lower() not in _TEXTS:
            continue
        else:
            try:
                with open(folder / name, "rb") as file:
                    text = file.read(_MOST_SCANNED).decode("utf-8", "replace")
            except OSError as error:
                raise PublishError(f"{folder / name} cannot be read: {error.strerror or error}.") from error
        found = list(find_secrets(text))
        if found:
            line, kind = found[0]
            raise PublishError(
                f"{folder / name}, line {line}, holds what looks like {kind}, which everybody would see. Remove it"
                + (f" (also in lines {listed(number for number, _ in found[1:])})" if found[1:] else "")
                + ", and if others may have seen it already, have it revoked."
            )


def link_fault(folder: Path, path: Path) -> str:
    """Explain why an entry is not a regular file inside the folder, such as a link that leads out; otherwise empty."""
    if path.is_symlink():
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return "a link that leads nowhere"
        if not target.is_relative_to(folder.resolve()):
            return "a link that leads out of the folder"
        path = target
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode):
        return "a folder"
    return "" if stat.S_ISREG(mode) else "a pipe, a socket or a device"


def _add_children(folder: Path, path: Path, files: list[str], left_out: dict[str, str]) -> None:
    for child in sorted(path.iterdir()):
        name = f"{path.name}/{child.name}"
        fault = link_fault(folder, child)
        right = child.suffix == ".jinja" if path.name in _TEMPLATES else child.suffix.lower() in CARD_SUFFIXES
        if fault or not right or child.name.startswith("."):
            left_out[name] = fault or "not a part of a model"
        else:
            files.append(name)


def _pictures_of_card(folder: Path) -> set[str]:
    """The names in the card; the pictures among them belong to it."""
    card = folder / "README.md"
    if not card.is_file() or link_fault(folder, card):
        return set()
    return set(_names(card.read_text(encoding="utf-8", errors="replace")))


def _names(text: str) -> Iterator[str]:
    for found in re.finditer(r"[\w.%+-]+\.(?:png|jpe?g|webp|gif|svg)\b", text, re.I):
        yield found.group()


def _included(folder: Path, name: str) -> str:
    """Check a file that is published because it was included by name."""
    given = Path(name)
    if not name or given.is_absolute() or ".." in given.parts or "\0" in name:
        raise PublishError(f"{short(name)} cannot be included: expected the name of a file in {folder}.")
    path = folder / given
    parts = [folder / parent for parent in reversed(given.parents)][1:]
    if any(part.is_symlink() for part in (*parts, path)):
        raise PublishError(f"{path} cannot be included, since it is a link; put the file itself there.")
    if not os.path.lexists(path):
        raise PublishError(f"{path} cannot be included, since there is no such file.")
    fault = link_fault(folder, path)
    if fault:
        raise PublishError(f"{path} cannot be included, since it is {fault}; name single files.")
    if path.suffix in _PICKLED:
        raise PublishError(f"{path} cannot be included, since pickled files can run code when they are read.")
    return given.as_posix()
