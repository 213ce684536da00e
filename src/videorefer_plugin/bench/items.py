"""The items of the paper's benchmarks, from `bench.benchmarks`."""

from videorefer_plugin.bench.benchmarks.captions import CaptionItem, read_captions
from videorefer_plugin.bench.benchmarks.descriptions import DescriptionItem, read_descriptions
from videorefer_plugin.bench.benchmarks.questions import QUESTION_TYPES, QuestionItem, read_questions
from videorefer_plugin.bench.reading import MODES, Item

__all__ = [
    "MODES",
    "QUESTION_TYPES",
    "CaptionItem",
    "DescriptionItem",
    "Item",
    "QuestionItem",
    "read_captions",
    "read_descriptions",
    "read_questions",
]
