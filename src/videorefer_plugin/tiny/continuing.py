"""Teach an embedded model that exists what a newer version of the data asks for, instead of making one from nothing.

Letters are learned by the language model alone, in words, which takes the words of other answers along; one stage of
records puts these right again. Vision tower, connector and object encoder stay as they were until then.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videorefer_plugin._json import read_object, write_json
from videorefer_plugin._text import listed
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.models.fingerprint import fingerprint
from videorefer_plugin.tiny.running import READY

__all__ = ["CONTINUED", "check", "earlier_stages", "split", "starts", "with_language_model"]

CONTINUED = ("letters_colors", "letters_words", "letters", "stage3_more")
"""The stages that teach a model that exists."""

_START, _LANGUAGE_MODEL, _MODEL = "start", "language_model", "model"
_NOTE = "start.json"  # written when a folder is whole
_HISTORY = re.compile(r"^## Stages\n\n.*?\n(\|.*?\n)\n", re.M | re.S)


def starts(root: Path, stage: str) -> dict[str, str]:
    """Return the settings that let a stage start from the parts of the model that goes on, by name."""
    folders = {CONTINUED[0]: _LANGUAGE_MODEL, CONTINUED[-1]: _MODEL}
    return {"model.checkpoint": str(root / _START / folders[stage])} if stage in folders else {}


def check(checkpoint: str | os.PathLike, stages: Sequence[str], root: Path) -> None:
    """Check before any work that a model can go on in these stages and this folder.

    Raises:
        CheckpointError: there is no such folder.
        ConfigurationError: a stage is not one of [`CONTINUED`], or another model went on in this folder.
    """
    if not (Path(checkpoint) / "config.json").is_file():
        raise CheckpointError(f"{os.fspath(checkpoint)} is not the folder of a checkpoint: it has no config.json.")
    others = [name for name in stages if name not in CONTINUED]
    if others:
        raise ConfigurationError(
            f"A model that goes on does not run {listed(others)}. Its stages are {listed(CONTINUED)}; leave others "
            "out, or leave start out."
        )
    note = root / _START / _NOTE
    if note.exists() and read_object(note, ConfigurationError).get("fingerprint") != fingerprint(
        os.fspath(checkpoint)
    ):
        raise ConfigurationError(
            f"Another model than {os.fspath(checkpoint)} went on in {root}. Choose another folder."
        )


def split(checkpoint: str | os.PathLike, root: Path) -> None:
    """Save the language model of a checkpoint, with its tokenizer, where the first stage looks for it.

    Raises:
        CheckpointError: the checkpoint cannot be loaded, or is not a VideoRefer model.
    """
    folder = root / _START / _LANGUAGE_MODEL
    note = root / _START / _NOTE
    if note.exists():  # written last, so that the folder is whole
        return
    from transformers import Qwen2ForCausalLM

    model, processor = _load(checkpoint)
    language_model = Qwen2ForCausalLM(model.config.text_config)
    language_model.model.load_state_dict(model.model.language_model.state_dict())
    language_model.lm_head.load_state_dict(model.lm_head.state_dict())
    language_model.tie_weights()
    processor.tokenizer.save_pretrained(folder)
    language_model.save_pretrained(folder)
    write_json(note, {"fingerprint": fingerprint(os.fspath(checkpoint))})


def with_language_model(checkpoint: str | os.PathLike, root: Path) -> None:
    """Save a checkpoint with the language model that learned the letters, where the last stage looks for it.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigurationError: the letters were not learned yet.
    """
    folder, learned = root / _START / _MODEL, root / CONTINUED[-2]
    if (folder / _NOTE).exists():
        return
    if not (learned / READY).exists():
        raise ConfigurationError(
            f"{learned} holds no finished run. Run the stages {', '.join(CONTINUED[:-1])} before {CONTINUED[-1]}."
        )
    from transformers import AutoModelForCausalLM

    model, processor = _load(checkpoint)
    language_model = AutoModelForCausalLM.from_pretrained(learned, dtype=model.dtype)
    model.model.language_model.load_state_dict(language_model.model.state_dict())
    model.lm_head.load_state_dict(language_model.lm_head.state_dict())
    model.tie_weights()
    processor.save_pretrained(folder)
    model.save_pretrained(folder)
    write_json(folder / _NOTE, {"language_model": str(learned)})


def earlier_stages(checkpoint: str | os.PathLike) -> str:
    """Return the table of stages in the card of the model that goes on; an empty text if it has none."""
    card = Path(checkpoint) / "README.md"
    found = _HISTORY.search(card.read_text(encoding="utf-8")) if card.is_file() else None
    return found[1] if found else ""


def _load(checkpoint: str | os.PathLike) -> tuple[Any, Any]:
    import torch

    from videorefer_plugin.asking import load_model
    from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration

    model, processor = load_model(checkpoint, dtype=torch.float32, device="cpu")
    if not isinstance(model, VideoReferForConditionalGeneration):
        raise CheckpointError(
            f"{os.fspath(checkpoint)} holds a {type(model).__name__}. Only VideoRefer models go on; give a folder "
            "that `videorefer train tiny` made, or 'embedded'."
        )
    return model, processor
