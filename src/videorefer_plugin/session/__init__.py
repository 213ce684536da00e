"""Sessions answer many questions about one video, and compute once what the questions share."""

from videorefer_plugin.session.chat import SessionChat, Turn
from videorefer_plugin.session.prompts import Computed
from videorefer_plugin.session.video_session import VideoSession

__all__ = ["Computed", "SessionChat", "Turn", "VideoSession"]
