"""Opening video files with PyAV (FFmpeg), and reading and decoding their packets in the order stored."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import Any

import av
import av.logging

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.images import MAX_FRAME_PIXELS, check_size
from videorefer_plugin.video.playlists import looks_like_playlist, opened_formats
from videorefer_plugin.video.sources import first_bytes
from videorefer_plugin.video.tracks import choose_track

__all__ = ["decode_packets", "open_container", "read_packets", "reason", "share_cores"]

# FFmpeg reads plain text and arbitrary bytes as character art, and the cover of a song as a video.
_NO_VIDEO_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf", "mp3", "flac"})

_most_threads = 0  # of a decoder; 0 lets FFmpeg use all cores


def share_cores(processes: int) -> None:
    """Limits the decoders of this process to its share of the cores.

    Threads of processes that decode at once slow each other down, and starting them takes time for every video.

    Args:
        processes (`int`): Number of processes that decode at once, including this one.
    """
    global _most_threads
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    _most_threads = max(cores // processes, 1)


@contextlib.contextmanager
def open_container(
    source: str | bytes, name: str, cut_off: bool, threads: bool = True, track: int | None = None
) -> Iterator[tuple[Any, Any]]:
    """Opens a file for as long as the context lasts.

    Args:
        source (`str` or `bytes`): Absolute path, or the bytes of the file.
        name (`str`): Its name in messages.
        cut_off (`bool`): Whether the file is known to be truncated, which then explains a missing stream.
        threads (`bool`): Whether to decode with several threads. With one, errors can be assigned to their packets.
        track (`int`, *optional*): Index of the video stream; the film by default, see [`choose_track`].

    Yields:
        The container of PyAV and the video stream.

    Raises:
        VideoError: If the file cannot be opened, or has no video that can be decoded.
    """
    _stop_python_logging()

    def open_again() -> Any:
        return _open(source, name)

    with open_again() as container:
        _check_format(container, name)
        stream = choose_track(container, name, track, open_again)
        _check_track(container, stream, name, cut_off)
        if threads and _most_threads != 1:
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = _most_threads
        else:
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
        yield container, stream


def _open(source: str | bytes, name: str) -> Any:
    # Files come from anywhere: they must not make FFmpeg open other files or addresses.
    protocol, file = ("data", io.BytesIO(source)) if isinstance(source, bytes) else ("file", source)
    only = {"protocol_whitelist": protocol, "format_whitelist": opened_formats()}
    try:
        return av.open(file, metadata_errors="replace", options=only)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if looks_like_playlist(first_bytes(source)):
            raise VideoError(
                f"{name} cannot be opened as a video: it is a list of other files or addresses, which are not opened "
                "for it. Give the video itself, or make one file of its parts with ffmpeg -i LIST -c copy whole.mp4."
            ) from error
        advice = "it may be damaged, cut off, or not a video"
        raise VideoError(f"{name} cannot be opened as a video ({reason(error)}); {advice}.") from error


def _check_format(container: Any, name: str) -> None:
    container_format = container.format.name
    if container_format.endswith("_pipe") or container_format == "image2":
        raise VideoError(f"{name} is a single image, not a video; use load_image, or pass [path].")


def _check_track(container: Any, stream: Any, name: str, cut_off: bool) -> None:
    container_format = container.format.name
    if stream is None or container_format in _NO_VIDEO_FORMATS:
        kinds = sorted({stream.type for stream in container.streams})
        found = f"format {container_format!r}, streams: {', '.join(kinds) or 'none'}"
        advice = "it is cut off, get it again." if cut_off else "expected a video file."
        raise VideoError(f"{name} has no video stream ({found}); {advice}")
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{name} uses a codec that this build of FFmpeg cannot decode; convert it first.")
    check_size(context.height, context.width, name, MAX_FRAME_PIXELS)
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}  # the coded frames may have another size


def _stop_python_logging() -> None:
    """Stops FFmpeg's threads from calling Python, permanently.

    If PyAV's log level was set (torchvision sets it when it is imported), decoding threads take the interpreter's lock
    to log, and freeing a decoder waits for them while it holds that lock: a deadlock. Decoders are freed some time
    after their file was closed, so the level cannot be restored.
    """
    if av.logging.get_level() is not None:
        av.logging.set_level(None)


def read_packets(container: Any, stream: Any) -> Iterator[Any]:
    """Yields the packets from the current position of the container to the end of the file."""
    try:
        # Empty packets would end the decoding; `decode_packets` flushes the decoder itself.
        yield from (packet for packet in container.demux(stream) if packet.size)
    except IndexError as error:  # PyAV, where damage looks like the header of another stream
        raise av.error.InvalidDataError(errno.EINVAL, f"a packet of a stream that there is not ({error})") from error


def decode_packets(
    packets: Iterator[Any], stream: Any, failed: Callable[[int, Exception | None], Any] | None = None
) -> Iterator[Any]:
    """Decodes packets of a stream to frames.

    With `failed`, continues after errors and calls it with the index of the packet, in decoding order, and the error
    (`None` for a packet that is damaged as stored).
    """
    place = 0
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            if failed is None:
                raise
            failed(place, error)
            packet = None
        if failed is not None and packet is not None and packet.is_corrupt:
            failed(place, None)
        try:
            decoded = stream.codec_context.decode(packet)
        except av.error.FFmpegError as error:
            if failed is None:
                raise
            failed(place, error)
            decoded = []
        yield from decoded
        if packet is None:
            return
        place += not packet.is_discard


def reason(error: BaseException) -> str:
    """The message of an error, in words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
