"""Pictures: objects marked on frames, answers beside them, and the similarity of their tokens over time."""

from videorefer_plugin.pictures.answers import Line, check_picture, picture_answers
from videorefer_plugin.pictures.marks import COLORS, STYLES, draw_marks
from videorefer_plugin.pictures.similarity import TokenSimilarity, picture_similarity

__all__ = [
    "COLORS",
    "STYLES",
    "Line",
    "TokenSimilarity",
    "check_picture",
    "draw_marks",
    "picture_answers",
    "picture_similarity",
]
