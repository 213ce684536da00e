"""Animated WebP, which Pillow decodes, and telling animations from pictures."""

import enum
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from videorefer_plugin.errors import VideoError
from videorefer_plugin.video.base import Video
from videorefer_plugin.video.images import IMAGE_SUFFIXES, MAX_FRAME_PIXELS, check_size
from videorefer_plugin.video.sampling import check_total
from videorefer_plugin.video.sources import add_bytes, first_bytes, is_data_url, opened

__all__ = ["Kind", "WebPVideo", "kind_of", "looks_like_picture"]

_PNG = b"\x89PNG\r\n\x1a\n"
_PICTURES = (b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")  # the first bytes of other kinds of pictures
_ANIMATED = 0x02  # the flag of a WebP file
_DEFAULT_MS = 100  # the time for which browsers show frames with a duration of 0
_MAY_BE_ANIMATED = (".webp", ".png")
_MOST_CHUNKS = 1000  # of a PNG, searched for the one that announces an animation


class Kind(enum.Enum):
    """The kind of a file, as far as its first bytes tell."""

    ANIMATED_WEBP = enum.auto()
    ANIMATED_PNG = enum.auto()
    PICTURE = enum.auto()
    OTHER = enum.auto()


def kind_of(file: BinaryIO) -> Kind:
    """Looks at the first bytes of a file that is open at its start."""
    head = file.read(21)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        is_animated = head[12:16] == b"VP8X" and bool(head[20:] and head[20] & _ANIMATED)
        return Kind.ANIMATED_WEBP if is_animated else Kind.PICTURE
    if head.startswith(_PNG):
        return Kind.ANIMATED_PNG if _announces_animation(file) else Kind.PICTURE
    is_pnm = head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()
    return Kind.PICTURE if is_pnm or head.startswith(_PICTURES) else Kind.OTHER


def looks_like_picture(source: Any) -> bool:
    """Whether a path, address, bytes or open file seems to be a single picture: by its name, or else its content."""
    if not isinstance(source, (str, os.PathLike)) or is_data_url(source):
        return kind_of(io.BytesIO(first_bytes(source))) is Kind.PICTURE
    suffix = os.path.splitext(os.fsdecode(os.fspath(source)))[1].lower()
    if suffix in _MAY_BE_ANIMATED:
        return kind_of(io.BytesIO(first_bytes(source))) not in (Kind.ANIMATED_WEBP, Kind.ANIMATED_PNG)
    return suffix in IMAGE_SUFFIXES


def _announces_animation(file: BinaryIO) -> bool:
    """Whether a PNG has the chunk of an animation, which comes before the first pixels."""
    place = len(_PNG)
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if head[4:] in (b"acTL", b"IDAT", b""):
            return head[4:] == b"acTL"
        place += 12 + int.from_bytes(head[:4], "big")
    return False


class WebPVideo(Video):
    """An animated WebP. Its frames depend on each other, so they are decoded from the first one on.

    Args:
        source (`str` or `bytes`): Path, or the bytes of the file.
        name (`str`): Its name in messages.
        fps (`float`, *optional*): Overrides the frame times of the file with an even rate.
    """

    def __init__(self, source: str | bytes, name: str, fps: float | None):
        self.name = name
        self._source = source
        with opened(source) as file:
            self.height, self.width, durations = _read_structure(file, name)
        self.num_frames = len(durations)
        if fps is not None:
            self._set_even_times(fps)
        else:
            ends = np.cumsum(durations)
            self.timestamps = np.concatenate([[0], ends[:-1]]) / 1000
            self.duration = float(ends[-1]) / 1000
            self.fps = self.num_frames / self.duration
        with self._image() as image:
            turned = image.getexif().get(0x0112) in (5, 6, 7, 8)  # orientations with the sides swapped
            if image.n_frames != self.num_frames or image.size != (self.width, self.height):
                raise VideoError(f"{name} is damaged: the header does not fit the frames; get it again.")
        if turned:
            self.height, self.width = self.width, self.height

    @contextmanager
    def _image(self) -> Iterator[Any]:
        from PIL import Image

        with opened(self._source) as file:
            try:
                image = Image.open(file, formats=["WEBP"])
            except (Image.UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
                raise VideoError(
                    f"{self.name} cannot be read as an animated WebP; it may be damaged, or Pillow lacks WebP."
                ) from error
            with image:
                yield image

    def _paths(self) -> list[str]:
        return [self._source] if isinstance(self._source, str) else []

    def _add_content(self, digest: Any) -> None:
        digest.update(b"webp ")
        add_bytes(self._source, digest)

    def _decode(self, wanted: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        from PIL import ImageOps

        with self._image() as image:
            for index in wanted:
                try:
                    image.seek(index)
                    frame = np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
                except (OSError, EOFError, ValueError, SyntaxError) as error:
                    raise VideoError(
                        f"{self.name} is damaged: frame {index} cannot be decoded ({error}). Get the file again."
                    ) from error
                yield index, frame


def _read_structure(file: BinaryIO, name: str) -> tuple[int, int, np.ndarray]:
    """Height and width of an animated WebP, and the duration of each frame in milliseconds."""
    end = int.from_bytes(file.read(12)[4:8], "little") + 8
    size = file.seek(0, 2)
    if end > size:
        raise VideoError(f"{name} is cut off: it says that it has {end} bytes, but there are {size}; get it again.")
    durations: list[int] = []
    height = width = 0
    for chunk, content, length in _chunks(file, end):
        if content + length > end:
            raise VideoError(f"{name} is damaged: a part of it reaches beyond its end; get it again.")
        file.seek(content)
        if chunk == b"VP8X" and length >= 10:
            head = file.read(10)
            width, height = (int.from_bytes(head[place : place + 3], "little") + 1 for place in (4, 7))
            check_size(height, width, name, MAX_FRAME_PIXELS)
        elif chunk == b"ANMF" and length >= 16:
            durations.append(int.from_bytes(file.read(16)[12:15], "little") or _DEFAULT_MS)
            check_total(len(durations), name)
    if not durations:
        raise VideoError(f"{name} is an animated WebP without frames; it may be damaged.")
    return height, width, np.array(durations, dtype=np.int64)


def _chunks(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start of the content and length of each part of a RIFF file."""
    place = 12
    while place + 8 <= end:
        file.seek(place)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        yield head[:4], place + 8, length
        place += 8 + length + length % 2
