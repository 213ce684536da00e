"""The items of the benchmarks of the paper; see `bench.benchmarks`, where each lives with its benchmark."""

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
