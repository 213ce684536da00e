"""Pictures: objects marked on frames, and answers beside them."""

from videorefer_plugin.pictures.answers import Line, check_picture, picture_answers
from videorefer_plugin.pictures.marks import COLORS, STYLES, draw_marks

__all__ = ["COLORS", "STYLES", "Line", "check_picture", "draw_marks", "picture_answers"]
