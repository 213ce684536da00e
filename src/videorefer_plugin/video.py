"""Open, sample and decode videos and images: the one place of this library where media is read.

[`open_video`] turns any supported source into a [`Video`], which knows the time of every frame and reads exactly the
frames it is asked for. [`sample_frame_indices`] chooses frames the way the original VideoRefer code does.
[`load_image`] reads one image.

Frames are `uint8` RGB arrays with the origin at the top left, upright (rotation metadata is applied).
"""

import abc
import contextlib
import math
import operator
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from videorefer_plugin.errors import VideoError

__all__ = ["FOLDER_FPS", "Video", "load_image", "open_video", "sample_frame_indices"]

FOLDER_FPS = 3.0
"""Frames per second that a folder of frames is taken to have, as in the original code."""

_LIST_FPS = 1.0
_IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm"})
_SOURCES = (
    "a path to a video or GIF file, a folder of frames, an http(s) address, a (T, H, W, 3) uint8 array or tensor, "
    "or a list of images"
)


# --- sampling --------------------------------------------------------------------------------------------------------


def sample_frame_indices(
    total_frames: int,
    *,
    num_frames: int | None = None,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
) -> list[int]:
    """Choose frames of a video, as the original code does.

    With `num_frames`, the range is cut into that many equal parts and the middle frame of each is taken; a range with
    fewer frames repeats some. Without it, one frame a second is taken, which needs `fps`; below one frame a second
    every frame is taken (the original fails there).

    Args:
        total_frames (`int`): Number of frames of the video, at least 1.
        num_frames (`int`, *optional*): How many frames to take. `None` takes one a second.
        fps (`float`, *optional*): Frames per second of the video. Needed for sampling by the second and for a range.
        start (`float`, *optional*): Start of the range in seconds.
        end (`float`, *optional*): End of the range in seconds. Where both ends are given, negative values count as 0,
            swapped ends are put in order, and equal ends mean one second. As in the original, a time `t` stands for
            frame `int(t * fps) - 1`. A range too short to hold a frame gives the frame nearest to its start.
        max_frames (`int`, *optional*): Keep only the first `max_frames` of the frames chosen (the original keeps 32).

    Returns:
        `list[int]`: Frame indices in ascending order, each in `[0, total_frames)`.

    Raises:
        VideoError: If a number is not usable, `fps` is needed and missing, or the range lies outside the video.
    """
    total = _check_count(total_frames, "total_frames")
    wanted = None if num_frames is None else _check_count(num_frames, "num_frames")
    limit = None if max_frames is None else _check_count(max_frames, "max_frames")
    rate = None if fps is None else _check_fps(fps)
    start, end = _check_range(start, end)

    first, last = 0, total - 1
    if start is not None or end is not None:
        if rate is None:
            raise VideoError("A range in seconds (start, end) was given without fps; pass the video's frame rate too.")
        if start is not None:
            first = max(int(start * rate) - 1, 0)
            if first >= total:
                raise _beyond_end("start", start, total, total / rate)
        if end is not None:
            # A range that holds no frame (the original fails on it) gives the frame nearest to its start.
            last = max(min(int(end * rate) - 1, total - 1), first)
    if wanted is None and rate is None:
        raise VideoError("Neither num_frames nor fps was given; pass num_frames, or fps to take one frame a second.")
    step = 1 if rate is None else math.floor(rate)
    return [first + index for index in _sample(last - first + 1, wanted, step, limit)]


