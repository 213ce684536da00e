"""Checks of the files in a checkpoint's folder, with their faults in words.

Small files are looked at before anything is loaded, since transformers leaves some out without a word if it cannot
read them. The others, and what no file of its kind may hold, are looked at once loading has failed.
"""

import contextlib
import json
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from videorefer_plugin._json import TwiceError, each_once, json_fault
from videorefer_plugin._text import cut, listed, short
from videorefer_plugin.errors import CheckpointError, VideoReferError

__all__ = [
    "ADAPTER_FILES",
    "MODEL_FILES",
    "PROCESSOR_FILES",
    "check_files",
    "check_weights",
    "reading_folder",
    "speaks_of_us",
]

MODEL_FILES = ("config.json", "generation_config.json", "adapter_config.json")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
PROCESSOR_FILES = (
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json"),
    "chat_template.jinja",
)
_LARGE = ("tokenizer.json", "vocab.json", "merges.txt")  # parsed once more only where loading has failed
_WEIGHTS = (".safetensors", ".index.json")
_MARKS = {
    ".json": (b"videorefer", b"videollama2"),
    ".safetensors": (b"object_encoder.", b"region_encoder.", b"mm_projector."),
}
_MOST = 1 << 20  # bytes of each file that are searched for marks
_REMEDY = "Fetch or save the checkpoint again."
_SHOWN = 300  # characters of a library's message

# What stands in the name of the module in which loading failed -> the files that it reads.
_READERS = {
    "generation": "generation_config.json",
    "tokeniz": "tokenizer.json or tokenizer_config.json",
    "image_processing": "processor_config.json or preprocessor_config.json",
    "jinja2": "chat_template.jinja",
    "processing": "processor_config.json",
    "configuration": "config.json",
    "peft": "adapter_config.json",
    "modeling": "config.json",
}


def check_files(folder: str | os.PathLike, names: Collection[str], *, needed: Collection[str] = ()) -> None:
    """Refuse a folder in which one of these files is damaged; folders and files that do not exist are ignored.

    Args:
        folder (`str` or `os.PathLike`): the folder, or a Hub id.
        names (`Collection[str]`): names of the files.
        needed (`Collection[str]`, *optional*): those that must be there.

    Raises:
        CheckpointError: a file is damaged; it is named.
    """
    path = Path(folder)
    if not os.path.isdir(path):
        return
    lacking = [name for name in needed if not os.path.lexists(path / name)]
    if lacking:
        raise CheckpointError(f"The folder {str(path)!r} has no {listed(lacking)}, so it holds no whole checkpoint.")
    faults = [f"{name} {fault}" for name in names if (fault := _fault(path / name))]
    if faults:
        raise CheckpointError(f"The folder {str(path)!r} cannot be loaded: {'; '.join(faults)}. {_REMEDY}")


def check_weights(folder: str | os.PathLike) -> None:
    """Refuse a folder with a damaged file of weights; the message names the file.

    Raises:
        CheckpointError: there is one.
    """
    if os.path.isdir(folder):
        check_files(folder, sorted(name for name in os.listdir(folder) if name.endswith(_WEIGHTS)))


