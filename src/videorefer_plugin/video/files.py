"""Video files, decoded with PyAV (FFmpeg). Used through `videorefer_plugin.video.open_video`."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import av
import av.logging
import numpy as np
from av.video.reformatter import VideoReformatter

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.base import Video

__all__ = ["FileVideo"]

# Containers and codecs whose packets each hold exactly one shown frame with its own time, so that frames can be
# counted without decoding, and where jumping to a keyframe keeps the times. (AVI and MPEG program streams store no
# presentation times, VP8 has packets that show nothing, ...; those are counted by decoding.)
_INDEXED_FORMATS = ("mov,mp4,", "matroska,webm")
_INDEXED_CODECS = frozenset({"h264", "hevc", "vp9", "av1", "libdav1d", "mjpeg", "png", "ffv1", "prores", "dnxhd"})
# FFmpeg reads plain text and arbitrary bytes as character art, and the cover of a song as a video.
_NO_VIDEO_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf", "mp3", "flac"})
_B_FRAME = 3  # AV_PICTURE_TYPE_B
_ATTACHED_PICTURE = 0x0400  # AV_DISPOSITION_ATTACHED_PIC: cover art
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp")  # that an MP4 or MOV file starts with
_ONE_THREAD = (
    {"threads": 1} if "threads" in (VideoReformatter.reformat.__doc__ or "") else {}
)  # older PyAV: always one
_SEEK_MARGIN = 32  # jump when it saves decoding more frames than this; a jump restarts the decoder's threads


class _DamageError(Exception):
    """Decoding did not give the frames that the file announces."""


class FileVideo(Video):
    """A video in a container file.

    Args:
        source (`str`): Absolute path or http(s) address.
        name (`str`): How messages call it.
        fps (`float`, *optional*): Overrides the frame times of the file with an even rate.
    """

    def __init__(self, source: str, name: str, fps: float | None):
        self.name = name
        self._source = source
        # Of every frame, in the order shown: its time stamp (None where the file has none), its place in decoding
        # order, and whether decoding can start there.
        self._pts: np.ndarray | None = None
        self._decode_order = np.empty(0, dtype=np.int64)
        self._is_key = np.empty(0, dtype=bool)
        self._seek_times = np.empty(0, dtype=np.int64)
        self._readable = 0  # frames that the file still holds; fewer than num_frames where it is cut off
        self._counted = False  # frames are told apart by counting instead of by time stamp
        self._discarded = 0  # packets that are decoded but not shown (edit lists)
        self._matrices: dict[int, tuple[int, int, int, int] | None] = {}  # display matrix by rotation

        with self._open() as (container, stream):
            container_format = container.format.name
            self._time_base = stream.time_base
            announced = stream.frames
            average_rate = float(stream.average_rate or stream.guessed_rate or 0)
            seconds = (container.duration or 0) / 1_000_000
            codec = stream.codec_context.name
            self._cut_off = _is_cut_off(source)
            durations = None
            if container_format.startswith(_INDEXED_FORMATS):
                durations = self._scan_packets(container, stream)
        if codec not in _INDEXED_CODECS:
            durations = None
        if durations is None:
            durations = self._scan_frames()
        else:
            self._read_first_frame()
        self._set_times(durations, average_rate, fps)

        # A file that breaks off is still as long as it announces; reading beyond what is there fails by name, and
        # sampling does not silently shrink to the part that is left.
        total = 0
        if self._cut_off and container_format != "gif":
            total = announced - self._discarded if announced else round(seconds * average_rate)
        self._extend_times(total)

    # --- opening -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _open(self, threads: bool = True) -> Iterator[tuple[Any, Any]]:
        _stop_python_logging()
        try:
            container = av.open(self._source, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise VideoError(
                f"{self.name} cannot be opened as a video ({_reason(error)}); it may be damaged, cut off, or no video."
            ) from error
        with container:
            name = container.format.name
            if name.endswith("_pipe") or name == "image2":
                raise VideoError(f"{self.name} is a single image, not a video; use load_image, or pass [path].")
            streams = [stream for stream in container.streams.video if not _is_cover_art(stream)]
            if name in _NO_VIDEO_FORMATS:
                streams = []
            if not streams:
                kinds = sorted({stream.type for stream in container.streams})
                found = f"format {name!r}, streams: {', '.join(kinds) or 'none'}"
                advice = "it is cut off, get it again." if _is_cut_off(self._source) else "expected a video file."
                raise VideoError(f"{self.name} has no video stream ({found}); {advice}")
            stream = streams[0]
            if stream.codec_context is None:
                raise VideoError(
                    f"{self.name} uses a codec that this build of FFmpeg cannot decode; convert it first."
                )
            if threads:
                stream.thread_type = "AUTO"
            else:
                stream.thread_type = "NONE"
                stream.codec_context.thread_count = 1
            yield container, stream

    def _scan_packets(self, container: Any, stream: Any) -> np.ndarray | None:
        """Lists the frames without decoding. Returns their durations in ticks, `None` where that is not possible."""
        packets: list[tuple[int, int, int, bool]] = []  # time, time to jump to, duration, keyframe
        decode_time: int | None = None
        complete = True
        # Matroska finds a keyframe by the time it is shown, MP4 by the time it is decoded.
        by_pts = container.format.name.startswith("matroska")
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.is_discard:
                    self._discarded += 1
                    continue
                complete = complete and packet.pts is not None
                seek = packet.pts if by_pts or packet.dts is None else packet.dts
                decode_time = packet.dts
                packets.append((packet.pts, seek, packet.duration or 0, packet.is_keyframe))
        except av.error.FFmpegError:
            self._cut_off = True  # the rest of the file is unreadable; what was listed so far is all there is
        if not packets:
            raise VideoError(f"{self.name} has no frames; it may be cut off or an unfinished recording.")
        if not complete:
            return None
        pts = np.array([packet[0] for packet in packets], dtype=np.int64)
        if len(np.unique(pts)) != len(pts):
            return None
        order = np.argsort(pts)
        if self._cut_off:
            # The packets that are lost were to be decoded after the last one here, but some may have been shown
            # earlier (B-frames), so only what is shown until then has a known place in the count.
            order = order[pts[order] <= (packets[-1][0] if decode_time is None else decode_time)]
            if not len(order):
                order = np.array([int(np.argmin(pts))])
        self._pts, self._decode_order = pts[order], order
        self._is_key = np.array([packet[3] for packet in packets])[order]
        self._seek_times = np.array([packet[1] for packet in packets], dtype=np.int64)[order]
        self._readable = len(order)
        return np.array([packet[2] for packet in packets], dtype=np.int64)[order]

    def _scan_frames(self) -> np.ndarray:
        """Lists the frames by decoding all of them once. Returns their durations in ticks."""
        self._counted, self._pts = True, None
        frames: list[tuple[int | None, int]] = []
        anchors = [0]  # how many frames there are up to each frame that is not a B-frame
        intact = True

        def failed(_: int, __: Exception | None) -> None:
            nonlocal intact
            # What comes before the first whole frame (a recording that starts in the middle) is not missed.
            intact = intact and not frames

        with self._open() as (container, stream):
            for frame in self._frames(container, stream, failed):
                intact = intact and not frame.is_corrupt
                if not frames:
                    self.height, self.width = self._upright(frame, (frame.height, frame.width))
                frames.append((frame.pts, getattr(frame, "duration", 0) or 0))
                if intact and int(frame.pict_type) != _B_FRAME:
                    anchors.append(len(frames))
        if not frames:
            raise VideoError(f"{self.name} has no frames that can be decoded; it may be damaged or cut off.")
        # A lost frame shifts the count, so nothing behind the first damage can be told apart, and B-frames before it
        # may build on it.
        self._readable = len(frames) if intact else anchors[-1]
        if self._cut_off and (intact or anchors[-1] == len(frames)):
            # Of the last frame a part may be missing, or B-frames shown before it.
            self._readable = anchors[max(len(anchors) - 2, 0)]
        times = [pts for pts, _ in frames]
        if None not in times:
            pts = np.array(times, dtype=np.int64)
            self._pts = pts if (np.diff(pts) > 0).all() else None
        return np.array([duration for _, duration in frames], dtype=np.int64)

    def _read_first_frame(self) -> None:
        """Finds the size of the upright frames, which only a decoded frame tells."""
        errors: list[Exception] = []
        with self._open() as (container, stream):
            for frame in self._frames(container, stream, lambda _, error: errors.append(error) if error else None):
                self.height, self.width = self._upright(frame, (frame.height, frame.width))
                return
        reason = f" ({_reason(errors[0])})" if errors else ""
        raise VideoError(f"{self.name} has no frames that can be decoded{reason}; it may be damaged or cut off.")

    def _set_times(self, durations: np.ndarray, average_rate: float, fps: float | None) -> None:
        """Sets the frame times. `num_frames` becomes the number of frames listed."""
        self.num_frames = len(durations)
        self._even = fps is not None
        if fps is not None or self._pts is None:
            self._set_even_times(fps or average_rate or 25.0)
            return
        tick = self._time_base
        ticks = self._pts - self._pts[0]
        last = int(durations[-1])
        if last <= 0:  # the file does not say how long its last frame stays
            last = round(float(np.median(np.diff(ticks)))) if len(ticks) > 1 else round(1 / (tick * 25))
        length = int(ticks[-1]) + last
        measured = self.num_frames * tick.denominator / (length * tick.numerator)
        # The file's own rate is the exact one, unless it is only nominal (variable frame rate).
        self.fps = average_rate if average_rate and abs(measured / average_rate - 1) < 0.02 else measured
        # One division of whole numbers: times are as exact as they can be.
        self.timestamps = ticks * tick.numerator / tick.denominator
        self.duration = length * tick.numerator / tick.denominator
        if tick * 10 * self.fps < 1:  # fine enough that half a tick cannot reach a neighbouring frame
            self._time_tolerance = float(tick) / 2 + 1e-9

    def _extend_times(self, total: int) -> None:
        """Adds evenly spaced times for frames that the file announces but does not hold."""
        missing = total - self.num_frames
        if missing <= 0:
            return
        self.num_frames = total
        if self._even or self._pts is None:
            self._set_even_times(self.fps)
            return
        more = self.timestamps[-1] + np.arange(1, missing + 1) / self.fps
        self.timestamps = np.concatenate([self.timestamps, more])
        self.duration = float(more[-1] + 1 / self.fps)

    # --- decoding ------------------------------------------------------------------------------------------------

    def _frames(
        self, container: Any, stream: Any, failed: Callable[[int, Exception | None], Any] | None = None
    ) -> Iterator[Any]:
        """Decodes onwards from where the container stands.

        With `failed`, goes on after errors and calls it with the place of the packet, in decoding order, and the error
        (`None` for a packet that is damaged as stored).
        """
        place = 0
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as error:
                if failed is None:
                    raise
                failed(place, error)
                packet = None
            # Empty packets would end the decoding; the decoder is emptied below instead.
            if packet is not None and not packet.size:
                continue
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

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        if self._counted:
            yield from self._decode_counted(wanted)
            return
        try:
            for index, frame in self._decode_indexed(wanted):
                yield index, self._pixels(index, frame)
        except (_DamageError, av.error.FFmpegError):
            # Damage may show only after frames that it affects (B-frames), so those are given once more.
            yield from self._decode_damaged(wanted)

    def _decode_counted(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        beyond = [index for index in wanted if index >= self._readable]
        if beyond:
            raise self._not_decodable(beyond, np.arange(self.num_frames) < self._readable)
        left = iter(wanted)
        target = next(left, None)
        with self._open() as (container, stream):
            # Errors before the first frame were let pass when counting, and there are none later.
            for index, frame in enumerate(self._frames(container, stream, lambda _, __: None)):
                if target is None:
                    return
                if index == target:
                    yield index, self._pixels(index, frame)
                    target = next(left, None)
        if target is not None:
            raise VideoError(f"{self.name} has changed since it was opened: frame {target} is gone; open it again.")

    def _decode_indexed(self, wanted: list[int]) -> Iterator[tuple[int, Any]]:
        """Decodes the wanted frames, jumping over long gaps; raises `_DamageError` if anything is not as announced."""
        assert self._pts is not None
        index_of = {int(pts): index for index, pts in enumerate(self._pts)}
        # The last frame shown among those decoded up to each frame: until there, damage may come to light.
        reach = np.empty_like(self._decode_order)
        in_decode_order = np.argsort(self._decode_order)
        reach[in_decode_order] = np.maximum.accumulate(in_decode_order)
        if wanted and wanted[-1] >= self._readable:
            raise _DamageError
        # Of each wanted frame, the keyframe that decoding may start from.
        keys = np.concatenate([[0], np.flatnonzero(self._is_key)])
        starts = keys[np.searchsorted(keys, wanted, side="right") - 1]
        expected = 0  # the frame that the decoder should give next
        done, until = 0, -1
        with self._open() as (container, stream):
            while done < len(wanted):
                key = int(starts[done])
                jumped = key - expected > _SEEK_MARGIN
                if jumped:
                    container.seek(int(self._seek_times[key]), stream=stream)
                    expected = key
                for frame in self._frames(container, stream):
                    index = index_of.get(frame.pts, -1)
                    if jumped and 0 <= index < expected:
                        continue  # frames shown before the keyframe jumped to, or an earlier landing
                    # A file may mark frames as keyframes at which decoding cannot start; the decoder knows.
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
        """Decodes from the start with one thread, where errors can be told to their packets."""
        assert self._pts is not None
        index_of = {int(pts): index for index, pts in enumerate(self._pts)}
        given = np.zeros(self._readable, dtype=bool)
        is_key = np.zeros(self._readable, dtype=bool)
        damaged: set[int] = set()  # places, in decoding order, of damaged packets

        with self._open(threads=False) as (container, stream):
            for frame in self._frames(container, stream, lambda place, _: damaged.add(place)):
                index = index_of.get(frame.pts)
                if index is not None:
                    given[index] = True
                    is_key[index] = self._is_key[index] and frame.key_frame
                    if frame.is_corrupt:
                        damaged.add(int(self._decode_order[index]))
        damaged.update(self._decode_order[~given].tolist())
        shown_at = {int(place): index for index, place in enumerate(self._decode_order)}
        good = np.zeros(self.num_frames, dtype=bool)
        good[: self._readable] = given
        for place in damaged:
            # Decoders go on with what they have, so everything that may build on a damaged frame, up to the next
            # keyframe, is in doubt.
            index = shown_at.get(place, self._readable)
            keys = np.flatnonzero(is_key[index + 1 :])
            end = index + 1 + int(keys[0]) if len(keys) else self._readable
            doubtful = self._decode_order >= place
            doubtful[end:] = False
            good[: self._readable][doubtful] = False
        lost = [index for index in wanted if not good[index]]
        if lost:
            raise self._not_decodable(lost, good)
        remaining = set(wanted)
        with self._open(threads=False) as (container, stream):
            for frame in self._frames(container, stream, lambda _, __: None):
                index = index_of.get(frame.pts)
                if index in remaining:
                    remaining.remove(index)
                    yield index, self._pixels(index, frame)
        if remaining:
            raise VideoError(f"{self.name} has changed since it was opened; open it again.")

    def _not_decodable(self, lost: list[int], good: np.ndarray) -> VideoError:
        listed = ", ".join(str(index) for index in lost[:20]) + (", ..." if len(lost) > 20 else "")
        edges = np.flatnonzero(np.diff(np.concatenate([[0], good.astype(np.int8), [0]])))
        ranges = [f"{first} to {end - 1}" for first, end in zip(edges[::2], edges[1::2], strict=True)]
        intact = ", ".join(ranges[:10]) + (", ..." if len(ranges) > 10 else "")
        return VideoError(
            f"{self.name} is damaged or cut off: of the frames asked for, {len(lost)} cannot be decoded ({listed}). "
            f"Of its {self.num_frames} frames, these can: {intact or 'none'}. "
            "Get the file again, or ask only for those."
        )

    def _pixels(self, index: int, frame: Any) -> np.ndarray:
        """The upright RGB picture of a decoded frame."""
        height, width = self._upright(frame, (frame.height, frame.width))
        if (height, width) != (self.height, self.width):
            raise VideoError(
                f"{self.name} changes its frame size: frame {index} is {width}x{height} while the first one is "
                f"{self.width}x{self.height} (width x height); convert it to one size or read only frames of one size."
            )
        return self._upright(frame, _to_rgb(frame))

    def _upright(self, frame: Any, picture: Any) -> Any:
        """Applies the display matrix of a frame to its pixels, or to its (height, width)."""
        # Looking at a frame's side data puts the frame into a cycle of references, and with it the threads that
        # convert it, until garbage is collected; where that happens in a forked worker of a DataLoader, it crashes.
        # So it is done once for each rotation, which is one for all frames of nearly every video.
        angle = getattr(frame, "rotation", 0)
        if angle not in self._matrices:
            self._matrices[angle] = _display_matrix(frame)
        matrix = self._matrices[angle]
        return picture if matrix is None else _turn(picture, *matrix)


def _stop_python_logging() -> None:
    """Keeps FFmpeg's threads from calling Python, for good.

    Where somebody has set PyAV's log level (torchvision does when it is imported), decoding threads take the
    interpreter's lock to log, and freeing a decoder waits for them while it holds that lock: neither ever goes on.
    Decoders are freed some time after their file was closed, so the level cannot be put back.
    """
    if av.logging.get_level() is not None:
        av.logging.set_level(None)


_converters = threading.local()


def _to_rgb(frame: Any) -> np.ndarray:
    """Converts a frame with a converter that is kept, on one thread.

    Setting one up for every frame, with its threads, takes many times longer than converting a small frame.
    """
    if not hasattr(_converters, "reformatter"):
        _converters.reformatter = VideoReformatter()
    convert = _converters.reformatter.reformat
    return convert(frame, format="rgb24", **_ONE_THREAD).to_ndarray()


def _display_matrix(frame: Any) -> tuple[int, int, int, int] | None:
    """How to show a frame: stored (x, y) to shown (a*x + c*y, b*x + d*y). Unlike an angle, this keeps mirroring."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _turn(picture: Any, a: int, b: int, c: int, d: int) -> Any:
    """Applies a display matrix to pixels, or to a (height, width)."""
    turned = abs(a) < abs(b)
    if isinstance(picture, tuple):
        return picture[::-1] if turned else picture
    if turned:
        picture = picture.swapaxes(0, 1)
    mirrored, flipped = (c < 0, b < 0) if turned else (a < 0, d < 0)
    return picture[:: -1 if flipped else 1, :: -1 if mirrored else 1]


