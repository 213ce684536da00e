"""Benchmarks: VideoRefer-Bench-Q and -D, captions, and general video understanding."""

import importlib
from typing import TYPE_CHECKING, Any

# Loaded when they are first used, so that reading a benchmark does not wait for torch and transformers.
_EXPORTS = {
    "Answerer": "answerers",
    "MarkedEndpoint": "answerers",
    "MarkedModel": "answerers",
    "RegionModel": "answerers",
    "Benchmark": "benchmarks.base",
    "benchmark_of": "benchmarks.registry",
    "register_benchmark": "benchmarks.registry",
    "score_captions": "captions",
    "score_descriptions": "description_scores",
    "ChatEndpoint": "endpoint",
    "LocalChat": "endpoint",
    "evaluate_captions": "evaluate",
    "evaluate_descriptions": "evaluate",
    "evaluate_questions": "evaluate",
    "CaptionItem": "items",
    "DescriptionItem": "items",
    "QuestionItem": "items",
    "read_captions": "items",
    "read_descriptions": "items",
    "read_questions": "items",
    "ChatJudge": "judges",
    "Judge": "judges",
    "RuleJudge": "judges",
    "draw_marks": "marks",
    "score_questions": "question_scores",
    "find_results": "report",
    "write_report": "report",
    "Shard": "runner",
}

__all__ = [
    "Answerer",
    "Benchmark",
    "CaptionItem",
    "ChatEndpoint",
    "ChatJudge",
    "DescriptionItem",
    "Judge",
    "LocalChat",
    "MarkedEndpoint",
    "MarkedModel",
    "QuestionItem",
    "RegionModel",
    "RuleJudge",
    "Shard",
    "benchmark_of",
    "draw_marks",
    "evaluate_captions",
    "evaluate_descriptions",
    "evaluate_questions",
    "find_results",
    "read_captions",
    "read_descriptions",
    "read_questions",
    "register_benchmark",
    "score_captions",
    "score_descriptions",
    "score_questions",
    "write_report",
]

if TYPE_CHECKING:
    from videorefer_plugin.bench.answerers import Answerer, MarkedEndpoint, MarkedModel, RegionModel
    from videorefer_plugin.bench.benchmarks.base import Benchmark
    from videorefer_plugin.bench.benchmarks.registry import benchmark_of, register_benchmark
    from videorefer_plugin.bench.captions import score_captions
    from videorefer_plugin.bench.description_scores import score_descriptions
    from videorefer_plugin.bench.endpoint import ChatEndpoint, LocalChat
    from videorefer_plugin.bench.evaluate import evaluate_captions, evaluate_descriptions, evaluate_questions
    from videorefer_plugin.bench.items import (
        CaptionItem,
        DescriptionItem,
        QuestionItem,
        read_captions,
        read_descriptions,
        read_questions,
    )
    from videorefer_plugin.bench.judges import ChatJudge, Judge, RuleJudge
    from videorefer_plugin.bench.marks import draw_marks
    from videorefer_plugin.bench.question_scores import score_questions
    from videorefer_plugin.bench.report import find_results, write_report
    from videorefer_plugin.bench.runner import Shard


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_EXPORTS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
