"""Integration with lmms-eval: this library's models as a model of lmms-eval, and its benchmarks as tasks.

The entry point `lmms_eval.models` of the package is `manifests`. `python -m videorefer_plugin.bench.lmms FOLDER`
writes folders of tasks for lmms-eval's `--include_path`, which find their data through the environment (see
`documents`). `videorefer bench general` does both.
"""

from typing import Any

__all__ = ["MODEL_NAME", "manifests"]

MODEL_NAME = "videorefer"


def manifests() -> Any:
    """Return the description of the model for lmms-eval, which calls this function."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_NAME, simple_class_path="videorefer_plugin.bench.lmms.model.VideoReferLMMS")
