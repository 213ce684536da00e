"""Finds the checkpoint from which a run resumes, and checks that it is complete and of the same run."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import logging

from videorefer_plugin._files import FileLock, LedgerError
from videorefer_plugin._json import json_fault, write_json
from videorefer_plugin._places import writing
from videorefer_plugin._text import listed, short
from videorefer_plugin.errors import CheckpointError, ConfigurationError, TrainingError, VideoReferError
from videorefer_plugin.training.recipe import Recipe

__all__ = [
    "IDENTITY",
    "UNFINISHED",
    "check_same_run",
    "complete_checkpoints",
    "find_checkpoint",
    "identity_of",
    "loading",
    "prepared_folder",
    "saving",
    "write_identity",
]

logger = logging.get_logger(__name__)

UNFINISHED = "unfinished"
_OF_A_FULL_DISK = ("inline_container.cc", "PytorchStreamWriter", "iostream error")  # in messages of torch.save
"""Folder in which checkpoints are written; complete ones are moved to the output folder."""

IDENTITY = "videorefer_resume.json"
"""File of a checkpoint that identifies its run."""

_STATE = "trainer_state.json"  # the last file that transformers writes into a checkpoint
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_LOADER_SECONDS = 6  # time in which the processes that load data notice that their trainer was killed

# Settings that may change when a run is resumed: they concern its execution or length, or other checks of the
# checkpoint find the difference.
_FREE = {
    "": {"name", "description", "output", "pretrain"},
    "model": {"checkpoint", "language_model", "vision_tower", "processor", "object_encoder", "attn_implementation"},
    "data": {"media_root", "eval_files", "workers", "keep_scan", "features", "keep_features"},
    "train": {
        *("batch_size", "max_steps", "epochs", "log_every", "save_every", "keep_checkpoints", "eval_every"),
        *("report_to", "gradient_checkpointing"),
    },
}
_FREE_ARGUMENTS = (
    *("dataloader_num", "dataloader_p", "ddp_", "disable_tqdm", "eval_", "include_", "jit_", "log", "per_device_eval"),
    *("project", "run_name", "save_", "skip_memory_metrics", "torch_compile", "torch_empty_cache_steps", "trackio_"),
)


@contextmanager
def prepared_folder(recipe: Recipe, rank: int, resume: bool) -> Iterator[str | None]:
    """Lock the output folder of a run, and yield the checkpoint from which the run resumes.

    Args:
        recipe ([`Recipe`]): the recipe.
        rank (`int`): rank of this process; the first process locks the folder for all.
        resume (`bool`): whether to resume from a checkpoint.

    Raises:
        ConfigurationError: another process trains there, the folder cannot be written, or it has checkpoints although
            `resume` is `False`.
        CheckpointError: the checkpoint to resume from is damaged, or of another run.
    """
    folder = Path(recipe.output.folder)
    if rank:
        yield _checked(recipe, folder, resume)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".train.lock", _LOADER_SECONDS)
    except LedgerError as error:
        if error.reason == "busy":
            raise ConfigurationError(
                f"Another process trains in {folder}. Wait for it, or give another output.folder."
            ) from None
        raise _unwritable(folder, error.__cause__ or error) from error
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        checkpoint = _checked(recipe, folder, resume)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        yield checkpoint


def _unwritable(folder: Path, error: BaseException) -> ConfigurationError:
    return ConfigurationError(
        f"output.folder={folder} cannot be written ({getattr(error, 'strerror', None) or error}). Name a folder that "
        "can be made there."
    )


def _checked(recipe: Recipe, folder: Path, resume: bool) -> str | None:
    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        return None
    if not resume:
        raise ConfigurationError(f"{folder} holds checkpoints already; resume, or name another folder.")
    _check_whole(Path(checkpoint))
    check_same_run(checkpoint, identity_of(recipe))
    return checkpoint


def complete_checkpoints(folder: Path) -> list[Path]:
    """Return the complete checkpoints of a run, oldest first."""
    return [path for path in _numbered(folder) if (path / _STATE).is_file()]


def _numbered(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if _number(path) is not None]
    return sorted(found, key=lambda path: _number(path) or 0)


def _number(path: Path) -> int | None:
    name = path.name.removeprefix(f"{PREFIX_CHECKPOINT_DIR}-")
    return int(name) if name.isascii() and name.isdigit() and len(name) < 20 else None


def find_checkpoint(folder: str | os.PathLike) -> str | None:
    """Return the newest complete checkpoint of a run, or `None`.

    If a killed process left a half-written checkpoint, an older one is used, and a warning names both. Only folders
    named `checkpoint-` and a number count as checkpoints.

    Raises:
        CheckpointError: a file has the name of a checkpoint, or all checkpoints are half-written.
    """
    folder = Path(folder)
    numbered, complete = _numbered(folder), complete_checkpoints(folder)
    for path in numbered:
        if not path.is_dir():
            raise CheckpointError(f"{path} is a file, but checkpoints are folders. Move it away, or delete it.")
    newest = complete[-1] if complete else None
    partial = numbered[numbered.index(newest) + 1 :] if newest is not None else numbered
    if partial and newest is None:
        raise CheckpointError(
            f"{partial[-1]} is not complete (it has no {_STATE}, which is written last), and there is no older "
            "checkpoint to go on from. Delete it to start again."
        )
    for path in (*_numbered(folder / UNFINISHED), *partial):
        instead = "the run starts again" if newest is None else f"the run goes on from {newest.name}"
        logger.warning("%s was not finished when its process ended; %s.", path, instead)
    return None if newest is None else str(newest)


# --- completeness ----------------------------------------------------------------------------------------------------


def _check_whole(path: Path) -> None:
    """Check that all files of a checkpoint exist and are readable, without reading the weights.

    Raises:
        CheckpointError: a file is missing or damaged. The message names it, and what to delete.
    """
    _check_state(path)
    names = {item.name for item in path.iterdir()}
    sharded = any(name.startswith(("global_step", "pytorch_model_fsdp_")) for name in names)
    wanted = {
        "the weights (model.safetensors)": sharded or not names.isdisjoint(_WEIGHTS),
        "the optimizer (optimizer.pt)": sharded or any(name.startswith("optimizer") for name in names),
        "scheduler.pt": "scheduler.pt" in names,
        "the state of random numbers (rng_state.pth)": any(name.startswith("rng_state") for name in names),
        "adapter_config.json": "adapter_config.json" in names or not any(n.startswith("adapter_m") for n in names),
    }
    for what, there in wanted.items():
        if not there:
            raise _damaged(path, f"It lacks {what}.")
    for name in sorted(names - {"training_args.bin"}):  # which is never read
        file = path / name
        if name.endswith(".index.json"):
            shards = set(_object(file).get("weight_map", {}).values())
            if missing := sorted(shards - names):
                raise _damaged(path, f"It lacks {listed(missing)}, which {name} names.")
        elif name.endswith(".json"):
            _object(file)
        elif name.endswith(".safetensors"):
            try:
                with safe_open(file, "pt"):
                    pass
            except (SafetensorError, OSError) as error:
                raise _damaged(path, f"{name} cannot be read ({error}).") from error
        elif name.endswith((".pt", ".pth", ".bin")) and file.is_file():
            _check_saved(path, file)


def _check_saved(path: Path, file: Path) -> None:
    from transformers.trainer_pt_utils import safe_globals

    try:
        with safe_globals():
            saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many types for bytes that it has not written
        said = short(str(error).splitlines()[0] if str(error) else "")
        raise _damaged(path, f"{file.name} cannot be read ({type(error).__name__}: {said}).") from error
    wanted = {
        "optimizer.pt": {"state", "param_groups"},
        "scheduler.pt": {"last_epoch"},
        "rng_state.pth": {"python", "numpy", "cpu"},
        "scaler.pt": set(),
    }.get(file.name, set())
    if not isinstance(saved, Mapping) or not wanted <= saved.keys():
        raise _damaged(path, f"{file.name} holds something else, {type(saved).__name__}, than a run saves there.")


def _check_state(path: Path) -> None:
    values = _object(path / _STATE)
    known = {item.name for item in fields(TrainerState)}
    if unknown := sorted(values.keys() - known):
        raise _damaged(path, f"{_STATE} has {listed(unknown)}, which no trainer of this version of transformers has.")
    kinds: dict[str, tuple[type, ...]] = {
        **{"global_step": (int,), "max_steps": (int,), "num_train_epochs": (int,), "total_flos": (int, float)},
        **{"epoch": (int, float, type(None)), "train_batch_size": (int, type(None)), "log_history": (list,)},
        **{"stateful_callbacks": (dict, type(None)), "best_model_checkpoint": (str, type(None))},
        **{"best_global_step": (int, type(None)), "best_metric": (int, float, type(None))},
        **{"logging_steps": (int, float), "eval_steps": (int, float, type(None)), "save_steps": (int, float)},
        **{"num_input_tokens_seen": (int,), "is_local_process_zero": (bool,), "is_world_process_zero": (bool,)},
    }
    for name, wanted in kinds.items():
        if name in values and (
            not isinstance(values[name], wanted) or (isinstance(values[name], bool) ^ (bool in wanted))
        ):
            raise _damaged(path, f"{name} in {_STATE} is {short(values[name])}.")
    if values.get("global_step") != _number(path):
        raise _damaged(path, f"global_step in {_STATE} is {short(values.get('global_step'))}, unlike its name.")
    if not all(isinstance(entry, dict) for entry in values.get("log_history", ())):
        raise _damaged(path, f"log_history in {_STATE} has entries that are not objects.")
    for name, one in (values.get("stateful_callbacks") or {}).items():
        for entry in one if isinstance(one, list) else [one]:
            parts = [entry.get(part) for part in ("args", "attributes")] if isinstance(entry, dict) else [None]
            if not all(isinstance(part, dict) for part in parts):
                raise _damaged(path, f"stateful_callbacks in {_STATE} has {short(one)} for {name}.")


def _object(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file.parent, f"{file.name} cannot be read ({json_fault(error)}).") from error
    if not isinstance(found, dict):
        raise _damaged(file.parent, f"{file.name} holds {type(found).__name__} instead of an object.")
    return found


def _damaged(path: Path, said: str) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} to go on from is damaged. {said} {_remedy(path)}")


def _remedy(path: Path) -> str:
    older = [one for one in complete_checkpoints(path.parent) if (_number(one) or 0) < (_number(path) or 0)]
    if older:
        return f"Delete {path}, to go on from {older[-1].name}."
    return f"Delete {path}, to start again."


@contextmanager
def saving(folder: str | os.PathLike) -> Iterator[None]:
    """Convert errors of writing a checkpoint into a folder.

    Raises:
        TrainingError: the checkpoint cannot be written.
    """
    with writing(folder, TrainingError, also=(SafetensorError,)):
        try:
            yield
        except RuntimeError as error:
            if not any(words in str(error) for words in _OF_A_FULL_DISK):
                raise
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(folder)) from error


@contextmanager
def loading(path: str | os.PathLike | None) -> Iterator[None]:
    """Convert errors of loading a checkpoint into a trainer.

    Raises:
        CheckpointError: the checkpoint does not fit the model or the optimizer.
    """
    try:
        yield
    except VideoReferError:
        raise
    # Types that transformers, PEFT and PyTorch raise for states that do not fit.
    except (
        OSError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
        SafetensorError,
    ) as error:
        if path is None:
            raise
        lines = str(error).strip().splitlines()
        said = f"{type(error).__name__}: {' '.join(line.strip() for line in lines[:3])[:600]}"
        raise CheckpointError(
            f"The run cannot resume from {path}, which does not fit this model or its optimizer ({said}). Is it of "
            f"another recipe? Name another output.folder for that. {_remedy(Path(path))}"
        ) from error


# --- the same run ----------------------------------------------------------------------------------------------------


def identity_of(recipe: Recipe, **more: Any) -> dict[str, Any]:
    """Return the settings that identify a run, since they determine its result, by name and fit for JSON.

    Args:
        recipe ([`Recipe`]): the recipe. Only the names of files count, so that folders may be moved.
        more (*optional*): further values, such as the number of records.
    """
    values = recipe.to_dict(references=True)
    files = values["data"]["files"]
    values["data"]["files"] = [_file(one) for one in files] if isinstance(files, list) else files
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in _FREE[""]:
            continue
        if isinstance(value, dict):
            found |= {f"{name}.{key}": one for key, one in value.items() if key not in _FREE.get(name, ())}
        else:
            found[name] = value
    extra = found.pop("train.extra", None)
    for name, value in extra.items() if isinstance(extra, dict) else ():
        if not name.startswith(_FREE_ARGUMENTS):
            found[f"train.extra.{name}"] = value
    return json.loads(json.dumps({**found, **more}))


def _file(entry: Any) -> Any:
    if isinstance(entry, str):
        return {"file": os.path.basename(entry), "limit": None, "weight": 1.0}
    if isinstance(entry, dict):
        rest = {name: value for name, value in entry.items() if name != "media_root"}
        return {**rest, "file": os.path.basename(str(entry.get("file")))}
    return entry


def write_identity(path: Path, identity: Mapping[str, Any]) -> None:
    """Write the identity of a run into a checkpoint."""
    write_json(path / IDENTITY, dict(identity))


def check_same_run(path: str | os.PathLike, identity: Mapping[str, Any]) -> None:
    """Check that a checkpoint is of this run. Older checkpoints without an identity are accepted.

    Raises:
        CheckpointError: the checkpoint is of another run. The message names the differences.
    """
    path = Path(path)
    if not (path / IDENTITY).exists():
        return
    saved = _object(path / IDENTITY)
    both = saved.keys() & identity.keys()
    # A setting that only one of them has counts as a difference, unless a version does not know it.
    sections = tuple(f"{name}." for name in ("train.extra", "lora"))
    names = [name for name in {**saved, **identity} if name in both or name.startswith(sections)]
    differing = [name for name in names if saved.get(name) != identity.get(name)]
    if ("lora" in saved) != ("lora" in identity):  # null where there is no section
        differing.insert(0, "lora")
        differing = [name for name in differing if not name.startswith("lora.")]
    if differing:
        said = [f"{name} was {_said(saved, name)} and is {_said(identity, name)}" for name in differing]
        raise CheckpointError(
            f"The checkpoint {path} is of another run: {listed(said, between='; ')}. Set it back to go on, or name "
            f"another output.folder to start again. A run resumes only with the settings of its checkpoint."
        )


def _said(values: Mapping[str, Any], name: str) -> str:
    if name == "lora":
        return "left out" if "lora" in values else "a section"
    return short(values[name]) if name in values else "left out"
