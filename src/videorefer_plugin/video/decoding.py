"""Decoding the requested frames of a video file."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import av
import numpy as np

from videorefer_plugin._text import listed
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.base import Video
from videorefer_plugin.video.containers import decode_packets, open_container, read_packets
from videorefer_plugin.video.frames import FrameTable
from videorefer_plugin.video.pixels import Rotations
from videorefer_plugin.video.sources import add_bytes

__all__ = ["DecodedVideo"]

_SEEK_MARGIN = 32  # jump when it saves decoding more frames than this; a jump restarts the decoder's threads


class _DamageError(Exception):
    """Decoding did not give the frames that the file announces."""


class DecodedVideo(Video):
    """A video in a container file. The subclass lists its frames."""

    _source: str | bytes
    _cut_off: bool
    _track: int | None  # index of the stream
    _table: FrameTable
    _rotations: Rotations
    _good: np.ndarray | None = None  # which frames of a damaged file can be trusted, once it was determined

    def _open(self, threads: bool = True) -> AbstractContextManager[tuple[Any, Any]]:
        return open_container(self._source, self.name, self._cut_off, threads, self._track)

    def _paths(self) -> list[str]:
        return [self._source] if isinstance(self._source, str) else []

    def _add_content(self, digest: Any) -> None:
        digest.update(f"track {self._track} ".encode())
        add_bytes(self._source, digest)

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        if self._table.counted:
            yield from self._decode_counted(wanted)
            return
        if self._table.damaged:
            yield from self._decode_damaged(wanted)
            return
        try:
            for index, frame in self._decode_indexed(wanted):
                yield index, self._pixels(index, frame)
        except (_DamageError, av.error.FFmpegError):
            # Damage may show only after frames that it affects (B-frames), so those are yielded once more.
            yield from self._decode_damaged(wanted)

    def _decode_counted(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        beyond = [index for index in wanted if index >= self._table.readable]
        if beyond:
            raise self._not_decodable(beyond, np.arange(self.num_frames) < self._table.readable)
        left = iter(wanted)
        target = next(left, None)
        # With several threads, the frames that come out of damaged packets differ from run to run.
        with self._open(threads=self._table.readable == self.num_frames) as (container, stream):
            # Errors before the first frame were ignored when counting, and there are none later.
            frames = decode_packets(read_packets(container, stream), stream, lambda _, __: None)
            for index, frame in enumerate(frames):
                if target is None:
                    return
                if index == target:
                    yield index, self._pixels(index, frame)
                    target = next(left, None)
        if target is not None:
            raise VideoError(f"{self.name} has changed since it was opened: frame {target} is gone; open it again.")

    def _decode_indexed(self, wanted: list[int]) -> Iterator[tuple[int, Any]]:
        """Decodes the wanted frames, skipping long gaps; raises `_DamageError` if anything is not as announced."""
        table = self._table
        if wanted and wanted[-1] >= table.readable:
            raise _DamageError
        index_of, reach, starts = table.by_pts(), table.reach(), table.starts(wanted)
        expected = 0  # the frame that the decoder should give next
        done, until = 0, -1
        with self._open() as (container, stream):
            while done < len(wanted):
                key = int(starts[done])
                jumped = key - expected > _SEEK_MARGIN
                if jumped:
                    container.seek(int(table.seek_times[key]), stream=stream)
                    expected = key
                for frame in decode_packets(read_packets(container, stream), stream):
                    index = index_of.get(frame.pts, -1)
                    if jumped and 0 <= index < expected:
                        continue  # frames shown before the keyframe of the jump, or an earlier landing
                    # A file may mark frames as keyframes at which decoding cannot start; only the decoder detects it.
                    if index != expected or frame.is_corrupt or (jumped and index == key and not frame.key_frame):
                        raise _DamageError
                    expected += 1
                    if done < len(wanted) and index == wanted[done]:
                        yield index, frame
                        done += 1
                        until = int(reach[index])
                    if index >= until:
                        if done == len(wanted):
                            return
                        if starts[done] - expected > _SEEK_MARGIN:
                            break
                else:
                    raise _DamageError  # the file ended too early

    def _decode_damaged(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Decodes from the start, after determining which frames can be trusted."""
        if self._good is None:
            self._good = self._find_good()
        good = self._good
        lost = [index for index in wanted if not good[index]]
        if lost:
            raise self._not_decodable(lost, good)
        index_of = self._table.by_pts()
        remaining = set(wanted)
        with self._open(threads=False) as (container, stream):
            for frame in decode_packets(read_packets(container, stream), stream, lambda _, __: None):
                index = index_of.get(frame.pts)
                if index in remaining:
                    remaining.remove(index)
                    yield index, self._pixels(index, frame)
        if remaining:
            raise VideoError(f"{self.name} has changed since it was opened; open it again.")

    def _find_good(self) -> np.ndarray:
        """Which frames are undamaged, found by decoding all with one thread, where errors tell their packets."""
        table = self._table
        index_of = table.by_pts()
        given = np.zeros(table.readable, dtype=bool)
        is_key = np.zeros(table.readable, dtype=bool)
        damaged = set(table.damaged)  # indices, in decoding order, of damaged packets
        with self._open(threads=False) as (container, stream):
            packets = read_packets(container, stream)
            for frame in decode_packets(packets, stream, lambda place, _: damaged.add(place)):
                index = index_of.get(frame.pts)
                if index is not None:
                    given[index] = True
                    is_key[index] = table.is_key[index] and frame.key_frame
                    if frame.is_corrupt:
                        damaged.add(int(table.decode_order[index]))
        damaged.update(place for place in table.decode_order[~given].tolist() if place >= 0)
        good = np.zeros(self.num_frames, dtype=bool)
        good[: table.readable] = table.undamaged(given, is_key, damaged)
        return good

    def _not_decodable(self, lost: list[int], good: np.ndarray) -> VideoError:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
        ranges = [f"{first} to {end - 1}" for first, end in zip(edges[::2], edges[1::2], strict=True)]
        return VideoError(
            f"{self.name} is damaged or cut off: of the frames asked for, {len(lost)} cannot be decoded "
            f"({listed(lost, 20)}). Of its {self.num_frames} frames, these can: {listed(ranges, 10) or 'none'}. "
            "Get the file again, or ask only for those."
        )

    def _pixels(self, index: int, frame: Any) -> np.ndarray:
        """The upright RGB picture of a decoded frame."""
        height, width = self._rotations.size(frame)
        if (height, width) != (self.height, self.width):
            raise VideoError(
                f"{self.name} changes its frame size: frame {index} is {width}x{height} while the first one is "
                f"{self.width}x{self.height} (width x height); convert it to one size or read only frames of one size."
            )
        return self._rotations.picture(frame)
