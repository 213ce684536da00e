"""The errors this package raises for input that cannot be used.

All of them are `ValueError`s, so callers that already guard against bad input keep working. A message says what was
given, what was expected and how to fix it.
"""

from typing import Any

__all__ = [
    "BenchError",
    "ChatError",
    "CheckpointError",
    "ConfigurationError",
    "EngineError",
    "PatchError",
    "PromptError",
    "PublishError",
    "RecordError",
    "RegionError",
    "SegmentError",
    "SessionError",
    "TensorError",
    "TrainingError",
    "VideoError",
    "VideoReferError",
]


class VideoReferError(ValueError):
    """Base class of every error that this package raises on purpose."""


class ConfigurationError(VideoReferError):
    """A setting has a value that no part of the library understands."""


class CheckpointError(VideoReferError, OSError):
    """A checkpoint is unreadable, incomplete, unsafe or of an unknown kind.

    Also an `OSError`, because that is what `from_pretrained` raises for a checkpoint it cannot load.
    """


class TensorError(VideoReferError):
    """A tensor has the wrong shape, dtype or values (for instance NaN)."""


class RegionError(VideoReferError):
    """A region is malformed, empty, or does not fit the frame it is drawn on."""


class VideoError(VideoReferError):
    """A video or image cannot be read, is empty or truncated, or has no frame where one was asked for."""


class PromptError(VideoReferError):
    """Placeholders in the text and the visuals or regions handed over do not match."""


class SegmentError(VideoReferError):
    """A segmenter cannot do what it was asked, or found nothing; with `masklets`, what was done until then.

    Attributes:
        masklets (`tuple`): masklets that were followed until an object was lost; empty if there is nothing.
    """

    def __init__(self, message: str, masklets: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.masklets = masklets


class SessionError(VideoReferError):
    """A session about a video cannot be used: it was closed, or is asked in a way that it cannot answer."""


class PublishError(VideoReferError):
    """A folder is not fit to be published, or the Hub did not take it."""


class RecordError(VideoReferError):
    """A training record, or a file of them, cannot be used; names the file, the line and the reason."""


class TrainingError(VideoReferError):
    """Training cannot go on: nothing is supervised, or the loss is not a number."""


class PatchError(VideoReferError):
    """Code to be patched is not what the patch was made for, or was imported too early."""


class BenchError(VideoReferError):
    """A benchmark's file, an answer file, a judge or an endpoint cannot be used; names the item where there is one."""


class ChatError(BenchError):
    """A chat model cannot be asked, or gives no reply that can be used."""


class EngineError(VideoReferError):
    """The data engine cannot use a source, a setting of an agent or the folder of a run, or has to stop."""
