"""Configurations and weight names of the original VideoLLaMA2 and VideoRefer checkpoints."""

import json
import os
import re
from pathlib import Path
from typing import Any

from transformers.configuration_utils import PreTrainedConfig
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.utils import logging

from videorefer_plugin._text import short
from videorefer_plugin.errors import CheckpointError, ConfigurationError
from videorefer_plugin.inputs.wording import REGION_TOKEN
from videorefer_plugin.models.checkpoint_files import check_files
from videorefer_plugin.models.hub_arguments import elsewhere, in_subfolder

__all__ = [
    "ORIGINAL_KEY_MAPPING",
    "ORIGINAL_MODEL_TYPES",
    "check_model_type",
    "find_vision_tower",
    "may_be_on_hub",
    "translate_config",
]

logger = logging.get_logger(__name__)

ORIGINAL_MODEL_TYPES = ("videorefer_qwen2", "videollama2_qwen2")

_QWEN2_TOKENIZER_LENGTH = 151646

# Patterns that match original names only, so that they can be applied to any checkpoint.
ORIGINAL_KEY_MAPPING = {
    r"^model\.(embed_tokens|layers|norm)\.": r"model.language_model.\1.",
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.vision_tower\.vision_tower\.": "model.vision_tower.",
    r"^model\.mm_projector\.s1\.": "model.connector.first_stage.",
    r"^model\.mm_projector\.sampler\.0\.": "model.connector.downsample.",
    r"^model\.mm_projector\.s2\.": "model.connector.second_stage.",
    r"^model\.mm_projector\.readout\.": "model.connector.projector.",
    r"^model\.region_encoder\.feat_linear\.": "object_encoder.projector.",
}

