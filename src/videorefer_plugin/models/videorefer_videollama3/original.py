"""Configurations and weight names of the original VideoLLaMA3 and VideoRefer-VideoLLaMA3 checkpoints."""

import os
from pathlib import Path
from typing import Any

from transformers.configuration_utils import PreTrainedConfig

from videorefer_plugin._text import short
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.models.hub_arguments import elsewhere, in_subfolder
from videorefer_plugin.models.videollama2.original import find_vision_tower, may_be_on_hub
from videorefer_plugin.models.weights import weight_shapes

__all__ = [
    "ORIGINAL_KEY_MAPPING",
    "ORIGINAL_MODEL_TYPES",
    "REFUSED_MODEL_TYPES",
    "translate_config",
    "visual_token_budget",
]

ORIGINAL_MODEL_TYPES = ("videollama3_qwen2",)

_PIXELREFER = (
    "its object encoder adds the position of the crop in the frame (region_encoder.pos_linear), and its k-means has "
    "other numbers of centers and rounds"
)
# Relatives of which no reference numbers exist, and what this library lacks for each.
REFUSED_MODEL_TYPES = {
    "pixelrefer_qwen2": f"a PixelRefer checkpoint: {_PIXELREFER}",
    "pixelreferlite_qwen2": (
        "a PixelRefer-Lite checkpoint: its object encoder attends to crops of the frame (region_encoder."
        "fusion_attention_local and fusion_attention_global), and its language model runs without the tokens of the "
        "clip"
    ),
}

# Patterns that match original names only, so that they can be applied to any checkpoint. Base checkpoints have shorter
# names of the tower's weights.
ORIGINAL_KEY_MAPPING = {
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
    r"^model\.vision_encoder\.vision_encoder\.vision_model\.": "model.vision_model.",
    r"^model\.vision_encoder\.vision_encoder\.": "model.vision_model.",
    r"^model\.vision_encoder\.": "model.vision_model.",
    r"^model\.mm_projector\.readout\.": "model.projector.readout.",
    r"^model\.region_encoder\.feat_linear\.": "object_encoder.projector.",
}

_DEFAULT_LENGTH = 9477  # visual tokens, before merging, where a checkpoint does not say
_TOWER_KEYS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels", "patch_size"),
    *("hidden_act", "layer_norm_eps", "attention_dropout"),
)
_KNOWN_WIDTH, _KNOWN_HEADS = 1152, 16  # SigLIP so400m, the tower of the published models


def visual_token_budget(flat: dict[str, Any]) -> int:
    """Most visual tokens of an image, or of a whole clip, in an original configuration."""
    return flat.get("mm_max_length") or _DEFAULT_LENGTH // (flat.get("spatial_merge_size") or 2) ** 2


