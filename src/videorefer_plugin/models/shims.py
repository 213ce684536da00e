"""What lets a checkpoint load with `trust_remote_code=True` where this package is installed but was not imported.

transformers finds classes it does not know through `auto_map`, which names files beside the weights. Ours hold one
import each: the code stays in this package, and where the package is missing the error names it. They are written by
every `save_pretrained`, not only on publishing, for two reasons. A folder that somebody uploads by other means then
works too. And models need no hook into the layer that publishes, which stands above them.
"""

import os
from pathlib import Path

__all__ = ["CONFIG_SHIMS", "MODEL_AUTO_MAPS", "PROCESSOR_AUTO_MAPS", "PROCESSOR_SHIMS", "write_shims"]

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
}
PROCESSOR_AUTO_MAPS = {
    "videollama2": {"AutoProcessor": "processing_videorefer.VideoLLaMA2Processor"},
    "videorefer": {"AutoProcessor": "processing_videorefer.VideoReferProcessor"},
}


def write_shims(folder: str | os.PathLike, shims: dict[str, str]) -> None:
    """Write shim files into a checkpoint's folder.

    Args:
        folder (`str` or `os.PathLike`): folder, which must exist.
        shims (`dict[str, str]`): `CONFIG_SHIMS` or `PROCESSOR_SHIMS`.
    """
    for name, text in shims.items():
        (Path(folder) / name).write_text(text, encoding="utf-8")
