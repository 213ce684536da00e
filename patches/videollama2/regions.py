"""Regions for `Videollama2Qwen2ForCausalLM`, through this library's object encoder."""

from types import ModuleType

from ..engine import Changes, Patch, expect_attribute, expect_parameters

_SPLICE = ("input_ids", "attention_mask", "past_key_values", "labels", "images")
_FORWARD = ("input_ids", "attention_mask", "position_ids", "past_key_values", "inputs_embeds", "labels")


def _install(module: ModuleType | None, changes: Changes) -> str | None:
    name = PATCH.name
    model_class = expect_attribute(module, "Videollama2Qwen2ForCausalLM", name)
    expect_parameters(model_class, "__init__", ("config",), name)
    expect_parameters(model_class, "forward", _FORWARD, name)
    expect_parameters(model_class, "generate", ("inputs", "images"), name)
    expect_parameters(model_class, "prepare_inputs_labels_for_multimodal", _SPLICE, name)
    expect_parameters(model_class, "get_vision_tower", (), name)
    from .region_model import region_methods  # not above: it needs torch

    for method, function in region_methods(model_class).items():
        changes.set(model_class, method, function)
    return None


PATCH = Patch(
    name="regions",
    target="videollama2.model.videollama2_qwen2: Videollama2Qwen2ForCausalLM",
    modules=("videollama2.model.videollama2_qwen2",),
    transformers=">=5.18,<6",
    package="<2",
    why="the original cannot be pointed at objects. With the patch, forward and generate take the region tensors of "
    "VideoReferProcessor, once the model has an object encoder (from model.add_object_encoder or a checkpoint).",
    until="never: this is what the library is for. Our own VideoLLaMA2 port does the same without the original",
    install=_install,
)
