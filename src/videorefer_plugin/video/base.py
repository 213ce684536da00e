"""The interface of all videos, independent of the source of their frames."""

import abc
import copy
import hashlib
import math
import operator
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from videorefer_plugin._text import short
from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.sampling import (
    beyond_end,
    check_count,
    check_fps,
    check_number,
    check_range,
    check_sampled,
    check_total,
    sample_frame_indices,
    spread,
)

__all__ = ["Video"]


class Video(abc.ABC):
    """A video whose frames can be read by index. Made by [`open_video`].

    Nothing stays open between calls, so a video can be pickled and shared with worker processes.

    Frames are the pixels as stored, turned upright. A pixel aspect ratio (anamorphic video, which players stretch) is
    not applied, so boxes, points and masks of a frame are in stored pixels too.

    Attributes:
        name (`str`): Its name in messages (path, address or kind of source).
        comment (`str`, *optional*): The metadata field `comment` of a video file.
        num_frames (`int`): Number of frames, at least 1.
        height (`int`): Height of the upright frames in pixels.
        width (`int`): Width of the upright frames in pixels.
        fps (`float`): Frames per second; the average if the frame rate varies.
        timestamps (`np.ndarray`): `float64` of shape `(num_frames,)`, the time at which each frame appears, in seconds
            from the first frame.
        duration (`float`): Seconds from the first frame to the end of the last one.
        has_clock (`bool`): Whether the source or the caller gives the frame rate; without, as for arrays, one frame
            per second is assumed.
        is_rate_assumed (`bool`): Whether the frame rate is an assumption, as for arrays and folders.
    """

    name: str
    comment: str | None = None
    num_frames: int
    height: int
    width: int
    fps: float
    timestamps: np.ndarray
    duration: float
    has_clock: bool = True
    is_rate_assumed: bool = False
    # Half the resolution of the clock in which the frame times were stored, in seconds.
    _time_tolerance: float = 1e-9
    _folder: str | None = None
    _address: str | None = None
    _digested: tuple[list[Any], str] | None = None  # the state of its files when they were digested, and the digest

    def _set_even_times(self, fps: float) -> None:
        """Gives frame i the time i / fps."""
        self.fps = fps
        self.timestamps = np.arange(self.num_frames, dtype=np.float64) / fps
        self.duration = self.num_frames / fps
        self._time_tolerance = 1e-9

    def at_rate(self, fps: float) -> "Video":
        """Returns the same video with its frames evenly spaced, at this many frames a second."""
        video = copy.copy(self)
        video.has_clock, video.is_rate_assumed = True, False
        video._set_even_times(check_fps(fps))
        return video

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.name}, num_frames={self.num_frames}, height={self.height}, "
            f"width={self.width}, fps={self.fps:.6g})"
        )

    def read(self, indices: Iterable[int]) -> np.ndarray:
        """Reads frames by index.

        Args:
            indices (iterable of `int`): Frame indices in any order; an index may occur more than once.

        Returns:
            `np.ndarray`: `uint8` RGB frames of shape `(len(indices), height, width, 3)`, in the order of `indices`.

        Raises:
            VideoError: If an index is not a whole number or lies outside the video, or if a requested frame cannot be
                decoded or does not fit in memory. No frame is ever replaced by another one.
        """
        rows: dict[int, list[int]] = {}
        order = self._check_indices(indices)
        for row, index in enumerate(order):
            rows.setdefault(index, []).append(row)
        frames = self._room(len(order))
        for index, frame in self._decode(sorted(rows)):
            frames[rows[index]] = frame
        return frames

    def _room(self, count: int) -> np.ndarray:
        try:
            return np.empty((count, self.height, self.width, 3), dtype=np.uint8)
        except MemoryError as error:
            size = count * self.height * self.width * 3 / 1e9
            raise VideoError(
                f"{count} frames of {self.name} take {size:.1f} GB, more than there is memory; read fewer at a time."
            ) from error

    def frame_at(self, seconds: float) -> int:
        """Finds the frame on screen at a time.

        Args:
            seconds (`float`): Time in seconds from the first frame. The exact time of a frame belongs to that frame,
                also if the file stores it rounded.

        Returns:
            `int`: Index of the frame.

        Raises:
            VideoError: If the time is negative or beyond the end of the last frame.
        """
        time = check_number(seconds, "The time (seconds)")
        if time < -self._time_tolerance:
            raise VideoError(f"The time is {time:g} s; times count from the first frame and cannot be negative.")
        if time > self.duration + self._time_tolerance:
            raise beyond_end(f"The time asked for in {self.name}", time, self.num_frames, self.duration)
        return self._on_screen(time)

    def _on_screen(self, time: float) -> int:
        """The frame on screen at a time that is known to be within the video."""
        return max(int(np.searchsorted(self.timestamps, time + self._time_tolerance, side="right")) - 1, 0)

    def digest(self) -> str:
        """Digest of the content: videos with the same digest have the same frames in the same order.

        It does not depend on the name of the source or on the frame times. Files are digested as they are stored, in
        pieces and once. Of arrays and images in memory, the pixels are digested when the digest is first requested.

        Returns:
            `str`: 32 hexadecimal digits.

        Raises:
            VideoError: If the source cannot be read, or a file has changed since it was first digested.
        """
        state = [_state(path) for path in self._paths()]
        if self._digested is None:
            digest = hashlib.blake2b(digest_size=16)
            try:
                self._add_content(digest)
            except OSError as error:
                raise VideoError(
                    f"{self.name} cannot be read ({error}); check the path and who may read it."
                ) from error
            self._digested = state, digest.hexdigest()
        before, digested = self._digested
        # A deleted file cannot give wrong frames, and the frames that were read before are still those of the video.
        if any(now not in (None, then) for then, now in zip(before, state, strict=True)):
            raise VideoError(f"{self.name} has changed since it was opened; open it again.")
        return digested

    @property
    def path(self) -> str | None:
        """The absolute path of the file or folder with the frames, or the address of a download, without a password;
        `None` if the frames were given in memory."""
        if self._address is not None or self._folder is not None:
            return self._address or self._folder
        paths = self._paths()
        return paths[0] if len(paths) == 1 else None

    def _paths(self) -> list[str]:
        """The files that frames are read from."""
        return []

    def _add_content(self, digest: Any) -> None:
        """Adds the content that decides about the frames to a digest; by default, their pixels."""
        digest.update(f"pixels {self.num_frames} {self.height} {self.width} ".encode())
        for _, frame in self._decode(list(range(self.num_frames))):
            digest.update(np.ascontiguousarray(frame).data)

    def sample(
        self,
        num_frames: int | None = None,
        start: float | None = None,
        end: float | None = None,
        max_frames: int | None = None,
    ) -> list[int]:
        """Chooses frames of this video with [`sample_frame_indices`].

        If the frame rate varies, that function's `time * fps` would point at the wrong frames; then the range consists
        of the frames on screen from `start` to `end`, and sampling by the second takes the frames on screen at
        0.5 s, 1.5 s, ... of the range.

        Args:
            num_frames (`int`, *optional*): Number of frames to take: at most 4096, or the number of frames of the
                video if that is larger. `None` takes one per second.
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
        wanted = None if num_frames is None else check_sampled(num_frames, "num_frames", self.num_frames)
        limit = None if max_frames is None else check_count(max_frames, "max_frames")
        start, end = check_range(start, end)
        start = max(start or 0.0, 0.0)
        end = self.duration if end is None else min(end, self.duration)
        first, last = self.frame_at(start), self.frame_at(max(start, end))
        if wanted is not None:
            return [first + index for index in spread(last - first + 1, wanted, 1, limit)]
        seconds = range(math.ceil(end - start - 0.5))[:limit]
        check_total(len(seconds), f"With a frame for each second, {self.name}")
        times = [start + second + 0.5 for second in seconds] or [(start + end) / 2]
        return [self._on_screen(time) for time in times]

    def _varies(self) -> bool:
        """Whether some frame is more than one frame away from its position at an even frame rate."""
        if self.num_frames < 3:
            return False
        interval = self.timestamps[-1] / (self.num_frames - 1)
        even = np.arange(self.num_frames) * interval
        return bool(np.abs(self.timestamps - even).max() > interval)

    def _check_indices(self, indices: Any) -> list[int]:
        if hasattr(indices, "tolist"):  # arrays and tensors
            indices = indices.tolist()
        if isinstance(indices, (str, bytes)) or not isinstance(indices, Iterable):
            raise VideoError(f"Frame indices must be a list of whole numbers, but are {short(indices)}.")
        checked = []
        for index in indices:
            try:
                number = operator.index(index)
            except TypeError:
                number = None
            if number is None or isinstance(index, bool):
                raise VideoError(f"A frame index must be a whole number, but one is {short(index)}.")
            if not 0 <= number < self.num_frames:
                raise VideoError(
                    f"Frame {short(number)} was asked for, but {self.name} has {self.num_frames} frames "
                    f"(0 to {self.num_frames - 1}, {self.duration:.3f} s)."
                )
            checked.append(number)
        return checked

    @abc.abstractmethod
    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Yields each of the `wanted` indices (ascending, no duplicates, in range) with its frame."""


def _state(path: str) -> tuple[int, int] | None:
    """The size and time of change of a file; `None` if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # deleted, or an address
        return None
    return found.st_size, found.st_mtime_ns
