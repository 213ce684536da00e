"""`transformers.TRANSFORMERS_CACHE`, which was removed, for `videollama2.model.projector`."""

import sys
from types import ModuleType

from ..engine import Changes, Patch

_NAME = "TRANSFORMERS_CACHE"


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    # Not `module`: importing transformers.processing_utils runs transformers/__init__.py once more, and a new module
    # replaces the first, which is why this patch waits for both.
    transformers = sys.modules["transformers"]
    if not hasattr(transformers, _NAME):
        from huggingface_hub.constants import HF_HUB_CACHE

        changes.set(transformers, _NAME, HF_HUB_CACHE)
    elif not changes:
        return f"this version of transformers has {_NAME}"
    return None


PATCH = Patch(
    name="transformers_cache",
    target="transformers: TRANSFORMERS_CACHE",
    modules=("transformers", "transformers.processing_utils"),
    transformers=">=5,<6",
    package="<2",
    why="videollama2.model.projector imports it to find downloaded connectors; transformers 5 has removed it. It "
    "becomes the Hub's cache folder, which it was an alias of.",
    until="videollama2 takes the folder from huggingface_hub",
    install=_install,
)
