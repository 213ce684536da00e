"""Limits of requests."""

from dataclasses import dataclass, fields

from videorefer_plugin.errors import ServeError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """The limits of a server, which are checked as early as possible.

    Attributes:
        request_bytes (`int`): bytes of a request, and of a visual that is fetched from an address.
        messages (`int`): messages of a conversation.
        visuals (`int`): videos and images of a conversation.
        regions (`int`): regions of a conversation.
        region_frames (`int`): sum of the frames of all regions.
        frames (`int`): frames that are sampled from a video.
        video_seconds (`float`): length of a video.
        video_pixels (`int`): pixels of a frame.
        tokens (`int`): tokens of an answer.
        requests (`int`): requests at the same time, including waiting ones.
        seconds (`float`): time of a request, from its first byte to the last one of its answer.

    Raises:
        ServeError: a limit is not a number above 0.
    """

    request_bytes: int = 64 << 20
    messages: int = 128
    visuals: int = 4
    regions: int = 64
    region_frames: int = 1024
    frames: int = 64
    video_seconds: float = 3600.0
    video_pixels: int = 4096 * 2304
    tokens: int = 2048
    requests: int = 64
    seconds: float = 300.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
                raise ServeError(f"The limit {field.name} is {value!r}; expected a number above 0.")
