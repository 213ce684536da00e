"""Builds the models and processors of recipes."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoProcessor, AutoTokenizer
from transformers.utils import logging

from videorefer_plugin.errors import CheckpointError, ConfigurationError, VideoReferError
from videorefer_plugin.hosts import RegionProcessor, attach_object_encoder, load_checkpoint, load_object_encoder
from videorefer_plugin.hosts.attach import AttachedRegionMixin
from videorefer_plugin.hosts.configuration import CONFIG_NAME
from videorefer_plugin.models.quantized import is_quantized
from videorefer_plugin.models.sharded import receives_weights
from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
from videorefer_plugin.models.videorefer.regions import RegionMixin
from videorefer_plugin.training.parts import modules_of_parts, set_trainable
from videorefer_plugin.training.quantization import prepare_quantized, quantization_config
from videorefer_plugin.training.recipe import LoraSettings, ModelSettings, Recipe

__all__ = ["build", "build_model", "build_processor", "prepare_for_training"]

logger = logging.get_logger(__name__)


def build(settings: ModelSettings) -> tuple[Any, Any]:
    """Load or create the model of a recipe and its processor.

    Returns:
        `tuple`: a [`VideoReferForConditionalGeneration`] and its processor, or a host with an attached object encoder
        and its [`RegionProcessor`].

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        ConfigurationError: the dtype is unknown, or the checkpoint is not of a supported host.
    """
    processor = build_processor(settings)
    model = build_model(settings, processor)
    if isinstance(model, AttachedRegionMixin):
        return model, RegionProcessor(processor, model)
    if model.object_encoder.config.kind == "pooled":
        processor.max_tokens_per_region = model.object_encoder.config.max_tokens_per_region
    return model, processor


def build_processor(settings: ModelSettings) -> Any:
    """Load the processor of a recipe (for a host, the host's own), or create one for a new model.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
    """
    if settings.language_model is None:
        return _load(AutoProcessor, settings.processor or settings.checkpoint)
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
    """Load the model of a recipe, or create a new one from a language model and a vision tower.

    A checkpoint without an object encoder counts as a host, to which an object encoder is attached.

    Raises:
        CheckpointError: a checkpoint cannot be loaded.
        ConfigurationError: the dtype is unknown, or the checkpoint is not of a supported host.
    """
    dtype = getattr(torch, settings.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise ConfigurationError(f"model.dtype={settings.dtype!r} is not a dtype; use float32, bfloat16 or float16.")
    options: dict[str, Any] = {"dtype": dtype}
    if settings.quantization:
        options["quantization_config"] = quantization_config(settings.quantization)
    if settings.attn_implementation is not None:
        options["attn_implementation"] = settings.attn_implementation
    if settings.language_model is not None:
        config = _new_config(settings)
        for name in ("region_token_id", "image_token_id", "video_token_id"):
            setattr(config, name, getattr(processor, name))
        model = VideoReferForConditionalGeneration.from_pretrained(settings.language_model, config=config, **options)
        return _with_memory(model)
    model = _with_memory(load_checkpoint(str(settings.checkpoint), **options))
    saved = settings.object_encoder
    if saved is None and (Path(str(settings.checkpoint)) / CONFIG_NAME).is_file():
        saved = settings.checkpoint  # a host that was saved with its object encoder
    if saved is not None:
        load_object_encoder(model, saved, processor=None if isinstance(model, RegionMixin) else processor)
    elif not isinstance(model, RegionMixin):
        attach_object_encoder(model, processor=processor)
        logger.warning("%s gets a new object encoder, which has learned nothing yet.", settings.checkpoint)
    if settings.max_tokens_per_region is not None:
        if model.object_encoder.config.kind != "pooled":
            raise ConfigurationError(
                f"model.max_tokens_per_region={settings.max_tokens_per_region} is for object encoders that merge over "
                f"time, but that of {settings.checkpoint} looks at crops. Leave it out."
            )
        model.object_encoder.config.max_tokens_per_region = settings.max_tokens_per_region
    return model


def _with_memory(model: Any) -> Any:
    """Allocate memory for parameters on the device `meta`, whose values another process sends.

    Accelerate distinguishes parameters of the optimizer by their address, and all parameters on `meta` have the same.
    """
    if not receives_weights():
        return model
    made: dict[int, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            if parameter.is_meta:
                if id(parameter) not in made:
                    empty = torch.zeros_like(parameter, device="cpu")
                    made[id(parameter)] = torch.nn.Parameter(empty, requires_grad=parameter.requires_grad)
                setattr(module, name, made[id(parameter)])
    return model


def _load(auto_class: Any, source: Any, **options: Any) -> Any:
    try:
        return auto_class.from_pretrained(source, **options)
    except VideoReferError:
        raise
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{source!r} cannot be loaded with {auto_class.__name__}: {error}") from error


def _new_config(settings: ModelSettings) -> VideoReferConfig:
    text = AutoConfig.from_pretrained(settings.language_model)
    tower = AutoConfig.from_pretrained(settings.vision_tower)
    unions = (
        {} if settings.max_tokens_per_region is None else {"max_tokens_per_region": settings.max_tokens_per_region}
    )
    layer = {} if settings.vision_feature_layer is None else {"vision_feature_layer": settings.vision_feature_layer}
    return VideoReferConfig(
        **layer,
        text_config=text.get_text_config(),
        vision_config=getattr(tower, "vision_config", tower),
        vision_tower=settings.vision_tower,
        tie_word_embeddings=text.tie_word_embeddings,
        object_encoder_config=unions,
    )


def prepare_for_training(model: Any, recipe: Recipe) -> Any:
    """Freeze the parts that a recipe does not train, and add adapters if it asks for them.

    Returns:
        The model, wrapped by PEFT if the recipe has a LoRA section.

    Raises:
        ConfigurationError: a part is unknown, its weights are quantized, or `peft` is needed and not installed.
    """
    if is_quantized(model):
        model = prepare_quantized(model, lora=recipe.lora is not None, parts=recipe.train.parts)
    set_trainable(model, recipe.train.parts)
    if getattr(model, "_no_split_modules", None):  # FSDP needs each of these classes, also those of other towers
        there = {type(module).__name__ for module in model.modules()}
        model._no_split_modules = [name for name in model._no_split_modules if name in there]
    if recipe.lora is not None:
        model = _add_lora(model, recipe.lora, recipe.train.parts)
    _keep_full_precision(model)
    if recipe.train.gradient_checkpointing:
        # Re-entrant checkpointing loses gradients if no input needs any, as with a frozen language model.
        # Renamed within the supported range of versions.
        if hasattr(model, "activation_checkpointing_enable"):
            model.activation_checkpointing_enable({"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable({"use_reentrant": False})
    model.config.use_cache = False
    return model


def _keep_full_precision(model: Any) -> None:
    """Convert trained weights in half precision to float32; the forward pass uses autocast.

    Small updates to bfloat16 weights round to zero. DeepSpeed keeps float32 copies itself; FSDP needs one dtype for
    all weights that it shards together, and casts by itself.
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
        modules_to_save=modules_of_parts(model, parts) or None,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)
