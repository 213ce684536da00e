"""Benchmarks: VideoRefer-Bench-Q and -D, captions, and general video understanding."""

from typing import TYPE_CHECKING

from videorefer_plugin._names import public_names

# Loaded on first use, so that reading a benchmark does not wait for torch and transformers.
if TYPE_CHECKING:
    from videorefer_plugin.bench.answerers import Answerer as Answerer
    from videorefer_plugin.bench.answerers import BoxText as BoxText
    from videorefer_plugin.bench.answerers import MarkedEndpoint as MarkedEndpoint
    from videorefer_plugin.bench.answerers import MarkedModel as MarkedModel
    from videorefer_plugin.bench.answerers import RegionModel as RegionModel
    from videorefer_plugin.bench.benchmarks.base import Benchmark as Benchmark
    from videorefer_plugin.bench.benchmarks.registry import benchmark_of as benchmark_of
    from videorefer_plugin.bench.benchmarks.registry import register_benchmark as register_benchmark
    from videorefer_plugin.bench.captions import score_captions as score_captions
    from videorefer_plugin.bench.description_scores import score_descriptions as score_descriptions
    from videorefer_plugin.bench.endpoint import ChatEndpoint as ChatEndpoint
    from videorefer_plugin.bench.endpoint import LocalChat as LocalChat
    from videorefer_plugin.bench.evaluate import evaluate_captions as evaluate_captions
    from videorefer_plugin.bench.evaluate import evaluate_descriptions as evaluate_descriptions
    from videorefer_plugin.bench.evaluate import evaluate_questions as evaluate_questions
    from videorefer_plugin.bench.frame_by_frame import FramesThenSummary as FramesThenSummary
    from videorefer_plugin.bench.items import CaptionItem as CaptionItem
    from videorefer_plugin.bench.items import DescriptionItem as DescriptionItem
    from videorefer_plugin.bench.items import Item as Item
    from videorefer_plugin.bench.items import QuestionItem as QuestionItem
    from videorefer_plugin.bench.items import read_captions as read_captions
    from videorefer_plugin.bench.items import read_descriptions as read_descriptions
    from videorefer_plugin.bench.items import read_questions as read_questions
    from videorefer_plugin.bench.judge_prompts import JudgePrompt as JudgePrompt
    from videorefer_plugin.bench.judges import ChatJudge as ChatJudge
    from videorefer_plugin.bench.judges import Judge as Judge
    from videorefer_plugin.bench.judges import RuleJudge as RuleJudge
    from videorefer_plugin.bench.marks import draw_marks as draw_marks
    from videorefer_plugin.bench.marks import mark_item as mark_item
    from videorefer_plugin.bench.question_scores import score_questions as score_questions
    from videorefer_plugin.bench.report import find_results as find_results
    from videorefer_plugin.bench.report import write_report as write_report
    from videorefer_plugin.bench.runner import Shard as Shard
    from videorefer_plugin.bench.seeing import FrameEndpoint as FrameEndpoint
    from videorefer_plugin.bench.seeing import FrameModel as FrameModel
else:
    __all__, __getattr__, __dir__ = public_names(__name__)
