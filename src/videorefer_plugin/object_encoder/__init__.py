"""The object encoders in pure PyTorch: no transformers needed."""

from videorefer_plugin.object_encoder.configuration import ObjectEncoderConfig
from videorefer_plugin.object_encoder.crop_configuration import CropEncoderConfig
from videorefer_plugin.object_encoder.crop_module import CropEncoder, object_cells
from videorefer_plugin.object_encoder.crops import Crop, CropRule, fit_size, resize_crop
from videorefer_plugin.object_encoder.grids import MASK_POLICIES, GridRule
from videorefer_plugin.object_encoder.masks import pool_masks, resize_masks
from videorefer_plugin.object_encoder.merge import adjacent_similarity, merge_tokens
from videorefer_plugin.object_encoder.module import ObjectEncoder, ObjectEncoderOutput
from videorefer_plugin.object_encoder.registry import (
    build_encoder,
    encoder_kinds,
    is_encoder_config,
    read_encoder_config,
    register_encoder,
)

__all__ = [
    "MASK_POLICIES",
    "Crop",
    "CropEncoder",
    "CropEncoderConfig",
    "CropRule",
    "GridRule",
    "ObjectEncoder",
    "ObjectEncoderConfig",
    "ObjectEncoderOutput",
    "adjacent_similarity",
    "build_encoder",
    "encoder_kinds",
    "fit_size",
    "is_encoder_config",
    "merge_tokens",
    "object_cells",
    "pool_masks",
    "read_encoder_config",
    "register_encoder",
    "resize_crop",
    "resize_masks",
]
