"""Training: records in the format of VideoRefer-700K, batches with labels, and a check of data before it is used."""

import importlib
from typing import TYPE_CHECKING, Any

# Loaded when they are first used, so that checking a file of records does not wait for torch and transformers.
_EXPORTS = {
    "BadRecord": "check",
    "DataReport": "check",
    "check_data": "check",
    "DataSource": "dataset",
    "VideoReferDataset": "dataset",
    "VideoReferCollator": "collator",
    "Record": "records",
    "parse_record": "records",
    "show_records": "looks",
}

__all__ = [
    "BadRecord",
    "DataReport",
    "DataSource",
    "Record",
    "VideoReferCollator",
    "VideoReferDataset",
    "check_data",
    "parse_record",
    "show_records",
]

if TYPE_CHECKING:
    from videorefer_plugin.training.check import BadRecord, DataReport, check_data
    from videorefer_plugin.training.collator import VideoReferCollator
    from videorefer_plugin.training.dataset import DataSource, VideoReferDataset
    from videorefer_plugin.training.looks import show_records
    from videorefer_plugin.training.records import Record, parse_record


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
