"""Pictures: objects marked on frames, answers beside them, overlays, and the similarity of object tokens over time."""

from videorefer_plugin.pictures.answers import Line, check_picture, picture_answers
from videorefer_plugin.pictures.marks import COLORS, STYLES, draw_marks
from videorefer_plugin.pictures.overlays import Followed, check_overlay, contact_sheet, save_overlay, write_overlay
from videorefer_plugin.pictures.similarity import TokenSimilarity, picture_similarity

__all__ = [
    "COLORS",
    "STYLES",
    "Followed",
    "Line",
    "TokenSimilarity",
    "check_overlay",
    "check_picture",
    "contact_sheet",
    "draw_marks",
    "picture_answers",
    "picture_similarity",
    "save_overlay",
    "write_overlay",
]
