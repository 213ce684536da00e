"""Sources of videos, captions and objects: tables, layouts of known data sets, and folders of clips."""

from videorefer_plugin.data_engine.sources.entries import Candidate, LeftOut
from videorefer_plugin.data_engine.sources.reading import SourceList, read_sources
from videorefer_plugin.data_engine.sources.registry import layouts, register_layout

__all__ = ["Candidate", "LeftOut", "SourceList", "layouts", "read_sources", "register_layout"]
