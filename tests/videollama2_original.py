"""The original `videollama2` package for tests: a stand-in, and the real one where it is installed."""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.conftest import CHECKPOINT
from videorefer_plugin import patches

STANDINS = Path(__file__).parent / "standins"
TOWER = CHECKPOINT.parent / "siglip-tiny-patch6-42"


# Tests run against the real package as well where it is installed.
KINDS = ["stand-in", *(["real"] if importlib.util.find_spec("videollama2") is not None else [])]


@contextlib.contextmanager
def on_path(*folders: Path) -> Iterator[None]:
    """Make packages importable for a while; afterwards nothing knows of them, nor of any patch."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import AutoModelForCausalLM

    # Importing the original registers its model type, which other tests want for this library.
    mappings = [CONFIG_MAPPING, AutoModelForCausalLM._model_mapping]
    before = [dict(mapping._extra_content.items()) for mapping in mappings]
    sys.path[:0] = [str(folder) for folder in folders]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        patches.undo("videollama2")
        for folder in folders:
            sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == "videollama2"]:
            del sys.modules[name]
        for mapping, contents in zip(mappings, before, strict=True):
            mapping._extra_content.clear()
            mapping._extra_content.update(contents)


def folders(kind: str) -> tuple[Path, ...]:
    return (STANDINS,) if kind == "stand-in" else ()


def load(name: str = "videollama2") -> Any:
    return importlib.import_module(name)


def qwen2() -> Any:
    return load("videollama2.model.videollama2_qwen2").Videollama2Qwen2ForCausalLM


def tiny_config(**changes: Any) -> Any:
    """A configuration of the original VideoLLaMA2.1, with the tower of the tiny checkpoint."""
    settings: dict[str, Any] = {
        "vocab_size": 370,
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 360,
        "eos_token_id": 362,
        "pad_token_id": 360,
        "mm_vision_tower": str(TOWER),
        "mm_hidden_size": 32,
        "mm_projector_type": "linear",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "num_frames": 2,
    }
    config_class = load("videollama2.model.videollama2_qwen2").Videollama2Qwen2Config
    return config_class(**{**settings, **changes})


def tiny_model(**changes: Any) -> Any:
    torch.manual_seed(0)
    return qwen2()(tiny_config(**changes)).eval()


def checkpoint_model() -> Any:
    """The tiny VideoRefer checkpoint in the original's own class."""
    return qwen2().from_pretrained(CHECKPOINT, mm_vision_tower=str(TOWER)).eval()
