"""The errors this package raises for input that cannot be used.

All of them are `ValueError`s, so callers that already guard against bad input keep working. A message says what was
given, what was expected and how to fix it. Passwords and tokens in addresses are left out of every message, whatever
the message repeats.
"""

from typing import Any

from videorefer_plugin._addresses import without_secrets

__all__ = [
    "AppError",
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
    "ServeError",
    "SessionError",
    "TensorError",
    "TrainingError",
    "VideoError",
    "VideoReferError",
]


class VideoReferError(ValueError):
    """Base class of every error that this package raises on purpose.

    How to fix it:
        Read the message: it names the value that was given, what was expected instead, and what to change. Catch this
        class to catch every error of the package, and one of its subclasses to tell the causes apart.
    """

    def __init__(self, *said: Any) -> None:
        super().__init__(*(without_secrets(one) for one in said))


class ConfigurationError(VideoReferError):
    """A setting has a value that no part of the library understands.

    How to fix it:
        Give one of the values that the message lists. If it calls the setting unknown, check its spelling: a setting
        that nobody reads is refused rather than ignored.
    """


class CheckpointError(VideoReferError, OSError):
    """A checkpoint is unreadable, incomplete, unsafe or of an unknown kind.

    Also an `OSError`, because that is what `from_pretrained` raises for a checkpoint it cannot load.

    How to fix it:
        Check that the path or the Hub id names a whole checkpoint, and fetch the files that the message calls missing
        or damaged again. A checkpoint that holds only a part of a model, such as an adapter, needs the model that it
        was trained on: give its folder or id as the message says.
    """


class TensorError(VideoReferError):
    """A tensor has the wrong shape, dtype or values (for instance NaN).

    How to fix it:
        Compare the tensor with the shape and dtype in the message. Batches that the processor returns fit the model;
        where NaN or infinity is found, look at what computed it, which is often a layer in float16.
    """


class RegionError(VideoReferError):
    """A region is malformed, empty, or does not fit the frame it is drawn on.

    How to fix it:
        Check the coordinates: boxes are `(x0, y0, x1, y1)` and points `(x, y)`, in pixels of the source video and not
        of a resized frame, and masks have the height and width of that frame. Frames are counted from 0.
    """


class VideoError(VideoReferError):
    """A video or image cannot be read, is empty or truncated, or has no frame where one was asked for.

    How to fix it:
        Check that the path is right and that a player opens the file. Encode a damaged or exotic file anew, for
        instance with `ffmpeg -i broken.mp4 whole.mp4`, and ask for frames and seconds that the video has.
    """


class PromptError(VideoReferError):
    """Placeholders in the text and the visuals or regions handed over do not match.

    How to fix it:
        Write one `<region>` for each region, in the same order, and one `<video>` or `<image>` for each visual; or
        leave `<video>` out where a function takes a single video, which puts it there itself.
    """


class SegmentError(VideoReferError):
    """A segmenter cannot do what it was asked, or found nothing; with `masklets`, what was done until then.

    Attributes:
        masklets (`tuple`): masklets that were followed until an object was lost; empty if there is nothing.

    How to fix it:
        Ask [`segmenters`] which segmenter can do it, and choose that one. If nothing was found, point with a box or
        with more points, or in a frame in which the object is large and in full view. If an object was lost, point at
        it again in a later frame.
    """

    def __init__(self, message: str, masklets: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.masklets = masklets


class SessionError(VideoReferError):
    """A session about a video cannot be used: it was closed, or is asked in a way that it cannot answer.

    How to fix it:
        Open a new session for a new video, and ask before the `with` block ends. What a session does not take, such as
        sampling settings of a single question, [`ask`] does.
    """


class ServeError(VideoReferError):
    """A server cannot be started, or does not take a request.

    Attributes:
        status (`int`): the status of HTTP with which a request is answered, such as 400.
        parameter (`str`, *optional*): the part of the request that is wrong, such as `"messages[0].content[1]"`.

    How to fix it:
        A request that is refused holds something that nobody would look at, or more than the server takes: change what
        the message names. A server that does not start needs the extra, the folder or the free port that it names.
    """

    def __init__(self, message: str, status: int = 400, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status, self.parameter = status, parameter


class PublishError(VideoReferError):
    """A folder is not fit to be published, or the Hub did not take it.

    How to fix it:
        Run `videorefer publish FOLDER REPOSITORY --dry-run`, which lists what is wrong without uploading anything.
        If the Hub refused, log in with `hf auth login`, and check that the account may write to the repository.
    """


class RecordError(VideoReferError):
    """A training record, or a file of them, cannot be used; names the file, the line and the reason.

    How to fix it:
        Run `videorefer train check FILE`, which lists every record that cannot be used with the reason, and mend or
        remove these.
    """


class TrainingError(VideoReferError):
    """Training cannot go on: nothing is supervised, or the loss is not a number.

    How to fix it:
        If nothing is supervised, the records hold no answer, or the limit of length cuts all answers off. If the loss
        is not a number, lower the learning rate, or train in bfloat16 or float32 instead of float16.
    """


class PatchError(VideoReferError):
    """Code to be patched is not what the patch was made for, or was imported too early.

    How to fix it:
        Call `patches.apply` before the first import of the package, and install the version that the message names. A
        patch that is not needed can be left out with `skip`.
    """


class BenchError(VideoReferError):
    """A benchmark's file, an answer file, a judge or an endpoint cannot be used; names the item where there is one.

    How to fix it:
        Mend the item that the message names. `videorefer bench fetch` says where the published files come from, and
        checks a folder of them. A run whose settings changed needs another output folder.
    """


class ChatError(BenchError):
    """A chat model cannot be asked, or gives no reply that can be used.

    How to fix it:
        Check the address, the name of the model, and the key in the environment variable that the message names. If
        replies cannot be used, give the model more tokens to answer with, or take a larger one.
    """


class EngineError(VideoReferError):
    """The data engine cannot use a source, a setting of an agent or the folder of a run, or has to stop.

    How to fix it:
        Mend the section of the recipe that the message names; `videorefer data plan` checks it without running it. The
        same command goes on where a run was stopped, and `videorefer data retry FOLDER` does what failed again.
    """


class AppError(VideoReferError):
    """The page of `videorefer app` cannot do what it was asked: with a video, an object, a question or a file.

    How to fix it:
        Do what the message says on the page, such as opening a video or clicking on an object first. The limits of
        uploads are options of the command.
    """
