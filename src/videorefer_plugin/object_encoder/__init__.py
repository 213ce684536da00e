"""The paper's object encoder in pure PyTorch: no transformers needed."""

from videorefer_plugin.object_encoder.configuration import ObjectEncoderConfig
from videorefer_plugin.object_encoder.grids import MASK_POLICIES, GridRule
from videorefer_plugin.object_encoder.masks import pool_masks, resize_masks
from videorefer_plugin.object_encoder.merge import adjacent_similarity, merge_tokens
from videorefer_plugin.object_encoder.module import ObjectEncoder, ObjectEncoderOutput

__all__ = [
    "MASK_POLICIES",
    "GridRule",
    "ObjectEncoder",
    "ObjectEncoderConfig",
    "ObjectEncoderOutput",
    "adjacent_similarity",
    "merge_tokens",
    "pool_masks",
    "resize_masks",
]
