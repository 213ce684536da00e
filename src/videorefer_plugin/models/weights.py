"""Reading weights: detecting damaged files, and checkpoints that hold only a fraction of a part."""

import contextlib
import json
import os
import pickle
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from torch import nn

from videorefer_plugin._text import listed
from videorefer_plugin.errors import CheckpointError, VideoReferError
from videorefer_plugin.models.checkpoint_files import check_weights

__all__ = [
    "Findings",
    "check_parts",
    "load_pretrained",
    "load_whole_state",
    "part_names",
    "reading_weights",
    "weight_shapes",
]

# Part -> the marks in the names of its weights.
_MARKS = {
    "vision_tower": ("vision_tower.", "model.vision_model."),
    "connector": ("connector.", "model.projector."),
    "object_encoder": ("object_encoder.",),
    "language_model": ("language_model.", "lm_head."),
}
_ORIGINAL_MARKS = {"connector": "mm_projector.", "object_encoder": "region_encoder."}
# No answer depends on these: features are taken before the tower's last normalization.
_UNUSED = re.compile(r"vision_tower\..*\b(post_layernorm|head)\.")
_SHOWN = 3

_REMEDY = (
    "Half loaded it would answer wrongly, so it is not loaded. Fetch or save the checkpoint again, or load it with "
    "the configuration that it was saved with."
)


class Findings(NamedTuple):
    """The result of loading weights into a model.

    Attributes:
        missing: names that the model has and the weights have not.
        mismatched: names of another shape, with the shape in the weights and the model's.
        unexpected: names that the model has no place for.
    """

    missing: Collection[str]
    mismatched: Collection[tuple[str, Any, Any]] = ()
    unexpected: Collection[str] = ()

    def __str__(self) -> str:
        shapes = [f"{name} is {[*found]} instead of {[*wanted]}" for name, found, wanted in self.mismatched]
        named = {"Missing": self.missing, "Of another shape": shapes, "Unexpected": self.unexpected}
        return " ".join(
            f"{what}: {len(names)} ({listed(sorted(names), _SHOWN)})." for what, names in named.items() if names
        )


def weight_shapes(folder: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights in the safetensors files of a folder, of which no weight is read.

    Raises:
        CheckpointError: a file is damaged.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        with reading_weights(path), safe_open(path, "pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


@contextlib.contextmanager
def reading_weights(source: str | os.PathLike) -> Iterator[None]:
    """Turn the many errors about missing, damaged and unsafe weights into one."""
    try:
        yield
    except VideoReferError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The weights of {source} are damaged, or hold pickled Python objects besides tensors, which could run "
            "code when they are read. Fetch them again, or convert them to safetensors where you trust them."
        ) from error
    except (OSError, EOFError, SafetensorError) as error:
        check_weights(source)
        reason = str(error) or "the file ends too early"
        raise CheckpointError(f"The weights of {source} are missing or damaged: {reason}") from error
    except (json.JSONDecodeError, KeyError) as error:
        if isinstance(error, KeyError) and error.args[0] not in ("weight_map", "metadata"):
            raise
        check_weights(source)
        raise CheckpointError(
            f"The weights of {source} come in several files, and the index of these is damaged: {error}. "
            "Fetch it again."
        ) from error
    except RuntimeError as error:
        if "PytorchStreamReader" not in str(error):
            raise
        raise CheckpointError(f"The weights of {source} are damaged: {error}") from error


def load_pretrained(kind: Any, name: str | os.PathLike, **kwargs: Any) -> tuple[Any, Findings]:
    """Load a model with `from_pretrained`, and return the weights that are missing.

    Args:
        kind: an Auto class or the class of a model.
        name (`str` or `os.PathLike`): folder or Hub id.
        kwargs: what `from_pretrained` takes.

    Raises:
        CheckpointError: there is no such checkpoint, it is damaged, or its weights do not fit its configuration.
    """
    try:
        model, info = kind.from_pretrained(name, output_loading_info=True, **kwargs)
    except VideoReferError:
        raise
    except (OSError, ValueError, SafetensorError, StrictDataclassError) as error:
        check_weights(name)
        raise CheckpointError(f"There is no checkpoint that can be loaded at {os.fspath(name)!r}: {error}") from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise CheckpointError(f"The weights of {os.fspath(name)!r} do not fit its configuration: {error}") from error
    return model, Findings(info["missing_keys"])


def part_names(model: Any) -> dict[str, set[str]]:
    """Names of the weights of each part that a checkpoint may lack; tied ones count once."""
    names = set(model.state_dict()) - set(getattr(model, "all_tied_weights_keys", None) or ())
    return {part: {name for name in names if any(mark in name for mark in marks)} for part, marks in _MARKS.items()}


def check_parts(
    source: Any, parts: Mapping[str, set[str]], findings: Findings, *, ignore_mismatched_sizes: bool = False
) -> None:
    """Refuse weights that hold a fraction of a part: it would run with random weights, or without some that it had.

    Args:
        source: the checkpoint, for messages.
        parts (`Mapping[str, set[str]]`): the result of [`part_names`].
        findings ([`Findings`]): the result of loading.
        ignore_mismatched_sizes (`bool`, *optional*, defaults to `False`):
            Whether weights of another shape may be newly initialized.

    Raises:
        CheckpointError: a part is partly missing, or all of the model's weights are missing.
    """
    mismatched = () if ignore_mismatched_sizes else findings.mismatched
    for part, names in parts.items():
        missing = names & set(findings.missing)
        stray = [key for key in findings.unexpected if _belongs(key, part, names) and not _UNUSED.search(key)]
        misfits = [each for each in mismatched if each[0] in names]
        if misfits or stray or (missing and missing != names):
            hint = " Pass ignore_mismatched_sizes=True to train weights of other shapes again." if misfits else ""
            raise CheckpointError(
                f"The weights of {source} do not fit its {part.replace('_', ' ')} of {len(names)} weights: "
                f"{Findings(missing, misfits, stray)} {_REMEDY}{hint}"
            )
    if mismatched:
        raise CheckpointError(f"The weights of {source} do not fit: {Findings((), mismatched)} {_REMEDY}")
    known = set().union(*parts.values())
    if known and known <= set(findings.missing):
        raise CheckpointError(
            f"The weights of {source} are not those of this model: {Findings(known, (), findings.unexpected)} "
            f"{_REMEDY}"
        )


def _belongs(key: str, part: str, names: set[str]) -> bool:
    """Whether an unexpected weight belongs to a part that the model has."""
    marks = [mark for mark in _MARKS[part] if any(mark in name for name in names)]
    if marks and part in _ORIGINAL_MARKS:
        marks.append(_ORIGINAL_MARKS[part])
    return any(mark in key for mark in marks)


def load_whole_state(module: nn.Module, state: Mapping[str, Any], refusal: str) -> None:
    """Load weights into a module if they are exactly its own; otherwise leave the module unchanged.

    Args:
        module (`nn.Module`): the module.
        state (`Mapping[str, torch.Tensor]`): the weights.
        refusal (`str`): how the message begins.

    Raises:
        CheckpointError: weights are missing, have another shape, or are not the module's.
    """
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    findings = Findings(
        wanted.keys() - state.keys(),
        [
            (name, state[name].shape, shape)
            for name, shape in wanted.items()
            if name in state and tuple(state[name].shape) != shape
        ],
        state.keys() - wanted.keys(),
    )
    if any(findings):
        raise CheckpointError(f"{refusal}. {findings}")
    module.load_state_dict(state)
