"""Save an object encoder alone."""

import os
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from videorefer_plugin._files import write_whole
from videorefer_plugin._places import check_folder_place, writing
from videorefer_plugin.errors import CheckpointError
from videorefer_plugin.hosts.configuration import WEIGHTS_NAME, AttachmentConfig
from videorefer_plugin.models.quantized import check_savable

__all__ = ["attachment_of", "same_towers", "save_object_encoder", "trained_encoder"]

# Model types of the same host: the original code's, and this library's without and with an object encoder.
_ONE_HOST = frozenset(["videollama2", "videollama2_qwen2", "videorefer", "videorefer_qwen2"])


def save_object_encoder(model: Any, folder: str | os.PathLike, state: dict[str, Tensor] | None = None) -> None:
    """Write `object_encoder.safetensors` and `object_encoder_config.json`; see `model.save_object_encoder`.

    Args:
        model (`PreTrainedModel`): the model.
        folder (`str` or `os.PathLike`): created if it does not exist.
        state (`dict[str, torch.Tensor]`, *optional*):
            Weights of the object encoder, if the model does not hold all of them; see [`trained_encoder`].

    Raises:
        CheckpointError: the folder cannot be written, or the weights are packed and cannot be saved.
    """
    check_folder_place(folder, CheckpointError)
    if state is None:
        encoder = trained_encoder(model)
        check_savable(encoder)
        state = encoder.state_dict()
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with writing(folder, CheckpointError, also=(SafetensorError,)):
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_whole(Path(folder) / WEIGHTS_NAME, lambda name: save_file(state, name, metadata={"format": "pt"}))
        attachment_of(model).save(folder)


def trained_encoder(model: Any) -> Any:
    """Return the object encoder to save: PEFT keeps the original beside the trained copy."""
    encoder = model.object_encoder
    return encoder.modules_to_save[encoder.active_adapter] if hasattr(encoder, "modules_to_save") else encoder


def attachment_of(model: Any) -> AttachmentConfig:
    """The configuration beside the weights of a model's object encoder; VideoRefer has one without an attachment."""
    attachment = getattr(model, "object_encoder_attachment", None)
    if attachment is not None:
        return attachment
    config = model.config
    return AttachmentConfig(
        host_model_type=config.model_type,
        object_encoder=model.object_encoder.config,
        patch_size=config.vision_config.patch_size,
        vision_feature_layer=getattr(config, "vision_feature_layer", None),
        base_model_name_or_path=getattr(model, "name_or_path", None) or None,
        region_token_id=config.region_token_id,
    )


def same_towers(one: str | None, other: str | None) -> bool:
    """Whether an object encoder that was trained for a host of one model type may be loaded onto one of the other.

    The sizes, and the layer of the tower that is used, are compared separately.
    """
    return one == other or {one, other} <= _ONE_HOST
