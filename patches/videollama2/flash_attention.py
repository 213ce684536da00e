"""Vision towers of `videollama2.model.encoder` without flash-attn."""

import copy
from types import ModuleType
from typing import Any

from ..engine import Changes, Patch, expect_attribute

_CLASSES = ("CLIPVisionModel", "SiglipVisionModel")


class TowerFactory:
    """Stands in for a tower's class and builds that very class, with another attention if flash-attn is missing.

    Not a subclass: transformers renames the weights of older checkpoints for its own classes only.
    """

    def __init__(self, tower_class: Any):
        self.tower_class = tower_class

    def __call__(self, config: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a tower."""
        return self.tower_class(_without_flash_attention(config), *args, **kwargs)

    def from_pretrained(self, *args: Any, **kwargs: Any) -> Any:
        """Load a tower as `PreTrainedModel.from_pretrained` does."""
        if kwargs.get("config") is not None:
            kwargs["config"] = _without_flash_attention(kwargs["config"])
        if kwargs.get("attn_implementation") == "flash_attention_2" and not _is_available():
            kwargs["attn_implementation"] = "sdpa"
        return self.tower_class.from_pretrained(*args, **kwargs)

    def __instancecheck__(self, instance: Any) -> bool:
        return isinstance(instance, self.tower_class)

    def __getattr__(self, name: str) -> Any:
        if name == "tower_class":  # not set while a copy is made
            raise AttributeError(name)
        return getattr(self.tower_class, name)


def _is_available() -> bool:
    from transformers.utils import is_flash_attn_2_available

    return is_flash_attn_2_available()


def _without_flash_attention(config: Any) -> Any:
    if getattr(config, "_attn_implementation", None) != "flash_attention_2" or _is_available():
        return config
    config = copy.deepcopy(config)
    config._attn_implementation = "sdpa"
    return config


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    towers = {name: expect_attribute(module, name, PATCH.name) for name in _CLASSES}
    for name, tower_class in towers.items():
        changes.set(module, name, TowerFactory(tower_class))
    return None


PATCH = Patch(
    name="flash_attention",
    target=f"videollama2.model.encoder: {', '.join(_CLASSES)}",
    modules=("videollama2.model.encoder",),
    transformers=">=5,<6",
    package="<2",
    why="the encoder asks for flash_attention_2 whatever is installed, and building a model fails without flash-attn. "
    "Where it is missing, towers use PyTorch's own attention (sdpa); where it is there, nothing changes.",
    until="videollama2 leaves the choice of attention to transformers",
    install=_install,
)
