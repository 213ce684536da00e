"""lmms-eval: this library's models as one of its models, and benchmarks of this library as its tasks.

The entry point `lmms_eval.models` of the package is `manifests`. `python -m videorefer_plugin.bench.lmms FOLDER`
writes task folders for lmms-eval's `--include_path`; they find their data through the environment (see `documents`).
`videorefer bench general` does both.
"""

from typing import Any

__all__ = ["MODEL_NAME", "manifests"]

MODEL_NAME = "videorefer"


def manifests() -> Any:
    """What lmms-eval is told of the model; called by it."""
    from lmms_eval.models.registry_v2 import ModelManifest

    return ModelManifest(model_id=MODEL_NAME, simple_class_path="videorefer_plugin.bench.lmms.model.VideoReferLMMS")
