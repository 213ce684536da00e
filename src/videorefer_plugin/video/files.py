"""Video files: their number of frames and frame times. Used through [`open_video`]."""

import numpy as np

from videorefer_plugin.video.containers import read_packets
from videorefer_plugin.video.damage import is_cut_off
from videorefer_plugin.video.decoding import DecodedVideo
from videorefer_plugin.video.frames import FrameTable
from videorefer_plugin.video.pixels import Rotations
from videorefer_plugin.video.sampling import check_total
from videorefer_plugin.video.scanning import Scan

__all__ = ["FileVideo"]


class FileVideo(DecodedVideo):
    """A video in a container file.

    Args:
        source (`str` or `bytes`): Absolute path, or the bytes of the file.
        name (`str`): Its name in messages.
        fps (`float`, *optional*): Overrides the frame times of the file with an even rate.
        track (`int`, *optional*): Index of the video among the streams of the file; the film by default.
    """

    def __init__(self, source: str | bytes, name: str, fps: float | None, track: int | None = None):
        self.name = name
        self._track = track
        self._source = source
        self._cut_off = is_cut_off(source)
        self._rotations = Rotations()
        scan = Scan(source, name, self._rotations, self._cut_off)
        with self._open() as (container, stream):
            self._track = stream.index
            container_format = container.format.name
            self.comment = container.metadata.get("comment")
            self._time_base = stream.time_base
            announced = stream.frames
            average_rate = float(stream.average_rate or stream.guessed_rate or 0)
            seconds = (container.duration or 0) / 1_000_000
            table = scan.run(container, stream)
        self._table = self._scan_again(scan) if table is None else table
        self.height, self.width = self._table.size
        self._set_times(average_rate, fps)

        # A truncated file keeps its announced length; reading beyond its end raises an error, and sampling does not
        # silently shrink to the part that is left.
        if scan.cut_off and container_format != "gif":
            rate = self.fps if self._varies() else average_rate or self.fps  # lost frames would lower the average
            self._extend_times(announced - scan.discarded if announced else round(seconds * rate))

    def _scan_again(self, scan: Scan) -> FrameTable:
        with self._open(threads=False) as (container, stream):
            table = scan.by_decoding(read_packets(container, stream), stream)
        assert table is not None
        return table

    def _set_times(self, average_rate: float, fps: float | None) -> None:
        """Sets the frame times. `num_frames` becomes the number of frames listed."""
        durations, pts = self._table.durations, self._table.pts
        self.num_frames = check_total(len(durations), self.name)
        self._even = fps is not None or pts is None
        if fps is not None or pts is None:
            self._set_even_times(fps or average_rate or 25.0)
            return
        tick = self._time_base
        ticks = pts - pts[0]
        last = int(durations[-1])
        if last <= 0:  # the file does not have the duration of its last frame
            last = round(float(np.median(np.diff(ticks)))) if len(ticks) > 1 else round(1 / (tick * 25))
        length = int(ticks[-1]) + last
        measured = self.num_frames * tick.denominator / (length * tick.numerator)
        # The file's own rate is the exact one, unless it is only nominal (variable frame rate).
        self.fps = average_rate if average_rate and abs(measured / average_rate - 1) < 0.02 else measured
        # One division of whole numbers: times are as exact as possible.
        self.timestamps = ticks * tick.numerator / tick.denominator
        self.duration = length * tick.numerator / tick.denominator
        if tick * 10 * self.fps < 1:  # fine enough that half a tick cannot reach a neighboring frame
            self._time_tolerance = float(tick) / 2 + 1e-9

    def _extend_times(self, total: int) -> None:
        """Adds evenly spaced times for frames that the file announces but does not hold."""
        missing = check_total(total, self.name) - self.num_frames
        if missing <= 0:
            return
        self.num_frames = total
        if self._even:
            self._set_even_times(self.fps)
            return
        more = self.timestamps[-1] + np.arange(1, missing + 1) / self.fps
        self.timestamps = np.concatenate([self.timestamps, more])
        self.duration = float(more[-1] + 1 / self.fps)
