"""`Videollama2Qwen2ForCausalLM` and the key-value cache, which is named `cache` since transformers 5.24."""

import inspect
from types import ModuleType
from typing import Any

from videorefer_plugin.errors import PatchError

from ..engine import Changes, Patch, expect_attribute, expect_parameters

_OLD = "past_key_values"
_FORWARD = ("input_ids", "attention_mask", "position_ids", _OLD)


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    from transformers import Qwen2ForCausalLM

    from videorefer_plugin.models.cache import CACHE  # not above: it needs torch

    name = PATCH.name
    model_class = expect_attribute(module, "Videollama2Qwen2ForCausalLM", name)
    if CACHE == _OLD:
        return f"transformers calls it {_OLD}, too"
    if CACHE in inspect.signature(expect_attribute(model_class, "forward", name)).parameters:
        return f"Videollama2Qwen2ForCausalLM takes {CACHE} already"
    expect_parameters(model_class, "forward", _FORWARD, name)
    expect_parameters(model_class, "prepare_inputs_for_generation", ("input_ids", _OLD), name)
    bases = model_class.__bases__
    if bases[0] is not Qwen2ForCausalLM:
        raise PatchError(
            f"The patch {name!r} expects Videollama2Qwen2ForCausalLM to be derived from Qwen2ForCausalLM first, but "
            f"its bases are {', '.join(base.__name__ for base in bases)}. Leave it out with skip=({name!r},)."
        )

    class Qwen2WithPastKeyValues(Qwen2ForCausalLM):
        """A class between the two, which gives the cache the name that each of them uses."""

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **_renamed(kwargs, _OLD, CACHE))

        def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            # The original passes on the `cache` from `generate`, and its own `past_key_values`, which is None.
            kwargs = {CACHE: kwargs.pop(_OLD, None), **kwargs}
            return _renamed(super().prepare_inputs_for_generation(*args, **kwargs), CACHE, _OLD)

    changes.set(model_class, "__bases__", (Qwen2WithPastKeyValues, *bases[1:]))
    return None


def _renamed(arguments: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in arguments.items()}


PATCH = Patch(
    name="cache_name",
    target="videollama2.model.videollama2_qwen2: Videollama2Qwen2ForCausalLM.__bases__",
    modules=("videollama2.model.videollama2_qwen2",),
    transformers=">=5.18,<6",
    package="<2",
    why="transformers 5.24 passes the keys and values of earlier tokens as cache. The original looks for them under "
    "past_key_values, so that from the second token on it generates from the last token alone, without an error.",
    until="videollama2 takes cache",
    install=_install,
)
