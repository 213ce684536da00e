"""Models and processors that recipes start from."""

import os
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from transformers.utils import logging

from videorefer_plugin.errors import ConfigurationError
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
from videorefer_plugin.training.parts import set_trainable
from videorefer_plugin.training.recipe import LoraSettings, ModelSettings, Recipe

__all__ = ["build_model", "build_processor", "prepare_for_training"]

logger = logging.get_logger(__name__)


def build_processor(settings: ModelSettings) -> Any:
    """Load the processor of a recipe, or make one for a new model.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
    """
    if settings.language_model is None:
        return AutoProcessor.from_pretrained(settings.processor or settings.checkpoint)
    config = _new_config(settings)
    return VideoReferProcessor(
        AutoImageProcessor.from_pretrained(settings.vision_tower, backend="pil"),
        AutoTokenizer.from_pretrained(settings.processor or settings.language_model),
        num_frames=config.num_frames,
        patch_size=config.vision_config.patch_size,
        projector_type=config.projector_type,
        max_tokens_per_region=config.object_encoder_config.max_tokens_per_region,
    )


def build_model(settings: ModelSettings, processor: Any) -> Any:
    """Load the model of a recipe, or make a new one from a language model and a vision tower.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        ConfigurationError: the dtype is unknown, or the model has no object encoder.
    """
    dtype = getattr(torch, settings.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigurationError(f"model.dtype={settings.dtype!r} is no dtype; use float32, bfloat16 or float16.")
    options: dict[str, Any] = {"dtype": dtype}
    if settings.attn_implementation is not None:
        options["attn_implementation"] = settings.attn_implementation
    if settings.language_model is not None:
        config = _new_config(settings)
        for name in ("region_token_id", "image_token_id", "video_token_id"):
            setattr(config, name, getattr(processor, name))
        return VideoReferForConditionalGeneration.from_pretrained(settings.language_model, config=config, **options)
    model = AutoModelForImageTextToText.from_pretrained(settings.checkpoint, **options)
    if not hasattr(model, "object_encoder"):
        raise ConfigurationError(
            f"{settings.checkpoint} is a {type(model).__name__} without an object encoder. Attach one first "
            "(attach_object_encoder), or start from a VideoRefer or VideoLLaMA2.1 checkpoint."
        )
    if settings.max_tokens_per_region is not None:
        model.object_encoder.config.max_tokens_per_region = settings.max_tokens_per_region
        processor.max_tokens_per_region = settings.max_tokens_per_region
    return model


def _new_config(settings: ModelSettings) -> VideoReferConfig:
    text = AutoConfig.from_pretrained(settings.language_model)
    tower = AutoConfig.from_pretrained(settings.vision_tower)
    unions = (
        {} if settings.max_tokens_per_region is None else {"max_tokens_per_region": settings.max_tokens_per_region}
    )
    return VideoReferConfig(
        text_config=text.get_text_config(),
        vision_config=getattr(tower, "vision_config", tower),
        vision_tower=settings.vision_tower,
        tie_word_embeddings=text.tie_word_embeddings,
        object_encoder_config=unions,
    )


def prepare_for_training(model: Any, recipe: Recipe) -> Any:
    """Freeze what a recipe does not train, and add adapters if it asks for them.

    Returns:
        The model, wrapped by PEFT if the recipe has a LoRA section.

    Raises:
        ConfigurationError: a part is unknown, or `peft` is needed and not installed.
    """
    set_trainable(model, recipe.train.parts)
    if recipe.lora is not None:
        model = _add_lora(model, recipe.lora, recipe.train.parts)
    _keep_full_precision(model)
    if recipe.train.gradient_checkpointing:
        # Re-entrant checkpointing loses gradients where no input needs any, as with a frozen language model.
        # Renamed within the range of versions that is supported.
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable({"use_reentrant": False})
    model.config.use_cache = False
    return model


def _keep_full_precision(model: Any) -> None:
    """Train in float32 what was loaded in half precision; the forward pass is autocast.

    Small updates to bfloat16 weights round to nothing. DeepSpeed keeps float32 copies itself; FSDP wants one dtype
    for everything that it shards together, and casts on its own.
    """
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "false") == "true":
        return
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false") == "true"
    for parameter in model.parameters():
        if parameter.requires_grad or sharded:
            parameter.data = parameter.data.float()


def _add_lora(model: Any, settings: LoraSettings, parts: list[str]) -> Any:
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ConfigurationError("A lora section needs peft: pip install 'videorefer-plugin[train]'.") from error
    decoder = model.get_decoder()
    prefix = next(name for name, module in model.named_modules() if module is decoder)
    names = "|".join(settings.targets)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=rf"{prefix.replace('.', r'[.]')}[.].*[.]({names})",  # of the language model, not the tower
        modules_to_save=[part for part in parts if part != "language_model"] or None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
