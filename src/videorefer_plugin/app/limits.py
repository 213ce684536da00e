"""What a visitor of the page may use."""

from __future__ import annotations

from dataclasses import dataclass, fields

from videorefer_plugin._text import short
from videorefer_plugin.errors import AppError, ConfigurationError
from videorefer_plugin.pictures import COLORS
from videorefer_plugin.video import Video

__all__ = ["MOST_OBJECTS", "Limits"]

MOST_OBJECTS = len(COLORS)
"""Objects of a visitor: as many as can be told apart by their colors."""


@dataclass(frozen=True)
class Limits:
    """What a visitor of the page may use, and how many there may be.

    Attributes:
        max_megabytes (`int`): of an upload.
        max_seconds (`int`): of a video.
        max_frames (`int`): of a video.
        max_side (`int`): pixels of the longer side of a video.
        max_visitors (`int`): whose work is kept at once. For one more, the work that was not looked at for the longest
            time is forgotten, if nobody looks at it now.
        keep_minutes (`int`): how long work is kept that nobody looks at.
        max_new_tokens (`int`): of an answer.

    Raises:
        ConfigurationError: one of them is no whole number from 1 up.
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
            AppError: it is.
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
