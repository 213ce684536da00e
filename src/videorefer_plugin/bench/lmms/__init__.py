"""lmms-eval: this library's models as one of its models, and the benchmarks of the paper as its tasks.

The entry point `lmms_eval.models` of the package is `manifests`. Task folders are in `TASKS`; they find their data
through the environment (see `documents`), which `videorefer bench general` sets.
"""

from pathlib import Path
from typing import Any

__all__ = ["MODEL_NAME", "TASKS", "manifests"]

MODEL_NAME = "videorefer"
TASKS = Path(__file__).with_name("tasks")


def manifests() -> Any:
    """What lmms-eval is told of the model; called by it."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_NAME, simple_class_path="videorefer_plugin.bench.lmms.model.VideoReferLMMS")
