"""Object-level understanding for Video LLMs: point at an object in a video and ask about it.

Importing this package is light: what it exports is loaded when it is first used. Importing it also makes its model
types known to the Auto classes of transformers.
"""

from typing import TYPE_CHECKING

from videorefer_plugin import _registration
from videorefer_plugin._names import public_names

__version__ = "0.1.0"

if TYPE_CHECKING:
    from videorefer_plugin.asking import ask as ask
    from videorefer_plugin.embedded import tiny_checkpoint as tiny_checkpoint
    from videorefer_plugin.errors import *
    from videorefer_plugin.hosts import RegionProcessor as RegionProcessor
    from videorefer_plugin.hosts import attach_object_encoder as attach_object_encoder
    from videorefer_plugin.hosts import detach_object_encoder as detach_object_encoder
    from videorefer_plugin.hosts import load_object_encoder as load_object_encoder
    from videorefer_plugin.hosts import register_host as register_host
    from videorefer_plugin.hosts import supported_hosts as supported_hosts
    from videorefer_plugin.inputs.masks import DrawnRegion as DrawnRegion
    from videorefer_plugin.inputs.masks import draw_region as draw_region
    from videorefer_plugin.models.feature_store import FeatureStore as FeatureStore
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config as VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.modeling import (
        VideoLLaMA2ForConditionalGeneration as VideoLLaMA2ForConditionalGeneration,
    )
    from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2Model as VideoLLaMA2Model
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor as VideoLLaMA2Processor
    from videorefer_plugin.models.videollama2.tower import frame_features as frame_features
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig as VideoReferConfig
    from videorefer_plugin.models.videorefer.crop_inputs import CropInputs as CropInputs
    from videorefer_plugin.models.videorefer.modeling import (
        VideoReferForConditionalGeneration as VideoReferForConditionalGeneration,
    )
    from videorefer_plugin.models.videorefer.processing import VideoReferProcessor as VideoReferProcessor
    from videorefer_plugin.models.videorefer.regions import RegionInputs as RegionInputs
    from videorefer_plugin.models.videorefer.regions import RegionMixin as RegionMixin
    from videorefer_plugin.models.videorefer_videollama3.configuration import (
        VideoReferVideoLLaMA3Config as VideoReferVideoLLaMA3Config,
    )
    from videorefer_plugin.models.videorefer_videollama3.modeling import (
        VideoReferVideoLLaMA3ForConditionalGeneration as VideoReferVideoLLaMA3ForConditionalGeneration,
    )
    from videorefer_plugin.models.videorefer_videollama3.processing import (
        VideoReferVideoLLaMA3Processor as VideoReferVideoLLaMA3Processor,
    )
    from videorefer_plugin.object_encoder import CropEncoder as CropEncoder
    from videorefer_plugin.object_encoder import CropEncoderConfig as CropEncoderConfig
    from videorefer_plugin.object_encoder import ObjectEncoder as ObjectEncoder
    from videorefer_plugin.object_encoder import ObjectEncoderConfig as ObjectEncoderConfig
    from videorefer_plugin.object_encoder import ObjectEncoderOutput as ObjectEncoderOutput
    from videorefer_plugin.object_encoder import merge_tokens as merge_tokens
    from videorefer_plugin.object_encoder import pool_masks as pool_masks
    from videorefer_plugin.object_encoder import resize_masks as resize_masks
    from videorefer_plugin.pictures import TokenSimilarity as TokenSimilarity
    from videorefer_plugin.regions import Region as Region
    from videorefer_plugin.segment import Masklet as Masklet
    from videorefer_plugin.segment import Prompt as Prompt
    from videorefer_plugin.segment import Segmenter as Segmenter
    from videorefer_plugin.segment import find_regions as find_regions
    from videorefer_plugin.segment import load_segmenter as load_segmenter
    from videorefer_plugin.segment import propagate_many as propagate_many
    from videorefer_plugin.segment import register_segmenter as register_segmenter
    from videorefer_plugin.segment import segmenters as segmenters
    from videorefer_plugin.session import SessionChat as SessionChat
    from videorefer_plugin.session import VideoSession as VideoSession
    from videorefer_plugin.video import load_image as load_image
    from videorefer_plugin.video import open_video as open_video
    from videorefer_plugin.video import sample_frame_indices as sample_frame_indices
else:
    __all__, __getattr__, __dir__ = public_names(__name__)

_registration.register()
