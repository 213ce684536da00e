"""A stand-in for `deepspeed`, which `videollama2.videollama2_trainer` imports even if it is not used."""

import contextlib
import importlib.util
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ..engine import Changes, Patch


class _Unavailable:
    """A name of deepspeed that can be imported but not used."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        raise ImportError(f"{self._name}.{attribute} needs deepspeed, which is not installed: pip install deepspeed.")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ImportError(f"{self._name} needs deepspeed, which is not installed: pip install deepspeed.")


def set_z3_leaf_modules(model: Any, leaf_module_classes: Any) -> list[Any]:
    """Mark modules for ZeRO-3, as `train.py` does for mixtures of experts; without deepspeed, none are sharded."""
    return []


# Module -> names in it that the original imports.
_MODULES: dict[str, tuple[str, ...]] = {
    "deepspeed": (),
    "deepspeed.zero": ("GatheredParameters",),
    "deepspeed.utils": (),
    "deepspeed.runtime": (),
    "deepspeed.runtime.zero": (),
    "deepspeed.runtime.zero.partition_parameters": ("ZeroParamStatus",),
}


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    # A broken installation has no specification either; its own error is more helpful than a stand-in.
    with contextlib.suppress(ValueError):
        if importlib.util.find_spec("deepspeed") is not None:
            return "deepspeed is installed"
    modules = {}
    for name, contents in _MODULES.items():
        modules[name] = ModuleType(name, "Stand-in by videorefer_plugin.patches: deepspeed is not installed.")
        # Without a specification, `find_spec("deepspeed")` raises a ValueError. With one, callers look for the
        # metadata of an installed deepspeed next, and find none.
        modules[name].__spec__ = ModuleSpec(name, loader=None, is_package=True)
        modules[name].__path__ = []
        for each in contents:
            setattr(modules[name], each, _Unavailable(f"{name}.{each}"))
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, modules[name])
    modules["deepspeed.utils"].set_z3_leaf_modules = set_z3_leaf_modules  # type: ignore[attr-defined]
    for name, stand_in in modules.items():
        changes.add_module(name, stand_in)
    return None


PATCH = Patch(
    name="deepspeed_import",
    target="sys.modules: deepspeed, only where it is not installed",
    modules=(),
    transformers=">=5,<6",
    package="<2",
    why="saving a connector or LoRA weights imports deepspeed to see whether parameters are sharded, also if it is "
    "not used. The stand-in can be imported and nothing else.",
    until="videollama2 imports deepspeed only for parameters that are sharded",
    install=_install,
)
