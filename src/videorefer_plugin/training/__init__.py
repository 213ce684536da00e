"""Training: records in the format of VideoRefer-700K, batches with labels, and checks of data before training."""

from typing import TYPE_CHECKING

from videorefer_plugin._names import public_names

# Loaded when they are first used, so that checking a file of records does not wait for torch and transformers.
if TYPE_CHECKING:
    from videorefer_plugin.training.check import BadRecord as BadRecord
    from videorefer_plugin.training.check import DataReport as DataReport
    from videorefer_plugin.training.check import check_data as check_data
    from videorefer_plugin.training.collator import VideoReferCollator as VideoReferCollator
    from videorefer_plugin.training.dataset import DataSource as DataSource
    from videorefer_plugin.training.dataset import VideoReferDataset as VideoReferDataset
    from videorefer_plugin.training.looks import show_records as show_records
    from videorefer_plugin.training.records import Record as Record
    from videorefer_plugin.training.records import parse_record as parse_record
else:
    __all__, __getattr__, __dir__ = public_names(__name__)
