"""Clicks, boxes and words become masklets: an object's mask in every frame of a video.

A backend is a subclass of [`Segmenter`] in a file of its own, and `registry` registers it with one line. Modules
import only modules that come before them in this list: `prompts`, `events`, `registry`, `masklet`, `cuts` and
`frames`, `collecting`, `base`, `following`. Backends are on the level of `following`, and are imported when they are
loaded.
"""

from videorefer_plugin.segment.base import Segmenter
from videorefer_plugin.segment.events import Candidate, FrameMask, Note, Tracked
from videorefer_plugin.segment.following import find_regions, propagate_many
from videorefer_plugin.segment.masklet import Masklet, load_masklets, save_masklets
from videorefer_plugin.segment.prompts import Prompt, read_prompts
from videorefer_plugin.segment.registry import load_segmenter, register_segmenter, segmenters

__all__ = [
    "Candidate",
    "FrameMask",
    "Masklet",
    "Note",
    "Prompt",
    "Segmenter",
    "Tracked",
    "find_regions",
    "load_masklets",
    "load_segmenter",
    "propagate_many",
    "read_prompts",
    "register_segmenter",
    "save_masklets",
    "segmenters",
]
