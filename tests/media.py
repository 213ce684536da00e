"""Makers of small media files for tests. Every frame carries its number, so that a test can tell which one it got."""

import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

BITS = 10
SIZE = (80, 48)  # width, height


def numbered_frame(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """An RGB picture: the number as ten black or white bars in the upper half, a coloured texture in the lower one."""
    width, height = size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    for bit in range(BITS):
        if number >> bit & 1:
            picture[: height // 2, width * bit // BITS : width * (bit + 1) // BITS] = 255
    rows, columns = np.mgrid[: height - height // 2, :width]
    texture = [(columns * 3 + number * 5) % 200, (rows * 7 + number * 3) % 200, ((rows + columns) * 2 + number) % 200]
    picture[height // 2 :] = np.stack(texture, axis=-1)
    return picture


def write_png_header(path: Path, width: int, height: int) -> Path:
    """A PNG of a hundred bytes that says it has this size, with no pixel in it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def animation(frames: Sequence[np.ndarray], suffix: str = "webp", **options: Any) -> bytes:
    """A WebP or PNG of these frames, without loss; of one frame, a picture."""
    data = io.BytesIO()
    first, *others = map(Image.fromarray, frames)
    more = {"save_all": True, "append_images": others} if others else {}
    first.save(data, suffix, **({"lossless": True} if suffix == "webp" else {}), **more, **options)
    return data.getvalue()


class OneWay(io.RawIOBase):
    """Bytes that can be read once, and in small pieces, as those of a connection."""

    def __init__(self, data: bytes):
        super().__init__()
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(memoryview(buffer)[:1000])


def read_number(picture: np.ndarray) -> int:
    """The number that an upright picture carries."""
    height, width = picture.shape[:2]
    bars = [picture[height // 4, width * (2 * bit + 1) // (2 * BITS)].mean() > 128 for bit in range(BITS)]
    return sum(1 << bit for bit, white in enumerate(bars) if white)


def read_numbers(frames: Iterable[np.ndarray]) -> list[int]:
    return [read_number(frame) for frame in frames]


def write_video(
    path: Path | str,
    frames: int | Sequence[np.ndarray],
    codec: str = "libx264",
    *,
    size: tuple[int, int] = SIZE,
    rate: int | Fraction = 25,
    times: Sequence[int] | None = None,
    rotation: int | None = None,
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    audio: bool = False,
) -> Path:
    """Writes frames (their number, or pictures); `times` are in milliseconds."""
    pictures = [numbered_frame(number, size) for number in range(frames)] if isinstance(frames, int) else frames
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height = pictures[0].shape[1], pictures[0].shape[0]
        stream.pix_fmt, stream.options = pixels, options or {}
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if audio:
            write_silence(container)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return Path(path)


def write_tracks(path: Path, tracks: Sequence[tuple[str, int, int]], flags: Sequence[int] | None = None) -> Path:
    """Writes a file with several video tracks: the codec, number of frames and first number of each.

    `flags` are their dispositions, by default those that FFmpeg gives.
    """
    with av.open(str(path), "w") as container:
        streams: list[Any] = []
        for codec, _, _ in tracks:
            stream: Any = container.add_stream(codec, rate=25)
            stream.width, stream.height = SIZE
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            streams.append(stream)
        for stream, flag in zip(streams, flags or [], strict=False):
            stream.disposition = flag
        for stream, (_, count, first) in zip(streams, tracks, strict=True):
            for number in range(first, first + count):
                picture = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
                container.mux(stream.encode(picture.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
    return path


def write_silence(container: Any, codec: str = "aac") -> None:
    stream = container.add_stream(codec, rate=16000)
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
    frame.sample_rate = 16000
    frame.pts = 0
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_folder(
    folder: Path, names: Sequence[str], size: tuple[int, int] = SIZE, numbers: Sequence[int] | None = None
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in zip(numbers or range(len(names)), names, strict=True):
        Image.fromarray(numbered_frame(number, size)).save(folder / name)
    return folder


def cut(path: Path, target: Path, keep: float) -> Path:
    """A copy that breaks off after a fraction of its bytes."""
    data = path.read_bytes()
    target.write_bytes(data[: int(len(data) * keep)])
    return target


def spoil_packet(path: Path, target: Path, number: int, start: int = 0) -> Path:
    """A copy with zeros in place of a packet of coded video, or with noise in it from a byte on.

    Packets are counted in the order in which they are stored.
    """
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    packet = packets[number]
    noise = np.random.default_rng(number).bytes(len(packet) - start) if start else bytes(len(packet))
    target.write_bytes(data.replace(packet, packet[:start] + noise, 1))
    return target


def zero_bytes(path: Path, target: Path, start: int, length: int, noise: bool = False) -> Path:
    """A copy with zeros, or noise, over some bytes."""
    data = bytearray(path.read_bytes())
    length = min(length, len(data) - start)
    data[start : start + length] = np.random.default_rng(start).bytes(length) if noise else bytes(length)
    target.write_bytes(data)
    return target


def packet_places(path: Path) -> list[int]:
    """Where the packets of coded video lie in a file."""
    with av.open(str(path)) as container:
        return [packet.pos for packet in container.demux(video=0) if packet.size]


def count_packets(path: Path | str) -> int:
    with av.open(str(path)) as container:
        return sum(1 for packet in container.demux(video=0) if packet.size)


def set_edit_list(path: Path, target: Path, first: int, count: int, rate: int) -> Path:
    """A copy of an MP4 file that shows only `count` frames from the `first` on, by its edit list."""
    data = bytearray(path.read_bytes())
    place = data.index(b"elst") + 12
    scale = data.index(b"mdhd") + 4 + 12
    ticks = int.from_bytes(data[scale : scale + 4], "big") // rate
    movie_scale = data.index(b"mvhd") + 4 + 12
    movie_ticks = int.from_bytes(data[movie_scale : movie_scale + 4], "big")
    media_time = int.from_bytes(data[place + 4 : place + 8], "big") + first * ticks
    data[place : place + 4] = (movie_ticks * count // rate).to_bytes(4, "big")
    data[place + 4 : place + 8] = media_time.to_bytes(4, "big")
    target.write_bytes(data)
    return target


def set_display_matrix(path: Path, target: Path, matrix: tuple[int, int, int, int]) -> Path:
    """A copy of an MP4 file whose track header maps stored (x, y) to shown (a*x + c*y, b*x + d*y)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    for place, entry in zip((0, 4, 12, 16), matrix, strict=True):
        data[start + place : start + place + 4] = (entry << 16).to_bytes(4, "big", signed=True)
    target.write_bytes(data)
    return target


def write_mp3_with_cover(path: Path) -> Path:
    """A sound file with a picture in it, which FFmpeg lists as a video stream."""
    with av.open(str(path), "w") as container:
        write_silence(container, "mp3")
    cover = io.BytesIO()
    Image.fromarray(numbered_frame(0)).save(cover, "png")
    body = b"\0image/png\0\x03\0" + cover.getvalue()
    tag = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    length = bytes(len(tag) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + length + tag + path.read_bytes())
    return path


def damage_is_noticed(path: Path) -> bool:
    """Whether the decoder reports damage anywhere in a file; there are no checksums, so it may not."""
    with av.open(str(path)) as container:
        try:
            return any(frame.is_corrupt for frame in container.decode(video=0))
        except av.error.FFmpegError:
            return True


def decode_plainly(path: Path) -> np.ndarray:
    """All frames, decoded one after the other with one thread: what any other way of reading must equal."""
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