def _fault(path: Path) -> str:
    """Describe the fault of a file; empty if it has none, or does not exist."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "is a link to a file that is not there" if os.path.islink(path) else ""
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(mode):
        return "is a folder instead of a file" if stat.S_ISDIR(mode) else "is not a regular file"
    try:
        return _safetensors_fault(path) if path.suffix == ".safetensors" else _text_fault(path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _text_fault(path: Path) -> str:
    content = path.read_bytes()
    if content.startswith(b"\xef\xbb\xbf"):
        return "begins with a byte order mark, which JSON and templates must not have; save it as UTF-8 without one"
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8 text (byte {error.start} is {content[error.start]:#04x})"
    if path.suffix != ".json":
        return _template_fault(text) if path.suffix == ".jinja" else ""
    if not text.strip():
        return "is empty"
    pairs: Any = dict if path.name in _LARGE else each_once
    try:
        value = json.loads(text, object_pairs_hook=pairs)
    except TwiceError as error:
        return f"is not a settings file: {error}"
    except (ValueError, RecursionError) as error:
        return f"is not JSON, or only a part of it ({json_fault(error)})"
    if not isinstance(value, dict):
        return f"must hold a JSON object, but holds {'null' if value is None else f'a {type(value).__name__}'}"
    if path.name == "generation_config.json":
        return _ids_fault(value)
    return _index_fault(path, value) if path.name.endswith(".index.json") else ""


def _ids_fault(settings: dict[str, Any]) -> str:
    """Ids of tokens are looked at by nobody before an answer is to end."""
    for name, value in settings.items():
        several = value if isinstance(value, list) else [value]
        if name.endswith("_token_id") and not all(one is None or type(one) is int for one in several):
            return f"says {short(value)} as {name}, which must be the id of a token"
    return ""


def _template_fault(text: str) -> str:
    import jinja2
    from transformers.utils.chat_template_utils import _compile_jinja_template  # which caches its result

    try:
        _compile_jinja_template(text)
    except jinja2.TemplateError as error:
        return f"is not a template ({error}, line {getattr(error, 'lineno', '?')})"
    except RecursionError:
        return "is nested too deep for a template"
    return "" if "messages" in text else "is not a chat template: it ignores the messages"


def _index_fault(path: Path, index: dict[str, Any]) -> str:
    files = index.get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        return "has no weight_map of names of files"
    absent = sorted({name for name in files.values() if not (path.parent / name).is_file()})
    return f"names {listed(absent, 3)}, which is not in the folder" if absent else ""


def _safetensors_fault(path: Path) -> str:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt"):
            return ""
    except SafetensorError as error:
        return f"is not a whole file of weights ({error})"


@contextlib.contextmanager
def reading_folder(
    name: Any, files: Collection[str], *, given: Collection[str] = (), only_ours: bool = False
) -> Iterator[None]:
    """Turn the errors of libraries about damaged files of a folder into one error that names the file.

    Args:
        name (`str` or `os.PathLike`): the folder, or a Hub id.
        files (`Collection[str]`): names of the files that are read, beside weights.
        given (`Collection[str]`, *optional*): names of the caller's arguments; one that is refused stays refused.
        only_ours (`bool`, *optional*, defaults to `False`):
            Ignore folders whose files do not mention this library, if none of their files is damaged.

    Raises:
        CheckpointError: a file is damaged, or its content is invalid.
    """
    try:
        yield
    except VideoReferError:
        raise
    except Exception as error:  # tokenizers raises no narrower one; errors that are not about files are passed on
        if not isinstance(name, (str, os.PathLike)) or not os.path.isdir(name) or not _about_files(error, given):
            raise
        folder = Path(name)
        try:
            check_files(folder, (*files, *_LARGE) if set(files) & set(PROCESSOR_FILES) else files)
            check_weights(folder)
        except CheckpointError as fault:
            raise fault from error
        if only_ours and not speaks_of_us(name):
            raise
        raise CheckpointError(
            f"The folder {str(folder)!r} cannot be loaded. The content of {_reader(error)} does not fit: "
            f"{type(error).__name__}: {cut(str(error), _SHOWN)} {_REMEDY}"
        ) from error


def _about_files(error: Exception, given: Collection[str]) -> bool:
    """Whether a library failed at what it read, and not at memory, a missing package or an argument."""
    import torch

    if isinstance(error, (ImportError, MemoryError, torch.OutOfMemoryError)):
        return False
    said = str(error)
    if isinstance(error, RuntimeError) and "CUDA" in said:
        return False
    if isinstance(error, TypeError) and any(f"argument '{name}'" in said for name in given):
        return False
    return not _modules(error)[-1].startswith("videorefer_plugin.")  # a fault of this library is not hidden


def _modules(error: Exception) -> list[str]:
    """Names of the modules that an error passed through, the innermost last."""
    found, frame = [""], error.__traceback__
    while frame is not None:
        found.append(frame.tb_frame.f_globals.get("__name__", ""))
        frame = frame.tb_next
    return found


def _reader(error: Exception) -> str:
    for module in reversed(_modules(error)):
        for mark, name in _READERS.items():
            if mark in module:
                return name
    return "one of its files"


def speaks_of_us(folder: str | os.PathLike) -> bool:
    """Whether the files of a folder say that this library wrote it, or loads it, even if they are damaged."""
    for path in sorted(Path(folder).iterdir()):
        if path.name.startswith("object_encoder") or path.name.endswith("_videorefer.py"):
            return True
        if (marks := _MARKS.get(path.suffix)) and path.is_file():
            with contextlib.suppress(OSError), open(path, "rb") as stream:
                content = stream.read(_MOST).lower()
                if any(mark in content for mark in marks):
                    return True
    return False
