"""Deriving the frames of a file from its packets."""

from typing import Any

import numpy as np

from videorefer_plugin.video.frames import FrameTable
from videorefer_plugin.video.sampling import check_total

__all__ = ["PacketList"]

_HEADER = 64  # bytes that an element of a file may have before its packet


class PacketList:
    """The packets of a file, in decoding order.

    Args:
        by_pts (`bool`): Whether the container finds a keyframe by its presentation time, and not by its decoding time.
        step (`float`): Ticks from frame to frame at the rate in the file; 0 if it has none.
    """

    def __init__(self, by_pts: bool, step: float):
        self._by_pts = by_pts
        self._step = step
        self._packets: list[tuple[int, int, int, bool, int]] = []  # time, time to jump to, duration, keyframe, offset
        self._decode_times: list[int | None] = []
        self._complete = True  # every packet has a time

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, packet: Any) -> None:
        """Adds the next packet."""
        self._complete = self._complete and packet.pts is not None
        self._decode_times.append(packet.dts)
        seek = packet.pts if self._by_pts or packet.dts is None else packet.dts
        place = -1 if packet.pos is None else packet.pos
        self._packets.append((packet.pts, seek, packet.duration or 0, packet.is_keyframe, place))

    def has_gaps(self, end: float) -> bool:
        """Whether frames may be missing: there are gaps between their times, or they end before `end`, in ticks."""
        if not self._complete or not len(self):
            return False
        times = np.sort(self._field(0))
        step = self._usual_step(times)
        return bool((np.diff(times) > 1.5 * step).any() or times[0] > 1.5 * step or end - times[-1] > 2.5 * step)

    def order(self, until: int | None = None) -> np.ndarray | None:
        """Returns which packets hold the frames, in the order shown; `None` if the packets do not tell.

        With `until`, returns only the frames that are certain if all packets from that one on may be lost.
        """
        if not self._complete:
            return None
        pts = self._field(0)
        if len(np.unique(pts)) != len(pts):
            return None
        order = np.argsort(pts)
        if until is not None:
            # The packets that are lost were to be decoded after the last one here, but some may have been shown
            # earlier (B-frames), so only frames that are shown before have a known index.
            decoded = self._decode_times[until - 1]
            last = self._packets[until - 1][0] if decoded is None else decoded
            order = order[(pts[order] <= last) & (order < until)]
            if not len(order):
                order = np.array([int(np.argmin(pts[:until]))])
        return order

    def table(self, order: np.ndarray, size: tuple[int, int]) -> FrameTable:
        """Returns the frames, if none of them is missing."""
        pts, seek, durations, is_key = (self._field(field)[order] for field in range(4))
        return FrameTable(
            size, durations, len(order), pts, decode_order=order, is_key=is_key.astype(bool), seek_times=seek
        )

    def table_with_gaps(self, breaks: list[int], size: tuple[int, int], name: str) -> FrameTable | None:
        """Returns the frames of a file whose structure is broken, with gaps for the missing ones.

        The gaps tell how many frames are missing only if the frame rate is even; all gaps must lie at the breaks,
        since undamaged files may have some, too. Returns `None` if the number is unclear.
        """
        order = self.order()
        places = self._field(4)
        if order is None or (places < 0).any():
            return None
        pts = self._field(0)[order]
        step = self._usual_step(pts)
        if breaks[0] < places[0] - _HEADER and pts[0] > 0.5 * step:
            return None  # the beginning is lost, and its length is unknown
        gaps = np.diff(pts) / step
        counts = np.rint(gaps).astype(np.int64)
        damaged = self._packets_before(breaks)
        if (np.abs(gaps - counts) > 0.02 + 1.1 / step).any() or (counts < 1).any():
            return None
        wide = np.flatnonzero(counts > 1)
        reordered = int(np.abs(order - np.arange(len(order))).max())  # how far packets are from the order shown
        pairs = np.stack([order[wide], order[wide + 1]], axis=1)
        between = zip(pairs.min(axis=1) - reordered, pairs.max(axis=1) + reordered, strict=True)
        if any(np.searchsorted(damaged, low) == np.searchsorted(damaged, high, side="right") for low, high in between):
            return None  # there are gaps that are not part of the damage
        index_of = np.concatenate([[0], np.cumsum(counts)])
        total = check_total(int(index_of[-1]) + 1, name)
        listed = self.table(order, size)

        def spread(values: np.ndarray, fill: Any) -> np.ndarray:
            spread = np.full(total, fill, dtype=values.dtype)
            spread[index_of] = values
            return spread

        times = np.rint(np.interp(np.arange(total), index_of, pts)).astype(np.int64)
        return FrameTable(
            size,
            spread(listed.durations, 0),
            total,
            times,
            decode_order=spread(order, -1),
            is_key=spread(listed.is_key, False),
            seek_times=times,
            damaged=frozenset(damaged.tolist()),
        )

    def first_break(self, breaks: list[int]) -> int:
        """How many packets come before the first break of the structure."""
        return int(self._packets_before(breaks[:1])[0])

    def _packets_before(self, breaks: list[int]) -> np.ndarray:
        """How many packets lie before each break, in ascending order."""
        return np.searchsorted(np.sort(self._field(4)), breaks)

    def loses_the_end(self, breaks: list[int]) -> bool:
        """Whether packets may be missing after the last one, which may be torn."""
        places = self._field(4)
        return bool(breaks[-1] >= np.sort(places)[-2:].min() - _HEADER)

    def _usual_step(self, times: np.ndarray) -> float:
        """Ticks from frame to frame."""
        if self._step:
            return self._step
        return float(max(np.median(np.diff(np.sort(times))), 1)) if len(times) > 1 else 1.0

    def _field(self, field: int) -> np.ndarray:
        return np.array([packet[field] for packet in self._packets], dtype=np.int64)
