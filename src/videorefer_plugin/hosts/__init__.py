"""Regions for any supported Video LLM: a small file for each family of hosts, one line to register it.

[`attach_object_encoder`] gives a loaded transformers model an object encoder; [`RegionProcessor`] wraps its processor.
See [`Host`] to add a family from outside this package.
"""

from videorefer_plugin.hosts import (  # noqa: F401 - importing a family registers it
    internvl,
    llava_onevision,
    perception_lm,
    qwen2_5_vl,
    qwen3_vl,
    smolvlm,
    video_llama_3,
    videollama2,
)
from videorefer_plugin.hosts.attach import attach_object_encoder, detach_object_encoder
from videorefer_plugin.hosts.configuration import AttachmentConfig
from videorefer_plugin.hosts.grids import FrameGrids, VisualGrid
from videorefer_plugin.hosts.loading import load_checkpoint, load_object_encoder
from videorefer_plugin.hosts.processing import RegionProcessor
from videorefer_plugin.hosts.registry import Host, Visual, host_of, register_host, supported_hosts

__all__ = [
    "AttachmentConfig",
    "FrameGrids",
    "Host",
    "RegionProcessor",
    "Visual",
    "VisualGrid",
    "attach_object_encoder",
    "detach_object_encoder",
    "host_of",
    "load_checkpoint",
    "load_object_encoder",
    "register_host",
    "supported_hosts",
]
