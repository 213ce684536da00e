"""Listing the frames of a video file, in one pass over its packets."""

import contextlib
from collections.abc import Iterator
from typing import Any

import av
import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.containers import decode_packets, read_packets, reason
from videorefer_plugin.video.frames import FrameTable
from videorefer_plugin.video.pixels import Rotations

__all__ = ["Scan"]

# Containers and codecs whose packets each hold exactly one shown frame with its own time, so that frames can be
# counted without decoding, and where jumping to a keyframe keeps the times. (AVI and MPEG program streams store no
# presentation times, VP8 has packets that show nothing, ...; those are counted by decoding.)
_INDEXED_FORMATS = ("mov,mp4,", "matroska,webm")
_INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d", "mjpeg", "png", "ffv1", "prores", "dnxhd"})
_B_FRAME = 3  # AV_PICTURE_TYPE_B


class Scan:
    """Lists the frames of one file.

    Args:
        name (`str`): How messages call the file.
        rotations ([`Rotations`]): What turns its frames upright.
        cut_off (`bool`): Whether the file is known to break off.

    Attributes:
        cut_off (`bool`): Whether the file breaks off, which its packets may show, too.
        discarded (`int`): Packets found so far that are decoded but not shown (edit lists).
    """

    def __init__(self, name: str, rotations: Rotations, cut_off: bool):
        self.cut_off = cut_off
        self.discarded = 0
        self._name = name
        self._rotations = rotations

    def run(self, container: Any, stream: Any) -> FrameTable | None:
        """Lists the frames of a container that was just opened, decoding no more of them than it must.

        Returns `None` where it turns out too late that they must all be decoded; the file must then be opened again
        for `by_decoding`.
        """
        if not container.format.name.startswith(_INDEXED_FORMATS):
            return self.by_decoding(read_packets(container, stream), stream)
        # Matroska finds a keyframe by the time it is shown, MP4 by the time it is decoded.
        listed = _PacketList(by_pts=container.format.name.startswith("matroska"))
        packets = self._read_and_list(container, stream, listed)
        if stream.codec_context.name in _INDEXED_CODECS:
            return self._by_packets(packets, stream, listed)
        return self.by_decoding(packets, stream)

    def _read_and_list(self, container: Any, stream: Any, listed: "_PacketList") -> Iterator[Any]:
        """Gives on each packet after noting what it says."""
        try:
            for packet in read_packets(container, stream):
                if packet.is_discard:
                    self.discarded += 1
                else:
                    listed.add(packet)
                yield packet
        except av.error.FFmpegError:
            self.cut_off = True  # the rest of the file is unreadable; what was listed so far is all there is
            if len(listed):
                raise
        if not len(listed):
            raise VideoError(f"{self._name} has no frames; it may be cut off or an unfinished recording.")

    def _by_packets(self, packets: Iterator[Any], stream: Any, listed: "_PacketList") -> FrameTable | None:
        """Lists the frames without decoding more than the first, which alone tells the size of the upright frames."""
        errors: list[Exception] = []
        frames = decode_packets(packets, stream, lambda _, error: errors.append(error) if error else None)
        first = next(frames, None)
        with contextlib.suppress(av.error.FFmpegError):
            for _ in packets:
                pass
        order = listed.order(self.cut_off)
        if order is None:
            return None
        if first is None:
            why = f" ({reason(errors[0])})" if errors else ""
            raise VideoError(f"{self._name} has no frames that can be decoded{why}; it may be damaged or cut off.")
        return listed.table(order, self._rotations.size(first))

    def by_decoding(self, packets: Iterator[Any], stream: Any) -> FrameTable:
        """Lists the frames by decoding all of them once, from the first packet of the file on."""
        frames: list[tuple[int | None, int]] = []
        anchors = [0]  # how many frames there are up to each frame that is not a B-frame
        intact = True
        size = (0, 0)

        def failed(_: int, __: Exception | None) -> None:
            nonlocal intact
            # What comes before the first whole frame (a recording that starts in the middle) is not missed.
            intact = intact and not frames

        for frame in decode_packets(packets, stream, failed):
            intact = intact and not frame.is_corrupt
            if not frames:
                size = self._rotations.size(frame)
            frames.append((frame.pts, getattr(frame, "duration", 0) or 0))
            if intact and int(frame.pict_type) != _B_FRAME:
                anchors.append(len(frames))
        if not frames:
            raise VideoError(f"{self._name} has no frames that can be decoded; it may be damaged or cut off.")
        durations = np.array([duration for _, duration in frames], dtype=np.int64)
        readable = self._readable(len(frames), anchors, intact)
        return FrameTable(size, durations, readable, _ascending([pts for pts, _ in frames]), counted=True)

    def _readable(self, count: int, anchors: list[int], intact: bool) -> int:
        """How many of the frames decoded are certain to be the right ones."""
        if self.cut_off and (intact or anchors[-1] == count):
            # Of the last frame a part may be missing, or B-frames shown before it.
            return anchors[max(len(anchors) - 2, 0)]
        # A lost frame shifts the count, so nothing behind the first damage can be told apart, and B-frames before it
        # may build on it.
        return count if intact else anchors[-1]


class _PacketList:
    """What the packets of a file say of its frames, in decoding order."""

    def __init__(self, by_pts: bool):
        self._by_pts = by_pts
        self._packets: list[tuple[int, int, int, bool]] = []  # time, time to jump to, duration, keyframe
        self._decode_time: int | None = None  # of the last packet
        self._complete = True  # every packet has a time

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, packet: Any) -> None:
        self._complete = self._complete and packet.pts is not None
        self._decode_time = packet.dts
        seek = packet.pts if self._by_pts or packet.dts is None else packet.dts
        self._packets.append((packet.pts, seek, packet.duration or 0, packet.is_keyframe))

    def order(self, cut_off: bool) -> np.ndarray | None:
        """Which packets hold the frames, in the order shown; `None` where the packets do not tell."""
        if not self._complete:
            return None
        pts = np.array([packet[0] for packet in self._packets], dtype=np.int64)
        if len(np.unique(pts)) != len(pts):
            return None
        order = np.argsort(pts)
        if cut_off:
            # The packets that are lost were to be decoded after the last one here, but some may have been shown
            # earlier (B-frames), so only what is shown until then has a known place in the count.
            last = self._packets[-1][0] if self._decode_time is None else self._decode_time
            order = order[pts[order] <= last]
            if not len(order):
                order = np.array([int(np.argmin(pts))])
        return order

    def table(self, order: np.ndarray, size: tuple[int, int]) -> FrameTable:
        pts, seek, durations = (
            np.array([packet[field] for packet in self._packets], dtype=np.int64)[order] for field in range(3)
        )
        is_key = np.array([packet[3] for packet in self._packets])[order]
        return FrameTable(size, durations, len(order), pts, decode_order=order, is_key=is_key, seek_times=seek)


def _ascending(times: list[int | None]) -> np.ndarray | None:
    """The times as an array, `None` where one is missing or not above the one before."""
    if None in times:
        return None
    pts = np.array(times, dtype=np.int64)
    return pts if (np.diff(pts) > 0).all() else None