def _is_cut_off(path: str) -> bool:
    """Whether an MP4, Matroska, AVI or GIF file is shorter than it says itself."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
            size = file.seek(0, 2)
            file.seek(max(size - 64, 0))
            tail = file.read()
            place = 0
            while head[4:8] in _MP4_BOXES and place + 16 <= size:
                file.seek(place)
                box = file.read(16)
                length = int.from_bytes(box[:4], "big")
                if length == 1:
                    length = int.from_bytes(box[8:], "big")
                if place + length > size:
                    # Other boxes that overrun are junk behind the end.
                    return box[4:8] in (b"mdat", b"moov", b"moof")
                if length < 8:  # up to the end of the file, or junk
                    return False
                place += length
    except OSError:  # an address
        return False
    if head.startswith(b"GIF8"):
        return not tail.rstrip(b"\0").endswith(b";")
    if head.startswith(b"RIFF"):
        return int.from_bytes(head[4:8], "little") + 8 > size
    place = head.find(b"\x18\x53\x80\x67")  # the Segment element, which holds all of a Matroska file
    if head.startswith(b"\x1a\x45\xdf\xa3") and 0 < place < len(head) - 12:
        first = head[place + 4]
        length = 9 - first.bit_length()  # bytes of the size field
        value = int.from_bytes(head[place + 4 : place + 4 + length], "big") & ((1 << 7 * length) - 1)
        unknown = value == (1 << 7 * length) - 1  # a live recording
        return not unknown and place + 4 + length + value > size
    return False


def _is_cover_art(stream: Any) -> bool:
    disposition = getattr(stream, "disposition", 0)  # absent before PyAV 14.1
    return bool(int(getattr(disposition, "value", disposition)) & _ATTACHED_PICTURE)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