# The tower of the published models, so that a complete checkpoint loads where its tower's folder is out of reach.
_KNOWN_TOWERS = {
    "siglip-so400m-patch14-384": {
        "model_type": "siglip_vision_model",
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_hidden_layers": 27,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    },
}


def check_model_type(target: Any, folder: str | os.PathLike) -> None:
    """Refuse a folder that is not one of our checkpoints; defaults would make a model of the published size from it.

    Args:
        target (`type`): the configuration class.
        folder (`str` or `os.PathLike`): the folder; a Hub id is left alone.

    Raises:
        CheckpointError: it has no readable `config.json`, or this is of another kind of model.
    """
    if not os.path.isdir(folder):
        return
    check_files(folder, ["config.json"], needed=["config.json"])
    kind = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8")).get("model_type")
    base = ("videollama2",) if target.original_model_types == ORIGINAL_MODEL_TYPES else ()
    known = (target.model_type, *base, *target.original_model_types)
    if kind not in known:
        raise CheckpointError(
            f"config.json in {os.fspath(folder)!r} is of model_type {short(kind)}, which this class does not load; "
            f"it loads {', '.join(map(repr, dict.fromkeys(known)))}. Others load with AutoModelForImageTextToText."
        )


def find_vision_tower(name: str | os.PathLike, checkpoint: str | os.PathLike | None) -> str | None:
    """Search for a vision tower's folder: in the working directory, then beside (or in) the checkpoint.

    Args:
        name (`str` or `os.PathLike`): the tower's name or path.
        checkpoint (`str` or `os.PathLike`, *optional*): folder of the checkpoint that names it.

    Returns:
        The folder's path, or `None` if there is none, in which case the name may still be one of the Hub.
    """
    candidates = [Path(name)]
    if checkpoint is not None and not Path(name).is_absolute():
        candidates += [Path(checkpoint).parent / name, Path(checkpoint) / name]
    return next((str(path) for path in candidates if (path / "config.json").is_file()), None)


def may_be_on_hub(name: str | os.PathLike) -> bool:
    """Whether a name has the form of an id on the Hub, so that looking for it there is worth the wait."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", os.fspath(name)) is not None


def translate_config(
    config_dict: dict[str, Any],
    target: type[PreTrainedConfig],
    checkpoint: str | os.PathLike | None,
    vision_tower: str | os.PathLike | None = None,
    hub: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Translate the original code's flat configuration into nested ones.

    Args:
        config_dict (`dict`): the original configuration.
        target (`type`): configuration class to translate for; settings that it does not have are left out.
        checkpoint (`str` or `os.PathLike`, *optional*): folder of the checkpoint.
        vision_tower (`str` or `os.PathLike`, *optional*): name or path to use instead of the recorded one.
        hub (`dict`, *optional*): arguments that say how the checkpoint's files are fetched.

    Raises:
        CheckpointError: no vision tower is named, or it is nowhere to be found.
        ConfigurationError: the connector, region encoder or selected feature is not supported.
    """
    flat = dict(config_dict)
    source = os.fspath(vision_tower) if vision_tower is not None else flat.get("mm_vision_tower")
    if not source:
        raise CheckpointError(
            f"The configuration of {checkpoint or 'this checkpoint'} names no vision tower (mm_vision_tower). "
            "Pass vision_tower= with the folder or Hub id of a SigLIP or CLIP model."
        )
    feature = flat.get("mm_vision_select_feature") or "patch"
    if feature != "patch":
        raise ConfigurationError(
            f"Unsupported mm_vision_select_feature {feature!r}: the connector needs the square grid of 'patch'."
        )
    hub = hub or {}
    vision_config = _vision_config(source, checkpoint and in_subfolder(checkpoint, hub), elsewhere(hub))
    width = flat.get("mm_hidden_size", vision_config.hidden_size)
    if width != vision_config.hidden_size:
        raise CheckpointError(
            f"The checkpoint was made with a vision tower of width {width} (mm_hidden_size), but {source!r} has width "
            f"{vision_config.hidden_size}. Pass vision_tower= with the right one."
        )
    from transformers import Qwen2Config  # not above: this module is imported while the Auto classes are

    text_keys = set(Qwen2Config.__dataclass_fields__) | {"rope_theta", "rope_scaling"}
    text_keys -= set(PreTrainedConfig.__dataclass_fields__)
    region = _region_token_id(flat, checkpoint, hub)
    nested: dict[str, Any] = {
        "model_type": target.model_type,
        "text_config": {"model_type": "qwen2", **{key: flat[key] for key in text_keys & set(flat)}},
        "vision_config": vision_config.to_dict(),
        "vision_tower": source,
        "projector_type": flat.get("mm_projector_type") or "linear",
        "vision_feature_layer": flat.get("mm_vision_select_layer", -2),
        "image_aspect_ratio": "pad" if flat.get("image_aspect_ratio") == "pad" else "square",
        "tie_word_embeddings": flat.get("tie_word_embeddings", False),
        "image_token_id": region + 1,
        "video_token_id": region + 2,
    }
    if flat.get("num_frames") is not None:
        nested["num_frames"] = flat["num_frames"]
    for key in ("dtype", "torch_dtype", "transformers_version", "name_or_path", "pad_token_id"):
        if flat.get(key) is not None:
            nested[key] = flat[key]
    extend = getattr(target, "translate_original", None)
    return extend(flat, nested) if extend is not None else nested


def _region_token_id(flat: dict[str, Any], checkpoint: str | os.PathLike | None, hub: dict[str, Any]) -> int:
    """Id of `<region>`: where the original code put it, or would put it."""
    if flat["model_type"] == "videorefer_qwen2":
        return flat["vocab_size"] - 1  # the embedding table was cut to the tokenizer, whose last token it is
    # VideoLLaMA2 leaves Qwen2's padded table alone, so only the tokenizer knows the first free row. It is not loaded
    # with AutoTokenizer, which would ask for this configuration first.
    from transformers import Qwen2Tokenizer  # not above, where the Auto classes are still being imported

    try:
        vocabulary = Qwen2Tokenizer.from_pretrained(os.fspath(checkpoint or ""), **hub).get_vocab()
    except (OSError, ValueError):
        vocabulary = {}
    if len(vocabulary) < 256:  # without files, it has no bytes
        return min(_QWEN2_TOKENIZER_LENGTH, flat["vocab_size"])
    return vocabulary.get(REGION_TOKEN, len(vocabulary))


def _vision_config(source: str, checkpoint: str | os.PathLike | None, hub: dict[str, Any]) -> PreTrainedConfig:
    folder = find_vision_tower(source, checkpoint)
    if folder is None and Path(source).name in _KNOWN_TOWERS:
        known = dict(_KNOWN_TOWERS[Path(source).name])
        return AutoConfig.for_model(known.pop("model_type"), **known)
    try:
        if folder is None and not may_be_on_hub(source):
            raise FileNotFoundError(source)
        config_dict, _ = PreTrainedConfig.get_config_dict(folder or source, **hub)
    except (OSError, ValueError) as error:
        beside = f", beside the checkpoint ({Path(checkpoint).parent})" if checkpoint is not None else ""
        raise CheckpointError(
            f"The vision tower {source!r} was found neither from the working directory ({Path.cwd()}){beside} nor on "
            "the Hub (as owner/name). Pass vision_tower= with the folder or Hub id of the tower."
        ) from error
    # A full text-and-vision model, like the public SigLIP, keeps the tower's part in `vision_config`.
    kind = str(config_dict.get("model_type", "")).removesuffix("_vision_model")
    values = dict(config_dict.get("vision_config", config_dict))
    values.pop("model_type", None)
    if kind not in ("siglip", "clip"):
        raise ConfigurationError(f"The vision tower {source!r} is of type {kind!r}; supported are SigLIP and CLIP.")
    return AutoConfig.for_model(f"{kind}_vision_model", **values)
