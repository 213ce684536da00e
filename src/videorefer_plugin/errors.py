"""The errors that this package raises for input that cannot be used.

All of them are `ValueError`s, so callers that already guard against bad input keep working. A message names the value
that was given, the values that are expected, and the fix. Passwords and tokens in addresses are left out of every
message, even if it repeats them.
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
        Read the message: it names the value that was given, the values that are expected, and the fix. Catch this
        class to catch every error of the package, and one of its subclasses to tell the causes apart.
    """

    def __init__(self, *said: Any) -> None:
        super().__init__(*(without_secrets(one) for one in said))


class ConfigurationError(VideoReferError):
    """A setting has a value that no part of the library understands.

    How to fix it:
        Give one of the values that the message lists. If it calls the setting unknown, check its spelling: a setting
        that no part of the library reads is refused rather than ignored.
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
        Check that the path is right and that a player opens the file. Convert a damaged or exotic file, for
        instance with `ffmpeg -i broken.mp4 whole.mp4`, and ask for frames and seconds that the video has.
    """


class PromptError(VideoReferError):
    """Placeholders in the text and the visuals or regions handed over do not match.

    How to fix it:
        Write one `<region>` for each region, in the same order, and one `<video>` or `<image>` for each visual; or
        leave `<video>` out where a function takes a single video, which puts it there itself.
    """


class SegmentError(VideoReferError):
    """A segmenter cannot do the task, or found nothing; `masklets` holds the part that was finished.

    Attributes:
        masklets (`tuple`): masklets that were followed until an object was lost; empty if there are none.

    How to fix it:
        Ask [`segmenters`] which segmenter can do it, and choose that one. If nothing was found, point with a box or
        with more points, or in a frame in which the object is large and in full view. If an object was lost, point at
        it again in a later frame.
    """

    def __init__(self, message: str, masklets: tuple[Any, ...] = ()) -> None:
        super().__init__(message)
        self.masklets = masklets


class SessionError(VideoReferError):
    """A session about a video cannot be used: it was closed, or the question has settings that it does not support.

    How to fix it:
        Open a new session for a new video, and ask before the `with` block ends. Use [`ask`] for settings that a
        session does not support, such as the sampling of a single question.
    """


class ServeError(VideoReferError):
    """A server cannot be started, or refuses a request.

    Attributes:
        status (`int`): the status of HTTP with which a request is answered, such as 400.
        parameter (`str`, *optional*): the part of the request that is wrong, such as `"messages[0].content[1]"`.

    How to fix it:
        A request is refused if it holds a field that is not read, or more than the server accepts: change the part
            that
        the message names. A server that does not start needs the extra, the folder or the free port in the message.
    """

    def __init__(self, message: str, status: int = 400, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status, self.parameter = status, parameter


class PublishError(VideoReferError):
    """A folder cannot be published, or the Hub refused it.

    How to fix it:
        Run `videorefer publish FOLDER REPOSITORY --dry-run`, which lists all problems without uploading anything.
        If the Hub refused, log in with `hf auth login`, and check that the account may write to the repository.
    """


class RecordError(VideoReferError):
    """A training record, or a file of them, cannot be used; the message names the file, the line and the reason.

    How to fix it:
        Run `videorefer train check FILE`, which lists every record that cannot be used with the reason, and fix or
        remove these.
    """


class TrainingError(VideoReferError):
    """Training cannot go on: nothing is supervised, or the loss is not a number.

    How to fix it:
        If nothing is supervised, the records hold no answer, or the limit of length cuts all answers off. If the loss
        is not a number, lower the learning rate, or train in bfloat16 or float32 instead of float16.
    """


class PatchError(VideoReferError):
    """Code to be patched is not the version that the patch was made for, or was imported too early.

    How to fix it:
        Call `patches.apply` before the first import of the package, and install the version that the message names. A
        patch that is not needed can be left out with `skip`.
    """


class BenchError(VideoReferError):
    """A benchmark's file, an answer file, a judge or an endpoint cannot be used; the message names the item, if any.

    How to fix it:
        Fix the item that the message names. `videorefer bench fetch` lists where the published files come from, and
        checks a folder of them. A run whose settings changed needs another output folder.
    """


class ChatError(BenchError):
    """A chat model cannot be reached, or gives no usable reply.

    How to fix it:
        Check the address, the name of the model, and the key in the environment variable that the message names. If
        replies cannot be used, give the model more tokens to answer with, or take a larger one.
    """


class EngineError(VideoReferError):
    """The data engine cannot use a source, a setting of an agent or the folder of a run, or has to stop.

    How to fix it:
        Fix the section of the recipe that the message names; `videorefer data plan` checks it without running it. The
        same command resumes a run that was stopped, and `videorefer data retry FOLDER` repeats the failed items.
    """


class AppError(VideoReferError):
    """The page of `videorefer app` cannot handle a request about a video, an object, a question or a file.

    How to fix it:
        Do what the message on the page says, such as opening a video or clicking on an object first. The limits of
        uploads are options of the command.
    """
