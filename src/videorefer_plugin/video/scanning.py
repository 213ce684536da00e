"""Listing the frames of a video file, in one pass over its packets."""

import contextlib
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.containers import decode_packets, read_packets, reason
from videorefer_plugin.video.frames import FrameTable
from videorefer_plugin.video.packets import PacketList
from videorefer_plugin.video.pixels import Rotations
from videorefer_plugin.video.structure import find_breaks

__all__ = ["Scan"]

# Containers and codecs whose packets each hold exactly one shown frame with its own time, so that frames can be
# counted without decoding, and where jumping to a keyframe keeps the times. (AVI and MPEG program streams store no
# presentation times, ...; those are counted by decoding.)
_INDEXED_FORMATS = ("mov,mp4,", "matroska,webm")
_INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d", "mjpeg", "png", "ffv1", "prores", "dnxhd"})
_SHOWS = {"vp8": 0x10}  # for codecs with hidden frames: the bit of a packet's first byte that is set if it shows one
_B_FRAME = 3  # AV_PICTURE_TYPE_B


class Scan:
    """Lists the frames of one file.

    Args:
        source (`str` or `bytes`): Absolute path, http(s) address, or the bytes of the file.
        name (`str`): The name of the file in messages.
        rotations ([`Rotations`]): Turns its frames upright.
        cut_off (`bool`): Whether the file is known to be truncated.

    Attributes:
        cut_off (`bool`): Whether the file is truncated, which its packets may show, too, or damaged so that its number
            of frames is unknown.
        discarded (`int`): Packets found so far that are decoded but not shown (edit lists).
    """

    def __init__(self, source: str | bytes, name: str, rotations: Rotations, cut_off: bool):
        self.cut_off = cut_off
        self.discarded = 0
        self._source = source
        self._breaks: list[int] | None = None  # searched for when they are needed
        self._hidden = False  # whether some packets are marked as showing nothing
        self._name = name
        self._rotations = rotations

    def run(self, container: Any, stream: Any) -> FrameTable | None:
        """Lists the frames of a container that was just opened, decoding as few of them as possible.

        Returns `None` if it turns out too late that they must all be decoded; the file must then be opened again
        for `by_decoding`.
        """
        if not container.format.name.startswith(_INDEXED_FORMATS):
            return self.by_decoding(read_packets(container, stream), stream, threads=True)
        rate = stream.average_rate or stream.guessed_rate
        # Matroska finds a keyframe by the time it is shown, MP4 by the time it is decoded.
        by_pts = container.format.name.startswith("matroska")
        listed = PacketList(by_pts, float(1 / (rate * stream.time_base)) if rate else 0.0)
        packets = self._read_and_list(container, stream, listed)
        if stream.codec_context.name in _INDEXED_CODECS or stream.codec_context.name in _SHOWS:
            seconds = (container.duration or 0) / 1_000_000
            return self._by_packets(packets, stream, listed, seconds / float(stream.time_base))
        return self.by_decoding(packets, stream, threads=True)

    def _find_breaks(self) -> list[int]:
        if self._breaks is None:
            self._breaks = find_breaks(self._source)
        return self._breaks

    def _read_and_list(self, container: Any, stream: Any, listed: PacketList) -> Iterator[Any]:
        """Passes on each packet after recording its contents."""
        shows = _SHOWS.get(stream.codec_context.name)
        try:
            for packet in read_packets(container, stream):
                self._hidden = self._hidden or (shows is not None and not memoryview(packet)[0] & shows)
                if packet.is_discard:
                    self.discarded += 1
                else:
                    listed.add(packet)
                yield packet
        except av.error.FFmpegError:
            self.cut_off = True  # the rest of the file is unreadable; the frames listed so far are all
            if len(listed):
                raise
        if not len(listed):
            raise VideoError(f"{self._name} has no frames; it may be cut off or an unfinished recording.")

    def _by_packets(self, packets: Iterator[Any], stream: Any, listed: PacketList, end: float) -> FrameTable | None:
        """Lists the frames while decoding only the first, which is needed for the size of the upright frames.

        `end` is the end of the video according to the file, in ticks.
        """
        errors: list[Exception] = []
        frames = decode_packets(packets, stream, lambda _, error: errors.append(error) if error else None)
        first = next(frames, None)
        with contextlib.suppress(av.error.FFmpegError):
            for _ in packets:
                pass
        until = len(listed) if self.cut_off else None
        order = listed.order(until)
        if order is None or self._hidden:
            return None
        if first is None:
            why = f" ({reason(errors[0])})" if errors else ""
            raise VideoError(f"{self._name} has no frames that can be decoded{why}; it may be damaged or cut off.")
        size = self._rotations.size(first)
        breaks = self._find_breaks() if listed.has_gaps(end) else []
        if not breaks or (self.cut_off and listed.loses_the_end(breaks[:1])):
            return listed.table(order, size)
        return self._with_gaps(listed, breaks, size)

    def _with_gaps(self, listed: PacketList, breaks: list[int], size: tuple[int, int]) -> FrameTable:
        """Lists the frames of a file whose structure is broken."""
        table = listed.table_with_gaps(breaks, size, self._name)
        self.cut_off = self.cut_off or table is None or listed.loses_the_end(breaks)
        if table is not None:
            return table
        order = listed.order(listed.first_break(breaks)) if listed.first_break(breaks) else None
        if order is None:
            raise VideoError(
                f"{self._name} is damaged at its beginning, so that its frames cannot be told apart; get it again."
            )
        return listed.table(order, size)

    def by_decoding(self, packets: Iterator[Any], stream: Any, threads: bool = False) -> FrameTable | None:
        """Lists the frames by decoding all of them once, from the first packet of the file on.

        With several `threads`, returns `None` on damage: the frames after it would differ from run to run.
        """
        breaks = self._find_breaks()
        if threads and breaks:
            return None
        count = _Count(breaks, _SHOWS.get(stream.codec_context.name))
        frames: list[tuple[int | None, int]] = []
        size = (0, 0)
        for frame in decode_packets(count.watch(packets), stream, count.failed):
            if not frames:
                size = self._rotations.size(frame)
            frames.append((frame.pts, getattr(frame, "duration", 0) or 0))
            count.add(frame)
            if threads and not count.intact:
                return None
        if not frames:
            raise VideoError(f"{self._name} has no frames that can be decoded; it may be damaged or cut off.")
        count.finish([pts for pts, _ in frames])
        if threads and not count.intact:
            return None
        readable = count.readable(self.cut_off)
        self.cut_off = self.cut_off or not count.intact
        durations = np.array([duration for _, duration in frames], dtype=np.int64)
        return FrameTable(size, durations, readable, _ascending([pts for pts, _ in frames]), counted=True)


