"""Choosing the film among the tracks of a file."""

import contextlib
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import av

from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoError

__all__ = ["choose_track"]

_ATTACHED_PICTURE = 0x0400  # AV_DISPOSITION_ATTACHED_PIC: cover art, and pictures of chapters
_DEFAULT = 0x0001  # AV_DISPOSITION_DEFAULT
# The flag of MP4 only says that a track is enabled, and FFmpeg enables the first of several films.
_FLAG_OF_CHOICE = "matroska"
_PACKETS_LOOKED_AT = 1000  # to find the second frame of a track; a still has none up to the end of the film


def choose_track(container: Any, name: str, wanted: int | None, open_again: Callable[[], Any]) -> Any:
    """Finds the film among the video tracks of a file.

    A track with more than one frame is preferred to stills; of several films, the one that a Matroska file marks as
    its default is taken; of several stills, that marked as default, or else the one that FFmpeg would take. Attached
    pictures (cover art) are ignored unless requested.

    Args:
        container: The open file.
        name (`str`): Its name in messages.
        wanted (`int`, *optional*): Index, among all streams of the file, of the one to take instead.
        open_again: Opens the file once more, to search its packets if it does not give the number of frames.

    Returns:
        The stream of PyAV, `None` if the file has no video track.

    Raises:
        VideoError: If there are several films, or the requested stream is not a video.
    """
    if wanted is not None:
        return _asked_for(container, name, wanted)
    tracks = [track for track in container.streams.video if not _disposition(track) & _ATTACHED_PICTURE]
    tracks = [track for track in tracks if track.codec_context is not None] or tracks  # those that can be decoded
    if len(tracks) < 2:
        return tracks[0] if tracks else None
    films = _moving(tracks, open_again)
    if len(films) == 1:
        return films[0]
    marked = [track for track in films or tracks if _disposition(track) & _DEFAULT]
    if len(marked) == 1 and (not films or container.format.name.startswith(_FLAG_OF_CHOICE)):
        return marked[0]
    if films:
        raise VideoError(
            f"{name} holds {len(films)} films; say which one is meant with open_video(path, stream=INDEX). "
            f"They are {_listed(films)}."
        )
    best = container.streams.best("video")
    return best if best in tracks else tracks[0]


def _asked_for(container: Any, name: str, wanted: int) -> Any:
    for track in container.streams.video:
        if track.index == wanted:
            return track
    found = _listed(container.streams.video) or "none"
    raise VideoError(f"Stream {short(wanted)} of {name} is not a video; its video streams are {found}.")


def _moving(tracks: list[Any], open_again: Callable[[], Any]) -> list[Any]:
    """The tracks that hold more than one frame."""
    unknown = {track.index: 0 for track in tracks if not track.frames}
    if unknown:
        with open_again() as container:
            same = [track for track in container.streams.video if track.index in unknown]
            _count_packets(container.demux(same), unknown)
    return [track for track in tracks if unknown.get(track.index, track.frames) > 1]


def _count_packets(packets: Iterable[Any], counts: dict[int, int]) -> None:
    """Counts the packets of streams until all have two."""
    with contextlib.suppress(av.error.FFmpegError, IndexError):  # damage is reported when the track is read
        for packet in islice(packets, _PACKETS_LOOKED_AT):
            counts[packet.stream.index] += bool(packet.size)
            if min(counts.values()) > 1:
                return


def _listed(tracks: Iterable[Any]) -> str:
    """Index, codec, size and, where known, length of tracks."""
    return "; ".join(f"stream {track.index}: {_described(track)}" for track in tracks)


def _described(track: Any) -> str:
    context = track.codec_context
    if context is None:
        return "unknown codec"
    frames = f", {track.frames} frame(s)" if track.frames else ""
    return f"{context.name} {context.width}x{context.height}{frames}"


def _disposition(track: Any) -> int:
    disposition = getattr(track, "disposition", 0)  # absent before PyAV 14.1
    return int(getattr(disposition, "value", disposition))
