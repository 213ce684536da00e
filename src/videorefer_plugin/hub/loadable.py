"""Checks that a folder's weights and processor fit the model that its configuration describes."""

from pathlib import Path
from typing import Any

from videorefer_plugin.errors import PublishError
from videorefer_plugin.hub.contents import FolderContents
from videorefer_plugin.models.shims import MODEL_AUTO_MAPS
from videorefer_plugin.models.videollama2.original import ORIGINAL_MODEL_TYPES
from videorefer_plugin.models.videorefer_videollama3.original import ORIGINAL_MODEL_TYPES as LLAMA3_MODEL_TYPES

__all__ = ["check_model", "check_processor"]

_TOKENIZERS = ("tokenizer.json", "vocab.json", "tokenizer.model")


def check_model(contents: FolderContents, shapes: dict[str, list[int]]) -> Any:
    """Compare names and shapes of a folder's weights with those of its model.

    Args:
        contents ([`FolderContents`]): the folder.
        shapes (`dict[str, list[int]]`): the weights that were found.

    Returns:
        The model's configuration.

    Raises:
        PublishError: the configuration is of another kind of model or cannot be read, or weights are missing.
    """
    import torch

    folder, model_type = contents.folder, contents.config.get("model_type")
    if model_type in (*ORIGINAL_MODEL_TYPES, *LLAMA3_MODEL_TYPES):
        raise PublishError(
            f"{folder} is in the layout of the original code (model_type {model_type!r}). Load it, and publish what "
            "save_pretrained writes: AutoModel.from_pretrained(folder).save_pretrained(new_folder), and the same "
            "with AutoProcessor."
        )
    if model_type not in MODEL_AUTO_MAPS:
        raise PublishError(
            f"{folder} holds a model of type {model_type!r}; models that can be published are of type "
            f"{' or '.join(map(repr, MODEL_AUTO_MAPS))}. Of another host, publish the object encoder or adapter alone."
        )
    config, classes = _config_and_classes(folder, model_type)
    name = (contents.config.get("architectures") or [""])[0]
    if name not in classes:
        raise PublishError(
            f"{folder}/config.json names the architecture {name!r}; a {model_type} model is one of "
            f"{', '.join(classes)}. Save the model again with save_pretrained."
        )
    if contents.config.get("quantization_config"):
        return config  # quantized weights have other names and shapes
    with torch.device("meta"):
        model = classes[name](config)
    wanted = {key: list(value.shape) for key, value in model.state_dict().items()}
    tied = set(getattr(model, "all_tied_weights_keys", None) or ())
    missing = sorted(key for key in wanted if key not in shapes and key not in tied)
    if missing:
        raise PublishError(
            f"The weights in {folder} lack {missing[0]} ({len(missing)} of {len(wanted)} are missing), so the model "
            "would start them at random. Save the whole model with save_pretrained."
        )
    for key, shape in wanted.items():
        if key in shapes and list(shapes[key]) != shape:
            raise PublishError(
                f"{key} has shape {list(shapes[key])} in the weights of {folder}, but config.json asks for {shape}. "
                "Weights and configuration are of different models."
            )
    return config


def check_processor(folder: Path, config: Any) -> None:
    """Load a folder's processor, and compare the values that it shares with the model's configuration.

    Args:
        folder (`Path`): the folder.
        config (`PreTrainedConfig`): the model's configuration.

    Raises:
        PublishError: the processor does not load, or belongs to another model.
    """
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
    from videorefer_plugin.models.videorefer.processing import VideoReferProcessor

    if not any((folder / name).is_file() for name in _TOKENIZERS):
        # transformers would silently create an empty one.
        raise PublishError(f"{folder} has a processor but no tokenizer ({', '.join(_TOKENIZERS)}). Save both again.")
    from videorefer_plugin.models.videorefer_videollama3.processing import VideoReferVideoLLaMA3Processor

    classes: dict[str, Any] = {
        "videollama2": VideoLLaMA2Processor,
        "videorefer": VideoReferProcessor,
        "videorefer_videollama3": VideoReferVideoLLaMA3Processor,
    }
    try:
        processor = classes[config.model_type].from_pretrained(folder, local_files_only=True)
    except Exception as error:  # a damaged tokenizer can raise almost anything
        raise PublishError(f"The processor in {folder} does not load: {error}") from error
    for name, value in _shared_facts(config).items():
        if getattr(processor, name) != value:
            raise PublishError(
                f"The processor in {folder} belongs to another model: its {name} is {getattr(processor, name)}, but "
                f"the model's is {value}. Save the processor that the model was trained with."
            )


def _shared_facts(config: Any) -> dict[str, Any]:
    """The values on which a model and its processor must agree."""
    facts: dict[str, Any] = {"image_token_id": config.image_token_id, "video_token_id": config.video_token_id}
    if config.model_type == "videorefer_videollama3":
        names = ("region_token_id", "spatial_merge_size", "max_visual_tokens", "object_encoder_config")
        return {**facts, **{name: getattr(config, name) for name in names}}
    facts |= {name: getattr(config, name) for name in ("num_frames", "grid_size", "projector_type")}
    if config.model_type == "videorefer":
        facts["region_token_id"] = config.region_token_id
        facts["max_tokens_per_region"] = config.object_encoder_config.max_tokens_per_region
    return facts


def _config_and_classes(folder: Path, model_type: str) -> tuple[Any, dict[str, Any]]:
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration, VideoLLaMA2Model
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
    from videorefer_plugin.models.videorefer_videollama3.configuration import VideoReferVideoLLaMA3Config
    from videorefer_plugin.models.videorefer_videollama3.modeling import VideoReferVideoLLaMA3ForConditionalGeneration

    kinds: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "videollama2": (VideoLLaMA2Config, (VideoLLaMA2Model, VideoLLaMA2ForConditionalGeneration)),
        "videorefer": (VideoReferConfig, (VideoReferForConditionalGeneration,)),
        "videorefer_videollama3": (VideoReferVideoLLaMA3Config, (VideoReferVideoLLaMA3ForConditionalGeneration,)),
    }
    config_class, classes = kinds[model_type]
    try:
        config = config_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # strict configurations raise errors of huggingface_hub
        raise PublishError(f"{folder}/config.json does not describe a model: {error}") from error
    return config, {cls.__name__: cls for cls in classes}
