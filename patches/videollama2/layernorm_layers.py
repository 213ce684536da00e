"""`transformers.trainer.ALL_LAYERNORM_LAYERS`, which has moved, for `videollama2.videollama2_trainer`."""

from types import ModuleType

from ..engine import Changes, Patch, expect_attribute

_NAME = "ALL_LAYERNORM_LAYERS"


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    if hasattr(module, _NAME):
        return f"transformers.trainer has {_NAME}"
    import transformers.pytorch_utils

    changes.set(module, _NAME, expect_attribute(transformers.pytorch_utils, _NAME, PATCH.name))
    return None


PATCH = Patch(
    name="layernorm_layers",
    target="transformers.trainer: ALL_LAYERNORM_LAYERS",
    modules=("transformers.trainer",),
    transformers=">=5,<6",
    package="<2",
    why="videollama2.videollama2_trainer imports it from there; in transformers 5 it is only in "
    "transformers.pytorch_utils.",
    until="videollama2 imports it from transformers.pytorch_utils",
    install=_install,
)
