"""Recognizing a source, and opening it as a video."""

import operator
import os
import re
from pathlib import Path
from typing import Any

from videorefer_plugin._addresses import without_secrets
from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.animations import Kind, WebPVideo, kind_of
from videorefer_plugin.video.arrays import ArrayVideo, ImagesVideo
from videorefer_plugin.video.base import Video
from videorefer_plugin.video.downloads import downloaded
from videorefer_plugin.video.images import IMAGE_SUFFIXES, as_array, is_pil
from videorefer_plugin.video.sampling import check_fps
from videorefer_plugin.video.sources import Stored, is_stored, opened, stored

__all__ = ["FOLDER_FPS", "folder_images", "open_video"]

FOLDER_FPS = 3.0
"""The frame rate, per second, of a folder of frames, as in the original code."""

_LIST_FPS = 1.0
_SOURCES = (
    "a path to a video or GIF file, a folder of frames, an http(s), file:// or data: URL, the bytes of a video file, "
    "an open binary file, a (T, H, W, 3) uint8 array or tensor, or a list of images"
)


def open_video(source: Any, *, fps: float | None = None, stream: int | None = None) -> Video:
    """Opens a video.

    Frames are returned in the stored pixels: if the pixels are not square (a pixel aspect ratio), frames are not
    stretched as in players, and regions are given in stored pixels.

    Args:
        source: One of

            - a path (`str` or `Path`) to a video file (mp4, webm, mkv, avi, mov, ...), a GIF, or an animated WebP or
              PNG. Rotation metadata is applied, frame times come from the file (also for GIFs, which the original
              counts as 25 frames a second);
            - a path to a folder of images, which are ordered by name with numbers compared as numbers (`frame2` before
              `frame10`) and count as 3 frames a second;
            - an http(s) address of a video file, its `file://` URL, or a `data:` URL with the file in it. A download
              starts at once, with a bar if it takes long, and is held in memory; a server that does not answer in
              time, or sends less than a kilobyte a second, is an error;
            - the bytes of such a file (`bytes`, `bytearray`, `memoryview`), or a binary file object. File objects are
              read at once, from their position to their end; seekable ones are returned to that position. At
              most 1 GiB is read from them, from addresses and from `data:` URLs, since it is held in memory;
            - an array or tensor of shape `(T, H, W, 3)` or `(T, 3, H, W)`, `uint8`, or floating point in [0, 1];
            - a list of images of one size: PIL images, arrays or tensors as [`load_image`] takes them, or image paths;
            - a [`Video`], which is returned unchanged.

            Pipes, sockets and devices are refused, and so are lists of other files (`.m3u8`, `.mpd`, `.ffconcat`,
            `.sdp`), under any name: only the given source is opened.

            Arrays and lists count as 1 frame a second, so that sampling by the second keeps every frame.
        fps (`float`, *optional*): Treats the frames of the source as evenly spaced at this many frames a second,
            and ignores the times in the source.
        stream (`int`, *optional*): Of a video file with several video tracks, the index of the one to open, counted
            among all streams of the file (as `ffprobe` lists them). By default the track with more than one frame is
            taken, so that cover art and stills are ignored; of several films, the one that a Matroska file marks as
            its default.

    Returns:
        [`Video`]: The video. Files are scanned once for the number and times of their frames; pixels are decoded when
        they are read, and only the requested frames are kept.

    Raises:
        VideoError: If the source does not exist, is not a video, has no frames, or cannot be decoded; if it holds
            several films and `stream` does not choose one.
    """
    rate = None if fps is None else check_fps(fps)
    track = None if stream is None else _check_stream(stream)
    if isinstance(source, Video):
        if rate is not None and rate != source.fps:
            raise VideoError(f"{source.name} is already open with fps={source.fps:g}; give fps={rate:g} when opening.")
        if track is not None and track != getattr(source, "_track", None):
            raise VideoError(f"{source.name} is already open; give stream={track} when opening its file.")
        return source
    if is_stored(source):
        return _open_stored(stored(source), rate, track)
    if track is not None:
        raise VideoError(f"stream={track} was given for a {type(source).__name__}, but only video files have streams.")
    if isinstance(source, (list, tuple)):
        if not source:
            raise VideoError("The list of frames is empty; pass at least one image.")
        name = f"the list of {len(source)} images"
        return ImagesVideo(list(source), name, rate or _LIST_FPS, check_all=True, has_clock=rate is not None)
    if is_pil(source):
        raise VideoError("A video was expected, but a single PIL image was given; use load_image, or pass [image].")
    array = as_array(source)
    if array is None:
        raise VideoError(f"A video was expected ({_SOURCES}), but a {type(source).__name__} was given.")
    return ArrayVideo(array, rate or _LIST_FPS, has_clock=rate is not None)


