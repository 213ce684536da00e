"""The check of the Reviewer (paper, appendix C.1): people look at some kept and some discarded items."""

from videorefer_plugin.data_engine.review.drawing import Review, draw_review
from videorefer_plugin.data_engine.review.export import Exported, export_bench_d
from videorefer_plugin.data_engine.review.filling import (
    Checked,
    Drawn,
    fill_in,
    read_drawn,
    read_filled,
    write_answer,
)
from videorefer_plugin.data_engine.review.measures import PAPER, ReviewTable
from videorefer_plugin.data_engine.review.sample import is_of

__all__ = [
    "PAPER",
    "Checked",
    "Drawn",
    "Exported",
    "Review",
    "ReviewTable",
    "draw_review",
    "export_bench_d",
    "fill_in",
    "is_of",
    "read_drawn",
    "read_filled",
    "write_answer",
]