def _sample(length: int, wanted: int | None, step: int, limit: int | None) -> list[int]:
    """Indices within a range of `length` frames: `wanted` evenly spread ones, or every `step`-th."""
    if wanted is None:
        step = max(min(step, length), 1)
        return list(range(step // 2, length, step))[:limit]
    # In the same order of floating-point operations as the original, so that exact halves round alike.
    segment = float(length - 1) / wanted
    count = wanted if limit is None else min(wanted, limit)
    return [round((segment * i + segment * (i + 1)) / 2 + 1e-6) for i in range(count)]


def _check_count(value: Any, what: str) -> int:
    """`value` as an int of at least 1."""
    try:
        number = operator.index(value)
    except TypeError:
        raise VideoError(f"{what} must be a whole number, but is {value!r} ({type(value).__name__}).") from None
    if isinstance(value, bool) or number < 1:
        raise VideoError(f"{what} must be a whole number of at least 1, but is {value!r}.")
    return number


def _check_number(value: Any, what: str) -> float:
    """`value` as a finite float."""
    number = math.nan
    if not isinstance(value, (bool, np.bool_, str, bytes)):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
    if not math.isfinite(number):
        raise VideoError(f"{what} must be a finite number, but is {value!r}.")
    return number


def _check_fps(fps: Any) -> float:
    """`fps` as a positive float."""
    rate = _check_number(fps, "fps (frames per second)")
    if rate <= 0:
        raise VideoError(f"fps (frames per second) must be above 0, but is {fps!r}.")
    return rate


def _check_range(start: Any, end: Any) -> tuple[float | None, float | None]:
    """The two ends of a range in seconds, put in order where both are given."""
    start = None if start is None else _check_number(start, "start (seconds)")
    end = None if end is None else _check_number(end, "end (seconds)")
    if start is not None and end is not None:
        start, end = sorted((max(start, 0.0), max(end, 0.0)))
        if start == end:
            end = start + 1
    elif end is not None and end <= 0:
        raise VideoError(f"The range ends at {end:g} s, before the video starts; end must be above 0 seconds.")
    return start, end


def _beyond_end(what: str, seconds: float, count: int, duration: float) -> VideoError:
    return VideoError(
        f"{what} is {seconds:g} s, but the video ends at {duration:.3f} s ({count} frames); use a time within it."
    )


# --- videos ----------------------------------------------------------------------------------------------------------


class Video(abc.ABC):
    """A video whose frames can be read by index. Made by [`open_video`].

    Nothing is kept open between calls, so a video can be pickled and shared with worker processes.

    Attributes:
        name (`str`): What the video is called in messages (path, address or kind of source).
        num_frames (`int`): Number of frames, at least 1.
        height (`int`): Height of the upright frames in pixels.
        width (`int`): Width of the upright frames in pixels.
        fps (`float`): Frames per second; the average if the frame rate varies.
        timestamps (`np.ndarray`): `float64` of shape `(num_frames,)`, the time at which each frame appears, in seconds
            from the first frame.
        duration (`float`): Seconds from the first frame to the end of the last one.
    """

    name: str
    num_frames: int
    height: int
    width: int
    fps: float
    timestamps: np.ndarray
    duration: float
    # Half the resolution of the clock in which the frame times were stored, in seconds.
    _time_tolerance: float = 1e-9

    def _set_even_times(self, fps: float) -> None:
        """Gives frame i the time i / fps."""
        self.fps = fps
        self.timestamps = np.arange(self.num_frames, dtype=np.float64) / fps
        self.duration = self.num_frames / fps
        self._time_tolerance = 1e-9

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name!r}, num_frames={self.num_frames}, height={self.height}, "
            f"width={self.width}, fps={self.fps:.6g})"
        )

    def read(self, indices: Iterable[int]) -> np.ndarray:
        """Reads frames by index.

        Args:
            indices (iterable of `int`): Frame indices in any order; an index may occur more than once.

        Returns:
            `np.ndarray`: `uint8` RGB frames of shape `(len(indices), height, width, 3)`, in the order asked.

        Raises:
            VideoError: If an index is not a whole number or lies outside the video, or if a frame asked for cannot be
                decoded. No frame is ever replaced by another one.
        """
        rows: dict[int, list[int]] = {}
        order = self._check_indices(indices)
        for row, index in enumerate(order):
            rows.setdefault(index, []).append(row)
        frames = np.empty((len(order), self.height, self.width, 3), dtype=np.uint8)
        for index, frame in self._decode(sorted(rows)):
            frames[rows[index]] = frame
        return frames

    def frame_at(self, seconds: float) -> int:
        """Finds the frame on screen at a time.

        Args:
            seconds (`float`): Time in seconds from the first frame. Exact frame times belong to the frame that
                appears then, also where the file stores them rounded.

        Returns:
            `int`: Index of the frame.

        Raises:
            VideoError: If the time is negative or beyond the end of the last frame.
        """
        time = _check_number(seconds, "The time (seconds)")
        if time < -self._time_tolerance:
            raise VideoError(f"The time is {time:g} s; times count from the first frame and cannot be negative.")
        if time > self.duration + self._time_tolerance:
            raise _beyond_end(f"The time asked for in {self.name}", time, self.num_frames, self.duration)
        return max(int(np.searchsorted(self.timestamps, time + self._time_tolerance, side="right")) - 1, 0)

    def sample(
        self,
        num_frames: int | None = None,
        start: float | None = None,
        end: float | None = None,
        max_frames: int | None = None,
    ) -> list[int]:
        """Chooses frames of this video with [`sample_frame_indices`].

        Where the frame rate varies, that function's `time * fps` would point at the wrong frames; there the range
        holds the frames on screen from `start` to `end`, and sampling by the second takes the frames on screen at
        0.5 s, 1.5 s, ... of the range.

        Args:
            num_frames (`int`, *optional*): How many frames to take. `None` takes one a second.
            start (`float`, *optional*): Start of the range in seconds.
            end (`float`, *optional*): End of the range in seconds.
            max_frames (`int`, *optional*): Keep only the first `max_frames` of the frames chosen.

        Returns:
            `list[int]`: Frame indices in ascending order.

        Raises:
            VideoError: As [`sample_frame_indices`].
        """
        if not self._varies():
            return sample_frame_indices(
                self.num_frames, num_frames=num_frames, fps=self.fps, start=start, end=end, max_frames=max_frames
            )
        wanted = None if num_frames is None else _check_count(num_frames, "num_frames")
        limit = None if max_frames is None else _check_count(max_frames, "max_frames")
        start, end = _check_range(start, end)
        start = max(start or 0.0, 0.0)
        end = self.duration if end is None else min(end, self.duration)
        first, last = self.frame_at(start), self.frame_at(max(start, end))
        if wanted is not None:
            return [first + index for index in _sample(last - first + 1, wanted, 1, limit)]
        times = [start + second + 0.5 for second in range(math.ceil(end - start - 0.5))] or [(start + end) / 2]
        return [self.frame_at(time) for time in times[:limit]]

    def _varies(self) -> bool:
        """Whether some frame is more than one frame away from where an even frame rate would put it."""
        if self.num_frames < 3:
            return False
        interval = self.timestamps[-1] / (self.num_frames - 1)
        even = np.arange(self.num_frames) * interval
        return bool(np.abs(self.timestamps - even).max() > interval)

    def _check_indices(self, indices: Any) -> list[int]:
        if hasattr(indices, "tolist"):  # arrays and tensors
            indices = indices.tolist()
        if isinstance(indices, (str, bytes)) or not isinstance(indices, Iterable):
            raise VideoError(f"Frame indices must be a list of whole numbers, but are {indices!r}.")
        checked = []
        for index in indices:
            try:
                number = operator.index(index)
            except TypeError:
                number = None
            if number is None or isinstance(index, bool):
                raise VideoError(f"A frame index must be a whole number, but one is {index!r}.")
            if not 0 <= number < self.num_frames:
                raise VideoError(
                    f"Frame {number} was asked for, but {self.name} has {self.num_frames} frames "
                    f"(0 to {self.num_frames - 1}, {self.duration:.3f} s)."
                )
            checked.append(number)
        return checked

    @abc.abstractmethod
    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields each of the `wanted` indices (ascending, no duplicates, in range) with its frame."""


class _ArrayVideo(Video):
    """Frames that are all in memory, `(T, H, W, 3)`."""

    def __init__(self, frames: np.ndarray, fps: float):
        self.name = f"the array of shape {frames.shape}"
        frames = _channels_last(frames, self.name, per_frame=False)
        if 0 in frames.shape:
            raise VideoError(f"{self.name} holds no frames or no pixels; pass at least one frame.")
        _check_values(frames, self.name)
        self._frames = frames
        self.num_frames, self.height, self.width = frames.shape[:3]
        self._set_even_times(fps)

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in wanted:
            yield index, _to_uint8(self._frames[index])


class _ImagesVideo(Video):
    """A list of images, or the images of a folder, read when they are asked for."""

    def __init__(self, images: Sequence[Any], name: str, fps: float, check_all: bool):
        self.name = name
        self._images = images
        self.num_frames = len(images)
        self.height, self.width = _image_size(images[0], self._label(0))
        for index in range(1, len(images) if check_all else 1):
            self._check_size(index, _image_size(images[index], self._label(index)))
        self._set_even_times(fps)

    def _label(self, index: int) -> str:
        image = self._images[index]
        where = f" ({os.fspath(image)!r})" if isinstance(image, (str, os.PathLike)) else ""
        return f"frame {index} of {self.name}{where}"

    def _check_size(self, index: int, size: tuple[int, int]) -> None:
        if size != (self.height, self.width):
            raise VideoError(
                f"All frames of a video must have one size, but {self._label(index)} is {size[1]}x{size[0]} while the "
                f"first frame is {self.width}x{self.height} (width x height); resize or crop them to one size."
            )

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        for index in wanted:
            image = _load_image(self._images[index], self._label(index))
            self._check_size(index, image.shape[:2])
            yield index, image


def open_video(source: Any, *, fps: float | None = None) -> Video:
    """Opens a video.

    Args:
        source: One of

            - a path (`str` or `Path`) to a video file (mp4, webm, mkv, avi, mov, ...) or a GIF. Rotation metadata is
              applied, frame times come from the file (also for GIFs, which the original counts as 25 frames a second);
            - a path to a folder of images, which are ordered by name with numbers compared as numbers (`frame2` before
              `frame10`) and count as 3 frames a second;
            - an http(s) address of a video file;
            - an array or tensor of shape `(T, H, W, 3)` or `(T, 3, H, W)`, `uint8`, or floating point in [0, 1];
            - a list of images of one size: PIL images, arrays or tensors as [`load_image`] takes them, or image paths;
            - a [`Video`], which is returned as it is.

            Arrays and lists count as 1 frame a second, so that sampling by the second keeps every frame.
        fps (`float`, *optional*): Takes the frames of the source to be evenly spaced at this many frames a second,
            whatever the source says itself.

    Returns:
        [`Video`]: The video. Files are scanned once for the number and times of their frames; pixels are decoded when
        they are read, and only the frames asked for are kept.

    Raises:
        VideoError: If there is nothing at that place, it is not a video, it has no frames, or it cannot be decoded.
    """
    rate = None if fps is None else _check_fps(fps)
    if isinstance(source, Video):
        if rate is not None and rate != source.fps:
            raise VideoError(f"{source.name} is already open with fps={source.fps:g}; give fps={rate:g} when opening.")
        return source
    if isinstance(source, (str, os.PathLike)):
        return _open_path(source, rate)
    if isinstance(source, (list, tuple)):
        if not source:
            raise VideoError("The list of frames is empty; pass at least one image.")
        return _ImagesVideo(list(source), f"the list of {len(source)} images", rate or _LIST_FPS, check_all=True)
    if _is_pil(source):
        raise VideoError("A video was expected, but a single PIL image was given; use load_image, or pass [image].")
    array = _as_array(source)
    if array is None:
        raise VideoError(f"A video was expected ({_SOURCES}), but a {type(source).__name__} was given.")
    return _ArrayVideo(array, rate or _LIST_FPS)


def _open_path(source: str | os.PathLike, fps: float | None) -> Video:
    text = os.fspath(source)
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if re.match("https?://", text, re.IGNORECASE):
        from videorefer_plugin._video_files import FileVideo

        # What follows the question mark may hold a key; keep it out of messages.
        return FileVideo(text, repr(text.split("?")[0]), fps)
    if not text or "\0" in text:
        raise VideoError(f"{text!r} is not a path; expected {_SOURCES}.")
    path = Path(text)
    if path.is_dir():
        return _open_folder(path, fps)
    if not path.exists():
        raise VideoError(f"There is no file or folder at {text!r}; check the path (current folder: {os.getcwd()!r}).")
    if path.stat().st_size == 0 and path.is_file():
        raise VideoError(f"{text!r} is an empty file (0 bytes); a download or copy may have failed.")
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        raise VideoError(f"{text!r} is a single image, not a video; use load_image, or pass [path] as one frame.")
    from videorefer_plugin._video_files import FileVideo

    # Absolute, so that a name such as "concat:a" cannot be taken for one of FFmpeg's protocols.
    return FileVideo(str(path.absolute()), repr(text), fps)


def _open_folder(path: Path, fps: float | None) -> Video:
    files = [
        entry.path
        for entry in os.scandir(path)
        if not entry.name.startswith(".")
        and os.path.splitext(entry.name)[1].lower() in _IMAGE_SUFFIXES
        and entry.is_file()
    ]
    if not files:
        what = "holds no images" if any(path.iterdir()) else "is empty"
        kinds = ", ".join(sorted(_IMAGE_SUFFIXES))
        raise VideoError(f"The folder {str(path)!r} {what}; a folder of frames needs image files ({kinds}).")
    files.sort(key=_natural_key)
    # Unlike a list, a folder may be long and on a slow disk: sizes are checked as frames are read.
    return _ImagesVideo(files, repr(str(path)), fps or FOLDER_FPS, check_all=False)


def _natural_key(path: str) -> tuple:
    """Sorts names with the numbers in them compared as numbers."""
    name = os.path.basename(path)
    parts = re.split(r"([0-9]+)", os.path.splitext(name)[0])
    # Text and numbers alternate, beginning with text, so that parts at one place always compare.
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name


# --- images ----------------------------------------------------------------------------------------------------------


def load_image(source: Any) -> np.ndarray:
    """Loads one image.

    Args:
        source: A path to an image file, a PIL image, or an array or tensor of shape `(H, W, 3)` or `(3, H, W)`,
            `uint8`, or floating point in [0, 1]. Orientation metadata (EXIF) is applied. Transparency is dropped.

    Returns:
        `np.ndarray`: `uint8` RGB of shape `(H, W, 3)`.

    Raises:
        VideoError: If the source is missing, is not an image, or cannot be decoded.
    """
    label = repr(os.fspath(source)) if isinstance(source, (str, os.PathLike)) else f"the {type(source).__name__}"
    return _load_image(source, label)


def _load_image(source: Any, label: str) -> np.ndarray:
    from PIL import ImageOps

    if isinstance(source, (str, os.PathLike)) or _is_pil(source):
        with _opened_image(source, label) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    array = _as_array(source)
    if array is None:
        raise VideoError(
            f"An image was expected for {label} (a path, a PIL image, or an (H, W, 3) array), but a "
            f"{type(source).__name__} was given."
        )
    array = _channels_last(array, label, per_frame=True)
    if 0 in array.shape:
        raise VideoError(f"{label} has no pixels (shape {array.shape}).")
    _check_values(array, label)
    return _to_uint8(array)


@contextlib.contextmanager
def _opened_image(source: Any, label: str) -> Iterator[Any]:
    """The PIL image of a path or PIL image; whatever the readers raise becomes a `VideoError` that names it."""
    from PIL import Image

    path = None if _is_pil(source) else os.fsdecode(os.fspath(source))
    if path is not None and re.match("[a-zA-Z][a-zA-Z0-9+.-]+://", path):
        raise VideoError(f"{label} is an address; download the image first and pass the file's path.")
    if path is not None and not os.path.isfile(path):
        raise VideoError(f"{label}: there is no image file there; check the path.")
    try:
        with contextlib.nullcontext(source) if path is None else Image.open(path) as image:
            if image.mode in ("F", "I") or image.mode.startswith("I;"):
                raise VideoError(
                    f"{label} has {image.mode!r} pixels (more than 8 bits), which would be clipped; "
                    "scale it to 8 bits first."
                )
            yield image
    except (VideoError, MemoryError):
        raise
    except Exception as error:  # image readers raise almost anything on damaged files
        raise VideoError(f"{label} cannot be read as an image ({error}); it may be damaged or no image.") from error


def _image_size(source: Any, label: str) -> tuple[int, int]:
    """Height and width of an image, without decoding it where it is a file."""
    if isinstance(source, (str, os.PathLike)) or _is_pil(source):
        with _opened_image(source, label) as image:
            width, height = image.size
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)  # orientations with the sides swapped
            return (width, height) if turned else (height, width)
    return _load_image(source, label).shape[:2]


def _is_pil(source: Any) -> bool:
    from PIL import Image

    return isinstance(source, Image.Image)


def _as_array(source: Any) -> np.ndarray | None:
    """An array or tensor as a NumPy array (sharing memory where possible), anything else as `None`."""
    if isinstance(source, np.ndarray):
        return source
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a torch tensor
        tensor = source.detach().cpu()
        try:
            return tensor.numpy()
        except TypeError:  # bfloat16
            return tensor.float().numpy()
    if hasattr(source, "__array__") and hasattr(source, "shape"):
        return np.asarray(source)
    return None


def _channels_last(array: np.ndarray, label: str, per_frame: bool) -> np.ndarray:
    """A view with the three colours last, `(H, W, 3)` where `per_frame`, else `(T, H, W, 3)`."""
    shape, axes = array.shape, 3 if per_frame else 4
    expected = "(H, W, 3)" if per_frame else "(T, H, W, 3)"
    if len(shape) == axes and shape[-1] == 3:
        return array
    if len(shape) == axes and shape[-3] == 3:
        return np.moveaxis(array, -3, -1)
    if not per_frame and len(shape) == 3 and shape[-1] == 3:
        advice = "this looks like one image: use load_image, or pass [image]."
    elif len(shape) == axes - 1:
        advice = "grey frames become RGB with np.repeat(array[..., None], 3, axis=-1)."
    elif len(shape) == axes and 1 in (shape[-1], shape[-3]):
        advice = f"grey frames become RGB with np.repeat(array, 3, axis={-1 if shape[-1] == 1 else -3})."
    elif len(shape) == axes and shape[-1] == 4:
        advice = "drop the transparency with array[..., :3]."
    else:
        advice = "reshape it first."
    raise VideoError(f"RGB of shape {expected} was expected for {label}, but its shape is {shape}; {advice}")


def _check_values(array: np.ndarray, label: str) -> None:
    if array.dtype == np.uint8:
        return
    if not np.issubdtype(array.dtype, np.floating):
        raise VideoError(
            f"Pixels must be uint8 (0 to 255) or floating point in [0, 1], but {label} is {array.dtype}; "
            "convert with array.astype(np.uint8) if its values are 0 to 255."
        )
    low, high = float(array.min()), float(array.max())
    if not (low >= 0 and high <= 1):  # also false for NaN
        raise VideoError(
            f"Floating-point pixels must lie in [0, 1], but {label} goes from {low:g} to {high:g}; "
            "scale it, or convert 0-to-255 values with array.astype(np.uint8)."
        )


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.round(array.astype(np.float32) * 255).astype(np.uint8)