class _Count:
    """Counts decoded frames, and finds out up to which index they are certain to be the right ones.

    Args:
        breaks (`list[int]`): Positions at which the structure of the file is broken.
        shows (`int`, *optional*): The bit of a packet's first byte that is set if it shows a frame.

    Attributes:
        intact (`bool`): Whether nothing seems to be lost so far.
    """

    def __init__(self, breaks: list[int], shows: int | None):
        self.intact = True
        self._break = breaks[0] if breaks else None
        self._shows = shows
        self._frames = 0
        self._anchors = [0]  # the number of frames up to each frame that is not a B-frame
        self._before = [0, 0]  # the number of anchors before the second to last packet, and the last
        self._packet: Any = None  # the packet that is being decoded
        self._times: list[int] = []  # of the packets that show a frame
        self._first: int | None = None  # time of the first packet, if that is a keyframe

    def watch(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Passes on the packets; where they reach a break, the one before it may be damaged, too."""
        for packet in packets:
            if self._packet is None and packet.is_keyframe:
                self._first = packet.pts
            if self._break is not None and packet.pos is not None and packet.pos >= self._break:
                self._lose()
            self._before = [self._before[1], len(self._anchors)]
            self._packet = packet
            shown = self._shows is None or memoryview(packet)[0] & self._shows
            if packet.pts is not None and shown and not packet.is_discard:
                self._times.append(packet.pts)
            yield packet

    def failed(self, _: int, error: Exception | None) -> None:
        """Records that a packet is damaged."""
        # Data before the first whole frame (a recording that starts in the middle) is not missed.
        if self._frames or error is None or (self._packet is not None and self._packet.is_keyframe):
            self.intact = False

    def add(self, frame: Any) -> None:
        """Counts a frame."""
        late = not self._frames and self._first is not None and frame.pts is not None and frame.pts > self._first
        self.intact = self.intact and not frame.is_corrupt and not late
        self._frames += 1
        if self.intact and int(frame.pict_type) != _B_FRAME:
            self._anchors.append(self._frames)

    def finish(self, times: list[int | None]) -> None:
        """Searches for packets whose frames were not returned, by the times of all frames in order."""
        if self._break is not None and self.intact:
            self._lose()
        pts = _ascending(times)
        if pts is None or len(pts) < 3:
            return
        gaps = np.diff(pts)
        wide = np.flatnonzero(gaps > 1.5 * np.median(gaps))
        own = np.sort(np.array(self._times, dtype=np.int64))
        for index in wide:
            inside = np.searchsorted(own, pts[index + 1]) - np.searchsorted(own, pts[index], side="right")
            if inside:
                self.intact = False
                self._anchors = [anchor for anchor in self._anchors if anchor <= index + 1]
                return

    def readable(self, cut_off: bool) -> int:
        """Returns how many of the frames are certain to be the right ones."""
        if cut_off and (self.intact or self._anchors[-1] == self._frames):
            # A part of the last frame may be missing, or B-frames shown before it.
            return self._anchors[max(len(self._anchors) - 2, 0)]
        # A lost frame shifts the count, so no frame after the first damage can be identified, and B-frames before it
        # may depend on it.
        return self._frames if self.intact else self._anchors[-1]

    def _lose(self) -> None:
        self._break = None
        if self.intact:
            self.intact = False
            del self._anchors[max(self._before[0], 1) :]


def _ascending(times: list[int | None]) -> np.ndarray | None:
    """The times as an array, `None` where one is missing or not above the one before."""
    if None in times:
        return None
    pts = np.array(times, dtype=np.int64)
    return pts if (np.diff(pts) > 0).all() else None
