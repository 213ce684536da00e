"""Limits of the page."""

from __future__ import annotations

from dataclasses import dataclass, fields

from videorefer_plugin._text import short
from videorefer_plugin.errors import AppError, ConfigurationError
from videorefer_plugin.pictures import COLORS
from videorefer_plugin.video import Video

__all__ = ["MOST_OBJECTS", "Limits"]

MOST_OBJECTS = len(COLORS)
"""Largest number of a visitor's objects, which is the number of distinct colors."""


@dataclass(frozen=True)
class Limits:
    """The limits of a visitor, and of the number of visitors.

    Attributes:
        max_megabytes (`int`): largest size of an upload.
        max_seconds (`int`): largest duration of a video.
        max_frames (`int`): largest number of frames of a video.
        max_side (`int`): largest longer side of a video, in pixels.
        max_visitors (`int`): largest number of visitors whose work is kept. For one more, the work that was not shown
            for the longest time is dropped, if no page shows it now.
        keep_minutes (`int`): how long work is kept that no page shows.
        max_new_tokens (`int`): largest number of tokens of an answer.

    Raises:
        ConfigurationError: a limit is not a whole number of at least 1.
    """

    max_megabytes: int = 200
    max_seconds: int = 120
    max_frames: int = 3600
    max_side: int = 2560
    max_visitors: int = 16
    keep_minutes: int = 60
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigurationError(f"{each.name} is {short(value)}; expected a whole number from 1 up.")

    def check(self, video: Video) -> None:
        """Refuse a video that is too long or too large, before any of its frames is decoded.

        Raises:
            AppError: the video exceeds a limit.
        """
        longest = max(video.height, video.width)
        for value, most, what, option in (
            (video.duration, self.max_seconds, "seconds long", "--max-seconds"),
            (video.num_frames, self.max_frames, "frames long", "--max-frames"),
            (longest, self.max_side, "pixels on its longer side", "--max-side"),
        ):
            if value > most:
                raise AppError(
                    f"The video is {value:.0f} {what}, and this page takes {most} at most. Cut it or make it smaller, "
                    f"or start the page with another {option}."
                )
