"""One video, many questions: what can be computed once is computed once."""

from videorefer_plugin.session.chat import SessionChat, Turn
from videorefer_plugin.session.prompts import Computed
from videorefer_plugin.session.video_session import VideoSession

__all__ = ["Computed", "SessionChat", "Turn", "VideoSession"]