def _check_stream(stream: Any) -> int:
    try:
        index = operator.index(stream)
    except TypeError:
        index = -1
    if isinstance(stream, bool) or index < 0:
        raise VideoError(f"stream must be the index of a stream of the file, from 0, but is {short(stream)}.")
    return index


def _open_stored(source: Stored, fps: float | None, track: int | None) -> Video:
    place, name = source
    if isinstance(place, bytes):
        return _open_content(place, name, fps, track)
    if re.match("https?://", place, re.IGNORECASE):
        video = _open_content(downloaded(place, name), name, fps, track)
        video._address = without_secrets(place)
        return video
    if not place or "\0" in place:
        raise VideoError(f"{name} is not a path; expected {_SOURCES}.")
    path = Path(place)
    try:
        if path.is_dir():
            if track is not None:
                raise VideoError(f"stream={track} was given for the folder {name}, but only video files have streams.")
            return _open_folder(path, name, fps)
        if not path.exists():
            raise _not_there(source)
        # Absolute, so that a name such as "concat:a" cannot be read as one of FFmpeg's protocols.
        absolute = str(path.absolute())
        if not path.is_file():
            raise VideoError(
                f"{name} is a pipe, a socket or a device, and not a file. Write its content to a file, and give the "
                "path of that."
            )
        if path.stat().st_size == 0:
            raise VideoError(f"{name} is an empty file (0 bytes); a download or copy may have failed.")
        return _open_content(absolute, name, fps, track)
    except OSError as error:
        raise VideoError(
            f"{name} cannot be opened ({error.strerror or error}); check the path and who may read it."
        ) from error


def _not_there(source: Stored) -> VideoError:
    advice = f"check the path (current folder: {os.getcwd()!r})"
    if source.is_address:
        advice = "addresses of this kind cannot be read, so download it first and give the path of the file"
    return VideoError(f"There is no file or folder at {source.name}; {advice}.")


def _open_content(source: str | bytes, name: str, fps: float | None, track: int | None) -> Video:
    """Opens a file, or the bytes of one."""
    with opened(source) as file:
        kind = kind_of(file)
    if kind is Kind.ANIMATED_WEBP:
        if track is not None:
            raise VideoError(f"stream={track} was given for {name}, but an animated WebP has no streams.")
        return WebPVideo(source, name, fps)
    is_picture = kind is Kind.PICTURE
    if isinstance(source, str):
        is_picture = kind is not Kind.ANIMATED_PNG and Path(source).suffix.lower() in IMAGE_SUFFIXES
    if is_picture:
        raise VideoError(f"{name} is a single image, not a video; use load_image, or pass [image] as one frame.")
    return _open_file(source, name, fps, track)


def _open_file(source: str | bytes, name: str, fps: float | None, track: int | None) -> Video:
    from videorefer_plugin.video.files import FileVideo  # imports PyAV

    return FileVideo(source, name, fps, track)


def folder_images(path: Path) -> list[str]:
    """The images in a folder of frames, in the order in which it is opened as a video."""
    files = [
        entry.path
        for entry in os.scandir(path)
        if not entry.name.startswith(".")
        and os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
        and entry.is_file()
    ]
    return sorted(files, key=_natural_key)


def _open_folder(path: Path, name: str, fps: float | None) -> Video:
    files = folder_images(path)
    if not files:
        what = "holds no images" if any(path.iterdir()) else "is empty"
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise VideoError(f"The folder {name} {what}; a folder of frames needs image files ({kinds}).")
    # Unlike a list, a folder may be long and on a slow disk: sizes are checked as frames are read.
    images = [Stored(file, repr(file)) for file in files]
    video = ImagesVideo(images, name, fps or FOLDER_FPS, check_all=False)
    video.is_rate_assumed = fps is None
    video._folder = str(path.absolute())
    return video


def _natural_key(path: str) -> tuple:
    """Sorts names with the numbers in them compared as numbers."""
    name = os.path.basename(path)
    parts = re.split(r"([0-9]+)", os.path.splitext(name)[0])
    # Text and numbers alternate, beginning with text, so that parts at the same index can always be compared.
    return [int(part) if place % 2 else part for place, part in enumerate(parts)], name