def translate_config(
    flat: dict[str, Any],
    target: Any,
    checkpoint: str | os.PathLike | None,
    vision_tower: str | os.PathLike | None,
    hub: dict[str, Any],
) -> dict[str, Any]:
    """Translate the original code's flat configuration into nested ones.

    Args:
        flat (`dict`): the original configuration.
        target (`type`): configuration class to translate for.
        checkpoint (`str` or `os.PathLike`, *optional*): folder of the checkpoint.
        vision_tower (`str` or `os.PathLike`, *optional*): name or path to use instead of the recorded one.
        hub (`dict`): arguments that say how the checkpoint's files are fetched.

    Raises:
        CheckpointError: the vision tower's description is nowhere to be found, and the tower is not the known one.
        ConfigurationError: the checkpoint is a relative that is not supported, or has an unsupported part.
    """
    kind = flat["model_type"]
    if kind in REFUSED_MODEL_TYPES:
        raise ConfigurationError(
            f"{checkpoint or 'This checkpoint'} is of model_type {kind!r}, {REFUSED_MODEL_TYPES[kind]}. This library "
            f"does not load it; it loads {', '.join(map(repr, ORIGINAL_MODEL_TYPES))}."
        )
    projector = flat.get("mm_projector_type") or "mlp2x_gelu"
    if projector != "mlp2x_gelu":
        raise ConfigurationError(f"Unknown mm_projector_type {short(projector)}; only 'mlp2x_gelu' is supported.")
    if not flat.get("use_token_compression", True):
        raise ConfigurationError(
            "The checkpoint has use_token_compression false, which the original code cannot run. Set it to true in "
            "config.json; compress_tokens=False of the processor keeps all tokens."
        )
    source = vision_tower if vision_tower is not None else flat.get("mm_vision_encoder") or flat.get("vision_encoder")
    folder = None if checkpoint is None else in_subfolder(checkpoint, hub)
    vision = _vision_config(source, folder, elsewhere(hub))
    width = flat.get("mm_hidden_size", vision["hidden_size"])
    if width != vision["hidden_size"]:
        raise CheckpointError(
            f"The checkpoint was made with a vision tower of width {width} (mm_hidden_size), but {str(source)!r} has "
            f"width {vision['hidden_size']}. Pass vision_tower= with the right one."
        )
    from transformers import Qwen2Config  # not above: this module is imported while the Auto classes are

    text_keys = set(Qwen2Config.__dataclass_fields__) | {"rope_theta", "rope_scaling"}
    text_keys -= set(PreTrainedConfig.__dataclass_fields__)
    tied = flat.get("tie_word_embeddings", False)
    image = flat.get("image_token_index")
    region = flat.get("region_token_index", flat["vocab_size"] - 1)
    image = region - 3 if image is None or image < 0 else image
    nested: dict[str, Any] = {
        "model_type": target.model_type,
        "text_config": {
            "model_type": "qwen2",
            **{key: flat[key] for key in text_keys & set(flat)},
            "tie_word_embeddings": tied,
        },
        "vision_config": {"model_type": "video_llama_3_vision", **vision},
        "vision_tower": None if source is None else os.fspath(source),
        "tie_word_embeddings": tied,
        "image_token_id": image,
        "video_token_id": image + 1,  # <|stream_start|>, which nothing else needs
        "region_token_id": region,
        "spatial_merge_size": flat.get("spatial_merge_size") or 2,
        "max_visual_tokens": visual_token_budget(flat),
    }
    for key in ("dtype", "torch_dtype", "transformers_version", "name_or_path", "pad_token_id"):
        if flat.get(key) is not None:
            nested[key] = flat[key]
    return nested


def _vision_config(source: Any, checkpoint: str | None, hub: dict[str, Any]) -> dict[str, Any]:
    """What describes the tower: its own folder, or the weights, if that is out of reach and the tower the known one.

    The number of heads cannot be told from weights.
    """
    folder = None if source is None else find_vision_tower(source, checkpoint)
    try:
        if folder is None and (source is None or not may_be_on_hub(source)):
            raise FileNotFoundError(source)
        values, _ = PreTrainedConfig.get_config_dict(folder or source, **hub)
    except (OSError, ValueError) as error:
        known = _of_weights(checkpoint)
        if known is not None:
            return known
        raise CheckpointError(
            f"The vision tower {str(source)!r} was found neither from the working directory ({Path.cwd()}), nor "
            "beside the checkpoint, nor on the Hub (as owner/name), and the number of its heads cannot be told from "
            "weights. Pass vision_tower= with the folder or Hub id of the tower."
        ) from error
    values = dict(values.get("vision_encoder_config") or values.get("vision_config") or values)
    lacking = [key for key in ("hidden_size", "num_attention_heads", "num_hidden_layers") if key not in values]
    if lacking:
        raise ConfigurationError(
            f"config.json of the vision tower {str(source)!r} does not say {', '.join(lacking)}, so it is not that of "
            "a tower of VideoLLaMA3. Pass vision_tower= with the right folder."
        )
    return {key: values[key] for key in _TOWER_KEYS if key in values}


def _of_weights(checkpoint: str | None) -> dict[str, Any] | None:
    """The known tower as its weights in a checkpoint describe it; `None` if they are of another one."""
    shapes = {} if checkpoint is None else weight_shapes(checkpoint)
    tower = {
        name.rpartition("vision_encoder.")[2]: shape for name, shape in shapes.items() if "vision_encoder." in name
    }
    tower = {name.removeprefix("vision_model."): shape for name, shape in tower.items()}
    embedding, first = (
        tower.get(name) for name in ("embeddings.patch_embedding.weight", "encoder.layers.0.mlp.fc1.weight")
    )
    if embedding is None or first is None or embedding[0] != _KNOWN_WIDTH:
        return None
    layers = {name.split(".")[2] for name in tower if name.startswith("encoder.layers.")}
    return {
        "hidden_size": embedding[0],
        "intermediate_size": first[0],
        "num_hidden_layers": len(layers),
        "num_attention_heads": _KNOWN_HEADS,
        "patch_size": embedding[-1],
    }
