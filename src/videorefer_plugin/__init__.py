"""Object-level understanding for Video LLMs: point at an object in a video and ask about it.

Importing this package is light: what it exports is loaded when it is first used. Importing it also makes its model
types known to the Auto classes of transformers.
"""

import importlib
from typing import TYPE_CHECKING, Any

from videorefer_plugin import _registration

__version__ = "0.1.0"

_EXPORTS = {
    "BenchError": "errors",
    "ChatError": "errors",
    "CheckpointError": "errors",
    "ConfigurationError": "errors",
    "EngineError": "errors",
    "PatchError": "errors",
    "PromptError": "errors",
    "RecordError": "errors",
    "PublishError": "errors",
    "RegionError": "errors",
    "SegmentError": "errors",
    "SessionError": "errors",
    "TensorError": "errors",
    "TrainingError": "errors",
    "VideoError": "errors",
    "VideoReferError": "errors",
    "Region": "regions",
    "load_image": "video",
    "open_video": "video",
    "sample_frame_indices": "video",
    "ObjectEncoder": "object_encoder",
    "ObjectEncoderConfig": "object_encoder",
    "ObjectEncoderOutput": "object_encoder",
    "merge_tokens": "object_encoder",
    "pool_masks": "object_encoder",
    "resize_masks": "object_encoder",
    "DrawnRegion": "inputs.masks",
    "draw_region": "inputs.masks",
    "TokenSimilarity": "pictures",
    "FeatureStore": "models.feature_store",
    "frame_features": "models.videollama2.tower",
    "VideoLLaMA2Config": "models.videollama2.configuration",
    "VideoLLaMA2ForConditionalGeneration": "models.videollama2.modeling",
    "VideoLLaMA2Model": "models.videollama2.modeling",
    "VideoLLaMA2Processor": "models.videollama2.processing",
    "RegionInputs": "models.videorefer.regions",
    "RegionMixin": "models.videorefer.regions",
    "VideoReferConfig": "models.videorefer.configuration",
    "VideoReferForConditionalGeneration": "models.videorefer.modeling",
    "VideoReferProcessor": "models.videorefer.processing",
    "RegionProcessor": "hosts",
    "attach_object_encoder": "hosts",
    "detach_object_encoder": "hosts",
    "load_object_encoder": "hosts",
    "register_host": "hosts",
    "supported_hosts": "hosts",
    "SessionChat": "session",
    "VideoSession": "session",
    "ask": "asking",
    "Masklet": "segment",
    "Prompt": "segment",
    "Segmenter": "segment",
    "find_regions": "segment",
    "load_segmenter": "segment",
    "propagate_many": "segment",
    "register_segmenter": "segment",
    "segmenters": "segment",
    "tiny_checkpoint": "embedded",
}

__all__ = [
    "BenchError",
    "ChatError",
    "CheckpointError",
    "ConfigurationError",
    "DrawnRegion",
    "EngineError",
    "FeatureStore",
    "Masklet",
    "ObjectEncoder",
    "ObjectEncoderConfig",
    "ObjectEncoderOutput",
    "PatchError",
    "Prompt",
    "PromptError",
    "PublishError",
    "Region",
    "RegionError",
    "RegionInputs",
    "RegionMixin",
    "RegionProcessor",
    "SegmentError",
    "Segmenter",
    "SessionChat",
    "SessionError",
    "TensorError",
    "TokenSimilarity",
    "TrainingError",
    "VideoError",
    "VideoLLaMA2Config",
    "VideoLLaMA2ForConditionalGeneration",
    "VideoLLaMA2Model",
    "VideoLLaMA2Processor",
    "VideoReferConfig",
    "VideoReferError",
    "VideoReferForConditionalGeneration",
    "VideoReferProcessor",
    "VideoSession",
    "ask",
    "attach_object_encoder",
    "detach_object_encoder",
    "draw_region",
    "find_regions",
    "frame_features",
    "load_image",
    "load_object_encoder",
    "load_segmenter",
    "merge_tokens",
    "open_video",
    "pool_masks",
    "propagate_many",
    "register_host",
    "register_segmenter",
    "resize_masks",
    "sample_frame_indices",
    "segmenters",
    "supported_hosts",
    "tiny_checkpoint",
]

if TYPE_CHECKING:
    from videorefer_plugin.asking import ask
    from videorefer_plugin.embedded import tiny_checkpoint
    from videorefer_plugin.errors import (
        BenchError,
        ChatError,
        CheckpointError,
        ConfigurationError,
        EngineError,
        PatchError,
        PromptError,
        PublishError,
        RegionError,
        SegmentError,
        SessionError,
        TensorError,
        TrainingError,
        VideoError,
        VideoReferError,
    )
    from videorefer_plugin.hosts import (
        RegionProcessor,
        attach_object_encoder,
        detach_object_encoder,
        load_object_encoder,
        register_host,
        supported_hosts,
    )
    from videorefer_plugin.inputs.masks import DrawnRegion, draw_region
    from videorefer_plugin.models.feature_store import FeatureStore
    from videorefer_plugin.models.videollama2.configuration import VideoLLaMA2Config
    from videorefer_plugin.models.videollama2.modeling import VideoLLaMA2ForConditionalGeneration, VideoLLaMA2Model
    from videorefer_plugin.models.videollama2.processing import VideoLLaMA2Processor
    from videorefer_plugin.models.videollama2.tower import frame_features
    from videorefer_plugin.models.videorefer.configuration import VideoReferConfig
    from videorefer_plugin.models.videorefer.modeling import VideoReferForConditionalGeneration
    from videorefer_plugin.models.videorefer.processing import VideoReferProcessor
    from videorefer_plugin.models.videorefer.regions import RegionInputs, RegionMixin
    from videorefer_plugin.object_encoder import (
        ObjectEncoder,
        ObjectEncoderConfig,
        ObjectEncoderOutput,
        merge_tokens,
        pool_masks,
        resize_masks,
    )
    from videorefer_plugin.pictures import TokenSimilarity
    from videorefer_plugin.regions import Region
    from videorefer_plugin.segment import (
        Masklet,
        Prompt,
        Segmenter,
        find_regions,
        load_segmenter,
        propagate_many,
        register_segmenter,
        segmenters,
    )
    from videorefer_plugin.session import SessionChat, VideoSession
    from videorefer_plugin.video import load_image, open_video, sample_frame_indices


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})


_registration.register()
