"""Files with which a checkpoint loads with `trust_remote_code=True` if this package is installed but not imported.

transformers finds classes it does not know through `auto_map`, which names files beside the weights. Ours hold one
import each: the code stays in this package, and where the package is missing the error names it. They are written by
every `save_pretrained`, not only on publishing, for two reasons: a folder that is uploaded by other means also
works, and models need no hook into the layer that publishes, which is above them.
"""

import os
from pathlib import Path

__all__ = [
    "CONFIG_SHIMS",
    "LLAMA3_CONFIG_SHIMS",
    "LLAMA3_PROCESSOR_SHIMS",
    "MODEL_AUTO_MAPS",
    "PROCESSOR_AUTO_MAPS",
    "PROCESSOR_SHIMS",
    "SHIM_FILES",
    "config_shims",
    "processor_shims",
    "write_shims",
]

_HEAD = "# The classes of this checkpoint live in a package: pip install videorefer-plugin\n"

CONFIG_SHIMS = {
    "configuration_videorefer.py": f"{_HEAD}from videorefer_plugin import VideoLLaMA2Config, VideoReferConfig\n",
    "modeling_videorefer.py": (
        f"{_HEAD}from videorefer_plugin import "
        "VideoLLaMA2ForConditionalGeneration, VideoLLaMA2Model, VideoReferForConditionalGeneration\n"
    ),
}
PROCESSOR_SHIMS = {
    "processing_videorefer.py": f"{_HEAD}from videorefer_plugin import VideoLLaMA2Processor, VideoReferProcessor\n",
}

_LLAMA3 = "VideoReferVideoLLaMA3"
# Of this model type the files have names of their own, so that those of the others stay as they are.
LLAMA3_CONFIG_SHIMS = {
    "configuration_videollama3.py": f"{_HEAD}from videorefer_plugin import {_LLAMA3}Config\n",
    "modeling_videollama3.py": f"{_HEAD}from videorefer_plugin import {_LLAMA3}ForConditionalGeneration\n",
}
LLAMA3_PROCESSOR_SHIMS = {
    "processing_videollama3.py": f"{_HEAD}from videorefer_plugin import {_LLAMA3}Processor\n",
}

SHIM_FILES = frozenset([*CONFIG_SHIMS, *PROCESSOR_SHIMS, *LLAMA3_CONFIG_SHIMS, *LLAMA3_PROCESSOR_SHIMS])

_GENERATIVE = ("AutoModelForCausalLM", "AutoModelForImageTextToText", "AutoModelForMultimodalLM")

# By model type, and agreeing with what `_registration` registers.
MODEL_AUTO_MAPS = {
    "videollama2": {
        "AutoConfig": "configuration_videorefer.VideoLLaMA2Config",
        "AutoModel": "modeling_videorefer.VideoLLaMA2Model",
        **dict.fromkeys(_GENERATIVE, "modeling_videorefer.VideoLLaMA2ForConditionalGeneration"),
    },
    "videorefer": {
        "AutoConfig": "configuration_videorefer.VideoReferConfig",
        **dict.fromkeys(("AutoModel", *_GENERATIVE), "modeling_videorefer.VideoReferForConditionalGeneration"),
    },
    "videorefer_videollama3": {
        "AutoConfig": f"configuration_videollama3.{_LLAMA3}Config",
        **dict.fromkeys(("AutoModel", *_GENERATIVE), f"modeling_videollama3.{_LLAMA3}ForConditionalGeneration"),
    },
}
PROCESSOR_AUTO_MAPS = {
    "videollama2": {"AutoProcessor": "processing_videorefer.VideoLLaMA2Processor"},
    "videorefer": {"AutoProcessor": "processing_videorefer.VideoReferProcessor"},
    "videorefer_videollama3": {"AutoProcessor": f"processing_videollama3.{_LLAMA3}Processor"},
}


def config_shims(model_type: str | None) -> dict[str, str]:
    """Return the shim files beside the weights of a model of some type."""
    return LLAMA3_CONFIG_SHIMS if model_type == "videorefer_videollama3" else CONFIG_SHIMS


def processor_shims(model_type: str | None) -> dict[str, str]:
    """Return the shim files beside the processor of a model of some type."""
    return LLAMA3_PROCESSOR_SHIMS if model_type == "videorefer_videollama3" else PROCESSOR_SHIMS


def write_shims(folder: str | os.PathLike, shims: dict[str, str]) -> None:
    """Write shim files into a checkpoint's folder.

    Args:
        folder (`str` or `os.PathLike`): folder, which must exist.
        shims (`dict[str, str]`): `CONFIG_SHIMS` or `PROCESSOR_SHIMS`.
    """
    for name, text in shims.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
